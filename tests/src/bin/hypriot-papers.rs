//! `make docs`, `make docs-reference`, `make lint-workflows`: the papers of the project.

use std::process::ExitCode;

fn main() -> ExitCode {
    hypriot_tests::papers::main()
}
