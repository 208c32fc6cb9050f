//! The mark of a slot that is bad, and what happens where it cannot be made.

use std::time::{Duration, Instant};

use hypriot_updater::boot::Phase;
use hypriot_updater::slot::Slot;

use super::Planted;
use super::faults::{Fleet, Software};
use super::world::World;
use crate::card::ports::{Bootloader as _, Keep};
use crate::lock::Lock;
use crate::update::last::{self, Next};
use crate::update::ports::Restart;

#[test]
fn a_way_back_that_could_not_be_marked_is_no_orderly_one_which_would_re_arm() {
    for software in [Software::Bad, Software::Hangs, Software::Crashes] {
        let mut world = World::new(software, Planted::No, Fleet::None);
        world.until(|w, _| w.tries() > 0);
        world.stumble();
        world.until(|w, _| w.asked().is_some());
        assert_eq!(world.asked(), Some(Restart::Unmarked), "{software:?}");
        world.until(|_, _| true);
        assert_eq!(world.booted(), Slot::A, "{software:?}: the bad slot again");
        world.rest();
        assert_eq!(world.booted(), Slot::A, "{software:?}");
        assert!(
            world.see().boot.failed.is_some(),
            "{software:?}: it comes again"
        );
    }
}

#[test]
fn the_last_resort_waits_for_nobody_who_hangs_and_overrules_no_verdict() {
    let trying = || {
        let mut world = World::new(Software::Hangs, Planted::No, Fleet::None);
        world.until(|w, _| w.tries() > 0);
        world.late();
        world
    };
    let dir = tempfile::tempdir().expect("a folder");
    let lock = dir.path().join("lock");
    let phase = |w: &World| w.see().boot.trial.map(|t| t.phase);

    // a process hangs in the middle of a write
    let held = Lock::try_take(&lock).expect("a lock").expect("free");
    let world = trying();
    let mut boot = world.guarded(&lock, Duration::from_millis(50));
    let began = Instant::now();
    assert_eq!(last::look(&mut boot, &world.system(), Slot::B), Next::Back);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "it waits for what hangs"
    );
    assert_eq!(world.asked(), Some(Restart::Unmarked));
    assert_eq!(
        phase(&world),
        Some(Phase::Trying),
        "written beside one who holds the lock"
    );
    drop(held);

    let world = trying();
    let mut boot = world.guarded(&lock, Duration::from_secs(10));
    assert_eq!(last::look(&mut boot, &world.system(), Slot::B), Next::Back);
    assert_eq!(
        (world.asked(), phase(&world)),
        (Some(Restart::Back), Some(Phase::Failed))
    );
    let late = boot.commit(Slot::B, Keep::Won);
    assert!(
        late.is_err(),
        "the daemon was slow, and keeps what was given up"
    );
    assert_eq!(phase(&world), Some(Phase::Failed));

    // the daemon was first
    let world = trying();
    let mut boot = world.guarded(&lock, Duration::from_secs(10));
    boot.commit(Slot::B, Keep::Won).expect("kept");
    assert_eq!(last::look(&mut boot, &world.system(), Slot::B), Next::Over);
    assert_eq!(world.asked(), None);
}
