//! The fault matrix: what can break beside an update, times the moment at which it breaks.
//!
//! Every cell is a life of a board: the real look, decide and act on the real boot state and installer, the boot loader's rule
//! ([`hypriot_updater::boot::start`]), and the last resort's. It must end on a slot that works, in a bounded number of
//! reboots, with the truth in its status. `make fault-matrix` prints the sum.

mod faults;
mod loader;
mod marks;
mod ports;
mod versions;
mod world;

use hypriot_updater::decide::Step;
use hypriot_updater::slot::Slot;

use faults::{Config, Data, Fleet, Raw, Software};
use world::World;

/// When the fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Installing,
    Armed,
    Trying,
    Judged,
    Committed,
    RolledBack,
}

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Installing,
    Phase::Armed,
    Phase::Trying,
    Phase::Judged,
    Phase::Committed,
    Phase::RolledBack,
];
/// More reboots than this in one life are a loop: the owner's two, and for a release that is bad before and after everything was
/// mended two trials with a way back each, and one more for each.
const MOST_REBOOTS: u32 = 12;

/// What one cell came to.
#[derive(Debug)]
struct End {
    reboots: u32,
    breach: Option<String>,
}

/// What may become of the lock service, with what else may break beside it.
fn with_a_fleet() -> (u32, Vec<String>) {
    let (mut cells, mut breaches) = (0, Vec::new());
    for fleet in Fleet::ALL {
        for data in Data::ALL {
            for software in Software::ALL {
                for phase in PHASES {
                    let cell = Cell {
                        fleet,
                        ..Cell::of(data, software, phase)
                    };
                    let end = cell.live(Planted::No);
                    cells += 1;
                    let named = |b| format!("{fleet:?} {data:?} {software:?} {phase:?}: {b}");
                    breaches.extend(end.breach.map(named));
                }
            }
        }
    }
    (cells, breaches)
}

/// One cell of the matrix: what breaks, in which phase of an update to which software.
#[derive(Debug, Clone, Copy)]
struct Cell {
    data: Data,
    config: Config,
    software: Software,
    raw: Raw,
    fleet: Fleet,
    phase: Phase,
}

impl Cell {
    /// With nothing else broken, and no lock service.
    fn of(data: Data, software: Software, phase: Phase) -> Self {
        Self {
            data,
            config: Config::Fine,
            software,
            raw: Raw::Fine,
            fleet: Fleet::None,
            phase,
        }
    }

    /// One life. `planted` is a fault of the agent itself, to see that the matrix finds it.
    fn live(self, planted: Planted) -> End {
        self.live_in(World::new(self.software, planted, self.fleet))
    }

    /// The life of a board that was just switched on.
    fn live_in(self, mut world: World) -> End {
        let Self {
            data,
            config,
            software,
            raw,
            fleet,
            phase,
        } = self;
        world.until(|w, step| reached(phase, w, step));
        world.strike(data, config, raw);
        world.strike_fleet(fleet);
        world.rest();
        // the owner, who sees that something is wrong, restarts the board: that must arm nothing
        world.orderly_reboot();
        world.rest();
        let mut breach = judge(&world, software).err();
        // and when all is mended: the board comes to rest again, and what is bad is tried no more
        world.mend();
        world.orderly_reboot();
        world.rest();
        breach = breach.or_else(|| judge(&world, software).err());
        breach = breach.or_else(|| judge_lock(&world, fleet, software).err());
        let (reboots, tries) = (world.reboots(), world.tries());
        world.rest();
        if (reboots, tries) != (world.reboots(), world.tries()) {
            breach = breach.or_else(|| Some("does not come to rest".into()));
        }
        let reboots = world.reboots();
        breach = breach.or_else(|| (reboots > MOST_REBOOTS).then(|| format!("{reboots} reboots")));
        // what the settings say has no part in it
        if config == Config::Fine {
            breach = breach.or_else(|| stays(&mut world).err());
        }
        End { reboots, breach }
    }
}

/// A board that is well starts the same slot again and again: its starts are not taken for failed ones.
fn stays(world: &mut World) -> Result<(), String> {
    let mut slots = Vec::new();
    for _ in 0..8 {
        world.orderly_reboot();
        world.rest();
        slots.push(world.booted());
    }
    if world.dead() {
        return Err("starts a slot that does not come up, for ever".into());
    }
    // what rots is kept once more, and left again
    let last = &slots[4..];
    if last.iter().all(|slot| *slot == last[0]) {
        Ok(())
    } else {
        Err(format!("changes its slot at each few starts: {slots:?}"))
    }
}

