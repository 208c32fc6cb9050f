//! Ansible's inventories: INI, YAML, and the JSON of `ansible-inventory --list`; groups, children, ranges, variables.
//!
//! What is read of a host: `ansible_host`, `ansible_port`, `ansible_user`, and of ours `hypriot_port`,
//! `hypriot_spread`, `hypriot_manager`. A host's own variable outweighs its groups', a nearer group a farther one.

mod ini;
mod range;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::hosts::{Host, MOST, PORT};

/// Groups in groups.
const DEPTH: usize = 32;

/// An inventory, whatever it was written in.
#[derive(Debug, Default, PartialEq)]
pub struct Inventory {
    groups: BTreeMap<String, Group>,
    /// In the order in which hosts appear; of YAML and JSON, whose maps have no order, by name.
    hosts: Vec<String>,
    variables: BTreeMap<String, Variables>,
}

type Variables = BTreeMap<String, String>;

#[derive(Debug, Default, PartialEq)]
struct Group {
    hosts: Vec<String>,
    children: Vec<String>,
    variables: Variables,
}

/// Reads an inventory in any of its three forms.
pub fn parse(text: &str) -> Result<Inventory> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text
        .lines()
        .map(str::trim)
        .find(|l| !l.is_empty() && !l.starts_with(['#', ';']));
    let mut inventory = Inventory::default();
    match first {
        Some(line) if line.starts_with('{') => {
            let value = serde_json::from_str(text).context("the inventory is not whole JSON")?;
            inventory.listing(&value)?;
            inventory.hosts.sort();
        }
        Some(line) if line == "---" || (line.ends_with(':') && !line.starts_with('[')) => {
            let value: Value = serde_saphyr::from_str(text)
                .map_err(|e| anyhow::anyhow!("the inventory is not YAML: {e}"))?;
            let groups = value
                .as_object()
                .context("the inventory is not a map of groups")?;
            for (name, group) in groups {
                inventory.yaml(name, group, 0)?;
            }
            inventory.hosts.sort();
        }
        _ => ini::read(text, &mut inventory)?,
    }
    ensure!(inventory.hosts.len() <= MOST, "more than {MOST} hosts");
    Ok(inventory)
}

impl Inventory {
    fn host(&mut self, group: &str, name: &str) {
        if !self.variables.contains_key(name) {
            self.hosts.push(name.to_owned());
            self.variables.insert(name.to_owned(), Variables::new());
        }
        let group = self.groups.entry(group.to_owned()).or_default();
        if !group.hosts.iter().any(|h| h == name) {
            group.hosts.push(name.to_owned());
        }
    }

    fn group(&mut self, name: &str) -> &mut Group {
        self.groups.entry(name.to_owned()).or_default()
    }

    /// `all: {hosts: {a: {ansible_host: ..}}, vars: {..}, children: {..}}`.
    fn yaml(&mut self, name: &str, value: &Value, depth: usize) -> Result<()> {
        ensure!(depth < DEPTH, "groups are nested deeper than {DEPTH}");
        self.group(name);
        let Some(map) = value.as_object() else {
            ensure!(value.is_null(), "group {name:?} is not a map");
            return Ok(());
        };
        for (key, value) in map {
            let entries = || {
                let map = value.as_object().into_iter().flatten();
                map.map(|(k, v)| (k.as_str(), v))
            };
            match key.as_str() {
                "hosts" => {
                    for (pattern, variables) in entries() {
                        for host in range::expand(pattern)? {
                            self.host(name, &host);
                            self.variables
                                .entry(host)
                                .or_default()
                                .extend(scalars(variables));
                        }
                    }
                }
                "vars" => self.group(name).variables.extend(scalars(value)),
                "children" => {
                    for (child, value) in entries() {
                        self.group(name).children.push(child.to_owned());
                        self.yaml(child, value, depth + 1)?;
                    }
                }
                other => bail!("group {name:?}: {other:?} is none of hosts, vars, children"),
            }
        }
        Ok(())
    }

