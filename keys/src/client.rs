//! The TUF client: drives [`crate::workflow`] over a source and the durable store.
//!
//! Every file is stored as soon as it, and only it, has passed all its checks (the specification's "Persist" steps): a power
//! cut or a refused file later in the cycle leaves what was proven before.

use std::borrow::ToOwned;
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;

use crate::check;
use crate::error::Error;
use crate::fetch;
use crate::files::{self, Access};
use crate::names;
use crate::schema::{Listing, MetaFile, Root, Target, Targets};
use crate::search::Search;
use crate::source::Source;
use crate::source::pace::Pace;
use crate::store::{self, Store};
use crate::time::Timestamp;
use crate::verified::Verified;
use crate::workflow;

pub use crate::workflow::trusted_now;

/// Bounds on what a source can make the device do. The specification's letters stand beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a root (5.3.3, W).
    pub root: u64,
    /// Bytes of a timestamp (5.4.1, X).
    pub timestamp: u64,
    /// Bytes of a snapshot (5.5.1, Y).
    pub snapshot: u64,
    /// Bytes of targets metadata, each role (5.6.1, Z).
    pub targets: u64,
    /// Bytes of a target that is downloaded into memory.
    pub target: u64,
    /// Roots followed in one refresh (5.3.3, Y).
    pub roots: u32,
    /// Roles visited in the search for one target (5.6.7.1).
    pub roles: usize,
    /// How slow metadata may come.
    pub pace: Pace,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 512 << 10,
            timestamp: 16 << 10,
            snapshot: 2 << 20,
            targets: 4 << 20,
            target: 64 << 20,
            roots: 256,
            roles: 32,
            pace: Pace::default(),
        }
    }
}

/// What a device trusts, and how it learns more.
#[derive(Debug)]
pub struct Client {
    store: Store,
    limits: Limits,
    built: Timestamp,
    root: Verified<Root>,
    timestamp: Option<Verified<Listing>>,
    snapshot: Option<Verified<Listing>>,
    /// Set by a refresh that succeeded as a whole, taken away by the next one's start.
    current: Option<Current>,
}

/// The state after a successful refresh.
#[derive(Debug)]
struct Current {
    now: Timestamp,
    targets: Verified<Targets>,
}

impl Client {
    /// Opens the store at `directory`. `baked` is the root of the image, `built` the time it was made: the floors of trust
    /// and time, below which nothing that lies in the store can lead.
    pub fn open(directory: &Path, baked: &[u8], built: Timestamp) -> Result<Self, Error> {
        let store = Store::open(directory)?;
        let limits = Limits::default();
        let baked_root = workflow::load_root(baked)?;
        // A stored root is newer than the baked one, or it is of no use. One that does not parse or is not signed (a torn
        // card) must not keep the device from updates for ever: the chain is walked again from the baked one.
        let stored = store
            .read("root", limits.root)
            .and_then(|bytes| workflow::load_root(&bytes).ok())
            .filter(|root| root.header.version >= baked_root.header.version);
        let root = if let Some(root) = stored {
            root
        } else {
            store.write("root", baked)?;
            baked_root
        };
        Ok(Self::assemble(store, limits, built, root))
    }

    /// Opens a store that [`Client::open`] made before, without an image to compare with (tools, the conformance driver).
    pub fn resume(directory: &Path, built: Timestamp) -> Result<Self, Error> {
        let store = Store::open(directory)?;
        let limits = Limits::default();
        let bytes = store.read("root", limits.root).ok_or(Error::NotRefreshed)?;
        let root = workflow::load_root(&bytes)?;
        Ok(Self::assemble(store, limits, built, root))
    }

    fn assemble(store: Store, limits: Limits, built: Timestamp, root: Verified<Root>) -> Self {
        let mut client = Self {
            store,
            limits,
            built,
            root,
            timestamp: None,
            snapshot: None,
            current: None,
        };
        client.load_stored();
        client
    }

