//! One task that holds the books. Whoever asks is answered after what was decided is in the store, or is told that it is not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock::Clock;
use crate::lock::{Answer, Ask, Books, Event, Now, What, judge};
use crate::rollout::journal;
use crate::store::{Entry, Store};

/// Requests that may wait. All that do are judged together: a decision over a thousand boards costs the same whether one of them
/// asks or all, so a server that falls behind on a busy machine catches up with the next one.
const WAITING: usize = 4_096;
/// Bytes of one entry that the store need not cut into parts. What one request alone makes of it cannot be divided here.
const ENTRY: usize = 768 * 1024;
/// A batch is gathered for as long as the one before it took to be judged, and for no longer than this: boards that are refused
/// cost no write for which others would gather behind them, and a thousand of them would be judged one by one.
const GATHER: Duration = Duration::from_millis(100);
/// How often another server may be first before we say that we are busy.
const ATTEMPTS: usize = 16;
/// The books are summed up after so many entries.
const SUM: u64 = 1_000;
/// Events that the page shows.
const RECENT: usize = 100;
/// Nobody gathers for so short a time.
const GLANCE: Duration = Duration::from_millis(2);
const TICK: Duration = Duration::from_secs(1);

type Waiting = (Ask, oneshot::Sender<Answer>);

/// The way to the desk.
#[derive(Debug, Clone)]
pub struct Counter {
    desk: mpsc::Sender<Waiting>,
    shown: watch::Receiver<Arc<Shown>>,
}

/// What everybody may look at.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The books.
    pub books: Books,
    /// Number of the newest entry.
    pub seq: u64,
    /// Now, when this was true.
    pub at: u64,
    /// The newest events.
    pub recent: VecDeque<Event>,
    /// Why the store cannot be used.
    pub trouble: Option<String>,
    /// Counts since this server began.
    pub counts: Counts,
}

/// Counts since this server began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Locks given, by group.
    pub granted: BTreeMap<String, u64>,
    /// Boards that did not come back as they should have, by group.
    pub failed: BTreeMap<String, u64>,
    /// Requests that were refused, by kind.
    pub refused: BTreeMap<&'static str, u64>,
    /// Times that the store could not be used.
    pub trouble: u64,
    /// Times that another server was first.
    pub conflicts: u64,
}

impl Counter {
    /// Asks, and waits for the answer.
    pub async fn ask(&self, ask: Ask) -> Answer {
        let (tell, answer) = oneshot::channel();
        if self.desk.try_send((ask, tell)).is_err() {
            return busy("too many boards ask at once");
        }
        answer
            .await
            .unwrap_or_else(|_closed| busy("the service ends"))
    }

    /// What everybody may look at.
    pub fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.borrow())
    }

    /// Tells when there is something new.
    pub fn watch(&self) -> watch::Receiver<Arc<Shown>> {
        self.shown.clone()
    }
}

fn busy(why: &str) -> Answer {
    Answer::Refused {
        kind: "failed_store",
        value: why.to_owned(),
        again: 5,
    }
}

/// What came of requests that were judged together.
enum Decided {
    Answers(Vec<Answer>),
    /// They make an entry that no store need take: fewer at a time.
    TooLarge,
}

/// The task.
#[derive(Debug)]
pub struct Desk<S> {
    store: S,
    books: Books,
    seq: u64,
    summed: u64,
    /// None: the books may be behind the store.
    in_step: bool,
    clock: Clock,
    recent: VecDeque<Event>,
    counts: Counts,
    trouble: Option<String>,
}

impl<S: Store> Desk<S> {
    /// Reads what is kept. An empty store is taken only when it is meant to be new: boards may be out that it knows nothing of.
    pub async fn open(mut store: S, new: bool) -> Result<Self> {
        let kept = store.load().await?;
        let empty = kept.summary.is_none() && kept.entries.is_empty();
        ensure!(
            new || !empty,
            "the store is empty. Is this the first start? Then add --new. If its contents were lost, boards may be out that a new \
             one knows nothing of: wait until all are back before --new"
        );
        if empty {
            // whoever is second finds it written
            store.append(0, b"[]".to_vec()).await?;
        }
        let mut own = Self {
            store,
            books: Books::default(),
            seq: 0,
            summed: 0,
            in_step: false,
            clock: Clock::new(0),
            recent: VecDeque::new(),
            counts: Counts::default(),
            trouble: None,
        };
        own.load().await?;
        own.clock = Clock::new(own.books.last);
        Ok(own)
    }

