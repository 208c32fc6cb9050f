//! `[update]`: what the owner lets happen, and when.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hypriot_keys::source::http::TlsIdentity;
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::{Automatic, Policy, Window as Verdict};
use hypriot_updater::record::Will;
use hypriot_updater::slot::Digest;
use hypriot_updater::window::{self, Window};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::Server;
use crate::files;

/// Where Debian keeps the time zones.
const ZONES: &str = "/usr/share/zoneinfo";
/// No file there is larger.
const ZONE_LIMIT: u64 = 64 * 1024;
/// Asked more often than this, a fleet is a load test.
const MIN_POLL: u64 = 5;
const DEFAULT_POLL: u64 = 3600;
/// A trial must be over within this time after boot. Self-tests wait up to five minutes for Docker on a slow card.
const DEFAULT_DEADLINE: u64 = 900;
/// A hundred authorities.
const PEM_LIMIT: u64 = 512 * 1024;
const DEFAULT_HOOK: u64 = 120;
/// A window of more than a week is always open.
const WEEK: u16 = 7 * 24 * 60;
/// More windows are a typing error.
const MOST_WINDOWS: usize = 64;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UpdateFragment {
    /// The repository updates come from: a URL, or a directory. Empty: none, the board is not updated.
    url: Option<String>,
    /// Seconds between two questions, at least 5. Without it, 3600.
    poll_seconds: Option<u64>,
    /// Whether what is offered is installed by itself, or by `hypriot-agent install`. Without it, `automatic`.
    install: Option<Choice>,
    /// Whether the board restarts by itself to try what was installed, or tries it when somebody restarts it. Without it, `automatic`.
    reboot: Option<Choice>,
    /// A trial that nobody has judged so many seconds after boot has failed; at least 60. Without it, 900.
    trial_deadline_seconds: Option<u64>,
    /// Install by itself, and try it when `hypriot-agent install` says so. Without it, `false`.
    download_only: Option<bool>,
    /// A lock service that speaks FleetLock, asked before the board restarts to try a release: its URL without `/v1/…`. Empty: none.
    lock: Option<String>,
    /// The group of boards that share the service's slots. Without it, `default`.
    lock_group: Option<String>,
    /// What the board shares with others, a shelf, a switch, a power supply: the service lets no two boards of one go at a time. Empty: nothing.
    spread: Option<String>,
    /// When the board may restart to try a release, as tables `[[update.window]]`; those of the last file that has any. Without any, always.
    window: Option<Vec<WindowFragment>>,
    /// Time zone of the windows, as `Europe/Berlin`. Without it, `UTC`.
    time_zone: Option<String>,
    /// Boards are spread over so many minutes of a window, at most two thirds of it. Without it, 0.
    jitter_minutes: Option<u16>,
    /// What the windows are for: `restart`, or `all`: then nothing is installed outside of them either. Without it, `restart`.
    window_for: Option<Extent>,
    /// How long one hook of `/etc/hypriot/hooks.d` may take, from 1 to 1200. Without it, 120.
    hook_seconds: Option<u64>,
    /// A proxy for the update source, `http://proxy:3128`. Empty: none. The environment is not looked at.
    proxy: Option<String>,
    /// PEM file with certificates of authorities that servers may be signed by, besides those of Mozilla's list.
    ca_file: Option<PathBuf>,
    /// PEM file with the board's own certificate and its private key, shown to servers that ask for one.
    client_file: Option<PathBuf>,
    /// Whether boards of the same network lend this one what they hold of a release, and it lends to them. Without it, `true`; where only
    /// the board itself may ask for its health (`[health] listen`), `false`.
    neighbours: Option<bool>,
    /// Whether a USB stick called `HYPRIOT` brings updates when it is put in. Without it, `true`.
    stick: Option<bool>,
}

/// One maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowFragment {
    /// Days on which it begins. Without it, every day.
    days: Option<Vec<Day>>,
    /// When it begins, `02:30`, by the wall clock of the time zone.
    start: String,
    /// How long it lasts, from 1 to 10080 (a week).
    minutes: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Extent {
    Restart,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Automatic,
    Manual,
}

impl From<Choice> for Automatic {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Automatic => Self::Yes,
            Choice::Manual => Self::No,
        }
    }
}

/// The maintenance windows of one board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Each of them; none is always.
    pub list: Vec<Window>,
    jitter: u16,
    zone: TimeZone,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            jitter: 0,
            zone: TimeZone::UTC,
        }
    }
}

impl Windows {
    /// Whether the board `id` may restart for `release` at `now`.
    pub fn judge(&self, id: &[u8], release: &Digest, now: Timestamp) -> Verdict {
        let offset = |at: i64| {
            let at = jiff::Timestamp::from_second(at);
            // beyond the years that a calendar has, any zone will do
            at.map_or(0, |at| self.zone.to_offset(at).seconds())
        };
        window::judge(&self.list, self.jitter, id, Some(release), now, &offset)
    }
}

