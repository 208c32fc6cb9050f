//! What this system is: a HypriotOS board with two slots, or any other Debian, where the agent serves health and
//! self-tests alone.
//!
//! Decided here only, from what is seen. One trace of HypriotOS is enough for slots: a board whose card or image is
//! damaged must say what it misses, and not pass for one that never had slots.

use hypriot_updater::boot::script::{ARG_DISK, ARG_SLOT};

use crate::config;
use crate::paths::CARD;
use crate::probe::Root;
use crate::report::UpdateView;

/// The kind of system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum System {
    /// A HypriotOS board: started from a slot, or meant to be.
    Slots,
    /// Another system that the agent was installed on.
    Plain(Plain),
}

/// A system without slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// What os-release(5) calls it: `debian`, `raspbian`. Stands where a HypriotOS board has the name of its board file.
    pub name: String,
    /// Its release: `13`.
    pub version: String,
}

/// Why a command that changes slots does nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this board has no slots: health and self-tests only")]
pub struct NoSlots;

/// Looks at the running system, or at the tree of one.
pub fn look(root: &Root) -> System {
    let line = root.text("/proc/cmdline").unwrap_or_default();
    let arguments = [ARG_SLOT, ARG_DISK];
    let told = line
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .any(|(name, _)| arguments.contains(&name));
    if told || root.exists(config::IMAGE) || root.exists(CARD) {
        return System::Slots;
    }
    // os-release(5): the first of the two that is there
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| root.text(path).ok())
        .unwrap_or_default();
    System::Plain(named(&text))
}

/// The name and release in an os-release file. Testing and unstable Debian have no release but a code name.
fn named(os_release: &str) -> Plain {
    let value = |key: &str| {
        let line = os_release
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| *name == key)?;
        let text = line.1.trim().trim_matches(['"', '\'']);
        (!text.is_empty()).then(|| text.to_owned())
    };
    Plain {
        name: value("ID").unwrap_or_else(|| "linux".into()),
        version: value("VERSION_ID")
            .or_else(|| value("VERSION_CODENAME"))
            .unwrap_or_else(|| "unknown".into()),
    }
}

impl Plain {
    /// What the report says about slots: that there are none.
    pub fn view() -> UpdateView {
        UpdateView {
            phase: "no-slots".into(),
            ..UpdateView::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::tree;

    const DEBIAN: (&str, &str) = (
        "/etc/os-release",
        "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nVERSION_ID=\"13\"\nID=debian\n",
    );

    #[test]
    fn one_trace_of_hypriotos_is_enough_for_slots() {
        for (danger, trace) in [
            (
                "the initramfs did not leave the card",
                ("/usr/lib/hypriot/agent.toml", "board = 'x'"),
            ),
            (
                "settings that cannot be read",
                ("/usr/lib/hypriot/agent.toml", ""),
            ),
            (
                "the image's settings are gone",
                ("/proc/cmdline", "quiet hypriot.slot=a panic=5\n"),
            ),
            ("a slot that is none", ("/proc/cmdline", "hypriot.slot=\n")),
            (
                "only the disk is told",
                ("/proc/cmdline", "hypriot.disk=1-3\n"),
            ),
            ("only the card is left", ("/run/hypriot/card", "/dev/vda\n")),
        ] {
            let (_dir, root) = tree(&[DEBIAN, trace]);
            assert_eq!(look(&root), System::Slots, "{danger}");
        }
    }

    #[test]
    fn other_systems_are_called_what_they_call_themselves() {
        let fallback = ("/usr/lib/os-release", DEBIAN.1);
        for (files, name, version) in [
            (
                vec![
                    DEBIAN,
                    ("/proc/cmdline", "root=/dev/sda1 hypriot.slots=a\n"),
                ],
                "debian",
                "13",
            ),
            // what an owner masks or an old HypriotOS of 2016 left is no trace of slots
            (
                vec![fallback, ("/run/hypriot/report.json", "{}")],
                "debian",
                "13",
            ),
            (
                vec![(
                    "/etc/os-release",
                    "ID='raspbian'\nVERSION_ID=\"12\"\nHYPRIOT_OS=\"HypriotOS/armhf\"\n",
                )],
                "raspbian",
                "12",
            ),
            (
                vec![("/etc/os-release", "ID=debian\nVERSION_CODENAME=forky\n")],
                "debian",
                "forky",
            ),
            (vec![], "linux", "unknown"),
        ] {
            let (_dir, root) = tree(&files);
            let (name, version) = (name.into(), version.into());
            assert_eq!(
                look(&root),
                System::Plain(Plain { name, version }),
                "{files:?}"
            );
        }
    }
}
