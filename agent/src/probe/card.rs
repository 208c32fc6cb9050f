//! The card: wear of eMMC, errors of ext4, and how long a write takes.

use anyhow::Result;

use super::recent::grew;
use super::{Finding, Found, Look, Root};
use crate::report::{Severity, Status};

/// A few come while the kernel tries how fast a card can be.
const BUS_ERRORS: f64 = 10.0;
/// So few writes say nothing about their latency.
const SAMPLE: f64 = 10.0;

/// Counters of `/proc/diskstats` (Documentation/admin-guide/iostats.rst), summed over whole disks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Writes {
    completed: f64,
    milliseconds: f64,
    bytes: f64,
}

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let mut found = Found::default();
    for device in look
        .root
        .names("/sys/block")
        .iter()
        .filter(|name| is_card(name))
    {
        if let Some(wear) = wear(look.root, device) {
            found.gauge("card_wear_ratio", f64::from(wear.used) / 10.0);
            found.add("card-wear", judge_wear(wear));
        } else {
            let output = "unknown: SD cards do not tell how worn they are";
            found.add("card-wear", Finding::unknown("wear", output));
        }
    }
    if let Some(errors) = bus_errors(look.root) {
        found.gauge("card_bus_errors", errors);
        let news = grew(&mut found, look, "card_bus_errors", errors, BUS_ERRORS);
        found.add("card-bus", judge_bus(errors, news.is_some()));
    }
    if let Some(errors) = ext4_errors(look.root) {
        found.gauge("ext4_errors", errors);
        found.add("card-errors", judge_errors(errors));
    }
    let writes = writes(&look.root.text("/proc/diskstats")?);
    found.gauge("card_writes", writes.completed);
    found.gauge("card_write_milliseconds", writes.milliseconds);
    found.gauge("card_written_bytes", writes.bytes);
    let before = look
        .context
        .previous
        .filter(|p| p.uptime < look.uptime)
        .and_then(|previous| {
            Some(Writes {
                completed: *previous.gauges.get("card_writes")?,
                milliseconds: *previous.gauges.get("card_write_milliseconds")?,
                bytes: 0.0,
            })
        });
    found.add(
        "card-latency",
        judge_latency(before.unwrap_or_default(), writes),
    );
    Ok(found)
}

/// `mmcblk0`, and not its boot areas (`mmcblk0boot0`).
fn is_card(name: &str) -> bool {
    let digits = name.strip_prefix("mmcblk");
    digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|c| c.is_ascii_digit()))
}

/// Errors on the wires between board and card, of all slots (drivers/mmc/core/debugfs.c, `err_stats`). Commands that time out are
/// left out: that is how the kernel finds out which kind of card there is.
fn bus_errors(root: &Root) -> Option<f64> {
    const COUNTED: &[&str] = &[
        "Command CRC Errors Occurred",
        "Data Timeout Occurred",
        "Data CRC Errors Occurred",
        "ADMA Error Occurred",
        "Controller Timedout errors",
    ];
    let debug = "/sys/kernel/debug";
    let names = root.names(debug);
    let slots = names.iter().filter(|name| name.starts_with("mmc"));
    slots
        .filter_map(|name| root.text(format!("{debug}/{name}/err_stats")).ok())
        .map(|text| {
            let counted = text.lines().filter_map(|line| {
                let (name, count) = line.trim_start_matches("# ").split_once(':')?;
                COUNTED
                    .contains(&name.trim())
                    .then(|| count.trim().parse::<f64>().ok())?
            });
            counted.sum::<f64>()
        })
        .reduce(|a, b| a + b)
}

fn judge_bus(errors: f64, lately: bool) -> Finding {
    let output = format!("{errors:.0} errors on the way to the card since boot");
    let finding = Finding::pass(Severity::Wanted, "errors", output).observed(errors, "errors");
    if lately {
        return finding.worse(
            Status::Warn,
            "clean the card's contacts and push it in anew; then try another supply, then another card",
        );
    }
    finding
}

