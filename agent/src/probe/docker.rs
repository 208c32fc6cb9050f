//! Docker: asked through its socket, never through its command line.
//!
//! HTTP/1.0 over a Unix socket, so that the answer has no chunks and ends with the connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{Finding, Found, Look, Root, units};
use crate::report::{Severity, Status};

/// Where Docker listens.
pub const SOCKET: &str = "/run/docker.sock";
/// How long all questions of one look may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The list of a hundred containers is about 300 KiB.
const LIMIT: u64 = 2 * 1024 * 1024;

/// What `/info` says, as far as we use it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Version of the engine.
    pub server_version: String,
    /// Storage driver: `overlay2`, `overlayfs`.
    pub driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// `systemd` or `cgroupfs`.
    pub cgroup_driver: String,
    /// What the engine itself finds lacking: `WARNING: No memory limit support`.
    pub warnings: Option<Vec<String>>,
    /// Containers that run.
    pub containers_running: u64,
    /// Containers there are.
    pub containers: u64,
    /// Its place in a swarm.
    pub swarm: Swarm,
}

/// The swarm part of `/info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Swarm {
    /// `inactive`, `pending`, `active`, `error`, `locked`.
    pub local_node_state: String,
    /// Whether it is a manager.
    pub control_available: bool,
    /// Why it is not well.
    pub error: String,
}

/// One container of `/containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    /// Its names, each with a leading slash.
    pub names: Vec<String>,
    /// Its image, as the user named it.
    pub image: String,
    /// `running`, `restarting`, `exited`.
    pub state: String,
    /// `Up 5 minutes (unhealthy)`.
    pub status: String,
}

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    let socket = look.root.path(SOCKET);
    let installed = ["/usr/bin/dockerd", "/usr/sbin/dockerd"]
        .iter()
        .any(|program| look.root.exists(program));
    if !installed && !look.root.exists(SOCKET) {
        return found;
    }
    let deadline = Instant::now() + PATIENCE;
    match ask(&socket, deadline) {
        Ok((info, containers)) => {
            let count = |n: u64| u32::try_from(n).map_or(f64::INFINITY, f64::from);
            found.gauge("docker_containers_running", count(info.containers_running));
            found.gauge("docker_containers", count(info.containers));
            let troubled = troubled(&containers);
            found.gauge("docker_containers_troubled", count(troubled.len() as u64));
            found.add("docker", judge_engine(&info));
            if let Some(finding) = judge_swarm(&info.swarm) {
                found.add("docker-swarm", finding);
            }
            found.add("docker-containers", judge_containers(&info, &troubled));
        }
        Err(error) => {
            let starting = units::starting(look.root, "docker.service");
            found.add(
                "docker",
                silent(starting).detail(Some(format!("{error:#}"))),
            );
        }
    }
    found
}

/// An engine that does not answer, of which systemd says whether it is starting; nothing if systemd does not answer either, as on
/// a small board in the first minutes of a start: then nobody knows.
fn silent(starting: Option<bool>) -> Finding {
    let say = |output: &str| Finding::pass(Severity::Required, "state", output);
    match starting {
        Some(true) => say("the engine is starting").starting("wait: systemd is starting it"),
        Some(false) => say("the engine does not answer").worse(
            Status::Fail,
            "on the board: systemctl status docker; journalctl -u docker",
        ),
        None => say("neither the engine nor systemd answers in time").starting(
            "wait: the board is very busy; if it stays so, look what keeps it busy, or restart it",
        ),
    }
}

fn ask(socket: &Path, deadline: Instant) -> Result<(Info, Vec<Container>)> {
    get(socket, "/_ping", deadline)?;
    let info = serde_json::from_slice(&get(socket, "/info", deadline)?).context("reading /info")?;
    let list = get(socket, "/containers/json?all=1", deadline)?;
    let list = serde_json::from_slice(&list).context("reading /containers/json")?;
    Ok((info, list))
}

/// Whether this root has an engine, answering or not.
pub fn is_there(root: &Root) -> bool {
    root.exists(SOCKET)
}

