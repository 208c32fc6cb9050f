//! The text of `autoboot.txt`: which partition is the default, and which one the flag starts.

use alloc::format;

use crate::layout;
use crate::slot::Slot;

/// Its name, in the first FAT partition.
pub const FILE: &str = "autoboot.txt";
/// The most that the firmware reads, and what ours has: one sector.
pub const SIZE: usize = 512;

/// Why the file names no slot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AutobootError {
    /// The firmware reads 512 bytes.
    #[error("autoboot.txt has {0} bytes, and the firmware reads {SIZE}")]
    Size(usize),
    /// Torn, or somebody else's.
    #[error(
        "autoboot.txt does not start one slot, and the other one with tryboot: it was edited or is damaged"
    )]
    NotOurs,
}

/// The file for a default slot, filled up with line ends.
pub fn encode(default: Slot) -> [u8; SIZE] {
    let number = |slot| layout::boot(slot).number;
    let text = format!(
        "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
        number(default),
        number(!default)
    );
    let mut sector = [b'\n'; SIZE];
    for (place, byte) in sector.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    sector
}

/// What the firmware makes of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Choice {
    partition: Option<u32>,
    a_b: bool,
}

/// The lines that hold with or without the flag; of a repeated key the last one counts.
fn choice(text: &str, flag: bool) -> Choice {
    let (mut holds, mut out) = (true, Choice::default());
    for line in text.lines().map(str::trim) {
        if let Some(filter) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            // filters of config.txt are none here: what is behind one of them never holds
            holds = match filter {
                "all" => true,
                "tryboot" => flag,
                _ => false,
            };
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| holds) else {
            continue;
        };
        match key.trim() {
            "boot_partition" => out.partition = value.trim().parse().ok(),
            "tryboot_a_b" => out.a_b = value.trim() == "1",
            _ => (),
        }
    }
    out
}

/// The default slot that the file names, if it is one that this project wrote or means the same.
pub fn parse(file: &[u8]) -> Result<Slot, AutobootError> {
    if file.len() > SIZE {
        return Err(AutobootError::Size(file.len()));
    }
    let text = core::str::from_utf8(file)
        .ok()
        .filter(|t| !t.contains('\0'));
    let text = text.ok_or(AutobootError::NotOurs)?;
    let slot = |c: Choice| {
        let is_it = |slot: &Slot| c.partition == Some(layout::boot(*slot).number.into());
        Slot::ALL.into_iter().find(is_it).filter(|_| c.a_b)
    };
    match (slot(choice(text, false)), slot(choice(text, true))) {
        (Some(default), Some(other)) if other == !default => Ok(default),
        _ => Err(AutobootError::NotOurs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_one_sector_long() {
        for slot in Slot::ALL {
            assert_eq!(parse(&encode(slot)), Ok(slot));
        }
        let text = encode(Slot::A);
        assert!(
            text.starts_with(
                b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
            )
        );
    }

    #[test]
    fn a_file_that_would_not_try_or_not_come_back_is_none() {
        let (a, not) = (Ok(Slot::A), Err(AutobootError::NotOurs));
        for (danger, text, expected) in [
            (
                "before any filter",
                "tryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3",
                a.clone(),
            ),
            (
                "line ends of Windows",
                "[all]\r\ntryboot_a_b=1\r\nboot_partition=2\r\n[tryboot]\r\nboot_partition=3\r\n",
                a.clone(),
            ),
            (
                "the last one counts",
                "[all]\ntryboot_a_b=1\nboot_partition=3\nboot_partition=2\n[tryboot]\nboot_partition=3",
                a.clone(),
            ),
            (
                "behind none",
                "[all]\ntryboot_a_b=1\nboot_partition=2\n[none]\nboot_partition=9\n[tryboot]\nboot_partition=3",
                a.clone(),
            ),
            (
                "behind a filter of config.txt",
                "[all]\ntryboot_a_b=1\nboot_partition=2\n[pi4]\nboot_partition=9\n[tryboot]\nboot_partition=3",
                a,
            ),
            // an update during a trial by Raspberry Pi's own tool makes both the same
            (
                "both the same",
                "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2",
                not.clone(),
            ),
            (
                "tryboot.txt of the same partition instead of the other one",
                "[all]\nboot_partition=2\n[tryboot]\nboot_partition=3",
                not.clone(),
            ),
            (
                "back to all behind tryboot",
                "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n[all]\nboot_partition=3",
                not.clone(),
            ),
            (
                "the first that starts",
                "[all]\ntryboot_a_b=1\nboot_partition=0\n[tryboot]\nboot_partition=3",
                not.clone(),
            ),
            (
                "no slot",
                "[all]\ntryboot_a_b=1\nboot_partition=1\n[tryboot]\nboot_partition=2",
                not.clone(),
            ),
            ("nothing", "", not.clone()),
            (
                "torn",
                "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryb\0",
                not,
            ),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{danger}");
        }
        assert_eq!(parse(&[0xa5; SIZE]), Err(AutobootError::NotOurs));
        assert_eq!(
            parse(&[b'\n'; SIZE + 1]),
            Err(AutobootError::Size(SIZE + 1))
        );
    }
}
