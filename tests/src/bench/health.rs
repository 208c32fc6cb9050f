//! The board's answers and its self-tests, beside goss and Prometheus' node exporter: requests in a second with and without
//! keep-alive, the slowest of a hundred, memory at rest, and the time of a large suite.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::bench::say;
use crate::papers::root;
use crate::{exec, http, peers};

/// Clients at a time, and for how long each way of asking is measured.
const CLIENTS: usize = 8;
const LONG: Duration = Duration::from_secs(4);
/// A server must answer so long after its start.
const READY: Duration = Duration::from_mins(1);
/// Runs of a suite, of which the fastest counts.
const RUNS: usize = 3;
const FILES: usize = 1000;
const PACKAGES: usize = 150;

/// What a server did.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    rps: f64,
    rps_closing: f64,
    p99: Duration,
    bytes: usize,
}

/// A server, ended when it is dropped.
struct Server {
    child: Child,
    port: u16,
    path: &'static str,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Measures, and prints `bench-health: …` as the last line.
pub fn run() -> Result<()> {
    let agent = root().join("target/release/hypriot-agent");
    ensure!(
        agent.is_file(),
        "{} is missing: cargo build --release --bin hypriot-agent",
        agent.display()
    );
    let (goss, exporter) = (peers::GOSS.get()?, peers::NODE_EXPORTER.get()?);
    let work = tempfile::tempdir()?;
    let suite = work.path().join("serve.yaml");
    write(&suite, &small_suite()?)?;

    let ours = ours(&agent)?;
    let rss = ours.memory()?;
    let health = ours.measure("hypriot-agent /health")?;
    let metrics = Server::at(&ours, "/metrics").measure("hypriot-agent /metrics")?;
    drop(ours);

    // The formats that say more than yes or no.
    let (mut fastest, mut json, mut goss_rss) = (Measured::default(), Measured::default(), 0.0_f64);
    for format in ["json", "nagios", "tap", "prometheus"] {
        let server = goss_serve(&goss, &suite, format)?;
        let found = server.measure(&format!("goss serve, {format}"))?;
        goss_rss = if format == "json" {
            server.memory()?
        } else {
            goss_rss
        };
        if format == "json" {
            json = found;
        }
        if found.rps > fastest.rps {
            fastest = found;
        }
    }
    let exporter = node_exporter(&exporter)?;
    let plain = exporter.measure("node exporter /metrics")?;
    say(&format!(
        "memory at rest: {rss:.1} MiB both halves, goss {goss_rss:.1}, node exporter {:.1}; goss's JSON: {:.1} times, closing {:.1}; \
         metrics: {:.1} times the exporter's",
        exporter.memory()?,
        health.rps / json.rps,
        health.rps_closing / json.rps_closing,
        metrics.rps / plain.rps,
    ));
    drop(exporter);
    let suite_ratio = suites(&agent, &goss, work.path())?;
    say(&format!(
        "bench-health: rps_ratio={:.2} rss={rss:.1} goss_rss={goss_rss:.1} p99_ms={:.2} goss_p99_ms={:.2} suite_ratio={suite_ratio:.2}",
        health.rps / fastest.rps,
        health.p99.as_secs_f64() * 1000.0,
        fastest.p99.as_secs_f64() * 1000.0,
    ));
    Ok(())
}

/// Both halves in a /run of their own, as on a system without slots.
fn ours(agent: &Path) -> Result<Server> {
    let [port] = http::free_ports()?;
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/hypriot && \
        { setpriv --pdeathsig KILL -- \"$0\" run & } && exec \"$0\" serve --listen \"127.0.0.1:$1\"";
    let mut cmd = exec::command("unshare");
    cmd.args(["--mount", "sh", "-c", script]);
    cmd.arg(agent).arg(port.to_string());
    Server::start(cmd, port, "/health")
}

fn goss_serve(goss: &Path, suite: &Path, format: &str) -> Result<Server> {
    let [port] = http::free_ports()?;
    let mut cmd = exec::command(goss);
    cmd.arg("--gossfile")
        .arg(suite)
        .args(["serve", "--format", format]);
    // It runs the tests anew when what it keeps is older than this: a minute is longer than we ask.
    cmd.args([
        "--cache",
        "5m",
        "--listen-addr",
        &format!("127.0.0.1:{port}"),
    ]);
    Server::start(cmd, port, "/healthz")
}

fn node_exporter(program: &Path) -> Result<Server> {
    let [port] = http::free_ports()?;
    let mut cmd = exec::command(program);
    cmd.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    Server::start(cmd, port, "/metrics")
}

impl Server {
    fn start(mut cmd: std::process::Command, port: u16, path: &'static str) -> Result<Self> {
        let words = format!("{cmd:?}");
        let child = cmd.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { child, port, path };
        let began = Instant::now();
        while began.elapsed() < READY {
            if server
                .connect()
                .and_then(|mut s| ask(&mut s, port, path, true))
                .is_ok_and(|(code, _)| code == 200)
            {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(200));
        }
        bail!("{words}: no answer of {path} for {READY:?}")
    }

    /// Another path of a server that runs; it stays its own.
    fn at(other: &Self, path: &'static str) -> Self {
        let child = exec::command("true").spawn().expect("true starts");
        Self {
            child,
            port: other.port,
            path,
        }
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(BufReader::new(stream))
    }

    fn measure(&self, name: &str) -> Result<Measured> {
        self.load(Duration::from_millis(500), true)?;
        let (mut times, bytes) = self.load(LONG, true)?;
        let (closing, _) = self.load(LONG, false)?;
        times.sort_unstable();
        let count = |times: &[Duration]| u32::try_from(times.len()).map_or(f64::MAX, f64::from);
        let found = Measured {
            rps: count(&times) / LONG.as_secs_f64(),
            rps_closing: count(&closing) / LONG.as_secs_f64(),
            p99: times[times.len() * 99 / 100],
            bytes,
        };
        say(&format!(
            "{name}: {:.0} requests a second with keep-alive, {:.0} without, p99 {:.2} ms, {} bytes",
            found.rps,
            found.rps_closing,
            found.p99.as_secs_f64() * 1000.0,
            found.bytes
        ));
        Ok(found)
    }

    /// How long each request took, and the length of the last answer.
    fn load(&self, long: Duration, keep: bool) -> Result<(Vec<Duration>, usize)> {
        let end = Instant::now() + long;
        let client = || -> Result<(Vec<Duration>, usize)> {
            let (mut times, mut bytes) = (Vec::new(), 0);
            let mut stream = self.connect()?;
            while Instant::now() < end {
                let began = Instant::now();
                if !keep {
                    stream = self.connect()?;
                }
                let (code, length) = ask(&mut stream, self.port, self.path, keep)?;
                ensure!(code == 200, "{} answers {code}", self.path);
                bytes = length;
                times.push(began.elapsed());
            }
            Ok((times, bytes))
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            let (mut all, mut bytes) = (Vec::new(), 0);
            for client in clients {
                let (times, length) = client.join().ok().context("a client panicked")??;
                all.extend(times);
                bytes = length;
            }
            ensure!(!all.is_empty(), "{} never answered", self.path);
            Ok((all, bytes))
        })
    }

    /// MiB of it and of what it has started.
    fn memory(&self) -> Result<f64> {
        // What was asked has settled.
        thread::sleep(Duration::from_secs(2));
        let mut sum = resident(self.child.id())?;
        for process in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u32>().ok())
            else {
                continue;
            };
            // A process may end between the list and the look.
            let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent == Some(&self.child.id().to_string()) {
                sum += resident(pid).unwrap_or(0.0);
            }
        }
        Ok(sum)
    }
}

