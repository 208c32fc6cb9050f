//! A process until its end or its limit: feeds it, keeps what it says, and ends it with all it started.

use std::collections::VecDeque;
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ExitStatus};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{Cmd, Excess, Group};

/// How long a process gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);
/// So many pieces are read of one stream before anything else is looked at.
const AT_ONCE: usize = 32;
/// So much of one line is shown in an error.
const SHOWN_WIDTH: usize = 400;
/// So much is told as one line: a program may print without ever ending one.
const LONGEST_LINE: usize = 64 * 1024;

/// What was seen of a process.
pub(super) struct Seen {
    /// `None`: it was still running at its limit.
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: Capture,
    pub(super) stderr: Capture,
}

impl Seen {
    pub(super) fn truncated(&self) -> bool {
        self.stdout.truncated || self.stderr.truncated
    }

    /// What goes into an error: the last lines usually say why, and some programs say it on stdout.
    pub(super) fn last(&self) -> String {
        let of = [&self.stderr, &self.stdout].map(Capture::last_lines);
        of.into_iter().find(|l| !l.is_empty()).unwrap_or_default()
    }
}

/// The first bytes of a stream and its last lines; the rest is read and thrown away, so that the writer never blocks.
pub(super) struct Capture {
    pub(super) bytes: Vec<u8>,
    keep: usize,
    truncated: bool,
    open: bool,
    line: Vec<u8>,
    last: VecDeque<String>,
    lines: usize,
}

impl Capture {
    fn new(cmd: &Cmd) -> Self {
        Self {
            bytes: Vec::new(),
            keep: cmd.keep,
            truncated: false,
            open: true,
            line: Vec::new(),
            last: VecDeque::new(),
            lines: cmd.shown_lines,
        }
    }

    /// Takes what is there now, and of a flood a part: whoever prints without a pause has a limit too, and another stream.
    fn take(&mut self, from: &mut impl Read, tell: &mut dyn FnMut(&str)) {
        let mut buffer = [0; 8192];
        for _ in 0..AT_ONCE {
            match from.read(&mut buffer) {
                Ok(0) => self.open = false,
                Ok(n) => self.hear(&buffer[..n], tell),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.open = false,
            }
            if !self.open {
                return;
            }
        }
    }

    fn hear(&mut self, piece: &[u8], tell: &mut dyn FnMut(&str)) {
        let room = self.keep - self.bytes.len();
        self.bytes
            .extend_from_slice(&piece[..piece.len().min(room)]);
        self.truncated |= piece.len() > room;
        for part in piece.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") || self.line.len() >= LONGEST_LINE {
                self.end_line(tell);
            }
        }
    }

    fn end_line(&mut self, tell: &mut dyn FnMut(&str)) {
        if self.line.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim_end();
        tell(line);
        if !line.is_empty() {
            self.last
                .push_back(line.chars().take(SHOWN_WIDTH).collect());
        }
        if self.last.len() > self.lines {
            self.last.pop_front();
        }
        self.line.clear();
    }

    fn last_lines(&self) -> String {
        self.last
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Both streams, what is still to be said to it, and since when.
struct Talk<'a, O, E> {
    out: Option<O>,
    err: Option<E>,
    stdin: Option<ChildStdin>,
    input: &'a [u8],
}

impl<O: Read + AsFd, E: Read + AsFd> Talk<'_, O, E> {
    /// Waits until one of the pipes has something for us, or `nap` milliseconds. True when something was there.
    fn wait(&self, nap: u8) -> io::Result<bool> {
        let mut fds = Vec::with_capacity(3);
        fds.extend(
            self.out
                .as_ref()
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(
            self.err
                .as_ref()
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(
            self.stdin
                .as_ref()
                .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLOUT)),
        );
        match poll(&mut fds, PollTimeout::from(nap)) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    fn say(&mut self) {
        let Some(pipe) = &mut self.stdin else {
            return;
        };
        match pipe.write(self.input) {
            Ok(n) => self.input = &self.input[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            // It does not want the rest (EPIPE); that is its right.
            Err(_) => self.input = &[],
        }
        if self.input.is_empty() {
            self.stdin = None;
        }
    }
}

/// Follows a process to its end or its limit.
pub(super) fn watch(cmd: &Cmd, child: &mut Child, tell: &mut dyn FnMut(&str)) -> io::Result<Seen> {
    let mut talk = Talk {
        out: child.stdout.take(),
        err: child.stderr.take(),
        stdin: child.stdin.take(),
        input: &cmd.stdin,
    };
    nonblocking(talk.out.as_ref())?;
    nonblocking(talk.err.as_ref())?;
    nonblocking(talk.stdin.as_ref())?;
    let (mut stdout, mut stderr) = (Capture::new(cmd), Capture::new(cmd));
    let (started, mut ended, mut nap) = (Instant::now(), None, 1);
    loop {
        // A short sleep that grows: the end of a process whose pipes a child still holds wakes nobody.
        nap = if talk.wait(nap)? {
            1
        } else {
            (nap * 2).min(50)
        };
        listen(&mut talk.out, &mut stdout, tell);
        listen(&mut talk.err, &mut stderr, tell);
        if stdout.truncated && cmd.excess == Excess::Refuse {
            let text = format!("it printed more than {} bytes", cmd.keep);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        talk.say();
        if ended.is_none() {
            ended = child.try_wait()?.map(|status| (status, Instant::now()));
        }
        let done = match ended {
            Some((_, at)) => talk.out.is_none() && talk.err.is_none() || at.elapsed() >= cmd.linger,
            None => started.elapsed() >= cmd.timeout,
        };
        if done {
            stdout.end_line(tell);
            stderr.end_line(tell);
            return Ok(Seen {
                status: ended.map(|(status, _)| status),
                stdout,
                stderr,
            });
        }
    }
}

/// Hears what is there, and lets go of a stream that has ended.
fn listen(from: &mut Option<impl Read>, to: &mut Capture, tell: &mut dyn FnMut(&str)) {
    if let Some(stream) = from {
        to.take(stream, tell);
    }
    if !to.open {
        *from = None;
    }
}

/// Ends what is left of it, politely first when it has not ended, and reaps it.
pub(super) fn end(child: &mut Child, group: Group, watched: bool) {
    let Ok(id) = i32::try_from(child.id()).map(Pid::from_raw) else {
        return;
    };
    let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
    let send = |child: &mut Child, signal| match group {
        Group::Own => killpg(id, signal).is_ok(),
        // its number may be another's once it was reaped
        Group::Ours => !ended(child) && kill(id, signal).is_ok(),
    };
    if watched && !ended(child) && send(child, Signal::SIGTERM) {
        let asked = Instant::now();
        while !ended(child) && asked.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // The only possible failure is ESRCH: nobody is left, which is what we want.
    let _someone_was_left = send(child, Signal::SIGKILL);
    drop(child.wait());
}

fn nonblocking(fd: Option<&impl AsFd>) -> io::Result<()> {
    let Some(fd) = fd else {
        return Ok(());
    };
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
