//! `make test`: every test, and where the time went.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_tests::suite::main()
}
