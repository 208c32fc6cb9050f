//! `hypriot-agent diagnose`: one file for whoever is asked for help.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::config;
use crate::diagnose::{self, Options};
use crate::files;
use crate::probe::Root;
use crate::update::machine;

/// Where the HTTP half listens unless the settings say otherwise, or cannot be read.
const PORT: u16 = 8080;

/// Make one file with all that a maintainer asks for, without secrets
#[derive(Debug, clap::Args)]
pub(super) struct Diagnose {
    /// Where to write the tar; - for standard output. Without it: hypriot-diagnose-<time>.tar in this directory, or else in /tmp
    #[arg(long, short)]
    output: Option<PathBuf>,
}

pub(super) fn diagnose(asked: &Diagnose) -> anyhow::Result<ExitCode> {
    let to_stdout = asked.output.as_deref() == Some(Path::new("-"));
    anyhow::ensure!(
        !to_stdout || !std::io::stdout().is_terminal(),
        "that would print a tar on your terminal: ssh board sudo hypriot-agent diagnose -o - > board.tar"
    );
    let settings = config::health(Path::new(config::IMAGE), Path::new(config::OWNER));
    let options = Options {
        root: Root::default(),
        program: std::env::current_exe().ok(),
        port: settings.map_or(PORT, |settings| settings.listen.port()),
        now: machine::clock(),
    };
    let shown = std::io::stderr().is_terminal();
    let bundle = diagnose::collect(&options, &mut |part| {
        if shown {
            eprint!("\r\x1b[K{part}");
        }
    })?;
    if shown {
        eprint!("\r\x1b[K");
    }
    let removed: usize = bundle.parts.iter().map(|part| part.removed).sum();
    let there = bundle.parts.iter().filter(|part| part.missing.is_none());
    let summary = format!(
        "{} of {} parts, {removed} secrets removed; README.txt in it lists them",
        there.count(),
        bundle.parts.len()
    );
    if to_stdout {
        let mut out = std::io::stdout().lock();
        out.write_all(&bundle.tar)
            .and_then(|()| out.flush())
            .context("writing the tar")?;
        eprintln!("{summary}");
        return Ok(ExitCode::SUCCESS);
    }
    let path = write(asked.output.as_deref(), &bundle.tar, options.now.0)?;
    super::print(&format!(
        "{}: {summary}.\nLook through it before you give it away: names and addresses of your network are in it.\n",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Writes it, for its owner alone. The root of a board is read-only, so without a wish /tmp will do.
fn write(wish: Option<&Path>, tar: &[u8], now: u64) -> anyhow::Result<PathBuf> {
    if let Some(path) = wish {
        files::replace(path, tar, 0o600)
            .context("give another place with --output, or - for standard output")?;
        return Ok(path.to_owned());
    }
    let name = format!("hypriot-diagnose-{now}.tar");
    let here = PathBuf::from(&name);
    if files::replace(&here, tar, 0o600).is_ok() {
        return Ok(here);
    }
    let there = Path::new("/tmp").join(name);
    files::replace(&there, tar, 0o600)
        .context("give another place with --output, or - for standard output")?;
    Ok(there)
}
