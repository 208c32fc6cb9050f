//! Who else is there: one question by multicast DNS, from a port of our own, so that each answers to us alone ("legacy unicast",
//! RFC 6762, 6.7). Their avahi answers; nothing of ours runs for that.
//!
//! Of an answer only the sender's address and the port are taken. So nobody can announce anybody else, and one host is one
//! neighbour, whatever it announces.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};

use super::links::{self, Link};
use super::plan::MOST_PEERS;
use super::wire::{Id, PORT, SERVICE};
use crate::dns::{Reader, question};

/// Where multicast DNS is spoken (RFC 6762, 3).
const MDNS: u16 = 5353;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// PTR, SRV (RFC 1035, 3.2.2; RFC 2782).
const PTR: u16 = 12;
const SRV: u16 = 33;
/// Whoever shares a record answers within 120 ms (RFC 6762, 6), unless the network loses it: then the question is put again.
const AGAIN: [Duration; 2] = [Duration::ZERO, Duration::from_millis(400)];
/// Longer nobody is waited for.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How long one socket is listened at before the next, and before it is seen that nobody wants to know any more.
const GLANCE: Duration = Duration::from_millis(20);
/// Answers that are looked at: more are a flood.
const MOST_ANSWERS: usize = 256;
/// An answer is no longer (RFC 6762, 17).
const LONGEST: usize = 9000;

/// The neighbours that answer, at most [`MOST_PEERS`]. Takes a second; less when `stop` becomes true.
pub(crate) fn neighbours(stop: &AtomicBool) -> Vec<SocketAddr> {
    let links = links::all();
    let [low, high, ..] = Id::new().0;
    let id = u16::from_le_bytes([low, high]);
    let Ok(asked) = question(id, 0, SERVICE, PTR) else {
        return Vec::new();
    };
    let doors: Vec<Door<'_>> = links
        .iter()
        .filter(|link| is_first(link, &links))
        .filter_map(|link| Door::open(link).ok())
        .collect();
    let mut found = BTreeSet::new();
    let (begun, mut put, mut answers) = (Instant::now(), 0, 0);
    let mut buffer = vec![0; LONGEST];
    while !doors.is_empty() && begun.elapsed() < PATIENCE && !stop.load(Ordering::Relaxed) {
        if AGAIN.get(put).is_some_and(|at| begun.elapsed() >= *at) {
            put += 1;
            for door in &doors {
                // a network that does not take it has nobody who answers
                drop(door.socket.send_to(&asked, door.group));
            }
        }
        for door in &doors {
            let Ok((length, from)) = door.socket.recv_from(&mut buffer) else {
                continue;
            };
            answers += 1;
            if let Some(port) = announced(&buffer[..length], id)
                && door.believes(from, &links)
                && found.len() < MOST_PEERS
            {
                found.insert(at_port(from, port));
            }
        }
        if answers > MOST_ANSWERS {
            break;
        }
    }
    found.into_iter().collect()
}

/// IPv4, or IPv6 where a device has no other: a neighbour is to be found once.
fn is_first(link: &Link, all: &[Link]) -> bool {
    let same = |other: &&Link| other.index == link.index;
    match link.own {
        IpAddr::V4(_) => all.iter().filter(same).find(|l| l.own.is_ipv4()) == Some(link),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() && !all.iter().filter(same).any(|l| l.own.is_ipv4())
        }
    }
}

/// Where one network is asked.
struct Door<'l> {
    link: &'l Link,
    socket: UdpSocket,
    group: SocketAddr,
}

impl<'l> Door<'l> {
    fn open(link: &'l Link) -> io::Result<Self> {
        let (own, group): (SocketAddr, SocketAddr) = match link.own {
            IpAddr::V4(ip) => ((ip, 0).into(), (GROUP, MDNS).into()),
            IpAddr::V6(ip) => (
                SocketAddrV6::new(ip, 0, 0, link.index).into(),
                SocketAddrV6::new(GROUP6, MDNS, 0, link.index).into(),
            ),
        };
        let socket = UdpSocket::bind(own)?;
        // else the kernel sends it where its default route leads (ip(7))
        setsockopt(&socket, BindToDevice, &link.name.clone().into())?;
        if link.own.is_ipv4() {
            // RFC 6762, 11
            socket.set_multicast_ttl_v4(255)?;
        }
        socket.set_read_timeout(Some(GLANCE))?;
        Ok(Self {
            link,
            socket,
            group,
        })
    }

    /// Whether an answer comes from this network, from who speaks multicast DNS there, and not from ourselves.
    fn believes(&self, from: SocketAddr, links: &[Link]) -> bool {
        from.port() == MDNS
            && self.link.holds(from.ip())
            && links::is_local(from.ip())
            && !links.iter().any(|link| link.own == from.ip())
    }
}

