//! Segments that earlier releases in the same folder hold, packed by the same encoder: what did not change is not packed again.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use hypriot_updater::index::SegmentHash;
use hypriot_updater::payload::{self, Operation};

use super::apply::Opened;
use super::mark_name;

/// Earlier releases that are looked into.
const EARLIER_MAX: usize = 4;

/// Segments of earlier releases, by hash. What is wrong with an earlier release makes it useless here, nothing more.
pub(super) struct Earlier {
    payloads: Vec<std::fs::File>,
    segments: HashMap<[u8; 32], (usize, payload::Entry)>,
}

impl Earlier {
    pub(super) fn find(dir: &Path, board: &str, encoder: &str) -> Self {
        let mut found = Self {
            payloads: Vec::new(),
            segments: HashMap::new(),
        };
        let mut names: Vec<(std::time::SystemTime, String)> = std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .filter_map(|e| {
                let e = e.ok()?;
                let name = e.file_name().into_string().ok()?;
                let stem = name.strip_suffix(".encoder")?.to_owned();
                let made = e.metadata().ok()?.modified().ok()?;
                stem.starts_with(&format!("hypriotos-{board}-"))
                    .then_some((made, stem))
            })
            .collect();
        names.sort();
        for (_, stem) in names.iter().rev().take(EARLIER_MAX) {
            let same =
                std::fs::read(dir.join(mark_name(stem))).is_ok_and(|m| m == encoder.as_bytes());
            if same && let Ok(opened) = Opened::open(&dir.join(format!("{stem}.json"))) {
                found.add(opened);
            }
        }
        found
    }

    fn add(&mut self, opened: Opened) {
        let n = self.payloads.len();
        for ((_, _, _, hash), entry) in opened.index.segments().zip(opened.entries) {
            if entry.operation != Operation::Zeros {
                self.segments.entry(hash.0).or_insert((n, entry));
            }
        }
        self.payloads.push(opened.file);
    }

    /// The packed form of a segment, proved to give `len` bytes of this hash.
    pub(super) fn get(&self, hash: SegmentHash, len: usize) -> Option<(Operation, Vec<u8>)> {
        let (n, entry) = self.segments.get(&hash.0)?;
        let mut data = vec![0; entry.len];
        self.payloads[*n].read_exact_at(&mut data, entry.at).ok()?;
        let right = match entry.operation {
            Operation::Zstd => {
                zstd::bulk::decompress(&data, len).is_ok_and(|b| SegmentHash::of(&b) == hash)
            }
            _ => SegmentHash::of(&data) == hash,
        };
        right.then(|| (entry.operation.clone(), data))
    }
}
