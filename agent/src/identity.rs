//! This board's own SSH host keys, durably.
//!
//! `ssh-keygen` and cloud-init write keys and sync nothing: a board that loses power in its first minute may have key
//! files with nothing in them, which sshd refuses, and nobody makes them anew. Here every key is either there and synced,
//! or it is made: in memory first, then put in its place as a whole.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use hypriot_keys::hash::sha256;

use crate::exec::Cmd;
use crate::files;

/// Where sshd looks for them.
pub const KEYS: &str = "/etc/ssh";
/// The kinds that sshd_config(5) uses by default.
const KINDS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];
/// No key is longer.
const LIMIT: u64 = 64 << 10;

/// By this a fleet and a lock service know the board. The machine-id itself is not to be told to others (machine-id(5)).
pub fn fleet_id(machine_id: &[u8]) -> String {
    hex::encode(&sha256(&[b"hypriot-fleet", machine_id])[..8])
}

/// Makes the keys that are not there, or not whole, in `keys`; `work` is a place in memory. Gives the kinds that were made.
pub fn host_keys(keys: &Path, work: &Path) -> anyhow::Result<Vec<&'static str>> {
    let mut made = Vec::new();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(work)
        .with_context(|| format!("making {}", work.display()))?;
    for kind in KINDS {
        let (key, public) = pair(keys, kind);
        if is_kept(&key) && is_kept(&public) {
            continue;
        }
        make(kind, work, &key, &public).with_context(|| format!("making the {kind} host key"))?;
        made.push(kind);
    }
    drop(fs::remove_dir_all(work));
    files::sync_directory(keys).with_context(|| format!("syncing {}", keys.display()))?;
    Ok(made)
}

fn pair(keys: &Path, kind: &str) -> (PathBuf, PathBuf) {
    let key = keys.join(format!("ssh_host_{kind}_key"));
    let public = key.with_extension("pub");
    (key, public)
}

/// There, with something in it, and on the medium from now on.
fn is_kept(path: &Path) -> bool {
    File::open(path)
        .and_then(|file| {
            let full = file.metadata()?.len() > 0;
            file.sync_all()?;
            Ok(full)
        })
        .unwrap_or(false)
}

fn make(kind: &str, work: &Path, key: &Path, public: &Path) -> anyhow::Result<()> {
    let (fresh, fresh_public) = pair(work, kind);
    for old in [&fresh, &fresh_public] {
        // ssh-keygen asks before it overwrites
        drop(fs::remove_file(old));
    }
    Cmd::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
        .arg(&fresh)
        .run()?;
    // the private key last: until it is there, the pair is made anew
    files::replace(public, &files::read(&fresh_public, LIMIT)?, 0o644)?;
    files::replace(key, &files::read(&fresh, LIMIT)?, 0o600)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn keys_that_a_power_cut_emptied_are_made_anew_and_whole_ones_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, work) = (dir.path().join("ssh"), dir.path().join("work"));
        fs::create_dir(&keys).unwrap();
        assert_eq!(host_keys(&keys, &work).unwrap(), KINDS);
        let read = |kind| {
            let (key, public) = pair(&keys, kind);
            (fs::read(key).unwrap(), fs::read(public).unwrap())
        };
        let first = KINDS.map(read);
        assert!(!work.exists(), "no copy of a key is left behind");
        assert_eq!(host_keys(&keys, &work).unwrap(), [""; 0]);

        files::replace(&pair(&keys, "ed25519").0, b"", 0o600).unwrap();
        files::replace(&pair(&keys, "ecdsa").1, b"", 0o644).unwrap();
        assert_eq!(host_keys(&keys, &work).unwrap(), ["ed25519", "ecdsa"]);
        let second = KINDS.map(read);
        assert!(first[0] != second[0] && first[1] != second[1]);
        assert_eq!(first[2], second[2], "a key that peers know stays");
        for kind in KINDS {
            let (key, public) = pair(&keys, kind);
            assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
            let shown = Cmd::new("ssh-keygen").args(["-y", "-f"]).arg(&key).run();
            let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
            assert!(
                fs::read_to_string(public)
                    .unwrap()
                    .trim()
                    .starts_with(shown.trim()),
                "{kind}: both halves belong together"
            );
        }
    }
}
