//! Whom the cluster can spare: the limit of boards that are out, spread labels, managers.

use std::collections::BTreeSet;

use super::Answer;
use super::decide::View;
use super::journal::{Action, State};

impl View<'_> {
    /// It answers, now.
    pub(super) fn answers(&self, n: usize) -> bool {
        self.seen[n].is_some_and(|s| {
            s.answer.is_some()
                && s.heard
                    .is_some_and(|h| self.now.saturating_sub(h) <= self.plan.quiet)
        })
    }

    /// It wants to be told, at this moment.
    pub(super) fn asks(&self, n: usize) -> bool {
        self.seen[n].is_some_and(|s| s.asks)
    }

    /// It does its work: answers, is good, nothing is being tried on it, and its hooks have put it back into service.
    pub(super) fn up(&self, n: usize) -> bool {
        let answer = self.seen[n].and_then(|s| s.answer.as_ref());
        let works =
            |a: &Answer| self.good(a) && a.trial.as_ref().is_none_or(|t| t.armed) && !a.owes;
        self.answers(n) && answer.is_some_and(works)
    }

    /// Whether it is missed by the cluster, or may be at any moment because of us.
    pub(super) fn is_out(&self, n: usize) -> bool {
        match self.track(n).map(|t| &t.state) {
            Some(State::Unfit(_)) | None => false,
            // soaking: it has the version for good and does its work
            Some(State::Out(told)) => {
                let answer = self.seen[n].and_then(|s| s.answer.as_ref());
                let settled = answer.is_some_and(|a| {
                    a.version == told.version
                        && a.trial.is_none()
                        && a.slot != told.from.slot
                        && a.last
                            .as_ref()
                            .is_some_and(|l| l.confirmed() && l.version == told.version)
                });
                told.action == Action::Download || !(settled && self.up(n))
            }
            Some(_) => !self.up(n),
        }
    }
}

/// Whom the cluster can spare.
pub(super) struct Room<'a, 'b> {
    view: &'b View<'a>,
    pub(super) out: BTreeSet<usize>,
    allowed: usize,
}

impl<'a, 'b> Room<'a, 'b> {
    pub(super) fn new(view: &'b View<'a>) -> Self {
        Self {
            view,
            out: (0..view.plan.boards.len())
                .filter(|n| view.is_out(*n))
                .collect(),
            allowed: view.plan.allowed(),
        }
    }

    pub(super) fn admits(&self, n: usize) -> bool {
        let boards = &self.view.plan.boards;
        let one = &boards[n];
        let others = || self.out.iter().filter(|m| **m != n).map(|m| &boards[*m]);
        let spread = one.spread.is_none() || others().all(|o| o.spread != one.spread);
        // A manager that is unfit is missed by the quorum all the same.
        let managers = !one.manager
            || (0..boards.len()).all(|m| {
                m == n || !boards[m].manager || (!self.out.contains(&m) && self.view.up(m))
            });
        others().count() < self.allowed && spread && managers
    }

    pub(super) fn add(&mut self, n: usize) {
        self.out.insert(n);
    }
}
