//! One function per command: reads what it names, calls the library, prints the outcome.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hypriot_keys::client::Client;
use hypriot_keys::files::{self, Access};
use hypriot_keys::key::Key;
use hypriot_keys::keyfile::{self, KeyFileError};
use hypriot_keys::repo::{
    NewDelegation, Options, Published, RepoError, Repository, RoleOptions, Rotation, sign_file,
    to_bytes,
};
use hypriot_keys::schema::{ROLLOUT_KEYS, Root};
use hypriot_keys::secret::SecretKey;
use hypriot_keys::signed::Signed;
use hypriot_keys::source::http::{HttpOptions, HttpSource, TlsTime};
use hypriot_keys::source::{FileSource, Source};
use hypriot_keys::time::Timestamp;
use hypriot_keys::{Error, json, workflow};
use serde_json::{Value, json as value};

use crate::cli::{Cli, Command, Init, Keys, Passphrase, Publication};
use crate::show;

/// Longest file that is listed as a target: release indexes are small, payload is no target.
const MAX_TARGET: u64 = 64 << 20;
const MAX_FILE: u64 = 16 << 20;

/// 1 for what a check refused, 3 for everything around it.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        let tuf = match cause.downcast_ref::<RepoError>() {
            Some(RepoError::Tuf(tuf)) => Some(tuf),
            Some(RepoError::Io { .. }) => return 3,
            Some(_) => return 1,
            None => cause.downcast_ref::<Error>(),
        };
        if let Some(tuf) = tuf {
            let outside = matches!(
                tuf,
                Error::Store { .. } | Error::Unreachable { .. } | Error::SourceRefused { .. }
            );
            return if outside { 3 } else { 1 };
        }
    }
    3
}

pub(crate) fn run(cli: Cli, now: Timestamp) -> Result<()> {
    let json = cli.json;
    let open = |path: &Path| Repository::open(path, now);
    match cli.command {
        Command::Generate { file, passphrase } => generate(&file, &passphrase, json),
        Command::Init(options) => init(&options, now, json),
        Command::AddTarget {
            repository,
            file,
            name,
            custom,
            role,
        } => {
            let bytes = read(&file, MAX_TARGET)?;
            let own = file.file_name().and_then(|n| n.to_str()).map(str::to_owned);
            let name = name
                .or(own)
                .context("the file's name is not text; give --name")?;
            open(&repository)?.add_target_to(&role, &name, &bytes, custom_value(&custom)?)?;
            staged(&repository, now, json)
        }
        Command::RemoveTarget {
            repository,
            name,
            role,
        } => {
            open(&repository)?.remove_target(&role, &name)?;
            staged(&repository, now, json)
        }
        Command::Delegate {
            repository,
            role,
            keys,
            threshold,
            paths,
            hash_prefixes,
            terminating,
            parent,
        } => {
            let keys = public_keys(&keys)?;
            let new = NewDelegation {
                name: role,
                keys,
                threshold,
                paths,
                hash_prefixes,
                terminating,
            };
            open(&repository)?.delegate(&parent, &new)?;
            staged(&repository, now, json)
        }
        Command::Rotate {
            repository,
            role,
            add,
            remove,
            threshold,
        } => {
            let change = Rotation {
                add: public_keys(&add)?,
                remove,
                threshold,
            };
            open(&repository)?.rotate(&role, &change)?;
            staged(&repository, now, json)
        }
        Command::Sign {
            file,
            keys,
            previous,
        } => sign(&file, &keys, previous, json),
        Command::Publish(p) => publish(&p, json, |out, signers| {
            open(&p.repository)?.publish(out, signers)
        }),
        Command::RefreshTimestamp(p) => publish(&p, json, |out, signers| {
            open(&p.repository)?.refresh_timestamp(out, signers)
        }),
        Command::Verify {
            repository,
            root,
            at,
        } => verify(&repository, &root, at.as_deref(), now, json),
        Command::Show { path } => show_path(&path, now, json),
    }
}

