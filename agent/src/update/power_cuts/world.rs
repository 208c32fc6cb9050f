//! A board in memory: a card that records, a boot loader that keeps the script's rules, and the agent's real loop on it.

mod board;
mod loader;

use std::cell::RefCell;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hypriot_keys::Verified;
use hypriot_keys::source::{Source, SourceError};
use hypriot_keys::time::Timestamp;
use hypriot_updater::boot::BootState;
use hypriot_updater::boot::tryboot::autoboot;
use hypriot_updater::decide::{Offer, Policy, Step};
use hypriot_updater::health::{Severity, TestResult};
use hypriot_updater::index::{Index, Target};
use hypriot_updater::record::{Record, Will};
use hypriot_updater::slot::{Digest, Release, Slot};

use board::board;
pub(super) use loader::state_of;

use super::Plot;
use super::tape::{Event, Medium, Part, Tape};
use crate::card::ports::{Disk, Running, Slots};
use crate::card::tryboot::firmware::model::Model;
use crate::config::Settings;
use crate::report::UpdateView;
use crate::update::act::{self, Hands};
use crate::update::board::{Board, Session};
use crate::update::hooks::{self, Call};
use crate::update::install;
use crate::update::offer::Hurry;
use crate::update::ports::{Machine, Releases, Restart, Standing, Store};
use crate::update::store::FailureReport;
use crate::update::{trial, up};

/// No life needs more: three to go back, three to try again, one to settle, three of a default that does not come up, two to
/// spare.
pub(super) const MOST_BOOTS: u32 = 12;
const MOST_STEPS: u32 = 40;
/// Which release comes with a delta from which: the last two are installed by one, wherever the board stands.
const DELTAS: [(u8, u8); 4] = [(4, 2), (5, 2), (6, 5), (6, 2)];
const RECORD: &str = "record.json";
const FAILURE: &str = "failure.json";

/// What a release is like once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    /// A required self-test fails.
    Fails,
    /// It never gets as far as the agent; the watchdog resets the board.
    Hangs,
}

/// A release as it is served.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) number: u8,
    pub(super) kind: Kind,
    index: Verified<Index>,
    images: [Vec<u8>; 2],
    files: Vec<(String, Vec<u8>)>,
}

impl Made {
    pub(super) fn new(number: u8, kind: Kind) -> Self {
        let bases = DELTAS.iter().filter(|(of, _)| *of == number);
        let bases: Vec<u8> = bases.map(|(_, from)| *from).collect();
        let (index, images, files) = install::tests::release_from(number, &bases);
        Self {
            number,
            kind,
            index,
            images,
            files,
        }
    }

    pub(super) fn release(&self) -> Release {
        Release {
            version: self.index.version.clone(),
            digest: Digest([self.number; 32]),
            state_version: 0,
        }
    }

    fn lies_in(&self, medium: &Medium, slot: Slot) -> bool {
        [Target::Boot, Target::Root]
            .into_iter()
            .zip(&self.images)
            .all(|(target, image)| medium.part(Part::Slot(slot, target)).starts_with(image))
    }
}

impl Source for Made {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let file = self.files.iter().find(|(n, _)| n == name);
        let bytes = file.and_then(|(_, bytes)| bytes.get(from..));
        Ok(Box::new(Cursor::new(bytes.unwrap_or_default())))
    }
}

/// All releases there ever were.
pub(super) type Catalog = Rc<[Made]>;

/// The whole release that lies in `slot`, if one does.
pub(super) fn content<'a>(catalog: &'a Catalog, medium: &Medium, slot: Slot) -> Option<&'a Made> {
    catalog.iter().find(|made| made.lies_in(medium, slot))
}

/// Whether the boot loader can load anything from `slot`: its FAT begins with the boot sector of some release. One that is zero,
/// or garbage, makes it none.
pub(super) fn loads(catalog: &Catalog, medium: &Medium, slot: Slot) -> bool {
    let boot = medium.part(Part::Slot(slot, Target::Boot));
    catalog
        .iter()
        .any(|made| made.images[0][..512] == boot[..512])
}

/// Who starts the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    UBoot,
    Tryboot,
}

/// A fresh card: the first release of the catalog in slot A.
pub(super) fn flashed(catalog: &Catalog, loader: Loader) -> Medium {
    let first = &catalog[0];
    let [boot, root] = [0, 1].map(|n| first.images[n].len());
    let mut medium = Medium::blank(&Part::all(boot, root));
    for (target, image) in [Target::Boot, Target::Root].into_iter().zip(&first.images) {
        medium
            .write(Part::Slot(Slot::A, target), 0, image)
            .expect("fits");
    }
    let state = BootState::fresh().encode().expect("fits");
    medium.write(Part::State, 0, &state).expect("fits");
    if loader == Loader::Tryboot {
        let file = autoboot::encode(Slot::A);
        medium.write(Part::Autoboot, 0, &file).expect("fits");
    }
    medium
}

