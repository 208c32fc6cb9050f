//! Owns a file server such as an owner would put releases on: plain HTTP, one folder, ranges. It can be told to misbehave.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How the server misbehaves for names that contain `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A part of the file's name; empty for every file.
    pub name: String,
    /// What goes wrong.
    pub kind: FaultKind,
    /// How many requests suffer.
    pub times: u32,
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The connection breaks after so many bytes of the body.
    Cut(u64),
    /// At most so many bytes in a second.
    Slow(u64),
    /// Answers with this status and no file.
    Status(u16),
    /// The byte at this place of the file is wrong.
    Flip(u64),
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The name asked for.
    pub name: String,
    /// First byte asked for.
    pub from: u64,
    /// The status given.
    pub status: u16,
    /// The last byte of the file was sent.
    pub complete: bool,
}

#[derive(Debug, Default)]
struct Shared {
    faults: Vec<Fault>,
    requests: Vec<Request>,
    sent: u64,
    stopped: bool,
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    listener: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it is found on this machine.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves `root` on the loopback address; port 0 takes any free one.
    pub fn start(root: &Path, port: u16) -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, root, port)
    }

    /// Serves `root` on another address of this machine.
    pub fn start_on(address: Ipv4Addr, root: &Path, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((address, port))
            .with_context(|| format!("listening on {address}:{port} (is another demo running?)"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (root, state) = (root.to_owned(), Arc::clone(&shared));
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&state).stopped {
                    return;
                }
                let (root, state) = (root.clone(), Arc::clone(&state));
                // A client that goes away in the middle is an ordinary event here.
                std::thread::spawn(move || drop(connection(&stream, &root, &state)));
            }
        });
        Ok(Self {
            address,
            shared,
            listener: Some(listener),
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Makes it misbehave.
    pub fn inject(&self, fault: Fault) {
        lock(&self.shared).faults.push(fault);
    }

    /// What was asked for so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared).requests.clone()
    }

    /// Bytes of files that were sent so far.
    pub fn sent(&self) -> u64 {
        lock(&self.shared).sent
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        lock(&self.shared).stopped = true;
        // Wakes the listener up, so that it sees the end.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.listener.take() {
            drop(thread.join());
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    head: bool,
    name: String,
    from: u64,
    /// Last byte wanted, if it said.
    to: Option<u64>,
    ranged: bool,
}

/// Reads a request line and headers. `None`: not something this server speaks.
fn parse(lines: &[String]) -> Option<Asked> {
    let mut words = lines.first()?.split(' ');
    let head = match words.next()? {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let name = words
        .next()?
        // apt asks for the files of a flat archive so (RFC 3986, 5.2.4)
        .trim_start_matches("/./")
        .trim_start_matches('/')
        .split('?')
        .next()?
        .to_owned();
    let range = lines
        .iter()
        .skip(1)
        .filter_map(|l| l.split_once(':'))
        .find(|(k, _)| k.eq_ignore_ascii_case("range"));
    let Some((_, range)) = range else {
        return Some(Asked {
            head,
            name,
            from: 0,
            to: None,
            ranged: false,
        });
    };
    let (from, to) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
    let to = if to.is_empty() {
        None
    } else {
        Some(to.parse().ok()?)
    };
    Some(Asked {
        head,
        name,
        from: from.parse().ok()?,
        to,
        ranged: true,
    })
}

fn connection(stream: &TcpStream, root: &Path, shared: &Mutex<Shared>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.by_ref().take(8192).read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end() {
                "" => break,
                l if lines.len() < 100 => lines.push(l.to_owned()),
                _ => return Ok(()),
            }
        }
        let Some(asked) = parse(&lines) else {
            return respond(stream, 400, "", 0);
        };
        answer(stream, root, shared, &asked)?;
    }
}

fn answer(stream: &TcpStream, root: &Path, shared: &Mutex<Shared>, asked: &Asked) -> Result<()> {
    let fault = next_fault(shared, &asked.name);
    let file = open(root, &asked.name);
    let size = file.as_ref().map_or(0, |(_, size)| *size);
    let status = match (&fault, &file) {
        (Some(FaultKind::Status(status)), _) => *status,
        (_, None) => 404,
        _ if asked.ranged && asked.from >= size => 416,
        _ if asked.ranged => 206,
        _ => 200,
    };
    let number = {
        let mut shared = lock(shared);
        shared.requests.push(Request {
            name: asked.name.clone(),
            from: asked.from,
            status,
            complete: false,
        });
        shared.requests.len() - 1
    };
    let (Some((mut file, _)), 200 | 206) = (file, status) else {
        return respond(stream, status, "", 0);
    };
    let end = asked.to.map_or(size, |to| to.saturating_add(1).min(size));
    let len = end.saturating_sub(asked.from);
    let range = format!(
        "Content-Range: bytes {}-{}/{size}\r\n",
        asked.from,
        end.saturating_sub(1)
    );
    respond(stream, status, if status == 206 { &range } else { "" }, len)?;
    if asked.head {
        return Ok(());
    }
    file.seek(SeekFrom::Start(asked.from))?;
    body(stream, &mut file, asked.from, len, fault, &|sent| {
        lock(shared).sent += sent;
    })?;
    lock(shared).requests[number].complete = end == size;
    Ok(())
}

fn body(
    mut stream: &TcpStream,
    file: &mut File,
    from: u64,
    len: u64,
    fault: Option<FaultKind>,
    count: &dyn Fn(u64),
) -> Result<()> {
    let mut sent = 0;
    while sent < len {
        let (mut most, mut pause) = (64 << 10, Duration::ZERO);
        match fault {
            Some(FaultKind::Cut(at)) if sent >= at => {
                stream.shutdown(std::net::Shutdown::Both)?;
                anyhow::bail!("cut as told");
            }
            Some(FaultKind::Cut(at)) => most = most.min(at - sent),
            Some(FaultKind::Slow(rate)) => {
                most = (rate / 10).clamp(1, most);
                pause = Duration::from_millis(100);
            }
            _ => {}
        }
        let mut piece = vec![0; usize::try_from(most.min(len - sent))?];
        file.read_exact(&mut piece)?;
        if let Some(FaultKind::Flip(at)) = fault
            && let Some(byte) = at
                .checked_sub(from + sent)
                .and_then(|i| piece.get_mut(usize::try_from(i).ok()?))
        {
            *byte ^= 1;
        }
        stream.write_all(&piece)?;
        count(piece.len() as u64);
        sent += piece.len() as u64;
        std::thread::sleep(pause);
    }
    Ok(())
}

fn respond(mut stream: &TcpStream, status: u16, extra: &str, len: u64) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status} .\r\nAccept-Ranges: bytes\r\nContent-Length: {len}\r\n{extra}\r\n"
    );
    Ok(stream.write_all(head.as_bytes())?)
}

/// The fault the next request for this name suffers, one time less from now on.
fn next_fault(shared: &Mutex<Shared>, name: &str) -> Option<FaultKind> {
    let mut shared = lock(shared);
    let at = shared.faults.iter().position(|f| name.contains(&f.name))?;
    let fault = &mut shared.faults[at];
    let kind = fault.kind;
    fault.times = fault.times.saturating_sub(1);
    if fault.times == 0 {
        shared.faults.remove(at);
    }
    Some(kind)
}

/// Opens a file of the folder. All names of a repository are flat, so no name may lead anywhere else.
fn open(root: &Path, name: &str) -> Option<(File, u64)> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '%']) {
        return None;
    }
    let path: PathBuf = root.join(name);
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    meta.is_file().then_some((file, meta.len()))
}

#[cfg(test)]
mod tests;
