//! Power cuts, exhaustively: a whole life of a board is recorded through the real loop, and every state that a cut may leave is
//! started again.
//!
//! The life: a release is installed, tried, kept; one fails its self-tests; one never gets as far as the agent; one more is kept,
//! and later does not come up any more.
//! What is the test's own: the card's memory, the boot loader (by the rules of [`hypriot_updater::boot::start`], or a model of
//! Raspberry Pi's firmware), the machine and the shop. What is proved: everything that writes. `make power-cut-proof` prints the numbers.

mod tape;
mod world;

use std::rc::Rc;

use hypriot_updater::boot::Spoilt;
use hypriot_updater::boot::tryboot::autoboot;
use hypriot_updater::index::Target;
use hypriot_updater::record::Outcome;
use hypriot_updater::slot::Slot;

use tape::{Dice, Event, Medium, Part, Tape};
use world::{Catalog, Kind, Loader, Made, Rest, content, flashed, live, loads, record, state_of};

/// The releases there are; the first one was flashed.
const RELEASES: [(u8, Kind); 6] = [
    (1, Kind::Good),
    (2, Kind::Good),
    (3, Kind::Fails),
    (4, Kind::Hangs),
    (5, Kind::Good),
    (6, Kind::Good),
];

/// What happens to the board, and what may run in the end.
#[derive(Debug, Clone, Copy)]
struct Plot {
    offered: u8,
    /// The owner goes back by hand; a cut may come before the command has done anything.
    rolls_back: bool,
    /// A release that was kept and does not come up any more.
    rots: Option<u8>,
    due: &'static [u8],
}

const fn offer(offered: u8, due: &'static [u8]) -> Plot {
    Plot {
        offered,
        rolls_back: false,
        rots: None,
        due,
    }
}

const LIFE: [Plot; 7] = [
    offer(2, &[2]),
    offer(3, &[2]),
    offer(4, &[2]),
    offer(5, &[5]),
    Plot {
        offered: 5,
        rolls_back: true,
        rots: None,
        due: &[2, 5],
    },
    offer(6, &[6]),
    Plot {
        offered: 2,
        rolls_back: false,
        rots: Some(6),
        due: &[2, 5],
    },
];

impl Plot {
    /// What goes on when the power is back: nobody gives the owner's command again.
    const fn after_a_cut(self) -> Self {
        Self {
            rolls_back: false,
            ..self
        }
    }
}

const SEED: u64 = 11;

/// One part of the life, from power-on to rest.
struct Chapter {
    plot: Plot,
    tape: Tape,
}

fn catalog() -> Catalog {
    RELEASES
        .into_iter()
        .map(|(n, kind)| Made::new(n, kind))
        .collect()
}

fn life(catalog: &Catalog, loader: Loader) -> Vec<Chapter> {
    let mut medium = flashed(catalog, loader);
    let mut chapters = Vec::new();
    for plot in LIFE {
        let rest = live(catalog, &medium, plot);
        let rest = rest.unwrap_or_else(|e| panic!("{plot:?}: {e}"));
        settled(catalog, &rest, plot).unwrap_or_else(|e| panic!("{plot:?}: {e}"));
        medium = rest.medium;
        chapters.push(Chapter {
            plot,
            tape: rest.tape,
        });
    }
    chapters
}

/// What must hold at every instant, whatever was cut.
fn sound(catalog: &Catalog, medium: &Medium) -> Result<(), String> {
    let state = state_of(medium);
    let record = record(medium)?;
    for slot in Slot::ALL {
        let made = content(catalog, medium, slot);
        if loads(catalog, medium, slot) && made.is_none() {
            return Err(format!("slot {slot} loads and holds no whole release"));
        }
        if let Some(claimed) = record.content(slot)
            && made.is_none_or(|made| made.release().version != claimed.version)
        {
            return Err(format!(
                "the record claims {} in slot {slot}",
                claimed.version
            ));
        }
    }
    let default = content(catalog, medium, state.default);
    if default.is_none_or(|made| made.kind != Kind::Good) {
        return Err(format!(
            "slot {} is the default and is not good",
            state.default
        ));
    }
    if let (Some(last), None) = (&record.last, &record.pending)
        && last.outcome == Outcome::Confirmed
        && (state.default != last.slot || state.trial.is_some())
        && state.spoilt != Some(Spoilt::Left)
    {
        return Err(format!(
            "the record says that {} was kept",
            last.release.version
        ));
    }
    Ok(())
}

