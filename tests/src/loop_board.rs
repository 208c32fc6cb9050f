//! Owns a board without a machine: the agent's own program on a card in a file, in a root directory of its own. It reads,
//! fetches, writes and reads back as on a board; only nothing starts the slot that it wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hypriot_imagegen::files;
use hypriot_updater::layout::{self, Partition};
use hypriot_updater::slot::Slot;

use crate::exec;

/// An installation that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(20);
/// How often a process is asked for its memory.
const GLANCE: Duration = Duration::from_millis(20);

/// Everything the agent sees: this machine's root under a layer that is forgotten, a `/run` as the initramfs leaves it, the
/// kernel command line of slot A. The card and its partitions have nodes of their own: nobody's udev is asked.
const WORLD: &str = r#"set -e
work=$1 card=$2 parts=$3 life=$4; shift 4
mount --make-rprivate /
mount -t tmpfs tmpfs "$work/layer"
mkdir "$work/layer/up" "$work/layer/work" "$work/layer/root"
root=$work/layer/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layer/up,workdir=$work/layer/work" "$root"
for dir in dev proc sys; do mount --rbind "/$dir" "$root/$dir"; done
mount -t tmpfs tmpfs "$root/run"
name=${card#/dev/}
mkdir -p "$root/run/card"
node() {
    numbers=$(cat "/sys/class/block/${2#/dev/}/dev")
    mknod "$root/run/card/$1" b "${numbers%:*}" "${numbers#*:}"
}
node "$name" "$card"
for part in $parts; do node "${name}p${part%%=*}" "${part#*=}"; done
mount --bind "$work/cmdline" "$root/proc/cmdline"
mkdir -p "$root/run/hypriot" "$root/data/hypriot" "$root/usr/lib/hypriot" "$root/usr/share/hypriot"
echo "/run/card/$name" > "$root/run/hypriot/card"
cp "$work/agent.toml" "$root/usr/lib/hypriot/agent.toml"
cp "$work/root.json" "$root/usr/share/hypriot/root.json"
cp "$work/hypriot-agent" "$root/usr/bin/hypriot-agent"
exec chroot "$root" /bin/sh -c "$life" sh "$@"
"#;

/// All that happens on a board that only installs.
const INSTALL: &str = r#"exec /usr/bin/hypriot-agent install "$1" --no-reboot --json"#;

/// A board whose card is a file.
#[derive(Debug)]
pub struct LoopBoard {
    /// The loop device of the card, and those of the slots' partitions by number: not every kernel reads partition tables.
    card: Loop,
    parts: Vec<(u8, Loop)>,
    dir: PathBuf,
}

/// What an installation took.
#[derive(Debug, Clone)]
pub struct Installed {
    /// From the start of the program to its end.
    pub took: Duration,
    /// The most memory that it held at a time, in MiB (`VmHWM`, proc_pid_status(5)).
    pub rss: f64,
    /// Whether it ended well.
    pub well: bool,
    /// The lines it printed, `--json`.
    pub said: String,
}

/// What runs on the board.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// The agent's program, built for this machine.
    pub agent: &'a Path,
    /// Board and version of the image on the card.
    pub board: &'a str,
    /// Version of it.
    pub version: &'a str,
    /// `root.json` that it trusts.
    pub trust_root: &'a Path,
}

impl LoopBoard {
    /// A board in the empty folder `dir`, with the card `image`, which is written. Needs root.
    pub fn new(image: &Path, dir: &Path, running: Running<'_>) -> Result<Self> {
        ensure!(is_root()?, "a card in a file needs root, for a loop device");
        std::fs::create_dir_all(dir.join("layer"))?;
        std::fs::copy(running.agent, dir.join("hypriot-agent"))
            .with_context(|| format!("copying {}", running.agent.display()))?;
        std::fs::copy(running.trust_root, dir.join("root.json"))?;
        let settings = format!(
            "board = \"{}\"\nversion = \"{}\"\nbuilt = \"2026-01-01T00:00:00Z\"\n\n[update]\n",
            running.board, running.version
        );
        files::replace(&dir.join("agent.toml"), settings.as_bytes())?;
        files::replace(
            &dir.join("cmdline"),
            b"hypriot.slot=a hypriot.disk=any panic=5\n",
        )?;
        let parts = Slot::ALL
            .into_iter()
            .flat_map(|slot| [layout::boot(slot), layout::root(slot)]);
        let part = |p: Partition| Ok((p.number, Loop::new(image, Some((p.start, p.size)))?));
        Ok(Self {
            card: Loop::new(image, None)?,
            parts: parts.map(part).collect::<Result<_>>()?,
            dir: dir.to_owned(),
        })
    }