    async fn load(&mut self) -> Result<()> {
        let kept = self.store.load().await?;
        (self.books, self.seq) = match kept.summary {
            Some((at, bytes)) => (
                serde_json::from_slice(&bytes).context("the summary in the store")?,
                at,
            ),
            None => (Books::default(), 0),
        };
        self.summed = self.seq;
        self.recent.clear();
        self.take(kept.entries)?;
        self.in_step = true;
        Ok(())
    }

    /// Adds entries that are in the store.
    fn take(&mut self, entries: Vec<Entry>) -> Result<()> {
        for (n, bytes) in entries {
            ensure!(
                n == self.seq + 1,
                "entry {} of the store is missing",
                self.seq + 1
            );
            let events: Vec<Event> = serde_json::from_slice(&bytes)
                .with_context(|| format!("entry {n} of the store"))?;
            for event in events {
                self.books.add(&event);
                self.remember(event);
            }
            self.seq = n;
        }
        Ok(())
    }

    fn remember(&mut self, event: Event) {
        if matches!(event.what, What::Seen { .. }) {
            return;
        }
        self.recent.push_back(event);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    /// Reads what others wrote. True: there was something.
    async fn catch_up(&mut self) -> Result<bool> {
        let entries = self.store.read(self.seq).await?;
        let news = !entries.is_empty();
        if entries.first().is_some_and(|(n, _)| *n != self.seq + 1) {
            // we were away for so long that it was summed up
            self.load().await?;
        } else {
            self.take(entries)?;
        }
        self.in_step = true;
        Ok(news)
    }

    /// Answers requests, all of them at one time.
    pub async fn answer(&mut self, asks: &[Ask], now: Now) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(asks.len());
        let mut most = asks.len();
        while let Some(rest) = asks.get(answers.len()..).filter(|r| !r.is_empty()) {
            let part = &rest[..most.min(rest.len())];
            match self.decided(part, now).await {
                Ok(Decided::Answers(some)) => answers.extend(some),
                Ok(Decided::TooLarge) => most = part.len().div_ceil(2),
                Err(error) => {
                    let refused = self.refuse(&error);
                    answers.resize(asks.len(), refused);
                    return answers;
                }
            }
        }
        self.trouble = None;
        answers
    }

    fn refuse(&mut self, error: &anyhow::Error) -> Answer {
        self.in_step = false;
        self.counts.trouble += 1;
        let why = format!("{error:#}");
        if self.trouble.as_ref() != Some(&why) {
            eprintln!("hypriot-fleet: the store cannot be used: {why}");
        }
        let text = format!("nothing can be decided now: {why}");
        self.trouble = Some(why);
        busy(&text)
    }

    async fn decided(&mut self, asks: &[Ask], now: Now) -> Result<Decided> {
        for _ in 0..ATTEMPTS {
            if !self.in_step {
                self.catch_up().await?;
            }
            let mut books = self.books.clone();
            let (events, answers) = judge(&mut books, asks, now);
            if events.is_empty() {
                // An answer that needs nothing written holds only if nobody has written anything meanwhile: by what we know a
                // board may hold a lock that it gave back to another server.
                let somebody = asks.iter().any(|ask| *ask != Ask::Tick);
                if S::SHARED && somebody && self.catch_up().await? {
                    continue;
                }
                self.count(&answers, &[]);
                return Ok(Decided::Answers(answers));
            }
            let entry = serde_json::to_vec(&events)?;
            if entry.len() > ENTRY && asks.len() > 1 {
                return Ok(Decided::TooLarge);
            }
            if self.store.append(self.seq, entry).await? {
                self.count(&answers, &events);
                self.books = books;
                self.seq += 1;
                for event in events {
                    self.remember(event);
                }
                self.sum_up().await;
                return Ok(Decided::Answers(answers));
            }
            self.counts.conflicts += 1;
            self.in_step = false;
        }
        let refused = busy("other servers were first each time");
        Ok(Decided::Answers(vec![refused; asks.len()]))
    }