/// What must hold once the board rests.
fn settled(catalog: &Catalog, rest: &Rest, plot: Plot) -> Result<(), String> {
    let Rest { medium, booted, .. } = rest;
    sound(catalog, medium)?;
    let running = content(catalog, medium, *booted).map_or(0, |made| made.number);
    let state = state_of(medium);
    if state.default != *booted || state.trial.is_some() {
        return Err(format!(
            "rests in slot {booted} with the boot state {state:?}"
        ));
    }
    if !plot.due.contains(&running) {
        return Err(format!("release {running} runs, not {:?}", plot.due));
    }
    let record = record(medium)?;
    let mut bad = RELEASES
        .into_iter()
        .filter(|(n, kind)| *n <= plot.offered && *kind != Kind::Good);
    let refused = |n: u8| record.refused.iter().any(|r| r.release.digest.0[0] == n);
    match bad.find(|(n, _)| !refused(*n)) {
        Some((n, kind)) => Err(format!(
            "release {n} {kind:?} and the record does not tell so"
        )),
        None => Ok(()),
    }
}

/// Starts the board from what one cut left, and judges what becomes of it.
fn judge(catalog: &Catalog, medium: &Medium, plot: Plot) -> Result<Tape, String> {
    sound(catalog, medium)?;
    let refused = record(medium)?.refused;
    let rest = live(catalog, medium, plot.after_a_cut())?;
    let bad =
        |n: &&u8| RELEASES.contains(&(**n, Kind::Fails)) || RELEASES.contains(&(**n, Kind::Hangs));
    let known = |n: &&u8| refused.iter().any(|r| r.release.digest.0[0] == **n);
    if let Some(n) = rest.started.iter().filter(bad).find(known) {
        return Err(format!("release {n} was refused and is started again"));
    }
    settled(catalog, &rest, plot)?;
    Ok(rest.tape)
}

/// After two cuts a good release may have to be given up, since nobody saw its trial end twice; a good slot runs all the same.
fn judge_second(catalog: &Catalog, medium: &Medium, plot: Plot) -> Result<(), String> {
    sound(catalog, medium)?;
    let rest = live(catalog, medium, plot.after_a_cut())?;
    sound(catalog, &rest.medium)?;
    match content(catalog, &rest.medium, rest.booted) {
        Some(made) if made.kind == Kind::Good => Ok(()),
        _ => Err("rests in a slot that is not good".into()),
    }
}

/// How much is tried.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Every so many states of one cut.
    stride: usize,
    /// For each of those, so many second cuts while the board recovers.
    seconds: usize,
}

#[derive(Debug, Default)]
struct Tally {
    states: usize,
    failures: Vec<String>,
}

/// Tries the cuts of a chapter. Stops at the first failure if `first` says so.
fn try_cuts(catalog: &Catalog, chapter: &Chapter, effort: Effort, first: bool, tally: &mut Tally) {
    let plot = chapter.plot;
    let (mut dice, mut count) = (Dice(SEED + u64::from(plot.offered)), 0_usize);
    let mut again = Dice(SEED);
    chapter.tape.cuts(&mut dice, &mut |n, medium| {
        count += 1;
        if !count.is_multiple_of(effort.stride) {
            return true;
        }
        tally.states += 1;
        let place = |why: String| format!("{plot:?}, event {n}: {why}");
        match judge(catalog, medium, plot) {
            Err(why) => tally.failures.push(place(why)),
            Ok(tape) => {
                for (m, medium) in some_cuts(&tape, effort.seconds, &mut again) {
                    tally.states += 1;
                    if let Err(why) = judge_second(catalog, &medium, plot) {
                        tally
                            .failures
                            .push(place(format!("and again at {m}: {why}")));
                    }
                }
            }
        }
        !first || tally.failures.is_empty()
    });
}

