//! Owns the folders that an owner lays over the root tree: `files` of a recipe and `--overlay`, by one rule.
//!
//! * A folder is read as a value first; what cannot be in an image (pipes, devices, sockets) is refused before anything is built.
//! * It is laid over the tree in memory. Nothing of it is ever written to a directory of this machine, so no link in the tree
//!   can lead it there.
//! * A path goes where it would go on the running board: through the tree's own links (`lib` is `usr/lib`), absolute or not,
//!   which never leave the tree. What would end where the board mounts something else is refused: nobody would see it.
//! * Everything belongs to root, and modes are plain (0755, or 0644 for what cannot be executed), since a checkout keeps no
//!   more than that one bit. What its readers demand to be private is private: [`PRIVATE`].

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::tree::{Kind, Tree, show};

/// Where the board mounts something over what the image has.
const MOUNTED: [(&str, &str); 7] = [
    ("boot", "the card's first partition is mounted there"),
    ("data", "the data partition is mounted there"),
    ("dev", "devices appear there"),
    ("proc", "the kernel shows its state there"),
    ("run", "it is empty at every start; see tmpfiles.d(5)"),
    ("sys", "the kernel shows its devices there"),
    ("tmp", "it is empty at every start; see tmpfiles.d(5)"),
];

/// What must not be read by everybody: (folder, mode of what is below it, who asks for it).
const PRIVATE: [(&str, u16, &str); 6] = [
    ("root/.ssh", 0o600, "sshd(8), StrictModes"),
    ("etc/sudoers.d", 0o440, "sudoers(5)"),
    ("etc/ssl/private", 0o600, "keys"),
    ("etc/wpa_supplicant", 0o600, "passwords of networks"),
    ("var/lib/iwd", 0o600, "iwd.network(5)"),
    (
        "etc/NetworkManager/system-connections",
        0o600,
        "NetworkManager ignores others",
    ),
];

/// Reads a folder. Every path in it is named that cannot be laid over a tree.
pub fn read(dir: &Path, epoch: u64) -> Result<Tree> {
    let whole = dir
        .canonicalize()
        .with_context(|| format!("cannot look at the folder {}", dir.display()))?;
    let found = Tree::scan(&whole, epoch)?;
    let odd: Vec<String> = found
        .below(b"")
        .filter(|(_, e)| !matches!(e.kind, Kind::Dir | Kind::File(_) | Kind::Symlink(_)))
        .map(|(path, e)| format!("{} is a {}", show(path), e.kind.name()))
        .collect();
    ensure!(
        odd.is_empty(),
        "the folder {} cannot be laid over the image: {}; only folders, files and links can. What a program needs at run time \
         it makes itself, or tmpfiles.d(5) does",
        dir.display(),
        odd.join(", ")
    );
    let mut out = Tree::new(epoch);
    for (path, entry) in found.below(b"") {
        let mut entry = entry.clone();
        (entry.uid, entry.gid, entry.link, entry.mtime) = (0, 0, None, epoch);
        entry.xattrs.clear();
        entry.mode = mode(path, &entry.kind, entry.mode);
        out.insert_entry(path.to_vec(), entry)?;
    }
    Ok(out)
}

/// The mode in the image. git keeps one bit: whether a file can be executed.
fn mode(path: &[u8], kind: &Kind, found: u16) -> u16 {
    let executable = found & 0o100 != 0;
    let private = PRIVATE.iter().find_map(|(folder, mode, _)| {
        let rest = path.strip_prefix(folder.as_bytes())?;
        (rest.is_empty() || rest.starts_with(b"/")).then_some(*mode)
    });
    match (kind, private) {
        (Kind::Symlink(_), _) => 0o777,
        (Kind::Dir, Some(0o600)) => 0o700,
        (Kind::File(_), Some(mode)) => mode | if executable { 0o100 } else { 0 },
        (Kind::File(_), None) if !executable => 0o644,
        _ => 0o755,
    }
}

/// Lays a folder that was read over the tree; returns where its files ended. `name` is for messages.
pub fn lay(root: &mut Tree, upper: &Tree, name: &str) -> Result<Vec<Vec<u8>>> {
    let mut laid = Vec::new();
    for (path, entry) in upper.below(b"") {
        let refused = |why: &str| {
            format!(
                "{name} has {}, which cannot be laid over the image: {why}",
                show(path)
            )
        };
        let is_dir = matches!(entry.kind, Kind::Dir);
        // A folder goes through a link that the tree has in its place; a file or link takes the place of a link.
        let at = if is_dir {
            root.locate(path)
        } else {
            let cut = path.iter().rposition(|b| *b == b'/');
            let (parent, last) = cut.map_or((&b""[..], path), |n| (&path[..n], &path[n + 1..]));
            root.locate(parent).map(|mut at| {
                if !at.is_empty() {
                    at.push(b'/');
                }
                at.extend_from_slice(last);
                at
            })
        };
        let at = at.with_context(|| refused("its way leads in a circle"))?;
        let top = at.split(|b| *b == b'/').next().unwrap_or_default();
        if let Some((_, why)) = MOUNTED.iter().find(|(dir, _)| dir.as_bytes() == top)
            && at.len() > top.len()
        {
            let real = if at == path {
                String::new()
            } else {
                format!("it would be {}, and ", show(&at))
            };
            bail!(refused(&format!("{real}on the board {why}")));
        }
        let old = root.entry(&at).map(|e| &e.kind);
        match (old, is_dir) {
            (Some(Kind::Dir), true) => continue,
            (Some(Kind::Dir), false) => bail!(refused(&format!(
                "it is a {} there, and a directory with files in the image",
                entry.kind.name()
            ))),
            (Some(other), true) => bail!(refused(&format!(
                "it is a folder there, and a {} in the image",
                other.name()
            ))),
            _ => {}
        }
        root.insert_entry(at.clone(), entry.clone())
            .with_context(|| refused("see below"))?;
        if !is_dir {
            laid.push(at);
        }
    }
    Ok(laid)
}

#[cfg(test)]
mod tests;
