//! The decision: [`decide`].
//!
//! In this order: end what has ended (reached, failed, silent), stop if too many failed, give lost orders again, bring
//! boards back if that was asked for, take the next boards of the wave. When nothing is left, say how it went; when
//! nothing can be done, say why.

use std::collections::BTreeMap;

use super::journal::{Action, Before, Journal, Outcome, State, Track, What};
use super::plan::{Canary, Member, Plan};
use super::room::Room;
use super::{BoardSeen, Order};

/// An order is given again when its messenger is gone and the board shows nothing of it for this long.
const AGAIN: u64 = 60;

/// What to do next. Deterministic; the same values give the same orders.
pub fn decide(plan: &Plan, seen: &[BoardSeen], journal: &Journal, now: u64) -> Vec<Order> {
    if journal.ended.is_some() {
        return Vec::new();
    }
    let by_name: BTreeMap<&str, &BoardSeen> = seen.iter().map(|b| (b.name.as_str(), b)).collect();
    let names = || plan.boards.iter().map(|m| m.name.as_str());
    let view = View {
        plan,
        journal,
        now,
        seen: names().map(|name| by_name.get(name).copied()).collect(),
        tracks: names().map(|name| journal.track(name)).collect(),
        waves: plan.waves(journal),
    };
    let looks = view.preflight();
    if !looks.is_empty() {
        return looks;
    }
    let notes = view.settle();
    if !notes.is_empty() {
        // what follows from them is decided from the journal that has them
        return notes;
    }
    if let Some(stop) = view.threshold() {
        return vec![stop];
    }
    let mut orders = view.again();
    if journal.rolls_back(plan) {
        view.bring_back(&mut orders);
    } else if journal.paused.is_none() && journal.stopped.is_none() && journal.aborted.is_none() {
        view.take(&mut orders);
    }
    if orders.is_empty() {
        orders.push(view.end_or_wait());
    }
    orders
}

impl Journal {
    /// Whether boards are to go back to what they had.
    pub fn rolls_back(&self, plan: &Plan) -> bool {
        self.rollback.is_some() || (plan.rollback_updated && self.stopped.is_some())
    }
}

/// All by the number of the board in the plan: a name is looked up once for a decision over a thousand boards, and not once
/// for each question about it.
pub(super) struct View<'a> {
    pub(super) plan: &'a Plan,
    pub(super) journal: &'a Journal,
    pub(super) now: u64,
    pub(super) seen: Vec<Option<&'a BoardSeen>>,
    tracks: Vec<Option<&'a Track>>,
    pub(super) waves: Vec<Vec<usize>>,
}

/// Of a board that nothing was written about.
const NEW: &State = &State::New;

impl<'a> View<'a> {
    fn members(
        &self,
    ) -> impl Iterator<Item = (usize, &'a Member, &'a State, Option<&'a BoardSeen>)> {
        let plan = self.plan;
        plan.boards.iter().enumerate().map(|(n, member)| {
            let state = self.tracks[n].map_or(NEW, |t| &t.state);
            (n, member, state, self.seen[n])
        })
    }