struct Live {
    medium: Medium,
    /// Its flag is clear: the power was gone.
    firmware: Model,
    tape: Vec<Event>,
    /// Seconds since boot; the number of the boot; what runs.
    uptime: u64,
    boots: u32,
    running: Kind,
    restarting: bool,
}

/// The parts of the board that share one card; a handle.
#[derive(Clone)]
struct World(Rc<RefCell<Live>>);

impl World {
    fn change(&self, event: Event) -> io::Result<()> {
        let mut live = self.0.borrow_mut();
        match &event {
            Event::Write(part, at, data) => live.medium.write(*part, *at, data)?,
            Event::Flush(_) => (),
            Event::File(name, content) => live.medium.set_file(name, content.clone()),
        }
        live.tape.push(event);
        Ok(())
    }
}

/// One part, as a disk.
struct RecordingDisk(World, Part);

impl Disk for RecordingDisk {
    fn size(&self) -> u64 {
        self.0.0.borrow().medium.part(self.1).len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = self.1.place(at)?;
        let live = self.0.0.borrow();
        let bytes = live.medium.part(self.1).get(at..at + buf.len());
        buf.copy_from_slice(bytes.ok_or_else(|| io::Error::other("beyond the end"))?);
        Ok(())
    }

    fn write_at(&mut self, at: u64, data: &[u8]) -> io::Result<()> {
        let at = self.1.place(at)?;
        self.0.change(Event::Write(self.1, at, data.into()))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.change(Event::Flush(self.1))
    }
}

impl Slots for World {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, slot: Slot, target: Target) -> io::Result<Box<dyn Disk>> {
        Ok(Box::new(RecordingDisk(
            self.clone(),
            Part::Slot(slot, target),
        )))
    }

    fn running(&self, slot: Slot) -> io::Result<Box<dyn Running>> {
        Ok(Box::new(RunningSlot(self.clone(), slot)))
    }
}

/// A slot, for reading.
struct RunningSlot(World, Slot);

impl Running for RunningSlot {
    fn read_at(&self, target: Target, at: u64, buf: &mut [u8]) -> io::Result<()> {
        RecordingDisk(self.0.clone(), Part::Slot(self.1, target)).read_at(at, buf)
    }
}

impl Store for World {
    fn record(&self) -> anyhow::Result<Record> {
        record(&self.0.borrow().medium).map_err(anyhow::Error::msg)
    }

    fn save(&self, record: &Record) -> anyhow::Result<()> {
        Ok(self.change(Event::File(RECORD, Some(record.encode())))?)
    }

    fn failure(&self) -> Option<FailureReport> {
        let live = self.0.borrow();
        serde_json::from_slice(live.medium.file(FAILURE)?).ok()
    }

    fn leave_failure(&self, report: &FailureReport) -> anyhow::Result<()> {
        Ok(self.change(Event::File(FAILURE, Some(serde_json::to_vec(report)?)))?)
    }

    fn forget_failure(&self) -> anyhow::Result<()> {
        if self.failure().is_some() {
            self.change(Event::File(FAILURE, None))?;
        }
        Ok(())
    }

    fn trust(&self) -> &Path {
        Path::new("/nowhere")
    }

    fn is_lost(&self) -> bool {
        false
    }
}

impl Machine for World {
    fn uptime(&self) -> u64 {
        self.0.borrow().uptime
    }

    fn boot_id(&self) -> String {
        self.0.borrow().boots.to_string()
    }

    fn now(&self) -> Timestamp {
        Timestamp(1_800_000_000)
    }

    fn clock_is_right(&self) -> bool {
        true
    }

    fn inhibitors(&self) -> Vec<String> {
        Vec::new()
    }

    fn has_hooks(&self, _: hooks::Event) -> bool {
        true
    }

    fn run_hooks(&self, _: &Call) -> Result<(), hooks::Refusal> {
        Ok(())
    }

    fn standing(&self, _: &str) -> Standing {
        Standing::default()
    }

    fn id(&self) -> anyhow::Result<Vec<u8>> {
        Ok(b"board".to_vec())
    }

    fn self_tests(
        &self,
        _: &Settings,
        _: UpdateView,
        _: Duration,
    ) -> anyhow::Result<Vec<TestResult>> {
        Ok(vec![TestResult {
            id: "service:docker:running".into(),
            severity: Severity::Required,
            passed: self.0.borrow().running == Kind::Good,
            found: String::new(),
            cut_short: false,
        }])
    }

    fn restart_at_last(&self, _: Duration) {}

    fn diagnosis(&self) -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    fn restart(&self, _: Restart) -> anyhow::Result<()> {
        self.0.borrow_mut().restarting = true;
        anyhow::bail!("the board restarts")
    }
}

