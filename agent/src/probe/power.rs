//! Power of Raspberry Pi boards: what their firmware and their supply say. Other boards have nothing that measures it.

use std::fs::File;

use super::{Finding, Found, Look, Root};
use crate::ioctl;
use crate::report::{Severity, Status};

/// Bits of the firmware's word (documentation/asciidoc/computers/os/using-gpio.adoc of raspberrypi/documentation, `get_throttled`): now, and the same 16 higher since boot.
const UNDERVOLTAGE: u32 = 0;
const SLOWED: &[(u32, &str)] = &[
    (1, "the firmware holds the clock down"),
    (2, "the firmware slows the chip down"),
    (3, "the chip is at its soft limit of heat"),
];
const SINCE_BOOT: u32 = 16;
/// What is said where it cannot be measured, and what to do about a bad supply.
pub(crate) const NONE: &str = "unknown: this board has no detector of undervoltage";
pub(crate) const FIX: &str =
    "use a stronger supply and a shorter, thicker cable; undervoltage ruins cards";
/// What a Raspberry Pi 5 wants from its supply, in mA (`usb_max_current_enable` stays off below it).
const PI_5: u32 = 5000;

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    let word = throttled(look.root);
    let alarm = undervoltage(look.root);
    let now = match (alarm, word) {
        (None, None) => None,
        (alarm, word) => Some(alarm == Some(true) || word.is_some_and(|w| bit(w, UNDERVOLTAGE))),
    };
    // Who only has an alarm remembers it himself.
    let before = look
        .context
        .previous
        .filter(|p| p.uptime <= look.uptime)
        .and_then(|p| p.gauges.get("power_undervoltage_since_boot"))
        .is_some_and(|seen| *seen > 0.0);
    let since =
        before || now == Some(true) || word.is_some_and(|w| bit(w, UNDERVOLTAGE + SINCE_BOOT));
    if let Some(now) = now {
        found.gauge("power_undervoltage", f64::from(u8::from(now)));
        found.gauge("power_undervoltage_since_boot", f64::from(u8::from(since)));
        found.add("power", judge_power(now, since));
    } else {
        found.add("power", Finding::unknown("voltage", NONE));
    }
    if let Some(word) = word {
        found.gauge("throttled_word", f64::from(word));
        found.add("throttling", judge_throttling(word));
    }
    if let Some(milliamperes) = supply(look.root) {
        found.add("supply", judge_supply(milliamperes));
    }
    found
}

fn bit(word: u32, bit: u32) -> bool {
    word & (1 << bit) != 0
}

/// The Pi firmware's own detector; boards without one (Zero, older compute modules) have no such file: unknown.
///
/// drivers/hwmon/raspberrypi-hwmon.c polls the firmware each 2 s and shows bit 16 of the throttled word here.
pub(crate) fn undervoltage(root: &Root) -> Option<bool> {
    let chips = "/sys/class/hwmon";
    root.names(chips).iter().find_map(|chip| {
        let name = root.text(format!("{chips}/{chip}/name")).ok()?;
        if name.trim() != "rpi_volt" {
            return None;
        }
        let alarm = root.number(format!("{chips}/{chip}/in0_lcrit_alarm"))?;
        Some(alarm != 0.0)
    })
}

/// The firmware's word, through its mailbox; kernels of Debian have no such device.
fn throttled(root: &Root) -> Option<u32> {
    let mailbox = File::open(root.path("/dev/vcio")).ok()?;
    ioctl::throttled(&mailbox).ok()
}

/// What the supply of a Raspberry Pi 5 says it can give, in mA: a cell of the device tree, 0 where it says nothing.
fn supply(root: &Root) -> Option<u32> {
    let cell = root
        .bytes("/proc/device-tree/chosen/power/max_current")
        .ok()?;
    let cell = u32::from_be_bytes(cell.try_into().ok()?);
    (cell > 0).then_some(cell)
}

