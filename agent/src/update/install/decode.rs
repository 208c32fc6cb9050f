//! From the data of a payload to the bytes of a segment. Whoever calls has checked the hash of the data, and checks that of
//! the bytes: the decoder never sees garbage, and what it makes is believed by no one.

use hypriot_updater::index::{SEGMENT, SegmentHash, Target};
use hypriot_updater::layout::SECTOR;
use hypriot_updater::payload::{Extent, Operation};
use zstd::zstd_safe::DCtx;

use super::idle::Place;
use crate::card::ports::Running;

/// Fills `out`, the room of exactly one segment; never more, whatever a frame says. False when it does not come out full.
pub(super) fn decode<'r>(
    context: &mut DCtx<'r>,
    operation: &Operation,
    data: &[u8],
    reference: &'r [u8],
    out: &mut [u8],
) -> bool {
    let fill = |out: &mut [u8], from: &[u8]| {
        let same = out.len() == from.len();
        if same {
            out.copy_from_slice(from);
        }
        same
    };
    match operation {
        Operation::Zeros => {
            out.fill(0);
            true
        }
        Operation::Raw => fill(out, data),
        Operation::Same | Operation::Copy(_) => fill(out, reference),
        Operation::Zstd | Operation::Patch(_) => {
            let len = out.len();
            // RFC 8878 has no name for it; zstd.h: the prefix is what lies before the content
            let ready = reference.is_empty() || context.ref_prefix(reference).is_ok();
            ready && context.decompress(out, data).is_ok_and(|n| n == len)
        }
    }
}

/// Whether these are the bytes of the segment.
pub(super) fn is_right(bytes: &[u8], place: &Place) -> bool {
    bytes.len() == place.len && SegmentHash::of(bytes) == place.hash
}

/// What an operation refers to in the running slot. An error of the medium is no reference, as wrong bytes are none.
pub(super) fn reference(
    operation: &Operation,
    place: &Place,
    running: Option<&dyn Running>,
    into: &mut Vec<u8>,
) -> bool {
    into.clear();
    let own;
    let extents = match operation {
        Operation::Same => {
            own = [itself(place)];
            &own[..]
        }
        other => other.extents(),
    };
    let Some(running) = running else {
        return extents.is_empty();
    };
    extents.iter().all(|extent| {
        let from = into.len();
        let Ok(len) = usize::try_from(extent.len()) else {
            return false;
        };
        // bounded: the table's reader refuses references of more than `MAX_REFERENCE`
        into.resize(from + len, 0);
        let read = running.read_at(image(extent.image), extent.at(), &mut into[from..]);
        read.is_ok()
    })
}

fn image(number: u8) -> Target {
    if number == 0 {
        Target::Boot
    } else {
        Target::Root
    }
}

/// The place of a segment, as an extent.
fn itself(place: &Place) -> Extent {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX);
    Extent {
        image: u8::from(place.image != 0),
        sector: sectors(place.at),
        count: sectors((place.len as u64).min(SEGMENT)),
    }
}
