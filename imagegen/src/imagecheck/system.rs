//! The root tree: names, network, places that things are mounted on, units, and where cloud-init looks.

use anyhow::{Context, ensure};

use super::{Card, Findings};
use crate::bake::SETTINGS;
use crate::formats::Blocks;

/// Mount points that hold nothing.
const PLACES: [&str; 7] = ["boot", "data", "dev", "proc", "run", "sys", "tmp"];
/// Units that must be there, and be started at every boot.
pub(super) const ENABLED: [(&str, &str); 4] = [
    ("ssh.service", "multi-user.target.wants"),
    ("systemd-networkd.service", "multi-user.target.wants"),
    ("systemd-resolved.service", "multi-user.target.wants"),
    ("avahi-daemon.service", "multi-user.target.wants"),
];
/// One of these keeps the clock.
pub(super) const CLOCKS: [(&str, &str); 4] = [
    ("systemd-timesyncd.service", "sysinit.target.wants"),
    ("chrony.service", "multi-user.target.wants"),
    ("ntpsec.service", "multi-user.target.wants"),
    ("openntpd.service", "multi-user.target.wants"),
];
/// The agent's own.
pub(super) const OWN_UNITS: [&str; 7] = [
    "hypriot-agent.service",
    "hypriot-came-up.service",
    "hypriot-health.service",
    "hypriot-identity.service",
    "hypriot-neighbours.service",
    "hypriot-trial-expire.service",
    "hypriot-trial-keep.service",
];
/// What udev starts when a stick with updates is put in.
pub(super) const STICK: [&str; 2] = [
    "usr/lib/udev/rules.d/80-hypriot-stick.rules",
    "usr/lib/systemd/system/hypriot-stick@.service",
];
const OWNERS_FILES: [&str; 3] = ["user-data", "meta-data", "network-config"];

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    // A recipe may give the image a name of its own; then it says so in the image's record.
    let own = card.recipe.as_ref().and_then(|r| r.hostname.as_deref());
    let own = own.unwrap_or("black-pearl");
    let hostname = || {
        let text = card.text("etc/hostname")?;
        ensure!(text == format!("{own}\n"), "it is {text:?}, not {own}");
        card.file("etc/hostname", 0o644)
    };
    found.check("the host name is black-pearl, or the recipe's", hostname());
    let hosts = || {
        let text = card.text("etc/hosts")?;
        for name in ["localhost", own] {
            let known = text.lines().any(|l| {
                let mut words = l.split('#').next().unwrap_or_default().split_whitespace();
                words.next().is_some() && words.any(|w| w == name)
            });
            ensure!(known, "it has no {name}");
        }
        Ok(())
    };
    found.check("/etc/hosts knows the board itself", hosts());
    found.check(
        "names are asked from systemd-resolved",
        card.link("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
    );
    found.check(
        "wired networks ask for an address",
        card.text("usr/lib/systemd/network/80-hypriot-wired.network")
            .and_then(|text| {
                ensure!(text.contains("DHCP=yes"), "it does not say DHCP=yes");
                Ok(())
            }),
    );
    found.check(
        "nothing is left of ifupdown's eth0",
        card.absent("etc/network/interfaces.d/eth0"),
    );
    let fstab = || {
        let text = card.text("etc/fstab")?;
        // What is mounted belongs to the initramfs: an entry for / or /boot would be a second opinion.
        let entry = text
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with('#'));
        ensure!(entry.is_none(), "it has the entry {entry:?}");
        Ok(())
    };
    found.check("/etc/fstab leaves mounting to the initramfs", fstab());
    for path in PLACES {
        let empty = || {
            ensure!(card.root.get(path)?.is_dir(), "it is no directory");
            let first = card
                .root
                .names
                .keys()
                .find(|p| p.starts_with(&format!("{path}/")));
            ensure!(first.is_none(), "it has {first:?}");
            Ok(())
        };
        found.check(format!("/{path} is an empty directory"), empty());
    }
    let sticky = || {
        let mode = card.root.get("tmp")?.mode & 0o7777;
        ensure!(mode == 0o1777, "its mode is {mode:o}");
        Ok(())
    };
    found.check("all may write to /tmp, and remove only their own", sticky());
    units(card, found);
    for name in OWNERS_FILES {
        found.check(
            format!("cloud-init finds {name} on the first partition"),
            card.link(
                &format!("var/lib/cloud/seed/nocloud/{name}"),
                &format!("/boot/{name}"),
            ),
        );
    }
    let cloud = || {
        let text = card.text("etc/cloud/cloud.cfg.d/90_hypriot.cfg")?;
        ensure!(
            text.lines()
                .any(|l| l.starts_with("datasource_list: [NoCloud")),
            "it does not begin its list of sources with NoCloud: first boots would wait for a cloud"
        );
        Ok(())
    };
    found.check("cloud-init asks no cloud", cloud());
    found.check("the agent has its settings", card.file(SETTINGS, 0o644));
    let nodes = || {
        let odd = card
            .root
            .names
            .iter()
            .find(|(_, node)| !(node.is_dir() || node.is_file() || node.is_link()));
        ensure!(odd.is_none(), "/{} is one", odd.map_or("", |o| o.0));
        Ok(())
    };
    found.check("there are no device nodes, pipes or sockets", nodes());
}

fn units<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let started = |(unit, wants): (&str, &str)| {
        card.root.get(&format!("usr/lib/systemd/system/{unit}"))?;
        let link = format!("etc/systemd/system/{wants}/{unit}");
        card.root.get(&link).map(drop)
    };
    for unit in ENABLED {
        found.check(
            format!("{} is installed and enabled", unit.0),
            started(unit),
        );
    }
    let clock = CLOCKS.into_iter().find_map(|c| started(c).ok());
    found.check(
        "a service that keeps the clock is installed and enabled",
        clock.context("none of systemd-timesyncd, chrony, ntpsec, openntpd is"),
    );
    for unit in OWN_UNITS {
        let started = || {
            let text = card.text(&format!("usr/lib/systemd/system/{unit}"))?;
            let wanted = text
                .lines()
                .skip_while(|l| l.trim() != "[Install]")
                .filter_map(|l| l.strip_prefix("WantedBy="))
                .flat_map(str::split_whitespace);
            for target in wanted {
                card.root
                    .get(&format!("etc/systemd/system/{target}.wants/{unit}"))?;
            }
            let programs = text
                .lines()
                .filter_map(|l| l.strip_prefix("ExecStart="))
                .filter_map(|l| {
                    l.trim_start_matches(['-', '@', '+', '!'])
                        .split_whitespace()
                        .next()
                });
            for program in programs {
                card.root.resolve(program).context("ExecStart")?;
            }
            Ok(())
        };
        found.check(format!("{unit} is installed and enabled"), started());
    }
    found.check(
        "udev starts what takes updates from a stick",
        STICK
            .iter()
            .try_for_each(|path| card.file(path, 0o644).map(drop)),
    );
    let masked = || {
        let wait = card.root.get(
            "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service",
        );
        let boot = card.text("usr/lib/systemd/system/hypriot-agent.service")?;
        ensure!(
            wait.is_err() || !boot.contains("network-online.target"),
            "the agent would wait for a network before it tests a trial"
        );
        Ok(())
    };
    found.check("the agent does not wait for a network", masked());
    found.check(
        "serial consoles get a login",
        card.root
            .get("usr/lib/systemd/system/serial-getty@.service")
            .map(drop)
            .context("no serial-getty@.service"),
    );
}
