//! Tests of [`super`] on folders that stand for `/sys` and for sticks.

use std::fs;

use super::*;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A board that runs from `mmcblk0`, with a stick `sda` in it and an LED that shows the card's activity.
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (path, text) in [
            ("sys/devices/mmc/block/mmcblk0/size", "1"),
            ("sys/devices/mmc/block/mmcblk0/mmcblk0p2/partition", "2"),
            ("sys/devices/usb/block/sda/size", "1"),
            ("sys/devices/usb/block/sda/sda1/partition", "1"),
            ("sys/class/leds/input3::capslock/trigger", "[kbd] none"),
            ("sys/class/leds/ACT/trigger", "none [mmc0] timer\n"),
            ("sys/class/leds/ACT/brightness", "0"),
            ("run/card", "/dev/mmcblk0\n"),
        ] {
            world.write(path, text);
        }
        fs::create_dir_all(world.at("sys/class/block")).unwrap();
        for (name, to) in [
            ("mmcblk0", "mmc/block/mmcblk0"),
            ("mmcblk0p2", "mmc/block/mmcblk0/mmcblk0p2"),
            ("sda", "usb/block/sda"),
            ("sda1", "usb/block/sda/sda1"),
        ] {
            let link = world.at("sys/class/block").join(name);
            std::os::unix::fs::symlink(Path::new("../../devices").join(to), link).unwrap();
        }
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        files::replace(&path, text.as_bytes(), 0o644).unwrap();
    }

    fn led(&self, attribute: &str) -> String {
        fs::read_to_string(self.at("sys/class/leds/ACT").join(attribute)).unwrap()
    }

    fn take(
        &self,
        leave: Leave,
        install: impl FnOnce(&Path) -> anyhow::Result<(bool, String)>,
    ) -> (Note, Option<Shown>) {
        let open = || Ok(self.at("stick"));
        let taken = self.places("run/card", |places| {
            take(places, leave, open, install, || Timestamp(7)).unwrap()
        });
        assert_eq!(self.note(), taken.0);
        taken
    }

    fn places<T>(&self, card: &str, with: impl FnOnce(&Places<'_>) -> T) -> T {
        with(&Places {
            sys: &self.at("sys"),
            note: &self.at("run/note"),
            card: &self.at(card),
        })
    }

    fn note(&self) -> Note {
        serde_json::from_slice(&fs::read(self.at("run/note")).unwrap()).unwrap()
    }
}

#[test]
fn the_led_says_what_it_does_and_then_does_what_it_did_before() {
    let world = World::new();
    world.write("stick/timestamp.json", "{}");
    let (note, shown) = world.take(Leave::Given, |at| {
        assert_eq!(at, world.at("stick"));
        assert_eq!(world.note().state, State::Working);
        until(|| world.led("trigger") == "none" && world.led("brightness") == "0");
        Ok((true, "restarting".to_owned()))
    });
    assert_eq!((note.state, &*note.said), (State::Done, "restarting"));
    until(|| world.led("brightness") == "1");
    drop(shown);
    world.places("run/card", gone).unwrap();
    assert_eq!(world.led("trigger"), "mmc0");
    assert!(!world.at("run/note").exists());
    // and once more, though nothing is there
    world.places("run/card", gone).unwrap();
}

/// Waits for the thread that drives the LED.
fn until(seen: impl Fn() -> bool) {
    for _ in 0..500 {
        if seen() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within five seconds");
}

#[test]
fn a_stick_with_nothing_for_this_board_is_said_and_not_taken_for_an_update() {
    let world = World::new();
    let no = |_: &Path| -> anyhow::Result<(bool, String)> { unreachable!("nothing to install") };
    fs::create_dir(world.at("stick")).unwrap();
    let (note, _) = world.take(Leave::Given, no);
    assert_eq!(note.state, State::Failed);
    assert!(note.said.contains("no repository"), "{}", note.said);
    // in a folder, beside an owner's other things
    world.write("stick/hypriot/timestamp.json", "{}");
    let (note, _) = world.take(Leave::Given, |at| {
        assert_eq!(at, world.at("stick/hypriot"));
        anyhow::bail!("signed by nobody")
    });
    assert_eq!(
        (note.state, &*note.said),
        (State::Failed, "signed by nobody")
    );
    let (note, _) = world.take(Leave::Forbidden, no);
    assert_eq!(note.state, State::Failed);
    assert!(note.said.contains("stick = false"), "{}", note.said);
    let (note, _) = world.take(Leave::OnTrial, no);
    assert_eq!(note.state, State::Done);
}

#[test]
fn the_boards_own_disk_is_no_stick_whatever_udev_says() {
    let world = World::new();
    let refuse = |device: &str, card: &str| {
        world.places(card, |places| refuse_own(Path::new(device), places))
    };
    refuse("/dev/sda1", "run/card").unwrap();
    refuse("/dev/sda", "run/card").unwrap();
    for own in ["/dev/mmcblk0", "/dev/mmcblk0p2"] {
        let error = refuse(own, "run/card").unwrap_err().to_string();
        assert!(error.contains("runs from"), "{own}: {error}");
    }
    // what cannot be told apart is not touched
    refuse("/dev/sda1", "run/none").unwrap_err();
    refuse("/dev/nosuch", "run/card").unwrap_err();
}

#[test]
fn a_disk_that_the_kernel_still_looks_at_is_tried_again() {
    let mut left = 3;
    let mut busy_at_first = || {
        left -= 1;
        if left > 0 { Err(Errno::EBUSY) } else { Ok(()) }
    };
    unless_busy(&mut busy_at_first).unwrap();
    assert_eq!(left, 0);
    // what another try does not mend is not tried again
    let mut tries = 0;
    let refused = unless_busy(|| {
        tries += 1;
        Err(Errno::EPERM)
    });
    assert_eq!((refused, tries), (Err(Errno::EPERM), 1));
}

#[test]
fn a_board_without_an_led_takes_the_stick_all_the_same() {
    let world = World::new();
    fs::remove_dir_all(world.at("sys/class/leds/ACT")).unwrap();
    world.write("stick/timestamp.json", "{}");
    let (note, shown) = world.take(Leave::Given, |_| Ok((true, "it runs already".to_owned())));
    assert_eq!(note.state, State::Done);
    assert!(shown.is_none(), "a keyboard's LED is not the board's");
}
