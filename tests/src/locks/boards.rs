//! Boards that speak FleetLock over HTTP, one thread each, and how many of them are out by their own clock.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// Longer than a server looks for a member of etcd that answers.
const PATIENCE: Duration = Duration::from_mins(1);

/// A board's connection to one server.
#[derive(Debug, Default)]
pub struct Line(Option<BufReader<TcpStream>>);

impl Line {
    /// FleetLock's `word` to the server on `port`; the status, and the body.
    pub fn say(
        &mut self,
        port: u16,
        word: &str,
        board: &str,
        more: &Value,
    ) -> Result<(u16, Value)> {
        let mut body = more.clone();
        body["client_params"] = json!({"id": board, "group": "default"});
        let body = body.to_string();
        let head = format!(
            "POST /v1/{word} HTTP/1.1\r\nhost: 127.0.0.1\r\nfleet-lock-protocol: true\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let done = self.exchange(port, &head);
        if done.is_err() {
            self.0 = None;
        }
        done
    }

    fn exchange(&mut self, port: u16, request: &str) -> Result<(u16, Value)> {
        let line = match &mut self.0 {
            Some(line) => line,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", port))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                none.insert(BufReader::new(stream))
            }
        };
        line.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (None, 0);
        loop {
            let mut text = String::new();
            anyhow::ensure!(line.read_line(&mut text)? > 0, "the server hung up");
            let text = text.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if status.is_none() {
                status = text.get(9..12).and_then(|s| s.parse().ok());
            } else if let Some(n) = text.strip_prefix("content-length:") {
                length = n.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        line.read_exact(&mut body)?;
        Ok((status.context("no status")?, serde_json::from_slice(&body)?))
    }
}

/// What is true of all boards, whatever any server believes.
#[derive(Debug, Default)]
pub struct Truth {
    out: AtomicUsize,
    most: AtomicUsize,
    /// Times that boards went.
    pub grants: AtomicUsize,
    /// How long each answer took.
    pub took: Mutex<Vec<Duration>>,
    /// Boards are to end.
    pub over: AtomicBool,
}

impl Truth {
    /// The most boards that were out at one moment.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// Boards that are out now.
    pub fn out(&self) -> usize {
        self.out.load(Ordering::SeqCst)
    }

    fn goes(&self) {
        let out = self.out.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(out, Ordering::SeqCst);
        self.grants.fetch_add(1, Ordering::SeqCst);
    }

    fn comes(&self) {
        self.out.fetch_sub(1, Ordering::SeqCst);
    }

    /// The time that 99 of 100 answers were within.
    pub fn p99(&self) -> Duration {
        let mut all = self.took.lock().map(|t| t.clone()).unwrap_or_default();
        all.sort();
        all.get(all.len().saturating_sub(1) * 99 / 100)
            .copied()
            .unwrap_or_default()
    }
}

/// How a board behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As it should.
    Good,
    /// Its self-tests fail on the new version: it comes back with the old one.
    FallsBack,
    /// It goes, and is never heard of again.
    Silent,
    /// It hangs up before the answer, every other time.
    Flapping,
    /// It takes ten times as long.
    Slow,
}

/// A simulated board.
#[derive(Debug)]
pub struct Board {
    /// Its identity.
    pub id: String,
    /// How it behaves.
    pub way: Way,
    /// The servers it may ask, in this order, the next when one does not answer.
    pub ports: Vec<u16>,
    /// How long a restart takes.
    pub restart: Duration,
    /// Between two questions.
    pub pause: Duration,
}

const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";

impl Board {
    /// Reports itself, asks until it may go, goes, comes back.
    pub fn live(&self, truth: &Truth) {
        let mut at = 0;
        let mut line = Line::default();
        let mut tries = 0_usize;
        let mut ask = |word: &str, version: &str, target: &str| {
            let began = Instant::now();
            tries += 1;
            if self.way == Way::Flapping && tries % 2 == 1 {
                self.hang_up(self.ports[at % self.ports.len()], word, version, target);
            }
            let more = json!({"version": version, "target": target, "name": self.id});
            let answer = line.say(self.ports[at % self.ports.len()], word, &self.id, &more);
            if let (Ok(mut took), Ok(_)) = (truth.took.lock(), &answer) {
                took.push(began.elapsed());
            }
            if answer.as_ref().is_ok_and(|(status, _)| *status == 200) {
                return true;
            }
            if answer.is_err() || answer.is_ok_and(|(status, _)| status == 503) {
                at += 1;
            }
            std::thread::sleep(self.pause);
            false
        };
        let over = || truth.over.load(Ordering::SeqCst);
        while !ask("steady-state", OLD, NEW) {
            if over() {
                return;
            }
        }
        while !ask("pre-reboot", OLD, NEW) {
            if over() {
                return;
            }
        }
        truth.goes();
        if self.way == Way::Silent {
            return;
        }
        let slow = if self.way == Way::Slow { 10 } else { 1 };
        std::thread::sleep(self.restart * slow);
        let version = if self.way == Way::FallsBack { OLD } else { NEW };
        truth.comes();
        while !ask("steady-state", version, "") && !over() {}
    }

    /// Asks, and does not wait for the answer.
    fn hang_up(&self, port: u16, word: &str, version: &str, target: &str) {
        let body = json!({"version": version, "target": target, "name": self.id, "client_params": {"id": self.id, "group": "default"}}).to_string();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let head = format!(
                "POST /v1/{word} HTTP/1.1\r\nhost: 127.0.0.1\r\nfleet-lock-protocol: true\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(head.as_bytes()));
        }
    }
}
