//! Network of the board itself: interfaces, listening ports, reachable addresses; and processes, which share the form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::probe::Root;
use crate::selftest::run::{Found, Values};
use crate::selftest::suite::Test;

pub(super) fn process(name: &str, root: &Root) -> Values {
    let pids = root
        .names("/proc")
        .into_iter()
        .filter(|name| name.bytes().all(|c| c.is_ascii_digit()));
    // A process may end between the list and the look.
    let comm = |pid: String| root.text(format!("/proc/{pid}/comm")).unwrap_or_default();
    // The kernel keeps 15 bytes of a name: a longer one never runs, as goss says too.
    let running = pids
        .map(comm)
        .any(|comm| comm.strip_suffix('\n').unwrap_or(&comm) == name);
    Values::from([("running", Ok(running.into()))])
}

/// `tcp:22`, `udp6:5353`, `8080`. A socket on `::` answers IPv4 too unless the kernel is told otherwise: it counts for `tcp` where
/// nothing else listens, which goss says no to.
pub(super) fn port(name: &str, root: &Root) -> Result<Values> {
    let (network, port) = name.split_once(':').unwrap_or(("tcp", name));
    let known = ["tcp", "tcp6", "udp", "udp6"].contains(&network);
    let mut addresses = Vec::new();
    // goss: nothing listens where no port is.
    if let Some(port) = port.parse::<u16>().ok().filter(|_| known) {
        let table = |network: &str| root.text(format!("/proc/net/{network}"));
        addresses = listening(&table(network)?, port, network.starts_with("tcp"));
        let both = root.number("/proc/sys/net/ipv6/bindv6only") != Some(1.0);
        if addresses.is_empty() && both && !network.ends_with('6') {
            let six = table(&format!("{network}6")).unwrap_or_default();
            addresses = listening(&six, port, network == "tcp");
            addresses.retain(|ip| *ip == IpAddr::from(Ipv6Addr::UNSPECIFIED));
        }
    }
    Ok(Values::from([
        ("listening", Ok((!addresses.is_empty()).into())),
        (
            "ip",
            Ok(addresses.iter().map(ToString::to_string).collect()),
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

pub(super) fn interface(name: &str) -> Values {
    let root = Root::default();
    if name.contains('/') || name.starts_with('.') || !root.exists(format!("/sys/class/net/{name}"))
    {
        return Values::from([("exists", Ok(false.into()))]);
    }
    let mtu = root
        .text(format!("/sys/class/net/{name}/mtu"))
        .ok()
        .and_then(|mtu| mtu.trim().parse::<u64>().ok())
        .map(Found::from);
    Values::from([
        ("exists", Ok(true.into())),
        ("mtu", mtu.context("it has no MTU")),
        ("addrs", addresses(name)),
    ])
}

fn addresses(name: &str) -> Result<Found> {
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

/// `tcp://host:port`, `tcp4://`, `udp6://`, `unix:///path`; for `udp` only that it can be sent to. What cannot be reached, be it
/// for its name, is not reachable, as goss says it.
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
    let reachable = |yes: bool| Ok(Values::from([("reachable", Ok(yes.into()))]));
    let (protocol, family) = match network {
        "unix" => return reachable(UnixStream::connect(target).is_ok()),
        "tcp" | "udp" => (network, None),
        "tcp4" | "udp4" => (&network[..3], Some(4)),
        "tcp6" | "udp6" => (&network[..3], Some(6)),
        // goss's dialer knows no other network either.
        _ => return reachable(false),
    };
    let deadline = Instant::now() + timeout;
    let targets = super::dns::sockets(target, timeout).unwrap_or_default();
    let fits = |address: &SocketAddr| match family {
        Some(4) => address.is_ipv4(),
        Some(_) => address.is_ipv6(),
        None => local.is_none_or(|local| local.is_ipv4() == address.is_ipv4()),
    };
    let reach = |address: &SocketAddr| {
        let left = deadline.saturating_duration_since(Instant::now());
        match (protocol, local) {
            _ if left.is_zero() => false,
            ("tcp", None) => TcpStream::connect_timeout(address, left).is_ok(),
            ("tcp", Some(local)) => connect_from(local, *address, left),
            _ => {
                let unspecified: IpAddr = if address.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                UdpSocket::bind((local.unwrap_or(unspecified), 0))
                    .and_then(|socket| socket.connect(address))
                    .is_ok()
            }
        }
    };
    reachable(targets.iter().filter(|address| fits(address)).any(reach))
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