/// How the board speaks to servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Net {
    /// Through which proxy it asks the update source.
    pub proxy: Option<String>,
    ca: Option<PathBuf>,
    client: Option<PathBuf>,
}

impl Net {
    /// Whom it trusts and who it is, read anew each time: certificates are renewed.
    pub fn identity(&self) -> anyhow::Result<TlsIdentity> {
        let mut identity = TlsIdentity::default();
        let read = |path: &PathBuf| files::read(path, PEM_LIMIT);
        let told = |key: &str, path: &PathBuf, why: String| {
            anyhow::anyhow!("update.{key} = {}: {why}", path.display())
        };
        if let Some(path) = &self.ca {
            let trusted = identity.trust(&read(path)?);
            trusted.map_err(|why| told("ca_file", path, why))?;
        }
        if let Some(path) = &self.client {
            let shown = identity.show(&read(path)?);
            shown.map_err(|why| told("client_file", path, why))?;
        }
        Ok(identity)
    }
}

/// All of `[update]`, validated.
#[derive(Debug)]
pub(super) struct Updates {
    pub(super) url: Option<String>,
    pub(super) poll: u64,
    pub(super) policy: Policy,
    pub(super) lock: Option<Server>,
    pub(super) windows: Windows,
    pub(super) hooks: Duration,
    pub(super) net: Net,
    pub(super) stick: bool,
    pub(super) neighbours: bool,
}

impl UpdateFragment {
    /// What `over`, of a later file, says; and this where it says nothing.
    pub(super) fn under(self, over: Self) -> Self {
        Self {
            url: over.url.or(self.url),
            poll_seconds: over.poll_seconds.or(self.poll_seconds),
            install: over.install.or(self.install),
            reboot: over.reboot.or(self.reboot),
            trial_deadline_seconds: over.trial_deadline_seconds.or(self.trial_deadline_seconds),
            download_only: over.download_only.or(self.download_only),
            lock: over.lock.or(self.lock),
            lock_group: over.lock_group.or(self.lock_group),
            spread: over.spread.or(self.spread),
            window: over.window.or(self.window),
            time_zone: over.time_zone.or(self.time_zone),
            jitter_minutes: over.jitter_minutes.or(self.jitter_minutes),
            window_for: over.window_for.or(self.window_for),
            hook_seconds: over.hook_seconds.or(self.hook_seconds),
            proxy: over.proxy.or(self.proxy),
            ca_file: over.ca_file.or(self.ca_file),
            client_file: over.client_file.or(self.client_file),
            stick: over.stick.or(self.stick),
            neighbours: over.neighbours.or(self.neighbours),
        }
    }

    pub(super) fn resolve(self) -> anyhow::Result<Updates> {
        let poll = self.poll_seconds.unwrap_or(DEFAULT_POLL);
        if poll < MIN_POLL {
            bail!("update.poll_seconds = {poll}: at least {MIN_POLL}");
        }
        let deadline = self.trial_deadline_seconds.unwrap_or(DEFAULT_DEADLINE);
        if deadline < 60 {
            bail!(
                "update.trial_deadline_seconds = {deadline}: at least 60, no board starts faster"
            );
        }
        let hook = self.hook_seconds.unwrap_or(DEFAULT_HOOK);
        if !(1..=1200).contains(&hook) {
            bail!("update.hook_seconds = {hook}: from 1 to 1200");
        }
        let group = self.lock_group.as_deref().unwrap_or("default");
        let lock = self.lock.filter(|url| !url.is_empty());
        let lock = lock
            .map(|url| {
                let told = |keys: &str, why| anyhow::anyhow!("update.{keys}: {why}");
                let server = Server::new(&url, group);
                let server = server.map_err(|why| told("lock and update.lock_group", why))?;
                let spread = self.spread.as_deref().unwrap_or_default();
                server.spread(spread).map_err(|why| told("spread", why))
            })
            .transpose()?;
        Ok(Updates {
            url: self.url.filter(|u| !u.is_empty()),
            poll,
            policy: Policy {
                install: self.install.map_or(Automatic::Yes, Into::into),
                reboot: self.reboot.map_or(Automatic::Yes, Into::into),
                trial_deadline: deadline,
                download_only: self.download_only.unwrap_or(false),
                window_covers_install: self.window_for == Some(Extent::All),
                will: Will::Settings,
            },
            lock,
            hooks: Duration::from_secs(hook),
            stick: self.stick.unwrap_or(true),
            neighbours: self.neighbours.unwrap_or(true),
            net: Net {
                proxy: self.proxy.filter(|p| !p.is_empty()),
                ca: self.ca_file,
                client: self.client_file,
            },
            windows: windows(
                self.window.unwrap_or_default(),
                self.jitter_minutes.unwrap_or(0),
                self.time_zone.as_deref().unwrap_or("UTC"),
            )?,
        })
    }
}

