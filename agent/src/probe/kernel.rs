//! The kernel: how long it runs, how much it has to do, and whether it has hurt itself.

use anyhow::{Context as _, Result};

use super::{Finding, Found, Look, Root};
use crate::report::{Severity, Status};

/// Bits of `/proc/sys/kernel/tainted` that say that something broke
/// (Documentation/admin-guide/tainted-kernels.rst). Out-of-tree modules and the like are the owner's choice.
const BROKEN: &[(u32, &str)] = &[
    (4, "a machine check happened"),
    (5, "a bad page was found"),
    (7, "the kernel had an oops"),
    (9, "the kernel gave a warning"),
    (14, "a processor was locked up"),
];

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let mut found = Found::default();
    found.gauge("uptime_seconds", look.uptime);
    let vitals = &look.context.vitals;
    let load = vitals
        .load1
        .context("the kernel does not say how much it has to do")?;
    found.gauge("load1", load);
    found.add("load", judge_load(load, vitals.processors));
    let output = format!("up for {}", duration(look.uptime));
    let uptime =
        Finding::pass(Severity::Info, "uptime", output).observed(look.uptime.floor(), "seconds");
    found.add("uptime", uptime);
    if let Ok(tainted) = look.root.text("/proc/sys/kernel/tainted") {
        found.add("kernel", judge_taint(tainted.trim().parse().unwrap_or(0)));
    }
    Ok(found)
}

/// Seconds since boot.
pub fn uptime(root: &Root) -> Option<f64> {
    root.text("/proc/uptime")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

fn judge_load(load: f64, processors: usize) -> Finding {
    let output = format!("load {load:.1} on {processors} processors");
    let processors = f64::from(u32::try_from(processors.max(1)).unwrap_or(u32::MAX));
    let finding = Finding::pass(Severity::Info, "load", output).observed(load, "tasks");
    if load >= 4.0 * processors {
        return finding.worse(
            Status::Warn,
            "top or docker stats on the board show what keeps it busy",
        );
    }
    finding
}

fn judge_taint(bits: u64) -> Finding {
    let broken: Vec<&str> = BROKEN
        .iter()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, what)| *what)
        .collect();
    if broken.is_empty() {
        return Finding::pass(Severity::Wanted, "state", "no trouble since boot");
    }
    Finding::pass(Severity::Wanted, "state", broken.join(", ")).worse(
        Status::Warn,
        "journalctl -k on the board shows it; reboot when you have seen it",
    )
}

/// `3 days 4 h`, `4 h 5 min`, `5 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    let (hours, days) = ((minutes / 60.0).floor(), (minutes / 1440.0).floor());
    if days >= 1.0 {
        format!("{days:.0} days {:.0} h", hours - days * 24.0)
    } else if hours >= 1.0 {
        format!("{hours:.0} h {:.0} min", minutes - hours * 60.0)
    } else {
        format!("{minutes:.0} min")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_taints_that_mean_trouble_warn() {
        for (bits, status) in [
            (0, Status::Pass),
            (1 << 12, Status::Pass),
            (1 << 10, Status::Pass),
            (1 << 7, Status::Warn),
            (1 << 14 | 1 << 12, Status::Warn),
        ] {
            assert_eq!(judge_taint(bits).status, status, "{bits}");
        }
    }

    #[test]
    fn load_is_judged_per_processor() {
        assert_eq!(judge_load(15.9, 4).status, Status::Pass);
        assert_eq!(judge_load(16.0, 4).status, Status::Warn);
        assert_eq!(judge_load(4.0, 1).status, Status::Warn);
    }

    #[test]
    fn durations_read_well() {
        for (seconds, text) in [
            (59.0, "0 min"),
            (3_600.0, "1 h 0 min"),
            (266_460.0, "3 days 2 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
