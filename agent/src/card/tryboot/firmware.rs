//! What Raspberry Pi's firmware is asked: to try the other partition at the next start, and how this start was.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use hypriot_updater::boot::tryboot::View;

use crate::ioctl;

/// The firmware.
pub trait Firmware {
    /// Sets or clears the flag. It is gone when the board loses power, and with the next start.
    fn try_next(&mut self, yes: bool) -> io::Result<()>;
    /// What it says of this start.
    fn view(&self) -> io::Result<View>;
}

/// Set reboot flags (Raspberry Pi documentation, `tryboot`; rpi-eeprom uses `vcmailbox 0x00038064 4 0 1`).
const SET_FLAGS: u32 = 0x0003_8064;
/// Bit 0 of them.
const TRY: u32 = 1;
const MAILBOX: &str = "/dev/vcio";
const CHOSEN: &str = "/proc/device-tree/chosen/bootloader";

/// The real one. Only the vendor's kernel has the mailbox; Debian's says that there is no such file.
#[derive(Debug, Clone, Copy)]
pub struct Mailbox;

impl Firmware for Mailbox {
    fn try_next(&mut self, yes: bool) -> io::Result<()> {
        let named = |e: io::Error| {
            io::Error::new(
                e.kind(),
                format!("{MAILBOX}: {e}; tryboot needs the kernel of Raspberry Pi"),
            )
        };
        let mailbox = OpenOptions::new().read(true).write(true).open(MAILBOX);
        let answer = mailbox.and_then(|file| property(&file, SET_FLAGS, u32::from(yes) * TRY));
        answer.map(drop).map_err(named)
    }

    fn view(&self) -> io::Result<View> {
        let read = |name: &str| std::fs::read(Path::new(CHOSEN).join(name));
        let cells = (
            read("partition")?,
            read("tryboot")?,
            read("build-timestamp")?,
        );
        View::parse(&cells.0, &cells.1, &cells.2).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{CHOSEN} has cells of another size"),
            )
        })
    }
}

/// One property with one word (firmware wiki, "Mailbox property interface"): size of the message, code, tag, size of the value,
/// code of the tag, value, end.
fn property(mailbox: &File, tag: u32, value: u32) -> io::Result<u32> {
    const ANSWERED: u32 = 0x8000_0000;
    let mut message = [28, 0, tag, 4, 4, value, 0];
    ioctl::mailbox_property(mailbox, &mut message)?;
    let [_, code, _, _, tag_code, value, _] = message;
    if code != ANSWERED || tag_code & ANSWERED == 0 {
        return Err(io::Error::other(format!(
            "the firmware does not know property {tag:#x}: it is too old"
        )));
    }
    Ok(value)
}

/// A firmware in memory, by what its documentation says: the filters of `autoboot.txt`, the flag that the next start clears, the
/// walk over the partitions. Written apart from what it is to judge.
#[cfg(test)]
pub(crate) mod model {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[derive(Debug, Clone)]
    pub(crate) struct Model(Rc<RefCell<Chip>>);

    #[derive(Debug)]
    struct Chip {
        flag: bool,
        view: View,
        /// Whether it has a mailbox at all.
        deaf: bool,
    }

    impl Model {
        /// With a boot loader of this date (seconds since 1970) in its EEPROM.
        pub(crate) fn new(built: u32) -> Self {
            let view = View {
                partition: 2,
                tryboot: false,
                built,
            };
            Self(Rc::new(RefCell::new(Chip {
                flag: false,
                view,
                deaf: false,
            })))
        }

        pub(crate) fn deafen(&self) {
            self.0.borrow_mut().deaf = true;
        }

        pub(crate) fn flag(&self) -> bool {
            self.0.borrow().flag
        }

        /// The power was gone.
        pub(crate) fn lose_power(&self) {
            self.0.borrow_mut().flag = false;
        }

        /// A start: the partition that is started, if any can be. The flag is cleared before.
        pub(crate) fn start(&self, autoboot: &[u8], starts: impl Fn(u32) -> bool) -> Option<View> {
            let mut chip = self.0.borrow_mut();
            let flag = std::mem::take(&mut chip.flag);
            let asked = std::str::from_utf8(autoboot)
                .ok()
                .and_then(|t| boot_partition(t, flag));
            let walk = 1..=8;
            let partition = asked
                .filter(|p| starts(*p))
                .or_else(|| walk.into_iter().find(|p| starts(*p)))?;
            chip.view.partition = partition;
            chip.view.tryboot = flag && asked == Some(partition);
            Some(chip.view)
        }
    }

    /// Reads line by line; a filter in brackets decides about the lines behind it.
    fn boot_partition(text: &str, flag: bool) -> Option<u32> {
        let mut on = true;
        let mut found = None;
        for line in text.split('\n') {
            match line.trim() {
                "[all]" => on = true,
                "[tryboot]" => on = flag,
                filter if filter.starts_with('[') => on = false,
                line if on && line.starts_with("boot_partition=") => {
                    found = line["boot_partition=".len()..].parse().ok();
                }
                _ => (),
            }
        }
        found.filter(|n| *n > 0)
    }

    impl Firmware for Model {
        fn try_next(&mut self, yes: bool) -> io::Result<()> {
            let mut chip = self.0.borrow_mut();
            if chip.deaf {
                return Err(io::ErrorKind::NotFound.into());
            }
            chip.flag = yes;
            Ok(())
        }

        fn view(&self) -> io::Result<View> {
            Ok(self.0.borrow().view)
        }
    }
}
