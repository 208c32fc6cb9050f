//! A board in memory around the real update loop.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hypriot_keys::time::Timestamp;
use hypriot_updater::boot::Phase;
use hypriot_updater::decide::{Automatic, Policy, Seen, Step};
use hypriot_updater::layout::{BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::record::{Record, Will};
use hypriot_updater::slot::{Digest, Release, Slot};

use super::Planted;
use super::faults::{Config, Data, Fleet, Raw, Software};
use super::loader::{copies, count_again, script};
use super::ports::{
    BOOT, Card, Gap, LockService, Partition, RELEASE, ROOT, Repository, Shared, System,
};
use crate::card::bootloader::RawState;
use crate::card::fakes::{MemDisk, MemSource};
use crate::card::guarded::Guarded;
use crate::card::ports::{Bootloader, Disk, Keep};
use crate::config::{Net, Server, Settings, Windows};
use crate::report::UpdateView;
use crate::update::act::{self, Hands, Tell};
use crate::update::board::{self, Board, Session};
use crate::update::drill;
use crate::update::last::{self, Next};
use crate::update::ports::Restart;
use crate::update::trial;
use crate::update::up;

/// Turns after which a board that does not come to rest is taken for one that never does.
const TURNS: u32 = 200;

/// Starts of a slot that does not come up, in a whole life: thrice each time it was kept. It is kept twice at the most, and once
/// more when the record that knows of it was lost with the data.
const MOST_IN_VAIN: u32 = 9;

/// The board.
pub(super) struct World {
    shared: Rc<Shared>,
    board: Board,
    session: Session,
    tries: u32,
    unlocked: u32,
    starts_in_vain: u32,
    stumbled: Cell<bool>,
    /// Starts that the boot loader had counted when it started this boot.
    counted: u8,
}

impl World {
    pub(super) fn new(software: Software, planted: Planted, fleet: Fleet) -> Self {
        Self::in_slot(Slot::A, software, planted, fleet)
    }

    /// A board that runs in `good`.
    pub(super) fn in_slot(good: Slot, software: Software, planted: Planted, fleet: Fleet) -> Self {
        let disks = |slot| {
            if slot == good {
                // what runs was loaded from somewhere
                return [vec![1; BOOT], vec![2; ROOT]].map(|bytes| MemDisk::holding(&bytes));
            }
            [MemDisk::new(BOOT), MemDisk::new(ROOT)]
        };
        let shared = Rc::new(Shared {
            data: Cell::new(Data::Fine),
            lost: Cell::new(false),
            config: Cell::new(Config::Fine),
            record: RefCell::new(Record::default().encode()),
            failure: RefCell::new(None),
            gap: Gap::new(),
            disks: Slot::ALL.map(disks),
            software,
            planted,
            good,
            booted: Cell::new(good),
            uptime: Cell::new(30),
            boots: Cell::new(0),
            restart: Cell::new(None),
            installing: Cell::new(false),
            fleet: Cell::new(match fleet {
                Fleet::None => Fleet::None,
                _ => Fleet::Grants,
            }),
            locked: Cell::new(false),
            told: Cell::new(false),
            record_lost: Cell::new(false),
            newer: Cell::new(None),
        });
        let mut raw = RawState(shared.gap.clone());
        raw.commit(good, Keep::StandsIn).expect("a fresh card");
        Self {
            board: open(&shared, false),
            session: Session::default(),
            shared,
            tries: 0,
            unlocked: 0,
            starts_in_vain: 0,
            stumbled: Cell::new(false),
            counted: 0,
        }
    }

    /// The agent in `slot` is of a newer version than the other one.
    pub(super) fn newer_in(&self, slot: Slot) {
        self.shared.newer.set(Some(slot));
    }

    pub(super) fn booted(&self) -> Slot {
        self.shared.booted.get()
    }

    /// The slot that ran in the beginning.
    pub(super) fn good(&self) -> Slot {
        self.shared.good
    }

    pub(super) fn reboots(&self) -> u32 {
        self.shared.boots.get()
    }

    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// Of those, how many while the lock service knew of no lock.
    pub(super) fn tries_without_lock(&self) -> u32 {
        self.unlocked
    }

    pub(super) fn is_locked(&self) -> bool {
        self.shared.locked.get()
    }

    /// The lock service knows what its lock is kept for.
    pub(super) fn is_told(&self) -> bool {
        self.shared.told.get()
    }

    pub(super) fn record_was_lost(&self) -> bool {
        self.shared.record_lost.get()
    }

    /// The next write to the boot state is refused.
    pub(super) fn stumble(&self) {
        self.stumbled.set(true);
        self.shared.gap.0.stumble();
    }

    /// Which restart was asked for.
    pub(super) fn asked(&self) -> Option<Restart> {
        self.shared.restart.get()
    }

    /// It is later than any trial's deadline.
    pub(super) fn late(&self) {
        self.shared.uptime.set(100_000);
    }

    /// The boot state, as another process changes it.
    pub(super) fn guarded(&self, lock: &Path, patience: Duration) -> Guarded {
        let memory = RawState(self.shared.gap.clone());
        Guarded::new(Box::new(memory), lock.to_owned(), patience)
    }

    /// The running system, as another process has it.
    pub(super) fn system(&self) -> System {
        System(Rc::clone(&self.shared))
    }

    /// From now on the lock service is as it is.
    pub(super) fn strike_fleet(&self, fleet: Fleet) {
        self.shared.fleet.set(fleet);
    }

    /// The owner wants to see that the board comes back.
    pub(super) fn drill(&mut self) {
        let mut quiet = |_: Tell<'_>| ();
        let mut hands = Hands::offline(&mut quiet);
        let (board, session) = (&mut self.board, &mut self.session);
        let seen = board.see(session);
        act::act(&Step::SelfTest, &seen, board, session, &mut hands).expect("tested");
        let seen = board.see(session);
        drill::begin(false, &seen, board, session, &mut |_, _| ()).expect("armed");
    }

    /// A release of later ran here, and left data of this shape.
    pub(super) fn wrote(&self, state_version: u32) {
        let mut record = self.record();
        record.ran(&Release {
            version: semver::Version::new(9, 0, 0),
            digest: Digest([9; 32]),
            state_version,
        });
        *self.shared.record.borrow_mut() = record.encode();
    }

    /// The owner goes back to the other slot.
    pub(super) fn roll_back(&mut self, newer_state: bool) -> anyhow::Result<()> {
        let seen = self.board.see(&self.session);
        trial::roll_back(&seen, &mut self.board, &self.session, newer_state).map(drop)
    }

    pub(super) fn record(&self) -> Record {
        Record::parse(&self.shared.record.borrow()).expect("a record")
    }

    pub(super) fn is_installing(&self) -> bool {
        self.shared.installing.get()
    }

    pub(super) fn see(&self) -> Seen {
        self.board.see(&self.session)
    }

    /// What `status` and `/health` say.
    pub(super) fn status(&self) -> UpdateView {
        board::view(&self.see(), self.session.error.as_deref())
    }

    /// The owner mends everything: room on `/data` or a new one, good settings, another card with the same content.
    pub(super) fn mend(&mut self) {
        self.shared.data.set(Data::Fine);
        self.shared.config.set(Config::Fine);
        self.shared.gap.0.mended();
        if self.shared.fleet.get() != Fleet::None {
            self.shared.fleet.set(Fleet::Grants);
        }
    }

    /// What runs in the beginning must be there in the end.
    pub(super) fn writes_to_the_running_slot(&self) -> usize {
        let good = &self.shared.disks[usize::from(self.good() == Slot::B)];
        good.iter().map(MemDisk::writes).sum()
    }

    /// Lives until `enough` says so, or there is nothing to do any more.
    pub(super) fn until(&mut self, enough: impl Fn(&Self, &Step) -> bool) {
        for _ in 0..TURNS {
            let (step, idle) = self.turn();
            if enough(self, &step) || idle {
                return;
            }
        }
    }

    /// Lives until nothing happens any more, also after two more questions to the repository.
    pub(super) fn rest(&mut self) {
        let mut questions = 2;
        for _ in 0..TURNS {
            let (_, idle) = self.turn();
            if idle && self.shared.restart.get().is_none() {
                if questions == 0 {
                    return;
                }
                questions -= 1;
                self.shared.uptime.set(self.shared.uptime.get() + 4000);
            }
        }
    }

    /// Breaks things, now and for good.
    pub(super) fn strike(&mut self, data: Data, config: Config, raw: Raw) {
        let shared = &self.shared;
        shared.data.set(data);
        shared.config.set(config);
        let garbage = vec![0x5a; BOOT_STATE_SIZE];
        let mut gap = shared.gap.clone();
        let bad = match raw {
            Raw::Fine => 0,
            Raw::OneBad => 1,
            Raw::BothBad => 2,
            Raw::Stumbles => {
                self.stumble();
                0
            }
            Raw::Unreadable => {
                shared.gap.0.unreadable(0, usize::MAX / 2);
                shared.gap.0.protect();
                0
            }
        };
        // the newer copy first: it is the one that hurts
        let newest = RawState(gap.clone());
        let last = usize::from(newest.newest_copy() == Some(1));
        for n in [last, 1 - last].into_iter().take(bad) {
            gap.write_at(BOOT_STATE[n], &garbage).expect("written");
            gap.sync().expect("synced");
        }
    }

    /// What the owner does who wants to see whether it helps; systemd stops `hypriot-trial-keep`, which re-arms.
    pub(super) fn orderly_reboot(&mut self) {
        let mut raw = RawState(self.shared.gap.clone());
        drop(last::rearm_on(&mut raw, self.booted()));
        self.boot();
    }

    /// One turn of the loop, and what follows from it. The second value says that there was nothing to do.
    fn turn(&mut self) -> (Step, bool) {
        match self.shared.restart.take() {
            Some(Restart::Unmarked) => self.boot(),
            Some(Restart::Orderly | Restart::Back) => self.orderly_reboot(),
            None => (),
        }
        let agent = match self.shared.software {
            Software::Good | Software::Bad | Software::Rots => true,
            _ => !self.shared.new_runs(),
        };
        if !agent {
            return self.without_agent();
        }
        self.shared.uptime.set(self.shared.uptime.get() + 5);
        if self.shared.planted == Planted::ReportFirst && self.report_first() {
            return (Step::SelfTest, true);
        }
        let (url, policy) = (self.board.settings.url.clone(), self.board.settings.policy);
        let installing = &self.shared.installing;
        let mut tell = |told: Tell<'_>| {
            if let Tell::Installing(..) = told {
                installing.set(true);
            }
        };
        let mut hands = Hands {
            url,
            will: Will::Settings,
            tell: &mut tell,
        };
        let (_, step, done) = act::turn(&mut self.board, &mut self.session, &policy, &mut hands);
        let idle =
            matches!(step, Step::Wait(_)) || (done.is_err() && self.shared.restart.get().is_none());
        (step, idle)
    }

    /// The fault of old: the report is written before anything leads back, and its error ends the act.
    fn report_first(&mut self) -> bool {
        let seen = self.see();
        let bad = seen.on_trial().is_some()
            && matches!(
                seen.tests,
                hypriot_updater::decide::Tests::Done(hypriot_updater::health::Verdict::Bad(_))
            );
        bad && self.shared.write().is_err()
    }

    /// The new slot runs and its daemon does not: only the last resort is left.
    fn without_agent(&mut self) -> (Step, bool) {
        if self.shared.planted == Planted::NoLastResort || !self.board.tried {
            return (Step::SelfTest, true);
        }
        // its unit cannot start the program: `FailureAction=reboot-force`
        if self.shared.software == Software::NoStart {
            self.shared.restart.set(Some(Restart::Unmarked));
            return (Step::RebootBack, false);
        }
        self.shared.uptime.set(self.shared.uptime.get() + 300);
        let mut raw = RawState(self.shared.gap.clone());
        let board = System(Rc::clone(&self.shared));
        match last::look(&mut raw, &board, self.shared.booted.get()) {
            Next::Over => (Step::SelfTest, true),
            Next::Wait => (Step::SelfTest, false),
            Next::Back => (Step::RebootBack, false),
        }
    }

    /// The boot loader's script, then the initramfs, then a new agent; or a slot that does not come up, and all of it again.
    fn boot(&mut self) {
        let shared = Rc::clone(&self.shared);
        let mut gap = shared.gap.clone();
        let tried = loop {
            shared.boots.set(shared.boots.get() + 1);
            shared.uptime.set(30);
            shared.restart.set(None);
            if shared.planted == Planted::NobodyClears {
                count_again(&mut gap, self.counted);
            }
            let (mut slot, on_trial) = script(&mut gap);
            self.counted = copies(&gap).newest().map_or(0, |(_, s)| s.starts);
            if slot != shared.good && !shared.loads() {
                if on_trial {
                    continue;
                }
                // the script's last resort
                slot = shared.good;
            }
            shared.booted.set(slot);
            // what the initramfs does
            drop(RawState(gap.clone()).doubt(slot));
            let tried = RawState(gap.clone()).state().is_ok_and(|s| {
                s.on_trial(slot)
                    .is_some_and(|t| matches!(t.phase, Phase::Armed | Phase::Trying))
            });
            let trial = slot != shared.good && tried;
            let lock = shared.fleet.get() == Fleet::None || shared.locked.get();
            self.tries += u32::from(trial);
            self.unlocked += u32::from(trial && !lock);
            let rotten = shared.software == Software::Rots && slot != shared.good && !tried;
            if !rotten || self.dead() {
                break tried;
            }
            self.starts_in_vain += 1;
        };
        let lost = matches!(shared.data.get(), Data::Corrupt | Data::Gone);
        shared.lost.set(lost);
        if lost {
            // an empty one in memory
            shared.record_lost.set(true);
            *shared.record.borrow_mut() = Record::default().encode();
            *shared.failure.borrow_mut() = None;
        }
        let marked = tried && shared.planted != Planted::TrialUnmarked;
        // what `hypriot-came-up.service` does; a card that cannot be written is the card's to tell
        drop(up::tell(&mut RawState(gap), self.booted(), marked));
        self.board = open(&shared, marked);
        self.session = Session::default();
    }

    /// It starts in vain, again and again.
    pub(super) fn dead(&self) -> bool {
        // where the write that leaves it was refused, it has its three starts again
        let more = if self.stumbled.get() { 3 } else { 0 };
        self.starts_in_vain > MOST_IN_VAIN + more
    }
}

