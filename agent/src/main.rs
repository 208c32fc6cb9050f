//! The program `hypriot-agent`; as `/init` of the initramfs it is process 1.

use std::process::ExitCode;

use hypriot_agent::{cli, init};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        init::main();
    }
    cli::main()
}
