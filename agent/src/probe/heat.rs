//! Heat and power: temperature of the chip, undervoltage of Raspberry Pi boards.

use super::{Finding, Found, Look, Root};
use crate::report::{Severity, Status};

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    if let Some(celsius) = temperature(look.root) {
        found.gauge("temperature_celsius", celsius);
        found.add("temperature", judge_heat(celsius));
    } else {
        let output = "unknown: this board has no thermometer";
        found.add("temperature", Finding::unknown("temperature", output));
    }
    if let Some(alarm) = undervoltage(look.root) {
        found.gauge("power_undervoltage", f64::from(u8::from(alarm)));
        found.add("power", judge_power(alarm));
    } else {
        let output = "unknown: this board has no detector of undervoltage";
        found.add("power", Finding::unknown("voltage", output));
    }
    found
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

fn judge_heat(celsius: f64) -> Finding {
    let finding = Finding::pass(Severity::Wanted, "temperature", format!("{celsius:.0} °C"))
        .observed(celsius, "celsius");
    let fix = "give the board air or a heat sink; the chip slows down from about 80 °C";
    if celsius >= 90.0 {
        finding.worse(Status::Fail, fix)
    } else if celsius >= 80.0 {
        finding.worse(Status::Warn, fix)
    } else {
        finding
    }
}

fn judge_power(undervoltage: bool) -> Finding {
    if !undervoltage {
        return Finding::pass(Severity::Wanted, "voltage", "the supply holds its voltage");
    }
    Finding::pass(
        Severity::Wanted,
        "voltage",
        "undervoltage: the supply fell below 4.63 V",
    )
    .worse(
        Status::Fail,
        "use a stronger supply and a shorter, thicker cable; undervoltage ruins cards",
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    #[test]
    fn hot_chip_warns_then_fails() {
        for (celsius, status) in [
            (79.9, Status::Pass),
            (80.0, Status::Warn),
            (90.0, Status::Fail),
        ] {
            assert_eq!(judge_heat(celsius).status, status, "{celsius}");
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
        assert_eq!(judge_power(true).status, Status::Fail);
    }
}
