//! Mounted file systems.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::probe::{Root, disk};
use crate::selftest::run::{Found, Values};
use crate::selftest::suite::Test;

pub(super) fn look(test: &Test, root: &Root) -> Result<Values> {
    let mounts = disk::mounts(&root.text("/proc/self/mountinfo")?);
    let Some(mount) = disk::find(&mounts, &test.name) else {
        return Ok(Values::from([("exists", Ok(false.into()))]));
    };
    let list = |options: &[String]| {
        Ok(options
            .iter()
            .map(|option| Value::from(option.as_str()))
            .collect())
    };
    let mut values = Values::from([
        ("exists", Ok(true.into())),
        ("opts", list(&mount.options)),
        ("vfs-opts", list(&mount.super_options)),
        ("source", Ok(mount.source.as_str().into())),
        ("filesystem", Ok(mount.kind.as_str().into())),
    ]);
    if test.wants("usage") {
        values.insert("usage", usage(&test.name, root));
    }
    Ok(values)
}

/// As goss counts it: the share of blocks in use, rounded. What is reserved for root is not in use.
fn usage(point: &str, root: &Root) -> Result<Found> {
    let found = nix::sys::statvfs::statvfs(&root.path(point)).context("asking the file system")?;
    if found.blocks() == 0 {
        return Ok(0.into());
    }
    #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
    let used = 1.0 - found.blocks_free() as f64 / found.blocks() as f64;
    Ok((used * 100.0).round().into())
}
