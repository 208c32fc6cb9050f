//! A stick with updates, for boards that no network reaches: put in, it is looked at; the activity LED, and `/health` while the
//! stick is in, say what came of it.
//!
//! Nothing on it is believed. It is mounted read-only in a mount namespace of this process, only by drivers of file systems that
//! sticks have, and what lies there is verified like any other repository: it can offer a release that is newer and signed by the
//! board's own keys, and nothing else. That is why a board takes it without being asked; `[update] stick = false` forbids it.

pub mod led;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hypriot_keys::time::Timestamp;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use crate::files;
use led::{Found, Shown};

/// What came of the stick that is in; gone with it.
pub const NOTE: &str = "/run/hypriot/stick.json";
/// Where it is mounted, seen by this process alone.
pub const PLACE: &str = "/run/hypriot/private/stick";
/// The longest note: an error with all its causes.
pub const NOTE_LIMIT: u64 = 64 * 1024;
/// Every repository has it (TUF 1.0.34, section 3.1: timestamp.json is never versioned).
const SIGN: &str = "timestamp.json";
/// Where a repository may lie on a stick with other things.
const FOLDER: &str = "hypriot";
/// Kinds of file systems and their options. A journal is not replayed: nothing is written to a stick.
const KINDS: [(&str, Option<&str>); 3] =
    [("vfat", None), ("exfat", None), ("ext4", Some("noload"))];
/// How often a disk that is in use is tried again: ten seconds.
const BUSY: u32 = 50;
/// Half a period of the LED while the board works, and when nothing came of it.
const FAST: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(1);

/// What came of a stick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How far it is.
    pub state: State,
    /// In words.
    pub said: String,
    /// Since when.
    pub at: Timestamp,
    /// The LED that tells it, and what it did before.
    pub led: Option<Found>,
}

/// How far a stick is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is read.
    Working,
    /// What it has is installed, or runs already.
    Done,
    /// It has nothing that this board takes.
    Failed,
}

/// Whether what lies on the stick may be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It may.
    Given,
    /// The owner forbids sticks.
    Forbidden,
    /// A trial is going on, which says itself how it ends: the stick that brought it may still be in.
    OnTrial,
}

/// What is around the program; another in tests.
#[derive(Debug)]
pub struct Places<'a> {
    /// `/sys`.
    pub sys: &'a Path,
    /// Where the note lies.
    pub note: &'a Path,
    /// The file that names the board's own disk.
    pub card: &'a Path,
}

/// Looks at the stick and leaves the note; `install` is given the repository and says whether the board has what it offers, and in
/// which words. The LED says how it ended for as long as the returned value lives; [`gone`] gives it back.
pub fn take(
    places: &Places<'_>,
    leave: Leave,
    open: impl FnOnce() -> anyhow::Result<PathBuf>,
    install: impl FnOnce(&Path) -> anyhow::Result<(bool, String)>,
    now: impl Fn() -> Timestamp,
) -> anyhow::Result<(Note, Option<Shown>)> {
    let led = Found::look(places.sys);
    let note = |state, said: String| {
        let note = Note {
            state,
            said,
            at: now(),
            led: led.clone(),
        };
        let bytes = serde_json::to_vec(&note)?;
        files::replace(places.note, &bytes, 0o644)?;
        anyhow::Ok(note)
    };
    let ended = match leave {
        Leave::Forbidden => Ok((
            false,
            "sticks are not taken: [update] stick = false".to_owned(),
        )),
        Leave::OnTrial => Ok((true, "a trial is going on".to_owned())),
        Leave::Given => {
            note(State::Working, "it is read".to_owned())?;
            let _working = led.as_ref().map(|led| led.blink(places.sys, FAST));
            open().and_then(|at| install(&repository(&at)?))
        }
    };
    let (good, said) = ended.unwrap_or_else(|error| (false, format!("{error:#}")));
    let state = if good { State::Done } else { State::Failed };
    let note = note(state, said)?;
    let shown = led.map(|led| {
        if good {
            led.on(places.sys)
        } else {
            led.blink(places.sys, SLOW)
        }
    });
    Ok((note, shown))
}

/// The stick was pulled: its LED does again what it did before, and nothing is said any more.
pub fn gone(places: &Places<'_>) -> anyhow::Result<()> {
    let note = files::read(places.note, NOTE_LIMIT);
    if let Ok(note) = note
        .map_err(anyhow::Error::from)
        .and_then(|n| Ok(serde_json::from_slice::<Note>(&n)?))
        && let Some(led) = note.led
    {
        led.give_back(places.sys);
    }
    Ok(files::remove(places.note)?)
}

/// Mounts the stick, unless it is the disk that the board lives on.
pub fn open(device: &Path, places: &Places<'_>) -> anyhow::Result<PathBuf> {
    refuse_own(device, places)?;
    let at = Path::new(PLACE);
    std::fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    for (kind, options) in KINDS {
        let try_kind = || mount(Some(device), at, Some(kind), flags, options);
        match unless_busy(try_kind) {
            Ok(()) => return Ok(at.to_owned()),
            // another kind, or this kernel has no driver for it
            Err(Errno::EINVAL | Errno::ENODEV) => (),
            Err(error) => {
                return Err(error).with_context(|| format!("mounting {}", device.display()));
            }
        }
    }
    bail!(
        "{} has none of the file systems that are read: {}",
        device.display(),
        KINDS.map(|(kind, _)| kind).join(", ")
    )
}

/// A disk that was just put in is held for moments by the kernel, which looks for partitions, and by udev.
fn unless_busy(mut mount: impl FnMut() -> nix::Result<()>) -> nix::Result<()> {
    for _ in 0..BUSY {
        match mount() {
            Err(Errno::EBUSY) => std::thread::sleep(Duration::from_millis(200)),
            ended => return ended,
        }
    }
    mount()
}

fn refuse_own(device: &Path, places: &Places<'_>) -> anyhow::Result<()> {
    let card = files::read_text(places.card, 4096)
        .context("without the name of the board's own disk no other one is touched")?;
    let stick = disk(places.sys, device)?;
    ensure!(
        stick != disk(places.sys, Path::new(card.trim()))?,
        "{} is on {stick}, the disk that this board runs from",
        device.display()
    );
    Ok(())
}

/// The name of the disk that a block device is, or is a partition of (Documentation/ABI/stable/sysfs-block).
fn disk(sys: &Path, device: &Path) -> anyhow::Result<String> {
    let name = device.file_name().context("a device has a name")?;
    let at = sys.join("class/block").join(name);
    let at = std::fs::canonicalize(&at).with_context(|| format!("{}", at.display()))?;
    let whole = if at.join("partition").exists() {
        at.parent().unwrap_or(&at)
    } else {
        &at
    };
    Ok(whole
        .file_name()
        .context("a disk has a name")?
        .to_string_lossy()
        .into_owned())
}

/// The repository on a stick that is mounted at `at`.
fn repository(at: &Path) -> anyhow::Result<PathBuf> {
    [at.to_owned(), at.join(FOLDER)]
        .into_iter()
        .find(|folder| folder.join(SIGN).is_file())
        .with_context(|| {
            format!(
                "there is no repository on the stick: copy the files that `hypriot-imagegen publish --to` wrote to it, or into a folder \
                 `{FOLDER}` ({SIGN} is one of them)"
            )
        })
}

#[cfg(test)]
mod tests;
