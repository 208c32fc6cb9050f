//! Which packages the image's tests ask for, and for what: told from the lock alone, so that nobody waits for a tree to learn it.

use crate::inputs::board::Board;

/// Something every board of ours has.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// Any one of these packages brings it.
    pub any: &'static [&'static str],
    /// What for.
    pub what: &'static str,
}

const fn need(any: &'static [&'static str], what: &'static str) -> Need {
    Need { any, what }
}

/// What every board of ours has, whatever a recipe says besides.
pub const SYSTEM: [Need; 16] = [
    need(&["apt"], "packages on the board"),
    need(&["avahi-daemon"], "avahi-daemon.service: NAME.local"),
    need(&["ca-certificates"], "TLS: updates, curl"),
    need(&["cloud-init"], "user-data on the card"),
    need(&["curl"], "/usr/bin/curl"),
    need(&["dosfstools"], "checks of the boot partitions"),
    need(&["e2fsprogs"], "/usr/sbin/mkfs.ext4: the data partition"),
    need(&["iproute2"], "the network"),
    need(&["kmod"], "kernel modules"),
    need(&["netplan.io"], "network-config on the card"),
    need(&["openssh-server"], "ssh.service, /usr/sbin/sshd"),
    need(&["sudo"], "the owner's rights"),
    need(&["systemd"], "/usr/lib/systemd/systemd"),
    need(&["systemd-resolved"], "systemd-resolved.service: names"),
    need(
        &["systemd-timesyncd", "chrony", "ntpsec", "openntpd"],
        "the clock",
    ),
    need(&["udev"], "devices"),
];
/// What containers need: Debian's own, or Docker's.
pub const DOCKER: [Need; 5] = [
    need(
        &["docker.io", "docker-ce"],
        "docker.service, /usr/sbin/dockerd",
    ),
    need(&["docker-cli", "docker-ce-cli"], "/usr/bin/docker"),
    need(
        &["docker-compose", "docker-compose-plugin"],
        "docker compose",
    ),
    need(&["containerd", "containerd.io"], "containerd.service"),
    need(&["runc", "containerd.io"], "runc"),
];

impl Need {
    /// The packages in words.
    pub fn names(&self) -> String {
        self.any.join(" or ")
    }
}

/// What a set of packages lacks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Lack {
    /// The package to add; several where one of them does.
    pub package: String,
    /// What would be missing.
    pub what: String,
}

impl std::fmt::Display for Lack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.package, self.what)
    }
}

/// Everything the image's tests would miss in these packages.
pub fn lacking(board: &Board, has: impl Fn(&str) -> bool) -> Vec<Lack> {
    let ours = SYSTEM
        .iter()
        .chain(&DOCKER)
        .filter(|n| !n.any.iter().any(|p| has(p)));
    let ours = ours.map(|n| Lack {
        package: n.names(),
        what: n.what.to_owned(),
    });
    let board_own = board.packages.iter().filter(|p| !has(p.as_str()));
    let board_own = board_own.map(|p| Lack {
        package: p.clone(),
        what: format!("the board {}", board.name),
    });
    ours.chain(board_own).collect()
}
