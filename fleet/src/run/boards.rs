//! The real boards: asked over HTTP again and again, told over ssh.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::preflight::{self, Check, Status};
use super::turn::Boards;
use crate::answer::{self, clean};
use crate::ask::Asker;
use crate::exec::Ended;
use crate::hosts::Host;
use crate::rollout::journal::{Action, What};
use crate::rollout::plan::Plan;
use crate::rollout::{BoardSeen, Health};
use crate::ssh::{self, Refusal, Ssh};

/// Between two questions to a board.
const EVERY: Duration = Duration::from_secs(3);
/// One question.
const PATIENCE: Duration = Duration::from_secs(10);
/// A question over ssh that the board answers by asking its repository.
const LOOK: Duration = Duration::from_secs(90);
/// A board that could not be looked at is looked at again after this long.
const PAUSE: Duration = Duration::from_secs(5);
/// Boards are looked at every second. After a gap of this length the laptop slept, or its clock was set.
const SLEPT: u64 = 60;
/// Exit codes of the agent: nothing to do, and another run holds the board (sysexits.h, EX_TEMPFAIL).
const NOTHING: i32 = 3;
const HELD: i32 = 75;

/// All boards of a run.
#[derive(Debug)]
pub struct Live {
    boards: BTreeMap<String, Arc<Mutex<One>>>,
    order: Vec<String>,
    clock: fn() -> u64,
    /// When `seen` was asked for last.
    looked: u64,
    reach: Arc<Reach>,
    tell: UnboundedSender<What>,
    news: UnboundedReceiver<What>,
}

#[derive(Debug)]
struct Reach {
    ssh: Ssh,
    plan: Plan,
    run: String,
    operator: String,
}

/// What is known of one.
#[derive(Debug, Default)]
struct One {
    host: Host,
    seen: BoardSeen,
    step: String,
}

impl Live {
    /// Begins to ask.
    pub fn start(
        hosts: Vec<Host>,
        ssh: Ssh,
        plan: &Plan,
        (run, operator): (&str, &str),
        clock: fn() -> u64,
    ) -> anyhow::Result<Self> {
        let asker = Asker::new()?;
        let (tell, news) = unbounded_channel();
        let mut boards = BTreeMap::new();
        let mut order = Vec::new();
        for host in hosts {
            let name = host.to_string();
            let seen = BoardSeen {
                name: name.clone(),
                watched: clock(),
                ..BoardSeen::default()
            };
            let one = Arc::new(Mutex::new(One {
                host,
                seen,
                step: String::new(),
            }));
            tokio::spawn(watch(Arc::downgrade(&one), asker.clone(), clock));
            order.push(name.clone());
            boards.insert(name, one);
        }
        let reach = Reach {
            ssh,
            plan: plan.clone(),
            run: run.to_owned(),
            operator: operator.to_owned(),
        };
        Ok(Self {
            boards,
            order,
            clock,
            looked: clock(),
            reach: Arc::new(reach),
            tell,
            news,
        })
    }

    /// What a board does at this moment, in a few words.
    pub fn step(&self, board: &str) -> String {
        self.boards
            .get(board)
            .map(|one| of(one).step.clone())
            .unwrap_or_default()
    }

    /// Lets the boards go: whoever comes next need not wait until our claim is over.
    pub async fn release(&self) {
        let mut set = tokio::task::JoinSet::new();
        for one in self.boards.values() {
            let (reach, host) = (Arc::clone(&self.reach), of(one).host.clone());
            set.spawn(async move {
                let arguments = ["claim", &reach.run, "--release"];
                // A board that cannot be told lets go by itself.
                drop(
                    reach
                        .ssh
                        .agent(&host, &arguments, PATIENCE, &mut |_| ())
                        .await,
                );
            });
        }
        drop(set.join_all().await);
    }
}

fn of(one: &Mutex<One>) -> std::sync::MutexGuard<'_, One> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks one board until nobody is interested any more.
async fn watch(one: std::sync::Weak<Mutex<One>>, asker: Asker, clock: fn() -> u64) {
    loop {
        let Some(strong) = one.upgrade() else { return };
        let host = of(&strong).host.clone();
        let reply = asker.ask(&host, "/health", PATIENCE).await;
        hear(
            &mut of(&strong).seen,
            reply.ok().as_ref().and_then(answer::seen),
            clock(),
        );
        drop(strong);
        tokio::time::sleep(EVERY).await;
    }
}

