//! The first partition (boot loader, boot script, the owner's files) and the blobs before it.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::{Input, P1, Raw, embedded, kernel, scr, script_text};
use crate::board::Method;
use crate::tree::{Content, Kind, Tree};

/// A blob that ends before the first partition is never longer.
const BLOB_MAX: u64 = hypriot_updater::layout::RAW_END;

pub(super) fn bake(root: &Tree, input: &Input<'_>) -> Result<Tree> {
    let board = input.board;
    let mut out = embedded(&P1, root.epoch())?;
    if let Some(bytes) = input.user_data {
        out.insert_bytes("user-data", 0o644, bytes)?;
    }
    out.insert_bytes("os-release", 0o644, root.read("usr/lib/os-release")?)?;
    match board.boot.method {
        Method::UbootScript | Method::RpiFirmware => {
            out.insert_bytes(
                "boot.scr",
                0o644,
                scr::encode(&script_text(board), "HypriotOS boot", root.epoch())?,
            )?;
        }
        // Its boot loader looks at no card: output::bootimg makes what it starts.
        Method::AndroidBootimg => {}
    }
    for file in &board.boot.files {
        let (dir, pattern) = file.from.rsplit_once('/').unwrap_or(("", &file.from));
        let found = input.boot_files.resolve(dir).map(|(at, _)| at);
        let at = found.with_context(|| {
            format!("the boot packages have no /{dir} (board file, boot.files)")
        })?;
        let cut = if at.is_empty() { 0 } else { at.len() + 1 };
        let mut any = false;
        for (path, entry) in input.boot_files.below(&at) {
            let name = String::from_utf8_lossy(&path[cut..]).into_owned();
            if !kernel::matches(pattern, &name) || matches!(entry.kind, Kind::Dir) {
                continue;
            }
            let to = match file.to.as_str() {
                "" => name,
                dir if dir.ends_with('/') => format!("{dir}{name}"),
                other => other.to_owned(),
            };
            let from = String::from_utf8_lossy(path).into_owned();
            out.insert_file(&to, 0o644, content(input.boot_files, &from)?)?;
            any = true;
        }
        ensure!(
            any,
            "nothing in the boot packages matches /{} (board file, boot.files)",
            file.from
        );
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
    for blob in &input.board.boot.raw {
        let source = match (&blob.from_user, input.blobs.get(&blob.file)) {
            (_, Some(given)) => given.clone(),
            (Some(hint), None) => bail!(
                "board {} needs the file {} (it goes to byte {} of the card), which Debian must not distribute. {hint} Then give it with --blob {}=FILE",
                input.board.name,
                blob.file,
                blob.offset,
                blob.file
            ),
            (None, None) => {
                content(input.boot_files, &blob.file).context("board file, boot.raw")?
            }
        };
        ensure!(
            source.len() <= BLOB_MAX * 2,
            "{} has {} bytes, too many for a boot loader",
            blob.file,
            source.len()
        );
        let all = source.read()?;
        let skip = usize::try_from(blob.skip)?;
        let rest = all
            .get(skip..)
            .with_context(|| format!("{} is shorter than the {skip} bytes to skip", blob.file))?;
        let part = match blob.length {
            Some(max) if rest.len() as u64 > max => {
                ensure!(
                    blob.skip > 0 || blob.offset == 0,
                    "{} has {} bytes; at {} there is room for {max}",
                    blob.file,
                    rest.len(),
                    blob.offset
                );
                &rest[..usize::try_from(max)?]
            }
            _ => rest,
        };
        ensure!(!part.is_empty(), "{} is empty", blob.file);
        out.push(Raw {
            name: blob.file.clone(),
            offset: blob.offset,
            bytes: Arc::from(part),
        });
    }
    Ok(out)
}
