//! A rack of simulated boards behind a real sshd.

#![expect(
    clippy::disallowed_methods,
    clippy::format_collect,
    reason = "a test starts the program and its servers itself, and holds them until it ends"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

/// How a board behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Good,
    FallsBack,
    HeldByAlice,
    Withdrawn,
}

/// What a board is at this moment.
#[derive(Debug)]
struct Board {
    behaviour: Behaviour,
    version: &'static str,
    slot: &'static str,
    boot: u32,
    last: Option<&'static str>,
    /// Restarting until then, and what it is afterwards.
    away: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    boards: Vec<Board>,
    told: Vec<(usize, String)>,
}

#[derive(Debug)]
pub(crate) struct Rack {
    dir: tempfile::TempDir,
    sshd: Child,
    state: Arc<Mutex<State>>,
    http: Vec<u16>,
    ssh: Vec<u16>,
}

/// sshd hands what is asked for to the simulation, with the port it came in by, and brings back lines and exit code.
const SCRIPT: &str = r#"#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/PORT || exit 1
printf '%s\t%s\n' "${SSH_CONNECTION##* }" "$SSH_ORIGINAL_COMMAND" >&3
while IFS= read -r line <&3; do
  case "$line" in "exit "*) exit "${line#exit }" ;; *) printf '%s\n' "$line" ;; esac
done
exit 255
"#;

impl Drop for Rack {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
    }
}

impl Rack {
    pub(crate) fn start(behaviours: &[Behaviour]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let board = |behaviour: &Behaviour| Board {
            behaviour: *behaviour,
            version: "1.0.0",
            slot: "a",
            boot: 1,
            last: None,
            away: None,
        };
        let boards = behaviours.iter().map(board).collect();
        let state = Arc::new(Mutex::new(State {
            boards,
            told: Vec::new(),
        }));
        let http = (0..behaviours.len())
            .map(|n| serve_health(n, &state))
            .collect();
        let ssh: Vec<u16> = (0..behaviours.len()).map(|_| free_port()).collect();
        let control = serve_orders(&ssh, &state);
        let sshd = start_sshd(dir.path(), &ssh, control);
        let rack = Self {
            dir,
            sshd,
            state,
            http,
            ssh,
        };
        rack.wait_for_sshd();
        rack
    }