    /// What `ansible-inventory --list` prints.
    fn listing(&mut self, value: &Value) -> Result<()> {
        let map = value
            .as_object()
            .context("the inventory is not a map of groups")?;
        for (name, group) in map.iter().filter(|(name, _)| *name != "_meta") {
            let words = |key: &str| {
                let list = group.get(key).and_then(Value::as_array);
                let words = list.into_iter().flatten().filter_map(Value::as_str);
                words.map(str::to_owned).collect::<Vec<_>>()
            };
            self.group(name).children.extend(words("children"));
            for host in words("hosts") {
                self.host(name, &host);
            }
            if let Some(variables) = group.get("vars") {
                self.group(name).variables.extend(scalars(variables));
            }
        }
        let hosts = value.pointer("/_meta/hostvars").and_then(Value::as_object);
        for (host, variables) in hosts.into_iter().flatten() {
            let entry = self.variables.entry(host.clone()).or_default();
            entry.extend(scalars(variables));
        }
        Ok(())
    }

    /// The hosts of `group` and of its children, or all.
    pub fn select(&self, group: Option<&str>) -> Result<Vec<Host>> {
        let wanted = match group {
            None | Some("all") => None,
            Some(group) => {
                let known = || self.groups.keys().cloned().collect::<Vec<_>>().join(", ");
                ensure!(
                    self.groups.contains_key(group),
                    "there is no group {group:?}; there are: {}",
                    known()
                );
                let mut members = BTreeSet::new();
                self.members(group, &mut members, 0)?;
                ensure!(!members.is_empty(), "group {group:?} is empty");
                Some(members)
            }
        };
        let chosen = |h: &&String| wanted.as_ref().is_none_or(|w| w.contains(h.as_str()));
        self.hosts
            .iter()
            .filter(chosen)
            .map(|name| self.one(name).with_context(|| format!("host {name:?}")))
            .collect()
    }

    fn members<'a>(
        &'a self,
        group: &str,
        into: &mut BTreeSet<&'a str>,
        depth: usize,
    ) -> Result<()> {
        ensure!(
            depth < DEPTH,
            "group {group:?} contains itself, or groups are nested deeper than {DEPTH}"
        );
        if let Some(group) = self.groups.get(group) {
            into.extend(group.hosts.iter().map(String::as_str));
            for child in &group.children {
                self.members(child, into, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A variable of a host: its own, or that of the nearest group.
    fn variable(&self, host: &str, key: &str) -> Option<&str> {
        if let Some(own) = self.variables.get(host).and_then(|v| v.get(key)) {
            return Some(own);
        }
        let mut near: BTreeSet<&str> = self
            .groups
            .iter()
            .filter(|(_, g)| g.hosts.iter().any(|h| h == host))
            .map(|(name, _)| name.as_str())
            .collect();
        for _ in 0..DEPTH {
            // `all` is the farthest of all
            let found = near.iter().filter(|g| **g != "all");
            let found = found
                .filter_map(|g| self.groups[*g].variables.get(key))
                .next_back();
            if let Some(found) = found {
                return Some(found);
            }
            let parents = self
                .groups
                .iter()
                .filter(|(_, g)| g.children.iter().any(|c| near.contains(c.as_str())));
            let parents: BTreeSet<&str> = parents.map(|(name, _)| name.as_str()).collect();
            if parents.is_empty() {
                break;
            }
            near = parents;
        }
        self.groups
            .get("all")?
            .variables
            .get(key)
            .map(String::as_str)
    }

    fn one(&self, name: &str) -> Result<Host> {
        let get = |key| self.variable(name, key);
        let mut line = name.to_owned();
        for (theirs, ours) in [
            ("ansible_host", "address"),
            ("ansible_port", "ssh_port"),
            ("ansible_user", "user"),
            ("hypriot_spread", "spread"),
        ] {
            if let Some(value) = get(theirs) {
                ensure!(
                    !value.contains("{{"),
                    "{theirs} is a template; use `ansible-inventory --list`"
                );
                line.extend([" ", ours, "=", &value.replace(' ', "_")]);
            }
        }
        if let Some(manager) = get("hypriot_manager") {
            line.extend([" manager=", &manager.to_ascii_lowercase()]);
        }
        let mut hosts = crate::hosts::parse(&line)?;
        ensure!(hosts.len() == 1, "not one host");
        let mut host = hosts.remove(0);
        if let Some(port) = get("hypriot_port") {
            host.port = port
                .parse()
                .with_context(|| format!("hypriot_port: {port:?} is no port"))?;
        } else if get("ansible_host").is_some() {
            host.port = PORT;
        }
        Ok(host)
    }
}

fn scalars(value: &Value) -> Variables {
    let map = value.as_object().into_iter().flatten();
    map.filter_map(|(key, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            _ => return None,
        };
        Some((key.clone(), text))
    })
    .collect()
}

#[cfg(test)]
mod tests;