/// What an answer, or none, means for what is known.
fn hear(seen: &mut BoardSeen, answer: Option<crate::rollout::Answer>, now: u64) {
    let Some(answer) = answer else {
        // The last answer stands, and grows old.
        seen.good_since = None;
        return;
    };
    let same = |a: &crate::rollout::Answer| a.version == answer.version && a.boot == answer.boot;
    if answer.health == Health::Fail {
        seen.good_since = None;
        seen.bad_since.get_or_insert(now);
    } else {
        seen.bad_since = None;
        if answer.owes || !seen.answer.as_ref().is_some_and(same) {
            seen.good_since = None;
        }
        if !answer.owes {
            seen.good_since.get_or_insert(now);
        }
    }
    seen.heard = Some(now);
    seen.answer = Some(answer);
}

impl Boards for Live {
    fn seen(&mut self) -> Vec<BoardSeen> {
        let now = (self.clock)();
        if now.saturating_sub(self.looked) > SLEPT {
            for one in self.boards.values() {
                of(one).seen.watch_anew(now);
            }
        }
        self.looked = now;
        let boards = self.order.iter().filter_map(|name| self.boards.get(name));
        boards.map(|one| of(one).seen.clone()).collect()
    }

    fn look(&mut self, board: &str) {
        let Some(one) = self.boards.get(board).cloned() else {
            return;
        };
        // without an answer over HTTP there is nothing to compare with yet
        if of(&one).seen.busy || of(&one).seen.answer.is_none() {
            return;
        }
        of(&one).seen.busy = true;
        let (reach, tell) = (Arc::clone(&self.reach), self.tell.clone());
        tokio::spawn(async move {
            match look(&one, &reach).await {
                // Nobody listens when the run was left.
                Some(what) => drop(tell.send(what)),
                None => tokio::time::sleep(PAUSE).await,
            }
            of(&one).seen.busy = false;
        });
    }

    fn tell(&mut self, board: &str, action: Action, version: &str) {
        let Some(one) = self.boards.get(board).cloned() else {
            return;
        };
        of(&one).seen.busy = true;
        let (reach, tell, version) = (
            Arc::clone(&self.reach),
            self.tell.clone(),
            version.to_owned(),
        );
        tokio::spawn(async move {
            if let Some(what) = order(&one, &reach, action, &version).await {
                drop(tell.send(what));
            }
            of(&one).seen.busy = false;
        });
    }

    fn news(&mut self) -> Vec<What> {
        std::iter::from_fn(|| self.news.try_recv().ok()).collect()
    }
}

/// Looks at a board. None: it could not be looked at for a reason that may pass.
async fn look(one: &Mutex<One>, reach: &Reach) -> Option<What> {
    let (host, answer) = {
        let one = of(one);
        (one.host.clone(), one.seen.answer.clone()?)
    };
    let board = host.to_string();
    match looked(one, &host, &answer, reach).await {
        Ok(facts) => Some(What::Fit { board, facts }),
        Err(Refusal::Lasting(reason)) => Some(What::Unfit { board, reason }),
        Err(Refusal::Passing(why)) => {
            let mut one = of(one);
            one.seen.trouble = Some(why.clone());
            one.step = why;
            None
        }
    }
}

async fn looked(
    one: &Mutex<One>,
    host: &Host,
    answer: &crate::rollout::Answer,
    reach: &Reach,
) -> Result<crate::rollout::journal::Facts, Refusal> {
    of(one).step = "being looked at".into();
    claim(host, reach).await?;
    let status: Status = document(host, reach, &["status", "--json"]).await?;
    let mut arguments = vec!["check", "--json"];
    arguments.extend(reach.plan.source.as_deref());
    let check: Check = document(host, reach, &arguments).await?;
    of(one).step = String::new();
    preflight::fit(&reach.plan, answer, &status, &check).map_err(Refusal::Lasting)
}

/// One run at a time: a board remembers, until it restarts or the time is over, who works on it.
async fn claim(host: &Host, reach: &Reach) -> Result<(), Refusal> {
    let seconds = (reach.plan.patience + reach.plan.soak).to_string();
    let arguments = [
        "claim",
        &reach.run,
        "--by",
        &reach.operator,
        "--for",
        &seconds,
    ];
    let ended = reach.ssh.agent(host, &arguments, LOOK, &mut |_| ()).await?;
    match ended.code {
        Some(0) => Ok(()),
        Some(HELD) => Err(Refusal::Lasting(format!(
            "is being updated by somebody else: {}",
            clean(&ended.last)
        ))),
        _ => Err(Refusal::Passing(words(&ended))),
    }
}

