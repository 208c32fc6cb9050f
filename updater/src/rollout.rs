//! Which release is this board's next one, and when: the rollout that stands in a target's signed `custom`.
//!
//! ```json
//! {"board": "rpi-4", "version": "2.1.0", "rollout": {
//!     "start": "2026-11-26T08:00:00Z",
//!     "curve": [{"hours": 0, "percent": 5}, {"hours": 24, "percent": 50}, {"hours": 72, "percent": 100}],
//!     "minimum": "2.0.0"}}
//! ```
//!
//! Nobody keeps a list of boards: each computes its own place from the release's digest and its own id, so a different set
//! of boards goes first each time, and no server learns who they are.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use hypriot_keys::hash::sha256;
use hypriot_keys::schema::ROLLOUT_KEYS;
use hypriot_keys::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::slot::{Digest, Release};

/// Places are counted in millionths.
const WHOLE: u64 = 1_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// A rollout that takes longer than ten years is a typing error.
const MAX_HOURS: u32 = 87_600;

/// How a release reaches the boards. A board passes over keys that it does not know, unless `needs` names them: those of a newer
/// version must not keep an older board from the release that knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// No board before this instant. At once when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
    /// Share of boards over time, straight lines between the points, constant after the last. Everybody when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<Point>,
    /// Why it is stopped for now; boards that have it keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Why no board may go past this release without having run it (a migration, for example).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub barrier: Option<String>,
    /// Why nothing leads away from this release, and none to it: boards on it must be flashed anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadend: Option<String>,
    /// Boards below this version must install another release first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<semver::Version>,
    /// Keys of this table without which it must not be understood: a board that does not know one of them waits, as if it were
    /// paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

/// One point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Hours after `start`.
    pub hours: u32,
    /// Percent of all boards.
    pub percent: u8,
}

/// Why a rollout, though signed, is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// Not the JSON this version understands.
    #[error("the rollout cannot be read: {0}; the maintainer must sign a corrected one")]
    Json(String),
    /// A curve that goes back in time or in share.
    #[error(
        "the rollout's curve must rise: point {0} is not later and higher than the one before, or beyond 100 percent"
    )]
    Curve(usize),
    /// A curve without a start has no hours to count from.
    #[error("the rollout has a curve but no start to count its hours from")]
    NoStart,
    /// A key that has no meaning, or one of a version to come.
    #[error("the rollout's key `{0}` is unknown here; a board would pass over it")]
    Unknown(String),
    /// It must not be understood without this key.
    #[error(
        "the rollout needs `{0}`, which this version of the agent does not know: a release that knows it must come first"
    )]
    Needs(String),
}

impl Rollout {
    /// The rollout as a board obeys it: one that cannot be read is paused, with the reason, and keeps nobody from the other
    /// releases. What it says about the others holds all the same: that it must not be passed, or leads nowhere.
    pub fn of_target(custom: &Value) -> Self {
        Self::parse(custom).unwrap_or_else(|why| {
            let value = &custom["rollout"];
            let text = |key: &str| value.get(key).and_then(Value::as_str).map(String::from);
            Self {
                paused: Some(format!("{why}")),
                barrier: text("barrier"),
                deadend: text("deadend"),
                ..Self::default()
            }
        })
    }

