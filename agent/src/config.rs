//! Settings: what the image was made with, and what the owner changed.
//!
//! Fragments (every field optional) are merged and validated once into [`Settings`]. `/usr/lib/hypriot/agent.toml` comes
//! with the image; `/etc/hypriot/agent.d/*.toml`, in the order of their names, are the owner's. A system without slots has
//! the owner's alone.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::{Automatic, Policy};
use serde::Deserialize;

use crate::update::store::DATA_LOST;

/// What the initramfs writes into the first line of [`DATA_LOST`] if the owner had closed `/health` to the network.
pub const LOCAL: &str = "local";
/// The image's fragment.
pub const IMAGE: &str = "/usr/lib/hypriot/agent.toml";
/// The owner's fragments.
pub const OWNER: &str = "/etc/hypriot/agent.d";

/// One file. Only the image's may say what the board is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fragment {
    board: Option<String>,
    version: Option<semver::Version>,
    built: Option<Timestamp>,
    update: UpdateFragment,
    health: HealthFragment,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HealthFragment {
    /// Where `/health` and the page are answered: `"127.0.0.1:8080"` and only the board itself may ask. Without it, `"[::]:8080"`.
    listen: Option<SocketAddr>,
    /// Further names by which the board may be asked for, besides its host name; of all files together.
    hosts: Vec<String>,
    /// Whether strangers are told what else only the owner should read: names of units and containers, why an update failed.
    detail: Option<bool>,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UpdateFragment {
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

/// What the agent works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the board file the image was made for.
    pub board: String,
    /// Version of the image.
    pub version: semver::Version,
    /// When the image's packages were frozen: it cannot be earlier than that.
    pub built: Timestamp,
    /// Where updates come from: a URL, or a directory.
    pub url: Option<String>,
    /// Seconds between two questions.
    pub poll: u64,
    /// What happens by itself.
    pub policy: Policy,
    /// The owner closed `/health` to the network.
    pub local: bool,
    /// Why the owner's settings do not count, if they do not: what they forbid is then not known.
    pub trouble: Option<String>,
}

/// How the HTTP half answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Further names by which the board may be asked for; of all fragments together.
    pub hosts: Vec<String>,
    /// Whether it also says what only the owner should read.
    pub detail: bool,
}

/// Where `flash` and `curl board:8080/health` expect it.
const PORT: u16 = 8080;

/// Asked more often than this, a fleet is a load test.
const MIN_POLL: u64 = 5;
const DEFAULT_POLL: u64 = 3600;
/// A trial must be over within this time after boot. Self-tests wait up to five minutes for Docker on a slow card.
const DEFAULT_DEADLINE: u64 = 900;

/// Something and the file it comes from.
type Named<T> = (PathBuf, T);

fn parse(path: &Path, text: &str) -> anyhow::Result<Fragment> {
    toml::from_str(text).with_context(|| format!("{}", path.display()))
}

/// An owner's fragment says what shall be, not what is.
fn only_wishes(path: &Path, fragment: &Fragment) -> anyhow::Result<()> {
    if fragment.board.is_some() || fragment.version.is_some() || fragment.built.is_some() {
        bail!(
            "{}: board, version and built are facts of the image and cannot be set",
            path.display()
        );
    }
    Ok(())
}

/// Merges fragments, given with the names they are known by; the first one is the image's.
fn merge(fragments: &[Named<String>]) -> anyhow::Result<Settings> {
    let (mut image, mut update) = (Fragment::default(), UpdateFragment::default());
    for (n, (path, text)) in fragments.iter().enumerate() {
        let fragment = parse(path, text)?;
        if n > 0 {
            only_wishes(path, &fragment)?;
        }
        let f = fragment.update;
        update = UpdateFragment {
            url: f.url.or(update.url),
            poll_seconds: f.poll_seconds.or(update.poll_seconds),
            install: f.install.or(update.install),
            reboot: f.reboot.or(update.reboot),
            trial_deadline_seconds: f.trial_deadline_seconds.or(update.trial_deadline_seconds),
        };
        if n == 0 {
            image = Fragment {
                update: UpdateFragment::default(),
                ..fragment
            };
        }
    }
    let name = fragments
        .first()
        .map(|(p, _)| p.display().to_string())
        .unwrap_or_default();
    let poll = update.poll_seconds.unwrap_or(DEFAULT_POLL);
    if poll < MIN_POLL {
        bail!("update.poll_seconds = {poll}: at least {MIN_POLL}");
    }
    let deadline = update.trial_deadline_seconds.unwrap_or(DEFAULT_DEADLINE);
    if deadline < 60 {
        bail!("update.trial_deadline_seconds = {deadline}: at least 60, no board starts faster");
    }
    let url = update.url.filter(|u| !u.is_empty());
    Ok(Settings {
        board: image
            .board
            .with_context(|| format!("{name}: `board` is missing"))?,
        version: image
            .version
            .with_context(|| format!("{name}: `version` is missing"))?,
        built: image.built.unwrap_or_default(),
        url,
        poll,
        policy: Policy {
            install: update.install.map_or(Automatic::Yes, Into::into),
            reboot: update.reboot.map_or(Automatic::Yes, Into::into),
            trial_deadline: deadline,
        },
        local: merge_health(fragments)?.listen.ip().is_loopback(),
        trouble: None,
    })
}

