//! The hardware watchdog, from the kernel's start until systemd's.
//!
//! A kernel that hangs says nothing and runs no thread: only hardware ends that. It is fed here while the initramfs works, and
//! stopped in the last moment before systemd is started, which starts it again first of all. It is not left running: an owner
//! may have told systemd to use none, and the board would be reset at every start.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::say;

/// The first one (Documentation/watchdog/watchdog-kernel-api.rst).
pub(super) const DEVICE: &str = "/dev/watchdog0";
/// The shortest time that a driver of ours starts with is 15 s (bcm2835_wdt, s3c2410_wdt).
pub(super) const PERIOD: Duration = Duration::from_secs(5);
/// Any byte but `V` feeds it, and `V` before it is closed stops it: "Magic Close" (Documentation/watchdog/watchdog-api.rst).
const FOOD: &[u8] = b"\0";
const STOP: &[u8] = b"V";

/// Feeds until it is handed over. When this value goes without that, the watchdog is no longer fed, and not stopped either.
#[derive(Debug)]
pub(super) struct Watchdog {
    stop: Sender<()>,
    feeder: JoinHandle<()>,
}

impl Watchdog {
    /// Starts the watchdog at `device`, if there is one, and feeds it every `period` for at most `limit`.
    pub(super) fn start(device: &Path, period: Duration, limit: Duration) -> Option<Self> {
        let file = match OpenOptions::new().write(true).open(device) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                say(
                    6,
                    "no watchdog here: a kernel that hangs waits for somebody to pull the plug",
                );
                return None;
            }
            Err(error) => {
                say(4, &format!("{}: {error}", device.display()));
                return None;
            }
        };
        let (stop, stopped) = channel();
        let feeder = thread::Builder::new().spawn(move || {
            let began = Instant::now();
            loop {
                match stopped.recv_timeout(period) {
                    Ok(()) => return close(file),
                    // what hangs must not be fed for ever
                    Err(RecvTimeoutError::Timeout) if began.elapsed() < limit => feed(&file),
                    Err(RecvTimeoutError::Timeout) => (),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        match feeder {
            Ok(feeder) => {
                say(6, "the watchdog is fed: what hangs is ended by it");
                Some(Self { stop, feeder })
            }
            Err(error) => {
                // the file is gone with the closure: nothing feeds it, and within seconds the board restarts
                say(2, &format!("no thread that feeds the watchdog: {error}"));
                None
            }
        }
    }

    /// Stops it. systemd is started next.
    pub(super) fn hand_over(self) {
        // an error of either: the feeder is gone, and the watchdog does its work
        if self.stop.send(()).is_ok() {
            drop(self.feeder.join());
        }
    }
}

fn feed(mut file: &File) {
    if let Err(error) = file.write_all(FOOD) {
        say(4, &format!("feeding the watchdog: {error}"));
    }
}

fn close(mut file: File) {
    if let Err(error) = file.write_all(STOP) {
        say(4, &format!("stopping the watchdog: {error}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written to a file that stands for the device, once `enough` says so.
    fn wait_for(device: &Path, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        for _ in 0..2000 {
            let said = std::fs::read(device).expect("a file");
            if enough(&said) {
                return said;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the watchdog starves")
    }

    fn device(dir: &Path) -> std::path::PathBuf {
        let device = dir.join("watchdog0");
        File::create(&device).expect("a file");
        device
    }

    const SOON: Duration = Duration::from_millis(5);

    #[test]
    fn a_kernel_that_hangs_before_systemd_is_ended_and_systemd_finds_the_watchdog_stopped() {
        let dir = tempfile::tempdir().expect("a directory");
        let device = device(dir.path());
        let dog = Watchdog::start(&device, SOON, Duration::MAX).expect("started");
        wait_for(&device, |said| said.len() >= 3);
        dog.hand_over();
        let said = std::fs::read(&device).expect("a file");
        let (last, fed) = said.split_last().expect("fed");
        assert_eq!(*last, b'V', "an owner's systemd may feed none");
        assert!(fed.iter().all(|byte| *byte == 0));
        thread::sleep(20 * SOON);
        assert_eq!(
            std::fs::read(&device).expect("a file"),
            said,
            "it is let go"
        );
    }

    #[test]
    fn an_initramfs_that_does_not_end_is_not_fed_for_ever() {
        let dir = tempfile::tempdir().expect("a directory");
        let device = device(dir.path());
        let dog = Watchdog::start(&device, SOON, 4 * SOON).expect("started");
        thread::sleep(100 * SOON);
        let said = std::fs::read(&device).expect("a file");
        assert!(said.len() <= 4 && !said.contains(&b'V'), "{said:?}");
        drop(dog);
    }

    #[test]
    fn a_board_without_a_watchdog_starts_all_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(Watchdog::start(&dir.path().join("none"), SOON, SOON).is_none());
    }
}
