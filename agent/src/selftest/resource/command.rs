//! Commands, run by `sh -c` as goss does.

use std::time::Duration;

use anyhow::Result;

use crate::exec::{Cmd, Exit};
use crate::selftest::run::Values;
use crate::selftest::suite::Test;

pub(super) fn look(test: &Test, left: Duration) -> Result<Values> {
    let output = Cmd::new("sh")
        .arg("-c")
        .arg(&test.name)
        .timeout(test.timeout(10_000).min(left))
        .keep(1024 * 1024)
        .output()?;
    let code = match output.exit {
        Exit::Code(code) => code,
        // As a shell would say it.
        Exit::Signal(signal) => 128 + signal,
    };
    let words = |bytes: Vec<u8>| Ok(String::from_utf8_lossy(&bytes).into_owned().into());
    Ok(Values::from([
        ("exit-status", Ok(code.into())),
        ("stdout", words(output.stdout)),
        ("stderr", words(output.stderr)),
    ]))
}
