//! Heat: the temperature of the chip, beside the points at which the kernel does something about it.

use super::{Finding, Found, Look, Root};
use crate::report::{Severity, Status};

/// What is said where it cannot be measured.
pub(crate) const NONE: &str = "unknown: this board has no thermometer";
/// Where the kernel says nothing about when it begins to slow the chip down, and when it stops the board.
const SLOW: f64 = 80.0;
const STOP: f64 = 95.0;
/// So near to the point at which the kernel stops the board is as bad as it gets.
const NEAR: f64 = 5.0;

/// The points at which something happens, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Trips {
    slow: f64,
    stop: f64,
}

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    if let Some(celsius) = temperature(look.root) {
        found.gauge("temperature_celsius", celsius);
        found.add("temperature", judge_heat(celsius, trips(look.root)));
    } else {
        found.add("temperature", Finding::unknown("temperature", NONE));
    }
    found
}

/// The lowest trip points of all zones (Documentation/driver-api/thermal/sysfs-api.rst): `passive` and `hot` are where it slows down,
/// `critical` is where the kernel switches the board off. Points for fans (`active`) say nothing.
fn trips(root: &Root) -> Trips {
    let zones = "/sys/class/thermal";
    let (mut slow, mut stop): (Option<f64>, Option<f64>) = (None, None);
    let all = root.names(zones);
    for zone in all.iter().filter(|name| name.starts_with("thermal_zone")) {
        for file in root.names(format!("{zones}/{zone}")) {
            let Some(point) = file
                .strip_suffix("_type")
                .filter(|point| point.starts_with("trip_point_"))
            else {
                continue;
            };
            let celsius = root
                .number(format!("{zones}/{zone}/{point}_temp"))
                .map(|m| m / 1000.0);
            let Some(celsius) = celsius.filter(|c| (40.0..130.0).contains(c)) else {
                continue;
            };
            match root
                .text(format!("{zones}/{zone}/{file}"))
                .unwrap_or_default()
                .trim()
            {
                "passive" | "hot" => slow = Some(slow.map_or(celsius, |s| s.min(celsius))),
                "critical" => stop = Some(stop.map_or(celsius, |s| s.min(celsius))),
                _ => {}
            }
        }
    }
    let stop = stop.unwrap_or(STOP);
    // A point that is never reached before the board stops says nothing.
    let slow = slow.filter(|slow| *slow < stop - NEAR);
    Trips {
        slow: slow.unwrap_or(SLOW.min(stop - NEAR)),
        stop,
    }
}

/// The hottest thermal zone. Zones that cannot be read now (EAGAIN, EINVAL while asleep) are left out.
pub(crate) fn temperature(root: &Root) -> Option<f64> {
    let zones = "/sys/class/thermal";
    root.names(zones)
        .iter()
        .filter(|name| name.starts_with("thermal_zone"))
        .filter_map(|name| root.number(format!("{zones}/{name}/temp")))
        .map(|millidegrees| millidegrees / 1000.0)
        .filter(|celsius| (-60.0..250.0).contains(celsius))
        .reduce(f64::max)
}

fn judge_heat(celsius: f64, trips: Trips) -> Finding {
    let Trips { slow, stop } = trips;
    let finding = Finding::pass(Severity::Wanted, "temperature", format!("{celsius:.0} °C"))
        .observed(celsius, "celsius");
    let fix = format!(
        "give the board air or a heat sink: from {slow:.0} °C it slows down, at {stop:.0} °C it switches itself off"
    );
    if celsius >= stop - NEAR {
        finding.worse(Status::Fail, fix)
    } else if celsius >= slow {
        finding.worse(Status::Warn, fix)
    } else {
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn hot_chip_warns_then_fails() {
        let (_dir, root) = tree(&[]);
        for (celsius, status) in [
            (79.9, Status::Pass),
            (80.0, Status::Warn),
            (90.0, Status::Fail),
        ] {
            assert_eq!(
                judge_heat(celsius, trips(&root)).status,
                status,
                "{celsius}"
            );
        }
    }

    #[test]
    fn the_boards_own_trip_points_count() {
        // Type and millidegrees as sun8i-h3 (passive 70, hot 80, critical 105), bcm2711 (critical 110) and rk3399 boards have them.
        for (points, slow, stop) in [
            (
                &[("passive", 70_000), ("hot", 80_000), ("critical", 105_000)][..],
                70.0,
                105.0,
            ),
            (&[("critical", 110_000)][..], 80.0, 110.0),
            (
                &[
                    ("active", 50_000),
                    ("passive", 70_000),
                    ("critical", 95_000),
                ][..],
                70.0,
                95.0,
            ),
            (&[("passive", 0), ("critical", -274_000)][..], 80.0, 95.0),
            (&[("critical", 75_000)][..], 70.0, 75.0),
        ] {
            let files: Vec<(String, String)> = points
                .iter()
                .enumerate()
                .flat_map(|(n, (kind, value))| {
                    let point = format!("/sys/class/thermal/thermal_zone0/trip_point_{n}");
                    [
                        (format!("{point}_type"), format!("{kind}\n")),
                        (format!("{point}_temp"), format!("{value}\n")),
                    ]
                })
                .collect();
            let files: Vec<(&str, &str)> = files
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .collect();
            let (_dir, root) = tree(&files);
            assert_eq!(trips(&root), Trips { slow, stop }, "{points:?}");
        }
    }

    #[test]
    fn hottest_believable_zone_counts() {
        let (_dir, root) = tree(&[
            ("/sys/class/thermal/thermal_zone0/temp", "48123\n"),
            ("/sys/class/thermal/thermal_zone1/temp", "61000\n"),
            ("/sys/class/thermal/thermal_zone2/temp", "-274000\n"),
            ("/sys/class/thermal/thermal_zone3/temp", "\n"),
            ("/sys/class/thermal/cooling_device0/temp", "99000\n"),
        ]);
        assert_eq!(temperature(&root), Some(61.0));
    }
}
