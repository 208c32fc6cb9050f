//! A neighbour who wants the board not to answer itself, against the real program: a thousand connections from fifty addresses,
//! opened again as soon as they are closed. A trial is judged by `/livez` on the loopback address, so that must answer every time.
//!
//! All of it lives in a network namespace of its own. A few seconds in `make test`; `make test-flood` takes the whole minute.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hypriot_tests::exec;

/// Says to the same test that it runs in its namespace by now.
const INSIDE: &str = "HYPRIOT_FLOOD_INSIDE";
const PORT: u16 = 8080;
const ADDRESSES: u8 = 50;
const OF_EACH: usize = 20;
/// An answer may take so long.
const WITHIN: Duration = Duration::from_secs(1);
/// What was closed is opened again after this time. Faster, and the test would measure who gets the processor.
const AGAIN: Duration = Duration::from_millis(200);
/// What the unit gives it (MemoryMax=).
const MEMORY: u64 = 64 << 20;

#[test]
fn a_flood_from_the_network_does_not_keep_the_board_from_asking_itself() {
    if std::env::var_os(INSIDE).is_some() {
        return inside().unwrap();
    }
    let test = "a_flood_from_the_network_does_not_keep_the_board_from_asking_itself";
    let said = exec::apart(test, INSIDE, Duration::from_mins(3)).unwrap();
    let line = said.lines().find(|l| l.starts_with("flood: "));
    println!("{}", line.expect("what was measured"));
}

/// A process that ends with this value.
struct Program(Child);

impl Program {
    fn start(words: &[&str]) -> Result<Self> {
        let mut c = exec::command(exec::workspace_program("hypriot-agent")?);
        c.args(words).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(c.spawn().context("starting the agent")?))
    }

    fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.trim().strip_suffix(" kB"));
        Ok(kib.context("no VmHWM")?.parse::<u64>()? << 10)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // it may have ended by itself
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn inside() -> Result<()> {
    let long = match std::env::var("HYPRIOT_FLOOD").as_deref() {
        Ok("full") => Duration::from_mins(1),
        _ => Duration::from_secs(6),
    };
    network()?;
    let _writer = Program::start(&["run"])?;
    let server = Program::start(&["serve", "--listen", &format!("[::]:{PORT}")])?;
    let own = ready()?;
    let flood = Flood::begin();
    let asked = ask(&own, long);
    // the figures of the flood say whether it was one, also where an answer was missing
    let (opened, refused) = flood.end();
    let (asked, slowest) = asked?;
    say(&format!(
        "flood: connections={} addresses={ADDRESSES} seconds={} opened={opened} refused={refused} asked={asked} slowest_ms={}",
        usize::from(ADDRESSES) * OF_EACH,
        long.as_secs(),
        slowest.as_millis()
    ));
    let all = usize::from(ADDRESSES) * OF_EACH;
    ensure!(opened >= 2 * all, "it was no flood: {opened} opened");
    ensure!(refused > all, "there was room for all: {refused} refused");
    let memory = server.memory()?;
    ensure!(memory < MEMORY, "it took {memory} bytes");
    // and whoever asks from the network gets an answer again when it is over
    let began = Instant::now();
    while let Err(error) = livez(stranger(7)) {
        ensure!(began.elapsed() < Duration::from_secs(10), "{error:#}");
        thread::sleep(AGAIN);
    }
    Ok(())
}

/// Connecting to one of these is seen as coming from it, too.
fn stranger(n: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 9, 0, n), PORT).into()
}

/// A /run and addresses that nobody else sees.
fn network() -> Result<()> {
    let mut c = exec::command("mount");
    c.args(["-t", "tmpfs", "tmpfs", "/run"]);
    exec::run(c, WITHIN)?;
    std::fs::create_dir(Path::new("/run/hypriot"))?;
    let mut batch = tempfile::NamedTempFile::new()?;
    let mut text = String::from("link set lo up\n");
    for n in 1..=ADDRESSES {
        writeln!(text, "address add {}/32 dev lo", stranger(n).ip())?;
    }
    batch.write_all(text.as_bytes())?;
    let mut c = exec::command("ip");
    c.arg("-batch").arg(batch.path());
    exec::run(c, Duration::from_secs(10)).map(drop)
}

/// Waits for both halves, and says by which loopback addresses the board reaches itself.
fn ready() -> Result<Vec<SocketAddr>> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let began = Instant::now();
    while let Err(error) = livez(v4) {
        ensure!(began.elapsed() < Duration::from_mins(1), "{error:#}");
        thread::sleep(AGAIN);
    }
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, PORT));
    let addresses = [Some(v4), livez(v6).is_ok().then_some(v6)];
    Ok(addresses.into_iter().flatten().collect())
}

