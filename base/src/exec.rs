//! The only place of the agent that starts processes.
//!
//! Every process gets a time limit, a process group of its own that is killed as a whole, no terminal, and bounded
//! capture of what it prints. Its last lines of stderr are part of the error.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What is kept of each of stdout and stderr unless the caller asks for more.
const KEEP: usize = 64 * 1024;
/// How long the group gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);
/// How long to go on reading after the process has ended, for a child of it that still holds the pipe.
const LINGER: Duration = Duration::from_millis(200);

/// A program to run, with its limits.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    root: Option<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
    keep: usize,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What a process left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// The first bytes that it printed, up to the limit.
    pub stdout: Vec<u8>,
    /// The first bytes of its errors, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether it printed more than was kept.
    pub truncated: bool,
}

/// Why there is no [`Output`], or not a good one.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such program.
    #[error("{program}: not found; install it or correct PATH")]
    Missing {
        /// Its name.
        program: String,
    },
    /// The system refused to start it or to talk to it.
    #[error("{program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// It ran longer than allowed and was killed with all its children.
    #[error("{program}: killed after {} s{}", after.as_secs_f32(), tail(stderr))]
    TimedOut {
        /// Its name.
        program: String,
        /// The limit.
        after: Duration,
        /// The end of what it printed on stderr.
        stderr: String,
    },
    /// It ended with another exit code than 0.
    #[error("{program}: {exit}{}", tail(stderr))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        exit: Exit,
        /// The end of what it printed on stderr.
        stderr: String,
    },
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

impl Cmd {
    /// `program` (a path, or a name to find in PATH) with a limit of 30 s.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            root: None,
            stdin: Vec::new(),
            timeout: Duration::from_secs(30),
            keep: KEEP,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Starts it with the root directory `root`, through `chroot(8)`.
    #[must_use]
    pub fn root(mut self, root: impl AsRef<Path>) -> Self {
        self.root = Some(root.as_ref().to_owned());
        self
    }

    /// Gives it `bytes` on stdin, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Kills it, and all that it started, after `limit`.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Keeps up to `bytes` of each of stdout and stderr.
    #[must_use]
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Runs it to its end; another exit code than 0 is an error.
    pub fn run(&self) -> Result<Output, ExecError> {
        let output = self.output()?;
        if output.exit == Exit::Code(0) {
            return Ok(output);
        }
        Err(ExecError::Failed {
            program: self.name(),
            exit: output.exit,
            stderr: last_lines(&output.stderr),
        })
    }

    /// Runs it to its end, whatever its exit code.
    pub fn output(&self) -> Result<Output, ExecError> {
        let mut child = self.start()?;
        let group = child.id();
        let watched = watch(&mut child, &self.stdin, self.timeout, self.keep);
        // Also after a normal end: what it left running in its group must not outlive the limit.
        end_group(&mut child, group, watched.is_ok());
        let start_error = |source| ExecError::Start {
            program: self.name(),
            source,
        };
        let watched = watched.map_err(start_error)?;
        match watched.status {
            Some(status) => Ok(Output {
                exit: exit_of(status),
                stdout: watched.stdout.bytes,
                stderr: watched.stderr.bytes,
                truncated: watched.stdout.truncated || watched.stderr.truncated,
            }),
            None => Err(ExecError::TimedOut {
                program: self.name(),
                after: self.timeout,
                stderr: last_lines(&watched.stderr.bytes),
            }),
        }
    }

    /// Replaces this process by the program. Returns only when that failed.
    pub fn become_it(&self) -> ExecError {
        let source = self.command().exec();
        self.not_started(source)
    }

    fn start(&self) -> Result<Child, ExecError> {
        self.command()
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| self.not_started(source))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the module that the rule sends everybody else to"
    )]
    fn command(&self) -> Command {
        let mut command = match &self.root {
            None => Command::new(&self.program),
            Some(root) => {
                let mut chroot = Command::new("chroot");
                chroot.arg(root).arg(&self.program);
                chroot
            }
        };
        command.args(&self.args);
        // Programs are read by us: their words must not depend on the owner's language.
        command.env("LC_ALL", "C.UTF-8");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn not_started(&self, source: io::Error) -> ExecError {
        let program = self.name();
        if source.kind() == io::ErrorKind::NotFound {
            return ExecError::Missing { program };
        }
        ExecError::Start { program, source }
    }
}

