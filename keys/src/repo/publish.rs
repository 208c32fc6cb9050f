//! Publication: completes signatures, lists everything in a new snapshot and timestamp, writes the flat files, and lets the
//! client judge them before the one file is replaced that makes them count.

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use serde_json::Map;

use super::edit::hashes;
use super::{RepoError, Repository, SPEC_VERSION, load, read, replace, to_bytes, typed};
use crate::client::Client;
use crate::files;
use crate::names;
use crate::schema::{Header, Listing, MetaFile, Root, Targets};
use crate::secret::SecretKey;
use crate::signed::{Signed, Signers};
use crate::source::{FileSource, Source, SourceError};
use crate::time::Timestamp;
use crate::workflow;

/// What a publication did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Versions that are current now, by role.
    pub versions: BTreeMap<String, u64>,
    /// Names of the files that make up the publication, `timestamp.json` last.
    pub files: Vec<String>,
    /// How many targets the client fetched and checked.
    pub targets_checked: usize,
}

/// The new state of one role.
struct File {
    version: u64,
    bytes: Vec<u8>,
}

impl Repository {
    /// Publishes what is staged, with a new snapshot and timestamp, as flat files in `out`. `signers` sign whatever they are
    /// holders of. Nothing counts before the client has accepted all of it.
    pub fn publish(&mut self, out: &Path, signers: &[&SecretKey]) -> Result<Published, RepoError> {
        let _held = self.hold()?;
        let staged = self.staged()?;
        for role in &staged {
            let holders = self.holders(role)?;
            for key in signers.iter().filter(|k| holders.contains(k.id())) {
                self.sign(role, key)?;
            }
        }
        self.complete(out, signers, &staged)
    }

    /// Signs a new timestamp (and snapshot, when that has lived half of its days) over what is published already. Whatever
    /// is staged stays staged.
    pub fn refresh_timestamp(
        &mut self,
        out: &Path,
        signers: &[&SecretKey],
    ) -> Result<Published, RepoError> {
        self.complete(out, signers, &[])
    }

    fn complete(
        &mut self,
        out: &Path,
        signers: &[&SecretKey],
        staged: &[String],
    ) -> Result<Published, RepoError> {
        // From the first look at what is current until the last file is in its place.
        let _held = self.hold()?;
        let (root, root_file) = self.checked_root(staged)?;
        let roles = self.checked_targets(&root, staged)?;
        let (snapshot, snapshot_file) = self.new_snapshot(&root, &roles, signers)?;
        let (timestamp, timestamp_file) = self.new_timestamp(&root, &snapshot_file, signers)?;

        files::make_directory(out).map_err(|e| RepoError::io("creating", out, e))?;
        not_behind(out, timestamp_file.version)?;
        // In the order of writing: whoever follows a name finds what it leads to. A root is followed by nobody's name but asked
        // for by every client, so it is the last but one.
        let mut public: Vec<(String, Vec<u8>)> = Vec::new();
        for (role, (_, file)) in &roles {
            let name = names::metadata(role, Some(file.version));
            public.push((name, file.bytes.clone()));
        }
        let name = names::metadata("snapshot", Some(snapshot.header.version));
        public.push((name, snapshot_file.bytes.clone()));
        for version in 1..root.header.version {
            // Section 6.1: "all released versions of root metadata files MUST always be provided".
            if let Some(bytes) = self.published_root(version)? {
                public.push((names::metadata("root", Some(version)), bytes));
            }
        }
        let name = names::metadata("root", Some(root_file.version));
        public.push((name, root_file.bytes.clone()));
        // Section 6.2.1: the one file without a version. From here on clients see the new state.
        public.push((String::from("timestamp.json"), timestamp_file.bytes.clone()));

        let mut written = Written {
            out,
            files: BTreeSet::new(),
        };
        self.write_targets(&roles, &mut written)?;
        let first = match self.published_root(1)? {
            Some(bytes) => bytes,
            None => root_file.bytes.clone(),
        };
        // Before any of it is public: a root that was is taken up by every client for good.
        let checked = self.judge(out, &first, &public, &roles)?;

        // Ours first: should the power fail before `out` has the new timestamp, the next publication counts on from here.
        let mut versions = BTreeMap::new();
        let own = [
            ("root", &root_file),
            ("snapshot", &snapshot_file),
            ("timestamp", &timestamp_file),
        ];
        let roles = roles.iter().map(|(name, (_, file))| (name.as_str(), file));
        for (role, file) in own.into_iter().chain(roles) {
            if role == "root" {
                let name = names::metadata("root", Some(file.version));
                replace(&self.directory.join("metadata").join(name), &file.bytes)?;
            }
            replace(&self.current_path(role), &file.bytes)?;
            versions.insert(role.into(), file.version);
        }
        let names: Vec<String> = public.iter().map(|(name, _)| name.clone()).collect();
        for (name, bytes) in public {
            written.write(name, &bytes)?;
        }
        written.files.retain(|name| !names.contains(name));
        let mut files: Vec<String> = written.files.into_iter().collect();
        files.extend(names);
        // Last: until here a publication that was cut off is begun again with the same files.
        for role in staged {
            let path = self.staged_path(role);
            files::remove(&path).map_err(|e| RepoError::io("removing", &path, e))?;
        }
        debug_assert_eq!(timestamp.header.version, timestamp_file.version);
        Ok(Published {
            versions,
            files,
            targets_checked: checked,
        })
    }

