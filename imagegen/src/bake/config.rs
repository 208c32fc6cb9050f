//! The first partition (boot loader, boot script, the owner's files) and the blobs before it.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::custom;
use super::{Input, P1, Raw, embedded, kernel, scr, script_text};
use crate::inputs::board::{Method, RawBlob};
use crate::tree::{Content, Kind, Tree};
use hypriot_updater::boot::owner;

/// A blob that ends before the first partition is never longer.
const BLOB_MAX: u64 = hypriot_updater::layout::RAW_END;

pub(super) fn bake(root: &Tree, input: &Input<'_>) -> Result<Tree> {
    let board = input.board;
    let mut out = embedded(&P1, root.epoch())?;
    if let Some(name) = &input.recipe.hostname {
        for file in ["user-data", "meta-data", "README.txt"] {
            let text = String::from_utf8_lossy(&out.read(file)?).replace(custom::HOST_NAME, name);
            out.insert_bytes(file, 0o644, text)?;
        }
    }
    if let Some(bytes) = input.user_data {
        out.insert_bytes("user-data", 0o644, bytes)?;
    }
    out.insert_bytes("os-release", 0o644, root.read("usr/lib/os-release")?)?;
    match board.boot.method {
        Method::UbootScript | Method::RpiFirmware => {
            out.insert_bytes(
                "boot.scr",
                0o644,
                scr::encode(
                    &script_text(board, input.recipe),
                    "HypriotOS boot",
                    root.epoch(),
                )?,
            )?;
        }
        // Its boot loader looks at no card: output::bootimg makes what it starts.
        Method::AndroidBootimg => {
            out.remove(owner::FILE)?;
        }
    }
    for file in &board.boot.files {
        let (tree, whose) = if file.root {
            (root, "root tree")
        } else {
            (input.boot_files, "boot packages")
        };
        let (_, found) = kernel::files(tree, &file.from, input.kernel_release)
            .with_context(|| format!("board file, boot.files, in the {whose}"))?;
        ensure!(
            found.len() == 1 || file.to.is_empty() || file.to.ends_with('/'),
            "/{} in the {whose} is {} files, which cannot all become {} (board file, boot.files)",
            file.from,
            found.len(),
            file.to
        );
        for (name, content) in found {
            let to = match file.to.as_str() {
                "" => name,
                dir if dir.ends_with('/') => format!("{dir}{name}"),
                other => other.to_owned(),
            };
            out.insert_file(&to, 0o644, content)?;
        }
    }
    for text in &board.boot.texts {
        out.insert_bytes(&text.name, 0o644, &text.text)?;
    }
    Ok(out)
}

fn content(tree: &Tree, path: &str) -> Result<Content> {
    match tree.resolve(path).map(|(_, e)| &e.kind) {
        Some(Kind::File(content)) => Ok(content.clone()),
        Some(other) => bail!("/{path} in the boot packages is a {}", other.name()),
        None => bail!("the boot packages have no /{path}"),
    }
}

/// The blobs of the board, from its boot packages or from the user.
pub(super) fn raw(input: &Input<'_>) -> Result<Vec<Raw>> {
    let mut out = Vec::new();
    if let Some(words) = input.board.missing(|name| input.blobs.contains_key(name)) {
        bail!(words);
    }
    for blob in &input.board.boot.raw {
        let source = match input.blobs.get(&blob.file) {
            Some(given) => given.clone(),
            None => content(input.boot_files, &blob.file).context("board file, boot.raw")?,
        };
        ensure!(
            source.len() <= BLOB_MAX * 2,
            "{} has {} bytes, too many for a boot loader",
            blob.file,
            source.len()
        );
        let all = source.read()?;
        let part = part(blob, &all)?;
        out.push(Raw {
            name: blob.file.clone(),
            offset: blob.offset,
            bytes: Arc::from(part),
        });
    }
    Ok(out)
}

/// The bytes of a blob's file that go to its place.
fn part<'a>(blob: &RawBlob, all: &'a [u8]) -> Result<&'a [u8]> {
    let (name, has) = (&blob.file, all.len());
    ensure!(has > 0, "{name} is empty");
    let rest = all
        .get(usize::try_from(blob.skip)?..)
        .filter(|rest| !rest.is_empty())
        .with_context(|| {
            format!(
                "{name} has {has} bytes; the board needs what follows the first {}",
                blob.skip
            )
        })?;
    if let Some(length) = blob.length {
        return rest.get(..usize::try_from(length)?).with_context(|| {
            format!(
                "{name} has {has} bytes; the board needs {length} of them from byte {}",
                blob.skip
            )
        });
    }
    if let Some(room) = blob.room {
        ensure!(
            rest.len() as u64 <= room,
            "{name} has {has} bytes, {} of which go to byte {} of the card, where there is room for {room}",
            rest.len(),
            blob.offset
        );
    }
    Ok(rest)
}
