//! How things stand with what the owner wants: for `/health`, the self-tests and `hypriot-agent packages list`. Computed, never stored.

use serde::Serialize;

use super::DIRECTORY;
use super::layer::{self, Layer};
use super::store::Store;
use super::wanted::{self, Name};
use crate::paths::{DATA_LOST, LAYER, LAYER_LEFT, PACKAGES_FAILED, RELEASE};
use crate::probe::Root;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Standing {
    /// Nothing is wanted.
    None,
    /// All of it is there.
    There {
        /// What.
        packages: Vec<Name>,
    },
    /// A layer with it was made after this start.
    NextStart {
        /// What.
        packages: Vec<Name>,
    },
    /// Some of it is not there.
    Missing {
        /// What; nothing if the list cannot be read.
        packages: Vec<Name>,
        /// Why.
        why: String,
        /// What to do.
        fix: &'static str,
    },
}

const REBUILD: &str = "hypriot-agent packages rebuild says what is wrong; hypriot-agent packages remove NAME does without it";
const RESTART: &str = "restart the board: the layer is laid over the root again; if the board does not come up with it, hypriot-agent packages \
                       remove the one that you added last";
const LIST: &str = "move /data/packages/wanted away, and add the packages again";

/// Looks at the running system, or at the tree of one.
pub fn look(root: &Root) -> Standing {
    let store = Store::new(root.path(DIRECTORY));
    let wanted = match wanted::load(&store) {
        Ok(wanted) if wanted.is_empty() || root.exists(DATA_LOST) => return Standing::None,
        Ok(wanted) => wanted,
        Err(error) => {
            return Standing::Missing {
                packages: Vec::new(),
                why: format!("{error:#}"),
                fix: LIST,
            };
        }
    };
    let note = |path: &str| root.text(path).ok().map(|text| text.trim().to_owned());
    let used: Option<Layer> = note(LAYER).and_then(|name| layer::load(&store, &name).ok());
    let lacking = used
        .as_ref()
        .map_or_else(|| wanted.names().to_vec(), |l| l.record.lacking(&wanted));
    if lacking.is_empty() {
        return Standing::There {
            packages: wanted.names().to_vec(),
        };
    }
    let newest = note(RELEASE).and_then(|id| layer::newest(&store, &id).ok().flatten());
    let newer = newest
        .filter(|l| l.record.covers(&wanted) && used.as_ref().is_none_or(|u| u.name != l.name));
    if let Some(why) = note(LAYER_LEFT) {
        return Standing::Missing {
            packages: lacking,
            why,
            fix: if newer.is_some() { RESTART } else { REBUILD },
        };
    }
    if newer.is_some() {
        return Standing::NextStart { packages: lacking };
    }
    Standing::Missing {
        packages: lacking,
        why: note(PACKAGES_FAILED).unwrap_or_else(|| "no layer for this release has it".to_owned()),
        fix: REBUILD,
    }
}

impl Standing {
    /// One line for people, and for the verdict on a trial.
    pub fn line(&self) -> String {
        let list = |names: &[Name]| {
            names
                .iter()
                .map(Name::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self {
            Self::None => "all there: nothing was added to the image".to_owned(),
            Self::There { packages } => format!("all there: {}", list(packages)),
            Self::NextStart { packages } => {
                format!("there after the next restart: {}", list(packages))
            }
            Self::Missing { packages, why, .. } if packages.is_empty() => why.clone(),
            Self::Missing { packages, why, .. } => format!("not there: {}: {why}", list(packages)),
        }
    }

    /// Whether all that is wanted is there.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::None | Self::There { .. })
    }
}

/// Leaves word in `/run` for [`look`]; words that cannot be left are logged.
pub fn note(root: &Root, path: &str, text: &str) {
    if let Err(error) = crate::files::replace(&root.path(path), text.as_bytes(), 0o644) {
        tracing::warn!("{error}");
    }
}
