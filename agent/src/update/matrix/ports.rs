//! The ports of the board in memory: what of the world the real loop sees, with the faults of a cell.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::bail;
use hypriot_keys::Verified;
use hypriot_keys::source::Source;
use hypriot_keys::source::http::TlsTime;
use hypriot_keys::time::Timestamp;
use hypriot_updater::decide::Offer;
use hypriot_updater::health::{Severity, TestResult};
use hypriot_updater::index::{FORMAT, Image, Index, PayloadFile, SegmentHash, Target};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::payload::{self, Operation};
use hypriot_updater::record::Record;
use hypriot_updater::slot::{Digest, Release, Slot};

use super::faults::{Config, Data, Fleet, Software};
use super::{Planted, versions};
use crate::card::fakes::{MemDisk, MemSource};
use crate::card::ports::{Disk, Running, Slots};
use crate::config::Server;
use crate::config::Settings;
use crate::report::UpdateView;
use crate::update::hooks::{self, Call, Event};
use crate::update::lock::{Ask, Asker, FleetLock, Refusal};
use crate::update::offer::Hurry;
use crate::update::ports::{Machine, Releases, Restart, Standing, Store};
use crate::update::signed::verified;
use crate::update::store::FailureReport;

pub(super) const BOOT: usize = 4096;
pub(super) const ROOT: usize = 8192;

/// What outlives a boot, and what is asked of the machine.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) data: Cell<Data>,
    /// The data partition could not be mounted in this boot.
    pub(super) lost: Cell<bool>,
    pub(super) config: Cell<Config>,
    pub(super) record: RefCell<Vec<u8>>,
    pub(super) failure: RefCell<Option<Vec<u8>>>,
    pub(super) gap: Gap,
    pub(super) disks: [[MemDisk; 2]; 2],
    pub(super) software: Software,
    pub(super) planted: Planted,
    /// The slot that ran before anything was offered; the release is installed into the other one.
    pub(super) good: Slot,
    pub(super) booted: Cell<Slot>,
    pub(super) uptime: Cell<u64>,
    pub(super) boots: Cell<u32>,
    /// The board is to be restarted.
    pub(super) restart: Cell<Option<Restart>>,
    pub(super) installing: Cell<bool>,
    pub(super) fleet: Cell<Fleet>,
    /// The lock service has given its lock to this board.
    pub(super) locked: Cell<bool>,
    /// The service was told that the lock is kept, and for what.
    pub(super) told: Cell<bool>,
    /// The record was lost in some boot.
    pub(super) record_lost: Cell<bool>,
    /// The agent in this slot is of a version that says more than the other one knows.
    pub(super) newer: Cell<Option<Slot>>,
}

impl Shared {
    /// What the agent that runs writes, when the one of today would write `bytes`.
    fn written(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.newer.get() == Some(self.booted.get()) {
            versions::dressed(&bytes)
        } else {
            bytes
        }
    }
}

pub(super) fn release() -> Release {
    Release {
        version: semver::Version::new(2, 0, 0),
        digest: Digest([2; 32]),
        state_version: 0,
    }
}

/// Made once: every life is offered the same one.
pub(super) static RELEASE: LazyLock<(Verified<Index>, Vec<u8>)> = LazyLock::new(|| {
    let (index, bytes) = index();
    (verified(&index), bytes)
});

/// A release of two small images, and its payload.
fn index() -> (Index, Vec<u8>) {
    let images = [(Target::Boot, vec![7; BOOT]), (Target::Root, vec![9; ROOT])];
    let rows = images.iter().map(|(_, b)| (&Operation::Raw, b.as_slice()));
    let table = payload::encode_table(rows);
    let data: Vec<u8> = images.iter().flat_map(|(_, b)| b.clone()).collect();
    let bytes = [table.clone(), data].concat();
    let image = |(target, bytes): &(Target, Vec<u8>)| Image {
        target: *target,
        size: bytes.len() as u64,
        segments: vec![SegmentHash::of(bytes)],
    };
    let index = Index {
        format: FORMAT.into(),
        board: "test".into(),
        version: release().version,
        state_version: 0,
        created: Timestamp(0),
        images: images.iter().map(image).collect(),
        payloads: vec![PayloadFile {
            name: "p.full".into(),
            format: payload::FORMAT,
            size: bytes.len() as u64,
            table_size: u32::try_from(table.len()).expect("small"),
            table: SegmentHash::of(&table),
            base: None,
        }],
    };
    (index, bytes)
}

