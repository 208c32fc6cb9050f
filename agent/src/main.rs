//! The program `hypriot-agent`; as `/init` of the initramfs it is process 1.

use std::process::ExitCode;

use hypriot_agent::{cli, init};

fn main() -> ExitCode {
    // the kernel starts it under this name; process 1 of a container is not meant
    if std::process::id() == 1
        && std::env::args_os()
            .next()
            .is_some_and(|name| name == "/init")
    {
        init::main();
    }
    cli::main()
}
