//! Processes that do not outlive us: a limit in time, bounded capture of what they print, an end for all that they started, and an
//! error that names the program and shows its last words.
//!
//! No thread is used: a process that has left its process id namespace (`unshare`) gets none from the kernel.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use self::watch::watch;

mod watch;

/// What is kept of each of stdout and stderr unless the caller asks for more.
const KEEP: usize = 64 * 1024;
/// How long a program may take unless the caller says otherwise.
const LIMIT: Duration = Duration::from_secs(30);
/// How long to go on listening after it has ended, to a child of it that still holds its pipes.
const LINGER: Duration = Duration::from_millis(200);
/// Lines of a program's errors that ours show.
const SHOWN_LINES: usize = 5;

/// A program to run, with its limits.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    no_env: Vec<OsString>,
    clear_env: bool,
    directory: Option<PathBuf>,
    root: Option<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
    linger: Duration,
    keep: usize,
    excess: Excess,
    group: Group,
    show_stderr: bool,
    shown_lines: usize,
    hint: &'static str,
}

/// What becomes of a program that prints more than is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    /// The rest is thrown away, and [`Output::truncated`] says so.
    Cut,
    /// It is ended, and there is no output.
    Refuse,
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// It has a process group of its own, which is ended as a whole.
    Own,
    /// It is in ours: what a person types at the terminal reaches it.
    Ours,
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
    /// Its last lines, of stderr if there are any.
    pub last: String,
}

impl Output {
    /// Standard output as text, trailing white space removed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// Why there is no [`Output`], or not a good one.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such program.
    #[error("{program}: not found; {hint}")]
    Missing {
        /// Its name.
        program: String,
        /// What to do.
        hint: &'static str,
    },
    /// The system refused to start it.
    #[error("{program}: cannot be started: {source}")]
    Start {
        /// Its name.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// Its pipes broke, or it printed more than it may.
    #[error("{program}: talking to it failed: {source}")]
    Talk {
        /// Its name.
        program: String,
        /// The cause.
        source: io::Error,
    },
    /// It ran longer than allowed and was killed with all its children.
    #[error("{program}: killed after {} s{}", after.as_secs_f32(), tail(last))]
    TimedOut {
        /// Its name.
        program: String,
        /// The limit.
        after: Duration,
        /// Its last lines.
        last: String,
    },
    /// It ended with another exit code than 0.
    #[error("{program}: {exit}{}", tail(last))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        exit: Exit,
        /// Its last lines.
        last: String,
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
            no_env: Vec::new(),
            clear_env: false,
            directory: None,
            root: None,
            stdin: Vec::new(),
            timeout: LIMIT,
            linger: LINGER,
            keep: KEEP,
            excess: Excess::Cut,
            group: Group::Own,
            show_stderr: false,
            shown_lines: SHOWN_LINES,
            hint: "install it or correct PATH",
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

    /// Keeps variables of ours from it.
    #[must_use]
    pub fn without_env(mut self, names: impl IntoIterator<Item = OsString>) -> Self {
        self.no_env.extend(names);
        self
    }

    /// Starts from an empty environment: nothing of ours leaks in.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
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

    /// Listens for so long, after it has ended, to what it left running and still holds its output; 200 ms otherwise.
    #[must_use]
    pub fn linger(mut self, limit: Duration) -> Self {
        self.linger = limit;
        self
    }

    /// Keeps up to `bytes` of each of stdout and stderr; the rest is thrown away.
    #[must_use]
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Keeps all of stdout; of a program that prints more than `bytes` there, nothing.
    #[must_use]
    pub fn whole(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self.excess = Excess::Refuse;
        self
    }

    /// Leaves it in our process group, so that an interrupt at the terminal reaches it and it may ask for a password there. Then it
    /// alone is killed at its limit, and not what it started.
    #[must_use]
    pub fn at_the_terminal(mut self) -> Self {
        self.group = Group::Ours;
        self
    }

    /// Lets it write to our standard error, a terminal perhaps, instead of keeping what it writes there.
    #[must_use]
    pub fn show_stderr(mut self) -> Self {
        self.show_stderr = true;
        self
    }

    /// So many of its last lines are in an error.
    #[must_use]
    pub fn shown_lines(mut self, lines: usize) -> Self {
        self.shown_lines = lines;
        self
    }

    /// What a person does when there is no such program.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// Runs it to its end; another exit code than 0 is an error.
    pub fn run(&self) -> Result<Output, ExecError> {
        self.run_telling(|_| {})
    }

    /// Like [`Self::run`]; `tell` hears every line that it prints on either stream, as it comes.
    pub fn run_telling(&self, tell: impl FnMut(&str)) -> Result<Output, ExecError> {
        let output = self.output_telling(tell)?;
        if output.exit == Exit::Code(0) {
            return Ok(output);
        }
        Err(ExecError::Failed {
            program: self.name(),
            exit: output.exit,
            last: output.last,
        })
    }

    /// Runs it to its end, whatever its exit code.
    pub fn output(&self) -> Result<Output, ExecError> {
        self.output_telling(|_| {})
    }

    fn output_telling(&self, mut tell: impl FnMut(&str)) -> Result<Output, ExecError> {
        let mut child = self.start()?;
        let seen = watch(self, &mut child, &mut tell);
        // Also after a normal end: what it left running in its group must not outlive the limit.
        watch::end(&mut child, self.group, seen.is_ok());
        let seen = seen.map_err(|source| self.not_talked(source))?;
        match seen.status {
            Some(status) => Ok(Output {
                exit: status.into(),
                truncated: seen.truncated(),
                last: seen.last(),
                stdout: seen.stdout.bytes,
                stderr: seen.stderr.bytes,
            }),
            None => Err(ExecError::TimedOut {
                program: self.name(),
                after: self.timeout,
                last: seen.last(),
            }),
        }
    }

    /// Starts it so that it waits for the end of its input before it acts. It prints where we print.
    pub fn hold(&self) -> Result<Held, ExecError> {
        let started = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .spawn();
        let child = started.map_err(|source| self.not_started(source))?;
        let cmd = self.clone();
        Ok(Held { child, cmd })
    }

    /// Replaces this process by the program. Returns only when that failed.
    pub fn become_it(&self) -> ExecError {
        let source = self.command().exec();
        self.not_started(source)
    }

    fn start(&self) -> Result<Child, ExecError> {
        let mut command = self.command();
        command.stdin(if self.stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        });
        command.stderr(if self.show_stderr {
            Stdio::inherit()
        } else {
            Stdio::piped()
        });
        if self.group == Group::Own {
            command.process_group(0);
        }
        let started = command.stdout(Stdio::piped()).spawn();
        started.map_err(|source| self.not_started(source))
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
        if self.clear_env {
            command.env_clear();
        } else {
            // Programs are read by us: their words must not depend on the owner's language.
            command.env("LC_ALL", "C.UTF-8");
        }
        for name in &self.no_env {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.args(&self.args);
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
            return ExecError::Missing {
                program,
                hint: self.hint,
            };
        }
        ExecError::Start { program, source }
    }

