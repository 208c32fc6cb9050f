//! The activity LED of a board without a screen (Documentation/leds/leds-class.rst).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Parts of the names that boards give the LED an owner looks at: Raspberry Pi, Orange Pi and NanoPi, Banana Pi, ROCKPro64, ODROID.
/// Everything else is left alone: keyboards and network ports have LEDs, too.
const NAMES: [&str; 9] = [
    "ACT",
    "led0",
    "status",
    "usr",
    "user",
    "work",
    "diy",
    "alive",
    "heartbeat",
];

/// An LED, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    name: String,
    /// What drove it.
    trigger: Option<String>,
}

/// What the LED shows, until this value goes.
#[derive(Debug)]
pub struct Shown {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Found {
    /// The LED below `sys`, if there is one that is known.
    pub fn look(sys: &Path) -> Option<Self> {
        let folder = sys.join("class/leds");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .ok()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| !name.starts_with("input"))
            .collect();
        names.sort();
        let name = NAMES
            .iter()
            .find_map(|part| names.iter().find(|name| name.contains(part)))?;
        let triggers = fs::read_to_string(folder.join(name).join("trigger")).ok();
        Some(Self {
            name: name.clone(),
            trigger: triggers.as_deref().and_then(selected).map(str::to_owned),
        })
    }

    /// On, and it stays on.
    pub fn on(&self, sys: &Path) -> Shown {
        self.show(sys, None)
    }

    /// On and off, each for `half`.
    pub fn blink(&self, sys: &Path, half: Duration) -> Shown {
        self.show(sys, Some(half))
    }

    /// As it was found.
    pub fn give_back(&self, sys: &Path) {
        let folder = self.folder(sys);
        set(&folder, "brightness", "0");
        if let Some(trigger) = &self.trigger {
            set(&folder, "trigger", trigger);
        }
    }

    fn folder(&self, sys: &Path) -> PathBuf {
        sys.join("class/leds").join(&self.name)
    }

    fn show(&self, sys: &Path, half: Option<Duration>) -> Shown {
        let (stop, stopped) = channel();
        let folder = self.folder(sys);
        let thread = thread::Builder::new().spawn(move || {
            set(&folder, "trigger", "none");
            let mut on = true;
            loop {
                set(&folder, "brightness", if on { "1" } else { "0" });
                let ended = match half {
                    Some(half) => stopped.recv_timeout(half),
                    None => stopped
                        .recv()
                        .map_err(|_gone| RecvTimeoutError::Disconnected),
                };
                if ended != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                on = !on;
            }
        });
        Shown {
            stop,
            // without a thread nothing is shown, and everything else goes on
            thread: thread.ok(),
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // an error of either: the thread is gone already
        let _sent = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}

/// The one in brackets of `none [mmc0] timer`.
fn selected(triggers: &str) -> Option<&str> {
    let (_, rest) = triggers.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// An LED that cannot be set is no reason to stop.
#[expect(
    clippy::disallowed_methods,
    reason = "an attribute of sysfs, which is no file that a power cut could tear"
)]
fn set(folder: &Path, attribute: &str, value: &str) {
    if let Err(error) = fs::write(folder.join(attribute), value) {
        tracing::debug!("{}: {error}", folder.join(attribute).display());
    }
}
