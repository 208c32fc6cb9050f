//! Faults of a card, done to it while the board is off: what nobody can ask of hardware. And the cells of the fault matrix that a
//! virtual board plays: what is broken, in which state of an update, and how that must end.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hypriot_updater::boot::Copies;
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE, DATA, MIB, root};
use hypriot_updater::slot::Slot;
use serde::Deserialize;

use crate::access::write_setting;
use crate::exec;
use crate::scratch;
use crate::steps::Expect;

/// What a release with planted faults looks for on the first partition; it holds one word of [`Software`].
pub const WORD: &str = "fault";
/// More starts in one cell are a loop: two trials with a way back each, three starts of a slot that does not come up, and three
/// to spare for what the cell itself begins with.
const MOST_STARTS: usize = 10;

/// What is wrong with a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Not one block of `/data` is free.
    DataFull,
    /// `/data` can be mounted, and only read.
    DataReadOnly,
    /// The beginning of `/data` is garbage; e2fsck finds a spare superblock.
    DataCorrupt,
    /// There is nothing left of `/data`.
    DataGone,
    /// The copy of the boot state that counts is garbage.
    BootStateNewest,
    /// Both are.
    BootStateBoth,
    /// The root of slot B is garbage: a kernel that starts, and nothing behind it.
    RootB,
    /// The owner's settings have a key that there is none of.
    SettingsBroken,
    /// The owner's settings are gone.
    SettingsGone,
}

/// What the agent of a release with planted faults does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Software {
    /// Its work.
    #[default]
    Works,
    /// It does not start, whatever command it is given.
    DoesNotStart,
    /// The daemon hangs.
    Hangs,
    /// The daemon crashes each time.
    Crashes,
    /// The daemon eats the board's memory.
    OutOfMemory,
}

impl Software {
    /// As the file says it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::DoesNotStart => "does-not-start",
            Self::Hangs => "hangs",
            Self::Crashes => "crashes",
            Self::OutOfMemory => "out-of-memory",
        }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cell {
    /// In plain words.
    pub say: String,
    /// The card that was kept under this name is put in.
    pub card: String,
    /// What the agent of the release with planted faults does.
    #[serde(default)]
    pub software: Software,
    /// The trial's deadline, in seconds after boot, if it is not the one of the kept card.
    pub deadline: Option<u64>,
    /// What is broken before the board is switched on.
    #[serde(default)]
    pub strike: Vec<Fault>,
    /// What is broken in the middle of the trial, after the plug was pulled there.
    #[serde(default)]
    pub strike_in_trial: Vec<Fault>,
    /// How it must end.
    pub end: Expect,
    /// What the board then says of it somewhere in `/health?verbose`.
    #[serde(default)]
    pub told: Vec<String>,
    /// The card is kept under this name, for a later cell.
    pub keep: Option<String>,
}

impl Cell {
    /// What cannot be right about a cell.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.end.within > 0,
            "{:?}: `within` must not be 0",
            self.say
        );
        ensure!(
            self.end.slot.is_some() && self.end.release.is_some(),
            "{:?}: a cell says in which slot it ends, and with which release",
            self.say
        );
        Ok(())
    }

    /// Whether the board went through more starts than this cell may cost. `console` is since it was switched on.
    pub fn starts(&self, console: &str) -> Result<usize> {
        let starts = console.matches(STARTED).count();
        ensure!(
            starts <= MOST_STARTS,
            "{starts} starts, which is a loop; the most there may be is {MOST_STARTS}"
        );
        Ok(starts)
    }
}

/// What the boot script prints at each start (`updater::boot::script`).
const STARTED: &str = "HypriotOS: reading the boot state";

/// Gives the trial that is armed on `card` another deadline.
pub fn hurry(card: &Path, deadline: u64) -> Result<()> {
    let copies = copies(card)?;
    let mut state = copies.newest().context("no boot state")?.1.clone();
    state.trial.as_mut().context("nothing is armed")?.deadline = deadline;
    let (n, block) = copies.write(&state)?;
    let file = OpenOptions::new().write(true).open(card)?;
    Ok(file.write_all_at(&block, BOOT_STATE[n])?)
}

/// Breaks `card`, and says what the software of the release with planted faults is to do. `dir` is for scratch files.
pub fn strike(card: &Path, dir: &Path, faults: &[Fault], software: Software) -> Result<()> {
    write_setting(card, dir, WORD, software.word())?;
    for fault in faults {
        one(card, dir, *fault).with_context(|| format!("doing {fault:?} to the card"))?;
    }
    Ok(())
}

