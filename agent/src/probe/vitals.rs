//! Owns the numbers that every machine has: memory, swap, load, processors, and what the agent itself takes. sysinfo reads them.

use sysinfo::{
    CpuRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System, get_current_pid,
};

/// What a [`Meter`] reads. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Vitals {
    /// Memory the kernel can use.
    pub memory_total: u64,
    /// Memory that programs can still have, caches included; 0 of 0 when the kernel says nothing.
    pub memory_available: u64,
    /// Size of swap.
    pub swap_total: u64,
    /// Swap that is not used.
    pub swap_free: u64,
    /// Tasks that run or wait, mean of a minute.
    pub load1: Option<f64>,
    /// Processors.
    pub processors: usize,
    /// What this process has in memory.
    pub own_memory: Option<u64>,
}

/// Reads the running machine.
#[derive(Debug, Default)]
pub struct Meter(Option<System>);

impl Meter {
    /// The numbers of this moment, out of a few small files of the kernel. A machine that cannot be read has none.
    pub fn read(&mut self) -> Vitals {
        // The processors are counted once.
        let once = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        if self.0.is_none() {
            self.0 = System::new_with_specifics(once).ok();
        }
        let load1 = System::load_average().ok().map(|load| load.one);
        let Some(system) = &mut self.0 else {
            return Vitals {
                load1,
                ..Vitals::default()
            };
        };
        system.refresh_memory();
        Vitals {
            memory_total: system.total_memory(),
            memory_available: system.available_memory(),
            swap_total: system.total_swap(),
            swap_free: system.free_swap(),
            load1,
            processors: system.cpus().len(),
            own_memory: own_memory(system),
        }
    }
}

fn own_memory(system: &mut System) -> Option<u64> {
    let own = get_current_pid().ok()?;
    let memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, memory);
    Some(system.process(own)?.memory())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_reads_what_the_kernel_says_and_reads_it_again() {
        let mut meter = Meter::default();
        for _ in 0..2 {
            let read = meter.read();
            let text = std::fs::read_to_string("/proc/meminfo").expect("a Linux machine");
            let kib = |name: &str| -> u64 {
                let line = text.lines().find(|l| l.starts_with(name)).expect(name);
                let value = line.split_whitespace().nth(1).expect("a value");
                value.parse().expect("a number")
            };
            assert_eq!(read.memory_total, kib("MemTotal:") * 1024);
            assert_eq!(read.swap_total, kib("SwapTotal:") * 1024);
            // It changes between the two readings.
            let available = kib("MemAvailable:") * 1024;
            assert!(
                read.memory_available.abs_diff(available) < read.memory_total / 4,
                "{read:?}"
            );
            assert!(read.own_memory.expect("this process") > 1 << 20, "{read:?}");
            let processors = std::thread::available_parallelism().expect("a number");
            assert!(read.processors >= processors.get(), "{read:?}");
            assert!(read.load1.expect("a load") >= 0.0, "{read:?}");
        }
    }
}
