//! Names: by the system's resolver, or by one question to one server (RFC 1035).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::dns::{RECURSE, Reader, Record, question};
use crate::selftest::run::Values;
use crate::selftest::suite::Test;

/// Types that can be asked for, with their numbers.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("SSHFP", 44),
    ("CAA", 257),
];

pub(super) fn look(test: &Test, left: Duration) -> Values {
    let timeout = test.timeout(500).min(left);
    let (kind, name) = match test.name.split_once(':') {
        Some((kind, name)) if TYPES.iter().any(|(known, _)| *known == kind) => (Some(kind), name),
        _ => (None, test.name.as_str()),
    };
    let found = match test.word("server") {
        // As goss: types are only asked of a server that is named.
        None => system(name, timeout),
        Some(server) => {
            server_of(server, timeout).and_then(|server| ask(kind, name, server, timeout))
        }
    };
    match found {
        Ok(mut addresses) => {
            addresses.sort();
            let resolvable = !addresses.is_empty();
            Values::from([
                ("resolvable", Ok(resolvable.into())),
                ("addrs", Ok(addresses.into_iter().collect())),
            ])
        }
        // A server that does not answer says nothing about the name.
        Err(error) => {
            let why = format!("{error:#}");
            Values::from([
                ("resolvable", Err(error)),
                ("addrs", Err(anyhow::anyhow!(why))),
            ])
        }
    }
}

/// The system's resolver cannot be told how long it may take: it is left alone when it takes longer. A name that it does not
/// know is an empty list.
fn system(name: &str, timeout: Duration) -> Result<Vec<String>> {
    let mut found: Vec<String> = match sockets(&format!("{name}:0"), timeout) {
        Ok(list) => list
            .into_iter()
            .map(|address| address.ip().to_string())
            .collect(),
        Err(Unresolved::Unknown) => Vec::new(),
        Err(Unresolved::Late) => bail!("no answer in {} ms", timeout.as_millis()),
    };
    found.dedup();
    Ok(found)
}

/// Why a name has no address.
pub(super) enum Unresolved {
    /// Nobody knows it.
    Unknown,
    /// Nobody said anything in time.
    Late,
}

/// The addresses of `host:port`, found within `timeout`.
pub(super) fn sockets(target: &str, timeout: Duration) -> Result<Vec<SocketAddr>, Unresolved> {
    let (tell, told) = mpsc::channel();
    let target = target.to_owned();
    let started = std::thread::Builder::new().spawn(move || {
        // Nobody listens any more when it took too long.
        drop(tell.send(target.to_socket_addrs().map(Iterator::collect)));
    });
    started.map_err(|_no_thread| Unresolved::Late)?;
    let found = told
        .recv_timeout(timeout)
        .map_err(|_nothing| Unresolved::Late)?;
    found.map_err(|_cause| Unresolved::Unknown)
}

/// `192.0.2.1`, `192.0.2.1:5353`, `[::1]:53`, `name`, `name:5353`
fn server_of(server: &str, timeout: Duration) -> Result<SocketAddr> {
    if let Ok(ip) = server.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 53));
    }
    let target = if server
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        server.to_owned()
    } else {
        format!("{server}:53")
    };
    let found = sockets(&target, timeout).unwrap_or_default();
    found
        .into_iter()
        .next()
        .with_context(|| format!("server {server:?} has no address"))
}

fn ask(
    kind: Option<&str>,
    name: &str,
    server: SocketAddr,
    timeout: Duration,
) -> Result<Vec<String>> {
    let deadline = Instant::now() + timeout;
    let Some(kind) = kind else {
        // As goss does: both families, each of which may be missing.
        let both =
            ["A", "AAAA"].map(|kind| ask(Some(kind), name, server, timeout).unwrap_or_default());
        return Ok(both.concat());
    };
    let number = TYPES
        .iter()
        .find(|(known, _)| *known == kind)
        .map(|(_, number)| *number)
        .context("unknown type")?;
    let name = if kind == "PTR" {
        reverse(name)
    } else {
        name.to_owned()
    };
    let unspecified: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((unspecified, 0))?;
    socket.connect(server)?;
    // The port is the kernel's choice; an answer must also bear this id.
    let id = socket.local_addr()?.port().rotate_left(7);
    socket.send(&question(id, RECURSE, &name, number)?)?;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "no answer in time");
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut buffer)?;
        let answer = &buffer[..length];
        if answer.get(..2) == Some(&id.to_be_bytes()) {
            return answers(answer, number);
        }
    }
}

/// `192.0.2.1` becomes `1.2.0.192.in-addr.arpa`.
fn reverse(name: &str) -> String {
    match name.parse() {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(ip)) => {
            let digits = format!("{:032x}", u128::from(ip));
            let reversed: Vec<String> = digits.chars().rev().map(String::from).collect();
            format!("{}.ip6.arpa", reversed.join("."))
        }
        Err(_) => name.to_owned(),
    }
}

