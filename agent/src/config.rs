//! Settings: what the image was made with, and what the owner changed.
//!
//! Fragments (every field optional) are merged and validated once into [`Settings`]. `/usr/lib/hypriot/agent.toml` comes
//! with the image; `/etc/hypriot/agent.d/*.toml`, in the order of their names, are the owner's. A system without slots has
//! the owner's alone.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::{Automatic, Policy};
use serde::Deserialize;

use crate::files;
use crate::paths::{DATA_LOST, LOCAL};

mod server;
mod updates;
pub use server::Server;
use updates::UpdateFragment;
pub use updates::{Net, Windows};

/// The image's fragment.
pub const IMAGE: &str = "/usr/lib/hypriot/agent.toml";
/// The owner's fragments.
pub const OWNER: &str = "/etc/hypriot/agent.d";
/// A fragment is no larger.
const LIMIT: u64 = 256 * 1024;

/// One file. Only the image's may say what the board is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fragment {
    board: Option<String>,
    version: Option<semver::Version>,
    built: Option<Timestamp>,
    state_version: Option<u32>,
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

/// What the agent works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of the board file the image was made for.
    pub board: String,
    /// Version of the image.
    pub version: semver::Version,
    /// When the image's packages were frozen: it cannot be earlier than that.
    pub built: Timestamp,
    /// The shape of data that its services leave ([`hypriot_updater::slot::Release::state_version`]).
    pub state_version: u32,
    /// Where updates come from: a URL, or a directory.
    pub url: Option<String>,
    /// Seconds between two questions.
    pub poll: u64,
    /// What happens by itself.
    pub policy: Policy,
    /// Who is asked before the board restarts to try a release.
    pub lock: Option<Server>,
    /// When it may.
    pub windows: Windows,
    /// How long one hook may take.
    pub hooks: Duration,
    /// How the board speaks to servers.
    pub net: Net,
    /// Whether a stick that is put in brings updates.
    pub stick: bool,
    /// Whether boards of one network lend each other what they hold of a release.
    pub neighbours: bool,
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

/// Something and the file it comes from.
type Named<T> = (PathBuf, T);

fn parse(path: &Path, text: &str) -> anyhow::Result<Fragment> {
    toml::from_str(text).with_context(|| format!("{}", path.display()))
}

/// An owner's fragment says what shall be, not what is.
fn only_wishes(path: &Path, fragment: &Fragment) -> anyhow::Result<()> {
    let facts = (&fragment.board, &fragment.version, &fragment.built);
    if facts != (&None, &None, &None) || fragment.state_version.is_some() {
        bail!(
            "{}: board, version, built and state_version are facts of the image and cannot be set",
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
        update = update.under(fragment.update);
        if n == 0 {
            (image.board, image.version) = (fragment.board, fragment.version);
            (image.built, image.state_version) = (fragment.built, fragment.state_version);
        }
    }
    let name = fragments
        .first()
        .map(|(p, _)| p.display().to_string())
        .unwrap_or_default();
    let update = update.resolve()?;
    let local = merge_health(fragments)?.listen.ip().is_loopback();
    Ok(Settings {
        board: image
            .board
            .with_context(|| format!("{name}: `board` is missing"))?,
        version: image
            .version
            .with_context(|| format!("{name}: `version` is missing"))?,
        built: image.built.unwrap_or_default(),
        state_version: image.state_version.unwrap_or_default(),
        url: update.url,
        poll: update.poll,
        policy: update.policy,
        lock: update.lock,
        windows: update.windows,
        hooks: update.hooks,
        net: update.net,
        stick: update.stick,
        // who closes one door to the network has not opened another
        neighbours: update.neighbours && !local,
        local,
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
            stick: false,
            neighbours: false,
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
    let text = files::read_text(&path, LIMIT).with_context(|| {
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
mod tests;
