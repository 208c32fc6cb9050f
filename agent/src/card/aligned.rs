//! Memory that a device takes and gives by itself, without the kernel's cache between: it begins at a page.

use std::ops::{Deref, DerefMut};

/// Memory, place and length of direct reading and writing must be multiples of the device's blocks (open(2)); a page is one of
/// every block there is.
pub const PAGE: usize = 4096;

/// Bytes that begin at a page.
#[derive(Debug)]
pub struct Aligned {
    room: Vec<u8>,
    shift: usize,
    len: usize,
}

impl Aligned {
    /// So many zeros.
    pub fn zeroed(len: usize) -> Self {
        let room = vec![0; len + PAGE];
        let shift = room.as_ptr().align_offset(PAGE).min(PAGE);
        Self { room, shift, len }
    }

    /// Another length; what is in it then is anything.
    pub fn set_len(&mut self, len: usize) {
        if self.shift + len > self.room.len() {
            *self = Self::zeroed(len);
        }
        self.len = len;
    }
}

impl Default for Aligned {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.shift..self.shift + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.shift..self.shift + self.len]
    }
}

/// Whether a device can take these bytes for this place, or fill them, by itself.
pub(super) fn fits(place: u64, bytes: &[u8]) -> bool {
    place.is_multiple_of(PAGE as u64)
        && bytes.len().is_multiple_of(PAGE)
        && bytes.as_ptr().addr().is_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_begin_at_a_page_whatever_their_length() {
        let mut bytes = Aligned::default();
        for len in [0, 1, PAGE, 3 * PAGE, 1 << 20, 5, PAGE + 1] {
            bytes.set_len(len);
            assert_eq!(bytes.len(), len);
            assert!(bytes.as_ptr().addr().is_multiple_of(PAGE), "{len}");
            bytes.fill(7);
            assert_eq!(fits(PAGE as u64, &bytes), len % PAGE == 0, "{len}");
        }
        let bytes = Aligned::zeroed(2 * PAGE);
        assert!(!fits(512, &bytes));
        assert!(!fits(0, &bytes[512..]));
    }
}
