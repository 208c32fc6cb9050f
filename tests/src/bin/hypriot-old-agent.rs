//! `make test-old-agent`: an older agent and today's over the same data.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_tests::old_agent::main()
}
