//! Commands, run by `sh -c` as goss does.

use std::time::Duration;

use anyhow::Result;

use crate::exec::{Cmd, Exit};
use crate::selftest::run::{Found, Values};
use crate::selftest::suite::Test;

/// What is kept of what it prints. What was cut must not pass for what was not printed.
const KEEP: usize = 16 * 1024 * 1024;

pub(super) fn look(test: &Test, left: Duration) -> Result<Values> {
    let output = Cmd::new("sh")
        .arg("-c")
        .arg(&test.name)
        .timeout(test.timeout(10_000).min(left))
        .keep(KEEP)
        .output()?;
    let code = match output.exit {
        Exit::Code(code) => code,
        // As goss has it from Go.
        Exit::Signal(_) => -1,
    };
    let words = |bytes: Vec<u8>| {
        anyhow::ensure!(
            !output.truncated || bytes.len() < KEEP,
            "it printed more than {KEEP} bytes"
        );
        Ok(Found::bytes(bytes))
    };
    Ok(Values::from([
        ("exit-status", Ok(code.into())),
        ("stdout", words(output.stdout)),
        ("stderr", words(output.stderr)),
    ]))
}
