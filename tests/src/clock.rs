//! Owns a time server such as any network of an owner's has one: NTP on the loopback address, on a free port.
//!
//! It serves the time of this machine. An emulated board sees no other time server, since tests need no outside network.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// From 1900, where NTP begins, to 1970 (RFC 5905, figure 4).
const ERA: u64 = 2_208_988_800;
/// The header alone (RFC 5905, 7.3).
const LENGTH: usize = 48;
/// Version 4 and mode 4, server; no leap second.
const SERVER: u8 = 0x24;
const MODE: u8 = 0x07;
const CLIENT: u8 = 3;
/// How soon a server that is dropped is gone.
const BREATH: Duration = Duration::from_millis(200);

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct TimeServer {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TimeServer {
    /// Answers on the loopback address.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a socket for NTP")?;
        socket.set_read_timeout(Some(BREATH))?;
        let port = socket.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let mut request = [0; 256];
                // Nobody asked, or who asked is gone.
                if let Ok((length, from)) = socket.recv_from(&mut request) {
                    drop(reply(&socket, &request[..length], from));
                }
            }
        });
        Ok(Self {
            port,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it answers.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TimeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn reply(socket: &UdpSocket, request: &[u8], from: SocketAddr) -> io::Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the time of this machine is what is served"
    )]
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?;
    match answer(request, now) {
        Some(answer) => socket.send_to(&answer, from).map(drop),
        None => Ok(()),
    }
}

/// The answer to a client's request, `now` after 1970; nothing for anything else.
fn answer(request: &[u8], now: Duration) -> Option<[u8; LENGTH]> {
    let request = request.get(..LENGTH)?;
    if request[0] & MODE != CLIENT {
        return None;
    }
    let mut answer = [0; LENGTH];
    answer[0] = SERVER;
    // a clock of its own: stratum 1; polled as the client wishes; precise to 2^-20 s
    answer[1] = 1;
    answer[2] = request[2];
    answer[3] = 0xec;
    answer[12..16].copy_from_slice(b"LOCL");
    let time = stamp(now);
    answer[16..24].copy_from_slice(&time);
    // what the client sent as its time comes back: so it knows its own question
    answer[24..32].copy_from_slice(&request[40..48]);
    answer[32..40].copy_from_slice(&time);
    answer[40..48].copy_from_slice(&time);
    Some(answer)
}

/// Seconds and their 2^32nd parts (RFC 5905, section 6). The seconds wrap in 2036, as they are meant to.
fn stamp(now: Duration) -> [u8; 8] {
    let parts = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    ((now.as_secs() + ERA) << 32 | parts).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_to_the_question_and_has_the_time() {
        let server = TimeServer::start().unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client
            .connect((Ipv4Addr::LOCALHOST, server.port()))
            .unwrap();
        let mut question = [0; LENGTH];
        question[0] = 0x23;
        question[40..].copy_from_slice(b"whenever");
        let mut found = [0; 100];
        // what is no question has no answer: the next one is to this
        client.send(b"short").unwrap();
        client.send(&[0x24; LENGTH]).unwrap();
        client.send(&question).unwrap();
        assert_eq!(client.recv(&mut found).unwrap(), LENGTH);
        assert_eq!(
            (found[0], found[1], &found[24..32]),
            (0x24, 1, &b"whenever"[..])
        );
        let seconds = u32::from_be_bytes(found[40..44].try_into().unwrap());
        let before = stamp(
            std::fs::metadata("/proc/self")
                .unwrap()
                .modified()
                .unwrap()
                .duration_since(UNIX_EPOCH)
                .unwrap(),
        );
        let before = u32::from_be_bytes(before[..4].try_into().unwrap());
        assert!(seconds.wrapping_sub(before) < 3600, "{seconds} {before}");
    }

    #[test]
    fn times_are_counted_from_1900() {
        // RFC 5905, figure 4: 1 January 1970 is 2,208,988,800
        assert_eq!(stamp(Duration::ZERO), [0x83, 0xaa, 0x7e, 0x80, 0, 0, 0, 0]);
        assert_eq!(stamp(Duration::from_millis(500))[4..], [0x80, 0, 0, 0]);
    }
}
