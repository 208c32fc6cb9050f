//! What each cable negotiated: one bad pair in it, and a port of a thousand megabit runs with a hundred, for years.

use super::{Measure, Measures};
use crate::probe::Root;
use crate::report::Status;

/// Looks at all network ports that are hardware (Documentation/ABI/testing/sysfs-class-net).
pub fn links(root: &Root) -> Measures {
    let class = "/sys/class/net";
    let names = root.names(class);
    let real = names
        .iter()
        .filter(|n| root.exists(format!("{class}/{n}/device")));
    real.map(|name| {
        (
            format!("link-{name}"),
            one(root, &format!("{class}/{name}")),
        )
    })
    .collect()
}

fn one(root: &Root, path: &str) -> Measure {
    let text = |file: &str| root.text(format!("{path}/{file}")).unwrap_or_default();
    if text("operstate").trim() != "up" {
        return Measure::pass("not in use");
    }
    if root.exists(format!("{path}/phy80211")) {
        return Measure::pass("wireless");
    }
    // -1, or an error, where nothing is known
    let speed = root.number(format!("{path}/speed"));
    let Some(speed) = speed.filter(|s| *s > 0.0) else {
        return Measure::pass("its speed is unknown");
    };
    let duplex = text("duplex");
    let measure =
        Measure::pass(format!("{speed:.0} Mbit/s, {} duplex", duplex.trim())).of(speed, "Mbit/s");
    let fix = "try another cable and another port of the switch";
    if duplex.trim() == "half" || speed <= 10.0 {
        measure.worse(Status::Warn, fix)
    } else {
        measure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::tree;

    #[test]
    fn a_bad_cable_shows_and_what_is_no_cable_does_not_count() {
        let (_dir, root) = tree(&[
            ("/sys/class/net/lo/operstate", "unknown\n"),
            ("/sys/class/net/docker0/operstate", "up\n"),
            ("/sys/class/net/eth0/device/uevent", ""),
            ("/sys/class/net/eth0/operstate", "up\n"),
            ("/sys/class/net/eth0/speed", "100\n"),
            ("/sys/class/net/eth0/duplex", "half\n"),
            ("/sys/class/net/eth1/device/uevent", ""),
            ("/sys/class/net/eth1/operstate", "down\n"),
            ("/sys/class/net/wlan0/device/uevent", ""),
            ("/sys/class/net/wlan0/operstate", "up\n"),
            ("/sys/class/net/wlan0/phy80211/index", "0\n"),
        ]);
        let links = links(&root);
        let names: Vec<&str> = links.keys().map(String::as_str).collect();
        assert_eq!(names, ["link-eth0", "link-eth1", "link-wlan0"]);
        assert_eq!(links["link-eth0"].status, Status::Warn);
        assert_eq!(links["link-eth0"].value, Some(100.0));
        assert_eq!(links["link-wlan0"].output, "wireless");
    }
}