    /// The root to publish: signed by its own holders and, when it is a new one, by those of the root before.
    fn checked_root(&self, staged: &[String]) -> Result<(Root, File), RepoError> {
        let current = load(&self.current_path("root"))?;
        let is_staged = staged.iter().any(|r| r == "root");
        let path = if is_staged {
            self.staged_path("root")
        } else {
            self.current_path("root")
        };
        let bytes = read(&path)?.ok_or(RepoError::NotPublished)?;
        let root = workflow::load_root(&bytes)?.into_inner();
        if let (true, Some(old)) = (is_staged, current) {
            let file = names::metadata("root", Some(root.header.version));
            let old: Root = typed("root", old.signed)?;
            Signed::parse(&file, &bytes)?.verify(
                &file,
                &workflow::root_signers(&old, "root", "the root before"),
            )?;
        }
        let version = root.header.version;
        Ok((root, File { version, bytes }))
    }

    /// Targets and every delegated role, each signed by a threshold of the holders that its delegators name.
    fn checked_targets(
        &self,
        root: &Root,
        staged: &[String],
    ) -> Result<BTreeMap<String, (Targets, File)>, RepoError> {
        let mut found: BTreeMap<String, (Targets, File)> = BTreeMap::new();
        let by = workflow::root_signers(root, "targets", "the root");
        let mut waiting = std::vec![(String::from("targets"), self.checked_role(&by, staged)?)];
        while let Some((name, (targets, file))) = waiting.pop() {
            if let Some(delegations) = &targets.delegations {
                for role in &delegations.roles {
                    let by = Signers {
                        role: &role.name,
                        by: &name,
                        keys: &delegations.keys,
                        keyids: &role.keys.keyids,
                        threshold: role.keys.threshold,
                    };
                    let checked = self.checked_role(&by, staged)?;
                    if !found.contains_key(&role.name)
                        && waiting.iter().all(|(n, _)| *n != role.name)
                    {
                        waiting.push((role.name.clone(), checked));
                    }
                }
            }
            found.insert(name, (targets, file));
        }
        Ok(found)
    }

    fn checked_role(
        &self,
        by: &Signers<'_>,
        staged: &[String],
    ) -> Result<(Targets, File), RepoError> {
        let is_staged = staged.iter().any(|r| r == by.role);
        let path = if is_staged {
            self.staged_path(by.role)
        } else {
            self.current_path(by.role)
        };
        let bytes = read(&path)?.ok_or_else(|| RepoError::NoRole {
            role: by.role.into(),
        })?;
        let file = names::metadata(by.role, None);
        let signed = Signed::parse(&file, &bytes)?;
        signed.verify(&file, by)?;
        let targets: Targets = typed(by.role, signed.signed)?;
        let version = targets.header.version;
        Ok((targets, File { version, bytes }))
    }

    /// The published snapshot while it is still right and not past half of its life, else the next one.
    fn new_snapshot(
        &self,
        root: &Root,
        roles: &BTreeMap<String, (Targets, File)>,
        signers: &[&SecretKey],
    ) -> Result<(Listing, File), RepoError> {
        let mut meta = BTreeMap::new();
        for (role, (_, file)) in roles {
            meta.insert(std::format!("{role}.json"), listed(file));
        }
        let by = workflow::root_signers(root, "snapshot", "the root");
        let old = self.current_listing("snapshot")?;
        if let Some((old, file, signed)) = old {
            // A role that is no longer delegated to stays listed, else clients would see it vanish and refuse (5.5.5).
            for (name, file) in &old.meta {
                meta.entry(name.clone()).or_insert_with(|| file.clone());
            }
            let half = old
                .header
                .signed
                .map_or(0, |from| old.header.expires.0.saturating_sub(from.0) / 2);
            let fresh = old.header.expires.0.saturating_sub(half) > self.now.0;
            if fresh && old.meta == meta && signed.verify("snapshot.json", &by).is_ok() {
                return Ok((old, file));
            }
            let version = old.header.version + 1;
            return self.sign_listing("snapshot", version, meta, old.header.signed, &by, signers);
        }
        self.sign_listing("snapshot", 1, meta, None, &by, signers)
    }

    fn new_timestamp(
        &self,
        root: &Root,
        snapshot: &File,
        signers: &[&SecretKey],
    ) -> Result<(Listing, File), RepoError> {
        let meta = [("snapshot.json".into(), listed(snapshot))].into();
        let by = workflow::root_signers(root, "timestamp", "the root");
        let (version, before) = match self.current_listing("timestamp")? {
            Some((old, _, _)) => (old.header.version + 1, old.header.signed),
            None => (1, None),
        };
        self.sign_listing("timestamp", version, meta, before, &by, signers)
    }