fn generate(file: &Path, passphrase: &Passphrase, json: bool) -> Result<()> {
    let public = file.with_extension("pub");
    if public == file || public.exists() {
        bail!(
            "{} exists already or is the key file itself; choose another name",
            public.display()
        );
    }
    let secret = keyfile::passphrase(
        passphrase.passphrase_file.as_deref(),
        &format!("new passphrase for {}: ", file.display()),
    )?;
    let typed = passphrase.passphrase_file.is_none()
        && std::env::var_os(keyfile::PASSPHRASE_VARIABLE).is_none();
    if typed && *keyfile::passphrase(None, "again: ")? != *secret {
        bail!("the two passphrases differ; nothing was written");
    }
    let key = keyfile::generate()?;
    keyfile::write(
        file,
        &keyfile::seal(&key, &secret, keyfile::Cost::default())?,
    )?;
    put(&public, &to_bytes(key.public())?)?;
    let done = value!({"id": key.id(), "private": file, "public": public});
    show::done(
        json,
        &done,
        &format!(
            "key {}\n  private  {} (encrypted, keep a copy on paper or a stick in a drawer)\n  public   {}",
            key.id(),
            file.display(),
            public.display()
        ),
    )
}

fn init(options: &Init, now: Timestamp, json: bool) -> Result<()> {
    let role = |name: &str, own: &[PathBuf], threshold: u64, days: u64| -> Result<RoleOptions> {
        let files = if own.is_empty() { &options.keys } else { own };
        if files.is_empty() {
            bail!("role {name} has no holder; give --{name} or --key");
        }
        Ok(RoleOptions {
            keys: public_keys(files)?,
            threshold,
            days,
        })
    };
    let roles = Options {
        root: role(
            "root",
            &options.root,
            options.root_threshold,
            options.root_days,
        )?,
        targets: role(
            "targets",
            &options.targets,
            options.targets_threshold,
            options.targets_days,
        )?,
        snapshot: role("snapshot", &options.snapshot, 1, options.snapshot_days)?,
        timestamp: role("timestamp", &options.timestamp, 1, options.timestamp_days)?,
    };
    Repository::init(&options.repository, &roles, now)?;
    staged(&options.repository, now, json)
}

fn sign(file: &Path, keys: &Keys, previous: Option<PathBuf>, json: bool) -> Result<()> {
    let name = file.display().to_string();
    let mut signed = Signed::parse(&name, &read(file, MAX_FILE)?)?;
    // Inside a repository the root before lies in the directory beside.
    let beside = file
        .parent()
        .and_then(Path::parent)
        .map(|p| p.join("metadata/root.json"));
    let previous = previous.or(beside.filter(|p| p.exists()));
    let previous: Option<Root> = match previous {
        Some(path) => Some(workflow::load_root(&read(&path, MAX_FILE)?)?.into_inner()),
        None => None,
    };
    for key in secret_keys(keys)? {
        sign_file(&mut signed, &key, previous.as_ref())?;
    }
    put(file, &to_bytes(&signed)?)?;
    let ids: Vec<&str> = signed.signatures.iter().map(|s| s.keyid.as_str()).collect();
    let text = format!(
        "{name} carries {} signature(s):\n  {}",
        ids.len(),
        ids.join("\n  ")
    );
    show::done(json, &value!({"file": file, "signatures": ids}), &text)
}

fn publish(
    options: &Publication,
    json: bool,
    act: impl FnOnce(&Path, &[&SecretKey]) -> Result<Published, RepoError>,
) -> Result<()> {
    let keys = secret_keys(&options.keys)?;
    let done = act(&options.out, &keys.iter().collect::<Vec<_>>())?;
    let versions: Vec<String> = done
        .versions
        .iter()
        .map(|(role, v)| format!("{role} {v}"))
        .collect();
    let text = format!(
        "published to {}: {}\n{} files; the client accepted all of it and checked {} target(s)",
        options.out.display(),
        versions.join(", "),
        done.files.len(),
        done.targets_checked
    );
    let done = value!({"versions": done.versions, "files": done.files, "targets_checked": done.targets_checked});
    show::done(json, &done, &text)
}

fn verify(
    repository: &str,
    root: &Path,
    at: Option<&str>,
    now: Timestamp,
    json: bool,
) -> Result<()> {
    let now = match at {
        None => now,
        Some(text) => {
            Timestamp::parse(text).context("--at wants a time like 2026-01-31T23:59:59Z")?
        }
    };
    let source: Box<dyn Source> =
        if repository.starts_with("http://") || repository.starts_with("https://") {
            let time = TlsTime {
                clock: now,
                floor: Timestamp(0),
            };
            Box::new(HttpSource::new(repository, HttpOptions::at(time))?)
        } else {
            Box::new(FileSource::new(repository))
        };
    // A judgement from nothing, as a freshly flashed board makes it: this store is meant to be forgotten.
    let store = Scratch::new()?;
    let mut client = Client::open(&store.0, &read(root, MAX_FILE)?, Timestamp(0))?;
    client.refresh(&*source, now)?;
    let names: Vec<String> = client.targets().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        client
            .download(&*source, name)
            .with_context(|| format!("checking target {name:?}"))?;
    }
    let version = |listing: Option<u64>| listing.unwrap_or_default();
    let (snapshot, timestamp) = (
        version(client.snapshot().map(|s| s.header.version)),
        version(client.timestamp().map(|t| t.header.version)),
    );
    let done = value!({"root": client.root_version(), "snapshot": snapshot, "timestamp": timestamp, "targets": names});
    let text = format!(
        "accepted: root {}, timestamp {timestamp}, snapshot {snapshot}; {} target(s) of the top-level role checked",
        client.root_version(),
        names.len()
    );
    show::done(json, &done, &text)
}

