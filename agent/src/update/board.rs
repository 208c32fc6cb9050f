//! This board: its card, its slots, its memory, and a look at all of them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use hypriot_updater::boot::{BootState, Phase, Trial};
use hypriot_updater::data::Written;
use hypriot_updater::decide::terms::is_kept;
use hypriot_updater::decide::{Offer, Policy, Seen, Step, Tests, Trouble, decide, phase};
use hypriot_updater::health::{TestResult, verdict};
use hypriot_updater::record::Record;
use hypriot_updater::slot::{Digest, Slot};

use super::hooks::Event;
use super::lock::{FleetLock, Http};
use super::machine;
use super::offer::Tuf;
use super::ports::{Machine, Releases, Store};
use super::retry::Retry;
use super::store::{self, Directory};
use crate::card::disk::Card;
use crate::card::loader;
use crate::card::ports::{Bootloader, Slots};
use crate::cmdline::{self, Told};
use crate::config::Settings;
use crate::neighbours::Shelves;
use crate::paths::{CARD, DATA_LOST, TRIED};
use crate::report::{
    AttemptView, DrillView, FetchedView, LockView, SlotView, TrialView, UpdateView, WaitsView,
};

/// What the update works on: the card and the world, through their ports.
pub struct Board {
    /// Settings of image and owner.
    pub settings: Settings,
    /// The slot that runs.
    pub booted: Slot,
    /// This boot began as a trial of it.
    pub tried: bool,
    /// The boot loader's memory.
    pub boot: Box<dyn Bootloader>,
    /// The slots on the card.
    pub slots: Box<dyn Slots>,
    /// Our memory.
    pub store: Box<dyn Store>,
    /// The running system.
    pub machine: Box<dyn Machine>,
    /// Who offers releases.
    pub releases: Box<dyn Releases>,
    /// The lock service of the fleet.
    pub lock: Box<dyn FleetLock>,
    /// Where neighbours learn what this board holds; none where they are switched off.
    pub near: Option<Shelves>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Board")
            .field("settings", &self.settings)
            .field("booted", &self.booted)
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

/// What the agent knows since it started; lost with it, and then found out again.
#[derive(Debug)]
pub struct Session {
    /// What the repository said last.
    pub offer: Offer,
    /// Uptime when it was asked.
    pub asked: u64,
    /// Self-tests since this boot.
    pub tests: Option<Vec<TestResult>>,
    /// Uptime when they ended.
    pub tested: u64,
    /// The last step that went wrong, until one goes well.
    pub error: Option<String>,
    /// How many went wrong since.
    pub failures: u32,
    /// What the lock service answered last, if that was no.
    pub lock: Retry,
    /// It was told in this boot that the board is steady.
    pub steady: bool,
    /// It was told that a lock is kept, or has no word for that.
    pub told: bool,
    /// What is done before a restart was done, for the release with this digest.
    pub prepared: Option<Digest>,
    /// Or it went wrong.
    pub preparing: Retry,
    /// Hooks of after an update, if they went wrong.
    pub after: Retry,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            offer: Offer::Due,
            asked: 0,
            tests: None,
            tested: 0,
            error: None,
            failures: 0,
            lock: Retry::default(),
            steady: false,
            told: false,
            prepared: None,
            preparing: Retry::default(),
            after: Retry::default(),
        }
    }
}

/// The slot that runs and the card it runs from: known without any file that an owner, or a full disk, can break.
#[derive(Debug)]
pub struct Place {
    /// The slot.
    pub booted: Slot,
    /// Who said so, on the kernel's command line.
    told: Told,
    /// The card, by the initramfs.
    pub card: Card,
}

impl Place {
    /// Fails on a machine that was not started by our initramfs.
    pub fn find() -> anyhow::Result<Self> {
        let line = std::fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
        let told = cmdline::parse(&line)
            .context("this system was not started from a slot, so it cannot be updated")?
            .slot;
        let booted = loader::slot(told).context("asking the firmware for the slot")?;
        let device = std::fs::read_to_string(CARD)
            .with_context(|| format!("reading {CARD}, which the initramfs writes"))?;
        let device = PathBuf::from(device.trim());
        Ok(Self {
            booted,
            told,
            card: Card { device },
        })
    }