/// How the HTTP half shall answer, by fragments of which later ones override earlier ones.
fn merge_health(fragments: &[Named<String>]) -> anyhow::Result<Health> {
    let mut health = Health {
        listen: (Ipv6Addr::UNSPECIFIED, PORT).into(),
        hosts: Vec::new(),
        detail: false,
    };
    for (path, text) in fragments {
        let wish = parse(path, text)?.health;
        health.listen = wish.listen.unwrap_or(health.listen);
        health.detail = wish.detail.unwrap_or(health.detail);
        health.hosts.extend(wish.hosts);
    }
    Ok(health)
}

/// Reads the image's fragment and the owner's.
///
/// A fragment of the owner that cannot be read turns no update policy off, and no agent either: a slot on trial must be
/// judged. So the image's settings hold with everything forbidden that an owner can forbid, and the trouble is said.
pub fn load(image: &Path, owner: &Path) -> anyhow::Result<Settings> {
    let image = read(image.to_path_buf())?;
    let all = owners(owner).and_then(|theirs| {
        let mut fragments = vec![image.clone()];
        fragments.extend(theirs);
        merge(&fragments)
    });
    all.or_else(|trouble| {
        let settings = merge(&[image])?;
        Ok(Settings {
            url: None,
            policy: Policy {
                install: Automatic::No,
                reboot: Automatic::No,
                ..settings.policy
            },
            local: true,
            trouble: Some(format!("{trouble:#}")),
            ..settings
        })
    })
}

/// How the HTTP half shall answer: by the image's fragment, if there is an image, and the owner's.
///
/// An error here is none to pass over either: a typo must not open a port to the network that the owner closed.
pub fn health(image: &Path, owner: &Path) -> anyhow::Result<Health> {
    let mut fragments = Vec::new();
    if image.exists() {
        fragments.push(read(image.to_path_buf())?);
    }
    fragments.extend(owners(owner)?);
    let health = merge_health(&fragments)?;
    // the data partition is lost, and what the owner closed with it: the boot state remembers (see `init`)
    let closed = fs::read_to_string(DATA_LOST).is_ok_and(|text| text.lines().next() == Some(LOCAL));
    Ok(if closed {
        Health {
            listen: (Ipv4Addr::LOCALHOST, health.listen.port()).into(),
            ..health
        }
    } else {
        health
    })
}

/// Whether the owner set anything about updates; reads and checks what they set on a system without slots.
pub fn updates_are_set(owner: &Path) -> anyhow::Result<bool> {
    let mut set = false;
    for (path, text) in owners(owner)? {
        let fragment = parse(&path, &text)?;
        only_wishes(&path, &fragment)?;
        set |= fragment.update != UpdateFragment::default();
    }
    Ok(set)
}

fn read(path: PathBuf) -> anyhow::Result<Named<String>> {
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "reading {} (both halves of the agent read it, one without privileges: its mode must be 0644)",
            path.display()
        )
    })?;
    Ok((path, text))
}