/// What an eMMC says of itself (Documentation/ABI/testing/sysfs-bus-mmc); SD cards say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wear {
    /// Worst estimate, in tenths of its life: 1 means up to 10 %; 11 means beyond it.
    used: u8,
    /// 1 normal, 2 warning (80 % of the reserve used), 3 urgent.
    end: u8,
}

fn wear(root: &Root, device: &str) -> Option<Wear> {
    let life = root
        .text(format!("/sys/block/{device}/device/life_time"))
        .ok()?;
    let end = root
        .text(format!("/sys/block/{device}/device/pre_eol_info"))
        .unwrap_or_default();
    let hex = |text: &str| u8::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let used = life.split_whitespace().filter_map(hex).max()?;
    // 0: not defined by this device.
    (used > 0).then(|| Wear {
        used,
        end: hex(&end).unwrap_or(0),
    })
}

fn judge_wear(wear: Wear) -> Finding {
    let percent = f64::from(wear.used) * 10.0;
    let finding = Finding::pass(
        Severity::Wanted,
        "wear",
        format!("up to {percent:.0} % of its life is used"),
    )
    .observed(percent, "percent");
    let fix = "save your data and plan to replace this eMMC";
    if wear.end >= 3 || wear.used >= 11 {
        finding.worse(Status::Fail, fix)
    } else if wear.end == 2 || wear.used >= 9 {
        finding.worse(Status::Warn, fix)
    } else {
        finding
    }
}

/// Errors that ext4 recorded in the superblocks of the mounted file systems.
fn ext4_errors(root: &Root) -> Option<f64> {
    root.names("/sys/fs/ext4")
        .iter()
        .filter_map(|device| root.number(format!("/sys/fs/ext4/{device}/errors_count")))
        .reduce(|a, b| a + b)
}

fn judge_errors(errors: f64) -> Finding {
    let finding = Finding::pass(
        Severity::Wanted,
        "errors",
        format!("{errors:.0} file system errors"),
    )
    .observed(errors, "errors");
    if errors > 0.0 {
        return finding.worse(Status::Fail, "save your data; check the file system with fsck at the next boot, replace the card if errors come back");
    }
    finding
}

fn writes(diskstats: &str) -> Writes {
    diskstats
        .lines()
        .filter_map(disk)
        .fold(Writes::default(), |sum, one| Writes {
            completed: sum.completed + one.completed,
            milliseconds: sum.milliseconds + one.milliseconds,
            bytes: sum.bytes + one.bytes,
        })
}

/// One line of a whole disk that is a card or a disk: partitions, loops and RAM disks are left out.
fn disk(line: &str) -> Option<Writes> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let name = fields.get(2)?;
    let letters = |prefix: &str| {
        let rest = name.strip_prefix(prefix)?;
        (!rest.is_empty() && rest.bytes().all(|c| c.is_ascii_lowercase())).then_some(())
    };
    let digits = |prefix: &str| {
        let rest = name.strip_prefix(prefix)?;
        (!rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit())).then_some(())
    };
    letters("vd")
        .or_else(|| letters("sd"))
        .or_else(|| digits("mmcblk"))?;
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Writes {
        completed: number(7)?,
        bytes: number(9)? * 512.0,
        milliseconds: number(10)?,
    })
}