fn windows(list: Vec<WindowFragment>, jitter: u16, zone_name: &str) -> anyhow::Result<Windows> {
    ensure!(
        list.len() <= MOST_WINDOWS,
        "update.window: {} of them, more than {MOST_WINDOWS}",
        list.len()
    );
    let list = list.into_iter().map(|w| {
        let start = minute(&w.start).with_context(|| {
            format!(
                "update.window: start = {:?} is no time of the day like \"02:30\"",
                w.start
            )
        })?;
        ensure!(
            (1..=WEEK).contains(&w.minutes),
            "update.window: minutes = {}, from 1 to {WEEK}",
            w.minutes
        );
        let days = w.days.map_or([true; 7], |on| {
            let mut days = [false; 7];
            for day in on {
                days[day as usize] = true;
            }
            days
        });
        ensure!(
            days.contains(&true),
            "update.window: a window on no day never opens"
        );
        Ok(Window {
            days,
            start,
            minutes: w.minutes,
        })
    });
    Ok(Windows {
        list: list.collect::<anyhow::Result<_>>()?,
        jitter,
        zone: zone(Path::new(ZONES), zone_name)?,
    })
}

/// `02:30` as minutes after midnight.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, below: u16| {
        let digits = text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit());
        let n: u16 = text.parse().ok().filter(|_| digits)?;
        (n < below).then_some(n)
    };
    Some(number(hour, 24)? * 60 + number(minute, 60)?)
}

/// A time zone by its IANA name.
fn zone(zones: &Path, name: &str) -> anyhow::Result<TimeZone> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"_+-".contains(&c);
    let named = name
        .split('/')
        .all(|part| !part.is_empty() && part.bytes().all(plain));
    ensure!(
        named,
        "update.time_zone = {name:?}: no name like \"Europe/Berlin\""
    );
    let file = files::read(&zones.join(name), ZONE_LIMIT).with_context(|| {
        format!("update.time_zone = {name:?}: this board does not know it (package tzdata)")
    })?;
    TimeZone::tzif(name, &file).with_context(|| {
        format!(
            "update.time_zone = {name:?}: its file in {}",
            zones.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> anyhow::Result<Updates> {
        toml::from_str::<UpdateFragment>(text)?.resolve()
    }

    #[test]
    fn windows_open_by_the_wall_clock_of_their_zone() {
        let text = "time_zone = 'Europe/Berlin'\n[[window]]\ndays = ['sat', 'sun']\nstart = '02:30'\nminutes = 120";
        let windows = resolved(text).unwrap().windows;
        let judge =
            |at: &str| windows.judge(b"id", &Digest([2; 32]), Timestamp::parse(at).unwrap());
        // summer, winter, and the night in which half past two does not exist
        for open in [
            "2026-06-07T00:30:00Z",
            "2026-01-04T01:30:00Z",
            "2026-03-29T01:00:00Z",
        ] {
            assert_eq!(judge(open), Verdict::Open, "{open}");
        }
        let opens = Verdict::Opens(Timestamp::parse("2026-06-06T00:30:00Z").unwrap());
        assert_eq!(judge("2026-06-05T00:30:00Z"), opens);
        // far beyond the file's own table, by its rule
        assert_eq!(judge("2060-07-04T00:30:00Z"), Verdict::Open);
    }

    #[test]
    fn mistakes_in_a_window_are_named_and_open_nothing() {
        for (text, expected) in [
            (
                "[[window]]\nstart = '2:30'\nminutes = 1",
                "no time of the day",
            ),
            (
                "[[window]]\nstart = '24:00'\nminutes = 1",
                "no time of the day",
            ),
            (
                "[[window]]\nstart = '02:30'\nminutes = 0",
                "from 1 to 10080",
            ),
            (
                "[[window]]\nstart = '02:30'\nminutes = 1\ndays = []",
                "on no day",
            ),
            (
                "[[window]]\nstart = '02:30'\nminutes = 1\ndays = ['Sunday']",
                "unknown variant",
            ),
            ("[[window]]\nstart = '02:30'\nduration = 1", "unknown field"),
            ("time_zone = 'Mars/Olympus'", "does not know it"),
            ("time_zone = '../../../etc/passwd'", "no name like"),
            ("time_zone = '/etc/localtime'", "no name like"),
            ("lock = 'lock.local'", "update.lock"),
            ("lock = 'http://lock/'\nlock_group = 'a b'", "letters"),
        ] {
            let error = format!("{:#}", resolved(text).expect_err(text));
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_later_file_says_where_the_lock_is_or_that_there_is_none() {
        let fragment = |text: &str| toml::from_str::<UpdateFragment>(text).unwrap();
        let first = || fragment("lock = 'http://lock:3333/'\nlock_group = 'pi'");
        let set = first().resolve().unwrap().lock.unwrap();
        assert_eq!(
            (set.url.as_str(), set.group.as_str()),
            ("http://lock:3333", "pi")
        );
        let none = first().under(fragment("lock = ''")).resolve().unwrap();
        assert_eq!(none.lock, None);
    }
}