    /// Other bounds than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What the store remembers, as far as the trusted root's keys have signed it.
    fn load_stored(&mut self) {
        let load = |kind: &str, limit: u64| {
            let bytes = self.store.read(kind, limit)?;
            workflow::stored(&self.root, kind, &bytes).ok()
        };
        let (timestamp, snapshot) = (
            load("timestamp", self.limits.timestamp),
            load("snapshot", self.limits.snapshot),
        );
        self.timestamp = timestamp;
        self.snapshot = snapshot;
    }

    /// The time floor: it cannot be earlier than this, whatever the clock says.
    ///
    /// The newest of: the image's build time, and the signing times in the trusted root and timestamp. It is computed from
    /// the stored metadata and not stored beside it, so that it is exactly as durable, and so that a rotation of the
    /// timestamp key, which forgets a fast-forwarded timestamp, forgets a fast-forwarded time with it.
    pub fn floor(&self) -> Timestamp {
        [
            Some(self.built),
            self.root.header.signed,
            self.timestamp.as_ref().and_then(|t| t.header.signed),
        ]
        .into_iter()
        .flatten()
        .max()
        .unwrap_or_default()
    }

    /// The trusted root's version.
    pub fn root_version(&self) -> u64 {
        self.root.header.version
    }

    /// The trusted root.
    pub fn root(&self) -> &Verified<Root> {
        &self.root
    }

    /// The top-level targets, after a successful refresh.
    pub fn top_level(&self) -> Option<&Verified<Targets>> {
        self.current.as_ref().map(|c| &c.targets)
    }

    /// The trusted timestamp, if any was ever accepted.
    pub fn timestamp(&self) -> Option<&Verified<Listing>> {
        self.timestamp.as_ref()
    }

    /// The trusted snapshot, if any was ever accepted.
    pub fn snapshot(&self) -> Option<&Verified<Listing>> {
        self.snapshot.as_ref()
    }

    /// The targets of the top-level role by name; none before a refresh succeeded.
    pub fn targets(&self) -> impl Iterator<Item = (&str, &Target)> {
        self.top_level().into_iter().flat_map(|t| {
            t.targets
                .iter()
                .map(|(name, target)| (name.as_str(), target))
        })
    }

    /// Section 5.1 to 5.6.6: brings root, timestamp, snapshot and targets up to date. `clock` is the device's clock, read
    /// once for the whole refresh.
    pub fn refresh(&mut self, source: &dyn Source, clock: Timestamp) -> Result<(), Error> {
        self.current = None;
        self.update_root(source)?;
        // 5.1 Record fixed update start time. The clock was read before we came here; the floor is taken now, because a
        // root that rotated the timestamp key has just taken a fast-forwarded floor away. Nothing was judged by time yet.
        let now = trusted_now(clock, self.floor());
        // 5.3.10 Check for a freeze attack.
        workflow::not_expired("root.json", self.root.header.expires, now)?;
        let timestamp = self.update_timestamp(source, now)?;
        let snapshot = self.update_snapshot(source, &timestamp, now)?;
        let targets = self.update_targets(source, &snapshot, now)?;
        self.current = Some(Current { now, targets });
        Ok(())
    }

    /// 5.3 Update the root role.
    fn update_root(&mut self, source: &dyn Source) -> Result<(), Error> {
        // 5.3.9 Repeat; 5.3.3 no more than Y in one refresh, the next refresh goes on.
        for _ in 0..self.limits.roots {
            let next = self.root.header.version.saturating_add(1);
            let name = names::metadata("root", Some(next));
            // 5.3.3 Try downloading version N+1, up to W bytes. "If this file is not available, go to step 5.3.10."
            // Only the source's word that there is none ends the chain; a time-out is an error.
            let bytes = match self.fetch(source, &name, self.limits.root) {
                Err(Error::Missing { .. }) => break,
                other => other?,
            };
            let root = workflow::next_root(&self.root, &bytes)?;
            // 5.3.11 If keys were rotated, delete the trusted timestamp and snapshot. Off-spec in order only: before 5.3.8
            // and at each step of the chain, so that a power cut between the two cannot leave a fast-forwarded timestamp
            // under the root that was to remove it.
            if workflow::rotated(&self.root, &root) {
                self.store.remove("timestamp")?;
                self.store.remove("snapshot")?;
            }
            // 5.3.8 Persist root metadata.
            self.store.write("root", &bytes)?;
            self.root = root;
        }
        // What is left must be signed by keys of the root as it is now.
        self.load_stored();
        Ok(())
    }

