//! `make test-boards`: every board's image, built and inspected.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_tests::boards::main()
}