    /// The boot loader's memory on this card.
    pub fn boot(&self) -> anyhow::Result<Box<dyn Bootloader>> {
        let opened = loader::open(&self.card, self.told);
        opened
            .map(|memory| Box::new(memory) as Box<dyn Bootloader>)
            .with_context(|| format!("opening {} (are you root?)", self.card.device.display()))
    }
}

impl Board {
    /// Finds everything. Fails on a machine that was not started by our initramfs.
    pub fn open(settings: Settings) -> anyhow::Result<Self> {
        let place = Place::find()?;
        let lost = Path::new(DATA_LOST).exists();
        let lock = Http::new(settings.net.clone());
        let near = settings.neighbours.then(|| Shelves::of(&place.card));
        Ok(Self {
            settings,
            near,
            booted: place.booted,
            tried: Path::new(TRIED).exists(),
            boot: place.boot()?,
            slots: Box::new(place.card),
            store: Box::new(Directory::new(Path::new(store::DIRECTORY), lost)),
            machine: Box::new(machine::Board),
            releases: Box::new(Tuf::default()),
            lock: Box::new(lock),
        })
    }

    /// Looks at everything the decision depends on. What cannot be looked at is part of what is seen: no fault of the
    /// card or of the data partition may end the loop that has to lead the way back.
    pub fn see(&self, session: &Session) -> Seen {
        let (boot, record) = (self.boot.state(), self.store.record());
        let trouble = self.trouble(boot.as_ref().err(), record.as_ref().err());
        let boot = boot.unwrap_or_else(|_| BootState::fresh());
        let record = record.unwrap_or_default();
        // a trial is compared with how the board was before
        let baseline = baseline(&record, &boot, self.booted);
        let tests = session.tests.as_ref().map_or(Tests::NotRun, |results| {
            Tests::Done(verdict(results, baseline))
        });
        let uptime = self.machine.uptime();
        let stale = uptime.saturating_sub(session.asked) >= self.settings.poll;
        let offer = if stale {
            Offer::Due
        } else {
            session.offer.clone()
        };
        Seen {
            booted: self.booted,
            running: self.settings.version.clone(),
            state_version: self.settings.state_version,
            boot,
            terms: self.terms(session, &record, &offer),
            offer,
            tests,
            tests_age: uptime.saturating_sub(session.tested),
            report: self.store.failure().map(|r| (r.trial, r.reasons)),
            tried: self.tried,
            boot_id: self.machine.boot_id(),
            trouble,
            uptime,
            record,
        }
    }

    /// The worst first: what makes all the rest unknown.
    fn trouble(
        &self,
        boot: Option<&std::io::Error>,
        record: Option<&anyhow::Error>,
    ) -> Option<Trouble> {
        let unread = boot.map(|e| Trouble::BootState(e.to_string()));
        unread
            .or_else(|| self.store.is_lost().then_some(Trouble::DataLost))
            .or_else(|| record.map(|e| Trouble::Record(format!("{e:#}"))))
            .or_else(|| self.settings.trouble.clone().map(Trouble::Settings))
            .or_else(|| {
                let refused = self.slots.check().err()?;
                Some(Trouble::Card(refused.to_string()))
            })
    }
}

/// The results of before the update, if `booted` is on trial.
fn baseline<'a>(record: &'a Record, boot: &BootState, booted: Slot) -> Option<&'a [TestResult]> {
    boot.on_trial(booted)?;
    record.pending.as_ref().map(|p| p.baseline.as_slice())
}

