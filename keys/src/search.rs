//! 5.6.7: the pre-order depth-first search for the role that lists a target, as a value that says which role it needs next.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Error;
use crate::names;
use crate::schema::{Target, Targets};
use crate::verified::Verified;

/// A role to load, and the role that delegates to it (`None` for the top level).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The role.
    pub role: String,
    /// Position of its delegator among the roles given to [`Search::visited`] so far.
    pub parent: Option<usize>,
}

/// The search for one name. It holds no metadata: [`Search::advance`] says what to load, [`Search::visited`] takes what it says.
#[derive(Debug)]
pub struct Search {
    name: String,
    limit: usize,
    stack: Vec<Visit>,
    seen: BTreeSet<String>,
    loaded: usize,
}

impl Search {
    /// A search that visits at most `limit` roles.
    pub fn new(name: &str, limit: usize) -> Self {
        Self {
            name: name.into(),
            limit,
            stack: alloc::vec![Visit {
                role: "targets".into(),
                parent: None,
            }],
            seen: BTreeSet::new(),
            loaded: 0,
        }
    }

    /// The next role to look into.
    pub fn advance(&mut self) -> Result<Visit, Error> {
        // 5.6.7.1 "If this role has been visited before, then skip this role (so that cycles are avoided)."
        while let Some(visit) = self.stack.pop() {
            if self.seen.contains(&visit.role) {
                continue;
            }
            // "Otherwise, if an application-specific maximum number of roles have been visited, then go to step 5.7", which
            // finds nothing; said with a variant of its own, because the cause is another.
            if self.seen.len() >= self.limit {
                return Err(Error::TooManyRoles {
                    name: self.name.clone(),
                    limit: self.limit,
                });
            }
            self.seen.insert(visit.role.clone());
            return Ok(visit);
        }
        // 5.7.2 "If there is no targets metadata about this target, abort the update cycle and report".
        Err(Error::NoSuchTarget {
            name: self.name.clone(),
        })
    }

    /// Looks into the role that was asked for; the target if it is there.
    pub fn visited(&mut self, role: &Verified<Targets>) -> Option<Verified<Target>> {
        let this = self.loaded;
        self.loaded += 1;
        // 5.6.7.1 "Otherwise, if this role contains metadata about the desired target, then go to step 5.7".
        if let Some(target) = role.targets.get(&self.name) {
            return Some(Verified::new(target.clone()));
        }
        // 5.6.7.2 "Otherwise, recursively search the list of delegations in order of appearance."
        let delegations = role.delegations.as_ref();
        let covering = delegations
            .into_iter()
            .flat_map(|d| &d.roles)
            .filter(|r| names::covers(r, &self.name));
        let mut children = Vec::new();
        for child in covering {
            children.push(Visit {
                role: child.name.clone(),
                parent: Some(this),
            });
            // 5.6.7.2.1 A terminating delegation ends the search once it and its descendants were looked into: whatever
            // waits on the stack, in every level, is dropped.
            if child.terminating {
                self.stack.clear();
                break;
            }
            // More than may be visited need not be kept.
            if children.len() > self.limit {
                break;
            }
        }
        self.stack.extend(children.into_iter().rev());
        None
    }
}
