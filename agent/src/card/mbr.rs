//! Master boot record: reading the chain of partitions, and growing the last one to the end of the card.
//!
//! Format: the four 16-byte entries at byte 446, 0x55AA at 510, disk signature at 440; logical partitions hang on a
//! chain of such sectors (EBR), whose first entry is relative to the EBR itself and whose second one, the next link, to
//! the start of the extended partition.

use std::io;

use hypriot_updater::layout::{self, SECTOR};

/// One partition found on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number as Linux counts it.
    pub number: u8,
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
}

type Sector = [u8; 512];
/// Reads bytes at an offset of the disk.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// More links than this are a loop.
const MAX_LOGICAL: u8 = 16;

/// The disk signature of an MBR; `None` if the sector is none.
pub fn signature(sector: &Sector) -> Option<u32> {
    (sector[510..] == [0x55, 0xaa]).then(|| le32(sector, 440))
}

/// All partitions but the extended one.
pub fn read(read_at: &mut ReadAt<'_>) -> io::Result<Vec<Found>> {
    let mut sector = [0; 512];
    read_at(0, &mut sector)?;
    signature(&sector).ok_or_else(|| invalid("no partition table"))?;
    let mut found = Vec::new();
    let mut extended = None;
    for number in 1..=4u8 {
        let (kind, start, size) = entry(&sector, number - 1);
        match kind {
            0 => (),
            0x05 | 0x0f => extended = Some(start),
            _ => found.push(Found {
                number,
                start,
                size,
            }),
        }
    }
    let Some(base) = extended else {
        return Ok(found);
    };
    let mut link = base;
    for number in 5..5 + MAX_LOGICAL {
        read_at(link, &mut sector)?;
        signature(&sector).ok_or_else(|| invalid("the chain of logical partitions is broken"))?;
        let (kind, start, size) = entry(&sector, 0);
        if kind != 0 {
            found.push(Found {
                number,
                start: link + start,
                size,
            });
        }
        let (kind, next, _) = entry(&sector, 1);
        if kind == 0 {
            return Ok(found);
        }
        link = base + next;
    }
    Err(invalid("the chain of logical partitions does not end"))
}

/// The sectors to write, in this order, so that the data partition and the extended one around it end with a disk of
/// `disk_size` bytes, and the disk has the given signature. `mbr` and `ebr` are the sectors as they are now.
///
/// A boot ROM of Amlogic reads 442 bytes of code from the start of the card, the last two of them where the signature
/// begins (U-Boot doc/board/amlogic/odroid-c2.rst): where there is code, those stay as they are.
///
/// Sizes are rounded down to 4 MiB. Writing the same again changes nothing, so a power cut in between is mended by
/// doing it again.
pub fn grown(
    mbr: &Sector,
    ebr: &Sector,
    disk_size: u64,
    signature: u32,
) -> io::Result<[(u64, Sector); 2]> {
    let end = disk_size / layout::EBR_GAP * layout::EBR_GAP;
    let limit = u64::from(u32::MAX) * SECTOR;
    let end = end.min(limit);
    if end < layout::DATA.end() {
        return Err(invalid(&format!(
            "the card has {disk_size} bytes; at least {} are needed",
            layout::DATA.end()
        )));
    }
    let (mut mbr, mut ebr) = (*mbr, *ebr);
    let has_code = mbr[..440].iter().any(|b| *b != 0);
    let own = if has_code { 442 } else { 440 };
    mbr[own..444].copy_from_slice(&signature.to_le_bytes()[own - 440..]);
    set_size(&mut mbr, layout::EXTENDED - 1, end - layout::EXTENDED_START);
    set_size(&mut ebr, 0, end - layout::DATA.start);
    Ok([(data_ebr(), ebr), (0, mbr)])
}

/// Where the link of the data partition lies.
pub const fn data_ebr() -> u64 {
    layout::DATA.start - layout::EBR_GAP
}

fn entry(sector: &Sector, n: u8) -> (u8, u64, u64) {
    let at = 446 + usize::from(n) * 16;
    (
        sector[at + 4],
        u64::from(le32(sector, at + 8)) * SECTOR,
        u64::from(le32(sector, at + 12)) * SECTOR,
    )
}