/// VmRSS (proc(5)) in MiB.
fn resident(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// One request: the status and the length of the body.
fn ask(
    stream: &mut BufReader<TcpStream>,
    port: u16,
    path: &str,
    keep: bool,
) -> Result<(u16, usize)> {
    let close = if keep { "" } else { "Connection: close\r\n" };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{close}\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let code = line.split(' ').nth(1).context("no status line")?.parse()?;
    let (mut length, mut chunked) = (0_usize, false);
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        chunked |= lower == "transfer-encoding: chunked";
    }
    if !chunked {
        std::io::copy(&mut stream.take(length as u64), &mut std::io::sink())?;
        return Ok((code, length));
    }
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16)?;
        std::io::copy(&mut stream.take(size as u64 + 2), &mut std::io::sink())?;
        length += size;
        if size == 0 {
            return Ok((code, length));
        }
    }
}

/// As many properties as a board has checks.
fn small_suite() -> Result<String> {
    let mut text = "file:\n".to_owned();
    for path in [
        "/etc/passwd",
        "/etc/group",
        "/etc/hosts",
        "/etc/fstab",
        "/tmp",
        "/var",
        "/usr",
        "/etc",
    ] {
        writeln!(text, "  {path}: {{exists: true, owner: root, group: root}}")?;
    }
    text += "kernel-param: {kernel.ostype: {value: Linux}}\nuser: {root: {exists: true, uid: 0}}\n";
    Ok(text)
}

/// 3,000 properties of files and 150 packages: goss's time over ours.
fn suites(agent: &Path, goss: &Path, work: &Path) -> Result<f64> {
    let mut files = Vec::new();
    collect(Path::new("/usr/share/doc"), &mut files)?;
    collect(Path::new("/usr/lib"), &mut files)?;
    ensure!(
        files.len() >= FILES,
        "this machine has only {} files",
        files.len()
    );
    let mut text = "file:\n".to_owned();
    for path in &files[..FILES] {
        writeln!(
            text,
            "  {:?}: {{exists: true, owner: root, filetype: file}}",
            path.display().to_string()
        )?;
    }
    let file_rows = work.join("files.yaml");
    write(&file_rows, &text)?;
    let status =
        std::fs::read_to_string("/var/lib/dpkg/status").context("the packages of this machine")?;
    let names = status
        .lines()
        .filter_map(|line| line.strip_prefix("Package: "))
        .take(PACKAGES);
    let mut packages = "package:\n".to_owned();
    for name in names {
        writeln!(packages, "  {name:?}: {{installed: true}}")?;
    }
    let package_rows = work.join("packages.yaml");
    write(&package_rows, &packages)?;
    let both = work.join("both.yaml");
    write(&both, &(text + &packages))?;
    let mut ratio = 0.0;
    for (name, file) in [
        ("files", &file_rows),
        ("packages", &package_rows),
        ("both", &both),
    ] {
        let theirs = best(goss, &["--gossfile"], file, &[0, 1])?;
        let ours = best(agent, &["selftest", "--gossfile"], file, &[0, 1])?;
        ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        say(&format!(
            "suite of {name}: goss {theirs:.2?}, ours {ours:.2?}, {ratio:.1} times"
        ));
    }
    Ok(ratio)
}

fn best(program: &Path, before: &[&str], file: &Path, good: &[i32]) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let mut cmd = exec::command(program);
        cmd.args(before)
            .arg(file)
            .args(["validate", "--format", "silent"]);
        cmd.stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = cmd.status()?;
        ensure!(
            status.code().is_some_and(|code| good.contains(&code)),
            "{}: {status}",
            program.display()
        );
        best = best.min(began.elapsed());
    }
    Ok(best)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        if files.len() >= FILES {
            return Ok(());
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    hypriot_imagegen::files::replace(path, text.as_bytes())?;
    Ok(())
}
