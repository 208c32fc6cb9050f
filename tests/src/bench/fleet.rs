//! `make bench-fleet`: a rollout over 1,000 simulated boards, faults included, through one server with the embedded store; then how
//! many locks a second that server gives, how many three servers on three members of etcd give, and how many the plainest server
//! gives that asks the same etcd.
//!
//! The boards are simulated: real HTTP, one connection each, a restart takes a second. The rollout is real: plan, canary, waves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::bench::say;
use crate::locks::boards::{Board, Line, Truth, Way};
use crate::locks::servers::{self, Server};

const BOARDS: usize = 1_000;
const ALLOWED: usize = 50;
/// How long locks are taken and given back, as fast as possible.
const RATE: Duration = Duration::from_secs(8);
/// Boards that do that, each as fast as it can.
const GREEDY: usize = 64;

/// Faults by board: of a hundred, one is never back, two fall back, three hang up, four are slow.
fn way(n: usize) -> Way {
    match n % 100 {
        13 => Way::Silent,
        27 | 61 => Way::FallsBack,
        33..=35 => Way::Flapping,
        70..=73 => Way::Slow,
        _ => Way::Good,
    }
}

/// Runs it.
pub fn run() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("embedded");
    std::fs::create_dir(&state)?;
    let server = Server::start(&state, &["--new", "--group", &format!("default={ALLOWED}")])?;
    // without a plan boards go as there is room, and a bad one of them pauses the group before the plan is there
    server.operator(&["group", "pause", "default"])?;
    eprintln!("a rollout over {BOARDS} boards, at most {ALLOWED} out");
    let (truth, seconds) = rollout(&server, dir.path())?;
    let (max_out, p99, rss) = (truth.most(), truth.p99().as_millis(), server.memory()?);
    let answers = truth.took.lock().map_or(0, |t| t.len());
    eprintln!(
        "after {seconds} s; {} boards went, {answers} answers",
        truth.grants.load(Ordering::SeqCst)
    );
    ensure!(
        max_out <= ALLOWED,
        "{max_out} boards were out, {ALLOWED} are allowed"
    );
    drop(server);
    let rate_state = dir.path().join("rate");
    std::fs::create_dir(&rate_state)?;
    let server = Server::start(&rate_state, &["--new", "--group", "default=1000"])?;
    let grants = rate(&[server.port])?;
    drop(server);
    eprintln!("the plainest server on the same client of etcd: one transaction for each lock");
    let members = servers::etcd(&dir.path().join("plain"))?;
    let plain = servers::Plain::start(&servers::store(&members, 0))?;
    let plain_grants = rate(&[plain.port])?;
    drop((plain, members));
    eprintln!("three servers on three members of etcd");
    let members = servers::etcd(&dir.path().join("etcd"))?;
    let fleet = (0..3)
        .map(|n| {
            let state = dir.path().join(format!("s{n}"));
            std::fs::create_dir(&state)?;
            let mut words = vec!["--new"];
            let store = servers::store(&members, n);
            words.extend(["--store", &store, "--group", "default=1000"]);
            Server::start(&state, &words)
        })
        .collect::<Result<Vec<_>>>()?;
    let ports: Vec<u16> = fleet.iter().map(|s| s.port).collect();
    let etcd_grants = rate(&ports)?;
    drop(fleet);
    say(&format!(
        "bench-fleet-limit: plain_etcd_grants_s={plain_grants:.0} ratio={:.2}",
        etcd_grants / plain_grants
    ));
    say(&format!(
        "bench-fleet: boards={BOARDS} seconds={seconds} max_out={max_out} allowed={ALLOWED} grants_s={grants:.0} p99_ms={p99} \
         rss={rss} etcd_grants_s={etcd_grants:.0}"
    ));
    Ok(())
}

fn rollout(server: &Server, dir: &std::path::Path) -> Result<(Arc<Truth>, u64)> {
    let truth = Arc::new(Truth::default());
    let boards = (0..BOARDS)
        .map(|n| {
            let board = Board {
                id: format!("n{n:04}"),
                way: way(n),
                ports: vec![server.port],
                restart: Duration::from_secs(1),
                pause: Duration::from_millis(1_000 + u64::try_from(n % 500)?),
            };
            let truth = Arc::clone(&truth);
            let thread = std::thread::Builder::new().stack_size(256 * 1024);
            Ok(thread.spawn(move || board.live(&truth))?)
        })
        .collect::<Result<Vec<_>>>()?;
    wait(server, Duration::from_mins(2), |g| {
        g["boards"].as_array().is_some_and(|b| b.len() == BOARDS)
    })?;
    let plan = dir.join("plan.toml");
    let text = format!(
        "group = \"default\"\nversion = \"latest\"\ncanary = [\"n0000\"]\nsoak = 3\nsettle = 1\nwaves = [\"10%\"]\n\
         max_unavailable = \"{ALLOWED}\"\nmax_failures = 100\n[settings]\nslots = {ALLOWED}\ndeadline = 60\n"
    );
    put(&plan, &text)?;
    server.operator(&["plan", "apply", &plan.display().to_string()])?;
    server.operator(&["group", "resume", "default"])?;
    let began = Instant::now();
    wait(server, Duration::from_mins(8), |g| {
        g["rollout"]["state"] != "running" && g["paused"].is_null()
    })?;
    let seconds = began.elapsed().as_secs();
    let state = server.group()?["rollout"].clone();
    ensure!(
        state["state"] == "partly done",
        "all boards that can have it, and those that cannot are known: {state}"
    );
    truth.over.store(true, Ordering::SeqCst);
    for board in boards {
        ensure!(board.join().is_ok(), "a board panicked");
    }
    Ok((truth, seconds))
}

fn put(path: &std::path::Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    std::fs::File::create(path)?.write_all(text.as_bytes())?;
    Ok(())
}

fn wait(server: &Server, within: Duration, holds: impl Fn(&Value) -> bool) -> Result<()> {
    let end = Instant::now() + within;
    while !holds(&server.group()?) {
        ensure!(
            Instant::now() < end,
            "it does not end: {}",
            server.group()?["rollout"]
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// Locks taken and given back in a second, by boards that do nothing else.
fn rate(ports: &[u16]) -> Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let grants = Arc::new(AtomicUsize::new(0));
    let boards: Vec<_> = (0..GREEDY)
        .map(|n| {
            let (over, grants, port) = (
                Arc::clone(&over),
                Arc::clone(&grants),
                ports[n % ports.len()],
            );
            std::thread::spawn(move || {
                let (mut line, id) = (Line::default(), format!("g{n}"));
                while !over.load(Ordering::SeqCst) {
                    let taken = line.say(port, "pre-reboot", &id, &json!({}));
                    if taken.is_ok_and(|(status, _)| status == 200)
                        && line
                            .say(port, "steady-state", &id, &json!({}))
                            .is_ok_and(|(s, _)| s == 200)
                    {
                        grants.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(RATE / 4);
    let (from, began) = (grants.load(Ordering::SeqCst), Instant::now());
    std::thread::sleep(RATE);
    let (n, took) = (grants.load(Ordering::SeqCst) - from, began.elapsed());
    over.store(true, Ordering::SeqCst);
    for board in boards {
        ensure!(board.join().is_ok(), "a board panicked");
    }
    let n = u32::try_from(n).context("so many grants")?;
    Ok(f64::from(n) / took.as_secs_f64())
}