impl Shared {
    pub(super) fn broken(&self) -> bool {
        self.new_runs() && !self.software.passes()
    }

    pub(super) fn new_runs(&self) -> bool {
        self.booted.get() != self.good
    }

    /// Whether the boot loader can load what lies in the other slot than the good one: the key sector is written last.
    pub(super) fn loads(&self) -> bool {
        let other = &self.disks[usize::from(self.good == Slot::A)];
        other[0].medium()[0] != 0
    }

    /// A write to the data partition.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        match self.data.get() {
            Data::Full if !self.lost.get() => bail!("no space left on device"),
            Data::ReadOnly if !self.lost.get() => bail!("read-only file system"),
            Data::Corrupt | Data::Gone if !self.lost.get() => bail!("input/output error"),
            Data::Slow => {
                self.uptime.set(self.uptime.get() + 30);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The raw gap, of which only the copies of the boot state are kept: thousands of boards fit into memory.
#[derive(Debug, Clone)]
pub(super) struct Gap(pub(super) MemDisk);

impl Gap {
    pub(super) fn new() -> Self {
        Self(MemDisk::new(2 * BOOT_STATE_SIZE))
    }

    fn place(at: u64) -> io::Result<u64> {
        let copy = BOOT_STATE.iter().position(|place| *place == at);
        copy.map(|n| (n * BOOT_STATE_SIZE) as u64)
            .ok_or_else(|| io::Error::other("no copy of the boot state lies there"))
    }
}

impl Disk for Gap {
    fn size(&self) -> u64 {
        BOOT_STATE[1] + BOOT_STATE_SIZE as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(Self::place(at)?, buf)
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(Self::place(at)?, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

/// `/data` through faults.
pub(super) struct Partition(pub(super) Rc<Shared>);

impl Store for Partition {
    fn record(&self) -> anyhow::Result<Record> {
        if matches!(self.0.data.get(), Data::Corrupt | Data::Gone) && !self.0.lost.get() {
            bail!("input/output error");
        }
        let bytes = self.0.record.borrow();
        Ok(Record::parse(&bytes).unwrap_or_default())
    }

    fn save(&self, record: &Record) -> anyhow::Result<()> {
        self.0.write()?;
        *self.0.record.borrow_mut() = self.0.written(record.encode());
        Ok(())
    }

    fn failure(&self) -> Option<FailureReport> {
        serde_json::from_slice(self.0.failure.borrow().as_ref()?).ok()
    }

    fn leave_failure(&self, report: &FailureReport) -> anyhow::Result<()> {
        self.0.write()?;
        let bytes = serde_json::to_vec(report)?;
        *self.0.failure.borrow_mut() = Some(self.0.written(bytes));
        Ok(())
    }

    fn forget_failure(&self) -> anyhow::Result<()> {
        if self.0.failure.borrow().is_some() {
            self.0.write()?;
        }
        *self.0.failure.borrow_mut() = None;
        Ok(())
    }

    fn trust(&self) -> &Path {
        Path::new("/nowhere")
    }

    fn is_lost(&self) -> bool {
        self.0.lost.get()
    }
}

pub(super) struct System(pub(super) Rc<Shared>);

impl Machine for System {
    fn uptime(&self) -> u64 {
        self.0.uptime.get()
    }

    fn boot_id(&self) -> String {
        self.0.boots.get().to_string()
    }

    fn now(&self) -> Timestamp {
        Timestamp(1)
    }

    fn clock_is_right(&self) -> bool {
        true
    }

    fn inhibitors(&self) -> Vec<String> {
        Vec::new()
    }

    fn has_hooks(&self, _: Event) -> bool {
        true
    }

    fn run_hooks(&self, _: &Call) -> Result<(), hooks::Refusal> {
        Ok(())
    }

    fn standing(&self, _: &str) -> Standing {
        Standing::default()
    }

    fn id(&self) -> anyhow::Result<Vec<u8>> {
        Ok(b"id".to_vec())
    }

    fn self_tests(
        &self,
        _: &Settings,
        _: UpdateView,
        _: Duration,
    ) -> anyhow::Result<Vec<TestResult>> {
        self.0.uptime.set(self.0.uptime.get() + 20);
        let test = |id: &str, passed| TestResult {
            id: id.into(),
            severity: Severity::Required,
            passed,
            found: String::new(),
            cut_short: false,
        };
        // as the image's own tests ask, among them that /data can be written
        let data = self.0.write().is_ok() && !self.0.lost.get();
        Ok(vec![test("docker", !self.0.broken()), test("/data", data)])
    }

    fn restart_at_last(&self, _: Duration) {
        // the kernel's, without systemd
        self.0.restart.set(Some(Restart::Unmarked));
    }

    fn diagnosis(&self) -> (Vec<String>, Vec<String>) {
        (vec!["a line".into()], Vec::new())
    }

    fn restart(&self, how: Restart) -> anyhow::Result<()> {
        self.0.restart.set(Some(how));
        bail!("restarting")
    }
}

pub(super) struct Card(pub(super) Rc<Shared>);

impl Slots for Card {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, slot: Slot, target: Target) -> io::Result<Box<dyn Disk>> {
        assert_ne!(
            slot,
            self.0.booted.get(),
            "the running slot is never opened"
        );
        let of = &self.0.disks[usize::from(slot == Slot::B)];
        Ok(Box::new(of[usize::from(target == Target::Root)].clone()))
    }

    fn running(&self, slot: Slot) -> io::Result<Box<dyn Running>> {
        assert_eq!(slot, self.0.booted.get(), "the base is what runs");
        Ok(Box::new(self.0.disks[usize::from(slot == Slot::B)].clone()))
    }
}

pub(super) struct LockService(pub(super) Rc<Shared>);

impl FleetLock for LockService {
    fn ask(&self, what: Ask, _: &Server, by: &Asker, _: TlsTime) -> Result<(), Refusal> {
        let shared = &self.0;
        let no = |kind: &str| Refusal {
            kind: kind.into(),
            value: String::new(),
            after: None,
            code: None,
        };
        match (what, shared.fleet.get()) {
            (_, Fleet::Dead) => Err(no("request-failed")),
            (Ask::Failed, fleet) => {
                assert_eq!((by.progress, by.reason.is_empty()), ("failed", false));
                shared.told.set(true);
                match fleet {
                    Fleet::Deaf => Err(no("request-failed")),
                    _ => Ok(()),
                }
            }
            (Ask::SteadyState, Fleet::Deaf) => {
                shared.locked.set(false);
                Err(no("request-failed"))
            }
            (Ask::SteadyState, _) => {
                shared.locked.set(false);
                Ok(())
            }
            (Ask::PreReboot, Fleet::Full) if !shared.locked.get() => Err(no("lock_held")),
            (Ask::PreReboot, Fleet::Deaf) => {
                shared.told.set(false);
                shared.locked.set(true);
                Err(no("request-failed"))
            }
            (Ask::PreReboot, _) => {
                shared.told.set(false);
                shared.locked.set(true);
                Ok(())
            }
        }
    }
}

pub(super) struct Repository(pub(super) MemSource);

impl Releases for Repository {
    fn ask(&mut self, _: &str, _: &Path, _: &Settings, _: Timestamp) -> anyhow::Result<()> {
        Ok(())
    }

    fn offer(&self, _: &[u8], _: &semver::Version, _: &Record, _: Hurry, _: Timestamp) -> Offer {
        Offer::Release {
            release: release(),
            hold: None,
        }
    }

    fn release(&self, _: &Release, _: &str) -> anyhow::Result<(Verified<Index>, &dyn Source)> {
        Ok((RELEASE.0.clone(), &self.0))
    }

    fn floor(&self) -> Option<Timestamp> {
        None
    }
}
