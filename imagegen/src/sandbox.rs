//! Owns the sandbox that packages' scripts run in: namespaces of their own, a root of their own, no network, and a table of
//! foreign executables of their own, so that the host's is neither needed nor changed.
//!
//! Three processes: the caller runs `inside` (unshares, gets its ids mapped by a helper), which runs `inside-first` (process 1 of
//! the new world: mounts, leaves the host's root behind, gives up its rights, runs the steps). When any of them dies, all that runs
//! below it dies too.
//!
//! A script is root of the tree and of nothing else. Ids are the host's own, so nothing may rest on them: the host's file systems
//! are not there any more ([`world`]), the calls that could bring them back are refused ([`filter`]), and so are the rights
//! ([`rights`]). Each of the three would do for most ways out that are known; `tests/sandbox.rs` plays them.

pub mod errand;
mod filter;
mod foreign;
pub mod ids;
mod rights;
mod world;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::exec::{self, ExecError};

/// What shall happen in the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The directory that becomes the root.
    pub root: PathBuf,
    /// Directories and files to lay over those of the root, to read: (from the host, path in the root). Both exist.
    pub covers: Vec<(PathBuf, PathBuf)>,
    /// How foreign programs are run, if they are foreign.
    pub foreign: Option<Foreign>,
    /// What becomes of calls that wait for the disk.
    pub sync: Sync,
    /// Whom it is for.
    pub guest: Guest,
    /// What to run, in this order.
    pub steps: Vec<Step>,
}

/// Whom a sandbox is for, and so what is taken from its programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Guest {
    /// Packages' scripts, which nobody read: the kernel's calls are filtered, most of root's rights given up.
    Scripts,
    /// A program that we chose and that builds sandboxes of its own, such as the one our bench measures beside us.
    Builder {
        /// Folders to lay over those of the root, to write: (from the host, path in the root). Both exist.
        shared: Vec<(PathBuf, PathBuf)>,
    },
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
    let json = serde_json::to_vec(plan).map_err(|e| ExecError::Talk {
        program: "the sandbox".to_owned(),
        source: e.into(),
    })?;
    exec::tool(helper)
        .arg("inside")
        .stdin(json)
        .timeout(limit)
        .run_telling(on_line)
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
    let mapper = exec::tool(&me).arg("inside-map").arg(&pid).hold()?;
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
    exec::tool(&me).arg("inside-first").hold()?.release(&json)?;
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
        // Whoever started us may have left folders of the host open.
        close_inherited()?;
        // No terminal is ours: what a script types into it would be typed by the person who builds.
        nix::unistd::setsid()?;
        let plan = read_plan()?;
        world::enter(&plan)?;
        if let Guest::Scripts = plan.guest {
            filter::set(plan.sync).map_err(|e| {
                anyhow::anyhow!("cannot filter what scripts ask the kernel for: {e}")
            })?;
            rights::give_up()?;
        }
        anyhow::Ok(plan)
    };
    let plan = match ready() {
        Ok(plan) => plan,
        Err(e) => {
            print_line(&format!("{e:#}"));
            return ExitCode::FAILURE;
        }
    };
    for step in &plan.steps {
        print_line(&format!("{STEP_MARK}{}", step.what));
        let Some((program, args)) = step.argv.split_first() else {
            continue;
        };
        let cmd = exec::tool(program)
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
            // What a script left in the background and still prints belongs to its step: else what a tree holds would be a matter
            // of who was faster.
            .linger(Duration::from_secs(step.seconds));
        let cmd = step.env.iter().fold(cmd, |c, (k, v)| c.env(k, v));
        if let Err(e) = cmd.run_telling(print_line) {
            if !matches!(e, ExecError::Failed { .. }) {
                print_line(&format!("sandbox: {e}"));
            }
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn die_with_parent() -> anyhow::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Closes all but the three streams.
#[expect(unsafe_code, reason = "no crate of ours wraps close_range")]
fn close_inherited() -> anyhow::Result<()> {
    use nix::libc;
    // SAFETY: called before this process opens anything of its own.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
    if done != 0 {
        return Err(anyhow::anyhow!(
            "cannot close what was left open (Linux 5.9 can): {}",
            io::Error::last_os_error()
        ));
    }
    Ok(())
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
