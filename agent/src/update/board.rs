//! This board: its card, its slots, its memory, and a look at all of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hypriot_updater::boot::{Phase, Trial};
use hypriot_updater::decide::{Offer, Seen, Tests, phase};
use hypriot_updater::health::{TestResult, verdict};
use hypriot_updater::slot::Slot;

use crate::card::bootloader::RawState;
use crate::card::disk::{Card, Window};
use crate::card::ports::Bootloader;
use crate::config::Settings;
use crate::init::cmdline;
use crate::report::{AttemptView, SlotView, TrialView, UpdateView};
use crate::update::store::Memory;

/// Where the initramfs says which device it booted from.
pub const CARD: &str = "/run/hypriot/card";
/// Says that a trial was judged bad in this boot: what follows is the reboot, not another verdict.
pub const JUDGED: &str = "/run/hypriot/judged";

/// What the update works on.
#[derive(Debug)]
pub struct Board {
    /// Settings of image and owner.
    pub settings: Settings,
    /// The card.
    pub card: Card,
    /// The slot that runs.
    pub booted: Slot,
    /// The boot loader's memory.
    pub boot: RawState<Window>,
    /// Ours.
    pub memory: Memory,
}

/// What the agent knows since it started; lost with it, and then found out again.
#[derive(Debug)]
pub struct Session {
    /// What the repository said last.
    pub offer: Offer,
    /// Self-tests since this boot.
    pub tests: Option<Vec<TestResult>>,
    /// Uptime when they ended.
    pub tested: u64,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            offer: Offer::Due,
            tests: None,
            tested: 0,
        }
    }
}

impl Board {
    /// Finds everything. Fails on a machine that was not started by our initramfs.
    pub fn open(settings: Settings, memory: &Path) -> anyhow::Result<Self> {
        let line = std::fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
        let booted = cmdline::parse(&line)
            .context("this system was not started from a slot, so it cannot be updated")?
            .slot;
        let device = std::fs::read_to_string(CARD)
            .with_context(|| format!("reading {CARD}, which the initramfs writes"))?;
        let card = Card {
            device: PathBuf::from(device.trim()),
        };
        let gap = card
            .open_gap()
            .with_context(|| format!("opening {} (are you root?)", card.device.display()))?;
        Ok(Self {
            settings,
            card,
            booted,
            boot: RawState(gap),
            memory: Memory::open(memory)?,
        })
    }

    /// Looks at everything the decision depends on.
    pub fn see(&self, session: &Session) -> anyhow::Result<Seen> {
        let boot = self.boot.state().context("reading the boot state")?;
        let record = self.memory.record()?;
        // a trial is compared with how the board was before
        let on_trial = boot.trial.as_ref().is_some_and(|t| t.slot == self.booted);
        let baseline = record
            .pending
            .as_ref()
            .filter(|_| on_trial)
            .map(|p| p.baseline.as_slice());
        let tests = session.tests.as_ref().map_or(Tests::NotRun, |results| {
            Tests::Done(verdict(results, baseline))
        });
        let uptime = uptime()?;
        Ok(Seen {
            tests_age: uptime.saturating_sub(session.tested),
            booted: self.booted,
            running: self.settings.version.clone(),
            boot,
            offer: session.offer.clone(),
            tests,
            report: self.memory.failure()?.map(|r| (r.trial, r.reasons)),
            judged: Path::new(JUDGED).exists(),
            uptime,
            record,
        })
    }
}

/// Seconds since boot.
pub fn uptime() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/uptime").context("reading /proc/uptime")?;
    let whole = text.split(['.', ' ']).next().unwrap_or_default();
    whole
        .parse()
        .with_context(|| format!("/proc/uptime says {text:?}"))
}

/// What a rollout knows this board by: its machine-id, which is as old as the card.
pub fn id() -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read("/etc/machine-id").context("reading /etc/machine-id")?;
    Ok(text.trim_ascii().to_vec())
}

/// One update at a time: held while deciding and acting, by the daemon or by a command.
#[derive(Debug)]
pub struct Lock {
    _file: nix::fcntl::Flock<File>,
}

impl Lock {
    /// Takes the lock if nobody has it.
    pub fn try_take(path: &Path) -> anyhow::Result<Option<Self>> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let file = File::create(path).with_context(|| format!("opening {}", path.display()))?;
        match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { _file: file })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, e)) => Err(e).with_context(|| format!("locking {}", path.display())),
        }
    }
}

/// What is seen, in the words of the report.
pub fn view(seen: &Seen) -> UpdateView {
    let slot = |slot: Slot| {
        let booted = slot == seen.booted;
        let known = seen.record.content(slot).map(|r| r.version.to_string());
        let version = if booted {
            Some(seen.running.to_string())
        } else {
            known
        };
        let state = match &seen.boot.trial {
            Some(t) if t.slot == slot => t.phase.name(),
            _ if slot == seen.boot.default => "good",
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
            .filter(|t| matches!(t.phase, Phase::Armed | Phase::Trying))
            .map(|t| TrialView {
                slot: t.slot.name().into(),
                version: on_its_way(t),
                state: t.phase.name().into(),
                deadline: None,
            }),
        last_attempt: seen.record.last.as_ref().map(|a| AttemptView {
            version: a.release.version.to_string(),
            outcome: serde_json::to_value(a.outcome)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default(),
            reason: (!a.reasons.is_empty()).then(|| a.reasons.join("; ")),
            at: a.at,
        }),
        phase: phase(seen).into(),
    }
}
