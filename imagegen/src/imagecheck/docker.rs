//! Docker, what the board was bought for: packages, programs, units, who may use it, and where its data goes.

use anyhow::{Context, ensure};

use super::packages::installed;
use super::{Card, Findings};
use crate::formats::Blocks;
use crate::inputs::needs::DOCKER;

/// All of them root's, mode 755. Docker's own packages have in /usr/bin what Debian's have in /usr/sbin.
pub(super) const PROGRAMS: [&str; 7] = [
    "usr/bin/docker",
    "usr/sbin/dockerd",
    "usr/sbin/docker-proxy",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/ctr",
    "usr/sbin/runc",
];
/// All of them root's, mode 644.
pub(super) const UNITS: [&str; 3] = ["docker.service", "docker.socket", "containerd.service"];
/// Where the compose plugin may lie.
const COMPOSE: [&str; 3] = [
    "usr/libexec/docker/cli-plugins/docker-compose",
    "usr/lib/docker/cli-plugins/docker-compose",
    "usr/bin/docker-compose",
];

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    installed(card, found, &DOCKER);
    let one_version = || {
        let version = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| card.records.named(name));
            let (package, _) = found.context("one is missing")?;
            anyhow::Ok(package.version.clone())
        };
        let (engine, client) = (
            version(["docker.io", "docker-ce"])?,
            version(["docker-cli", "docker-ce-cli"])?,
        );
        ensure!(engine == client, "{engine} and {client}");
        Ok(())
    };
    found.check("engine and client are of one version", one_version());
    for path in PROGRAMS {
        found.check(
            format!("/{path} is a program of root with mode 755"),
            card.file(path, 0o755).or_else(|e| {
                card.file(&path.replace("sbin", "bin"), 0o755)
                    .map_err(|_other| e)
            }),
        );
    }
    let compose = || {
        let there = COMPOSE.iter().find(|p| card.root.names.contains_key(**p));
        card.file(there.context("it is nowhere docker looks for it")?, 0o755)
    };
    found.check("docker compose is there", compose());
    for unit in UNITS {
        found.check(
            format!("{unit} is a unit of root with mode 644"),
            card.file(&format!("usr/lib/systemd/system/{unit}"), 0o644),
        );
    }
    for (unit, wants) in [
        ("docker.service", "multi-user.target.wants"),
        ("docker.socket", "sockets.target.wants"),
        ("containerd.service", "multi-user.target.wants"),
    ] {
        let enabled = card.root.get(&format!("etc/systemd/system/{wants}/{unit}"));
        found.check(format!("{unit} is enabled"), enabled.map(drop));
    }
    let socket = || {
        let text = card.text("usr/lib/systemd/system/docker.socket")?;
        for line in ["SocketMode=0660", "SocketUser=root", "SocketGroup=docker"] {
            ensure!(text.lines().any(|l| l.trim() == line), "it has no {line}");
        }
        Ok(())
    };
    found.check(
        "members of the group docker may use the socket, others may not",
        socket(),
    );
    let group = || {
        let text = card.text("etc/group")?;
        let line = text.lines().find(|l| l.starts_with("docker:"));
        let line = line.context("there is none")?;
        ensure!(line.ends_with(':'), "it has members: {line}");
        Ok(())
    };
    found.check("there is a group docker, without members", group());
    found.check(
        "docker's words complete in bash",
        card.root
            .get("usr/share/bash-completion/completions/docker")
            .map(drop),
    );
    let driver = || {
        let Ok(text) = card.text("etc/docker/daemon.json") else {
            return Ok(());
        };
        let read: serde_json::Value = serde_json::from_str(&text).context("daemon.json")?;
        let driver = read["storage-driver"].as_str().unwrap_or("overlay2");
        ensure!(driver == "overlay2", "it is {driver}");
        Ok(())
    };
    found.check("the storage driver is overlay2", driver());
    for dir in ["var/lib/docker", "var/lib/containerd"] {
        let empty = || {
            let inside = card
                .root
                .names
                .iter()
                .find(|(p, n)| p.starts_with(&format!("{dir}/")) && n.is_file());
            ensure!(
                inside.is_none(),
                "there is a /{}",
                inside.map_or("", |i| i.0)
            );
            Ok(())
        };
        found.check(format!("/{dir} holds nothing yet"), empty());
    }
}