    /// The devices of the partitions that `slot` consists of: boot, root.
    pub fn devices(&self, slot: Slot) -> [&Path; 2] {
        // as they were opened: both of slot A, both of slot B
        let first = if slot == Slot::A { 0 } else { 2 };
        [first, first + 1].map(|n| Path::new(&self.parts[n].1.0))
    }

    /// `hypriot-agent install SOURCE`, without the restart.
    pub fn install(&self, source: &str) -> Result<Installed> {
        let mut agent = self.life(exec::command("unshare"), INSTALL);
        agent.arg(source);
        agent.stdout(Stdio::piped()).stderr(Stdio::piped());
        measured(agent, LIMIT)
    }

    /// A script that lives on this board, started by `unshare` or by what runs it elsewhere. Its arguments follow.
    pub fn life(&self, mut unshare: Command, script: &str) -> Command {
        let one = |(number, device): &(u8, Loop)| format!("{number}={}", device.0);
        let parts: Vec<_> = self.parts.iter().map(one).collect();
        unshare
            .args(["--mount", "sh", "-c", WORLD, "sh"])
            .arg(&self.dir)
            .arg(&self.card.0)
            .arg(parts.join(" "))
            .arg(script);
        unshare
    }
}

/// A loop device, given back when it is dropped.
#[derive(Debug)]
struct Loop(String);

impl Loop {
    fn new(file: &Path, part: Option<(u64, u64)>) -> Result<Self> {
        let mut losetup = exec::command("losetup");
        // Past this machine's own cache, as far as its file system can: what is read back then comes from its disk.
        losetup.args(["--find", "--show", "--direct-io=on"]);
        if let Some((start, size)) = part {
            losetup.args([
                "--offset",
                &start.to_string(),
                "--sizelimit",
                &size.to_string(),
            ]);
        }
        losetup.arg(file);
        let device = exec::run(losetup, Duration::from_mins(1))?;
        Ok(Self(device.trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let mut losetup = exec::command("losetup");
        losetup.args(["--detach", &self.0]);
        // A device that stays is freed when the machine restarts.
        drop(exec::run(losetup, Duration::from_mins(1)));
    }
}

fn is_root() -> Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status.lines().any(|l| l.starts_with("Uid:\t0\t0")))
}

/// Runs a program whose output goes to pipes, and watches its memory.
pub fn measured(mut command: Command, within: Duration) -> Result<Installed> {
    let words = format!("{command:?}");
    let begun = Instant::now();
    let child = command
        .spawn()
        .with_context(|| format!("starting {words}"))?;
    let status = format!("/proc/{}/status", child.id());
    let (ended, over) = std::sync::mpsc::channel::<()>();
    let watch = thread::spawn(move || {
        let mut most = 0.0_f64;
        loop {
            if let Some(now) = peak(&status) {
                most = most.max(now);
            }
            match over.recv_timeout(GLANCE) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => (),
                _ => return most,
            }
        }
    });
    let output = exec::wait(child, within);
    let took = begun.elapsed();
    drop(ended);
    let rss = watch.join().unwrap_or_default();
    let output = output.with_context(|| words)?;
    Ok(Installed {
        took,
        rss,
        well: output.status.success(),
        said: format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    })
}

/// `VmHWM` in MiB.
fn peak(status: &str) -> Option<f64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}
