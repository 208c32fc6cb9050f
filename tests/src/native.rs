//! Boards without a virtual machine: the real `hypriot-agent`, each in namespaces of its own, on a card that is a file behind a loop
//! device. What starts them is the boot loader's own rule ([`hypriot_updater::boot`]) on the boot state of that card, and what they are
//! then, version and self-tests, is read out of the slot that the agent wrote. They are reached as real boards are: `/health` over
//! HTTP, orders over sshd with a key of `hypriot-fleet authorize`.
//!
//! What is not real: kernel and initramfs (the container's script stands for them), and systemd, of which a script answers what the
//! agent asks.
//!
//! * [`card`]: the card, and its start
//! * [`releases`]: releases small enough for a test, in a repository that is signed

pub mod card;
pub mod releases;

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::exec::{self, Held};
use crate::health::Health;
use crate::http;
use card::Card;
use releases::Releases;

/// What a board's container runs: the initramfs and systemd, as far as the agent is concerned.
const START: &str = include_str!("native/start.sh");
/// sshd hands what is asked for to the board behind the port.
const DOOR: &str = include_str!("native/door.sh");
/// Settings of boards that are told over ssh, and do nothing by themselves.
pub const MANUAL: &str = "[update]\ninstall = \"manual\"\nreboot = \"manual\"\n";
/// Between two looks at a container.
const PAUSE: Duration = Duration::from_millis(50);

/// Boards, and the way to them.
#[derive(Debug)]
pub struct Yard {
    dir: tempfile::TempDir,
    boards: Vec<Board>,
    sshd: Held,
    /// What boards are offered.
    pub releases: Releases,
}

#[derive(Debug)]
struct Board {
    http: u16,
    ssh: u16,
    over: Arc<AtomicBool>,
    starts: Arc<AtomicUsize>,
    life: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Drop for Yard {
    fn drop(&mut self) {
        for board in &self.boards {
            board.over.store(true, Ordering::SeqCst);
        }
        for board in &mut self.boards {
            if let Some(Ok(Err(error))) = board.life.take().map(std::thread::JoinHandle::join) {
                eprintln!("a board: {error:#}");
            }
        }
    }
}

/// The agent of a version.
pub type Agents = Arc<dyn Fn(&str) -> Result<PathBuf> + Send + Sync>;

impl Yard {
    /// So many boards that run version 1.0.0, with these settings of their owner.
    pub fn start(boards: usize, settings: &str) -> Result<Self> {
        let ours: Agents = Arc::new(|_| exec::workspace_program("hypriot-agent"));
        Self::with_agents(boards, settings, &ours)
    }

    /// The same with an agent of its own in each version.
    pub fn with_agents(boards: usize, settings: &str, agents: &Agents) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let releases = Releases::new(dir.path())?;
        let first = releases.root("1.0.0", true);
        let ports: Vec<(u16, u16)> = (0..boards)
            .map(|_| http::free_ports().map(|[http, ssh]| (http, ssh)))
            .collect::<Result<_>>()?;
        let mut all = Vec::new();
        for (n, (http, ssh)) in ports.iter().copied().enumerate() {
            let home = dir.path().join(format!("board-{ssh}"));
            std::fs::create_dir_all(&home)?;
            let card = Card::flash(&home.join("card"), n, &first)?;
            put(&home.join("machine-id"), format!("{:032x}\n", 0xb0a2d + n))?;
            put(&home.join("owner.toml"), settings)?;
            let (over, starts) = (Arc::default(), Arc::default());
            let life = {
                let (over, starts) = (Arc::clone(&over), Arc::clone(&starts));
                let (repo, agents) = (dir.path().join("site"), Arc::clone(agents));
                std::thread::spawn(move || {
                    live(&card, &home, &repo, &agents, http, (&over, &starts))
                })
            };
            all.push(Board {
                http,
                ssh,
                over,
                starts,
                life: Some(life),
            });
        }
        let sshd = door(dir.path(), &ports)?;
        let yard = Self {
            dir,
            boards: all,
            sshd,
            releases,
        };
        yard.wait()?;
        Ok(yard)
    }

