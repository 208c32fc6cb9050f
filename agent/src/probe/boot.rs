//! How the board came up, and who would bring it back: the end of the boot before, the cause of the restart, the watchdog.

use super::{Finding, Found, Look, Root};
use crate::paths::{CARD, UNCLEAN};
use crate::report::{Severity, Status};

/// Bits of a Raspberry Pi 5's power chip: why it cut the power before this boot.
const POWER_RESET: &[(u32, &str)] = &[
    (0, "its voltage was too high"),
    (1, "its voltage was too low"),
    (2, "it was too hot"),
    (4, "the watchdog of its power chip ended it"),
];
/// Bit of the raw PM_RSTS register: the power had been off.
const POWER_ON: u32 = 1 << 12;
/// `WDIOF_CARDRESET` (include/uapi/linux/watchdog.h): the last restart was the watchdog's.
const CARD_RESET: f64 = 32.0;

/// So long after a start it is worth a warning how the boot before ended; later it is only told.
const NEWS: f64 = 86_400.0;

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    let root = look.root;
    // The initramfs mends the data partition, and leaves word when its journal had to be read.
    if root.exists(CARD) {
        let unclean = root.exists(UNCLEAN);
        found.gauge("boot_unclean", f64::from(u8::from(unclean)));
        found.add(
            "shutdown",
            judge_shutdown(unclean, panicked(root), look.uptime),
        );
    }
    if let Some(finding) = judge_reset(
        cell(root, "power/power_reset"),
        cell(root, "bootloader/rsts"),
    ) {
        found.add("reset", finding);
    }
    found.add("watchdog", judge_watchdog(watchdog(root).as_ref()));
    found
}