/// A few of the states that a cut of `tape` may leave.
fn some_cuts(tape: &Tape, wanted: usize, dice: &mut Dice) -> Vec<(usize, Medium)> {
    let mut all = Vec::new();
    if wanted > 0 {
        let mut shadow = dice.clone();
        tape.cuts(&mut shadow, &mut |n, medium| {
            all.push((n, medium.clone()));
            true
        });
    }
    let mut few = Vec::new();
    while few.len() < wanted && !all.is_empty() {
        few.push(all.swap_remove(dice.roll(all.len())));
    }
    few
}

/// A bug as it would show on the tape: what it is called, and what it makes of a chapter's events, if it concerns it.
type Planted = (&'static str, fn(&[Event]) -> Option<Vec<Event>>);

/// Where slots are written in this chapter: the breaking of the slot, and its last sector.
fn install_of(events: &[Event]) -> Option<(usize, usize)> {
    let boot =
        |e: &Event| matches!(e, Event::Write(Part::Slot(_, Target::Boot), 0, d) if d.len() == 512);
    let first = events.iter().position(boot)?;
    let last = events.iter().rposition(boot)?;
    (first < last).then_some((first, last))
}

/// The last write of the boot state: in a chapter that ends well, the commit.
fn commit_of(events: &[Event]) -> Option<usize> {
    events
        .iter()
        .rposition(|e| matches!(e, Event::Write(Part::State, ..)))
}

fn without(events: &[Event], gone: impl Fn(usize, &Event) -> bool) -> Vec<Event> {
    let kept = events.iter().enumerate().filter(|(n, e)| !gone(*n, e));
    kept.map(|(_, e)| e.clone()).collect()
}

fn moved(events: &[Event], from: usize, to: usize) -> Vec<Event> {
    let mut events = events.to_vec();
    let event = events.remove(from);
    events.insert(to, event);
    events
}

fn is_slot_flush(event: &Event) -> bool {
    matches!(event, Event::Flush(Part::Slot(..)))
}

const PLANTED: [Planted; 8] = [
    ("no flush after the slot is broken", |events| {
        let (broken, _) = install_of(events)?;
        Some(without(events, |n, _| n == broken + 1))
    }),
    ("the slot is broken after it is written", |events| {
        let (broken, last) = install_of(events)?;
        Some(moved(events, broken, last - 1))
    }),
    ("no flush before the last sector", |events| {
        let (broken, last) = install_of(events)?;
        Some(without(events, |n, e| {
            n > broken + 1 && n < last && is_slot_flush(e)
        }))
    }),
    (
        "the last sector is written before the rest of its segment",
        |events| {
            let (_, last) = install_of(events)?;
            let rest = events[..last]
                .iter()
                .rposition(|e| matches!(e, Event::Write(Part::Slot(_, Target::Boot), ..)))?;
            Some(moved(events, last, rest))
        },
    ),
    (
        "the record names the content before it is flushed",
        |events| {
            let (_, last) = install_of(events)?;
            let file = last
                + events[last..]
                    .iter()
                    .position(|e| matches!(e, Event::File(..)))?;
            let flush = events[..last].iter().position(is_slot_flush)?;
            Some(moved(events, file, flush + 2))
        },
    ),
    ("no flush after the commit", |events| {
        let commit = commit_of(events)?;
        Some(without(events, |n, _| n == commit + 1))
    }),
    (
        "the record says kept before the boot state does",
        |events| {
            let commit = commit_of(events)?;
            let file = commit
                + events[commit..]
                    .iter()
                    .position(|e| matches!(e, Event::File(..)))?;
            Some(moved(events, file, commit))
        },
    ),
    ("the boot state is written over its newest copy", |events| {
        // the first write of the chapter goes to the older one
        let older = events.iter().find_map(|e| match e {
            Event::Write(Part::State, at, _) => Some(*at),
            _ => None,
        })?;
        let over = |e: &Event| match e {
            Event::Write(Part::State, _, data) => {
                Event::Write(Part::State, data.len() - older, Rc::clone(data))
            }
            other => other.clone(),
        };
        Some(events.iter().map(over).collect())
    }),
];

/// Bugs of the other boot loader.
const PLANTED_TRYBOOT: [Planted; 2] = [
    ("no flush after autoboot.txt", |events| {
        let write = events
            .iter()
            .position(|e| matches!(e, Event::Write(Part::Autoboot, ..)))?;
        Some(without(events, |n, _| n == write + 1))
    }),
    ("autoboot.txt names a slot before it is judged", |events| {
        let (_, last) = install_of(events)?;
        let slot = events.iter().find_map(|e| match e {
            Event::Write(Part::Slot(slot, _), ..) => Some(*slot),
            _ => None,
        })?;
        let armed = last
            + events[last..]
                .iter()
                .position(|e| matches!(e, Event::Flush(Part::State)))?;
        let mut events = events.to_vec();
        let file = Rc::from(autoboot::encode(slot));
        events.insert(armed + 1, Event::Write(Part::Autoboot, 0, file));
        events.insert(armed + 2, Event::Flush(Part::Autoboot));
        Some(events)
    }),
];

/// How many of the planted bugs show as a failure in some chapter.
fn found(catalog: &Catalog, life: &[Chapter], planted: &[Planted]) -> Vec<&'static str> {
    let every = Effort {
        stride: 1,
        seconds: 0,
    };
    let shows = |(_, plant): &&Planted| {
        life.iter().any(|chapter| {
            let Some(events) = plant(&chapter.tape.events) else {
                return false;
            };
            let before = chapter.tape.before.clone();
            let planted = Chapter {
                plot: chapter.plot,
                tape: Tape { before, events },
            };
            let mut tally = Tally::default();
            try_cuts(catalog, &planted, every, true, &mut tally);
            !tally.failures.is_empty()
        })
    };
    planted
        .iter()
        .filter(shows)
        .map(|(name, _)| *name)
        .collect()
}

