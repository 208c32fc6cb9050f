//! Process 1 of the initramfs: from a kernel with nothing to systemd on the slot's root.
//!
//! 1. kernel file systems, modules of the board (`/modules.list`), its watchdog ([`watchdog`])
//! 2. the disk, by the signature the boot loader gave
//! 3. at the first boot of a card: identity and data partition ([`first_boot`])
//! 4. root (EROFS, read-only), data, the layer of the owner's packages ([`layer`]), overlays and bind mounts ([`mounts`])
//! 5. hand over ([`switch`])
//!
//! Whatever fails is said on the console and the board restarts after a while: on trial that is the way back to the
//! other slot.

mod first_boot;
mod layer;
mod mounts;
mod seed;
mod switch;
mod watchdog;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};
use hypriot_updater::boot::{BootState, Phase, Trial};
use hypriot_updater::layout::{self, Partition};
use hypriot_updater::slot::Slot;
use nix::mount::MsFlags;
use nix::sys::reboot::{RebootMode, reboot};

use crate::cmdline::{self, Disk, Told};

use crate::card::disk::Card;
use crate::card::loader;
use crate::card::ports::Bootloader as _;
use crate::exec::Cmd;
use crate::files;
use crate::paths::{CARD, TRIED};
use watchdog::Watchdog;

/// Where the slot's root is mounted before it becomes `/`.
const ROOT: &str = "/root";
/// Where a layer of the owner's packages is put over it.
const MERGED: &str = "/merged";
/// How often a device is looked for, 100 ms apart: USB disks and slow cards take seconds.
const TRIES: u32 = 300;

/// Longer than every step that has a limit of its own (e2fsck twice, mkfs, two searches): an initramfs that takes longer
/// hangs, and on trial a restart is the way back.
const AT_LAST: Duration = Duration::from_mins(90);

/// Runs as process 1. Never returns: the process becomes systemd, or the board restarts.
pub fn main() -> ! {
    restart_at_last();
    let ready = prepare();
    let error = match ready.and_then(|watchdog| switch::to(Path::new(ROOT), watchdog)) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    say(3, &format!("{error:#}"));
    say(3, "restarting in 10 s");
    sleep(Duration::from_secs(10));
    restart();
    // panic=5 on the command line restarts a board whose process 1 ends
    std::process::exit(1)
}

fn restart() {
    let Err(e) = reboot(RebootMode::RB_AUTOBOOT);
    say(0, &format!("the kernel does not restart: {e}"));
}

/// Restarts the board when the initramfs does not come to an end. The thread goes when this process becomes systemd.
fn restart_at_last() {
    let started = std::thread::Builder::new().spawn(|| {
        sleep(AT_LAST);
        say(2, "the initramfs hangs, restarting");
        restart();
    });
    if let Err(error) = started {
        say(4, &format!("nothing ends an initramfs that hangs: {error}"));
    }
}

/// Makes the system that systemd is started in. The watchdog is fed until then.
fn prepare() -> anyhow::Result<Option<Watchdog>> {
    mounts::kernel()?;
    load_modules(Path::new("/modules.list"))?;
    let line = std::fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
    let watchdog = cmdline::wants_watchdog(&line)
        .then(|| {
            let device = Path::new(watchdog::DEVICE);
            Watchdog::start(device, watchdog::PERIOD, AT_LAST + Duration::from_mins(5))
        })
        .flatten();
    let arguments = cmdline::parse(&line)?;
    say(
        6,
        &format!("slot {}, disk {}", arguments.slot, arguments.disk),
    );

    let card = wait_for(|| {
        let (sys, dev) = (Path::new("/sys/class/block"), Path::new("/dev"));
        match arguments.disk {
            Disk::Signature(signature) => Card::find(sys, dev, signature),
            Disk::Any => Card::find_any(sys, dev),
        }
    })
    .with_context(|| format!("no disk is {}", arguments.disk))?;
    // the signature changes at the first boot, so the agent is told the device itself
    std::fs::create_dir_all("/run/hypriot")?;
    files::replace(
        Path::new(CARD),
        card.device.to_string_lossy().as_bytes(),
        0o644,
    )?;
    let slot = loader::slot(arguments.slot).context("asking the firmware for the slot")?;
    if loader::began(&card, arguments.slot).context("marking this start")? {
        say(
            4,
            &format!("slot {slot} does not come up, the other one has its turn"),
        );
        restart();
    }
    let state = boot_state(&card, arguments.slot, slot)?;
    let blank = first_boot::is_blank(&card)?;
    if blank {
        // before anything of this disk is mounted, because the kernel must read the table again
        first_boot::give_identity(&card)?;
    }
    let root = node(&card, &layout::root(slot))?;
    mounts::root(&root, Path::new(ROOT))?;
    let data = node(&card, &layout::DATA)?;
    if blank {
        first_boot::make_data(&card, &data, Path::new(ROOT))?;
    }
    let local = state.as_ref().is_some_and(|s| s.local);
    mounts::data(&data, Path::new(ROOT), local)?;
    let brought = layer::lay(Path::new(ROOT), Path::new(MERGED), state.as_ref());
    mounts::config(&node(&card, &layout::CONFIG)?, Path::new(ROOT));
    mounts::state(Path::new(ROOT), local, &brought)?;
    Ok(watchdog)
}