    fn wait_for_sshd(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while self
            .ssh
            .iter()
            .any(|port| TcpStream::connect(("127.0.0.1", *port)).is_err())
        {
            assert!(Instant::now() < end, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hypriot-fleet"));
        command
            .arg(words[0])
            .arg("--runs")
            .arg(self.dir.path().join("runs"));
        if words[0] == "update" {
            let ports = self.http.iter().zip(&self.ssh);
            let lines: String = ports
                .map(|(h, s)| format!("127.0.0.1:{h} ssh_port={s}\n"))
                .collect();
            put(&self.dir.path().join("hosts"), &lines, 0o600);
            command.args([
                "--hosts-file",
                &file("hosts"),
                "--no-sudo",
                "--soak",
                "1",
                "--settle",
                "1",
            ]);
            command.args(["--preflight", "30", "--silence", "60", "--deadline", "120"]);
            for option in [
                format!("IdentityFile={}", file("key")),
                format!("UserKnownHostsFile={}", file("known")),
                "IdentitiesOnly=yes".into(),
                "StrictHostKeyChecking=yes".into(),
            ] {
                command.args(["--ssh-option", &option]);
            }
        }
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Runs hypriot-fleet; its exit code and all it said.
    pub(crate) fn fleet(&self, words: &[&str]) -> (i32, String) {
        let output = self.command(words).output().expect("runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    /// Runs hypriot-fleet and kills it (SIGKILL) as soon as `done`.
    pub(crate) fn fleet_killed_after(&self, words: &[&str], done: impl Fn() -> bool) {
        let mut command = self.command(words);
        let mut child = command.stdout(Stdio::null()).spawn().expect("runs");
        let end = Instant::now() + Duration::from_mins(1);
        while !done() {
            assert!(Instant::now() < end, "it did not come so far");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
    }

    pub(crate) fn versions(&self) -> Vec<&'static str> {
        self.state
            .lock()
            .expect("whole")
            .boards
            .iter()
            .map(|b| b.version)
            .collect()
    }

    /// The boards that were told a command, in order.
    pub(crate) fn told(&self, command: &str) -> Vec<usize> {
        let state = self.state.lock().expect("whole");
        let told = state.told.iter().filter(|(_, c)| c == command);
        told.map(|(n, _)| *n).collect()
    }

    pub(crate) fn only_run(&self) -> String {
        let (_, text) = self.fleet(&["show"]);
        text.trim().to_owned()
    }

    /// Another key is known for board `n` than the one it has.
    pub(crate) fn forge_known_host(&self, n: usize) {
        let known = self.dir.path().join("known");
        let text = std::fs::read_to_string(&known).expect("known hosts");
        keygen(&self.dir.path().join("other"));
        let other = std::fs::read_to_string(self.dir.path().join("other.pub")).expect("a key");
        let mark = format!("[127.0.0.1]:{} ", self.ssh[n]);
        let line = |l: &str| {
            if l.starts_with(&mark) {
                mark.clone() + other.trim()
            } else {
                l.to_owned()
            }
        };
        let text: String = text.lines().map(|l| line(l) + "\n").collect();
        put(&known, &text, 0o600);
    }
}

fn put(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .expect("opens");
    file.write_all(text.as_bytes()).expect("writes");
}

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status();
    assert!(made.expect("ssh-keygen runs").success());
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn start_sshd(dir: &Path, ports: &[u16], control: u16) -> Child {
    // sshd(8): the folder of its unprivileged half
    drop(std::fs::create_dir_all("/run/sshd"));
    keygen(&dir.join("host"));
    keygen(&dir.join("key"));
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("a key");
    put(&dir.join("authorized"), &read("key.pub"), 0o600);
    put(
        &dir.join("board.sh"),
        &SCRIPT.replace("PORT", &control.to_string()),
        0o700,
    );
    let host = read("host.pub");
    let known: String = ports
        .iter()
        .map(|p| format!("[127.0.0.1]:{p} {host}"))
        .collect();
    put(&dir.join("known"), &known, 0o600);
    let d = dir.display();
    let ports: String = ports.iter().map(|p| format!("Port {p}\n")).collect();
    let config = format!(
        "{ports}ListenAddress 127.0.0.1\nHostKey {d}/host\nAuthorizedKeysFile {d}/authorized\nForceCommand {d}/board.sh\n\
         UsePAM no\nStrictModes no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n"
    );
    put(&dir.join("sshd.conf"), &config, 0o600);
    let log = std::fs::File::create(dir.join("sshd.log")).expect("a log");
    let mut command = Command::new("/usr/sbin/sshd");
    command
        .args(["-D", "-e", "-f"])
        .arg(dir.join("sshd.conf"))
        .stderr(log);
    command
        .spawn()
        .expect("sshd: `hypriot-imagegen doctor --install --for test` installs it")
}

/// `/health` of board `n`, in the agent's shape.
fn serve_health(n: usize, state: &Arc<Mutex<State>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            drop(stream.read(&mut [0; 2048]));
            let Some(body) = health(&mut state.lock().expect("whole").boards[n]) else {
                continue; // restarting: the connection breaks
            };
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/health+json\r\nconnection: close";
            drop(write!(
                stream,
                "{head}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    port
}

fn health(board: &mut Board) -> Option<String> {
    if let Some(until) = board.away {
        if Instant::now() < until {
            return None;
        }
        board.away = None;
        board.boot += 1;
        if board.behaviour == Behaviour::FallsBack {
            board.last = Some("failed");
        } else {
            (board.version, board.slot, board.last) = ("1.1.0", "b", Some("confirmed"));
        }
    }
    let last = board.last.map(
        |outcome| json!({ "version": "1.1.0", "outcome": outcome, "at": "2026-11-27T00:00:00Z" }),
    );
    let document = json!({
        "status": "pass", "version": board.version, "board": "virt", "slot": board.slot,
        "bootId": board.boot.to_string(), "time": "2026-11-27T00:00:00Z",
        "update": { "phase": "committed", "lastAttempt": last },
    });
    Some(document.to_string())
}

/// Takes what the script brings.
fn serve_orders(ports: &[u16], state: &Arc<Mutex<State>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (ports, state) = (ports.to_vec(), Arc::clone(state));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut line = String::new();
            let Ok(clone) = stream.try_clone() else {
                return;
            };
            drop(BufReader::new(clone).read_line(&mut line));
            let Some((from, command)) = line.trim_end().split_once('\t') else {
                continue;
            };
            let Some(n) = ports.iter().position(|p| p.to_string() == from) else {
                continue;
            };
            let answer = obey(&mut state.lock().expect("whole"), n, command);
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

fn obey(state: &mut State, n: usize, command: &str) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let verb = words.get(1).copied().unwrap_or_default();
    state.told.push((n, verb.to_owned()));
    let board = &mut state.boards[n];
    match verb {
        "claim" if board.behaviour == Behaviour::HeldByAlice => "run r9 of alice@laptop, for 60 s more\nexit 75\n".into(),
        "claim" => "exit 0\n".into(),
        "status" => {
            let reasons = ["docker: not running \u{1b}[2J\u{7}"];
            let status = json!({
                "board": "virt", "version": board.version, "booted": board.slot, "id": format!("id-{n}"),
                "last": { "reasons": if board.last == Some("failed") { &reasons[..] } else { &[] } },
            });
            format!("{status}\nexit 0\n")
        }
        "check" if board.version == "1.1.0" => "{\"result\":\"up-to-date\",\"why\":\"\"}\nexit 3\n".into(),
        "check" => "{\"result\":\"available\",\"offered\":\"1.1.0\",\"why\":\"\"}\nexit 0\n".into(),
        "install" if board.behaviour == Behaviour::Withdrawn => {
            "{\"event\":\"end\",\"result\":\"nothing\",\"why\":\"1.1.0 is not offered any more\"}\nexit 3\n".into()
        }
        "install" => {
            board.away.get_or_insert(Instant::now() + Duration::from_secs(2));
            let progress = json!({ "event": "installing", "version": "1.1.0", "stage": "writing", "percent": 50 });
            // the connection breaks, as it does when a board restarts
            format!("{progress}\n{{\"event\":\"rebooting\"}}\n")
        }
        _ => "exit 2\n".into(),
    }
}
