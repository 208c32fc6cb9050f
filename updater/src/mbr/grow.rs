//! Growing the last partition to the end of the card it was flashed to, and the card's own signature.

use super::{MbrError, SIGNATURE_AT, Sector, entry};
use crate::layout::{self, SECTOR};

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
) -> Result<[(u64, Sector); 2], MbrError> {
    let end = disk_size / layout::EBR_GAP * layout::EBR_GAP;
    // What 32 bits of sectors can say.
    let end = end.min(u64::from(u32::MAX) * SECTOR);
    if end < layout::DATA.end() {
        return Err(MbrError::SmallCard {
            have: disk_size,
            need: layout::DATA.end(),
        });
    }
    let (mut mbr, mut ebr) = (*mbr, *ebr);
    let has_code = mbr[..SIGNATURE_AT].iter().any(|b| *b != 0);
    let own = if has_code { 442 } else { SIGNATURE_AT };
    mbr[own..444].copy_from_slice(&signature.to_le_bytes()[own - SIGNATURE_AT..]);
    set_size(&mut mbr, layout::EXTENDED - 1, end - layout::EXTENDED_START);
    set_size(&mut ebr, 0, end - layout::DATA.start);
    Ok([(data_link(), ebr), (0, mbr)])
}

/// Where the link of the data partition lies.
pub const fn data_link() -> u64 {
    layout::DATA.start - layout::EBR_GAP
}

fn set_size(sector: &mut Sector, n: u8, size: u64) {
    let at = entry(n) + 12;
    let sectors = u32::try_from(size / SECTOR).unwrap_or(u32::MAX);
    sector[at..at + 4].copy_from_slice(&sectors.to_le_bytes());
}