fn judge_latency(before: Writes, now: Writes) -> Finding {
    let (count, time) = (
        now.completed - before.completed,
        now.milliseconds - before.milliseconds,
    );
    if count < SAMPLE || time < 0.0 {
        return Finding::pass(Severity::Wanted, "responseTime", "too few writes to tell");
    }
    let mean = time / count;
    let finding = Finding::pass(
        Severity::Wanted,
        "responseTime",
        format!("a write takes {mean:.0} ms"),
    )
    .observed(mean.round(), "milliseconds");
    // Dying cards were seen to take 3 to 17 seconds for a write.
    if mean >= 1000.0 {
        return finding.worse(
            Status::Warn,
            "the card is overloaded or dying: save your data, then try another card",
        );
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn worn_emmc_warns_then_fails_and_sd_cards_are_unknown() {
        for (life, end, status) in [
            ("0x01 0x02", "0x01", Some(Status::Pass)),
            ("0x01 0x09", "0x01", Some(Status::Warn)),
            ("0x0b 0x01", "0x01", Some(Status::Fail)),
            ("0x02 0x01", "0x02", Some(Status::Warn)),
            ("0x02 0x01", "0x03", Some(Status::Fail)),
            ("0x00 0x00", "0x00", None),
        ] {
            let (_dir, root) = tree(&[
                ("/sys/block/mmcblk0/device/life_time", life),
                ("/sys/block/mmcblk0/device/pre_eol_info", end),
            ]);
            assert_eq!(
                wear(&root, "mmcblk0").map(|w| judge_wear(w).status),
                status,
                "{life} {end}"
            );
        }
        let (_dir, root) = tree(&[]);
        assert_eq!(wear(&root, "mmcblk0"), None);
    }

    #[test]
    fn crc_errors_of_the_card_are_counted_and_lost_commands_are_not() {
        let text = "# Command Timeout Occurred:\t 4711\n# Command CRC Errors Occurred:\t 1\n# Data Timeout Occurred:\t 2\n\
            # Data CRC Errors Occurred:\t 30\n# Auto-Cmd Error Occurred:\t 500\n# Tuning Error Occurred:\t 600\n";
        let (_dir, root) = tree(&[
            ("/sys/kernel/debug/mmc0/err_stats", text),
            (
                "/sys/kernel/debug/mmc1/err_stats",
                "# Data CRC Errors Occurred:\t 7\n",
            ),
            ("/sys/kernel/debug/usb/err_stats", text),
        ]);
        assert_eq!(bus_errors(&root), Some(40.0));
        let (_dir, root) = tree(&[("/sys/kernel/debug/mmc0/ios", "")]);
        assert_eq!(bus_errors(&root), None);
        assert_eq!(judge_bus(40.0, true).status, Status::Warn);
        assert_eq!(judge_bus(40.0, false).status, Status::Pass);
        assert!(is_card("mmcblk0") && !is_card("mmcblk0boot0") && !is_card("vda"));
    }

    #[test]
    fn ext4_errors_of_all_file_systems_count() {
        let (_dir, root) = tree(&[
            ("/sys/fs/ext4/vda7/errors_count", "0\n"),
            ("/sys/fs/ext4/sda1/errors_count", "2\n"),
        ]);
        assert_eq!(ext4_errors(&root), Some(2.0));
        assert_eq!(judge_errors(2.0).status, Status::Fail);
        assert_eq!(judge_errors(0.0).status, Status::Pass);
    }

    #[test]
    fn only_whole_disks_are_summed() {
        let text = " 254 0 vda 1 0 2 3 100 0 200 5000 0 0 0\n 254 1 vda1 1 0 2 3 100 0 200 5000 0 0 0\n \
                    179 0 mmcblk0 1 0 2 3 10 0 20 50 0 0 0\n 179 1 mmcblk0p1 1 0 2 3 10 0 20 50 0 0 0\n \
                    7 0 loop0 1 0 2 3 10 0 20 50 0 0 0\n short\n";
        let sum = writes(text);
        assert_eq!(
            (sum.completed, sum.bytes, sum.milliseconds),
            (110.0, 220.0 * 512.0, 5050.0)
        );
    }

    #[test]
    fn slow_writes_warn_when_there_are_enough_of_them() {
        let at = |completed, milliseconds| Writes {
            completed,
            milliseconds,
            bytes: 0.0,
        };
        for (before, now, status) in [
            (at(0.0, 0.0), at(9.0, 90_000.0), Status::Pass),
            (at(0.0, 0.0), at(10.0, 10_000.0), Status::Warn),
            (at(90.0, 0.0), at(100.0, 9_990.0), Status::Pass),
            (at(100.0, 5.0), at(120.0, 0.0), Status::Pass),
        ] {
            assert_eq!(judge_latency(before, now).status, status);
        }
    }
}
