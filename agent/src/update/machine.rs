//! The running system, as the update loop uses it.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use hypriot_keys::time::Timestamp;
use hypriot_updater::health::TestResult;
use nix::sys::reboot::{RebootMode, reboot};

use super::hooks::{self, Call, Event, How};
use super::inhibit;
use super::ports::{Machine, Restart, Standing};
use super::standing;
use crate::config::Settings;
use crate::exec::Cmd;
use crate::probe::{Root, synchronised};
use crate::report::UpdateView;
use crate::selftest;

/// Off trial nobody waits for the self-tests, so they may take this long.
pub const PATIENCE: Duration = Duration::from_mins(5);
/// systemd is given so long for an orderly restart; its own units have 90 s each.
const ORDERLY: Duration = Duration::from_mins(2);
/// What is diagnosed for the other slot is worth this long and no longer.
const DIAGNOSIS: Duration = Duration::from_secs(10);

/// The clock. The only place of the agent that reads it.
pub fn clock() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the outermost loop, where the clock is read"
    )]
    let now = SystemTime::now();
    seconds(now)
}

fn seconds(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_secs()))
}

/// The date of this program: on a system without slots no time before it can be right.
pub fn program_date() -> anyhow::Result<Timestamp> {
    let program = std::fs::metadata("/proc/self/exe").and_then(|meta| meta.modified());
    let date = program.context("looking at the date of this program")?;
    Ok(seconds(date))
}

/// This board.
#[derive(Debug, Clone, Copy)]
pub struct Board;

impl Machine for Board {
    fn uptime(&self) -> u64 {
        // a number that cannot be read counts as none: then nothing is late
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let whole = text.split(['.', ' ']).next().unwrap_or_default();
        whole.parse().unwrap_or(0)
    }

    fn boot_id(&self) -> String {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
        text.unwrap_or_default().trim().to_owned()
    }

    fn now(&self) -> Timestamp {
        clock()
    }

    fn clock_is_right(&self) -> bool {
        // the kernel took the time from it at boot (rtc, sysfs ABI)
        let battery = std::fs::read_to_string("/sys/class/rtc/rtc0/hctosys");
        battery.is_ok_and(|text| text.trim() == "1") || synchronised(&Root::default()) == Some(true)
    }

    fn inhibitors(&self) -> Vec<String> {
        inhibit::all(clock(), self.uptime())
    }

    fn has_hooks(&self, event: Event) -> bool {
        hooks::any(Path::new(hooks::DIRECTORY), event)
    }

    fn run_hooks(&self, call: &Call) -> Result<(), hooks::Refusal> {
        hooks::run(Path::new(hooks::DIRECTORY), call, How::Service)
    }

    fn standing(&self, server: &str) -> Standing {
        standing::look(server)
    }

    /// Its machine-id, which is as old as the card.
    fn id(&self) -> anyhow::Result<Vec<u8>> {
        let text = std::fs::read("/etc/machine-id").context("reading /etc/machine-id")?;
        Ok(text.trim_ascii().to_vec())
    }

    fn self_tests(
        &self,
        settings: &Settings,
        update: UpdateView,
        patience: Duration,
    ) -> anyhow::Result<Vec<TestResult>> {
        let (board, built) = (&settings.board, settings.built);
        selftest::judge(board, built, Some(update), clock(), patience)
    }

    fn restart_at_last(&self, after: Duration) {
        let started = thread::Builder::new().spawn(move || {
            thread::sleep(after);
            hard();
        });
        if let Err(error) = started {
            tracing::error!("no thread for the last restart: {error}");
        }
    }

    fn diagnosis(&self) -> (Vec<String>, Vec<String>) {
        let log = "-k -b -n 50 --no-pager -o short-monotonic";
        let units = "list-units --failed --plain --no-legend --no-pager";
        (lines("journalctl", log), lines("systemctl", units))
    }

    fn restart(&self, how: Restart) -> anyhow::Result<()> {
        if how == Restart::Unmarked {
            tracing::error!(
                "what is to be done at the next start could not be written; restarting hard"
            );
            hard();
            bail!("the board does not restart")
        }
        let mut cmd = Cmd::new("systemctl").arg("reboot");
        if how == Restart::Back {
            // systemd 257 hears block inhibitors of root's requests, too
            cmd = cmd.arg("--check-inhibitors=no");
        }
        let asked = cmd.run();
        match (&asked, how) {
            (Err(error), Restart::Orderly) => bail!("systemd does not restart the board: {error}"),
            (Err(error), _) => tracing::error!("{error}; restarting hard"),
            // systemd ends this process while it waits here
            (Ok(_), _) => {
                thread::sleep(ORDERLY);
                tracing::error!("the orderly restart hangs; restarting hard");
            }
        }
        hard();
        bail!("the board does not restart")
    }
}

/// Restarts without systemd: by the kernel itself, and where that is refused by way of process 1.
pub fn hard() {
    // what is not on the medium by now may hang for ever; the journal of ext4 is made for this
    let Err(refused) = reboot(RebootMode::RB_AUTOBOOT);
    tracing::error!("reboot(2): {refused}");
    let forced = Cmd::new("systemctl")
        .args(["reboot", "--force", "--force"])
        .run();
    if let Err(error) = forced {
        tracing::error!("{error}");
    }
}

fn lines(program: &str, arguments: &str) -> Vec<String> {
    let cmd = Cmd::new(program).args(arguments.split(' '));
    let printed = cmd.timeout(DIAGNOSIS).run();
    // the report is worth having without them
    printed.map_or_else(
        |e| vec![e.to_string()],
        |o| {
            let text = String::from_utf8_lossy(&o.stdout);
            text.lines().map(str::to_owned).collect()
        },
    )
}