/// What was seen of a process until its end or its limit.
struct Watched {
    /// `None`: it was still running at its limit.
    status: Option<ExitStatus>,
    stdout: Capture,
    stderr: Capture,
}

/// The first bytes of a stream; the rest is read and thrown away, so that the writer never blocks.
struct Capture {
    bytes: Vec<u8>,
    keep: usize,
    truncated: bool,
    open: bool,
}

impl Capture {
    fn new(keep: usize) -> Self {
        Self {
            bytes: Vec::new(),
            keep,
            truncated: false,
            open: true,
        }
    }

    fn take(&mut self, from: &mut impl Read) {
        let mut buffer = [0; 8192];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => {
                    self.open = false;
                    return;
                }
                Ok(n) => {
                    let room = self.keep - self.bytes.len();
                    self.bytes.extend_from_slice(&buffer[..n.min(room)]);
                    self.truncated |= n > room;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.open = false;
                    return;
                }
            }
        }
    }
}

fn watch(child: &mut Child, input: &[u8], limit: Duration, keep: usize) -> io::Result<Watched> {
    let pipe = || io::Error::other("a pipe that was asked for is not there");
    let mut out = child.stdout.take().ok_or_else(pipe)?;
    let mut err = child.stderr.take().ok_or_else(pipe)?;
    let mut stdin = child.stdin.take();
    nonblocking(&out)?;
    nonblocking(&err)?;
    if let Some(stdin) = &stdin {
        nonblocking(stdin)?;
    }
    let (mut stdout, mut stderr) = (Capture::new(keep), Capture::new(keep));
    let (mut input, started) = (input, Instant::now());
    let (mut ended, mut nap) = (None, 1);
    loop {
        let mut fds = Vec::with_capacity(3);
        if stdout.open {
            fds.push(PollFd::new(out.as_fd(), PollFlags::POLLIN));
        }
        if stderr.open {
            fds.push(PollFd::new(err.as_fd(), PollFlags::POLLIN));
        }
        if let Some(stdin) = &stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        // A short sleep that grows: the end of a process whose pipes a child still holds wakes nobody.
        match poll(&mut fds, PollTimeout::from(nap)) {
            Ok(0) => nap = (nap * 2).min(50u8),
            Ok(_) | Err(nix::errno::Errno::EINTR) => nap = 1,
            Err(e) => return Err(e.into()),
        }
        stdout.take(&mut out);
        stderr.take(&mut err);
        if let Some(pipe) = &mut stdin {
            match pipe.write(input) {
                Ok(n) => input = &input[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // It does not want the rest (EPIPE); that is its right.
                Err(_) => input = &[],
            }
            if input.is_empty() {
                stdin = None;
            }
        }
        if ended.is_none() {
            ended = child.try_wait()?.map(|status| (status, Instant::now()));
        }
        let done = match ended {
            Some((_, at)) => !(stdout.open || stderr.open) || at.elapsed() >= LINGER,
            None => started.elapsed() >= limit,
        };
        if done {
            return Ok(Watched {
                status: ended.map(|(status, _)| status),
                stdout,
                stderr,
            });
        }
    }
}

/// Ends all that is left of the process group, politely first when the leader has not ended, and reaps the leader.
fn end_group(child: &mut Child, group: u32, watched: bool) {
    let Ok(group) = i32::try_from(group).map(Pid::from_raw) else {
        return;
    };
    let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
    if watched && !ended(child) && killpg(group, Signal::SIGTERM).is_ok() {
        let asked = Instant::now();
        while !ended(child) && asked.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // The only possible failure is ESRCH: nobody is left, which is what we want.
    let _someone_was_left = killpg(group, Signal::SIGKILL).is_ok();
    drop(child.wait());
}

fn nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

fn exit_of(status: ExitStatus) -> Exit {
    status.code().map_or_else(
        || Exit::Signal(status.signal().unwrap_or_default()),
        Exit::Code,
    )
}

/// The end of a process's stderr that goes into an error: its last lines usually say why.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<&str> = text.trim_end().lines().rev().take(5).collect();
    let mut text = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
    while text.len() > 2000 {
        text.remove(0);
    }
    text
}

fn tail(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!(": {stderr}")
    }
}

#[cfg(test)]
mod tests;
