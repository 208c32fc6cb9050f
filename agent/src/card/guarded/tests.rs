//! Changes by several processes: real files, real locks, and one that is really killed.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::Instant;

use hypriot_updater::boot::Phase;
use hypriot_updater::layout;

use super::*;
use crate::card::bootloader::RawState;
use crate::card::disk::Window;
use crate::exec::Cmd;

/// The boot state of the card `path`, as a process of its own opens it.
fn open(path: &Path, lock: &Path, patience: Duration) -> Guarded {
    let file = File::options().read(true).write(true).open(path);
    let gap = Window::new(file.expect("a card"), 0, layout::CONFIG.start);
    Guarded::new(Box::new(RawState(gap)), lock.to_owned(), patience)
}

fn card(dir: &Path) -> PathBuf {
    let path = dir.join("card");
    let file = File::create(&path).expect("a file");
    file.set_len(layout::CONFIG.start).expect("its length");
    path
}

#[test]
fn of_two_who_change_the_boot_state_at_once_none_loses_what_the_other_wrote() {
    const EACH: u32 = 25;
    let dir = tempfile::tempdir().expect("a folder");
    let (card, lock) = (card(dir.path()), dir.path().join("private/lock"));
    let mut first = open(&card, &lock, PATIENCE);
    first.commit(Slot::A, Keep::StandsIn).expect("written");
    let before = first.state().expect("a state").seq;
    thread::scope(|scope| {
        for slot in [Slot::A, Slot::B, Slot::A, Slot::B] {
            let (card, lock) = (&card, &lock);
            scope.spawn(move || {
                let mut boot = open(card, lock, PATIENCE);
                for _ in 0..EACH {
                    boot.commit(slot, Keep::StandsIn).expect("written");
                }
            });
        }
    });
    let after = first.state().expect("a state").seq;
    assert_eq!(after - before, 4 * EACH, "a change was overwritten unseen");
}

#[test]
fn who_was_killed_holds_no_lock_and_who_hangs_is_not_waited_for_long() {
    let dir = tempfile::tempdir().expect("a folder");
    let (card, lock) = (card(dir.path()), dir.path().join("lock"));
    let mut boot = open(&card, &lock, PATIENCE);
    boot.try_once(Slot::B, "x1", 900).expect("armed");
    let held = dir.path().join("held");
    thread::scope(|scope| {
        let (file, mark) = (&lock, &held);
        // holds the lock until it is killed: flock(1) becomes sleep(1), which keeps the file open
        scope.spawn(move || {
            let script = "touch \"$1\"; exec sleep 60";
            Cmd::new("flock")
                .arg("--no-fork")
                .arg(file)
                .args(["sh", "-c", script, "sh"])
                .arg(mark)
                .timeout(Duration::from_secs(2))
                .output()
        });
        let began = Instant::now();
        while !held.exists() {
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "nobody took the lock"
            );
            thread::sleep(Duration::from_millis(10));
        }
        // one that has less patience than the other lives
        let mut hasty = open(&card, &lock, Duration::from_millis(100));
        let refused = hasty.change(TrialChange::Cancel).expect_err("it is held");
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        let phase = |b: &Guarded| b.state().expect("a state").trial.map(|t| t.phase);
        assert_eq!(
            phase(&hasty),
            Some(Phase::Armed),
            "nothing was written, and it can be read"
        );
        boot.change(TrialChange::Cancel)
            .expect("the kernel took the lock back");
        assert_eq!(phase(&boot), None);
    });
}

#[test]
fn where_no_lock_can_be_made_the_boot_state_is_changed_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let card = card(dir.path());
    // a file where a folder should be: no lock can be made there, whoever asks
    let mut boot = open(&card, &card.join("private/lock"), PATIENCE);
    boot.try_once(Slot::B, "x1", 900).expect("armed");
    boot.change(TrialChange::Fail).expect("marked");
    let trial = boot.state().expect("a state").trial.expect("a trial");
    assert_eq!(trial.phase, Phase::Failed);
}
