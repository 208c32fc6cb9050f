//! The image that was flashed, by the files that `hypriot-imagegen` writes beside it: its digest (`IMAGE.sha256`) and its release
//! index (`BOARD-VERSION.json`), which says board, version, and what each byte of a slot must be.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::Expected;
use super::report::{Digest, Subject};

/// No index, digest or expectation file is larger.
const LIMIT: u64 = 4 * 1024 * 1024;

/// What an index says.
#[derive(Debug, Deserialize)]
struct Index {
    board: String,
    version: String,
}

/// Reads a whole file of ours.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= LIMIT,
        "{} is larger than {LIMIT} bytes",
        path.display()
    );
    Ok(bytes)
}

/// The index beside an image, and what it expects; none where there is no such file.
pub fn index(image: &Path) -> Result<Option<(Vec<u8>, Expected)>> {
    let path = beside(image)?;
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read(&path)?;
    let index: Index = serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is no release index", path.display()))?;
    let expected = Expected {
        version: Some(index.version),
        board: Some(index.board),
    };
    Ok(Some((bytes, expected)))
}

/// `out/rpi64-1.4.0.img.zip` -> `out/rpi64-1.4.0.json`.
fn beside(image: &Path) -> Result<PathBuf> {
    let name = name(image)?;
    let mut stem = name;
    for ending in [".zip", ".zst", ".xz", ".gz", ".img"] {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    Ok(image.with_file_name(format!("{stem}.json")))
}

fn name(image: &Path) -> Result<&str> {
    let name = image.file_name().and_then(|n| n.to_str());
    name.with_context(|| format!("{} is no name of an image", image.display()))
}

/// The subject of a report.
pub fn subject(image: &Path) -> Result<Subject> {
    let name = name(image)?;
    let file = image.with_file_name(format!("{name}.sha256"));
    let text = String::from_utf8(read(&file)?).unwrap_or_default();
    let sha256 = text.split_ascii_whitespace().next().unwrap_or_default();
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    ensure!(
        sha256.len() == 64 && sha256.bytes().all(digit),
        "{} does not begin with a SHA-256 digest",
        file.display()
    );
    Ok(Subject {
        name: name.to_owned(),
        digest: Digest {
            sha256: sha256.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_an_image_is_found_by_its_name() {
        for (image, index) in [
            ("out/rpi64-1.4.0.img.zip", "out/rpi64-1.4.0.json"),
            ("rpi64-1.4.0.img", "rpi64-1.4.0.json"),
            ("/x/y.img.zst", "/x/y.json"),
        ] {
            assert_eq!(beside(Path::new(image)).expect("a name"), Path::new(index));
        }
        assert!(beside(Path::new("/")).is_err());
        assert_eq!(index(Path::new("/nonexistent/x.img")).expect("none"), None);
    }
}
