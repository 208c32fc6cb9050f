//! `hypriot-fleet serve`, and members of etcd: on loopback, on free ports, ended with whoever started them.

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::exec::{self, Held};
use crate::http;
use crate::peers::Peer;

/// The store of several servers.
pub const ETCD: Peer = Peer {
    package: "etcd-server",
    file: "usr/bin/etcd",
};

/// `hypriot-fleet serve`.
#[derive(Debug)]
pub struct Server {
    child: Held,
    /// Where it listens.
    pub port: u16,
    state: PathBuf,
}

impl Server {
    /// Starts one; `state` is its folder.
    pub fn start(state: &Path, words: &[&str]) -> Result<Self> {
        let mut command = exec::command(exec::workspace_program("hypriot-fleet")?);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--state"])
            .arg(state)
            .args(words);
        let mut child = Held(command.stderr(Stdio::piped()).spawn()?);
        let mut lines = BufReader::new(child.0.stderr.take().context("stderr")?).lines();
        let mut said = String::new();
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, rest)) = line.split_once("serving on http://") {
                let port = rest
                    .trim_end_matches('/')
                    .rsplit(':')
                    .next()
                    .context("a port")?
                    .parse()?;
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(Self {
                    child,
                    port,
                    state: state.to_owned(),
                });
            }
            said += &line;
        }
        bail!("hypriot-fleet serve did not start: {said}")
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.0.kill()?;
        self.child.0.wait()?;
        Ok(())
    }

    /// Runs an operator's command against it.
    pub fn operator(&self, words: &[&str]) -> Result<String> {
        let mut command = exec::command(exec::workspace_program("hypriot-fleet")?);
        command.args(words).args([
            "--server",
            &format!("http://127.0.0.1:{}", self.port),
            "--token-file",
        ]);
        command.arg(self.state.join("token"));
        exec::run(command, Duration::from_mins(1))
    }

    /// What it knows of the first group.
    pub fn group(&self) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/v1/state", self.port);
        let text = ureq::get(&url).call()?.body_mut().read_to_string()?;
        let state: Value = serde_json::from_str(&text)?;
        Ok(state["groups"][0].clone())
    }

    /// The most memory it has used, in KiB (proc(5), VmHWM).
    pub fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.0.id()))?;
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .context("VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }
}

/// The plainest FleetLock server on our client of etcd, `fleet/examples/plain_lock.rs`: what ours is measured against.
#[derive(Debug)]
pub struct Plain {
    _child: Held,
    /// Where it listens.
    pub port: u16,
}

impl Plain {
    /// Starts it, with members of etcd as `--store` names them.
    pub fn start(store: &str) -> Result<Self> {
        let program =
            exec::workspace_program("hypriot-fleet")?.with_file_name("examples/plain_lock");
        let mut command = exec::command(program);
        command.arg(store).stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut child = Held(spawned.context("cargo build --example plain_lock makes it")?);
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().context("stdout")?).read_line(&mut line)?;
        Ok(Self {
            _child: child,
            port: line.trim().parse().context("its port")?,
        })
    }
}

/// A member of etcd.
#[derive(Debug)]
pub struct Member {
    child: Option<Held>,
    /// Where clients reach it.
    pub client: u16,
    peer: u16,
    name: String,
    dir: PathBuf,
}

/// Three members, running.
pub fn etcd(dir: &Path) -> Result<Vec<Member>> {
    let mut members: Vec<Member> = (0..3)
        .map(|n| {
            let [client, peer] = http::free_ports()?;
            Ok(Member {
                child: None,
                client,
                peer,
                name: format!("m{n}"),
                dir: dir.join(format!("m{n}")),
            })
        })
        .collect::<Result<_>>()?;
    let cluster = cluster(&members);
    for member in &mut members {
        member.start(&cluster)?;
    }
    for member in &members {
        member.wait()?;
    }
    Ok(members)
}

fn cluster(members: &[Member]) -> String {
    let one = |m: &Member| format!("{}=http://127.0.0.1:{}", m.name, m.peer);
    members.iter().map(one).collect::<Vec<_>>().join(",")
}

/// The store of these members, beginning with one of them.
pub fn store(members: &[Member], first: usize) -> String {
    let at = |n: usize| format!("127.0.0.1:{}", members[(first + n) % members.len()].client);
    format!(
        "etcd://{}",
        (0..members.len()).map(at).collect::<Vec<_>>().join(",")
    )
}

