//! The first boot of a freshly flashed card: its own disk signature, a data partition that fills it, an ext4 on it.
//!
//! Every card comes from the same bytes, so what must differ is made here, before anything uses it. The mark at
//! [`layout::BLANK`] is cleared last; a power cut before that repeats everything, and nothing is lost because nothing
//! could be stored yet. After that, nothing ever formats the data partition again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hypriot_updater::layout::{self, BLANK_MARK};

use super::{in_root, say};
use crate::card::disk::Card;
use crate::ioctl;
use hypriot_updater::mbr;

/// Whether this card was flashed and never finished its first boot.
pub(super) fn is_blank(card: &Card) -> anyhow::Result<bool> {
    let mut mark = [0; BLANK_MARK.len()];
    File::open(&card.device)
        .and_then(|f| f.read_exact_at(&mut mark, layout::BLANK))
        .with_context(|| format!("reading {}", card.device.display()))?;
    Ok(mark == *BLANK_MARK)
}

/// Writes the card's own signature and grows the last partition to the card's end.
pub(super) fn give_identity(card: &Card) -> anyhow::Result<()> {
    say(6, "first boot: giving the card its identity");
    let mut disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&card.device)
        .context("opening the card")?;
    let size = disk.seek(SeekFrom::End(0))?;
    let mut signature = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut signature))
        .context("drawing a disk signature")?;
    let (mut head, mut link) = ([0; 512], [0; 512]);
    disk.read_exact_at(&mut head, 0)?;
    disk.read_exact_at(&mut link, mbr::data_link())?;
    for (at, sector) in mbr::grown(&head, &link, size, u32::from_le_bytes(signature))? {
        disk.write_all_at(&sector, at)?;
        disk.sync_all()?;
    }
    ioctl::reread_partition_table(&disk).context("making the kernel read the partition table again")
}

/// Makes the ext4 of the data partition with the slot's own tools, and clears the mark.
pub(super) fn make_data(card: &Card, data: &Path, root: &Path) -> anyhow::Result<()> {
    say(6, "first boot: making the data partition");
    // lazy initialisation: the kernel zeroes inode tables later, in the background; a card must not take minutes here
    in_root(root, "mkfs.ext4")
        .args([
            "-q",
            "-F",
            "-L",
            "data",
            "-E",
            "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
        ])
        .arg(data)
        .timeout(Duration::from_mins(10))
        .run()?;
    File::open(data)
        .and_then(|f| f.sync_all())
        .context("syncing the data partition")?;
    let disk = OpenOptions::new()
        .write(true)
        .open(&card.device)
        .context("opening the card")?;
    disk.write_all_at(&[0; 512], layout::BLANK)?;
    disk.sync_all().context("clearing the mark of a blank card")
}
