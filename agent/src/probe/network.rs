//! The network: whether a cable or a radio is connected, how fast, and whether it holds. Names of interfaces (some hold a MAC
//! address) and numbers of each are for the owner.

use super::recent::{begin, grew};
use super::{Finding, Found, Look, Root};
use crate::report::{Severity, Status};

const INTERFACES: &str = "/sys/class/net";
/// Drivers of boards and adapters that can do 1000 Mbit/s: Raspberry Pi 4, 5, 3B+ (to its USB 2), Amlogic, Realtek, Intel.
const GIGABIT: &[&str] = &[
    "bcmgenet",
    "macb",
    "lan78xx",
    "meson8b-dwmac",
    "r8169",
    "r8152",
    "igb",
    "e1000e",
];
/// A cable that is pulled out and put back takes two changes; so many in a short time are a bad plug.
const FLAPS: f64 = 6.0;
/// In the first seconds of a boot links come and go by right: drivers load, netplan is carried out, a radio joins.
const STARTING: f64 = 300.0;
/// So many broken frames since the last time they grew are worth a word.
const ERRORS: f64 = 100.0;
/// Below this a radio link is slow and breaks, in dBm.
const WEAK: f64 = -75.0;

/// One interface that is a device: no bridge, no container's end.
#[derive(Debug, Clone, PartialEq, Default)]
struct Link {
    name: String,
    driver: String,
    carrier: bool,
    /// Mbit/s; radios have none.
    speed: Option<f64>,
    half: bool,
    errors: f64,
    changes: f64,
    /// dBm, of a radio.
    level: Option<f64>,
}

pub(super) fn probe(look: &Look<'_>) -> Found {
    let mut found = Found::default();
    let links = links(look.root);
    if links.is_empty() {
        found.add(
            "network",
            Finding::unknown("state", "unknown: the kernel shows no network device"),
        );
        return found;
    }
    let sum = |of: fn(&Link) -> f64| links.iter().map(of).sum::<f64>();
    let (errors, changes) = (sum(|l| l.errors), sum(|l| l.changes));
    found.gauge("network_errors", errors);
    found.gauge("network_carrier_changes", changes);
    let fastest = links.iter().filter(|l| l.carrier).filter_map(|l| l.speed);
    if let Some(fastest) = fastest.reduce(f64::max) {
        found.gauge("network_speed_bytes", fastest * 125_000.0);
    }
    let broken = grew(&mut found, look, "network_errors", errors, ERRORS).is_some();
    let flaps = if look.uptime < STARTING {
        begin(&mut found, look, "network_carrier_changes", changes);
        false
    } else {
        grew(&mut found, look, "network_carrier_changes", changes, FLAPS).is_some()
    };
    found.add("network", judge(&links, broken, flaps));
    found
}

fn links(root: &Root) -> Vec<Link> {
    let radio = root.text("/proc/net/wireless").unwrap_or_default();
    let is_device = |name: &&String| root.exists(format!("{INTERFACES}/{name}/device"));
    let names = root.names(INTERFACES);
    names
        .iter()
        .filter(is_device)
        .map(|name| link(root, name, &radio))
        .collect()
}

fn link(root: &Root, name: &str, radio: &str) -> Link {
    let path = |file: &str| format!("{INTERFACES}/{name}/{file}");
    let number = |file: &str| root.number(path(file));
    let driver = std::fs::read_link(root.path(path("device/driver"))).ok();
    let driver = driver
        .as_deref()
        .and_then(|target| target.file_name()?.to_str());
    let statistics =
        ["rx_errors", "tx_errors"].map(|file| number(&format!("statistics/{file}")).unwrap_or(0.0));
    Link {
        name: name.to_owned(),
        driver: driver.unwrap_or_default().to_owned(),
        // A device that is down answers EINVAL.
        carrier: number("carrier") == Some(1.0),
        // -1 where it is not known.
        speed: number("speed").filter(|speed| *speed > 0.0),
        half: root
            .text(path("duplex"))
            .is_ok_and(|duplex| duplex.trim() == "half"),
        errors: statistics.iter().sum(),
        changes: number("carrier_changes").unwrap_or(0.0),
        level: level(radio, name),
    }
}

