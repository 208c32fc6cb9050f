//! What this board is among others of its cluster: its name, whether it is a manager, where it is found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use reqwest::Url;

use super::ports::Standing;
use crate::config;
use crate::probe::Root;
use crate::probe::docker;

/// Looks.
pub fn look(server: &str) -> Standing {
    let root = Root::default();
    Standing {
        name: name(&root),
        manager: is_manager(&root),
        address: address(server),
    }
}

/// What the owner called it: this process has the kernel's name as it was when it was started (`ProtectHostname=`, systemd.exec(5)),
/// which in a board's first minutes is the image's.
fn name(root: &Root) -> String {
    let files = ["/etc/hostname", "/proc/sys/kernel/hostname"];
    let first = |file| {
        let text = root.text(file).ok()?;
        // hostname(5): lines that begin with # are comments
        let mut lines = text.lines().map(str::trim);
        lines
            .find(|l| !l.is_empty() && !l.starts_with('#'))
            .map(str::to_owned)
    };
    files.into_iter().find_map(first).unwrap_or_default()
}

/// An engine that is there and does not answer may be a manager's: then no other one goes beside this board.
fn is_manager(root: &Root) -> bool {
    docker::info(root).map_or_else(
        |_| docker::is_there(root),
        |info| info.swarm.control_available,
    )
}

/// None: only the board itself may ask there.
fn address(server: &str) -> Option<String> {
    let health = config::health(Path::new(config::IMAGE), Path::new(config::OWNER)).ok()?;
    let listens = health.listen.ip();
    let ip = if listens.is_unspecified() {
        facing(server)?
    } else {
        listens
    };
    // what has a meaning on one cable only is no address for others
    let local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let reached = !ip.is_loopback() && !local;
    reached.then(|| SocketAddr::new(ip, health.listen.port()).to_string())
}

/// The address of ours from which `server` is reached. Nothing is sent: connecting a datagram socket only picks the way.
fn facing(server: &str) -> Option<IpAddr> {
    let to = Url::parse(server).ok()?.socket_addrs(|| None).ok()?;
    to.iter().find_map(|to| {
        let any: IpAddr = if to.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_found_from_where_its_server_is() {
        let own = |url| facing(url).map(|ip| ip.to_string());
        assert_eq!(own("http://127.0.0.1:8088").as_deref(), Some("127.0.0.1"));
        assert_eq!(own("no url"), None);
    }

    #[test]
    fn a_board_is_called_as_its_owner_calls_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::new(dir.path());
        assert_eq!(name(&root), "");
        for (file, text, expected) in [
            ("proc/sys/kernel/hostname", "hypriotos\n", "hypriotos"),
            ("etc/hostname", "# mine\n\n n7 \n", "n7"),
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            crate::files::replace(&path, text.as_bytes(), 0o644).expect("written");
            assert_eq!(name(&root), expected, "{file}");
        }
    }

    #[test]
    fn an_engine_that_does_not_answer_may_be_a_managers() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Root::new(dir.path());
        assert!(!is_manager(&root), "no engine, no manager");
        std::fs::create_dir_all(dir.path().join("run")).expect("made");
        crate::files::replace(&dir.path().join("run/docker.sock"), b"", 0o600).expect("made");
        assert!(is_manager(&root));
    }
}