fn open(shared: &Rc<Shared>, tried: bool) -> Board {
    let new = shared.new_runs();
    // what `config::load` makes of it: a file that cannot be read forbids everything
    let broken =
        matches!(shared.config.get(), Config::Broken | Config::Newer) && !shared.lost.get();
    let automatic = if broken {
        Automatic::No
    } else {
        Automatic::Yes
    };
    Board {
        settings: Settings {
            board: "test".into(),
            version: semver::Version::new(if new { 2 } else { 1 }, 0, 0),
            built: Timestamp(0),
            state_version: 0,
            url: (!broken).then(String::new),
            poll: 3600,
            policy: Policy {
                install: automatic,
                reboot: automatic,
                ..Policy::AUTOMATIC
            },
            lock: (shared.fleet.get() != Fleet::None)
                .then(|| Server::new("http://lock", "default").expect("a server")),
            windows: Windows::default(),
            hooks: Duration::from_mins(1),
            net: Net::default(),
            stick: true,
            neighbours: false,
            local: false,
            trouble: broken.then(|| "x.toml: a key that is none".into()),
        },
        booted: shared.booted.get(),
        tried,
        boot: Box::new(RawState(shared.gap.clone())),
        slots: Box::new(Card(Rc::clone(shared))),
        store: Box::new(Partition(Rc::clone(shared))),
        machine: Box::new(System(Rc::clone(shared))),
        releases: Box::new(Repository(MemSource::new("p.full", RELEASE.1.clone()))),
        lock: Box::new(LockService(Rc::clone(shared))),
        near: None,
    }
}
