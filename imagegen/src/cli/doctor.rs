//! `hypriot-imagegen doctor`: says what this machine lacks, and installs it where it may.

use clap::Args;

use super::progress;
use crate::host::doctor::{self, DoctorError, Plan, Purpose};
use crate::inputs::project::Project;
use crate::sandbox::ids;

/// Say what this machine lacks to build and test, and install it on Debian-like systems.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen doctor\n  \
    hypriot-imagegen doctor --install --for agent --for image\n\n\
    Exit codes: 0 nothing is missing, 1 something is")]
pub(super) struct DoctorArgs {
    /// Install what is missing (as root or through sudo, on Debian and its relatives).
    #[arg(long)]
    install: bool,
    /// Only what this needs; may be given more than once [default: everything].
    #[arg(long = "for", value_enum, value_name = "PURPOSE")]
    purposes: Vec<Purpose>,
}

pub(super) fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    // What is asked of the project's folder is asked for building the agent alone.
    let root = Project::find().map_or_else(|_outside| ".".into(), |p| p.root);
    let all = [
        Purpose::Agent,
        Purpose::Image,
        Purpose::Board,
        Purpose::Test,
        Purpose::Bench,
    ];
    let purposes = if args.purposes.is_empty() {
        &all[..]
    } else {
        &args.purposes
    };
    let missing = || doctor::missing(purposes, |sign| doctor::met(&root, sign));
    let lacking = missing();
    let machine = doctor::machine();
    let lacking = match doctor::plan(&lacking, machine) {
        Plan::Apt { packages, sudo } if args.install => {
            let enough = || missing().is_empty();
            doctor::install(&packages, sudo, enough, &mut progress())?;
            missing()
        }
        Plan::Nothing | Plan::Apt { .. } | Plan::Tell(_) => lacking,
    };
    if !lacking.is_empty() {
        return Err(DoctorError::Owner(doctor::words(&lacking, machine.debian_like)).into());
    }
    if purposes
        .iter()
        .any(|p| matches!(p, Purpose::Image | Purpose::Test))
    {
        ids::check()?;
    }
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    {
        println!("nothing is missing");
    }
    Ok(())
}
