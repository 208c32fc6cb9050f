//! Owns the sandbox that packages' scripts run in: namespaces of their own, a root of their own, no network, and a table of
//! foreign executables of their own, so that the host's is neither needed nor changed.
//!
//! Three processes: the caller runs `inside` (unshares, gets its ids mapped by a helper), which runs `inside-first` (process 1 of
//! the new world: mounts, changes root, runs the steps). When any of them dies, all that runs below it dies too.

pub mod ids;
mod sync;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::{Deserialize, Serialize};

use crate::exec::{self, Cmd, ExecError};

/// What shall happen in the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The directory that becomes the root.
    pub root: PathBuf,
    /// Directories and files to lay over those of the root, to read: (from the host, path in the root). Both exist.
    pub covers: Vec<(PathBuf, PathBuf)>,
    /// The same, to write too.
    pub shared: Vec<(PathBuf, PathBuf)>,
    /// How foreign programs are run, if they are foreign.
    pub foreign: Option<Foreign>,
    /// What becomes of calls that wait for the disk.
    pub sync: Sync,
    /// What to run, in this order.
    pub steps: Vec<Step>,
}

/// What becomes of calls that wait for the disk (fsync and its kin).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sync {
    /// They wait.
    Kept,
    /// They return at once: whoever wants what was made writes it out as a whole afterwards.
    Ignored,
}

/// A program to run in the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What it is, for messages.
    pub what: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables, besides the common ones.
    pub env: Vec<(String, String)>,
    /// It is stopped after so many seconds.
    pub seconds: u64,
}

/// How the kernel recognises programs of an architecture, and what runs them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Foreign {
    /// Name of the entry.
    pub name: String,
    /// First bytes of such programs, escaped as binfmt_misc wants them.
    pub magic: String,
    /// Which bits of them count.
    pub mask: String,
    /// The emulator, a static program of the host.
    pub interpreter: PathBuf,
}

/// Marks the line that names the step under way, in what the sandbox prints.
pub const STEP_MARK: &str = "@step ";

/// Runs a plan; every line it prints goes to `on_line`. `helper` is this program.
pub fn run(
    helper: &Path,
    plan: &Plan,
    limit: Duration,
    on_line: impl FnMut(&str),
) -> Result<(), ExecError> {
    let json = serde_json::to_vec(plan).map_err(|e| ExecError::Io {
        program: "the sandbox".to_owned(),
        source: e.into(),
    })?;
    exec::run(
        Cmd::new(helper)
            .arg("inside")
            .stdin(json)
            .timeout(limit)
            .on_line(on_line),
    )
    .map(drop)
}