    /// Reads the rollout that somebody is about to sign: a slip of the pen must not become a key that boards pass over.
    pub fn parse_new(value: &Value) -> Result<Self, RolloutError> {
        let unknown = |table: &Value, known: &[&str]| {
            let keys = table.as_object().map(serde_json::Map::keys);
            let odd = keys
                .into_iter()
                .flatten()
                .find(|k| !known.contains(&k.as_str()));
            odd.map_or(Ok(()), |key| Err(RolloutError::Unknown(key.clone())))
        };
        unknown(value, ROLLOUT_KEYS)?;
        for point in value
            .get("curve")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            unknown(point, &["hours", "percent"])?;
        }
        Self::parse(&serde_json::json!({ "rollout": value }))
    }

    /// Reads the `rollout` of a target's `custom`; without one everybody's turn is now.
    pub fn parse(custom: &Value) -> Result<Self, RolloutError> {
        let Some(value) = custom.get("rollout") else {
            return Ok(Self::default());
        };
        // A derived reader takes a list for a struct; nobody who writes one means it.
        if !value.is_object() {
            return Err(RolloutError::Json("it is not an object".into()));
        }
        let rollout: Self =
            serde_json::from_value(value.clone()).map_err(|e| RolloutError::Json(e.to_string()))?;
        let known = |key: &&String| ROLLOUT_KEYS.contains(&key.as_str());
        if let Some(key) = rollout.needs.iter().find(|key| !known(key)) {
            return Err(RolloutError::Needs(key.clone()));
        }
        rollout.check()?;
        Ok(rollout)
    }

    /// Whether the curve is one.
    pub fn check(&self) -> Result<(), RolloutError> {
        if !self.curve.is_empty() && self.start.is_none() {
            return Err(RolloutError::NoStart);
        }
        for (n, point) in self.curve.iter().enumerate() {
            let rises = n == 0 || {
                let before = self.curve[n - 1];
                before.hours < point.hours && before.percent <= point.percent
            };
            if !rises || point.percent > 100 || point.hours > MAX_HOURS {
                return Err(RolloutError::Curve(n));
            }
        }
        Ok(())
    }

    /// When the board at `place` may install; `None` when the curve never reaches it.
    pub fn turn(&self, place: Place) -> Option<Timestamp> {
        let start = self.start.unwrap_or_default();
        if self.curve.is_empty() {
            return Some(start);
        }
        // A board has its turn as soon as the share of boards exceeds its place, which is below 1.
        let wanted = place.0 + 1;
        let mut before: Option<(u64, u64)> = None;
        for point in &self.curve {
            let (time, share) = (
                u64::from(point.hours) * HOUR,
                u64::from(point.percent) * WHOLE / 100,
            );
            if share >= wanted {
                let seconds = match before {
                    Some((from, low)) => {
                        from + ((wanted - low) * (time - from)).div_ceil(share - low)
                    }
                    None => time,
                };
                return Some(start.plus(seconds));
            }
            before = Some((time, share));
        }
        None
    }
}

/// A board's place in the order of one release: 0 goes first, 999,999 last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

impl Place {
    /// From SHA-256(release digest, board id).
    pub fn of(release: &Digest, board_id: &[u8]) -> Self {
        let hash = sha256(&[&release.0, board_id]);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        Self(u64::from_be_bytes(first) % WHOLE)
    }
}

/// What a rollout says to one board at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Install it.
    Now,
    /// Not before this instant.
    At(Timestamp),
    /// The curve does not reach this board; the maintainer will raise it, or not.
    NotYet,
    /// The maintainer has stopped it.
    Paused(String),
    /// Nothing leads to this release.
    Deadend(String),
    /// Another release comes first.
    Below(semver::Version),
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now => f.write_str("your turn is now"),
            Self::At(time) => write!(f, "your turn about {}", Spoken(*time)),
            Self::NotYet => f.write_str(
                "your turn is not planned yet, the rollout does not reach all boards so far",
            ),
            Self::Paused(reason) => write!(f, "the rollout is paused: {reason}"),
            Self::Deadend(reason) => write!(f, "this release was withdrawn: {reason}"),
            Self::Below(version) => write!(f, "version {version} must be installed first"),
        }
    }
}

/// What `rollout` says to the board `board_id`, which runs `running`, about `release`.
pub fn rollout(
    rollout: &Rollout,
    release: &Release,
    board_id: &[u8],
    running: &semver::Version,
    now: Timestamp,
) -> Turn {
    if let Some(reason) = &rollout.deadend {
        return Turn::Deadend(reason.clone());
    }
    if let Some(minimum) = rollout.minimum.as_ref().filter(|m| running < *m) {
        return Turn::Below(minimum.clone());
    }
    if let Some(reason) = &rollout.paused {
        return Turn::Paused(reason.clone());
    }
    match rollout.turn(Place::of(&release.digest, board_id)) {
        None => Turn::NotYet,
        Some(time) if time > now => Turn::At(time),
        Some(_) => Turn::Now,
    }
}

