//! Where things lie in the release that boards update from, so that the next one leaves what did not change where it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use hypriot_updater::index::SEGMENT;

use super::apply::Opened;
use crate::bake::record::Laid;
use crate::formats::Blocks;
use crate::formats::erofs::Layout;
use crate::formats::erofs::read::Erofs;

/// The release that an image keeps the layout of.
#[derive(Debug, Clone)]
pub struct After {
    /// Which one, as the build record says it.
    pub laid: Laid,
    /// The places in its root.
    pub layout: Layout,
}

impl After {
    /// The layout of the release of an index file, its payload beside it. A root that is no EROFS of ours has none.
    pub fn of(index: &Path) -> Result<Option<Self>> {
        let named = || format!("the layout of {}", index.display());
        let opened = Opened::open(index).with_context(named)?;
        let laid = Laid {
            version: opened.index.version.to_string(),
            content: hex::encode(opened.index.content().0),
        };
        let root = Root {
            opened,
            seen: Mutex::default(),
        };
        let erofs = Erofs::open(&root).ok();
        let layout = erofs.map(|erofs| Layout::of(&erofs));
        Ok(layout.map(|layout| Self { laid, layout }))
    }
}

/// The root of a release, unpacked as far as it is read: inodes and directories are a twentieth of it.
struct Root {
    opened: Opened,
    seen: Mutex<BTreeMap<usize, Arc<Vec<u8>>>>,
}

impl Root {
    fn segment(&self, n: usize) -> Result<Arc<Vec<u8>>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(&n) {
            return Ok(Arc::clone(known));
        }
        let [boot, root] = &self.opened.index.images[..] else {
            unreachable!("an index that was parsed has two images")
        };
        let hash = *root.segments.get(n).context("past the end of the root")?;
        let number = boot.segments.len() + n;
        let bytes = Arc::new(self.opened.segment(number, root.segment_len(n), hash)?);
        seen.insert(n, Arc::clone(&bytes));
        Ok(bytes)
    }
}

impl Blocks for Root {
    fn size(&self) -> u64 {
        self.opened.index.images[1].size
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let place = at.checked_add(done as u64).context("offset")?;
            let segment = self.segment(usize::try_from(place / SEGMENT)?)?;
            let from = usize::try_from(place % SEGMENT)?;
            ensure!(from < segment.len(), "past the end of the root");
            let len = (segment.len() - from).min(buf.len() - done);
            buf[done..done + len].copy_from_slice(&segment[from..from + len]);
            done += len;
        }
        Ok(())
    }
}
