//! Owns what this program does as root of a user namespace, when whoever started it is not root: it starts itself again, becomes
//! root there, does one errand and says how it went. What it prints on standard error is seen by the user as it comes.

use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exec::{self, Cmd, ExecError};
use crate::host::clean;
use crate::pipeline::root_tree::make::Job;
use crate::sandbox::ids::{self, IdsError, Maps};

/// Longer than the slowest of them, a tree whose scripts are all emulated, takes.
const LIMIT: Duration = Duration::from_hours(8);
/// Bigger than any description of one: a lock of thousands of packages.
const JSON_MAX: u64 = 64 << 20;

/// Something only root can do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Errand {
    /// Make a tree.
    Tree(Box<Job>),
    /// Remove things from the cache; the answer is the report as JSON.
    Clean(clean::Request),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrandError {
    /// We cannot become root of a namespace.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// It failed, and says why.
    #[error("{0}")]
    Failed(String),
    /// It could not be started, or did not end.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// It cannot be described.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Does an errand as root of a user namespace and gives its answer. `helper` is this program.
pub(crate) fn run(helper: &Path, errand: &Errand) -> Result<String, ErrandError> {
    let maps = ids::maps()?;
    let json = serde_json::to_vec(&(errand, maps))?;
    let mut said = String::new();
    let ran = exec::run(
        Cmd::new(helper)
            .arg("inside-errand")
            .stdin(json)
            .timeout(LIMIT)
            .show_stderr()
            .on_line(|line| said.extend([line, "\n"])),
    );
    match ran {
        Ok(_) => Ok(said),
        Err(ExecError::Failed { .. }) if !said.is_empty() => {
            Err(ErrandError::Failed(said.trim_end().to_owned()))
        }
        Err(e) => Err(e.into()),
    }
}

/// The other side of [`run`]: the answer, or why there is none, goes to standard output. Gives the exit code.
pub(crate) fn inside() -> ExitCode {
    let (text, code) = match work() {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(e) => (format!("{e:#}"), ExitCode::FAILURE),
    };
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    {
        println!("{text}");
    }
    code
}

fn work() -> anyhow::Result<String> {
    let mut json = Vec::new();
    io::stdin().take(JSON_MAX).read_to_end(&mut json)?;
    let (errand, maps): (Errand, Maps) = serde_json::from_slice(&json)?;
    ids::become_root(&maps)?;
    match errand {
        Errand::Tree(job) => job.run().map(|()| String::new()).map_err(Into::into),
        Errand::Clean(request) => Ok(serde_json::to_string_pretty(&clean::here(&request)?)?),
    }
}
