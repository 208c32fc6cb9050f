//! Network of the board itself: interfaces, listening ports, reachable addresses; and processes, which share the form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::probe::Root;
use crate::selftest::run::Values;
use crate::selftest::suite::Test;

pub(super) fn process(name: &str, root: &Root) -> Values {
    let pids = root
        .names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|c| c.is_ascii_digit()));
    // A process may end between the list and the look.
    let comm = |pid: String| root.text(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The kernel keeps 15 bytes of the name.
    let wanted = name.get(..15).unwrap_or(name);
    let running = pids.map(comm).any(|comm| comm.trim_end() == wanted);
    Values::from([("running", Ok(running.into()))])
}

/// `tcp:22`, `udp6:5353`, `8080`.
pub(super) fn port(name: &str, root: &Root) -> Result<Values> {
    let (network, port) = name.split_once(':').unwrap_or(("tcp", name));
    anyhow::ensure!(
        ["tcp", "tcp6", "udp", "udp6"].contains(&network),
        "{network:?} is not tcp, tcp6, udp or udp6"
    );
    let port: u16 = port
        .parse()
        .with_context(|| format!("{port:?} is no port"))?;
    let addresses = listening(
        &root.text(format!("/proc/net/{network}"))?,
        port,
        network.starts_with("tcp"),
    );
    Ok(Values::from([
        ("listening", Ok((!addresses.is_empty()).into())),
        (
            "ip",
            Ok(addresses
                .into_iter()
                .map(|address| Value::from(address.to_string()))
                .collect()),
        ),
    ]))
}

/// Local addresses of sockets on `port` (proc(5), /proc/net/tcp).
fn listening(table: &str, port: u16, tcp: bool) -> Vec<IpAddr> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (address, local) = fields.next()?.split_once(':')?;
            let state = fields.nth(1)?;
            // 0A is LISTEN; datagram sockets have no such state.
            let listens = !tcp || state == "0A";
            (listens && u16::from_str_radix(local, 16).ok()? == port).then(|| ip(address))?
        })
        .collect()
}

/// Words of 32 bits in the order of the processor, in hexadecimal digits.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        Some(
            u32::from_str_radix(hex.get(at..at + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
        }
        _ => None,
    }
}

pub(super) fn interface(name: &str) -> Result<Values> {
    anyhow::ensure!(
        !name.contains('/') && !name.starts_with('.'),
        "{name:?} is no interface"
    );
    let root = Root::default();
    if !root.exists(format!("/sys/class/net/{name}")) {
        return Ok(Values::from([("exists", Ok(false.into()))]));
    }
    let mtu = root
        .number(format!("/sys/class/net/{name}/mtu"))
        .map(Value::from);
    Ok(Values::from([
        ("exists", Ok(true.into())),
        ("mtu", mtu.context("it has no MTU")),
        ("addrs", addresses(name)),
    ]))
}

fn addresses(name: &str) -> Result<Value> {
    let mut list = Vec::new();
    for entry in nix::ifaddrs::getifaddrs()?.filter(|entry| entry.interface_name == name) {
        let address = entry.address.as_ref().and_then(ip_of);
        let mask = entry.netmask.as_ref().and_then(ip_of);
        if let (Some(address), Some(mask)) = (address, mask) {
            let bits = match mask {
                IpAddr::V4(mask) => mask.to_bits().count_ones(),
                IpAddr::V6(mask) => mask.to_bits().count_ones(),
            };
            list.push(Value::from(format!("{address}/{bits}")));
        }
    }
    Ok(list.into())
}

fn ip_of(storage: &nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let four = storage.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
    four.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
}

/// `tcp://host:port`; for `udp://` only that it can be sent to.
pub(super) fn address(test: &Test, left: Duration) -> Result<Values> {
    let (network, target) = test.name.split_once("://").unwrap_or(("tcp", &test.name));
    let timeout = test.timeout(500).min(left);
    let local: Option<IpAddr> = match test.word("local-address") {
        Some(word) => Some(
            word.parse()
                .with_context(|| format!("local-address: {word:?} is no address"))?,
        ),
        None => None,
    };
    let targets: Vec<SocketAddr> = target
        .to_socket_addrs()
        .map(Iterator::collect)
        .unwrap_or_default();
    let reach = |address: &SocketAddr| match (network, local) {
        ("tcp", None) => TcpStream::connect_timeout(address, timeout).is_ok(),
        ("tcp", Some(local)) => connect_from(local, *address, timeout),
        _ => {
            let unspecified = if address.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            UdpSocket::bind((local.unwrap_or(unspecified), 0))
                .and_then(|socket| socket.connect(address))
                .is_ok()
        }
    };
    anyhow::ensure!(
        ["tcp", "udp"].contains(&network),
        "{network:?} is neither tcp nor udp"
    );
    Ok(Values::from([(
        "reachable",
        Ok(targets.iter().any(reach).into()),
    )]))
}

/// The standard library cannot bind before it connects; tokio can.
fn connect_from(local: IpAddr, target: SocketAddr, timeout: Duration) -> bool {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    else {
        return false;
    };
    runtime.block_on(async {
        let socket = if target.is_ipv4() {
            tokio::net::TcpSocket::new_v4()
        } else {
            tokio::net::TcpSocket::new_v6()
        };
        let Ok(socket) = socket else { return false };
        if socket.bind(SocketAddr::new(local, 0)).is_err() {
            return false;
        }
        matches!(
            tokio::time::timeout(timeout, socket.connect(target)).await,
            Ok(Ok(_))
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_tables_of_sockets_are_read() {
        if cfg!(target_endian = "big") {
            return;
        }
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 0100007F:1F90 00000000:0000 0A 0\n\
                     1: 00000000:0016 00000000:0000 0A 0\n\
                     2: 0100007F:0016 0100007F:A1B2 01 0\n\
                     3: garbage\n";
        assert_eq!(listening(table, 8080, true), [IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(listening(table, 22, true), [IpAddr::from([0, 0, 0, 0])]);
        assert!(listening(table, 23, true).is_empty());
        assert_eq!(
            ip("00000000000000000000000001000000"),
            Some(Ipv6Addr::LOCALHOST.into())
        );
    }
}