    fn current_listing(&self, role: &str) -> Result<Option<(Listing, File, Signed)>, RepoError> {
        let Some(bytes) = read(&self.current_path(role))? else {
            return Ok(None);
        };
        let signed = Signed::parse(&names::metadata(role, None), &bytes)?;
        let listing: Listing = typed(role, signed.signed.clone())?;
        let version = listing.header.version;
        Ok(Some((listing, File { version, bytes }, signed)))
    }

    fn sign_listing(
        &self,
        role: &str,
        version: u64,
        meta: BTreeMap<String, MetaFile>,
        before: Option<Timestamp>,
        by: &Signers<'_>,
        signers: &[&SecretKey],
    ) -> Result<(Listing, File), RepoError> {
        let listing = Listing {
            header: Header {
                kind: role.into(),
                spec_version: SPEC_VERSION.into(),
                version,
                expires: self.expiry(role),
                // Devices take it as a floor of time: it does not go back because this machine's clock did.
                signed: Some(self.now.max(before.unwrap_or_default())),
            },
            meta,
            extra: Map::new(),
        };
        let mut file = Signed {
            signed: serde_json::to_value(&listing)
                .map_err(|e| RepoError::Write(std::format!("{e}")))?,
            signatures: Vec::new(),
        };
        for key in signers
            .iter()
            .filter(|k| by.keyids.iter().any(|id| id == k.id()))
        {
            key.sign(&mut file);
        }
        file.verify(&names::metadata(role, None), by)?;
        let bytes = to_bytes(&file)?;
        Ok((listing, File { version, bytes }))
    }

    fn write_targets(
        &self,
        roles: &BTreeMap<String, (Targets, File)>,
        written: &mut Written<'_>,
    ) -> Result<(), RepoError> {
        for (targets, _) in roles.values() {
            for (name, target) in &targets.targets {
                let path = self.target_path(name, target);
                let bytes = read(&path)?.ok_or_else(|| RepoError::NoBytes {
                    name: name.clone(),
                    path,
                })?;
                let hash = target.hashes.get("sha256").map_or("", String::as_str);
                written.write(std::format!("{hash}.{name}"), &bytes)?;
            }
        }
        Ok(())
    }

    /// Runs the client, from the first root on, over what is about to be public; fetches every target.
    fn judge(
        &self,
        out: &Path,
        first: &[u8],
        public: &[(String, Vec<u8>)],
        roles: &BTreeMap<String, (Targets, File)>,
    ) -> Result<usize, RepoError> {
        let store = self.directory.join(".check");
        let clear = |path: &Path| match std::fs::remove_dir_all(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(RepoError::io("removing", path, e))
            }
            _ => Ok(()),
        };
        clear(&store)?;
        let source = Ahead {
            files: FileSource::new(out),
            public,
        };
        let mut client = Client::open(&store, first, Timestamp(0))?;
        client.refresh(&source, self.now)?;
        let mut checked = 0;
        for (targets, _) in roles.values() {
            for name in targets.targets.keys() {
                client.download(&source, name)?;
                checked += 1;
            }
        }
        clear(&store)?;
        Ok(checked)
    }
}

fn listed(file: &File) -> MetaFile {
    MetaFile {
        version: file.version,
        length: Some(file.bytes.len() as u64),
        hashes: Some(hashes(&file.bytes)),
        extra: Map::new(),
    }
}

/// The output directory, and what was put there.
struct Written<'a> {
    out: &'a Path,
    files: BTreeSet<String>,
}

impl Written<'_> {
    fn write(&mut self, name: String, bytes: &[u8]) -> Result<(), RepoError> {
        let path = self.out.join(&name);
        if read(&path)?.as_deref() != Some(bytes) {
            replace(&path, bytes)?;
        }
        self.files.insert(name);
        Ok(())
    }
}

/// Refuses to publish what clients would take for a step back. No file, or one that is none, is in nobody's way.
fn not_behind(out: &Path, here: u64) -> Result<(), RepoError> {
    let path = out.join("timestamp.json");
    let served = read(&path)?.and_then(|bytes| Signed::parse("timestamp.json", &bytes).ok());
    let Some(signed) = served else {
        return Ok(());
    };
    let there = typed::<Listing>("timestamp", signed.signed).map_or(0, |l| l.header.version);
    if there >= here {
        return Err(RepoError::Behind { path, there, here });
    }
    Ok(())
}

/// The output directory as clients will see it, with the files that are not there yet.
struct Ahead<'a> {
    files: FileSource,
    public: &'a [(String, Vec<u8>)],
}

impl Source for Ahead<'_> {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let found = self.public.iter().find(|(n, _)| n == name);
        match (found, usize::try_from(from)) {
            (Some((_, bytes)), Ok(from)) if from <= bytes.len() => {
                Ok(Box::new(Cursor::new(&bytes[from..])))
            }
            _ => self.files.open(name, from),
        }
    }
}

#[cfg(test)]
mod tests;
