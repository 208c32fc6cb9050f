//! Mounted file systems.

use anyhow::Result;
use serde_json::Value;

use crate::probe::{Root, disk};
use crate::selftest::run::Values;
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

/// In percent, rounded up, as df(1) shows it.
fn usage(point: &str, root: &Root) -> Result<Value> {
    let found = disk::room(&root.path(point))?;
    let percent: f64 = 100.0 * (1.0 - found.available / found.total.max(1.0));
    Ok(percent.ceil().into())
}
