//! Owns every process this crate starts: one way to run a program, with a deadline, its output kept, and an error that
//! names the program and shows its last words.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Lines of a program's output that an error shows.
const TAIL_LINES: usize = 25;
/// More standard output than this is an error: nothing we run prints more, and memory is bounded.
const MAX_STDOUT: u64 = 256 << 20;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// It is not installed, or not executable.
    #[error("cannot start {program}: {source}{}", missing_hint(.source))]
    Start {
        /// The program as it was called.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ran longer than allowed and was killed.
    #[error("{program} did not finish within {seconds} s and was stopped{}", shown(.tail))]
    Timeout {
        /// The program as it was called.
        program: String,
        /// The deadline.
        seconds: u64,
        /// Its last lines.
        tail: String,
    },
    /// It ended with an error of its own.
    #[error("{program} failed ({status}){}", shown(.tail))]
    Failed {
        /// The program as it was called.
        program: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// Its last lines.
        tail: String,
    },
    /// Its pipes broke, or it printed more than we keep.
    #[error("talking to {program} failed: {source}")]
    Io {
        /// The program as it was called.
        program: String,
        /// What went wrong.
        source: std::io::Error,
    },
}

fn missing_hint(e: &std::io::Error) -> &'static str {
    match e.kind() {
        std::io::ErrorKind::NotFound => {
            " (is it installed? `hypriot-imagegen doctor` names what is missing)"
        }
        _ => "",
    }
}

fn shown(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; its last lines:\n{tail}")
    }
}

/// A program to run: what [`run`] needs to know.
pub struct Cmd<'a> {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    no_env: Vec<OsString>,
    clear_env: bool,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
    show_stderr: bool,
    on_line: Option<OnLine<'a>>,
}

type OnLine<'a> = Box<dyn FnMut(&str) + 'a>;

impl std::fmt::Debug for Cmd<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cmd")
            .field("line", &self.display())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// What a program that succeeded printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// The last lines of its standard error.
    pub stderr_tail: String,
}

impl Output {
    /// Standard output as text, trailing white space removed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

impl<'a> Cmd<'a> {
    /// A program with a deadline of ten minutes and no input.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            no_env: Vec::new(),
            clear_env: false,
            dir: None,
            stdin: Vec::new(),
            timeout: Duration::from_mins(10),
            show_stderr: false,
            on_line: None,
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
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets one variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Keeps variables of ours from it.
    #[must_use]
    pub fn without_env(mut self, keys: impl IntoIterator<Item = OsString>) -> Self {
        self.no_env.extend(keys);
        self
    }

    /// Starts from an empty environment: nothing of the host leaks in.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Gives it this on standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Stops it after this time.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Lets it write to our standard error, a terminal perhaps, instead of keeping what it writes there.
    #[must_use]
    pub fn show_stderr(mut self) -> Self {
        self.show_stderr = true;
        self
    }

    /// Calls `f` with every line it prints on either stream, as it comes.
    #[must_use]
    pub fn on_line(mut self, f: impl FnMut(&str) + 'a) -> Self {
        self.on_line = Some(Box::new(f));
        self
    }