/// All of it with `HYPRIOT_POWER_CUTS=all`; else every so many states.
fn prove(name: &str, loader: Loader, planted: &[Planted], stride: usize) {
    let all = std::env::var("HYPRIOT_POWER_CUTS").is_ok_and(|v| v == "all");
    let effort = if all {
        Effort {
            stride: 1,
            seconds: 4,
        }
    } else {
        Effort { stride, seconds: 1 }
    };
    let catalog = catalog();
    let life = life(&catalog, loader);
    let mut tally = Tally::default();
    for chapter in &life {
        try_cuts(&catalog, chapter, effort, false, &mut tally);
    }
    let found = found(&catalog, &life, planted);
    let missed: Vec<&str> = planted
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !found.contains(name))
        .collect();
    println!(
        "{name}: states={} failures={} planted={} found={}",
        tally.states,
        tally.failures.len(),
        planted.len(),
        found.len()
    );
    let some: Vec<&String> = tally.failures.iter().take(10).collect();
    assert!(some.is_empty(), "{some:#?}");
    assert!(missed.is_empty(), "this proof does not see: {missed:#?}");
    assert!(
        tally.states > 100,
        "{} states: the life is no longer recorded",
        tally.states
    );
}

#[test]
fn no_power_cut_in_a_whole_life_leaves_a_bad_slot_or_a_lie() {
    prove("power-cut-proof", Loader::UBoot, &PLANTED, 4);
}

#[test]
fn no_power_cut_in_a_whole_life_with_tryboot_leaves_a_bad_slot_or_a_lie() {
    let life = Loader::Tryboot;
    prove("power-cut-proof-tryboot", life, &PLANTED_TRYBOOT, 8);
}
