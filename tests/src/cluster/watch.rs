//! Writes down what boards say of themselves, from outside, whatever whoever drives them believes; and judges who was out when.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::health::Health;
use crate::http;

/// Between two questions to a board.
const EVERY: Duration = Duration::from_secs(1);
/// One question.
const PATIENCE: Duration = Duration::from_secs(10);
/// An emulated board that says nothing for less than this, and has not restarted, was busy.
const BUSY: Duration = Duration::from_mins(1);

/// What a board said at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// When it was asked, from when the watch began.
    pub at: Duration,
    /// Its answer, if there was one.
    pub said: Option<Said>,
}

/// A board's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which start of it.
    pub boot: String,
    /// It does its work: well, on no trial, and back in service.
    pub works: bool,
}

impl From<Health> for Said {
    fn from(health: Health) -> Self {
        let trying = |t: &crate::health::Trial| t.state != "armed";
        let update = &health.update;
        let busy = update.trial.as_ref().is_some_and(trying) || update.owes.is_some();
        Self {
            works: health.status != "fail" && !busy,
            boot: health.boot_id,
        }
    }
}

/// A watch over boards; it ends when dropped.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    boards: Vec<Arc<Mutex<Vec<Sample>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Asks each of these addresses again and again.
    pub fn start(urls: Vec<String>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (mut boards, mut threads) = (Vec::new(), Vec::new());
        let began = Instant::now();
        for url in urls {
            let samples = Arc::new(Mutex::new(Vec::new()));
            let (told, own) = (Arc::clone(&over), Arc::clone(&samples));
            threads.push(std::thread::spawn(move || {
                while !told.load(Ordering::Relaxed) {
                    let at = began.elapsed();
                    let answer = http::get(&url, PATIENCE).and_then(|a| Health::parse(&a.body));
                    let said = answer.ok().map(Said::from);
                    let mut list = own.lock().unwrap_or_else(PoisonError::into_inner);
                    list.push(Sample { at, said });
                    drop(list);
                    std::thread::sleep(EVERY);
                }
            }));
            boards.push(samples);
        }
        Self {
            over,
            boards,
            threads,
        }
    }

    /// Ends it; what each board said.
    pub fn end(mut self) -> Vec<Vec<Sample>> {
        self.stop();
        let of = |list: &Arc<Mutex<Vec<Sample>>>| {
            list.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.boards.iter().map(of).collect()
    }

    fn stop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop();
    }
}

/// When the board was out: from its last answer at work to the next one. It may have been less, and was not more.
pub fn outages(history: &[Sample]) -> Vec<Range<Duration>> {
    let mut out = Vec::new();
    let mut last: Option<(Duration, &str)> = None;
    // something said between two answers at work that was no answer at work
    let mut unwell = false;
    for sample in history {
        let Some(said) = &sample.said else { continue };
        if !said.works {
            unwell = true;
            continue;
        }
        let (from, boot) = last.unwrap_or((Duration::ZERO, said.boot.as_str()));
        if unwell || boot != said.boot || sample.at.saturating_sub(from) > BUSY {
            out.push(from..sample.at);
        }
        (last, unwell) = (Some((sample.at, said.boot.as_str())), false);
    }
    let from = last.map_or(Duration::ZERO, |(at, _)| at);
    let end = history.last().map_or(Duration::ZERO, |s| s.at);
    if unwell || end.saturating_sub(from) > BUSY {
        out.push(from..Duration::MAX);
    }
    out
}

/// How often it was seen to have restarted.
pub fn restarts(history: &[Sample]) -> usize {
    let mut boots: Vec<&str> = history
        .iter()
        .filter_map(|s| Some(s.said.as_ref()?.boot.as_str()))
        .collect();
    boots.dedup();
    boots.len().saturating_sub(1)
}

/// The most boards that were out at one moment.
pub fn most(boards: &[Vec<Range<Duration>>]) -> usize {
    let starts = boards.iter().flatten().map(|out| out.start);
    let out_at = |at: Duration| {
        let out = |list: &&Vec<Range<Duration>>| list.iter().any(|r| r.contains(&at));
        boards.iter().filter(out).count()
    };
    starts.map(out_at).max().unwrap_or(0)
}

/// For people.
pub fn words(out: &[Range<Duration>]) -> String {
    if out.is_empty() {
        return "never".to_owned();
    }
    let one = |r: &Range<Duration>| {
        let from = r.start.as_secs();
        if r.end == Duration::MAX {
            format!("from {from} s on")
        } else {
            format!("from {from} to {} s", r.end.as_secs())
        }
    };
    out.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a`: at work in boot a; `A`: answers, but is not at work; `-`: no answer. One every ten seconds.
    fn history(text: &str) -> Vec<Sample> {
        let sample = |(n, c): (usize, char)| Sample {
            at: Duration::from_secs(10 * n as u64),
            said: (c != '-').then(|| Said {
                boot: c.to_ascii_lowercase().to_string(),
                works: c.is_ascii_lowercase(),
            }),
        };
        text.chars().enumerate().map(sample).collect()
    }

    #[test]
    fn who_is_out_is_told_from_who_is_busy() {
        for (danger, text, out, restarts) in [
            ("well", "aaaa", "never", 0),
            ("busy", "aa--aa", "never", 0),
            ("silent", "aa-------aa", "from 10 to 90 s", 0),
            ("ill", "aaAAaa", "from 10 to 40 s", 0),
            ("restarts", "aa--bb", "from 10 to 40 s", 1),
            (
                "restarts between two questions",
                "aabb",
                "from 10 to 20 s",
                1,
            ),
            ("trial that goes back", "aa-BB-cc", "from 10 to 60 s", 2),
            ("gone", "aa-------", "from 10 s on", 0),
            ("ill at the end", "aaA", "from 10 s on", 0),
            ("ill from the beginning", "AAa", "from 0 to 20 s", 0),
        ] {
            let history = history(text);
            assert_eq!(words(&outages(&history)), out, "{danger}");
            assert_eq!(super::restarts(&history), restarts, "{danger}");
        }
    }

    #[test]
    fn two_that_are_out_at_a_time_are_counted() {
        let of = |list: &[&str]| {
            most(
                &list
                    .iter()
                    .map(|t| outages(&history(t)))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&["aaaa", "aaaa"]), 0);
        assert_eq!(of(&["a-baaaaa", "aaaaa-ba"]), 1);
        assert_eq!(of(&["a--bbb", "aa--bb", "aaaa-b"]), 2);
        assert_eq!(of(&["aaA", "aA-------"]), 2);
    }

    #[test]
    fn a_board_that_is_not_back_in_service_does_not_work() {
        for (text, works) in [
            (r#"{"status":"pass"}"#, true),
            (r#"{"status":"warn"}"#, true),
            (r#"{"status":"fail"}"#, false),
            (
                r#"{"status":"pass","update":{"trial":{"slot":"b","version":"2","state":"armed"}}}"#,
                true,
            ),
            (
                r#"{"status":"pass","update":{"trial":{"slot":"b","version":"2","state":"trying"}}}"#,
                false,
            ),
            (
                r#"{"status":"pass","update":{"owes":"after-commit"}}"#,
                false,
            ),
        ] {
            let said = Said::from(Health::parse(text).unwrap());
            assert_eq!(said.works, works, "{text}");
        }
    }
}