/// The answers of type `kind`, as goss prints them.
fn answers(message: &[u8], kind: u16) -> Result<Vec<String>> {
    let (mut reader, head) = Reader::answer(message)?;
    match head.code {
        0 | 3 => {}
        code => bail!("the server answered with error {code}"),
    }
    let mut found = Vec::new();
    for _ in 0..head.answers {
        let Record {
            kind: this, end, ..
        } = reader.record()?;
        if this == kind {
            found.extend(data(&mut reader, kind, end)?);
        }
        reader.at = end;
    }
    Ok(found)
}

/// One record; the strings of TXT are values of their own, as in goss.
fn data(reader: &mut Reader<'_>, kind: u16, end: usize) -> Result<Vec<String>> {
    if kind == 16 {
        let mut texts = Vec::new();
        while reader.at < end {
            let length = usize::from(reader.u8()?);
            texts.push(String::from_utf8_lossy(reader.take(length)?).into_owned());
        }
        return Ok(texts);
    }
    Ok(vec![match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(reader.until(end)?)?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(reader.until(end)?)?).to_string(),
        2 | 5 | 12 => reader.name()?,
        15 => format!("{} {}", reader.u16()?, reader.name()?),
        33 => format!(
            "{} {} {} {}",
            reader.u16()?,
            reader.u16()?,
            reader.u16()?,
            reader.name()?
        ),
        257 => {
            let (flags, length) = (reader.u8()?, usize::from(reader.u8()?));
            let tag = String::from_utf8_lossy(reader.take(length)?).into_owned();
            format!(
                "{flags} {tag} {}",
                String::from_utf8_lossy(reader.until(end)?)
            )
        }
        _ => {
            let (algorithm, digest) = (reader.u8()?, reader.u8()?);
            let hex = hex::encode(reader.until(end)?);
            format!("{algorithm} {digest} {hex}")
        }
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a question for `a.b` with these records: name pointer, type, data.
    fn answer(kind: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut message = question(7, RECURSE, "a.b", kind).expect("a name");
        message[2] = 0x81;
        message[7] = u8::try_from(records.len()).expect("few");
        for (kind, data) in records {
            message.extend([0xc0, 12]);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 60]);
            message.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            message.extend(*data);
        }
        message
    }

    #[test]
    fn records_are_printed_as_goss_prints_them() {
        for (kind, data, text) in [
            (1, &[192, 0, 2, 1][..], "192.0.2.1"),
            (15, &[0, 10, 1, b'm', 0xc0, 12], "10 m.a.b."),
            (33, &[0, 1, 0, 2, 1, 0xbb, 0xc0, 12], "1 2 443 a.b."),
            (16, b"\x09Hello DNS", "Hello DNS"),
            (257, b"\x00\x05issueca.example", "0 issue ca.example"),
            (5, &[0xc0, 14], "b."),
        ] {
            let message = answer(kind, &[(99, b"skip me"), (kind, data)]);
            assert_eq!(answers(&message, kind).expect(text), [text]);
        }
    }

    #[test]
    fn malformed_answers_are_errors_not_panics_or_loops() {
        let good = answer(15, &[(15, &[0, 10, 1, b'm', 0xc0, 12])]);
        for length in 0..good.len() {
            drop(answers(&good[..length], 15));
        }
        // Every single byte changed to every value that matters.
        for at in 0..good.len() {
            for value in [0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                drop(answers(&bad, 15));
            }
        }
        let own = u8::try_from(good.len() - 2).expect("short");
        let mut looped = good;
        let last = looped.len() - 1;
        looped[last] = own;
        assert!(answers(&looped, 15).is_err());
        assert!(question(1, RECURSE, "a..b", 1).is_err());
        assert!(question(1, RECURSE, &"x".repeat(64), 1).is_err());
    }

    #[test]
    fn addresses_are_reversed_for_ptr() {
        assert_eq!(reverse("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        assert!(
            reverse("2001:db8::1").starts_with("1.0.0.0.")
                && reverse("2001:db8::1").ends_with("8.b.d.0.1.0.0.2.ip6.arpa")
        );
        assert_eq!(reverse("x.in-addr.arpa"), "x.in-addr.arpa");
    }

    #[test]
    fn server_that_answers_is_asked_and_silence_is_bounded() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = server.local_addr().expect("an address");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (_, peer) = server.recv_from(&mut buffer).expect("a question");
            let mut message = answer(1, &[(1, &[10, 0, 0, 1])]);
            // A forged answer with another id is passed over.
            server.send_to(&message, peer).expect("sent");
            message[..2].copy_from_slice(&buffer[..2]);
            server.send_to(&message, peer).expect("sent");
            server
        });
        let found = ask(Some("A"), "a.b", address, Duration::from_secs(5)).expect("an answer");
        assert_eq!(found, ["10.0.0.1"]);
        let _silent = thread.join().expect("ended");
        let asked = Instant::now();
        assert!(ask(Some("A"), "a.b", address, Duration::from_millis(100)).is_err());
        assert!(asked.elapsed() < Duration::from_secs(2));
    }
}
