//! Whether the running slot holds an image, to the last byte: each segment is read from the card and hashed.

use std::io;

use hypriot_updater::index::{Index, SEGMENT, SegmentHash};

use super::Measure;
use crate::card::ports::Running;
use crate::report::Status;

/// How the slot compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Segments of the index.
    pub all: usize,
    /// Those that hold something else.
    pub other: usize,
    /// Those that could not be read.
    pub unread: usize,
}

/// Reads all of it.
pub fn compare(index: &Index, running: &dyn Running, mut tell: impl FnMut(u64)) -> Compared {
    let all = index.segment_count();
    let mut found = Compared {
        all,
        other: 0,
        unread: 0,
    };
    for (done, (image, n, len, hash)) in index.segments().enumerate() {
        let mut bytes = vec![0; len];
        match running.read_at(index.images[image].target, n as u64 * SEGMENT, &mut bytes) {
            Ok(()) => found.other += usize::from(SegmentHash::of(&bytes) != hash),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => found.other += 1,
            Err(_) => found.unread += 1,
        }
        let percent = (done + 1) * 100 / all.max(1);
        tell(u64::try_from(percent).unwrap_or(100));
    }
    found
}

/// In words.
pub fn judge(index: &Index, found: Compared) -> Measure {
    let Compared { all, other, unread } = found;
    let name = format!("{} {}", index.board, index.version);
    #[expect(clippy::cast_precision_loss, reason = "at most 1,408 segments")]
    let bad = (other + unread) as f64;
    let measure = |text: String| Measure::pass(text).of(bad, "segments");
    if unread > 0 {
        let text = format!("{unread} of {all} segments of {name} cannot be read");
        return measure(text).worse(Status::Fail, "replace the card");
    }
    match other {
        0 => measure(format!(
            "all {all} segments of the running slot are those of {name}"
        )),
        _ if other * 2 > all => {
            measure(format!("{other} of {all} segments are not those of {name}"))
                .worse(Status::Fail, "another image was flashed")
        }
        _ => measure(format!("{other} of {all} segments are not those of {name}")).worse(
            Status::Fail,
            "the card was not written well, or somebody changed it: flash it again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypriot_updater::index::{Image, Target};

    struct Card(Vec<u8>);

    impl Running for Card {
        fn read_at(&self, target: Target, at: u64, buf: &mut [u8]) -> io::Result<()> {
            if target == Target::Boot {
                buf.fill(1);
                return Ok(());
            }
            let at = usize::try_from(at).expect("small");
            let bytes = self.0.get(at..at + buf.len());
            buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    fn index(root: &[u8]) -> Index {
        let image = |target, bytes: &[u8]| Image {
            target,
            size: bytes.len() as u64,
            segments: bytes
                .chunks(usize::try_from(SEGMENT).expect("small"))
                .map(SegmentHash::of)
                .collect(),
        };
        Index {
            format: "x".into(),
            board: "virt".into(),
            version: semver::Version::new(1, 0, 0),
            state_version: 0,
            created: hypriot_keys::time::Timestamp(0),
            images: vec![image(Target::Boot, &[1; 4096]), image(Target::Root, root)],
            payloads: Vec::new(),
        }
    }

    #[test]
    fn another_image_and_a_card_that_lost_a_bit_are_told_from_the_image_that_was_flashed() {
        let root = vec![7; 3 << 20];
        let index = index(&root);
        let mut last = 0;
        let same = compare(&index, &Card(root.clone()), |p| last = p);
        assert_eq!((same.all, same.other, same.unread, last), (4, 0, 0, 100));
        assert_eq!(judge(&index, same).status, Status::Pass);
        let mut flipped = root;
        flipped[1 << 20] ^= 4;
        let flipped = compare(&index, &Card(flipped), |_| ());
        assert_eq!(flipped.other, 1);
        assert!(judge(&index, flipped).output.contains("flash it again"));
        let other = compare(&index, &Card(vec![8; 3 << 20]), |_| ());
        assert!(judge(&index, other).output.contains("another image"));
        let short = compare(&index, &Card(vec![7; 1 << 20]), |_| ());
        assert_eq!(short.unread, 2);
        assert_eq!(judge(&index, short).status, Status::Fail);
    }
}