    fn count(&mut self, answers: &[Answer], events: &[Event]) {
        for answer in answers {
            if let Answer::Refused { kind, .. } = answer {
                *self.counts.refused.entry(kind).or_default() += 1;
            }
        }
        for event in events {
            let counts = match &event.what {
                What::Granted { .. } => &mut self.counts.granted,
                What::Failed { board, .. } if self.has_failed(&event.group, board) => continue,
                What::Failed { .. } => &mut self.counts.failed,
                What::Rollout { what } if matches!(**what, journal::What::Failed { .. }) => {
                    &mut self.counts.failed
                }
                _ => continue,
            };
            *counts.entry(event.group.clone()).or_default() += 1;
        }
    }

    /// More is known of a failure that was counted already.
    fn has_failed(&self, group: &str, board: &str) -> bool {
        let lock = self.books.group(group).and_then(|g| g.locks.get(board));
        lock.is_some_and(|l| l.failed.is_some())
    }

    /// A log that only grows would be read for ever at each start. That it could not be summed up is no reason to refuse
    /// anybody: it is tried again later.
    async fn sum_up(&mut self) {
        if self.seq - self.summed < SUM {
            return;
        }
        self.summed = self.seq;
        let done = match serde_json::to_vec(&self.books) {
            Ok(summary) => self.store.sum_up(self.seq, summary).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = done {
            eprintln!("hypriot-fleet: the log could not be summed up: {error:#}");
        }
    }

    fn show(&self) -> Arc<Shown> {
        Arc::new(Shown {
            books: self.books.clone(),
            seq: self.seq,
            at: self.clock.now().at,
            recent: self.recent.clone(),
            trouble: self.trouble.clone(),
            counts: self.counts.clone(),
        })
    }

    /// The books as they are.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Begins to work. The second value ends when the last counter is closed.
    pub fn start(self) -> (Counter, impl Future<Output = ()> + Send) {
        let (desk, asks) = mpsc::channel(WAITING);
        let (tell, shown) = watch::channel(self.show());
        (Counter { desk, shown }, self.work(asks, tell))
    }

    async fn work(mut self, mut asks: mpsc::Receiver<Waiting>, tell: watch::Sender<Arc<Shown>>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut took = Duration::ZERO;
        loop {
            let mut waiting: Vec<Waiting> = Vec::new();
            let tick = tokio::select! {
                n = asks.recv_many(&mut waiting, WAITING) => {
                    if n == 0 { return }
                    false
                }
                _ = ticks.tick() => true,
            };
            if !tick && took > GLANCE {
                tokio::time::sleep(took.min(GATHER)).await;
                asks.recv_many(&mut waiting, WAITING).now_or_never();
            }
            let before = self.seq;
            let was = self.trouble.is_some();
            let (mut batch, waiting): (Vec<Ask>, Vec<_>) = waiting.into_iter().unzip();
            if tick {
                batch.push(Ask::Tick);
                if S::SHARED {
                    self.in_step = false;
                }
            }
            let began = tokio::time::Instant::now();
            let answers = self.answer(&batch, self.clock.now()).await;
            // those behind a write gathered while it was made
            took = if self.seq == before {
                began.elapsed()
            } else {
                Duration::ZERO
            };
            for (tell, answer) in waiting.into_iter().zip(answers) {
                // Nobody waits any more: the board asks again.
                drop(tell.send(answer));
            }
            if self.seq != before || was != self.trouble.is_some() || tick {
                tell.send_replace(self.show());
            }
        }
    }
}

#[cfg(test)]
mod tests;
