//! `make demo`: shows a newcomer the whole path, from packages to a board that refuses a bad update.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_tests::demo::main()
}