    /// The command line, for messages.
    pub fn display(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|s| s.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Program and first argument: enough to recognise it in an error.
    fn name(&self) -> String {
        let program = Path::new(&self.program)
            .file_name()
            .unwrap_or(&self.program)
            .to_string_lossy()
            .into_owned();
        match self.args.first().map(|a| a.to_string_lossy()) {
            Some(first) if first.len() < 40 => format!("`{program} {first}`"),
            _ => format!("`{program}`"),
        }
    }
}

/// Runs a program to its end. Anything but exit code 0 within the deadline is an error that shows its last lines.
pub fn run(mut cmd: Cmd<'_>) -> Result<Output, ExecError> {
    let program = cmd.name();
    let deadline = Instant::now() + cmd.timeout;
    let mut child = start(&cmd).map_err(|source| ExecError::Start {
        program: program.clone(),
        source,
    })?;
    let io = |source| ExecError::Io {
        program: program.clone(),
        source,
    };

    let (lines_in, lines) = channel();
    if let Some(mut pipe) = child.stdin.take() {
        let input = std::mem::take(&mut cmd.stdin);
        // The program may end without reading its input: then its exit code tells, not a broken pipe.
        std::thread::spawn(move || drop(pipe.write_all(&input)));
    }
    if let Some(pipe) = child.stdout.take() {
        let to = lines_in.clone();
        std::thread::spawn(move || feed(pipe, &to, true));
    }
    if let Some(pipe) = child.stderr.take() {
        let to = lines_in.clone();
        std::thread::spawn(move || feed(pipe, &to, false));
    }
    // The lines end when those who still have a sender do.
    drop(lines_in);

    let mut kept = Kept::default();
    let mut on_line = cmd.on_line.take();
    let finished = drain(&lines, &mut kept, deadline, &mut |l| {
        if let Some(f) = on_line.as_mut() {
            f(l);
        }
    });
    let status = if finished.map_err(io)? {
        wait_until(&mut child, deadline).map_err(io)?
    } else {
        None
    };
    let tail = kept.tail();
    match status {
        Some(status) if status.success() => Ok(Output {
            stdout: kept.stdout,
            stderr_tail: tail,
        }),
        Some(status) => Err(ExecError::Failed {
            program,
            status,
            tail,
        }),
        None => {
            stop(&mut child);
            Err(ExecError::Timeout {
                program,
                seconds: cmd.timeout.as_secs(),
                tail,
            })
        }
    }
}

/// A program that was started and waits for the end of its input before it acts.
#[derive(Debug)]
pub struct Held {
    child: Child,
    program: String,
}

/// Starts a program that reads its input to the end before it acts; [`Held::release`] lets it go on. It prints where we print.
/// No thread is used: after `unshare` of process ids the kernel gives none.
pub fn start_held(cmd: &Cmd<'_>) -> Result<Held, ExecError> {
    let program = cmd.name();
    let mut c = prepare(cmd);
    c.stdin(Stdio::piped())
        .stdout(Stdio::inherit())
        .stderr(Stdio::inherit());
    let child = c.spawn().map_err(|source| ExecError::Start {
        program: program.clone(),
        source,
    })?;
    Ok(Held { child, program })
}

impl Held {
    /// Gives it the rest of its input and waits for it, as long as it takes.
    pub fn release(mut self, input: &[u8]) -> Result<(), ExecError> {
        let io = |source| ExecError::Io {
            program: self.program.clone(),
            source,
        };
        if let Some(mut pipe) = self.child.stdin.take() {
            pipe.write_all(input).map_err(io)?;
        }
        let status = self.child.wait().map_err(io)?;
        if status.success() {
            Ok(())
        } else {
            Err(ExecError::Failed {
                program: self.program.clone(),
                status,
                tail: String::new(),
            })
        }
    }
}

/// True if a program of this name is on the PATH.
pub fn exists(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program of this name lies on the PATH, or in the system directories an ordinary user's PATH leaves out.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that starts processes"
)]
fn command(program: &OsStr) -> Command {
    Command::new(program)
}

fn prepare(cmd: &Cmd<'_>) -> Command {
    let mut c = command(&cmd.program);
    if cmd.clear_env {
        c.env_clear();
    }
    for key in &cmd.no_env {
        c.env_remove(key);
    }
    c.args(&cmd.args).envs(cmd.env.iter().map(|(k, v)| (k, v)));
    if let Some(dir) = &cmd.dir {
        c.current_dir(dir);
    }
    c
}

fn start(cmd: &Cmd<'_>) -> std::io::Result<Child> {
    let mut c = prepare(cmd);
    c.stdin(if cmd.stdin.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    });
    c.stderr(if cmd.show_stderr {
        Stdio::inherit()
    } else {
        Stdio::piped()
    });
    c.stdout(Stdio::piped()).spawn()
}

/// One piece of output: from stdout (true) or stderr, or the end of a stream.
type Piece = std::io::Result<(bool, Vec<u8>)>;

fn feed(pipe: impl Read, to: &std::sync::mpsc::Sender<Piece>, is_stdout: bool) {
    let mut reader = BufReader::with_capacity(1 << 16, pipe);
    loop {
        let mut line = Vec::new();
        let got = reader.by_ref().take(1 << 16).read_until(b'\n', &mut line);
        let piece = match got {
            Ok(0) => return,
            Ok(_) => Ok((is_stdout, line)),
            Err(e) => Err(e),
        };
        if to.send(piece).is_err() {
            return;
        }
    }
}

#[derive(Default)]
struct Kept {
    stdout: Vec<u8>,
    err: VecDeque<String>,
    out: VecDeque<String>,
}

impl Kept {
    fn tail(&self) -> String {
        let tail = if self.err.is_empty() {
            &self.out
        } else {
            &self.err
        };
        tail.iter()
            .map(|l| format!("  {l}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Takes output until both streams end (true) or the deadline passes (false).
fn drain(
    lines: &Receiver<Piece>,
    kept: &mut Kept,
    deadline: Instant,
    on_line: &mut dyn FnMut(&str),
) -> std::io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (is_stdout, bytes) = match lines.recv_timeout(left) {
            Ok(piece) => piece?,
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
        };
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        on_line(line);
        let tail = if is_stdout {
            &mut kept.out
        } else {
            &mut kept.err
        };
        if !line.is_empty() {
            tail.push_back(line.chars().take(400).collect());
        }
        if tail.len() > TAIL_LINES {
            tail.pop_front();
        }
        if is_stdout {
            if (kept.stdout.len() + bytes.len()) as u64 > MAX_STDOUT {
                return Err(std::io::Error::other("it printed more than 256 MiB"));
            }
            kept.stdout.extend_from_slice(&bytes);
        }
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stop(child: &mut Child) {
    // Both may fail only because it has ended meanwhile, which is what we want.
    drop(child.kill());
    drop(child.wait());
}

#[cfg(test)]
mod tests;