async fn document<T: for<'a> Deserialize<'a>>(
    host: &Host,
    reach: &Reach,
    arguments: &[&str],
) -> Result<T, Refusal> {
    let mut text = String::new();
    let ended = reach
        .ssh
        .agent(host, arguments, LOOK, &mut |line| {
            text += line;
            text.push('\n');
        })
        .await?;
    match ended.code {
        Some(0 | NOTHING) => serde_json::from_str(&text).map_err(|e| {
            Refusal::Lasting(format!(
                "`hypriot-agent {}` says what is not understood: {e}",
                arguments[0]
            ))
        }),
        Some(4) => Err(Refusal::Lasting(
            "has no slots: it is no HypriotOS, and cannot be updated".into(),
        )),
        _ => Err(Refusal::Passing(words(&ended))),
    }
}

fn words(ended: &Ended) -> String {
    ssh::last_line(if ended.words.trim().is_empty() {
        &ended.last
    } else {
        &ended.words
    })
}

/// Tells a board something, and follows it for as long as the connection lasts. What it comes to is seen over HTTP; only
/// what the board refuses is news.
async fn order(one: &Mutex<One>, reach: &Reach, action: Action, version: &str) -> Option<What> {
    let host = of(one).host.clone();
    let board = host.to_string();
    let mut arguments = match action {
        Action::Rollback => vec!["rollback"],
        Action::Update => vec!["install", "--json", "--only", version],
        Action::Download => vec!["install", "--json", "--no-reboot", "--only", version],
    };
    if action != Action::Rollback {
        arguments.extend(reach.plan.source.as_deref());
    }
    if let Err(Refusal::Lasting(reason)) = claim(&host, reach).await {
        return Some(What::Failed { board, reason });
    }
    let limit = Duration::from_secs(reach.plan.patience);
    let mut tell = |line: &str| {
        if let Some(step) = step(line) {
            of(one).step = step;
        }
    };
    let ended = match reach.ssh.agent(&host, &arguments, limit, &mut tell).await {
        Ok(ended) => ended,
        Err(Refusal::Lasting(reason)) => return Some(What::Failed { board, reason }),
        // It may be restarting, as it was told.
        Err(Refusal::Passing(why)) => {
            let mut one = of(one);
            if one.step.is_empty() {
                one.step = why;
            }
            return None;
        }
    };
    let end: End = serde_json::from_str(&ended.last).unwrap_or_default();
    let why = clean(&end.why);
    match (ended.code, end.result.as_str()) {
        (Some(0), _) => None,
        (_, "other-version" | "nothing") => Some(What::Withdrawn { board, reason: why }),
        (_, "refused") => Some(What::Failed { board, reason: why }),
        _ => {
            of(one).step = if why.is_empty() { words(&ended) } else { why };
            None
        }
    }
}

/// The last line of `install --json`.
#[derive(Debug, Default, Deserialize)]
struct End {
    #[serde(default)]
    result: String,
    #[serde(default)]
    why: String,
}

/// One line of `install --json`, for people.
fn step(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(clean);
    match value.get("event")?.as_str()? {
        "installing" => {
            let percent = value.get("percent").and_then(Value::as_u64)?.min(100);
            Some(format!("{} {percent} %", text("stage")?))
        }
        "installed" => Some("written".into()),
        "rebooting" => Some("restarting".into()),
        _ => None,
    }
}

impl Live {
    /// Asks a board that failed what its failing slot left behind.
    pub fn ask_why(&self, board: &str) {
        let Some(one) = self.boards.get(board).cloned() else {
            return;
        };
        let (reach, tell, board) = (Arc::clone(&self.reach), self.tell.clone(), board.to_owned());
        tokio::spawn(async move {
            let host = of(&one).host.clone();
            let Ok(status) = document::<Status>(&host, &reach, &["status", "--json"]).await else {
                return;
            };
            let reasons: Vec<String> = status.last.unwrap_or_default().reasons;
            let reasons: Vec<String> = reasons.iter().take(10).map(|r| clean(r)).collect();
            if !reasons.is_empty() {
                drop(tell.send(What::Why { board, reasons }));
            }
        });
    }
}

#[cfg(test)]
mod tests;