/// The owner's fragments in the order of their names.
fn owners(owner: &Path) -> anyhow::Result<Vec<Named<String>>> {
    let mut names: Vec<PathBuf> = match fs::read_dir(owner) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<io::Result<_>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e).with_context(|| format!("reading {}", owner.display())),
    };
    names.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    names.sort();
    names.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(texts: &[&str]) -> Vec<Named<String>> {
        let name = |n| PathBuf::from(format!("{n}.toml"));
        let texts = texts.iter().enumerate();
        texts.map(|(n, t)| (name(n), (*t).to_owned())).collect()
    }

    fn merged(texts: &[&str]) -> anyhow::Result<Settings> {
        merge(&named(texts))
    }

    const IMAGE: &str = "board = 'x'\nversion = '1.2.3'\n[update]\nurl = 'http://a/'\n";

    #[test]
    fn the_owner_overrides_the_image_and_the_last_file_wins() {
        let settings = merged(&[
            IMAGE,
            "[update]\npoll_seconds = 60\ninstall = 'manual'",
            "[update]\nurl = ''\npoll_seconds = 61",
        ])
        .unwrap();
        assert_eq!(
            (settings.board.as_str(), settings.poll, settings.url),
            ("x", 61, None)
        );
        assert_eq!(settings.policy.install, Automatic::No);
        assert_eq!(settings.policy.reboot, Automatic::Yes);
    }

    #[test]
    fn mistakes_are_named_with_their_file() {
        for (danger, texts, expected) in [
            ("typo", vec![IMAGE, "[update]\npol_seconds = 60"], "1.toml"),
            ("other board", vec![IMAGE, "board = 'y'"], "1.toml: board"),
            (
                "busy loop",
                vec![IMAGE, "[update]\npoll_seconds = 1"],
                "at least 5",
            ),
            (
                "no time to boot",
                vec![IMAGE, "[update]\ntrial_deadline_seconds = 1"],
                "at least 60",
            ),
            (
                "a port that is none",
                vec![IMAGE, "[health]\nlisten = '[::]:80800'"],
                "1.toml",
            ),
            ("no board", vec!["version = '1.0.0'"], "0.toml: `board`"),
            ("no version", vec!["board = 'x'\nversion = '1'"], "0.toml"),
        ] {
            let error = format!("{:#}", merged(&texts).expect_err(danger));
            assert!(error.contains(expected), "{danger}: {error}");
        }
    }

    /// A typo must neither open what was closed nor stop the agent, which has a slot on trial to judge.
    #[test]
    fn broken_settings_of_an_owner_forbid_everything_and_stop_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (image, owner) = (dir.path().join("agent.toml"), dir.path().join("d"));
        fs::create_dir(&owner).unwrap();
        crate::files::replace(&image, IMAGE.as_bytes(), 0o644).unwrap();
        let with = |text: &[u8]| {
            crate::files::replace(&owner.join("x.toml"), text, 0o644).unwrap();
            load(&image, &owner).unwrap()
        };
        let fine = with(b"[update]\npoll_seconds = 60");
        assert_eq!((fine.trouble, fine.poll), (None, 60));
        for (danger, text) in [
            ("typo", &b"[update]\ninstal = 'manual'"[..]),
            ("no toml", b"["),
            ("no text", b"\xff\xfe"),
            ("another board", b"board = 'y'"),
        ] {
            let settings = with(text);
            let why = settings.trouble.expect(danger);
            assert!(why.contains("x.toml"), "{danger}: {why}");
            assert_eq!(settings.policy.install, Automatic::No, "{danger}");
            assert_eq!(settings.policy.reboot, Automatic::No, "{danger}");
            assert_eq!((settings.url, settings.local), (None, true), "{danger}");
        }
        assert!(
            load(&dir.path().join("none"), &owner).is_err(),
            "the image's own"
        );
    }

    #[test]
    fn health_is_open_unless_the_owner_closes_it() {
        let health = |texts: &[&str]| merge_health(&named(texts)).unwrap();
        let all = health(&[]);
        assert_eq!(all.listen, "[::]:8080".parse().unwrap());
        assert!(!all.detail && all.hosts.is_empty());
        let set = health(&[
            IMAGE,
            "[health]\nlisten = '127.0.0.1:9000'\nhosts = ['a']\ndetail = true",
            "[health]\nhosts = ['b']",
        ]);
        assert_eq!(set.listen, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(
            (set.hosts, set.detail),
            (vec!["a".into(), "b".into()], true)
        );
        // closed for the network with a typo: an error, not the open default
        let e = merge_health(&named(&["[health]\nlistn = '127.0.0.1:9000'"])).unwrap_err();
        assert!(format!("{e:#}").contains("0.toml"), "{e:#}");
    }

    #[test]
    fn owners_fragments_are_checked_where_there_is_no_image_too() {
        let dir = tempfile::tempdir().unwrap();
        let set = |text: &str| {
            crate::files::replace(&dir.path().join("x.toml"), text.as_bytes(), 0o644).unwrap();
            updates_are_set(dir.path())
        };
        assert!(!set("[health]\ndetail = true").unwrap());
        assert!(set("[update]\npoll_seconds = 60").unwrap());
        for wrong in ["board = 'x'", "[update]\npol_seconds = 60", "["] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
        assert!(!updates_are_set(Path::new("/nowhere")).unwrap());
    }
}