fn one(card: &Path, dir: &Path, fault: Fault) -> Result<()> {
    match fault {
        Fault::DataFull => fill(card, dir),
        Fault::DataReadOnly => {
            // ext4(5), `read-only`: the kernel mounts it so, whatever it is asked for
            let mut tune2fs = exec::command("tune2fs");
            tune2fs.args(["-O", "read-only", &data(card)]);
            exec::run(tune2fs, Duration::from_mins(1)).map(drop)
        }
        Fault::DataCorrupt => garbage(card, DATA.start, MIB),
        Fault::DataGone => {
            let size = std::fs::metadata(card)?.len() - DATA.start;
            let mut fallocate = exec::command("fallocate");
            fallocate.args(["--punch-hole", "--offset", &DATA.start.to_string()]);
            fallocate.args(["--length", &size.to_string()]).arg(card);
            exec::run(fallocate, Duration::from_mins(1)).map(drop)
        }
        Fault::BootStateNewest => {
            let newest = copies(card)?.newest().map(|(n, _)| n);
            let newest = newest.context("the card has no boot state")?;
            garbage(card, BOOT_STATE[newest], BOOT_STATE_SIZE as u64)
        }
        Fault::BootStateBoth => BOOT_STATE
            .into_iter()
            .try_for_each(|at| garbage(card, at, BOOT_STATE_SIZE as u64)),
        Fault::RootB => garbage(card, root(Slot::B).start, MIB),
        Fault::SettingsBroken => {
            let file = dir.join("broken.toml");
            scratch::put(&file, "[update]\nno_such_key = 1\n")?;
            debugfs(
                card,
                dir,
                &format!("rm {SETTINGS}\nwrite {} {SETTINGS}\n", file.display()),
            )
        }
        Fault::SettingsGone => debugfs(card, dir, &format!("rm {SETTINGS}\n")),
    }
}

/// The owner's settings on the data partition: the upper layer of `/etc`.
const SETTINGS: &str = "overlay/etc/upper/hypriot/agent.d/50-owner.toml";

/// The boot state as it lies on the card.
pub fn copies(card: &Path) -> Result<Copies> {
    let file = OpenOptions::new().read(true).open(card)?;
    let mut blocks = [[0; BOOT_STATE_SIZE]; 2];
    for (at, block) in BOOT_STATE.into_iter().zip(&mut blocks) {
        file.read_exact_at(block, at)?;
    }
    Ok(Copies::parse([&blocks[0], &blocks[1]]))
}

fn garbage(card: &Path, at: u64, length: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(card)?;
    let bytes = vec![0x5a; usize::try_from(length)?];
    Ok(file.write_all_at(&bytes, at)?)
}

/// The data partition, as e2fsprogs take it.
fn data(card: &Path) -> String {
    format!("{}?offset={}", card.display(), DATA.start)
}

/// Takes every free block: in a few steps, since what describes the large file takes some, too.
fn fill(card: &Path, dir: &Path) -> Result<()> {
    mend(card)?;
    for (n, left) in [1024, 64, 8, 0].into_iter().enumerate() {
        let blocks = free(card)?.saturating_sub(left);
        if blocks > 0 {
            let last = blocks - 1;
            let name = format!("filler{n}");
            let commands = format!("write /dev/null {name}\nfallocate {name} 0 {last}\n");
            debugfs(card, dir, &commands)?;
        }
    }
    let left = free(card)?;
    ensure!(left <= 2, "{left} blocks are still free");
    mend(card)
}

fn free(card: &Path) -> Result<u64> {
    let mut dumpe2fs = exec::command("dumpe2fs");
    dumpe2fs.args(["-h", &data(card)]);
    let text = exec::run(dumpe2fs, Duration::from_mins(1))?;
    let line = text.lines().find_map(|l| l.strip_prefix("Free blocks:"));
    let number = line.context("dumpe2fs names no free blocks")?.trim();
    Ok(number.parse()?)
}

/// Plays the journal back, and checks: what is done next lies on top of that.
fn mend(card: &Path) -> Result<()> {
    let mut e2fsck = exec::command("e2fsck");
    e2fsck.args(["-fp", &data(card)]);
    exec::run(e2fsck, Duration::from_mins(5)).map(drop)
}

