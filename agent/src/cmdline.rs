//! The kernel command line, as far as the initramfs obeys it.

use hypriot_updater::boot::script::{ANY_DISK, ARG_DISK, ARG_SLOT};
use hypriot_updater::boot::tryboot::BY_FIRMWARE;
use hypriot_updater::slot::Slot;

/// What the boot loader told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arguments {
    /// Which slot this kernel came from.
    pub slot: Told,
    /// Which disk to start from.
    pub disk: Disk,
}

/// Who knows the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The boot script did.
    Slot(Slot),
    /// The firmware: both slots have the same command line.
    Firmware,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slot(slot) => slot.fmt(f),
            Self::Firmware => f.write_str(BY_FIRMWARE),
        }
    }
}

/// How the disk is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// By the MBR signature of the disk the kernel came from.
    Signature(u32),
    /// The kernel came from elsewhere (an Android boot image): the first disk that is a card of ours.
    Any,
}

impl std::fmt::Display for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Signature(signature) => write!(f, "{signature:08x}"),
            Self::Any => f.write_str("any card of ours"),
        }
    }
}

/// Why the command line is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// It is not there.
    #[error("the kernel command line lacks {0}; the boot script sets it")]
    Missing(&'static str),
    /// It cannot be read.
    #[error("{0}={1} on the kernel command line cannot be read")]
    Value(&'static str, String),
}

/// Whether an owner told systemd to use no watchdog (kernel-command-line(7), `systemd.watchdog_sec=`): then the initramfs uses
/// none either.
pub fn wants_watchdog(line: &str) -> bool {
    let said = line
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("systemd.watchdog_sec="))
        .next_back();
    !matches!(said, Some("0" | "0s" | "off"))
}

/// Reads `/proc/cmdline`. Of a repeated argument the last one counts, as in the kernel.
pub fn parse(line: &str) -> Result<Arguments, ArgumentError> {
    let find = |name: &'static str| {
        line.split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .rfind(|(n, _)| *n == name)
            .map(|(_, v)| v)
            .ok_or(ArgumentError::Missing(name))
    };
    let slot = find(ARG_SLOT)?;
    let slot = match slot {
        BY_FIRMWARE => Told::Firmware,
        name => name
            .parse()
            .map(Told::Slot)
            .ok()
            .ok_or_else(|| ArgumentError::Value(ARG_SLOT, name.into()))?,
    };
    // U-Boot's `part uuid` gives `<signature>-<partition>` for an MBR disk (disk/part_dos.c)
    let text = find(ARG_DISK)?;
    if text == ANY_DISK {
        return Ok(Arguments {
            slot,
            disk: Disk::Any,
        });
    }
    let digits = text.split('-').next().unwrap_or_default();
    let disk = u32::from_str_radix(digits, 16)
        .ok()
        .ok_or_else(|| ArgumentError::Value(ARG_DISK, text.into()))?;
    Ok(Arguments {
        slot,
        disk: Disk::Signature(disk),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_switches_the_watchdog_off_has_none_in_the_initramfs_either() {
        for (line, wanted) in [
            ("panic=5", true),
            ("systemd.watchdog_sec=0", false),
            ("systemd.watchdog_sec=off panic=5", false),
            ("systemd.watchdog_sec=0 systemd.watchdog_sec=30", true),
            ("systemd.watchdog_sec=10s", true),
            ("x.systemd.watchdog_sec=0", true),
        ] {
            assert_eq!(wants_watchdog(line), wanted, "{line}");
        }
    }

    #[test]
    fn slot_and_disk_are_read() {
        let line = "console=ttyAMA0 panic=5 hypriot.slot=b hypriot.disk=9a0B0c0d-03\n";
        assert_eq!(
            parse(line),
            Ok(Arguments {
                slot: Told::Slot(Slot::B),
                disk: Disk::Signature(0x9a0b_0c0d)
            })
        );
        assert_eq!(
            parse("hypriot.slot=firmware hypriot.disk=any"),
            Ok(Arguments {
                slot: Told::Firmware,
                disk: Disk::Any
            })
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert_eq!(
            parse("quiet hypriot.disk=1"),
            Err(ArgumentError::Missing("hypriot.slot"))
        );
        assert_eq!(
            parse("hypriot.slot=a"),
            Err(ArgumentError::Missing("hypriot.disk"))
        );
        assert_eq!(
            parse("hypriot.slot=c hypriot.disk=1"),
            Err(ArgumentError::Value("hypriot.slot", "c".into()))
        );
        assert_eq!(
            parse("hypriot.slot=a hypriot.disk="),
            Err(ArgumentError::Value("hypriot.disk", String::new()))
        );
    }
}