fn reached(phase: Phase, world: &World, done: &Step) -> bool {
    match phase {
        Phase::Idle => true,
        Phase::Installing => world.is_installing(),
        Phase::Armed => matches!(done, Step::Arm { .. }),
        Phase::Trying => world.tries() > 0,
        Phase::Judged => world.tries() > 0 && matches!(done, Step::SelfTest),
        Phase::Committed => matches!(done, Step::Commit(_)),
        Phase::RolledBack => world.tries() > 0 && world.booted() == world.good(),
    }
}

fn judge(world: &World, software: Software) -> Result<(), String> {
    let works = world.booted() == world.good() || software.passes();
    if !works {
        return Err(format!(
            "slot {} runs, and it does not work",
            world.booted()
        ));
    }
    if world.writes_to_the_running_slot() > 0 {
        return Err("the running slot was written".into());
    }
    let (seen, status) = (world.see(), world.status());
    let told = status.trouble.is_some()
        || seen.boot.failed.is_some()
        || seen.boot.spoilt.is_some()
        || status.trial.is_some()
        || status.last_attempt.is_some();
    if world.booted() == world.good() && world.tries() > 0 && !told {
        return Err("a release was tried and is gone, and nothing tells of it".into());
    }
    Ok(())
}

/// When all is mended and at rest, the lock is where it belongs: with the service, unless what it was taken for failed here.
fn judge_lock(world: &World, fleet: Fleet, software: Software) -> Result<(), String> {
    if world.tries_without_lock() > 0 {
        return Err("a slot was tried without the lock".into());
    }
    let failed = world.tries() > 0 && world.booted() == world.good();
    let (held, lost) = (world.is_locked(), world.record_was_lost());
    match fleet {
        Fleet::None => Ok(()),
        // it was kept, its lock was given back, and only then it rotted
        _ if software == Software::Rots => Ok(()),
        // the boot state remembers, so a lost record gives no lock back
        _ if failed && !held && !lost => {
            Err("the lock was given back by a board that came back broken".into())
        }
        _ if failed && held && !world.is_told() => {
            Err("a lock is kept, and the service waits for its deadline without knowing why".into())
        }
        _ if !failed && held => Err("a lock is held by a board that is well".into()),
        _ => Ok(()),
    }
}

/// A fault of the agent that the matrix must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planted {
    No,
    /// The report comes before the boot state and the restart, and its error ends the act.
    ReportFirst,
    /// The last resort never comes.
    NoLastResort,
    /// The initramfs does not leave in `/run` that this boot is a trial.
    TrialUnmarked,
    /// Nobody tells the boot loader that a start went well, neither the unit nor, later, the loop.
    NobodyClears,
}

fn all(planted: Planted) -> (u32, Vec<String>, u32) {
    let (mut cells, mut breaches, mut most) = (0, Vec::new(), 0);
    for data in Data::ALL {
        for config in Config::ALL {
            for software in Software::ALL {
                for raw in Raw::ALL {
                    for phase in PHASES {
                        let cell = Cell {
                            config,
                            raw,
                            ..Cell::of(data, software, phase)
                        };
                        let end = cell.live(planted);
                        cells += 1;
                        most = most.max(end.reboots);
                        breaches.extend(end.breach.map(|b| {
                            format!("{data:?} {config:?} {software:?} {raw:?} {phase:?}: {b}")
                        }));
                        if planted != Planted::No && !breaches.is_empty() {
                            // found: one is enough
                            return (cells, breaches, most);
                        }
                    }
                }
            }
        }
    }
    (cells, breaches, most)
}

#[test]
fn every_fault_at_every_moment_ends_on_a_slot_that_works() {
    let (cells, breaches, most) = all(Planted::No);
    let held = cells - u32::try_from(breaches.len()).expect("fits");
    println!("fault-matrix: cells={cells} held={held} reboots_max={most}");
    assert!(
        breaches.is_empty(),
        "{}",
        breaches[..breaches.len().min(20)].join("\n")
    );
}

