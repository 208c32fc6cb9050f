//! `make bench-…`: measures what the project promises, beside the best that others offer, on this machine and in one run.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_tests::bench::main()
}