    fn wait(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_mins(1);
        for n in 0..self.boards.len() {
            while self.version(n).is_none() {
                ensure!(
                    Instant::now() < end,
                    "board {n} does not come up:\n{}\n{}",
                    self.log(n),
                    self.sshd.0.id()
                );
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// How many boards there are.
    pub fn size(&self) -> usize {
        self.boards.len()
    }

    /// What a board wrote to its console.
    pub fn log(&self, n: usize) -> String {
        let home = self.home(n);
        std::fs::read_to_string(home.join("console")).unwrap_or_default()
    }

    fn home(&self, n: usize) -> PathBuf {
        self.dir
            .path()
            .join(format!("board-{}", self.boards[n].ssh))
    }

    /// The version that a board says it runs; none while it does not answer.
    pub fn version(&self, n: usize) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/health", self.boards[n].http);
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            .http_status_as_error(false);
        let agent: ureq::Agent = config.build().into();
        let text = agent
            .get(&url)
            .call()
            .ok()?
            .body_mut()
            .read_to_string()
            .ok()?;
        let document: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(document["version"].as_str()?.to_owned())
    }

    /// What a board says of itself.
    pub fn health(&self, n: usize) -> Result<Health> {
        let url = format!("http://127.0.0.1:{}/health", self.boards[n].http);
        Health::parse(&http::get(&url, Duration::from_secs(5))?.body)
    }

    /// Runs the agent of a board inside of it, as its owner would; what it printed.
    pub fn agent(&self, n: usize, words: &[&str]) -> Result<String> {
        self.inside(n, &[&["/usr/bin/hypriot-agent"], words].concat())
    }

    /// What a file of a board says.
    pub fn read(&self, n: usize, path: &str) -> Result<String> {
        self.inside(n, &["cat", path])
    }

    fn inside(&self, n: usize, words: &[&str]) -> Result<String> {
        let pid = std::fs::read_to_string(self.home(n).join("pid"))?;
        let children = format!("/proc/{0}/task/{0}/children", pid.trim());
        let first = std::fs::read_to_string(children)?;
        let mut command = exec::command("nsenter");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--time", "--target"]);
        command
            .args([first.trim(), "chroot", "/mnt/root"])
            .args(words);
        exec::run(command, Duration::from_mins(1))
    }

    /// How often a board has started.
    pub fn starts(&self, n: usize) -> usize {
        self.boards[n].starts.load(Ordering::SeqCst)
    }

    /// The boards as a file of hosts names them.
    pub fn name(&self, n: usize) -> String {
        format!("127.0.0.1:{}", self.boards[n].http)
    }

    /// Runs hypriot-fleet; its exit code and all it said.
    pub fn fleet(&self, words: &[&str]) -> Result<(i32, String)> {
        let output = self.command(words)?.output();
        let output = output.context("starting hypriot-fleet")?;
        let text = [output.stdout, output.stderr].concat();
        Ok((
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&text).into_owned(),
        ))
    }

    /// Starts hypriot-fleet, kills it (SIGKILL) as soon as `enough`, and gives the id of the run that it began.
    pub fn fleet_killed(
        &self,
        words: &[&str],
        mut enough: impl FnMut(&str) -> Result<bool>,
    ) -> Result<String> {
        let before = self.runs()?;
        let mut command = self.command(words)?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = Held(command.spawn().context("starting hypriot-fleet")?);
        let end = Instant::now() + Duration::from_mins(3);
        let mut begun = None;
        loop {
            if begun.is_none() {
                begun = self.runs()?.into_iter().find(|run| !before.contains(run));
            }
            if let Some(run) = &begun
                && enough(run)?
            {
                return Ok(run.clone());
            }
            ensure!(
                child.0.try_wait()?.is_none() && Instant::now() < end,
                "it did not come so far"
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// The runs that were begun.
    fn runs(&self) -> Result<Vec<String>> {
        let (_, text) = self.fleet(&["show"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn command(&self, words: &[&str]) -> Result<std::process::Command> {
        let file = |name: &str| self.dir.path().join(name);
        let word = words.first().copied().unwrap_or_default();
        let mut command = exec::command(exec::workspace_program("hypriot-fleet")?);
        command.args(words);
        if word != "validate" {
            command.arg("--runs").arg(file("runs"));
        }
        if !["update", "validate"].contains(&word) {
            return Ok(command);
        }
        if !words.contains(&"--inventory") {
            let lines: String = self.boards.iter().fold(String::new(), |text, b| {
                text + &format!("127.0.0.1:{} ssh_port={}\n", b.http, b.ssh)
            });
            put(&file("hosts"), &lines)?;
            command.arg("--hosts-file").arg(file("hosts"));
        }
        command.arg("--no-sudo");
        for option in [
            format!("IdentityFile={}", file("key").display()),
            format!("UserKnownHostsFile={}", file("known").display()),
            "IdentitiesOnly=yes".into(),
            "StrictHostKeyChecking=yes".into(),
        ] {
            command.args(["--ssh-option", &option]);
        }
        Ok(command)
    }

    /// A file of the laptop's, with a line for each board, made of its number, its port of `/health` and that of its sshd.
    pub fn file(
        &self,
        name: &str,
        head: &str,
        line: impl Fn(usize, u16, u16) -> String,
        tail: &str,
    ) -> Result<String> {
        let lines: String = (0..self.size())
            .map(|n| line(n, self.boards[n].http, self.boards[n].ssh))
            .collect();
        let path = self.dir.path().join(name);
        put(&path, format!("{head}{lines}{tail}"))?;
        Ok(path.display().to_string())
    }

    /// The journal of a run, copied to where another laptop has it.
    pub fn taken_along(&self, run: &str) -> Result<String> {
        let other = self.dir.path().join("other");
        std::fs::create_dir_all(&other)?;
        let name = format!("{run}.jsonl");
        let path = other.join(&name);
        std::fs::copy(self.dir.path().join("runs").join(&name), &path)?;
        Ok(path.display().to_string())
    }

    /// Whether the laptop knows board `n` by the key that it has, or by another one.
    pub fn known(&self, n: usize, right: bool) -> Result<()> {
        let of = |right: bool| if right { "host.pub" } else { "key.pub" };
        let all = self.boards.iter().enumerate();
        let lines = all.map(|(i, board)| {
            let key = std::fs::read_to_string(self.dir.path().join(of(i != n || right)))?;
            Ok(format!("[127.0.0.1]:{} {key}", board.ssh))
        });
        let lines: String = lines.collect::<Result<_>>()?;
        put(&self.dir.path().join("known"), &lines)
    }
}

/// Starts a board again and again, as a board does whose power stays on.
fn live(
    card: &Card,
    home: &Path,
    repo: &Path,
    agents: &Agents,
    http: u16,
    (over, starts): (&AtomicBool, &AtomicUsize),
) -> Result<()> {
    while !over.load(Ordering::SeqCst) {
        let start = card.start()?;
        starts.fetch_add(1, Ordering::SeqCst);
        for (name, text) in &start.root {
            put(&home.join(name), text)?;
        }
        put(&home.join("cmdline"), &start.command_line)?;
        let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        put(&home.join("boot_id"), &random)?;
        let console = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.join("console"))?;
        let mut command = exec::command("unshare");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--time"]);
        // it has just been switched on, by its own /proc/uptime (time_namespaces(7)): a trial has a deadline by that
        command.args(["--boottime", &format!("-{}", uptime()?)]);
        command.args(["--fork", "--kill-child", "--propagation", "private"]);
        command.args(["bash", "-c", START, "board"]);
        command.arg(home).arg(repo).arg(&card.device);
        command.arg(agents(start.version()?)?);
        command.args([http.to_string(), u8::from(start.trial).to_string()]);
        command.stdout(console.try_clone()?).stderr(console);
        let mut child = Held(command.spawn()?);
        put(&home.join("pid"), child.0.id().to_string())?;
        while !over.load(Ordering::SeqCst) && child.0.try_wait()?.is_none() {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Whole seconds since this machine was started.
fn uptime() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let whole = text.split('.').next().unwrap_or_default();
    whole
        .parse()
        .with_context(|| format!("/proc/uptime says {text:?}"))
}

/// sshd on a port for each board, with a key that may do what a rollout needs.
fn door(dir: &Path, ports: &[(u16, u16)]) -> Result<Held> {
    // sshd(8): the folder of its unprivileged half
    std::fs::create_dir_all("/run/sshd")?;
    for name in ["host", "key"] {
        let mut keygen = exec::command("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        keygen.arg(dir.join(name));
        exec::run(keygen, Duration::from_secs(30))?;
    }
    let host = std::fs::read_to_string(dir.join("host.pub"))?;
    let mut authorize = exec::command(exec::workspace_program("hypriot-fleet")?);
    authorize.arg("authorize").arg(dir.join("key.pub"));
    let line = exec::run(authorize, Duration::from_secs(30))?;
    // what the line has started on a board is started behind the board's door
    let door = dir.join("door.sh");
    let board = format!("command=\"{} {}\"", door.display(), dir.display());
    let line = line.replace("command=\"hypriot-agent remote\"", &board);
    ensure!(
        line.contains(&board),
        "authorize says something else: {line}"
    );
    put(&dir.join("authorized"), &line)?;
    put(&door, DOOR)?;
    let mut chmod = exec::command("chmod");
    chmod.arg("700").arg(&door);
    exec::run(chmod, Duration::from_secs(30))?;
    let known = ports.iter().fold(String::new(), |text, (_, port)| {
        text + &format!("[127.0.0.1]:{port} {host}")
    });
    put(&dir.join("known"), &known)?;
    let lines = ports.iter().fold(String::new(), |text, (_, port)| {
        text + &format!("Port {port}\n")
    });
    let d = dir.display();
    let config = format!(
        "{lines}ListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized\nUsePAM no\nStrictModes no\n\
         PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
    );
    put(&dir.join("sshd.conf"), &config)?;
    let mut command = exec::command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(dir.join("sshd.conf"));
    command.stderr(Stdio::from(std::fs::File::create(dir.join("sshd.log"))?));
    let sshd = Held(command.spawn().context("starting sshd")?);
    let end = Instant::now() + Duration::from_secs(20);
    for (_, port) in ports {
        while TcpStream::connect(("127.0.0.1", *port)).is_err() {
            ensure!(Instant::now() < end, "sshd does not listen");
            std::thread::sleep(PAUSE);
        }
    }
    Ok(sshd)
}

fn put(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    let written = std::fs::File::create(path).and_then(|mut f| f.write_all(bytes.as_ref()));
    written.with_context(|| format!("writing {}", path.display()))
}