/// Asks the engine of this root what it is.
pub fn info(root: &Root) -> Result<Info> {
    let socket = root.path(SOCKET);
    let body = get(&socket, "/info", Instant::now() + PATIENCE)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Asks the engine of this root for all its containers.
pub fn containers(root: &Root) -> Result<Vec<Container>> {
    let socket = root.path(SOCKET);
    let body = get(&socket, "/containers/json?all=1", Instant::now() + PATIENCE)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Asks the engine of this root whether it has the image `name`.
pub fn has_image(root: &Root, name: &str) -> Result<bool> {
    anyhow::ensure!(
        name.bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_./:@".contains(&c)),
        "{name:?} is no name of an image"
    );
    let path = format!("/images/{name}/json");
    let (status, _) = exchange(&root.path(SOCKET), &path, Instant::now() + PATIENCE)?;
    match status {
        200 => Ok(true),
        404 => Ok(false),
        other => bail!("docker answered {other} to GET {path}"),
    }
}

fn judge_engine(info: &Info) -> Finding {
    let output = format!(
        "engine {}, {}, cgroup v{}",
        info.server_version, info.driver, info.cgroup_version
    );
    let finding = Finding::pass(Severity::Required, "state", output);
    let lacks = info.warnings.iter().flatten().take(20).cloned();
    let lacks: Vec<String> = lacks.collect();
    // What the kernel lacks for limits is the image's affair, and known before; the owner may want to see it.
    finding.detail((!lacks.is_empty()).then(|| lacks.join("\n")))
}

/// The board's place in a swarm; none when it is in none.
fn judge_swarm(swarm: &Swarm) -> Option<Finding> {
    let finding = |output: &str| Finding::pass(Severity::Wanted, "state", output);
    let role = if swarm.control_available {
        "manager"
    } else {
        "worker"
    };
    let finding = match swarm.local_node_state.as_str() {
        "" | "inactive" => return None,
        "active" => finding(&format!("a {role} of a swarm")),
        "pending" => finding("it is joining its swarm")
            .starting("wait; if it stays so, its managers cannot be reached"),
        "locked" => {
            finding("its swarm is locked").worse(Status::Warn, "on the board: docker swarm unlock")
        }
        _ => finding("it is not connected to its swarm").worse(
            Status::Warn,
            "docker info on the board says why; a manager must be reachable on port 2377",
        ),
    };
    Some(finding.detail((!swarm.error.is_empty()).then(|| swarm.error.clone())))
}

fn judge_containers(info: &Info, troubled: &[&Container]) -> Finding {
    let output = format!(
        "{} of {} containers run, {} unhealthy or restarting",
        info.containers_running,
        info.containers,
        troubled.len()
    );
    let finding = Finding::pass(Severity::Wanted, "state", output);
    if troubled.is_empty() {
        return finding;
    }
    let names: Vec<String> = troubled
        .iter()
        .take(20)
        .map(|c| format!("{}: {}", c.name(), c.status))
        .collect();
    finding
        .worse(
            Status::Warn,
            "docker ps and docker logs on the board tell which and why",
        )
        .detail(Some(names.join("\n")))
}

/// Containers that ask for attention: in a restart loop or by their own health check.
fn troubled(containers: &[Container]) -> Vec<&Container> {
    containers
        .iter()
        .filter(|c| c.state == "restarting" || c.is_unhealthy())
        .collect()
}

impl Container {
    /// Its name without the slash.
    pub fn name(&self) -> &str {
        self.names
            .first()
            .map_or("?", |name| name.trim_start_matches('/'))
    }

    /// Whether its own health check says so.
    pub fn is_unhealthy(&self) -> bool {
        self.status.contains("(unhealthy)")
    }
}

fn get(socket: &Path, path: &str, deadline: Instant) -> Result<Vec<u8>> {
    let (status, body) = exchange(socket, path, deadline)?;
    anyhow::ensure!(status == 200, "docker answered {status} to GET {path}");
    Ok(body)
}

fn exchange(socket: &Path, path: &str, deadline: Instant) -> Result<(u16, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("connecting to {}", socket.display()))?;
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        anyhow::ensure!(
            !left.is_zero(),
            "no answer to GET {path} within {PATIENCE:?}"
        );
        Ok(left)
    };
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            // The time is up: left() says so in words.
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e).context("reading docker's answer"),
        }
        anyhow::ensure!(
            answer.len() as u64 <= LIMIT,
            "docker's answer to GET {path} is larger than {LIMIT} bytes"
        );
    }
    let (status, body) = split(&answer).context("docker's answer is not HTTP")?;
    Ok((status, body.to_vec()))
}

/// Status and body of an HTTP/1 answer that ends with its connection.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests;
