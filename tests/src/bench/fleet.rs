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
use crate::locks::servers::{self, Member, Server};

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
    eprintln!("a rollout over {BOARDS} boards, at most {ALLOWED} out");
    let (truth, seconds) = rollout(&server, dir.path())?;
    let (max_out, p99, rss) = (truth.most(), truth.p99().as_millis(), server.memory()?);
    let events = server.group()?["rollout"]["state"].clone();
    eprintln!(
        "{events} after {seconds} s; {} boards went",
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
    eprintln!("the plainest server: one transaction of etcd for each lock");
    let plain = plain_rate(&members)?;
    say(&format!(
        "bench-fleet-limit: plain_etcd_grants_s={plain:.0} ratio={:.2}",
        etcd_grants / plain
    ));
    say(&format!(
        "bench-fleet: boards={BOARDS} seconds={seconds} max_out={max_out} allowed={ALLOWED} grants_s={grants:.0} p99_ms={p99} \
         rss={rss} etcd_grants_s={etcd_grants:.0}"
    ));
    Ok(())
}

fn rollout(server: &Server, dir: &std::path::Path) -> Result<(Arc<Truth>, u64)> {
    let truth = Arc::new(Truth::default());
    let began = Instant::now();
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
        "group = \"default\"\nversion = \"latest\"\ncanary = [\"n0000\"]\nsoak = 3\nsettle = 1\nwaves = [\"10%\", \"50%\"]\n\
         max_unavailable = \"{ALLOWED}\"\nmax_failures = 100\n[settings]\nslots = {ALLOWED}\ndeadline = 60\n"
    );
    put(&plan, &text)?;
    server.operator(&["plan", "apply", &plan.display().to_string()])?;
    wait(server, Duration::from_mins(20), |g| {
        g["rollout"]["state"] != "running"
    })?;
    let seconds = began.elapsed().as_secs();
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

/// What a server can do that writes each lock, and each return of one, by a transaction of its own, one after the other since each
/// wants the semaphore as it was before: read, compare and swap, over the same API of etcd, without any HTTP of boards.
fn plain_rate(members: &[Member]) -> Result<f64> {
    let url = |path: &str| format!("http://127.0.0.1:{}/v3/kv/{path}", members[0].client);
    // "plain" in base64
    let key = "cGxhaW4=";
    let agent = ureq::Agent::new_with_defaults();
    let post = |path: &str, body: &Value| -> Result<Value> {
        let text = agent
            .post(url(path))
            .send(body.to_string())?
            .body_mut()
            .read_to_string()?;
        Ok(serde_json::from_str(&text)?)
    };
    let began = Instant::now();
    let mut swaps = 0_u32;
    while began.elapsed() < RATE {
        let seen = post("range", &json!({"key": key}))?;
        let revision = seen["kvs"][0]["mod_revision"]
            .as_str()
            .unwrap_or("0")
            .to_owned();
        let body = json!({
            "compare": [{"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision}],
            "success": [{"request_put": {"key": key, "value": key}}],
        });
        ensure!(
            post("txn", &body)?["succeeded"] == true,
            "nobody else writes there"
        );
        swaps += 1;
    }
    // one to take, one to give back
    Ok(f64::from(swaps) / 2.0 / began.elapsed().as_secs_f64())
}