/// The third number of the device's line in /proc/net/wireless (proc(5)), ` wlan0: 0000   54.  -56.  -256 …`, in dBm where it is negative.
fn level(text: &str, name: &str) -> Option<f64> {
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))?;
    let level: f64 = line
        .split_whitespace()
        .nth(2)?
        .trim_end_matches('.')
        .parse()
        .ok()?;
    (level < 0.0).then_some(level)
}

fn judge(links: &[Link], broken: bool, flaps: bool) -> Finding {
    let finding = |output: String| Finding::pass(Severity::Wanted, "state", output);
    let up: Vec<&Link> = links.iter().filter(|link| link.carrier).collect();
    let speed = up.iter().filter_map(|link| link.speed).reduce(f64::max);
    let words = match speed {
        Some(speed) => format!(
            "{} of {} devices connected, {speed:.0} Mbit/s",
            up.len(),
            links.len()
        ),
        None => format!("{} of {} devices connected", up.len(), links.len()),
    };
    let slow = |link: &&&Link| {
        let gigabit = GIGABIT.contains(&link.driver.as_str());
        link.half
            || link
                .speed
                .is_some_and(|speed| speed < if gigabit { 1000.0 } else { 100.0 })
    };
    let finding = if up.is_empty() {
        finding(words).worse(
            Status::Warn,
            "check cable, plug and switch, or the name and password of the radio network",
        )
    } else if let Some(link) = up.iter().find(slow) {
        let half = if link.half { ", half duplex" } else { "" };
        let speed = link.speed.unwrap_or(0.0);
        finding(format!("the link runs at {speed:.0} Mbit/s{half} only: the device can do more"))
            .worse(Status::Warn, "try another cable and another port of the switch: one bad pair of wires is the usual reason")
    } else if let Some(weak) = up
        .iter()
        .filter_map(|l| l.level)
        .find(|level| *level < WEAK)
    {
        finding(format!("the radio is weak: {weak:.0} dBm")).worse(
            Status::Warn,
            "move the board or its antenna nearer to the access point, or use a cable",
        )
    } else if flaps {
        finding(format!(
            "{words}; it came and went again and again in the last hour"
        ))
        .worse(
            Status::Warn,
            "try another cable, another port of the switch, another supply",
        )
    } else if broken {
        finding(format!("{words}; frames came broken in the last hour")).worse(
            Status::Warn,
            "try another cable and another port of the switch",
        )
    } else {
        finding(words)
    };
    let line = |link: &Link| {
        let Link {
            name,
            driver,
            carrier,
            errors,
            changes,
            ..
        } = link;
        let state = if *carrier {
            "connected"
        } else {
            "not connected"
        };
        format!("{name} ({driver}): {state}, {errors:.0} errors, {changes:.0} changes")
    };
    let each: Vec<String> = links.iter().take(20).map(line).collect();
    finding.detail(Some(each.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, tree};
    use super::*;
    use crate::report::Report;
    use crate::report::tests::example;
    use hypriot_keys::time::Timestamp;

    fn wire(driver: &str, speed: f64) -> Link {
        Link {
            name: "enxb827eb000001".into(),
            driver: driver.into(),
            carrier: true,
            speed: Some(speed),
            ..Link::default()
        }
    }

    #[test]
    fn slow_weak_flapping_and_missing_links_are_said_without_names() {
        let radio = |level| Link {
            speed: None,
            level: Some(level),
            ..wire("brcmfmac", 0.0)
        };
        let half = Link {
            half: true,
            ..wire("smsc95xx", 100.0)
        };
        let down = Link {
            carrier: false,
            ..wire("macb", 1000.0)
        };
        for (links, broken, flaps, status, words) in [
            (
                vec![wire("bcmgenet", 1000.0)],
                false,
                false,
                Status::Pass,
                "1000 Mbit/s",
            ),
            (
                vec![wire("bcmgenet", 100.0)],
                false,
                false,
                Status::Warn,
                "100 Mbit/s only",
            ),
            (
                vec![wire("smsc95xx", 100.0)],
                false,
                false,
                Status::Pass,
                "100 Mbit/s",
            ),
            (
                vec![wire("smsc95xx", 10.0)],
                false,
                false,
                Status::Warn,
                "10 Mbit/s only",
            ),
            (vec![half], false, false, Status::Warn, "half duplex"),
            (
                vec![radio(-56.0), down.clone()],
                false,
                false,
                Status::Pass,
                "1 of 2",
            ),
            (vec![radio(-80.0)], false, false, Status::Warn, "-80 dBm"),
            (vec![down], false, false, Status::Warn, "0 of 1"),
            (
                vec![wire("macb", 1000.0)],
                false,
                true,
                Status::Warn,
                "came and went",
            ),
            (
                vec![wire("macb", 1000.0)],
                true,
                false,
                Status::Warn,
                "broken",
            ),
        ] {
            let found = judge(&links, broken, flaps);
            assert_eq!(found.status, status, "{links:?}");
            assert!(found.output.contains(words), "{}", found.output);
            assert!(!found.output.contains("b827eb") && found.detail.is_some());
        }
    }

    #[test]
    fn a_radio_that_joins_while_the_board_starts_does_not_flap() {
        let flaps = |looks: &[(f64, &str)]| {
            let mut previous: Option<Report> = None;
            let mut said = Vec::new();
            for (uptime, changes) in looks {
                let (_dir, root) = tree(&[
                    ("/sys/class/net/wlan0/device/x", ""),
                    ("/sys/class/net/wlan0/carrier", "1\n"),
                    ("/sys/class/net/wlan0/carrier_changes", changes),
                ]);
                let context = context(previous.as_ref());
                let look = Look {
                    root: &root,
                    context: &context,
                    now: Timestamp(0),
                    uptime: *uptime,
                };
                let found = probe(&look);
                said.push(found.findings[0].1.output.contains("again and again"));
                let mut report = example();
                report.uptime = *uptime;
                report.gauges = found.gauges.into_iter().collect();
                previous = Some(report);
            }
            said
        };
        assert_eq!(
            flaps(&[(20.0, "9"), (290.0, "12"), (310.0, "13")]),
            [false; 3]
        );
        assert_eq!(flaps(&[(290.0, "12"), (310.0, "18")]), [false, true]);
    }

    #[test]
    fn bridges_and_containers_are_no_devices() {
        let (_dir, root) = tree(&[
            ("/sys/class/net/lo/carrier", "1\n"),
            ("/sys/class/net/docker0/carrier", "1\n"),
            ("/sys/class/net/wlan0/device/x", ""),
            ("/sys/class/net/wlan0/carrier", "1\n"),
            ("/sys/class/net/eth0/device/x", ""),
            ("/sys/class/net/eth0/carrier", "1\n"),
            ("/sys/class/net/eth0/speed", "-1\n"),
            ("/sys/class/net/eth0/duplex", "unknown\n"),
            ("/sys/class/net/eth0/carrier_changes", "3\n"),
            ("/sys/class/net/eth0/statistics/rx_errors", "5\n"),
            (
                "/proc/net/wireless",
                "Inter-| sta-|   Quality        |\n face | tus | link level noise |\n wlan0: 0000   54.  -56.  -256        0      0\n",
            ),
        ]);
        let links = links(&root);
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        assert_eq!(names, ["eth0", "wlan0"]);
        assert_eq!(
            (links[0].speed, links[0].errors, links[0].changes),
            (None, 5.0, 3.0)
        );
        assert_eq!(links[1].level, Some(-56.0));
    }
}
