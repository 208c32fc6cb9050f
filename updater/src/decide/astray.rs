//! A slot that runs and is not the default, and starts of the default that nobody told the boot loader of.

use super::{Policy, Seen, Step, Tests, Trouble, idle};
use crate::boot::state::UNKNOWN;
use crate::boot::{Spoilt, Trial};
use crate::health::Verdict;
use crate::record::Pending;
use crate::slot::Release;

/// Seconds after boot at which the loop clears the count of failed starts, if `hypriot-came-up.service` did not: a slot that
/// gets so far has come up, and a count that nobody clears would make healthy boards change their slot.
pub const UP_AT_LAST: u64 = 600;

pub(super) fn came_up_untold(seen: &Seen) -> bool {
    // a card that cannot be written is said elsewhere, and counts nothing either
    let writable = !matches!(seen.trouble, Some(Trouble::Card(_)));
    writable && seen.booted == seen.boot.default && seen.boot.starts > 0 && seen.uptime > UP_AT_LAST
}

/// The other slot did not come up, which the boot state knows, and the record still takes it for good.
pub(super) fn left_untold(seen: &Seen) -> bool {
    let known = seen.record.content(!seen.booted).is_some();
    seen.trouble.is_none() && seen.boot.spoilt == Some(Spoilt::Left) && known
}

/// This boot began as a trial, and the boot state says so no longer: of this slot it says that another one is the default, or, since
/// it is lost, what it says of any card.
pub(super) fn is_forgotten(seen: &Seen) -> bool {
    seen.tried && (seen.booted != seen.boot.default || seen.boot.is_lost())
}

/// A trial that the boot state forgot is judged as any other: what runs is kept only if it is good.
pub(super) fn forgotten(seen: &Seen) -> Step {
    match &seen.tests {
        Tests::NotRun => Step::SelfTest,
        Tests::Done(Verdict::Bad(reasons)) => Step::Fail(reasons.clone()),
        Tests::Done(Verdict::Good) => Step::Adopt(seen.booted),
    }
}

/// The boot state was lost, and this slot is on trial for that alone. If the record has nothing against it, an agent that runs is
/// proof enough: what its self-tests find may be as wrong in the other slot, of which nothing is known.
pub(super) fn taken_on_trust(seen: &Seen, trial: &Trial) -> bool {
    let tried = |p: &Pending| p.slot == seen.booted;
    let refused = |r: &Release| seen.record.refusal(&r.digest).is_some();
    trial.id == UNKNOWN
        && !seen.record.pending.as_ref().is_some_and(tried)
        && !seen.record.content(seen.booted).is_some_and(refused)
}

/// The default did not come up, and what failed its trial runs in its place. It is kept if its self-tests hold now, or when the
/// default is to be overwritten anyway; else the next start has the default's turn again.
pub(super) fn standing_in(seen: &Seen, policy: &Policy) -> Step {
    match &seen.tests {
        Tests::NotRun => Step::SelfTest,
        Tests::Done(Verdict::Good) => Step::Adopt(seen.booted),
        Tests::Done(Verdict::Bad(_)) => match idle(seen, policy) {
            Step::Install { .. } | Step::Arm { .. } => Step::Adopt(seen.booted),
            step => step,
        },
    }
}
