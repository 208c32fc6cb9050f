//! The program `hypriot-imagegen`: hands its arguments to the command line module and turns the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_imagegen::cli::main()
}
