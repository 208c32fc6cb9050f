//! Owns which programs of the target are covered by the same programs of the building machine's architecture while scripts run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::arch::Arch;
use crate::files;

/// These must speak of the target's architecture: the linker and its cache. And `ssh-agent` gets group and mode from its
/// package's script, which must reach the tree's own file, not what lies over it.
const EMULATED: [&str; 4] = ["ldconfig", "ld.so", "dpkg-architecture", "ssh-agent"];
/// So must dpkg, and can: see [`adapt`].
const DPKG: &str = "usr/bin/dpkg";

/// Makes the tools' dpkg take the target's architecture for the native one, or takes it away.
///
/// dpkg knows its native architecture by one string only (lib/dpkg/arch.c, `arch_item_native`), and its records are the same on
/// every architecture. Scripts call it hundreds of times (dpkg-maintscript-helper), and each start under emulation costs as much as
/// a whole script without. Where that string is not there exactly once, the target's own dpkg stays in its place, emulated.
pub fn adapt(tools: &Path, arch: Arch, host: Arch) -> io::Result<()> {
    let path = tools.join(DPKG);
    let old = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| files::named(&path, &e))?,
    };
    fs::remove_file(&path).map_err(|e| files::named(&path, &e))?;
    if let Some(new) = renamed(old, arch, host) {
        files::replace(&path, &new)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The program with one architecture's name in the place of another's.
fn renamed(mut program: Vec<u8>, arch: Arch, host: Arch) -> Option<Vec<u8>> {
    let text = |name: &str| [b"\0", name.as_bytes(), b"\0"].concat();
    let old = text(host.name());
    let mut new = text(arch.name());
    if new.len() > old.len() {
        return None;
    }
    new.resize(old.len(), 0);
    let mut places = (0..program.len()).filter(|&at| program[at..].starts_with(&old));
    let (at, None) = (places.next()?, places.next()) else {
        return None;
    };
    program[at..at + new.len()].copy_from_slice(&new);
    Some(program)
}

/// What to lay over the tree: (file or directory of the tools, path in the tree).
pub fn plan(
    root: &Path,
    tools: &Path,
    arch: Arch,
    host: Arch,
) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let target = arch.elf();
    let libraries = PathBuf::from("usr/lib").join(host.triplet());
    // The host's loader and libraries come under their own names, which the target does not use.
    let mut covers = Vec::new();
    for dir in [libraries.clone(), PathBuf::from("usr/lib64")] {
        if tools.join(&dir).is_dir() {
            covers.push((tools.join(&dir), dir));
        }
    }
    let mut pending = vec![PathBuf::from("usr")];
    while let Some(dir) = pending.pop() {
        for name in sorted(&tools.join(&dir))? {
            let path = dir.join(&name);
            let ours = tools.join(&path);
            let kind = fs::symlink_metadata(&ours)?.file_type();
            if kind.is_dir() {
                // Modules of python carry the architecture in their names: the directory as a whole is exchanged.
                if name == "lib-dynload" && root.join(&path).is_dir() {
                    covers.push((ours, path));
                } else if path != libraries
                    && !["usr/share", "usr/lib64"]
                        .iter()
                        .any(|p| path == Path::new(p))
                {
                    pending.push(path);
                }
                continue;
            }
            let theirs = root.join(&path);
            let covered = kind.is_file()
                && !EMULATED.contains(&name.as_str())
                && is_elf_of(&theirs, target)?
                && is_elf(&ours)?;
            if covered {
                covers.push((ours, path));
            }
        }
    }
    Ok(covers)
}

fn sorted(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(files::named(dir, &e)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn is_elf(path: &Path) -> io::Result<bool> {
    Ok(header(path)?.is_some_and(|h| h.starts_with(b"\x7fELF")))
}

/// True for a regular file (no link) that is a program or library of this class and machine.
fn is_elf_of(path: &Path, (class, machine): (u8, u16)) -> io::Result<bool> {
    let Ok(meta) = fs::symlink_metadata(path) else {
        return Ok(false);
    };
    if !meta.is_file() {
        return Ok(false);
    }
    // e_ident[EI_CLASS] is byte 4, e_machine bytes 18 and 19.
    Ok(header(path)?.is_some_and(|h| {
        h.starts_with(b"\x7fELF") && h[4] == class && u16::from_le_bytes([h[18], h[19]]) == machine
    }))
}

fn header(path: &Path) -> io::Result<Option<[u8; 20]>> {
    let mut bytes = [0; 20];
    match File::open(path)?.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(files::named(path, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dpkg_is_renamed_where_its_architecture_is_named_once() {
        for (danger, program, arch, want) in [
            ("one", "x\0amd64\0y", Arch::Arm64, Some("x\0arm64\0y")),
            ("shorter", "x\0amd64\0y", Arch::I386, Some("x\0i386\0\0y")),
            ("longer", "x\0amd64\0y", Arch::Riscv64, None),
            ("none", "x (amd64)\0y", Arch::Arm64, None),
            ("two", "\0amd64\0\0amd64\0", Arch::Arm64, None),
            ("end of a longer text", "\0linux-amd64\0", Arch::Arm64, None),
        ] {
            let got = renamed(program.as_bytes().to_vec(), arch, Arch::Amd64);
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{danger}");
        }
    }
}
