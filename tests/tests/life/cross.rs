//! The agent is built for every processor of our boards, and runs on the oldest of each.

use std::time::Duration;

use anyhow::{Result, ensure};
use hypriot_tests::exec;
use hypriot_tests::factory::Factory;

use super::beginnings;

/// Target, emulator, the oldest processor it must run on.
const TARGETS: [(&str, &str, &str); 3] = [
    (
        "aarch64-unknown-linux-musl",
        "qemu-aarch64-static",
        "cortex-a53",
    ),
    (
        "armv7-unknown-linux-musleabihf",
        "qemu-arm-static",
        "cortex-a7",
    ),
    // Raspberry Pi Zero and 1.
    ("arm-unknown-linux-musleabihf", "qemu-arm-static", "arm1176"),
];

#[test]
fn the_agent_runs_on_the_oldest_processor_of_every_target() -> Result<()> {
    let factory = Factory::new()?;
    beginnings(&factory)?;
    factory.agents_aside(&TARGETS.map(|(target, ..)| target))?;
    for (target, emulator, processor) in TARGETS {
        let agent = factory.agent_path(target);
        let mut c = exec::command(emulator);
        c.args(["-cpu", processor]).arg(&agent).arg("--version");
        let said = exec::run(c, Duration::from_mins(1))?;
        ensure!(said.starts_with("hypriot-agent "), "{target}: {said}");
    }
    Ok(())
}
