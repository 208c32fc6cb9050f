//! The clock: synchronised, and not before what is known to have passed. Boards without a battery start in the past.

use std::time::Duration;

use hypriot_keys::time::Timestamp;

use super::{Finding, Found, Look, Root};
use crate::exec::Cmd;
use crate::report::{Knowledge, Severity, Status};

/// After boot the time servers get this long before an unsynchronised clock is worth a word.
const SETTLE: f64 = 180.0;

pub(super) fn probe(look: &Look<'_>) -> Found {
    let synchronised = synchronised(look.root);
    let mut found = Found::default();
    if let Some(synchronised) = synchronised {
        found.gauge("clock_synchronized", f64::from(u8::from(synchronised)));
    }
    let floor = look.context.time_floor;
    found.add("clock", judge(look.now, floor, synchronised, look.uptime));
    found
}

fn judge(now: Timestamp, floor: Timestamp, synchronised: Option<bool>, uptime: f64) -> Finding {
    let finding = |output: &str| Finding::pass(Severity::Wanted, "state", output);
    let fix = "check that the board reaches a time server: timedatectl timesync-status";
    if now < floor {
        return finding(
            "the clock is in the past: it shows a time before the newest signed release",
        )
        .worse(Status::Fail, fix);
    }
    match synchronised {
        Some(true) => finding("synchronised"),
        Some(false) if uptime < SETTLE => finding("not synchronised yet").starting(fix),
        Some(false) => finding("not synchronised").worse(Status::Warn, fix),
        None => {
            let mut finding = finding("nothing tells whether it is synchronised").worse(
                Status::Warn,
                "install systemd-timesyncd or another time client",
            );
            finding.knowledge = Knowledge::Unknown;
            finding
        }
    }
}

/// Whether a time client has set the clock in this boot; `None` when nothing tells.
pub(crate) fn synchronised(root: &Root) -> Option<bool> {
    // systemd-timesyncd.service(8): touched each time the clock was synchronised.
    if root.exists("/run/systemd/timesync/synchronized") {
        return Some(true);
    }
    if root.exists("/run/systemd/timesync") {
        return Some(false);
    }
    if !root.is_live() {
        return None;
    }
    // Another client (chrony, ntpd) keeps the kernel's flag, which timedated reads.
    let asked = Cmd::new("timedatectl")
        .args(["show", "-p", "NTPSynchronized", "--value"])
        .timeout(Duration::from_secs(2))
        .run()
        .ok()?;
    match asked.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_before_the_floor_fails_even_when_synchronised() {
        let floor = Timestamp(1_700_000_000);
        for (now, synchronised, uptime, status) in [
            (0, Some(true), 500.0, Status::Fail),
            (1_699_999_999, Some(false), 5.0, Status::Fail),
            (1_700_000_000, Some(true), 5.0, Status::Pass),
            (1_700_000_000, Some(false), 5.0, Status::Warn),
            (1_700_000_000, Some(false), 180.0, Status::Warn),
            (1_700_000_000, None, 5.0, Status::Warn),
        ] {
            let found = judge(Timestamp(now), floor, synchronised, uptime);
            assert_eq!(found.status, status, "{now} {synchronised:?} {uptime}");
        }
    }
}
