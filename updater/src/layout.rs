//! Where everything lies on a card.
//!
//! MBR, because the boot ROMs of the older boards need it. All sizes and offsets are bytes.

use alloc::format;
use alloc::string::String;

use crate::slot::Slot;

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// The unit in which MBR entries and U-Boot's raw reads count.
pub const SECTOR: u64 = 512;

/// What a card erases at once: 4 MiB is the allocation unit (AU) that cards of 4 GB and more are made with
/// (SD Physical Layer Simplified Specification, AU_SIZE). A write that is cut may take its whole erase block along.
pub const ERASE_BLOCK: u64 = 4 * MIB;
/// The two copies of the boot state lie in the raw gap before the first partition, each in an erase block in which
/// nothing else of ours lies, so that a write of the one can never cost the other.
pub const BOOT_STATE: [u64; 2] = [4 * MIB, 12 * MIB];
/// Size of one copy, CRC included: what `env import -c` and `env export -c -s` are given.
pub const BOOT_STATE_SIZE: usize = 0x1000;
/// imagegen writes [`BLANK_MARK`] here; the board clears it once it has made its data partition and its identity.
/// A mark of its own, because "no file system found" must never be a reason to format an owner's data.
pub const BLANK: u64 = 16 * MIB;
/// What a card that was flashed and never started carries at [`BLANK`]; filled up with zeros to a sector.
pub const BLANK_MARK: &[u8; 16] = b"HYPRIOT-BLANK-01";
/// Where raw boot loader blobs may lie: first byte, and the byte behind the last. All but one kind of board use the
/// first (the largest, Exynos with its environment, ends at 3.06 MiB); Rockchip's SPL loads `u-boot.itb` from 8 MiB
/// (`CONFIG_SYS_MMCSD_RAW_MODE_U_BOOT_SECTOR=0x4000`).
pub const RAW: [(u64, u64); 2] = [(0, 4 * MIB), (8 * MIB, 12 * MIB)];
/// No raw boot loader blob ends behind this offset.
pub const RAW_END: u64 = RAW[1].1;

/// The end of the room in which a raw blob at `offset` lies; `None` when no blob may start there.
pub fn raw_room(offset: u64) -> Option<u64> {
    RAW.into_iter()
        .find(|(from, to)| (*from..*to).contains(&offset))
        .map(|(_, to)| to)
}

/// [`RAW`] in words, for messages.
pub fn raw_rooms() -> String {
    let [one, two] = RAW.map(|(from, to)| format!("from byte {from} to {to}"));
    format!("{one} or {two}, apart from the boot state")
}

/// The number of a partition as Linux and U-Boot count it.
pub type PartitionNumber = u8;

/// One partition: where it starts and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// 1-4 primary, 5 and up logical.
    pub number: PartitionNumber,
    /// Short name, as people and `status` call it.
    pub name: &'static str,
    /// First byte.
    pub start: u64,
    /// Length; the data partition's is the least it may have.
    pub size: u64,
}

impl Partition {
    /// First byte after the partition.
    pub const fn end(&self) -> u64 {
        self.start + self.size
    }
}

/// FAT, shared by both slots: boot loader, boot script and the files the owner edits.
pub const CONFIG: Partition = Partition {
    number: 1,
    name: "config",
    start: 20 * MIB,
    size: 128 * MIB,
};
const BOOT_A: Partition = Partition {
    number: 2,
    name: "boot-a",
    start: 148 * MIB,
    size: 128 * MIB,
};
const BOOT_B: Partition = Partition {
    number: 3,
    name: "boot-b",
    start: 276 * MIB,
    size: 128 * MIB,
};
/// The container of the logical partitions; its first sector is the first link of their chain.
pub const EXTENDED: PartitionNumber = 4;
/// First byte of the extended partition.
pub const EXTENDED_START: u64 = 404 * MIB;
/// A logical partition starts this far behind the sector (EBR) that describes it: one erase block, so that
/// rewriting a link of the chain never wears or endangers the data before it.
pub const EBR_GAP: u64 = 4 * MIB;
const ROOT_A: Partition = Partition {
    number: 5,
    name: "root-a",
    start: 408 * MIB,
    size: 1280 * MIB,
};
const ROOT_B: Partition = Partition {
    number: 6,
    name: "root-b",
    start: 1692 * MIB,
    size: 1280 * MIB,
};
/// ext4, made and grown to the end of the card by the board itself at its first start.
pub const DATA: Partition = Partition {
    number: 7,
    name: "data",
    start: 2976 * MIB,
    size: 256 * MIB,
};

/// All partitions that hold something, in the order they lie on the card.
pub const PARTITIONS: [Partition; 6] = [CONFIG, BOOT_A, BOOT_B, ROOT_A, ROOT_B, DATA];

/// The size of an image as it is shipped: everything up to a data partition of the least size.
pub const IMAGE_SIZE: u64 = DATA.start + DATA.size;

/// The FAT partition with kernel, initramfs and device trees of a slot.
pub const fn boot(slot: Slot) -> Partition {
    match slot {
        Slot::A => BOOT_A,
        Slot::B => BOOT_B,
    }
}

/// The EROFS partition with the root file system of a slot.
pub const fn root(slot: Slot) -> Partition {
    match slot {
        Slot::A => ROOT_A,
        Slot::B => ROOT_B,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn partitions_do_not_overlap_and_sit_on_erase_blocks() {
        let mut end = BLANK + ERASE_BLOCK;
        for p in PARTITIONS {
            assert!(
                p.start >= end,
                "{} starts inside what lies before it",
                p.name
            );
            assert_eq!(
                p.start % (4 * MIB),
                0,
                "{} starts inside an erase block",
                p.name
            );
            end = p.end();
        }
        assert!(BOOT_B.end() <= EXTENDED_START);
        assert_eq!(ROOT_A.start, EXTENDED_START + EBR_GAP);
        assert_eq!(ROOT_B.start, ROOT_A.end() + EBR_GAP);
        assert_eq!(DATA.start, ROOT_B.end() + EBR_GAP);
    }

    #[test]
    fn a_write_to_the_raw_gap_can_cost_nothing_but_what_it_writes() {
        let blocks = |from: u64, len: u64| from / ERASE_BLOCK..=(from + len - 1) / ERASE_BLOCK;
        let state = BOOT_STATE_SIZE as u64;
        let mut places = vec![blocks(BLANK, SECTOR)];
        places.extend(BOOT_STATE.map(|at| blocks(at, state)));
        places.extend(RAW.map(|(from, to)| blocks(from, to - from)));
        places.push(blocks(CONFIG.start, CONFIG.size));
        for (n, one) in places.iter().enumerate() {
            for other in &places[n + 1..] {
                assert!(
                    one.end() < other.start() || other.end() < one.start(),
                    "{one:?} and {other:?} share an erase block"
                );
            }
        }
    }

    #[test]
    fn an_image_fits_the_smallest_card_sold_as_4_gb() {
        const { assert!(IMAGE_SIZE < 3_700_000_000) }
    }
}
