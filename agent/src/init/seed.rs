//! The first use of a kept directory: a copy of what the image has there.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;

use crate::files;

/// Makes `kept` with the content of `from`, unless it is there. It appears complete or not at all.
pub(super) fn once(from: &Path, kept: &Path) -> io::Result<()> {
    if kept.exists() {
        return Ok(());
    }
    let parent = kept.parent().unwrap_or(kept);
    fs::create_dir_all(parent)?;
    let mut name = kept.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = parent.join(name);
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    if from.is_dir() {
        copy(from, &fresh)?;
    } else {
        fs::create_dir(&fresh)?;
    }
    // one sync of the file system instead of one for each file
    nix::unistd::syncfs(fs::File::open(&fresh)?)?;
    files::appear(&fresh, kept).map_err(io::Error::other)
}

/// Copies directories, files and links with owner and mode. Anything else has no business in these places.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            copy(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            let meta = fs::symlink_metadata(&source)?;
            lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
            own(&source, &target)?;
        }
    }
    own(from, to)
}

fn own(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::metadata(from)?;
    lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    // after the owner, because chown clears the set-id bits
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_cut_short_is_made_anew_and_the_owners_files_are_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let (image, kept) = (dir.path().join("image"), dir.path().join("data/home"));
        fs::create_dir_all(image.join("sub")).unwrap();
        fs::copy("/proc/self/cmdline", image.join("file")).unwrap();
        fs::set_permissions(image.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("../away", image.join("sub/link")).unwrap();
        fs::create_dir_all(dir.path().join("data/home.new/half")).unwrap();

        once(&image, &kept).unwrap();
        assert_eq!(
            fs::metadata(kept.join("file")).unwrap().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_link(kept.join("sub/link")).unwrap(),
            Path::new("../away")
        );
        assert!(!kept.join("half").exists() && !dir.path().join("data/home.new").exists());

        fs::remove_file(kept.join("file")).unwrap();
        once(&image, &kept).unwrap();
        assert!(
            !kept.join("file").exists(),
            "what the owner removed stays removed"
        );
    }
}
