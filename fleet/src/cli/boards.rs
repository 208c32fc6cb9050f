//! Which boards a command is for: the same options everywhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::read;
use crate::hosts::{self, Host};
use crate::{discover, inventory};

#[derive(Debug, Args)]
pub(super) struct Boards {
    /// Boards: names or addresses, separated by commas, with a port if it is not 8080
    #[arg(long)]
    hosts: Option<String>,
    /// File with boards; - is standard input
    #[arg(long)]
    hosts_file: Option<PathBuf>,
    /// Ansible inventory: INI, YAML, or what `ansible-inventory --list` prints; - is standard input
    #[arg(long)]
    inventory: Option<PathBuf>,
    /// Only this group of the inventory
    #[arg(long, requires = "inventory")]
    group: Option<String>,
    /// Boards that announce themselves in this network (multicast DNS, `_hypriot._tcp`)
    #[arg(long)]
    discover: bool,
}

impl Boards {
    /// All that are named; each once.
    pub(super) fn find(&self) -> Result<Vec<Host>> {
        let of = |file: &Path| read(file).with_context(|| format!("reading {}", file.display()));
        let mut all: Vec<Host> = Vec::new();
        if let Some(list) = &self.hosts {
            all.extend(hosts::parse(list).context("--hosts")?);
        }
        if let Some(file) = &self.hosts_file {
            all.extend(hosts::parse(&of(file)?).with_context(|| file.display().to_string())?);
        }
        if let Some(file) = &self.inventory {
            let found = inventory::parse(&of(file)?).and_then(|i| i.select(self.group.as_deref()));
            all.extend(found.with_context(|| file.display().to_string())?);
        }
        if self.discover {
            all.extend(discover::boards().context("--discover")?);
        }
        let mut seen = BTreeSet::new();
        all.retain(|host| seen.insert(host.to_string()));
        ensure!(
            !all.is_empty(),
            "no board is named; use --hosts a,b, --hosts-file FILE, --inventory FILE or --discover"
        );
        Ok(all)
    }
}