/// Offers one release of the catalog.
struct Shop {
    catalog: Catalog,
    offered: u8,
}

impl Shop {
    fn find(&self, number: u8) -> anyhow::Result<&Made> {
        let found = self.catalog.iter().find(|made| made.number == number);
        found.ok_or_else(|| anyhow::anyhow!("no release {number}"))
    }
}

impl Releases for Shop {
    fn ask(&mut self, _: &str, _: &Path, _: &Settings, _: Timestamp) -> anyhow::Result<()> {
        Ok(())
    }

    fn offer(&self, _: &[u8], _: &semver::Version, _: &Record, _: Hurry, _: Timestamp) -> Offer {
        self.find(self.offered)
            .map_or(Offer::Nothing, |made| Offer::Release {
                release: made.release(),
                hold: None,
            })
    }

    fn release(
        &self,
        release: &Release,
        _: &str,
    ) -> anyhow::Result<(Verified<Index>, &dyn Source)> {
        let made = self.find(release.digest.0[0])?;
        Ok((made.index.clone(), made))
    }

    fn floor(&self) -> Option<Timestamp> {
        None
    }
}

/// The record on a medium.
pub(super) fn record(medium: &Medium) -> Result<Record, String> {
    medium
        .file(RECORD)
        .map_or_else(|| Ok(Record::default()), Record::parse)
}

/// How a life went until it came to rest.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) medium: Medium,
    pub(super) tape: Tape,
    pub(super) booted: Slot,
    /// The releases that were started, in order.
    pub(super) started: Vec<u8>,
}

/// Powers a board on that finds `medium`, and lets it live, with one release on offer, until it rests.
pub(super) fn live(catalog: &Catalog, medium: &Medium, plot: Plot) -> Result<Rest, String> {
    let world = World(Rc::new(RefCell::new(Live {
        medium: medium.clone(),
        firmware: Model::new(loader::EEPROM),
        tape: Vec::new(),
        uptime: 0,
        boots: 0,
        running: Kind::Good,
        restarting: false,
    })));
    let mut started = Vec::new();
    for boot in 0..MOST_BOOTS {
        let (slot, tried) = world.power_on(catalog)?;
        let running = {
            let mut live = world.0.borrow_mut();
            let made = content(catalog, &live.medium, slot)
                .ok_or_else(|| format!("slot {slot} starts and holds no whole release"))?;
            (live.uptime, live.boots, live.restarting) = (30, boot, false);
            live.running = made.kind;
            made
        };
        started.push(running.number);
        if running.kind == Kind::Hangs || plot.rots == Some(running.number) {
            continue;
        }
        let mut board = board(&world, catalog, slot, tried, running, plot.offered);
        up::tell(&mut *board.boot, slot, tried).map_err(|e| e.to_string())?;
        let asked = plot.rolls_back && boot == 0;
        if asked {
            go_back(&world, &mut board)?;
        } else if one_boot(&world, &mut board)? {
            let live = world.0.borrow();
            return Ok(Rest {
                medium: live.medium.clone(),
                tape: Tape {
                    before: medium.clone(),
                    events: live.tape.clone(),
                },
                booted: slot,
                started,
            });
        }
    }
    Err(format!("reboots for ever: {started:?}"))
}

const POLICY: Policy = Policy::AUTOMATIC;

/// The agent's loop in one boot: whether it came to rest; else the board restarts.
fn one_boot(world: &World, board: &mut Board) -> Result<bool, String> {
    let mut session = Session::default();
    for _ in 0..MOST_STEPS {
        let mut hands = Hands {
            url: board.settings.url.clone(),
            will: Will::Settings,
            tell: &mut |_| (),
        };
        let (_, step, done) = act::turn(board, &mut session, &POLICY, &mut hands);
        if world.0.borrow().restarting {
            return Ok(false);
        }
        done.map_err(|error| format!("{step:?}: {error:#}"))?;
        if matches!(step, Step::Wait(_)) {
            return Ok(true);
        }
        world.0.borrow_mut().uptime += 5;
    }
    Err(format!("{} never rests", board.settings.version))
}

/// The owner's rollback, which ends in a restart.
fn go_back(world: &World, board: &mut Board) -> Result<(), String> {
    let mut session = Session::default();
    let mut quiet = |_: act::Tell<'_>| ();
    let mut hands = Hands::offline(&mut quiet);
    let seen = board.see(&session);
    act::act(&Step::SelfTest, &seen, board, &mut session, &mut hands)
        .and_then(|()| trial::roll_back(&seen, board, &session, false))
        .map_err(|error| format!("rolling back: {error:#}"))?;
    let seen = board.see(&session);
    let restarted = act::act(&Step::RebootToTry, &seen, board, &mut session, &mut hands);
    let restarting = world.0.borrow().restarting;
    match restarted {
        Err(error) if !restarting => Err(format!("{error:#}")),
        _ => Ok(()),
    }
}