/// The first process: new namespaces, ids mapped one to one. It is root already, if only of a user namespace ([`ids`]).
/// Gives the exit code; why it is not 0 was printed, here or further in.
pub fn inside() -> ExitCode {
    match enter() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            if !matches!(e.downcast_ref(), Some(ExecError::Failed { .. })) {
                print_line(&format!("{e:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

fn enter() -> anyhow::Result<()> {
    let plan = read_plan()?;
    let me = std::env::current_exe()?;
    let pid = std::process::id().to_string();
    let mapper = exec::start_held(&Cmd::new(&me).arg("inside-map").arg(&pid))?;
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWNET,
    )
    .map_err(ids::refused)?;
    mapper.release(&[])?;
    die_with_parent()?;
    let json = serde_json::to_vec(&plan)?;
    // It prints on our standard output what is wrong.
    exec::start_held(&Cmd::new(&me).arg("inside-first"))?.release(&json)?;
    Ok(())
}

/// The helper that stays outside and maps the ids of `pid`, once its input ends: as the input says, else one to one.
pub fn map_ids(pid: u32) -> anyhow::Result<()> {
    let mut json = Vec::new();
    io::stdin().read_to_end(&mut json)?;
    if !json.is_empty() {
        return ids::map(pid, &serde_json::from_slice(&json)?);
    }
    for map in ["uid_map", "gid_map"] {
        // All ids that exist here exist there, under the same numbers.
        let own = fs::read_to_string(format!("/proc/self/{map}"))?;
        let lines: Vec<String> = own
            .lines()
            .filter_map(|l| {
                let n: Vec<&str> = l.split_whitespace().collect();
                (n.len() == 3).then(|| format!("{} {} {}\n", n[0], n[0], n[2]))
            })
            .collect();
        write_proc(&format!("/proc/{pid}/{map}"), lines.concat().as_bytes())?;
    }
    Ok(())
}

/// Process 1 of the new world. Gives the exit code.
pub fn first() -> ExitCode {
    let ready = || {
        die_with_parent()?;
        let plan = read_plan()?;
        world(&plan).map(|()| plan)
    };
    let plan = match ready() {
        Ok(plan) => plan,
        Err(e) => {
            print_line(&format!("{e:#}"));
            return ExitCode::FAILURE;
        }
    };
    if plan.sync == Sync::Ignored
        && let Err(e) = sync::ignore()
    {
        // A kernel without filters: slower, and nothing else.
        print_line(&format!("sandbox: programs wait for the disk: {e}"));
    }
    for step in &plan.steps {
        print_line(&format!("{STEP_MARK}{}", step.what));
        let Some((program, args)) = step.argv.split_first() else {
            continue;
        };
        let cmd = Cmd::new(program)
            .args(args)
            .clear_env()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true")
            .env("SYSTEMD_OFFLINE", "1")
            .env("INITRD", "No")
            .timeout(Duration::from_secs(step.seconds))
            .on_line(print_line);
        let cmd = step.env.iter().fold(cmd, |c, (k, v)| c.env(k, v));
        if let Err(e) = exec::run(cmd) {
            if !matches!(e, ExecError::Failed { .. }) {
                print_line(&format!("sandbox: {e}"));
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Mounts what the plan says and makes its root ours.
fn world(plan: &Plan) -> anyhow::Result<()> {
    let root = &plan.root;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(|e| place("/", e))?;
    bind(root, root)?;
    for (from, to) in &plan.covers {
        cover(from, &root.join(to))?;
    }
    for (from, to) in &plan.shared {
        bind(from, &root.join(to))?;
    }
    let nosuid = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    fs_mount(
        "proc",
        &root.join("proc"),
        nosuid | MsFlags::MS_NOEXEC,
        None,
    )?;
    for (dir, options) in [
        ("dev", "mode=755"),
        ("run", "mode=755"),
        ("tmp", "mode=1777"),
    ] {
        fs_mount("tmpfs", &root.join(dir), MsFlags::MS_NOSUID, Some(options))?;
    }
    for dir in ["pts", "shm"] {
        fs::create_dir(root.join("dev").join(dir))?;
    }
    for node in ["null", "zero", "full", "random", "urandom", "tty"] {
        let to = root.join("dev").join(node);
        fs::File::create(&to)?;
        bind(&Path::new("/dev").join(node), &to)?;
    }
    for (link, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        std::os::unix::fs::symlink(to, root.join("dev").join(link))?;
    }
    fs::create_dir_all(root.join("run/lock"))?;
    let table = match &plan.foreign {
        Some(foreign) => register(root, foreign)?,
        None => Table::Own,
    };
    // The caller's further groups are none of the scripts' business.
    nix::unistd::setgroups(&[])?;
    nix::unistd::sethostname("localhost")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    nix::unistd::chroot(root).map_err(|e| place(&root.display().to_string(), e))?;
    nix::unistd::chdir("/")?;
    match (table, &plan.foreign) {
        (Table::Hosts, Some(foreign)) => probe(foreign),
        _ => Ok(()),
    }
}

/// Whose table of foreign executables counts in the sandbox.
enum Table {
    Own,
    Hosts,
}

/// Where only the host's table counts, it must know this architecture, and have opened its emulator before we changed root.
fn probe(foreign: &Foreign) -> anyhow::Result<()> {
    // It is in every tree, and never one of the programs that are covered.
    match exec::run(Cmd::new("/usr/sbin/ldconfig").arg("--version").clear_env()) {
        Err(ExecError::Start { source, .. }) => Err(anyhow::anyhow!(
            "this kernel keeps no table of foreign programs per user namespace (Linux 6.7 does), and the machine's own does not \
             run those of the board ({source}): as root, register {} with the flag F (Debian: apt-get install qemu-user-static \
             binfmt-support), or build on a newer kernel",
            foreign.interpreter.display()
        )),
        ran => ran.map(drop).map_err(Into::into),
    }
}

/// Linux 6.7 and later keep a table of foreign executables per user namespace; before, only the host's counts.
fn register(root: &Path, foreign: &Foreign) -> anyhow::Result<Table> {
    let at = root.join("proc/sys/fs/binfmt_misc");
    let own = fs_mount(
        "binfmt_misc",
        &at,
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None,
    );
    if own.is_err() {
        return Ok(Table::Hosts);
    }
    // Documentation/admin-guide/binfmt-misc.rst: `:name:type:offset:magic:mask:interpreter:flags`, F opens the interpreter now.
    let line = format!(
        ":{}:M::{}:{}:{}:F",
        foreign.name,
        foreign.magic,
        foreign.mask,
        foreign.interpreter.display()
    );
    write_proc(&at.join("register").display().to_string(), line.as_bytes()).map_err(|e| {
        anyhow::anyhow!(
            "cannot register {} for foreign programs: {e}",
            foreign.interpreter.display()
        )
    })?;
    Ok(Table::Own)
}

fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    mount(
        Some(from),
        to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(|e| place(&to.display().to_string(), e))
}

/// Options of a mount, as they are read and as they are set; times of access stay as they are when none is named (mount(2)).
const KEPT: [(FsFlags, MsFlags); 5] = [
    (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
    (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
    (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
    (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
];

/// Lays `from` over `to`, read-only: a script that changes what it takes for the tree's file must fail, not change ours unseen.
fn cover(from: &Path, to: &Path) -> anyhow::Result<()> {
    bind(from, to)?;
    // mount_namespaces(7): in a user namespace the options that the mount had before must stay on.
    let kept = statvfs(to)?.flags();
    let kept = KEPT.into_iter().filter(|(set, _)| kept.contains(*set));
    let kept = kept.fold(MsFlags::empty(), |all, (_, keep)| all | keep);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | kept;
    mount(None::<&str>, to, None::<&str>, flags, None::<&str>)
        .map_err(|e| place(&to.display().to_string(), e))
}

fn fs_mount(kind: &str, at: &Path, flags: MsFlags, options: Option<&str>) -> anyhow::Result<()> {
    mount(Some(kind), at, Some(kind), flags, options)
        .map_err(|e| place(&at.display().to_string(), e))
}

fn place(at: &str, e: nix::errno::Errno) -> anyhow::Error {
    anyhow::anyhow!("cannot mount at {at}: {e}")
}

fn die_with_parent() -> anyhow::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

fn read_plan() -> anyhow::Result<Plan> {
    let mut json = Vec::new();
    io::stdin().take(16 << 20).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

fn print_line(line: &str) {
    use std::io::Write;
    // If nobody listens any more, the parent is gone and so are we soon.
    drop(writeln!(io::stdout(), "{line}"));
}

/// Files of the kernel are written in one call, and not replaced.
#[expect(
    clippy::disallowed_methods,
    reason = "a file of the kernel, not one on a disk"
)]
fn write_proc(path: &str, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes).map_err(|e| crate::files::named(Path::new(path), &e))
}
