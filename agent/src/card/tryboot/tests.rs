//! The boot loader of a Raspberry Pi in memory: what is armed, what is lost with the power, what is refused.

use hypriot_updater::boot::Phase;
use hypriot_updater::boot::tryboot::View;

use super::firmware::model::Model;
use super::*;
use crate::card::fakes::MemDisk;

/// 2025-10-09
const NEW: u32 = 1_760_000_000;

struct Pi {
    gap: MemDisk,
    file: MemDisk,
    model: Model,
}

impl Pi {
    fn new(built: u32) -> Self {
        let pi = Self {
            gap: MemDisk::new(16 << 20),
            file: MemDisk::new(autoboot::SIZE),
            model: Model::new(built),
        };
        let mut file = pi.file.clone();
        file.write_at(0, &autoboot::encode(Slot::A)).unwrap();
        file.sync().unwrap();
        pi
    }

    fn boot(&self) -> Tryboot<MemDisk, MemDisk, Model> {
        Tryboot::new(self.gap.clone(), self.file.clone(), 0, self.model.clone())
    }

    /// A start; both slots can be started.
    fn start(&self) -> (Slot, View) {
        let view = self
            .model
            .start(&self.file.medium(), |p| p == 2 || p == 3)
            .unwrap();
        let slot = view.slot().unwrap();
        assert!(!self.boot().began(slot, view.tryboot).unwrap());
        (slot, view)
    }

    fn phase(&self) -> Option<Phase> {
        self.boot().state().unwrap().trial.map(|t| t.phase)
    }
}

#[test]
fn a_trial_is_tried_once_and_kept_when_it_is_won() {
    let pi = Pi::new(NEW);
    pi.boot().try_once(Slot::B, "x1", 900).unwrap();
    assert_eq!(pi.start().0, Slot::B);
    assert_eq!(pi.phase(), Some(Phase::Trying));
    assert_eq!(
        pi.file.medium(),
        autoboot::encode(Slot::A),
        "the default is untouched"
    );
    pi.boot().commit(Slot::B, Keep::Won).unwrap();
    assert_eq!((pi.start().0, pi.phase()), (Slot::B, None));
    assert_eq!(pi.file.writes(), 2, "one sector, once");
}

#[test]
fn a_trial_that_nobody_judges_ends_in_the_default() {
    let pi = Pi::new(NEW);
    pi.boot().try_once(Slot::B, "x1", 900).unwrap();
    assert_eq!(pi.start().0, Slot::B);
    assert_eq!(pi.start().0, Slot::A);
    assert_eq!(pi.phase(), Some(Phase::Lost));
}

#[test]
fn the_flag_goes_with_the_power_and_is_set_again() {
    let pi = Pi::new(NEW);
    pi.boot().try_once(Slot::B, "x1", 900).unwrap();
    pi.model.lose_power();
    assert_eq!((pi.start().0, pi.phase()), (Slot::A, Some(Phase::Armed)));
    assert!(pi.model.flag(), "for the restart that the agent does next");
    assert_eq!((pi.start().0, pi.phase()), (Slot::B, Some(Phase::Trying)));
    // an orderly restart in the trial does not spend it
    pi.boot().change(TrialChange::Rearm).unwrap();
    assert_eq!((pi.start().0, pi.phase()), (Slot::B, Some(Phase::Trying)));
    pi.boot().change(TrialChange::Fail).unwrap();
    assert_eq!((pi.start().0, pi.phase()), (Slot::A, Some(Phase::Failed)));
}

#[test]
fn nothing_is_armed_that_could_not_come_back() {
    let old = Pi::new(1_673_395_200);
    let e = old
        .boot()
        .try_once(Slot::B, "x1", 900)
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("2023-01-11") && e.contains("rpi-eeprom-update"),
        "{e}"
    );
    assert_eq!((old.phase(), old.gap.writes()), (None, 0));
    // Debian's kernel has no mailbox
    let deaf = Pi::new(NEW);
    deaf.model.deafen();
    assert!(deaf.boot().try_once(Slot::B, "x1", 900).is_err());
    assert_eq!(deaf.phase(), None);
    assert_eq!(deaf.start().0, Slot::A);
    let protected = Pi::new(NEW);
    protected.gap.protect();
    assert!(protected.boot().try_once(Slot::B, "x1", 900).is_err());
    assert!(!protected.model.flag());
}

#[test]
fn an_armed_trial_is_disarmed_in_the_firmware_too() {
    for change in [TrialChange::Cancel, TrialChange::Refuse] {
        let pi = Pi::new(NEW);
        pi.boot().try_once(Slot::B, "x1", 900).unwrap();
        pi.boot().change(change).unwrap();
        assert_eq!((pi.start().0, pi.phase()), (Slot::A, None));
    }
}

#[test]
fn a_trial_that_cannot_be_marked_does_not_go_on() {
    let pi = Pi::new(NEW);
    pi.boot().try_once(Slot::B, "x1", 900).unwrap();
    pi.gap.protect();
    assert!(
        pi.boot().began(Slot::B, true).is_err(),
        "the initramfs restarts the board"
    );
    assert!(
        !pi.boot().began(Slot::A, false).unwrap(),
        "the default goes on"
    );
}

#[test]
fn a_damaged_file_starts_some_slot_which_mends_it() {
    let pi = Pi::new(NEW);
    let mut file = pi.file.clone();
    file.write_at(0, &[0xa5; autoboot::SIZE]).unwrap();
    file.sync().unwrap();
    let writes = pi.file.writes();
    assert_eq!((pi.start().0, pi.start().0), (Slot::A, Slot::A));
    assert_eq!(pi.file.medium(), autoboot::encode(Slot::A));
    assert_eq!(pi.file.writes(), writes + 1, "once");
}

#[test]
fn a_default_that_does_not_come_up_makes_room_and_the_other_is_kept() {
    let pi = Pi::new(NEW);
    let mut turns = 0;
    loop {
        turns += 1;
        let view = pi
            .model
            .start(&pi.file.medium(), |p| p == 2 || p == 3)
            .unwrap();
        let slot = view.slot().unwrap();
        let other = pi.boot().began(slot, view.tryboot).unwrap();
        if slot == Slot::B {
            break;
        }
        assert!(turns < 8 && (other == (turns > 3)), "{turns}");
    }
    assert!(pi.boot().came_up(Slot::B).unwrap());
    assert_eq!(pi.file.medium(), autoboot::encode(Slot::B));
    assert_eq!(pi.start().0, Slot::B);
}