/// A cell of `/chosen` in the device tree: four bytes, the highest first.
fn cell(root: &Root, name: &str) -> Option<u32> {
    let bytes = root
        .bytes(format!("/proc/device-tree/chosen/{name}"))
        .ok()?;
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// What the kernel of the boot before left as its last words (Documentation/admin-guide/pstore-blk.rst), if it could.
fn panicked(root: &Root) -> bool {
    root.names("/sys/fs/pstore")
        .iter()
        .any(|name| name.starts_with("dmesg-"))
}

fn judge_shutdown(unclean: bool, panicked: bool, uptime: f64) -> Finding {
    let finding = |output: &str| Finding::pass(Severity::Wanted, "state", output);
    if panicked {
        return finding("the kernel panicked in the boot before").worse(
            Status::Warn,
            "its last words are in /sys/fs/pstore; hypriot-agent diagnose takes the rest",
        );
    }
    if unclean {
        let cut = finding("the board lost power, or hung, before this boot");
        if uptime > NEWS {
            return cut;
        }
        return cut.worse(
            Status::Warn,
            "shut it down before you pull the plug; if you did not, look at power and supply",
        );
    }
    finding("it was shut down in order before this boot")
}

fn judge_reset(power: Option<u32>, rsts: Option<u32>) -> Option<Finding> {
    let finding = |output: &str| Finding::pass(Severity::Wanted, "cause", output);
    let reasons: Vec<&str> = POWER_RESET
        .iter()
        .filter(|(bit, _)| power.unwrap_or(0) & (1 << bit) != 0)
        .map(|(_, words)| *words)
        .collect();
    if !reasons.is_empty() {
        let output = format!(
            "the board was cut off before this boot: {}",
            reasons.join(", ")
        );
        return Some(finding(&output).worse(Status::Warn, "look at supply, cable and cooling"));
    }
    // An orderly restart goes through the watchdog on these boards: it cannot be told from one that was not.
    Some(match rsts? {
        rsts if rsts & POWER_ON != 0 => finding("it was switched on"),
        _ => finding("it was restarted"),
    })
}

/// The first watchdog (Documentation/ABI/testing/sysfs-class-watchdog).
#[derive(Debug, Clone, PartialEq)]
struct Watchdog {
    active: bool,
    timeout: Option<f64>,
    bit: bool,
}

fn watchdog(root: &Root) -> Option<Watchdog> {
    let path = "/sys/class/watchdog/watchdog0";
    // A kernel without CONFIG_WATCHDOG_SYSFS shows the device alone.
    let state = root.text(format!("{path}/state")).ok()?;
    let status = root.number(format!("{path}/bootstatus")).unwrap_or(0.0);
    Some(Watchdog {
        active: state.trim() == "active",
        timeout: root.number(format!("{path}/timeout")),
        bit: (status / CARD_RESET).floor() % 2.0 > 0.5,
    })
}

fn judge_watchdog(watchdog: Option<&Watchdog>) -> Finding {
    let Some(watchdog) = watchdog else {
        return Finding::unknown("state", "unknown: the kernel shows no watchdog");
    };
    let finding = |output: String| Finding::pass(Severity::Wanted, "state", output);
    if !watchdog.active {
        return finding("nobody feeds the watchdog".into()).worse(
            Status::Warn,
            "a board that hangs stays so: set RuntimeWatchdogSec=15s in system.conf (systemd-system.conf(5))",
        );
    }
    let seconds = watchdog
        .timeout
        .map_or_else(String::new, |s| format!(", {s:.0} s"));
    if watchdog.bit {
        return finding(format!("it restarted the board before this boot{seconds}")).worse(
            Status::Warn,
            "the board hung: hypriot-agent diagnose takes what is left of it",
        );
    }
    finding(format!("it is fed{seconds}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn a_boot_after_a_power_cut_or_panic_says_so() {
        for (unclean, panicked, uptime, status) in [
            (false, false, 5.0, Status::Pass),
            (true, false, 5.0, Status::Warn),
            (true, false, 90_000.0, Status::Pass),
            (false, true, 90_000.0, Status::Warn),
        ] {
            let found = judge_shutdown(unclean, panicked, uptime);
            assert_eq!(found.status, status);
            assert_eq!(unclean, found.output.contains("lost power"));
        }
        let (_dir, root) = tree(&[
            ("/sys/fs/pstore/dmesg-ramoops-0", "Panic#1"),
            ("/sys/fs/pstore/console-ramoops-0", ""),
        ]);
        assert!(panicked(&root));
        let (_dir, root) = tree(&[("/sys/fs/pstore/console-ramoops-0", "")]);
        assert!(!panicked(&root));
    }

    #[test]
    fn causes_of_a_restart_are_read_where_there_are_some() {
        for (power, rsts, status, words) in [
            (Some(0b10), Some(0x20), Some(Status::Warn), "too low"),
            (
                Some(0b1_0100),
                None,
                Some(Status::Warn),
                "too hot, the watchdog",
            ),
            (Some(0), Some(0x1000), Some(Status::Pass), "switched on"),
            (None, Some(0x20), Some(Status::Pass), "restarted"),
            (None, None, None, ""),
        ] {
            let found = judge_reset(power, rsts);
            assert_eq!(found.as_ref().map(|f| f.status), status);
            assert!(found.is_none_or(|f| f.output.contains(words)));
        }
        let (_dir, root) = tree(&[
            ("/proc/device-tree/chosen/bootloader/rsts", "\0\0\u{10}\0"),
            ("/proc/device-tree/chosen/power/power_reset", "short"),
        ]);
        assert_eq!(
            (
                cell(&root, "bootloader/rsts"),
                cell(&root, "power/power_reset")
            ),
            (Some(0x1000), None)
        );
    }

    #[test]
    fn a_watchdog_that_nobody_feeds_is_not_well_and_none_is_unknown() {
        let at = |state: &str, status: &str| {
            let (_dir, root) = tree(&[
                ("/sys/class/watchdog/watchdog0/state", state),
                ("/sys/class/watchdog/watchdog0/timeout", "15\n"),
                ("/sys/class/watchdog/watchdog0/bootstatus", status),
            ]);
            judge_watchdog(watchdog(&root).as_ref())
        };
        assert_eq!(at("active\n", "0\n").output, "it is fed, 15 s");
        assert_eq!(at("active\n", "32\n").status, Status::Warn);
        assert_eq!(at("active\n", "8\n").status, Status::Pass);
        assert_eq!(at("inactive\n", "0\n").status, Status::Warn);
        let (_dir, root) = tree(&[("/sys/class/watchdog/watchdog0/identity", "dog\n")]);
        let none = judge_watchdog(watchdog(&root).as_ref());
        assert_eq!(none.knowledge, crate::report::Knowledge::Unknown);
    }
}