fn show_path(path: &Path, now: Timestamp, json: bool) -> Result<()> {
    if path.is_dir() {
        return staged(path, now, json);
    }
    let bytes = read(path, MAX_FILE)?;
    let name = path.display().to_string();
    let parsed = json::parse(&name, &bytes)?;
    if parsed.get("signed").is_some() {
        let signed = Signed::parse(&name, &bytes)?;
        return show::done(
            json,
            &serde_json::to_value(&signed)?,
            &show::metadata(&signed, now),
        );
    }
    let key = public_key(path)?;
    let text = format!(
        "{} key {}\n  public {}",
        key.scheme,
        key.id(),
        key.keyval.public
    );
    show::done(json, &value!({"id": key.id(), "key": key}), &text)
}

/// What the repository waits for; printed after every edit.
fn staged(repository: &Path, now: Timestamp, json: bool) -> Result<()> {
    let status = Repository::open(repository, now)?.status()?;
    show::done(
        json,
        &serde_json::to_value(&status)?,
        &show::status(&status, now),
    )
}

fn custom_value(text: &str) -> Result<Value> {
    let bytes = match text.strip_prefix('@') {
        Some(path) => read(Path::new(path), MAX_FILE)?,
        None => text.as_bytes().to_vec(),
    };
    let custom = json::parse("--custom", &bytes)?;
    if !custom.is_object() && !custom.is_null() {
        bail!("--custom wants a JSON object");
    }
    let rollout = custom.get("rollout").and_then(Value::as_object);
    let known = |key: &&String| ROLLOUT_KEYS.contains(&key.as_str());
    if let Some(key) = rollout.and_then(|r| r.keys().find(|key| !known(key))) {
        let keys = ROLLOUT_KEYS.join(", ");
        bail!("boards would pass over the key {key:?} of `rollout`; they know {keys}");
    }
    Ok(custom)
}

fn public_keys(files: &[PathBuf]) -> Result<Vec<Key>> {
    files.iter().map(|file| public_key(file)).collect()
}

/// From a key file (no passphrase needed) or from a .pub file.
fn public_key(file: &Path) -> Result<Key> {
    let bytes = read(file, MAX_FILE)?;
    if let Ok(key) = keyfile::public_part(&bytes) {
        return Ok(key);
    }
    let parsed = json::parse(&file.display().to_string(), &bytes)?;
    let key: Key = serde_json::from_value(parsed)
        .with_context(|| format!("{} is no public key", file.display()))?;
    if key.public().is_none() {
        bail!(
            "{} holds a key that this program cannot use",
            file.display()
        );
    }
    Ok(key)
}

fn secret_keys(keys: &Keys) -> Result<Vec<SecretKey>> {
    let open = |path: &PathBuf| -> Result<SecretKey, KeyFileError> {
        // Read before the question is asked: a wrong path should not cost a passphrase.
        let text = keyfile::read(path)?;
        let question = format!("passphrase for {}: ", path.display());
        let secret = keyfile::passphrase(keys.passphrase.passphrase_file.as_deref(), &question)?;
        keyfile::unseal(&text, &secret)
    };
    keys.keys
        .iter()
        .map(|path| open(path).with_context(|| format!("opening key {}", path.display())))
        .collect()
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    files::read(path, limit)
        .with_context(|| format!("reading {}", path.display()))?
        .with_context(|| format!("{} does not exist", path.display()))
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    files::replace(path, bytes, Access::Public)
        .with_context(|| format!("writing {}", path.display()))
}

/// A directory that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("hypriot-keys-verify-{}", std::process::id()));
        // Not create_dir_all: somebody else's directory of that name is not used.
        std::fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