    /// 5.4 Update the timestamp role.
    fn update_timestamp(
        &mut self,
        source: &dyn Source,
        now: Timestamp,
    ) -> Result<Verified<Listing>, Error> {
        // 5.4.1 Download, up to X bytes.
        let bytes = self.fetch(source, "timestamp.json", self.limits.timestamp)?;
        let new = workflow::timestamp(&self.root, self.timestamp.as_ref(), &bytes, now)?;
        match (new, &self.timestamp) {
            (None, Some(trusted)) => Ok(trusted.clone()),
            (None, None) => Err(Error::NotRefreshed),
            (Some(new), _) => {
                // 5.4.5 Persist timestamp metadata.
                self.store.write("timestamp", &bytes)?;
                self.timestamp = Some(new.clone());
                Ok(new)
            }
        }
    }

    /// 5.5 Update the snapshot role.
    fn update_snapshot(
        &mut self,
        source: &dyn Source,
        timestamp: &Verified<Listing>,
        now: Timestamp,
    ) -> Result<Verified<Listing>, Error> {
        let check = |bytes: &[u8]| {
            workflow::snapshot(&self.root, timestamp, self.snapshot.as_ref(), bytes, now)
        };
        let limit = self.limits.snapshot;
        let listed = workflow::listed(timestamp, "snapshot.json")?;
        let (bytes, new) = self.stored_or_fetched(source, "snapshot", listed, limit, check)?;
        // 5.5.7 Persist snapshot metadata.
        self.keep("snapshot", bytes)?;
        self.snapshot = Some(new.clone());
        Ok(new)
    }

    /// 5.6.1 to 5.6.6.
    fn update_targets(
        &self,
        source: &dyn Source,
        snapshot: &Verified<Listing>,
        now: Timestamp,
    ) -> Result<Verified<Targets>, Error> {
        let check = |bytes: &[u8]| workflow::targets(&self.root, snapshot, bytes, now);
        let limit = self.limits.targets;
        let listed = workflow::listed_role(snapshot, "targets")?;
        let (bytes, new) = self.stored_or_fetched(source, "targets", listed, limit, check)?;
        // 5.6.6 Persist targets metadata.
        self.keep("targets", bytes)?;
        Ok(new)
    }

    /// A file of the listed version: the stored one when it passes every check, else the source's. The bytes are given back
    /// only when they have to be stored.
    fn stored_or_fetched<T>(
        &self,
        source: &dyn Source,
        role: &str,
        listed: &MetaFile,
        limit: u64,
        check: impl Fn(&[u8]) -> Result<T, Error>,
    ) -> Result<(Option<Vec<u8>>, T), Error> {
        if let Some(bytes) = self.store.read(role, limit)
            && let Ok(value) = check(&bytes)
        {
            return Ok((None, value));
        }
        // 5.5.1, 5.6.1 With consistent snapshots the file's name carries its version.
        let version = self.root.consistent_snapshot.then_some(listed.version);
        let name = names::metadata(role, version);
        // "up to either the number of bytes specified in the [listing], or some Z number of bytes"
        let limit = limit.min(listed.length.unwrap_or(limit));
        let bytes = self.fetch(source, &name, limit)?;
        let value = check(&bytes)?;
        Ok((Some(bytes), value))
    }

    fn keep(&self, role: &str, bytes: Option<Vec<u8>>) -> Result<(), Error> {
        bytes.map_or(Ok(()), |bytes| self.store.write(role, &bytes))
    }