/// Looks at the boot state, and leaves in `/run` whether this boot is a trial: what must end it may need nothing else.
fn boot_state(card: &Card, told: Told, slot: Slot) -> anyhow::Result<Option<BootState>> {
    let state = loader::open(card, told).and_then(|boot| boot.state());
    match state {
        Ok(state) => {
            let tried = |t: &&Trial| matches!(t.phase, Phase::Armed | Phase::Trying);
            if let Some(trial) = state.on_trial(slot).filter(tried) {
                say(
                    6,
                    &format!("slot {slot} is on trial for {} s", trial.deadline),
                );
                files::replace(Path::new(TRIED), trial.id.as_bytes(), 0o644)?;
            }
            Ok(Some(state))
        }
        // a board that runs can still say so
        Err(error) => {
            say(2, &format!("the boot state cannot be read: {error}"));
            Ok(None)
        }
    }
}

/// Loads the modules in the order of the list; one that the kernel refuses is named and passed over, because what it
/// is needed for says so itself.
fn load_modules(list: &Path) -> anyhow::Result<()> {
    let list =
        std::fs::read_to_string(list).with_context(|| format!("reading {}", list.display()))?;
    for path in list.lines().filter(|l| !l.is_empty()) {
        let file = File::open(path).with_context(|| format!("opening module {path}"))?;
        match nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => (),
            Err(e) => say(4, &format!("module {path}: {e}")),
        }
    }
    Ok(())
}

/// The node of a partition, once the kernel has made it.
fn node(card: &Card, partition: &Partition) -> anyhow::Result<PathBuf> {
    let node = card.partition_node(partition);
    wait_for(|| Ok(node.exists().then(|| node.clone())))
        .with_context(|| format!("{} ({}) does not appear", node.display(), partition.name))
}

fn wait_for<T>(mut look: impl FnMut() -> io::Result<Option<T>>) -> anyhow::Result<T> {
    for _ in 0..TRIES {
        if let Some(found) = look()? {
            return Ok(found);
        }
        sleep(Duration::from_millis(100));
    }
    bail!("not found in {} s", TRIES / 10)
}

/// Runs a program of the slot's root with that root as its `/`.
fn in_root(root: &Path, program: &str) -> Cmd {
    Cmd::new("/proc/self/exe")
        .arg("in-root")
        .arg(root)
        .arg(program)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
}

/// `hypriot-agent in-root DIR PROGRAM ...`: changes root and becomes the program. The initramfs has no `chroot(8)`.
pub fn become_in_root(root: &Path, program: &str, arguments: &[String]) -> anyhow::Error {
    let entered = std::env::set_current_dir(root)
        .and_then(|()| nix::unistd::chroot(".").map_err(io::Error::from));
    match entered {
        Ok(()) => Cmd::new(program).args(arguments).become_it().into(),
        Err(e) => anyhow::Error::new(e).context(format!("changing root to {}", root.display())),
    }
}

/// Mounts with a message that names all three.
pub(crate) fn mount(
    source: &Path,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> anyhow::Result<()> {
    nix::mount::mount(Some(source), target, kind, flags, data).with_context(|| {
        format!(
            "mounting {} on {}{}",
            source.display(),
            target.display(),
            kind.map(|k| format!(" as {k}")).unwrap_or_default()
        )
    })
}

/// Writes a line to the kernel log, and so to the console and, later, the journal.
fn say(level: u8, text: &str) {
    let line = format!("<{level}>hypriot-init: {text}\n");
    let written = OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")
        .and_then(|mut f| f.write_all(line.as_bytes()));
    if written.is_err() {
        // before /dev is there; the kernel gives process 1 the console as stderr
        eprint!("{line}");
    }
}