/// A release of the repository with its rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub release: Release,
    /// How it reaches the boards.
    pub rollout: Rollout,
}

/// What a board should run next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing newer is there.
    UpToDate,
    /// This candidate (an index into the list), now or later; `why` in words for an owner.
    Candidate {
        /// Position in the list.
        index: usize,
        /// Now, or why not.
        turn: Turn,
        /// In words.
        why: String,
    },
    /// The running release leads nowhere; in words.
    Stuck(String),
}

/// Chooses among all releases for this board.
///
/// The newest wins, with three exceptions: no board passes a barrier that it has not run; a board below a release's
/// `minimum` takes the newest that accepts it; withdrawn releases are not there. While the newest is not this board's turn
/// yet, an older one that is (the release before, fully rolled out) is installed meanwhile.
pub fn choose(
    candidates: &[Candidate],
    board_id: &[u8],
    running: &semver::Version,
    now: Timestamp,
) -> Next {
    let here = candidates.iter().find(|c| c.release.version == *running);
    if let Some(reason) = here.and_then(|c| c.rollout.deadend.as_ref()) {
        return Next::Stuck(format!(
            "version {running} was withdrawn and no update leads away from it: {reason}; flash the card anew"
        ));
    }
    let live = |c: &Candidate| c.release.version > *running && c.rollout.deadend.is_none();
    // The first barrier ahead bounds what is in reach.
    let barrier = candidates
        .iter()
        .filter(|c| live(c) && c.rollout.barrier.is_some())
        .min_by(|a, b| a.release.version.cmp(&b.release.version));
    let mut reach: Vec<(usize, &Candidate)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, c)| live(c) && barrier.is_none_or(|b| c.release.version <= b.release.version))
        .collect();
    reach.sort_by(|(_, a), (_, b)| b.release.version.cmp(&a.release.version));
    let mut later = None;
    for (index, candidate) in reach {
        let turn = rollout(
            &candidate.rollout,
            &candidate.release,
            board_id,
            running,
            now,
        );
        let why = words(candidate, barrier, &turn);
        let next = Next::Candidate {
            index,
            turn: turn.clone(),
            why,
        };
        match turn {
            Turn::Now => return next,
            // The newest one's reason is what an owner wants to hear, unless it only waits for another release.
            Turn::Below(_) | Turn::Deadend(_) => later = later.or(Some(next)),
            Turn::At(_) | Turn::NotYet | Turn::Paused(_) => {
                let replace = matches!(
                    later,
                    None | Some(Next::Candidate {
                        turn: Turn::Below(_),
                        ..
                    })
                );
                later = if replace { Some(next) } else { later };
            }
        }
    }
    later.unwrap_or(Next::UpToDate)
}

fn words(candidate: &Candidate, barrier: Option<&Candidate>, turn: &Turn) -> String {
    let version = &candidate.release.version;
    let reason = barrier
        .filter(|b| b.release.version == *version)
        .and_then(|b| b.rollout.barrier.as_ref());
    match reason {
        Some(reason) => format!("version {version}, which no board may skip ({reason}): {turn}"),
        None => format!("version {version}: {turn}"),
    }
}

/// An instant as people say it, and its date: `Thursday 14:00 UTC (2026-11-26)`.
struct Spoken(Timestamp);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 1970-01-01 was a Thursday.
        const NAMES: [&str; 7] = [
            "Thursday",
            "Friday",
            "Saturday",
            "Sunday",
            "Monday",
            "Tuesday",
            "Wednesday",
        ];
        let seconds = self.0.0;
        let name = usize::try_from(seconds / DAY % 7).map_or("", |n| NAMES[n]);
        let text = self.0.to_string();
        let date = text.split('T').next().unwrap_or_default();
        write!(
            f,
            "{name} {:02}:{:02} UTC ({date})",
            seconds / HOUR % 24,
            seconds / 60 % 60
        )
    }
}

#[cfg(test)]
mod tests;
