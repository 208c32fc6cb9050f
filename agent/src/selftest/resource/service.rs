//! Services of systemd. Whether one is enabled can be told of an image too; whether it runs cannot.

use std::time::Duration;

use anyhow::Result;

use crate::exec::{Cmd, Exit};
use crate::probe::Root;
use crate::selftest::run::Values;
use crate::selftest::suite::Test;

/// How long systemd may take for one answer: in the first minutes of a start a small board is busy, and a test that ran out of time
/// counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn look(test: &Test, root: &Root) -> Values {
    let name = test.name.as_str();
    // goss: no such service.
    if name.starts_with('-') || name.contains('/') || name.is_empty() {
        let no = || Ok(false.into());
        return Values::from([("enabled", no()), ("running", no()), ("runlevels", no())]);
    }
    let mut values = Values::new();
    if test.wants("enabled") {
        values.insert("enabled", ask("is-enabled", name, root).map(Into::into));
    }
    if test.wants("running") {
        let running = if root.is_live() {
            ask("is-active", name, root)
        } else {
            Err(anyhow::anyhow!("only a running board tells"))
        };
        values.insert("running", running.map(Into::into));
    }
    if test.wants("runlevels") {
        values.insert("runlevels", Ok(Vec::<serde_json::Value>::new().into()));
    }
    values
}

fn ask(what: &str, name: &str, root: &Root) -> Result<bool> {
    let mut command = Cmd::new("systemctl").arg("--quiet").timeout(PATIENCE);
    if !root.is_live() {
        command = command.arg("--root").arg(root.directory());
    }
    let output = command.args([what, name]).output()?;
    Ok(output.exit == Exit::Code(0))
}