fn debugfs(card: &Path, dir: &Path, commands: &str) -> Result<()> {
    let file = dir.join("debugfs");
    scratch::put(&file, commands)?;
    let mut debugfs = exec::command("debugfs");
    debugfs.arg("-w").arg("-f").arg(&file).arg(data(card));
    exec::run(debugfs, Duration::from_mins(5)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypriot_updater::boot::BootState;

    /// A card with a FAT partition, a boot state and a data partition.
    fn card(dir: &Path) -> Result<std::path::PathBuf> {
        let card = dir.join("card.img");
        let file = std::fs::File::create(&card)?;
        file.set_len(DATA.start + 128 * MIB)?;
        let mut state = BootState::fresh();
        file.write_all_at(&state.encode()?, BOOT_STATE[0])?;
        state.seq += 1;
        file.write_all_at(&state.encode()?, BOOT_STATE[1])?;
        let config = hypriot_updater::layout::CONFIG;
        let fat = dir.join("fat");
        std::fs::File::create(&fat)?.set_len(config.size)?;
        let mut mformat = exec::command("mformat");
        mformat.arg("-i").arg(&fat).args(["-F", "::"]);
        exec::run(mformat, Duration::from_mins(1))?;
        file.write_all_at(&std::fs::read(&fat)?, config.start)?;
        let mut mkfs = exec::command("mkfs.ext4");
        mkfs.args(["-q", "-E", &format!("offset={}", DATA.start)]);
        mkfs.arg(&card).arg("128M");
        exec::run(mkfs, Duration::from_mins(1))?;
        debugfs(
            &card,
            dir,
            "mkdir overlay\nmkdir overlay/etc\nmkdir overlay/etc/upper\nmkdir overlay/etc/upper/hypriot\nmkdir overlay/etc/upper/hypriot/agent.d\n",
        )?;
        let owner = dir.join("agent.toml");
        scratch::put(&owner, "[update]\npoll_seconds = 60\n")?;
        debugfs(
            &card,
            dir,
            &format!("write {} {SETTINGS}\n", owner.display()),
        )?;
        Ok(card)
    }

    fn settings(card: &Path) -> Result<String> {
        let mut debugfs = exec::command("debugfs");
        debugfs.arg("-R").arg(format!("cat {SETTINGS}"));
        debugfs.arg(data(card));
        exec::run(debugfs, Duration::from_mins(1))
    }

    fn features(card: &Path) -> Result<String> {
        let mut dumpe2fs = exec::command("dumpe2fs");
        dumpe2fs.args(["-h", &data(card)]);
        exec::run(dumpe2fs, Duration::from_mins(1))
    }

    #[test]
    fn a_fault_that_is_none_would_prove_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let fresh = card(dir.path())?;
        let struck = |fault| -> Result<std::path::PathBuf> {
            let card = dir.path().join("struck.img");
            std::fs::copy(&fresh, &card)?;
            strike(&card, dir.path(), &[fault], Software::Hangs)?;
            Ok(card)
        };
        let valid = |card: &Path| -> Result<usize> { Ok(copies(card)?.0.iter().flatten().count()) };
        assert_eq!((valid(&fresh)?, free(&fresh)? > 1000), (2, true));
        assert!(settings(&fresh)?.contains("poll_seconds"));

        assert!(free(&struck(Fault::DataFull)?)? <= 2);
        assert!(features(&struck(Fault::DataReadOnly)?)?.contains("read-only"));
        for fault in [Fault::DataCorrupt, Fault::DataGone] {
            assert!(features(&struck(fault)?).is_err(), "{fault:?}");
        }
        let one = struck(Fault::BootStateNewest)?;
        assert_eq!(
            (valid(&one)?, copies(&one)?.newest().map(|(n, _)| n)),
            (1, Some(0))
        );
        assert_eq!(valid(&struck(Fault::BootStateBoth)?)?, 0);
        assert!(settings(&struck(Fault::SettingsBroken)?)?.contains("no_such_key"));
        assert!(!settings(&struck(Fault::SettingsGone)?)?.contains("poll_seconds"));
        let mut rotten = [0; 16];
        let card = OpenOptions::new().read(true).open(struck(Fault::RootB)?)?;
        card.read_exact_at(&mut rotten, root(Slot::B).start)?;
        assert_eq!(rotten, [0x5a; 16]);
        Ok(())
    }
}