impl Member {
    fn start(&mut self, cluster: &str) -> Result<()> {
        let program = ETCD.get()?;
        let mut command = exec::command(program);
        let (client, peer) = (
            format!("http://127.0.0.1:{}", self.client),
            format!("http://127.0.0.1:{}", self.peer),
        );
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.dir);
        command.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        command.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        command.args([
            "--initial-cluster",
            cluster,
            "--initial-cluster-state",
            "new",
            "--log-level",
            "error",
        ]);
        // ARM and others are not on etcd's list of what it is tested on
        command.env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH);
        self.child = Some(Held(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        ));
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_mins(1);
        let url = format!("http://127.0.0.1:{}/health", self.client);
        loop {
            let well = ureq::get(&url).call().is_ok_and(|mut r| {
                r.body_mut()
                    .read_to_string()
                    .is_ok_and(|t| t.contains("\"true\""))
            });
            if well {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "etcd {} does not become healthy",
                self.name
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again, with what it had.
    pub fn again(&mut self, cluster_of: &str) -> Result<()> {
        self.start(cluster_of)?;
        self.wait()
    }

    /// It hears and says nothing, as behind a cut cable, until it is told to go on.
    pub fn cut_off(&self, off: bool) -> Result<()> {
        let child = self.child.as_ref().context("it does not run")?;
        let mut kill = exec::command("kill");
        kill.args([
            if off { "-STOP" } else { "-CONT" },
            &child.0.id().to_string(),
        ]);
        exec::run(kill, Duration::from_secs(10))?;
        Ok(())
    }
}

/// As `--initial-cluster` wants it.
pub fn names(members: &[Member]) -> String {
    cluster(members)
}

/// Whether something listens.
pub fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// All entries of the log, as etcd has them, read without any code of ours.
pub fn history(member: &Member) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    // "hypriot-fleet/log/" to "hypriot-fleet/log0", in base64
    for value in values(
        member,
        "aHlwcmlvdC1mbGVldC9sb2cv",
        "aHlwcmlvdC1mbGVldC9sb2cw",
    )? {
        let entry: Vec<Value> = serde_json::from_slice(&value)?;
        events.extend(entry);
    }
    Ok(events)
}

/// Bytes of entries that were too large for one request, and lie beside the log in parts; and of the largest part.
pub fn parts(member: &Member) -> Result<(usize, usize)> {
    // "hypriot-fleet/part/" to "hypriot-fleet/part0"
    let all = values(
        member,
        "aHlwcmlvdC1mbGVldC9wYXJ0Lw==",
        "aHlwcmlvdC1mbGVldC9wYXJ0MA==",
    )?;
    let sizes = || all.iter().map(Vec::len);
    Ok((sizes().sum(), sizes().max().unwrap_or(0)))
}

/// Whether etcd takes a value of so many bytes.
pub fn takes(member: &Member, bytes: usize) -> Result<bool> {
    let url = format!("http://127.0.0.1:{}/v3/kv/put", member.client);
    // "other", and zeros
    let body = format!(
        r#"{{"key":"b3RoZXI=","value":"{}"}}"#,
        "A".repeat(bytes / 3 * 4)
    );
    match ureq::post(&url).send(body.as_str()) {
        Ok(_) => Ok(true),
        Err(ureq::Error::StatusCode(_)) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

fn values(member: &Member, from: &str, to: &str) -> Result<Vec<Vec<u8>>> {
    let url = format!("http://127.0.0.1:{}/v3/kv/range", member.client);
    let body = format!(r#"{{"key":"{from}","range_end":"{to}"}}"#);
    let text = ureq::post(&url)
        .send(body.as_str())?
        .body_mut()
        .with_config()
        .limit(512 << 20)
        .read_to_string()?;
    let range: Value = serde_json::from_str(&text)?;
    // of nothing etcd says nothing
    let pairs = range["kvs"].as_array().map_or(&[][..], Vec::as_slice);
    let value = |pair: &Value| base64(pair["value"].as_str().context("a value")?);
    pairs.iter().map(value).collect()
}

/// RFC 4648, section 4.
fn base64(text: &str) -> Result<Vec<u8>> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Ok(u32::from(c - b'A')),
        b'a'..=b'z' => Ok(u32::from(c - b'a') + 26),
        b'0'..=b'9' => Ok(u32::from(c - b'0') + 52),
        b'+' => Ok(62),
        b'/' => Ok(63),
        other => bail!("no base64: {other}"),
    };
    let (mut bits, mut have, mut out) = (0_u32, 0, Vec::new());
    for c in text.bytes().filter(|c| *c != b'=') {
        bits = bits << 6 | digit(c)?;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from(bits >> have & 0xff)?);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, expected) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(base64(text).expect("read"), expected.as_bytes());
        }
        assert!(base64("*").is_err());
    }
}