fn judge_power(now: bool, since_boot: bool) -> Finding {
    let finding = |output: &str| Finding::pass(Severity::Wanted, "voltage", output);
    if now {
        finding("undervoltage: the supply fell below 4.63 V").worse(Status::Fail, FIX)
    } else if since_boot {
        finding("the supply fell below 4.63 V since boot; now it holds").worse(Status::Warn, FIX)
    } else {
        finding("the supply holds its voltage")
    }
}

fn judge_throttling(word: u32) -> Finding {
    let set = |shift: u32| -> Vec<&str> {
        let bits = SLOWED.iter().filter(|(at, _)| bit(word, at + shift));
        bits.map(|(_, words)| *words).collect()
    };
    let finding = |output: String| Finding::pass(Severity::Wanted, "state", output);
    let fix = "give the board air or a heat sink, and a supply that is strong enough";
    match (set(0), set(SINCE_BOOT)) {
        (now, _) if !now.is_empty() => finding(now.join(", ")).worse(Status::Warn, fix),
        (_, since) if !since.is_empty() => {
            finding(format!("not now, but since boot: {}", since.join(", ")))
                .worse(Status::Warn, fix)
        }
        _ => finding("the chip runs as fast as it can".into()),
    }
}

fn judge_supply(milliamperes: u32) -> Finding {
    let amperes = f64::from(milliamperes) / 1000.0;
    let finding = Finding::pass(
        Severity::Info,
        "current",
        format!("the supply offers {amperes:.1} A"),
    )
    .observed(amperes, "amperes");
    if milliamperes < PI_5 {
        return finding.worse(
            Status::Warn,
            "a Raspberry Pi 5 wants 5 A: with less its USB ports get 0.6 A together, and disks on them fail",
        );
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn board_without_a_detector_is_unknown_not_good() {
        let (_dir, root) = tree(&[("/sys/class/hwmon/hwmon0/name", "cpu_thermal\n")]);
        assert_eq!(undervoltage(&root), None);
        let (_dir, root) = tree(&[
            ("/sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("/sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
        ]);
        assert_eq!(undervoltage(&root), Some(true));
    }

    #[test]
    fn what_was_bad_since_boot_is_not_well() {
        for (now, since, status) in [
            (false, false, Status::Pass),
            (false, true, Status::Warn),
            (true, true, Status::Fail),
        ] {
            assert_eq!(judge_power(now, since).status, status);
        }
    }

    #[test]
    fn words_of_the_firmware_from_bug_reports_are_read() {
        // 0x50005 is the classic of a weak supply, 0x80008 a 3B+ at 60 °C, 0xe0008 one that was slowed down before.
        for (word, status, words) in [
            (0x0, Status::Pass, "as fast as"),
            (0x50000, Status::Warn, "since boot: the firmware slows"),
            (0x50005, Status::Warn, "the firmware slows the chip down"),
            (0x80008, Status::Warn, "soft limit"),
            (0xe0008, Status::Warn, "soft limit"),
            (0x20000, Status::Warn, "since boot: the firmware holds"),
            (0x10001, Status::Pass, "as fast as"),
        ] {
            let found = judge_throttling(word);
            assert_eq!(found.status, status, "{word:#x}");
            assert!(found.output.contains(words), "{word:#x}: {}", found.output);
        }
    }

    #[test]
    fn a_file_in_the_mailboxs_place_and_a_short_cell_say_nothing() {
        let (_dir, root) = tree(&[
            ("/dev/vcio", "50005"),
            ("/proc/device-tree/chosen/power/max_current", "x"),
        ]);
        assert_eq!((throttled(&root), supply(&root)), (None, None));
        let (_dir, root) = tree(&[(
            "/proc/device-tree/chosen/power/max_current",
            "\0\0\u{b}\u{7f}",
        )]);
        assert_eq!(supply(&root), Some(0xb7f));
        assert_eq!(judge_supply(3000).status, Status::Warn);
        assert_eq!(judge_supply(5000).status, Status::Pass);
    }
}
