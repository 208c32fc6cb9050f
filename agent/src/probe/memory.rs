//! Memory: what is available, and how long tasks wait for it.

use anyhow::{Context as _, Result};

use super::{Finding, Found, Look};
use crate::report::{Severity, Status};

/// Values of `/proc/meminfo`, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Memory {
    total: f64,
    available: f64,
    swap_total: f64,
    swap_free: f64,
}

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let memory = parse(&look.root.text("/proc/meminfo")?)?;
    // Kernels without CONFIG_PSI, or that wait for psi=1, have no such file: unknown is not bad.
    let pressure = look.root.text("/proc/pressure/memory").ok();
    let pressure = pressure.as_deref().and_then(full_avg60);
    let mut found = Found::default();
    found.gauge("memory_total_bytes", memory.total * 1024.0);
    found.gauge("memory_available_bytes", memory.available * 1024.0);
    found.gauge("swap_total_bytes", memory.swap_total * 1024.0);
    found.gauge("swap_free_bytes", memory.swap_free * 1024.0);
    if let Some(pressure) = pressure {
        found.gauge("memory_pressure_ratio", pressure / 100.0);
    }
    if let Some(kills) = vmstat(
        &look.root.text("/proc/vmstat").unwrap_or_default(),
        "oom_kill",
    ) {
        found.gauge("oom_kills", kills);
    }
    found.add("memory", judge(memory, pressure));
    Ok(found)
}

fn judge(memory: Memory, pressure: Option<f64>) -> Finding {
    let used = 100.0 * (1.0 - memory.available / memory.total.max(1.0));
    let output = format!(
        "{:.0} of {:.0} MiB available",
        memory.available / 1024.0,
        memory.total / 1024.0
    );
    let mut finding =
        Finding::pass(Severity::Required, "utilization", output).observed(used, "percent");
    let fix = "stop a container or give it a memory limit; docker stats shows who uses the memory";
    if used >= 98.0 {
        finding = finding.worse(Status::Fail, fix);
    } else if used >= 90.0 {
        finding = finding.worse(Status::Warn, fix);
    }
    match pressure {
        // All tasks stood still for memory this share of the last minute.
        Some(share) if share >= 20.0 => {
            let thrashing = "the board is thrashing: stop a container or give it a memory limit";
            finding.output = format!(
                "all tasks wait for memory {share:.0} % of the time, {}",
                finding.output
            );
            finding.worse(Status::Warn, thrashing)
        }
        _ => finding,
    }
}

fn parse(meminfo: &str) -> Result<Memory> {
    let value = |name: &str| {
        meminfo.lines().find_map(|line| {
            let (key, rest) = line.split_once(':')?;
            (key == name).then(|| rest.trim().trim_end_matches(" kB").parse::<f64>().ok())?
        })
    };
    Ok(Memory {
        total: value("MemTotal").context("/proc/meminfo has no MemTotal")?,
        available: value("MemAvailable").context("/proc/meminfo has no MemAvailable")?,
        swap_total: value("SwapTotal").unwrap_or(0.0),
        swap_free: value("SwapFree").unwrap_or(0.0),
    })
}

/// The `avg60` of the `full` line of a pressure file, in percent.
fn full_avg60(pressure: &str) -> Option<f64> {
    let line = pressure.lines().find(|line| line.starts_with("full "))?;
    let field = line
        .split(' ')
        .find_map(|field| field.strip_prefix("avg60="))?;
    field.parse().ok()
}

/// One counter of `/proc/vmstat`.
fn vmstat(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(available: f64) -> Memory {
        Memory {
            total: 1000.0 * 1024.0,
            available: available * 1024.0,
            ..Memory::default()
        }
    }

    #[test]
    fn little_memory_warns_and_none_fails() {
        for (available, status) in [
            (500.0, Status::Pass),
            (101.0, Status::Pass),
            (100.0, Status::Warn),
            (21.0, Status::Warn),
            (20.0, Status::Fail),
            (0.0, Status::Fail),
        ] {
            assert_eq!(judge(memory(available), None).status, status, "{available}");
        }
    }

    #[test]
    fn thrashing_warns_although_memory_seems_free() {
        assert_eq!(judge(memory(500.0), Some(19.9)).status, Status::Pass);
        assert_eq!(judge(memory(500.0), Some(20.0)).status, Status::Warn);
    }

    #[test]
    fn kernel_text_is_read() {
        let text = "MemTotal:        2048 kB\nMemFree: 5 kB\nMemAvailable:    1024 kB\nSwapTotal: 7 kB\nSwapFree: 6 kB\nHugePages_Total: 0\n";
        let read = parse(text).expect("whole");
        assert_eq!(
            (read.total, read.available, read.swap_free),
            (2048.0, 1024.0, 6.0)
        );
        assert!(parse("MemTotal: 5 kB").is_err());
        let pressure = "some avg10=0.00 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=2.50 avg300=0.00 total=1\n";
        assert_eq!(full_avg60(pressure), Some(2.5));
        assert_eq!(full_avg60(""), None);
        assert_eq!(vmstat("oom_kill_x 3\noom_kill 4\n", "oom_kill"), Some(4.0));
    }
}
