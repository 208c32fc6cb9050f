//! All cores busy for a while: what is read back from memory, how hot the board becomes, whether its supply holds, whether it has to
//! slow down.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Measure, Measures};
use crate::probe::{Root, heat, power};
use crate::report::Status;

/// Of the memory that is free, so many hundredths are tried; and never more than this in all.
const SHARE: u64 = 50;
const MOST: u64 = 512 << 20;
const SAMPLE: Duration = Duration::from_millis(500);
/// Below this share of its clock a core was slowed down.
const SLOW: f64 = 0.9;

/// What was seen while it lasted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Seen {
    /// Bytes of memory that were written and read, in all.
    tried: u64,
    /// Words that were read otherwise than they were written.
    wrong: u64,
    /// The hottest.
    celsius: Option<f64>,
    /// The supply fell.
    undervoltage: Option<bool>,
    /// The lowest clock as a share of the highest there is.
    clock: Option<f64>,
}

/// Makes the board busy for so long, with a share of the `free` bytes of memory. The first memory that does not hold is enough.
pub fn load(
    root: &Root,
    free: u64,
    lasts: Duration,
    mut tell: impl FnMut(&'static str, u64),
) -> Measures {
    let (stop, tried, wrong) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let bytes = (free / 100 * SHARE).min(MOST);
    let words = usize::try_from(bytes / threads / 8).unwrap_or(0);
    let mut seen = Seen::default();
    std::thread::scope(|scope| {
        for n in 0..threads {
            let (stop, tried, wrong) = (&stop, &tried, &wrong);
            scope.spawn(move || {
                let mut memory = vec![0_u64; words];
                let mut pass = n << 32;
                loop {
                    wrong.fetch_add(differs(&mut memory, pass), Ordering::Relaxed);
                    tried.fetch_add(words as u64 * 8, Ordering::Relaxed);
                    pass += 1;
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < lasts {
            sample(root, &mut seen);
            let percent = began.elapsed().as_millis() * 100 / lasts.as_millis().max(1);
            tell("load", u64::try_from(percent).unwrap_or(100).min(100));
            std::thread::sleep(SAMPLE.min(lasts));
        }
        sample(root, &mut seen);
        stop.store(true, Ordering::Relaxed);
    });
    (seen.tried, seen.wrong) = (tried.into_inner(), wrong.into_inner());
    judge(seen)
}

/// Each word its own place and pass, then the opposite of it: a line that is stuck or crossed shows.
fn differs(memory: &mut [u64], pass: u64) -> u64 {
    let pattern = |n: usize| (n as u64 ^ pass).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut wrong = 0;
    for opposite in [0, u64::MAX] {
        for (n, word) in memory.iter_mut().enumerate() {
            *word = pattern(n) ^ opposite;
        }
        // or the compiler knows what it will read
        let memory = std::hint::black_box(&mut *memory);
        for (n, word) in memory.iter().enumerate() {
            wrong += u64::from(*word != pattern(n) ^ opposite);
        }
    }
    wrong
}

fn sample(root: &Root, seen: &mut Seen) {
    let now = heat::temperature(root);
    // none is less than any
    seen.celsius = seen
        .celsius
        .map_or(now, |before| Some(now.map_or(before, |n| n.max(before))));
    if let Some(alarm) = power::undervoltage(root) {
        seen.undervoltage = Some(alarm || seen.undervoltage == Some(true));
    }
    let policies = "/sys/devices/system/cpu/cpufreq";
    for policy in root.names(policies) {
        let number = |file: &str| root.number(format!("{policies}/{policy}/{file}"));
        if let (Some(now), Some(highest)) = (number("scaling_cur_freq"), number("cpuinfo_max_freq"))
            && highest > 0.0
        {
            let share = now / highest;
            seen.clock = Some(seen.clock.map_or(share, |s| s.min(share)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes below 2^53, to be shown")]
fn judge(seen: Seen) -> Measures {
    let megabytes = seen.tried as f64 / 1e6;
    let output = format!(
        "{megabytes:.0} MB were written and read, {} words were not as written",
        seen.wrong
    );
    let mut memory = Measure::pass(output).of(megabytes, "MB");
    if seen.wrong > 0 {
        memory = memory.worse(
            Status::Fail,
            "the memory, or its supply, is broken: replace the board",
        );
    }
    let heat = match seen.celsius {
        None => Measure::pass(heat::NONE),
        Some(celsius) => {
            let heat = Measure::pass(format!("{celsius:.0} °C under load")).of(celsius, "celsius");
            let fix = "give the board air or a heat sink; the chip slows down from about 80 °C";
            match celsius {
                90.0.. => heat.worse(Status::Fail, fix),
                80.0.. => heat.worse(Status::Warn, fix),
                _ => heat,
            }
        }
    };
    let power = match seen.undervoltage {
        None => Measure::pass(power::NONE),
        Some(false) => Measure::pass("the supply holds its voltage under load"),
        Some(true) => {
            Measure::pass("the supply fell below 4.63 V under load").worse(Status::Fail, power::FIX)
        }
    };
    let clock = seen.clock.map(|share| {
        let clock = Measure::pass(format!("{:.0} % of its clock under load", share * 100.0))
            .of(share * 100.0, "percent");
        if share < SLOW {
            let fix = "it is too hot, its supply is weak, or its governor is not for speed";
            clock.worse(Status::Warn, fix)
        } else {
            clock
        }
    });
    let named = [("memory", memory), ("heat", heat), ("power", power)];
    named
        .into_iter()
        .chain(clock.map(|c| ("clock", c)))
        .map(|(name, m)| (format!("load-{name}"), m))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::tree;

    #[test]
    fn memory_that_does_not_hold_heat_and_a_weak_supply_are_seen() {
        for (danger, seen, name, status) in [
            ("well", Seen::default(), "load-memory", Status::Pass),
            (
                "a bit",
                Seen {
                    wrong: 1,
                    ..Seen::default()
                },
                "load-memory",
                Status::Fail,
            ),
            (
                "hot",
                Seen {
                    celsius: Some(84.0),
                    ..Seen::default()
                },
                "load-heat",
                Status::Warn,
            ),
            (
                "weak",
                Seen {
                    undervoltage: Some(true),
                    ..Seen::default()
                },
                "load-power",
                Status::Fail,
            ),
            (
                "slowed",
                Seen {
                    clock: Some(0.4),
                    ..Seen::default()
                },
                "load-clock",
                Status::Warn,
            ),
        ] {
            assert_eq!(judge(seen)[name].status, status, "{danger}");
        }
    }

    #[test]
    fn a_short_load_is_made_and_told() {
        let (_dir, root) = tree(&[
            ("/sys/class/thermal/thermal_zone0/temp", "51000\n"),
            (
                "/sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq",
                "600000\n",
            ),
            (
                "/sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq",
                "1500000\n",
            ),
        ]);
        let mut told = Vec::new();
        let measures = load(&root, 4 << 20, Duration::from_millis(50), |_, percent| {
            told.push(percent);
        });
        assert!(!told.is_empty());
        assert_eq!(measures["load-memory"].status, Status::Pass);
        assert!(measures["load-memory"].value.is_some_and(|mb| mb >= 2.0));
        assert_eq!(measures["load-heat"].value, Some(51.0));
        assert_eq!(measures["load-clock"].status, Status::Warn, "40 %");
    }

    #[test]
    fn each_word_of_memory_is_looked_at() {
        let mut memory = vec![0; 1000];
        assert_eq!(differs(&mut memory, 3), 0);
    }
}