    fn not_talked(&self, source: io::Error) -> ExecError {
        let program = self.name();
        ExecError::Talk { program, source }
    }
}

/// A program that was started and waits for the end of its input before it acts.
#[derive(Debug)]
pub struct Held {
    child: Child,
    cmd: Cmd,
}

impl Held {
    /// Gives it the rest of its input and waits for it, as long as it takes.
    pub fn release(mut self, input: &[u8]) -> Result<(), ExecError> {
        if let Some(mut pipe) = self.child.stdin.take() {
            pipe.write_all(input).map_err(|e| self.cmd.not_talked(e))?;
        }
        let status = self.child.wait().map_err(|e| self.cmd.not_talked(e))?;
        if status.success() {
            return Ok(());
        }
        Err(ExecError::Failed {
            program: self.cmd.name(),
            exit: status.into(),
            last: String::new(),
        })
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or_else(
            || Self::Signal(status.signal().unwrap_or_default()),
            Self::Code,
        )
    }
}

/// Where a program of this name lies on the PATH, or in the system directories that an ordinary user's PATH leaves out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|p| p.is_file())
}

/// Whether a program of this name can be found.
pub fn exists(program: &str) -> bool {
    find(program).is_some()
}

fn tail(last: &str) -> String {
    if last.is_empty() {
        String::new()
    } else if last.contains('\n') {
        format!(":\n{last}")
    } else {
        format!(": {last}")
    }
}

#[cfg(test)]
mod tests;