    pub(super) fn track(&self, n: usize) -> Option<&'a Track> {
        self.tracks[n]
    }

    /// All boards are looked at before any is told anything.
    fn preflight(&self) -> Vec<Order> {
        if self.journal.aborted.is_some() {
            return Vec::new();
        }
        let late = self.now.saturating_sub(self.journal.began) > self.plan.preflight;
        let mut orders = Vec::new();
        let mut open = false;
        for (_, member, state, seen) in self.members() {
            if *state != State::New {
                continue;
            }
            open = true;
            let watched =
                seen.is_some_and(|s| self.now.saturating_sub(s.watched) > self.plan.preflight);
            let busy = seen.is_some_and(|s| s.busy);
            if late && watched {
                orders.push(Order::Note(What::Unfit {
                    board: member.name.clone(),
                    reason: format!(
                        "could not be looked at within {} s: {}",
                        self.plan.preflight,
                        unseen(self.plan.pull, seen)
                    ),
                }));
            } else if !busy {
                orders.push(Order::Look(member.name.clone()));
            }
        }
        if open && orders.is_empty() {
            orders.push(Order::Wait("looking at all boards first".into()));
        }
        orders
    }

    /// Writes down what has come to an end.
    fn settle(&self) -> Vec<Order> {
        let twins = self.twins();
        if !twins.is_empty() {
            return twins;
        }
        let unfit: Vec<String> = self
            .members()
            .filter_map(|(_, member, state, _)| match state {
                State::Unfit(why) => Some(format!("{}: {why}", member.name)),
                _ => None,
            })
            .collect();
        let fresh = self.members().all(|(_, _, state, _)| {
            matches!(state, State::Ready | State::Already | State::Unfit(_))
        });
        if !unfit.is_empty() && !self.plan.skip_unfit && fresh && self.journal.aborted.is_none() {
            return vec![Order::Note(What::Ended {
                outcome: Outcome::Refused,
            })];
        }
        self.members()
            .filter_map(|(n, member, state, seen)| match state {
                State::Out(told) => {
                    let what = match self.judge(n, told, seen?)? {
                        Ok(version) => What::Reached {
                            board: member.name.clone(),
                            version,
                        },
                        Err(reason) => What::Failed {
                            board: member.name.clone(),
                            reason,
                        },
                    };
                    Some(Order::Note(what))
                }
                _ => None,
            })
            .collect()
    }

    /// Two names of one board would take it out twice, or wait for it twice.
    fn twins(&self) -> Vec<Order> {
        let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
        let mut orders = Vec::new();
        for (n, member, state, _) in self.members() {
            let Some(facts) = self.track(n).and_then(|t| t.facts.as_ref()) else {
                continue;
            };
            if facts.id.is_empty() || !matches!(state, State::Ready | State::Already) {
                continue;
            }
            if let Some(other) = ids.insert(&facts.id, &member.name) {
                let reason = |of: &str| {
                    format!(
                        "has the identity of {of} (id {}): it is one board with two names, or a cloned card; give \
                         it an identity of its own, or name it once",
                        facts.id
                    )
                };
                for (board, twin) in [(&*member.name, other), (other, &*member.name)] {
                    orders.push(Order::Note(What::Unfit {
                        board: board.to_owned(),
                        reason: reason(twin),
                    }));
                }
            }
        }
        orders
    }

    /// One failed canary, or more failed boards than allowed: the rollout stops by itself.
    fn threshold(&self) -> Option<Order> {
        if self.journal.stopped.is_some()
            || self.journal.aborted.is_some()
            || self.journal.rollback.is_some()
        {
            return None;
        }
        let failed: Vec<(usize, &str)> = self
            .plan
            .boards
            .iter()
            .enumerate()
            .filter(|(_, m)| !self.journal.forgiven.contains(&m.name))
            .filter_map(|(n, _)| match &self.tracks[n]?.state {
                State::Failed(why) => Some((n, why.as_str())),
                _ => None,
            })
            .collect();
        let name = |n: usize| &self.plan.boards[n].name;
        let canaries = self
            .waves
            .first()
            .filter(|_| self.plan.canary != Canary::None);
        let reason = if let Some((n, why)) = failed
            .iter()
            .find(|(n, _)| canaries.is_some_and(|c| c.contains(n)))
        {
            format!("canary {} {why}", name(*n))
        } else if failed.len() > self.plan.max_failures {
            let (n, why) = failed.last()?;
            format!(
                "{} failed, {} allowed; the last is {}, which {why}",
                failed.len(),
                self.plan.max_failures,
                name(*n)
            )
        } else {
            return None;
        };
        Some(Order::Note(What::Stopped { reason }))
    }

    /// Orders whose messenger is gone and of which the board shows nothing.
    fn again(&self) -> Vec<Order> {
        let stopped = self.journal.stopped.is_some()
            || self.journal.aborted.is_some()
            || self.journal.paused.is_some();
        self.members()
            .filter_map(|(_, member, state, seen)| {
                let (State::Out(told), Some(seen)) = (state, seen) else {
                    return None;
                };
                // A board of which nobody knows whether it heard is not told more than it may have heard already.
                let wanted = told.action == Action::Rollback || !stopped;
                let answer = seen.answer.as_ref()?;
                let fresh = seen
                    .heard
                    .is_some_and(|h| self.now.saturating_sub(h) < self.plan.quiet);
                let started = answer.trial.as_ref().is_some_and(|t| !t.armed)
                    || answer.version == told.version;
                let due = self.now.saturating_sub(told.again) >= AGAIN;
                (wanted && fresh && !seen.busy && !started && due).then(|| Order::Act {
                    board: member.name.clone(),
                    action: told.action,
                    version: told.version.clone(),
                    from: told.from.clone(),
                })
            })
            .collect()
    }

    /// The next boards of the wave that goes on, as many as may be out.
    fn take(&self, orders: &mut Vec<Order>) {
        let action = if self.plan.download_only {
            Action::Download
        } else {
            Action::Update
        };
        let Some(wave) = self.current_wave() else {
            return;
        };
        let mut room = Room::new(self);
        for n in wave {
            let Some(Track {
                state: State::Ready,
                facts: Some(facts),
                ..
            }) = self.track(*n)
            else {
                continue;
            };
            let Some(version) = &facts.target else {
                continue;
            };
            let can_be_told = !self.plan.pull || self.asks(*n);
            if can_be_told && room.admits(*n) && self.up(*n) {
                room.add(*n);
                let name = &self.plan.boards[*n].name;
                orders.push(Order::Act {
                    board: name.clone(),
                    action,
                    version: version.clone(),
                    from: self.before(*n, &facts.before),
                });
            }
        }
    }

    fn current_wave(&self) -> Option<&Vec<usize>> {
        self.waves.iter().find(|wave| {
            wave.iter().any(|n| {
                matches!(
                    self.track(*n).map(|t| &t.state),
                    Some(State::Ready | State::Out(_))
                )
            })
        })
    }

    /// What the board is now, as far as it answered; what it was at first, otherwise.
    fn before(&self, n: usize, first: &Before) -> Before {
        match self.seen[n].and_then(|s| s.answer.as_ref()) {
            Some(answer) => Before {
                version: answer.version.clone(),
                slot: answer.slot.clone(),
                last: answer.last.clone(),
            },
            None => first.clone(),
        }
    }

    /// The boards that run the release, one after the other and never more than allowed, back to what they had.
    fn bring_back(&self, orders: &mut Vec<Order>) {
        let mut room = Room::new(self);
        for n in self.to_bring_back() {
            let Some(facts) = self.track(n).and_then(|t| t.facts.as_ref()) else {
                continue;
            };
            if room.admits(n) && self.answers(n) {
                room.add(n);
                let name = &self.plan.boards[n].name;
                orders.push(Order::Act {
                    board: name.clone(),
                    action: Action::Rollback,
                    version: facts.before.version.clone(),
                    from: self.before(n, &facts.before),
                });
            }
        }
    }

    fn to_bring_back(&self) -> Vec<usize> {
        (0..self.plan.boards.len())
            .filter(|n| {
                let Some(track) = self.track(*n) else {
                    return false;
                };
                let runs_it = || {
                    let target = track.facts.as_ref().and_then(|f| f.target.as_ref());
                    let seen = self.seen[*n];
                    let version = seen.and_then(|s| s.answer.as_ref()).map(|a| &a.version);
                    target.is_some() && target == version
                };
                match &track.state {
                    State::Reached(Action::Update) => true,
                    // once: a board that could not be brought back is left to its owner
                    State::Failed(_) => runs_it() && !track.sent_back,
                    _ => false,
                }
            })
            .collect()
    }

    fn end_or_wait(&self) -> Order {
        let out: Vec<&str> = self
            .members()
            .filter(|(_, _, state, _)| matches!(state, State::Out(_)))
            .map(|(_, member, ..)| member.name.as_str())
            .collect();
        if !out.is_empty() {
            return Order::Wait(format!("waiting for {}", list(&out)));
        }
        let end = |outcome| Order::Note(What::Ended { outcome });
        if self.journal.rolls_back(self.plan) {
            let left: Vec<&str> = self
                .to_bring_back()
                .into_iter()
                .map(|n| self.plan.boards[n].name.as_str())
                .collect();
            return if left.is_empty() || self.stuck() {
                end(Outcome::RolledBack)
            } else {
                Order::Wait(format!(
                    "to bring back: {}; {}",
                    list(&left),
                    self.hindrance()
                ))
            };
        }
        if self.journal.aborted.is_some() {
            return end(Outcome::Aborted);
        }
        if self.journal.stopped.is_some() {
            return end(Outcome::Stopped);
        }
        let left: Vec<&str> = self
            .members()
            .filter(|(_, _, state, _)| **state == State::Ready)
            .map(|(_, member, ..)| member.name.as_str())
            .collect();
        if left.is_empty() {
            return end(self.outcome());
        }
        if let Some(by) = &self.journal.paused {
            return Order::Wait(format!(
                "paused by {by}; `hypriot-fleet resume {}`",
                self.journal.run
            ));
        }
        let why = self.hindrance();
        if self.stuck() {
            return Order::Note(What::Stopped {
                reason: format!(
                    "no board could be taken for {} s: {why}",
                    self.plan.patience
                ),
            });
        }
        Order::Wait(why)
    }

    /// Boards that come by themselves may have a reason not to: a window, an owner who is away.
    fn stuck(&self) -> bool {
        if self.plan.pull {
            return false;
        }
        // a hand that was just started has not heard of the boards yet
        let watched = self
            .seen
            .iter()
            .flatten()
            .map(|s| s.watched)
            .max()
            .unwrap_or(0);
        self.now.saturating_sub(self.journal.last.max(watched)) > self.plan.patience
    }

    fn outcome(&self) -> Outcome {
        let any = |f: fn(&State) -> bool| self.members().any(|(_, _, state, _)| f(state));
        let bad = any(|s| matches!(s, State::Failed(_) | State::Unfit(_)));
        match (bad, any(|s| matches!(s, State::Reached(_)))) {
            (true, _) => Outcome::Partly,
            (false, true) => Outcome::Done,
            (false, false) => Outcome::Nothing,
        }
    }

    /// Why no board can be taken.
    fn hindrance(&self) -> String {
        let room = Room::new(self);
        let bad: Vec<&str> = room
            .out
            .iter()
            .map(|n| self.plan.boards[*n].name.as_str())
            .collect();
        if bad.is_empty() {
            return "the next boards do not answer, or are not healthy".into();
        }
        format!(
            "{} out or not healthy, {} allowed at a time (and never two of a spread label, nor two managers)",
            list(&bad),
            self.plan.allowed()
        )
    }
}

/// Why a board could not be looked at.
fn unseen(pull: bool, seen: Option<&BoardSeen>) -> &str {
    match seen.filter(|s| s.answer.is_some()) {
        Some(seen) => seen.trouble.as_deref().unwrap_or("it takes too long"),
        None if pull => "it has said nothing",
        None => "it answers nothing over HTTP; is it on, and is that its name and port?",
    }
}

fn list(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let mut text = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        let more = (names.len() - SHOWN).to_string();
        text.extend([" and ", &more, " more"]);
    }
    text
}
