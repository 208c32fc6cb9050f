//! Owns what this program does as root of a user namespace, when whoever started it is not root: it starts itself again, becomes
//! root there, does one errand and says how it went. What it prints on standard error is seen by the user as it comes.

use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{self, IdsError, Maps};
use crate::exec::{self, ExecError};

/// Longer than the slowest of them, a tree whose scripts are all emulated, takes.
const LIMIT: Duration = Duration::from_hours(8);
/// Bigger than any description of one: a lock of thousands of packages.
const JSON_MAX: u64 = 64 << 20;

/// Something only root can do. Whoever has one implements this; this room knows none of them.
pub(crate) trait Errand: Serialize + DeserializeOwned {
    /// What the two sides call it.
    const NAME: &'static str;

    /// Does it, and gives the answer.
    fn work(self) -> anyhow::Result<String>;
}

/// An errand that [`inside`] can do.
#[derive(Debug)]
pub(crate) struct Known {
    name: &'static str,
    work: fn(Value) -> anyhow::Result<String>,
}

/// The entry of an errand in the list of those that can be done.
pub(crate) const fn known<E: Errand>() -> Known {
    Known {
        name: E::NAME,
        work: |task| serde_json::from_value::<E>(task)?.work(),
    }
}

/// What goes to the other side.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    name: String,
    task: Value,
    maps: Maps,
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
pub(crate) fn run<E: Errand>(helper: &Path, errand: &E) -> Result<String, ErrandError> {
    let order = Order {
        name: E::NAME.to_owned(),
        task: serde_json::to_value(errand)?,
        maps: ids::maps()?,
    };
    let json = serde_json::to_vec(&order)?;
    let mut said = String::new();
    let ran = exec::tool(helper)
        .arg("inside-errand")
        .stdin(json)
        .timeout(LIMIT)
        .show_stderr()
        .run_telling(|line| said.extend([line, "\n"]));
    match ran {
        Ok(_) => Ok(said),
        Err(ExecError::Failed { .. }) if !said.is_empty() => {
            Err(ErrandError::Failed(said.trim_end().to_owned()))
        }
        Err(e) => Err(e.into()),
    }
}

/// The other side of [`run`]: the answer, or why there is none, goes to standard output. Gives the exit code.
pub(crate) fn inside(errands: &[Known]) -> ExitCode {
    let (text, code) = match work(errands) {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(e) => (format!("{e:#}"), ExitCode::FAILURE),
    };
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    {
        println!("{text}");
    }
    code
}

fn work(errands: &[Known]) -> anyhow::Result<String> {
    let mut json = Vec::new();
    io::stdin().take(JSON_MAX).read_to_end(&mut json)?;
    let order: Order = serde_json::from_slice(&json)?;
    let known = errands
        .iter()
        .find(|k| k.name == order.name)
        .with_context(|| format!("nobody here does the errand {:?}", order.name))?;
    ids::become_root(&order.maps)?;
    (known.work)(order.task)
}