/// The slots are alike but for one thing: where the boot state is lost, the script starts the first one. Here that is the one
/// which is written, tried, and may be bad.
#[test]
fn a_lost_boot_state_leaves_no_board_on_the_release_that_was_on_trial() {
    let (mut cells, mut breaches) = (0, Vec::new());
    for data in Data::ALL {
        for software in Software::ALL {
            for raw in [Raw::Fine, Raw::OneBad, Raw::BothBad, Raw::Stumbles] {
                // Everything that knew which slot was good is gone at once; the slot that runs tells what its tests find.
                let all_gone = raw == Raw::BothBad && matches!(data, Data::Corrupt | Data::Gone);
                if all_gone && software == Software::Bad {
                    continue;
                }
                for phase in PHASES {
                    let world = World::in_slot(Slot::B, software, Planted::No, Fleet::None);
                    let cell = Cell {
                        raw,
                        ..Cell::of(data, software, phase)
                    };
                    let end = cell.live_in(world);
                    cells += 1;
                    let named = |b| format!("{data:?} {software:?} {raw:?} {phase:?}: {b}");
                    breaches.extend(end.breach.map(named));
                }
            }
        }
    }
    println!("fault-matrix: with slot b as the good one cells={cells}");
    assert!(
        breaches.is_empty(),
        "{}",
        breaches[..breaches.len().min(20)].join("\n")
    );
}

#[test]
fn whatever_becomes_of_the_lock_service_no_lock_is_lost_and_none_is_passed_over() {
    let (cells, breaches) = with_a_fleet();
    println!("fault-matrix: with a lock service cells={cells}");
    assert!(
        breaches.is_empty(),
        "{}",
        breaches[..breaches.len().min(20)].join("\n")
    );
}

/// The release in the other slot is a copy of what runs; `software` is what becomes of it there.
#[test]
fn a_drill_brings_the_board_back_refuses_nothing_and_says_how_long_it_took() {
    for software in Software::ALL {
        let mut world = World::new(software, Planted::No, Fleet::Grants);
        world.drill();
        world.until(|w, _| w.tries() > 0 && w.booted() == Slot::A && w.record().drill.is_some());
        let record = world.record();
        let drill = record.drill.clone().expect("a drill");
        assert_eq!(
            (world.tries(), world.tries_without_lock()),
            (1, 0),
            "{software:?}"
        );
        assert!(record.refused.is_empty(), "{software:?}: {record:?}");
        assert_eq!(world.see().boot.failed, None, "{software:?}");
        // a copy that never gets as far as its self-tests came back, too, but nobody knows why
        let told = !matches!(software, Software::NoStart);
        assert_eq!(drill.passed(), told, "{software:?}: {drill:?}");
        world.until(|w, _| w.record().drill.is_some_and(|d| d.healthy.is_some()));
        assert_eq!(
            drill.passed(),
            world.record().drill.is_some_and(|d| d.seconds().is_some())
        );
        assert_eq!(world.booted(), Slot::A, "{software:?}");
        // and the next release is installed as if nothing had been
        world.rest();
        assert!(
            world.tries() > 1,
            "{software:?}: the board no longer updates"
        );
        assert!(
            judge(&world, software).is_ok() && judge_lock(&world, Fleet::Grants, software).is_ok()
        );
    }
}

#[test]
fn the_owners_way_back_to_what_cannot_read_the_data_takes_his_word() {
    let mut world = World::new(Software::Good, Planted::No, Fleet::None);
    world.rest();
    world.wrote(2);
    let said = world.roll_back(false).expect_err("refused").to_string();
    for part in ["up to state version 0", "version 2", "--newer-state"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(world.see().boot.trial, None, "nothing is armed");
    let told = world.status().newer_state.expect("told");
    assert!(told.contains("state version 2"), "{told}");
    world.roll_back(true).expect("the owner knows");
    assert!(world.see().boot.trial.is_some());
}

#[test]
fn the_matrix_finds_a_planted_fault() {
    for planted in [
        Planted::ReportFirst,
        Planted::NoLastResort,
        Planted::TrialUnmarked,
        Planted::NobodyClears,
    ] {
        let (_, breaches, _) = all(planted);
        assert!(!breaches.is_empty(), "{planted:?} was not found");
    }
}
