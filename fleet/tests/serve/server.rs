//! The real program, and boards that speak plain HTTP to it.

#![expect(
    clippy::disallowed_methods,
    reason = "a test starts the program itself, and ends it as roughly as a power cut"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_hypriot-fleet");

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) state: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a server that could not start said.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) String);

impl Server {
    /// Starts it in `state`.
    pub(crate) fn start(state: &Path, words: &[&str]) -> Result<Self, Ended> {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .args(words);
        Self::spawn(command, state)
    }

    pub(crate) fn spawn(mut command: Command, state: &Path) -> Result<Self, Ended> {
        command
            .env_remove("STATE_DIRECTORY")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let mut said = String::new();
        while let Some(Ok(line)) = lines.next() {
            said += &line;
            said.push('\n');
            let Some((_, rest)) = line.split_once("serving on http://") else {
                continue;
            };
            let port = rest
                .trim_end_matches('/')
                .rsplit(':')
                .next()
                .expect("a port");
            let port = port.parse().expect("a number");
            // whatever it says later must not fill the pipe
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return Ok(Self {
                child,
                port,
                state: state.to_owned(),
            });
        }
        drop(child.wait());
        Err(Ended(said))
    }

    /// The first start, with one group.
    pub(crate) fn new(state: &Path, slots: usize) -> Self {
        let group = format!("default={slots}");
        Self::start(state, &["--new", "--group", &group]).expect("serves")
    }

    /// SIGKILL: it has no moment to put anything in order.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.state.join("token"))
            .expect("a token")
            .trim()
            .to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        ask(self.port, "GET", path, &[], "").expect("answers")
    }

    pub(crate) fn lock(&self, board: &str) -> (u16, Value) {
        board_says(self.port, "pre-reboot", board, json!({})).expect("answers")
    }

    pub(crate) fn steady(&self, board: &str) -> (u16, Value) {
        board_says(self.port, "steady-state", board, json!({})).expect("answers")
    }

    /// Runs another hypriot-fleet against it.
    pub(crate) fn operator(&self, words: &[&str]) -> (i32, String) {
        let output = Command::new(PROGRAM)
            .args(words)
            .args([
                "--server",
                &format!("http://127.0.0.1:{}", self.port),
                "--token-file",
            ])
            .arg(self.state.join("token"))
            .stdin(Stdio::null())
            .output()
            .expect("runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&text).into_owned(),
        )
    }

    pub(crate) fn locks(&self) -> Vec<String> {
        let (status, text) = self.get("/v1/locks");
        assert_eq!(status, 200, "{text}");
        let locks: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        locks
            .iter()
            .map(|l| l["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    pub(crate) fn group(&self) -> Value {
        let (_, text) = self.get("/v1/state");
        let state: Value = serde_json::from_str(&text).expect("JSON");
        state["groups"][0].clone()
    }

    /// Waits until something is true of the first group.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let group = self.group();
            if holds(&group) {
                return group;
            }
            assert!(Instant::now() < end, "{what}: {group:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// FleetLock, as a board speaks it; `more` is what it says beside it.
pub(crate) fn board_says(
    port: u16,
    word: &str,
    board: &str,
    mut more: Value,
) -> std::io::Result<(u16, Value)> {
    more["client_params"] = json!({"id": board, "group": "default"});
    let headers = [
        ("fleet-lock-protocol", "true"),
        ("content-type", "application/json"),
    ];
    let (status, text) = ask(
        port,
        "POST",
        &format!("/v1/{word}"),
        &headers,
        &more.to_string(),
    )?;
    Ok((
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    ))
}

/// One exchange over a connection of its own.
pub(crate) fn ask(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let host = if headers.iter().any(|(n, _)| *n == "host") {
        ""
    } else {
        "host: 127.0.0.1\r\n"
    };
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([
            name, ": ", value, "
",
        ]);
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|s| s.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))?;
    let body = answer
        .split_once("\r\n\r\n")
        .map_or("", |(_, b)| b)
        .to_owned();
    Ok((status, body))
}