fn set_size(sector: &mut Sector, n: u8, size: u64) {
    let at = 446 + usize::from(n) * 16 + 12;
    // `end` was limited to what 32 bits of sectors can say
    sector[at..at + 4].copy_from_slice(
        &u32::try_from(size / SECTOR)
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(sector: &mut Sector, n: usize, kind: u8, start: u64, size: u64) {
        let at = 446 + n * 16;
        sector[at + 4] = kind;
        sector[at + 8..at + 12]
            .copy_from_slice(&u32::try_from(start / SECTOR).unwrap().to_le_bytes());
        sector[at + 12..at + 16]
            .copy_from_slice(&u32::try_from(size / SECTOR).unwrap().to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
    }

    /// The sectors of our layout, by offset.
    fn card() -> std::collections::BTreeMap<u64, Sector> {
        let mut sectors = std::collections::BTreeMap::new();
        let base = layout::EXTENDED_START;
        let mut mbr = [0; 512];
        for p in &layout::PARTITIONS[..3] {
            put(&mut mbr, usize::from(p.number) - 1, 0x0c, p.start, p.size);
        }
        put(&mut mbr, 3, 0x0f, base, layout::IMAGE_SIZE - base);
        sectors.insert(0, mbr);
        let logical = &layout::PARTITIONS[3..];
        for (n, p) in logical.iter().enumerate() {
            let mut ebr = [0; 512];
            put(&mut ebr, 0, 0x83, layout::EBR_GAP, p.size);
            if let Some(next) = logical.get(n + 1) {
                put(
                    &mut ebr,
                    1,
                    0x05,
                    next.start - layout::EBR_GAP - base,
                    next.size + layout::EBR_GAP,
                );
            }
            sectors.insert(p.start - layout::EBR_GAP, ebr);
        }
        sectors
    }

    fn table(sectors: &std::collections::BTreeMap<u64, Sector>) -> io::Result<Vec<Found>> {
        read(&mut |at, buf| {
            buf.copy_from_slice(
                sectors
                    .get(&at)
                    .ok_or_else(|| invalid("read beyond the table"))?,
            );
            Ok(())
        })
    }

    #[test]
    fn our_layout_is_read() {
        let found = table(&card()).unwrap();
        let expected: Vec<Found> = layout::PARTITIONS
            .iter()
            .map(|p| Found {
                number: p.number,
                start: p.start,
                size: p.size,
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_data_partition_grows_to_the_end_and_twice_is_once() {
        let mut sectors = card();
        let size = 8_012_390_400; // a real 8 GB card: no multiple of 4 MiB
        for _ in 0..2 {
            for (at, sector) in
                grown(&sectors[&0], &sectors[&data_ebr()], size, 0xdead_beef).unwrap()
            {
                sectors.insert(at, sector);
            }
            let found = table(&sectors).unwrap();
            let data = found.last().unwrap();
            assert_eq!(
                data.start + data.size,
                size / layout::EBR_GAP * layout::EBR_GAP
            );
            assert_eq!(signature(&sectors[&0]), Some(0xdead_beef));
            assert_eq!(found.len(), 6);
        }
    }

    #[test]
    fn the_code_of_a_boot_rom_outlives_the_new_signature() {
        let sectors = card();
        let mut mbr = sectors[&0];
        mbr[..442].fill(0xb1);
        let size = layout::DATA.end();
        let [_, (_, new)] = grown(&mbr, &sectors[&data_ebr()], size, 0xdead_beef).unwrap();
        assert_eq!(new[..442], mbr[..442]);
        assert_eq!(signature(&new), Some(0xdead_b1b1));
    }

    #[test]
    fn a_card_that_is_too_small_or_too_large_is_known() {
        let sectors = card();
        assert!(
            grown(
                &sectors[&0],
                &sectors[&data_ebr()],
                layout::DATA.end() - 1,
                1
            )
            .is_err()
        );
        let [(_, ebr), _] = grown(&sectors[&0], &sectors[&data_ebr()], 9 << 40, 1).unwrap();
        assert!(
            entry(&ebr, 0).2 <= u64::from(u32::MAX) * SECTOR,
            "beyond 2 TiB an MBR cannot count"
        );
    }

    #[test]
    fn broken_tables_are_errors_not_loops() {
        assert!(table(&std::collections::BTreeMap::from([(0, [0; 512])])).is_err());
        let mut looped = card();
        let last = looped.get_mut(&data_ebr()).unwrap();
        put(last, 1, 0x05, 0, 1 << 20);
        assert!(table(&looped).is_err());
        let mut cut = card();
        cut.insert(data_ebr(), [0; 512]);
        assert!(table(&cut).is_err());
    }
}
