//! `hypriot-fleet`: see `hypriot_fleet`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_fleet::cli::main()
}