/// What is seen, in the words of the report.
pub fn view(seen: &Seen, error: Option<&str>) -> UpdateView {
    let slot = |slot: Slot| {
        let booted = slot == seen.booted;
        let known = seen.record.content(slot).map(|r| r.version.to_string());
        let version = if booted {
            Some(seen.running.to_string())
        } else {
            known
        };
        let state = match (&seen.boot.trial, seen.boot.spoilt) {
            (Some(t), _) if t.slot == slot => t.phase.name(),
            _ if slot == seen.boot.default => "good",
            (_, Some(how)) => how.name(),
            _ if version.is_some() => "idle",
            _ => "empty",
        };
        Some(SlotView {
            version,
            state: state.into(),
        })
    };
    let on_its_way = |t: &Trial| {
        seen.record
            .pending
            .as_ref()
            .filter(|p| p.slot == t.slot)
            .map_or_else(String::new, |p| p.release.version.to_string())
    };
    UpdateView {
        a: slot(Slot::A),
        b: slot(Slot::B),
        booted: Some(seen.booted.name().into()),
        default: Some(seen.boot.default.name().into()),
        trial: seen
            .boot
            .trial
            .as_ref()
            // a lost one is tried once more, which may have to wait
            .filter(|t| t.phase != Phase::Failed)
            .map(|t| TrialView {
                slot: t.slot.name().into(),
                version: on_its_way(t),
                state: t.phase.name().into(),
                deadline_seconds: t.deadline,
            }),
        last_attempt: seen.record.last.as_ref().map(|a| AttemptView {
            version: a.release.version.to_string(),
            outcome: a.outcome.name().into(),
            reason: (!a.reasons.is_empty()).then(|| a.reasons.join("; ")),
            at: a.at,
            seconds: a.seconds,
        }),
        phase: phase(seen).into(),
        worn: seen.record.worn.as_ref().map(|worn| {
            let (slot, segments, at) = (worn.slot, worn.segments, worn.at);
            format!("slot {slot}: {segments} MiB did not read as they were written (seen {at})")
        }),
        newer_state: newer_state(seen),
        trouble: seen
            .trouble
            .as_ref()
            .map(ToString::to_string)
            .or_else(|| error.map(str::to_owned)),
        waits: None,
        lock: lock_view(seen),
        drill: seen.record.drill.as_ref().map(|d| DrillView {
            passed: d.passed(),
            outcome: d.outcome.name().into(),
            at: d.at,
            seconds: d.seconds(),
        }),
        owes: owes(seen).map(|event| event.name().into()),
        fetched: seen.record.fetched.map(|f| FetchedView {
            source: f.source,
            neighbours: f.neighbours,
            lenders: f.lenders as u64,
        }),
    }
}

/// Said when what runs does not read all that a newer release may have written.
fn newer_state(seen: &Seen) -> Option<String> {
    let Written { state_version, by } = seen.written();
    let reads = seen.state_version;
    (state_version > reads).then(|| {
        format!(
            "{by} may have given the data of services state version {state_version}, and {} reads up to {reads}",
            seen.running
        )
    })
}

/// The hooks that put back what those of before a restart prepared, once the trial is over or was called off.
fn owes(seen: &Seen) -> Option<Event> {
    let after = seen.record.after.as_ref()?;
    seen.boot
        .trial
        .is_none()
        .then(|| Event::after(after.outcome))
}

/// The lock as it is known here; none where no service is set.
fn lock_view(seen: &Seen) -> Option<LockView> {
    let held = seen.record.lock.as_ref();
    let service = &seen.terms.lock;
    if held.is_none() && !service.set {
        return None;
    }
    let state = match held {
        None => "none",
        Some(held) if is_kept(&seen.record, held) => "kept",
        Some(held) if held.granted => "held",
        Some(_) => "asked",
    };
    Some(LockView {
        state: state.into(),
        since: held.map(|h| h.at),
        refused: service.later.clone(),
    })
}

/// [`view`], with what the loop waits for.
pub fn view_of(seen: &Seen, policy: &Policy, error: Option<&str>) -> UpdateView {
    let waits = match decide(seen, policy) {
        Step::Wait(why) => Some(WaitsView {
            reason: why.name().into(),
            text: why.to_string(),
        }),
        _ => None,
    };
    UpdateView {
        waits,
        ..view(seen, error)
    }
}

#[cfg(test)]
mod tests {
    use hypriot_updater::record::{After, Outcome};

    use super::*;
    use crate::update::why::tests::calm;

    #[test]
    fn who_waits_for_a_board_is_told_that_its_hooks_have_not_put_it_back_into_service() {
        let mut seen = calm();
        assert_eq!(view(&seen, None).owes, None);
        for (outcome, hooks) in [
            (Outcome::Confirmed, "after-commit"),
            (Outcome::Failed, "after-rollback"),
            (Outcome::NeverTried, "after-rollback"),
        ] {
            seen.record.after = Some(After {
                outcome,
                version: seen.running.clone(),
            });
            assert_eq!(view(&seen, None).owes.as_deref(), Some(hooks));
        }
        // how it ends, and with it which hooks, is open as long as the trial is
        seen.boot.trial = Some(Trial {
            slot: Slot::B,
            phase: Phase::Armed,
            id: Digest([2; 32]).short(),
            rearms: 0,
            deadline: 900,
        });
        assert_eq!(view(&seen, None).owes, None);
    }
}
