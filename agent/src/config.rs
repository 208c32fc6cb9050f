//! Settings: what the image was made with, and what the owner changed.
//!
//! Fragments (every field optional) are merged and validated once into [`Settings`]. `/usr/lib/hypriot/agent.toml` comes
//! with the image; `/etc/hypriot/agent.d/*.toml`, in the order of their names, are the owner's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::{Automatic, Policy};
use serde::Deserialize;

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
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UpdateFragment {
    url: Option<String>,
    poll_seconds: Option<u64>,
    install: Option<Choice>,
    reboot: Option<Choice>,
    trial_deadline_seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
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
}

/// Asked more often than this, a fleet is a load test.
const MIN_POLL: u64 = 5;
const DEFAULT_POLL: u64 = 3600;
/// A trial must be over within this time after boot. Self-tests wait up to five minutes for Docker on a slow card.
const DEFAULT_DEADLINE: u64 = 900;

/// Merges fragments, given with the names they are known by; the first one is the image's.
fn merge(fragments: &[(PathBuf, String)]) -> anyhow::Result<Settings> {
    let (mut image, mut update) = (Fragment::default(), UpdateFragment::default());
    for (n, (path, text)) in fragments.iter().enumerate() {
        let fragment: Fragment =
            toml::from_str(text).with_context(|| format!("{}", path.display()))?;
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
        } else if fragment.board.is_some() || fragment.version.is_some() || fragment.built.is_some()
        {
            bail!(
                "{}: board, version and built are facts of the image and cannot be set",
                path.display()
            );
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
    })
}

/// Reads the image's fragment and the owner's.
///
/// A fragment of the owner that cannot be read is an error, not a default: a typo must not turn an update policy off.
pub fn load(image: &Path, owner: &Path) -> anyhow::Result<Settings> {
    let read = |path: PathBuf| -> anyhow::Result<(PathBuf, String)> {
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        Ok((path, text))
    };
    let mut names: Vec<PathBuf> = match fs::read_dir(owner) {
        Ok(entries) => entries
            .map(|e| e.map(|e| e.path()))
            .collect::<io::Result<_>>()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e).with_context(|| format!("reading {}", owner.display())),
    };
    names.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    names.sort();
    let fragments = std::iter::once(image.to_path_buf())
        .chain(names)
        .map(read)
        .collect::<anyhow::Result<Vec<_>>>()?;
    merge(&fragments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(texts: &[&str]) -> anyhow::Result<Settings> {
        let fragments: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(n, t)| (PathBuf::from(format!("{n}.toml")), (*t).to_owned()))
            .collect();
        merge(&fragments)
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
            ("no board", vec!["version = '1.0.0'"], "0.toml: `board`"),
            ("no version", vec!["board = 'x'\nversion = '1'"], "0.toml"),
        ] {
            let error = format!("{:#}", merged(&texts).expect_err(danger));
            assert!(error.contains(expected), "{danger}: {error}");
        }
    }
}