    fn fetch(&self, source: &dyn Source, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        fetch::whole(source, name, limit, &self.limits.pace)
    }

    /// 5.6.7: the role that speaks for `name`, top level first, and what it says. `source` is asked for delegated roles.
    pub fn find(&self, source: &dyn Source, name: &str) -> Result<Verified<Target>, Error> {
        let (Some(current), Some(snapshot)) = (&self.current, &self.snapshot) else {
            return Err(Error::NotRefreshed);
        };
        let mut search = Search::new(name, self.limits.roles);
        let mut visited: Vec<Verified<Targets>> = Vec::new();
        loop {
            let visit = search.advance()?;
            let delegations = visit
                .parent
                .and_then(|parent| visited.get(parent))
                .and_then(|parent| parent.delegations.as_ref());
            let targets = match delegations {
                None => current.targets.clone(),
                Some(delegations) => {
                    let check = |bytes: &[u8]| {
                        workflow::delegated(delegations, &visit.role, snapshot, bytes, current.now)
                    };
                    let listed = workflow::listed_role(snapshot, &visit.role)?;
                    let limit = self.limits.targets;
                    let (bytes, new) =
                        self.stored_or_fetched(source, &visit.role, listed, limit, check)?;
                    self.keep(&visit.role, bytes)?;
                    new
                }
            };
            if let Some(target) = search.visited(&targets) {
                return Ok(target);
            }
            visited.push(targets);
        }
    }

    /// 5.7: finds and fetches a target into memory, from one source that holds metadata and targets.
    pub fn download(&self, source: &dyn Source, name: &str) -> Result<Verified<Vec<u8>>, Error> {
        let target = self.find(source, name)?;
        self.fetch_target(source, name, &target)
    }

    /// 5.7.3: fetches a target that [`Client::find`] found, "up to the number of bytes specified", and checks its hashes.
    pub fn fetch_target(
        &self,
        source: &dyn Source,
        name: &str,
        target: &Verified<Target>,
    ) -> Result<Verified<Vec<u8>>, Error> {
        let file = self.target_file(name, target)?;
        if target.length > self.limits.target {
            return Err(Error::TooLong {
                file,
                limit: self.limits.target,
            });
        }
        let bytes = self.fetch(source, &file, target.length)?;
        // Off-spec, stricter: "up to this number of bytes, because in some cases the exact number is unknown". Ours is
        // always known, and python-tuf compares it too.
        check::length_matches(&file, &bytes, target.length)?;
        check::hashes_match(&file, &bytes, &target.hashes)?;
        Ok(Verified::new(bytes))
    }

    /// The name under which the repository serves a target.
    pub fn target_file(&self, name: &str, target: &Target) -> Result<String, Error> {
        names::target(name, target, self.root.consistent_snapshot).ok_or_else(|| {
            Error::NoUsableHash {
                file: "the metadata".to_owned(),
                of: name.to_owned(),
            }
        })
    }

    /// Fetches a target into `directory`, under its own name in one encoded segment, unless the right bytes are there
    /// already. Gives the path.
    pub fn fetch_into(
        &self,
        source: &dyn Source,
        name: &str,
        target: &Verified<Target>,
        directory: &Path,
    ) -> Result<PathBuf, Error> {
        let path = directory.join(names::encode(name));
        // A file of another length is not read; one that cannot be read is fetched again.
        if let Some(bytes) =
            files::read(&path, target.length.min(self.limits.target)).unwrap_or(None)
            && check::hashes_match(name, &bytes, &target.hashes).is_ok()
        {
            return Ok(path);
        }
        let bytes = self.fetch_target(source, name, target)?;
        files::make_directory(directory).map_err(|e| store::failed(directory, "creating", &e))?;
        files::replace(&path, &bytes, Access::Public)
            .map_err(|e| store::failed(&path, "writing", &e))?;
        Ok(path)
    }
}