fn at_port(mut from: SocketAddr, port: u16) -> SocketAddr {
    from.set_port(port);
    from
}

/// The port at which the sender of this answer lends; that of all where it does not say.
fn announced(message: &[u8], id: u16) -> Option<u16> {
    let (mut reader, head) = Reader::answer(message).ok()?;
    if head.id != id || head.code != 0 {
        return None;
    }
    let (ours, mut announces) = (format!("{SERVICE}."), false);
    for _ in 0..head.records {
        let record = reader.record().ok()?;
        let name = record.name.to_ascii_lowercase();
        if record.kind == PTR && name == ours {
            announces = true;
        }
        if record.kind == SRV && name.ends_with(&ours) {
            // RFC 2782: priority, weight, port
            let (_, _, port) = (reader.u16().ok()?, reader.u16().ok()?, reader.u16().ok()?);
            return (port > 0).then_some(port);
        }
        reader.at = record.end;
    }
    announces.then_some(PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these records: name, type, data.
    fn answer(id: u16, records: &[(&str, u16, &[u8])]) -> Vec<u8> {
        let mut message = question(id, 0x8400, SERVICE, PTR).expect("a name");
        message[7] = u8::try_from(records.len()).expect("few");
        for (name, kind, data) in records {
            let named = question(0, 0, name, *kind).expect("a name");
            message.extend(&named[12..]);
            message.extend([0, 0, 0, 10]);
            message.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            message.extend(*data);
        }
        message
    }

    const SRV_OF: &str = "black-pearl._hypriot-update._tcp.local";

    #[test]
    fn an_answer_gives_a_port_and_nothing_else_is_believed() {
        let srv = |port: u16| [&[0, 0, 0, 0][..], &port.to_be_bytes(), &[0]].concat();
        let ptr: (&str, u16, &[u8]) = (SERVICE, PTR, &[0xc0, 12]);
        for (danger, message, expected) in [
            (
                "all of it",
                answer(7, &[ptr, (SRV_OF, SRV, &srv(9000))]),
                Some(9000),
            ),
            ("no port said", answer(7, &[ptr]), Some(PORT)),
            ("port 0", answer(7, &[ptr, (SRV_OF, SRV, &srv(0))]), None),
            ("another question's", answer(8, &[ptr]), None),
            (
                "another service",
                answer(7, &[("_http._tcp.local", PTR, &[0])]),
                None,
            ),
            (
                "a port of another service",
                answer(7, &[ptr, ("x._http._tcp.local", SRV, &srv(80))]),
                Some(PORT),
            ),
            (
                "capitals",
                answer(7, &[("_HYPRIOT-update._tcp.LOCAL", PTR, &[0])]),
                Some(PORT),
            ),
            ("nothing", answer(7, &[]), None),
            (
                "a question",
                question(7, 0, SERVICE, PTR).expect("a name"),
                None,
            ),
        ] {
            assert_eq!(announced(&message, 7), expected, "{danger}");
        }
    }

    #[test]
    fn malformed_answers_are_passed_over_without_a_panic_or_a_loop() {
        let srv = [0, 0, 0, 0, 1, 2, 0];
        let good = answer(7, &[(SERVICE, PTR, &[0xc0, 12]), (SRV_OF, SRV, &srv)]);
        for length in 0..good.len() {
            assert_ne!(announced(&good[..length], 7), Some(0));
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                assert_ne!(announced(&bad, 7), Some(0));
            }
        }
    }

    #[test]
    fn an_answer_from_elsewhere_and_our_own_are_passed_over() {
        let link = links::tests::link("192.168.1.7", 24);
        let links = [link.clone()];
        let door = Door {
            link: &link,
            socket: UdpSocket::bind("127.0.0.1:0").expect("a port"),
            group: (GROUP, MDNS).into(),
        };
        for (from, expected) in [
            ("192.168.1.8:5353", true),
            ("192.168.1.8:5354", false),
            ("192.168.1.7:5353", false),
            ("192.168.2.8:5353", false),
            ("8.8.8.8:5353", false),
        ] {
            let from = from.parse().expect("an address");
            assert_eq!(door.believes(from, &links), expected, "{from}");
        }
    }

    #[test]
    fn looking_for_neighbours_takes_a_second_and_ends_when_nobody_wants_to_know() {
        let begun = Instant::now();
        drop(neighbours(&AtomicBool::new(false)));
        assert!(begun.elapsed() < PATIENCE + Duration::from_secs(2));
        let begun = Instant::now();
        drop(neighbours(&AtomicBool::new(true)));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