/// One question, as the self-test of a trial asks it.
fn livez(address: SocketAddr) -> Result<Duration> {
    let began = Instant::now();
    let left = || {
        let left = WITHIN.checked_sub(began.elapsed());
        left.filter(|l| !l.is_zero()).context("no answer in time")
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?).context("connecting")?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut piece).context("reading the answer")? {
            0 => break,
            n => answer.extend_from_slice(&piece[..n]),
        }
    }
    let status = String::from_utf8_lossy(&answer);
    let status = status.lines().next().unwrap_or_default();
    if status != "HTTP/1.1 200 OK" {
        bail!("the answer is {status:?}");
    }
    Ok(began.elapsed())
}

/// Asks ten times a second. How often, and how long the slowest answer took.
fn ask(addresses: &[SocketAddr], long: Duration) -> Result<(usize, Duration)> {
    let (began, mut asked, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    while began.elapsed() < long {
        let address = addresses[asked % addresses.len()];
        let took = livez(address).with_context(|| {
            format!(
                "question {asked} to {address}, {:?} after the flood began; slowest before: {slowest:?}",
                began.elapsed()
            )
        })?;
        (asked, slowest) = (asked + 1, slowest.max(took));
        thread::sleep(Duration::from_millis(100).saturating_sub(took));
    }
    Ok((asked, slowest))
}

/// What a connection of the flood does.
#[derive(Clone, Copy)]
enum Way {
    /// Says nothing.
    Silent,
    /// A byte at a time, and never a whole request.
    Drips,
    /// Asks and asks, and reads.
    Greedy,
    /// Asks and asks, and reads nothing.
    Deaf,
}

#[derive(Default)]
struct Counts {
    over: AtomicBool,
    opened: AtomicUsize,
    refused: AtomicUsize,
}

struct Flood {
    counts: Arc<Counts>,
    neighbours: Vec<thread::JoinHandle<()>>,
}

impl Flood {
    fn begin() -> Self {
        let counts = Arc::new(Counts::default());
        let neighbour = |n: u8| {
            let counts = Arc::clone(&counts);
            thread::spawn(move || neighbour(stranger(n), &counts))
        };
        let neighbours = (1..=ADDRESSES).map(neighbour).collect();
        Self { counts, neighbours }
    }

    /// How many were opened, and how many of those closed by the board.
    fn end(self) -> (usize, usize) {
        self.counts.over.store(true, Ordering::Relaxed);
        for neighbour in self.neighbours {
            drop(neighbour.join());
        }
        let read = |n: &AtomicUsize| n.load(Ordering::Relaxed);
        (read(&self.counts.opened), read(&self.counts.refused))
    }
}

fn neighbour(address: SocketAddr, counts: &Counts) {
    debug_assert!(matches!(address.ip(), IpAddr::V4(ip) if !ip.is_loopback()));
    let ways = [Way::Silent, Way::Drips, Way::Greedy, Way::Deaf];
    let mut held: Vec<Option<TcpStream>> = (0..OF_EACH).map(|_| None).collect();
    while !counts.over.load(Ordering::Relaxed) {
        for (slot, way) in held.iter_mut().zip(ways.into_iter().cycle()) {
            if let Some(stream) = slot {
                if poke(stream, way).is_err() {
                    counts.refused.fetch_add(1, Ordering::Relaxed);
                    *slot = None;
                }
            } else if let Ok(stream) = TcpStream::connect_timeout(&address, WITHIN) {
                counts.opened.fetch_add(1, Ordering::Relaxed);
                *slot = stream.set_nonblocking(true).is_ok().then_some(stream);
            }
        }
        thread::sleep(AGAIN);
    }
}

/// An error says that the board closed it.
fn poke(stream: &mut TcpStream, way: Way) -> std::io::Result<()> {
    const ASKS: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: 10.9.0.1\r\n\r\n";
    let says: &[u8] = match way {
        Way::Silent => b"",
        Way::Drips => b"G",
        Way::Greedy | Way::Deaf => ASKS,
    };
    let open = |done: std::io::Result<usize>| match done {
        Ok(n) => Ok(n),
        Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(1),
        Err(e) => Err(e),
    };
    if !says.is_empty() {
        open(stream.write(says))?;
    }
    if !matches!(way, Way::Deaf) && open(stream.read(&mut vec![0; 64 << 10]))? == 0 {
        return Err(ErrorKind::ConnectionReset.into());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was measured")]
fn say(text: &str) {
    println!("{text}");
}
