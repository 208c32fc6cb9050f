//! Releases of a few kilobytes, signed and published as all are: what a slot holds is the settings and the self-tests of its version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use hypriot_agent::update::machine::clock;
use hypriot_imagegen::release::publish::{Listed, publish};
use hypriot_keys::repo::{Options, Repository};
use hypriot_keys::secret::SecretKey;
use hypriot_updater::index::{FORMAT, Image, Index, PayloadFile, SegmentHash, Target};
use hypriot_updater::payload::{self, Operation};

/// Bytes of a root.
pub const ROOT: usize = 8192;
/// The kind of board.
const BOARD: &str = "native";

/// Files by their names.
pub type Root = BTreeMap<String, String>;

/// The maker of releases.
pub struct Releases {
    repository: Repository,
    key: SecretKey,
    made: PathBuf,
    /// What boards are offered.
    pub site: PathBuf,
}

impl std::fmt::Debug for Releases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Releases")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

impl Releases {
    /// A repository with one key.
    pub fn new(dir: &Path) -> Result<Self> {
        let (made, site) = (dir.join("made"), dir.join("site"));
        std::fs::create_dir_all(&made)?;
        std::fs::create_dir_all(&site)?;
        let key = SecretKey::from_seed(&[9; 32]);
        let options = Options::single(key.public());
        let repository = Repository::init(&dir.join("repository"), &options, clock())?;
        let mut own = Self {
            repository,
            key,
            made,
            site,
        };
        own.offer("1.0.0", true)?;
        Ok(own)
    }

    /// The root of a version; its own self-tests hold, or do not.
    pub fn root(&self, version: &str, good: bool) -> Vec<u8> {
        let settings = format!(
            "board = \"{BOARD}\"\nversion = \"{version}\"\nbuilt = \"2026-01-01T00:00:00Z\"\n[update]\nurl = \"/repo\"\n"
        );
        let test = if good {
            "/etc/machine-id"
        } else {
            "/nowhere/of/this/release"
        };
        let tests = format!("file:\n  {test}:\n    exists: true\n");
        let root = Root::from([
            ("agent.toml".to_owned(), settings),
            ("selftest.yaml".to_owned(), tests),
        ]);
        let mut bytes = serde_json::to_vec(&root).unwrap_or_default();
        bytes.resize(ROOT, 0);
        bytes
    }

    /// What an owner would have flashed of a version; its index lies beside it.
    pub fn image(&self, version: &str) -> PathBuf {
        self.made.join(format!("hypriotos-{BOARD}-{version}.img"))
    }

    /// Makes, signs and publishes a version.
    pub fn offer(&mut self, version: &str, good: bool) -> Result<()> {
        let boot = vec![1; 4096];
        let root = self.root(version, good);
        let rows = [
            (&Operation::Raw, boot.as_slice()),
            (&Operation::Raw, root.as_slice()),
        ];
        let table = payload::encode_table(rows);
        let name = format!("hypriotos-{BOARD}-{version}");
        let image = |target, bytes: &[u8]| Image {
            target,
            size: bytes.len() as u64,
            segments: vec![SegmentHash::of(bytes)],
        };
        let index = Index {
            format: FORMAT.to_owned(),
            board: BOARD.to_owned(),
            version: version.parse()?,
            state_version: 0,
            created: clock(),
            images: vec![image(Target::Boot, &boot), image(Target::Root, &root)],
            payloads: vec![PayloadFile {
                name: format!("{name}.payload"),
                format: payload::FORMAT,
                size: (table.len() + boot.len() + root.len()) as u64,
                table_size: u32::try_from(table.len())?,
                table: SegmentHash::of(&table),
                base: None,
            }],
        };
        let path = self.made.join(format!("{name}.json"));
        super::put(&path, &index.encode()?)?;
        let whole = [table, boot, root].concat();
        super::put(&self.made.join(format!("{name}.payload")), &whole)?;
        publish(
            &mut self.repository,
            &[path],
            Listed::Replaced,
            &[&self.key],
            &self.site,
        )?;
        Ok(())
    }
}
