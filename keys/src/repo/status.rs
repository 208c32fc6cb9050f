//! What a repository holds and what it still waits for, as values to show.

use std::string::String;
use std::vec::Vec;

use serde::Serialize;

use super::{RepoError, Repository, load, typed};
use crate::schema::{Header, Listing, Root, TOP_LEVEL, Targets};
use crate::signed::{Signed, Signers};
use crate::time::Timestamp;
use crate::workflow;

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleStatus {
    /// The role.
    pub role: String,
    /// `published` or `staged`.
    pub state: &'static str,
    /// Version inside.
    pub version: u64,
    /// Its date.
    pub expires: Timestamp,
    /// Good signatures of its holders.
    pub signatures: u64,
    /// How many it needs.
    pub threshold: u64,
    /// Ids of the holders who have not signed.
    pub missing: Vec<String>,
}

impl Repository {
    /// Every published and staged file, roots first.
    pub fn status(&self) -> Result<Vec<RoleStatus>, RepoError> {
        let mut roles = self.known_roles()?;
        roles.extend(["snapshot".into(), "timestamp".into()]);
        let mut found = Vec::new();
        for role in &roles {
            for (state, path) in [
                ("published", self.current_path(role)),
                ("staged", self.staged_path(role)),
            ] {
                if let Some(file) = load(&path)? {
                    found.push(self.role_status(role, state, &file)?);
                }
            }
        }
        Ok(found)
    }

    fn role_status(
        &self,
        role: &str,
        state: &'static str,
        file: &Signed,
    ) -> Result<RoleStatus, RepoError> {
        let header = header(role, file)?;
        let mut status = RoleStatus {
            role: role.into(),
            state,
            version: header.version,
            expires: header.expires,
            signatures: 0,
            threshold: 1,
            missing: Vec::new(),
        };
        let judge = |by: &Signers<'_>| {
            let signed = |id: &String| file.signatures.iter().any(|s| s.keyid == *id);
            let missing: Vec<String> = by.keyids.iter().filter(|id| !signed(id)).cloned().collect();
            (file.count(by), by.threshold, missing)
        };
        // A staged root is judged by its own keys here; publication asks the old ones too. A published file is judged by
        // what is published, a staged one by what it will be published with.
        let newest = |role: &str| {
            if state == "staged" {
                self.file(role)
            } else {
                Ok(self.current_path(role))
            }
        };
        let found = if TOP_LEVEL.contains(&role) {
            let root = load(&newest("root")?)?.ok_or(RepoError::NotPublished)?;
            let root: Root = typed("root", root.signed)?;
            Some(judge(&workflow::root_signers(&root, role, "")))
        } else {
            self.delegator(role, state, judge)?
        };
        if let Some((signatures, threshold, missing)) = found {
            status.signatures = signatures;
            status.threshold = threshold;
            status.missing = missing;
        }
        Ok(status)
    }

    /// What `judge` says with the keys of the first role that delegates to `role`.
    fn delegator<T>(
        &self,
        role: &str,
        state: &str,
        judge: impl Fn(&Signers<'_>) -> T,
    ) -> Result<Option<T>, RepoError> {
        for parent in self.known_roles()?.iter().skip(1) {
            let path = if state == "staged" {
                self.file(parent)?
            } else {
                self.current_path(parent)
            };
            let Some(file) = load(&path)? else { continue };
            let parent: Targets = typed(parent, file.signed)?;
            let Some(delegations) = parent.delegations else {
                continue;
            };
            if let Some(found) = delegations.roles.iter().find(|r| r.name == role) {
                return Ok(Some(judge(&Signers {
                    role,
                    by: "",
                    keys: &delegations.keys,
                    keyids: &found.keys.keyids,
                    threshold: found.keys.threshold,
                })));
            }
        }
        Ok(None)
    }
}

fn header(role: &str, file: &Signed) -> Result<Header, RepoError> {
    let signed = file.signed.clone();
    Ok(match role {
        "root" => typed::<Root>(role, signed)?.header,
        "snapshot" | "timestamp" => typed::<Listing>(role, signed)?.header,
        _ => typed::<Targets>(role, signed)?.header,
    })
}
