//! Writes a `.deb` (deb(5)): the same bytes for the same content, whoever builds it and when.
//!
//! The compression is that of debian-packaging. Its builder is not used: version 0.18 writes the digests of `md5sums` as
//! raw bytes, which dpkg and debsums cannot read, and it has no way to put another file in that place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use debian_packaging::deb::DebCompression;
use md5::{Digest as _, Md5};

/// What dpkg-deb takes by default.
const XZ_LEVEL: u32 = 6;
/// Names in a tar header; none of ours is longer.
const NAME_MAX: usize = 100;
/// `Installed-Size` counts in KiB (Debian policy 5.6.20).
const KIB: u64 = 1024;

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Permissions: `0o644`.
    pub mode: u32,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A binary package, before it is written.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// Fields of its control file in their order, without `Installed-Size`, which is computed.
    pub fields: Vec<(&'static str, String)>,
    /// Scripts of the maintainer, by their names: `postinst`.
    pub scripts: BTreeMap<String, Vec<u8>>,
    /// Files by their paths without a leading `/`. All below `etc/` are conffiles (Debian policy 10.7).
    pub files: BTreeMap<String, File>,
    /// The date of everything in it, in seconds since 1970.
    pub date: u64,
}

impl Package {
    /// The bytes of the `.deb`.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let (control, data) = (self.control()?, tar(&self.files, self.date)?);
        let mut out = b"!<arch>\n".to_vec();
        member(&mut out, "debian-binary", self.date, b"2.0\n");
        member(&mut out, "control.tar.xz", self.date, &xz(&control)?);
        member(&mut out, "data.tar.xz", self.date, &xz(&data)?);
        Ok(out)
    }

    /// The files that dpkg keeps as the owner left them.
    pub fn conffiles(&self) -> impl Iterator<Item = &str> {
        let names = self.files.keys().map(String::as_str);
        names.filter(|name| name.starts_with("etc/"))
    }

    fn control(&self) -> io::Result<Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut put = |name: &str, mode, bytes: Vec<u8>| {
            files.insert(name.to_owned(), File { mode, bytes });
        };
        let mut fields = String::new();
        for (name, value) in &self.fields {
            if *name == "Description" {
                fields.extend(["Installed-Size: ", &self.installed_size().to_string(), "\n"]);
            }
            fields.extend([name, ": ", value, "\n"]);
        }
        put("control", 0o644, fields.into_bytes());
        let conffiles = self.conffiles().fold(String::new(), |mut all, name| {
            all.extend(["/", name, "\n"]);
            all
        });
        if !conffiles.is_empty() {
            put("conffiles", 0o644, conffiles.into_bytes());
        }
        // deb-md5sums(5): conffiles are left out, dpkg keeps their sums elsewhere
        let plain = self.files.iter().filter(|(n, _)| !n.starts_with("etc/"));
        let sums = plain.fold(String::new(), |mut all, (name, file)| {
            all.extend([&hex::encode(Md5::digest(&file.bytes)), "  ", name, "\n"]);
            all
        });
        put("md5sums", 0o644, sums.into_bytes());
        for (name, text) in &self.scripts {
            put(name, 0o755, text.clone());
        }
        tar(&files, self.date)
    }

    /// As dpkg-gencontrol(1) counts: each file rounded up, one for each directory.
    fn installed_size(&self) -> u64 {
        let files: u64 = self
            .files
            .values()
            .map(|file| (file.bytes.len() as u64).div_ceil(KIB))
            .sum();
        files + directories(&self.files).len() as u64
    }
}

fn xz(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let packed = DebCompression::Xz(XZ_LEVEL).compress(&mut io::Cursor::new(bytes));
    packed.map_err(io::Error::other)
}

/// The directories above these files, and the root.
fn directories(files: &BTreeMap<String, File>) -> BTreeSet<&str> {
    let mut found = BTreeSet::from([""]);
    for name in files.keys() {
        let cuts = name.match_indices('/').map(|(at, _)| &name[..at]);
        found.extend(cuts);
    }
    found
}

/// An archive as dpkg-deb makes it: names begin with `./`, directories end in `/` and come before what is in them.
fn tar(files: &BTreeMap<String, File>, date: u64) -> io::Result<Vec<u8>> {
    let mut entries = BTreeMap::new();
    for dir in directories(files) {
        let name = if dir.is_empty() {
            "./".to_owned()
        } else {
            format!("./{dir}/")
        };
        entries.insert(name, (tar::EntryType::Directory, 0o755, [].as_slice()));
    }
    for (name, file) in files {
        let kind = tar::EntryType::Regular;
        entries.insert(format!("./{name}"), (kind, file.mode, &file.bytes));
    }
    let mut archive = tar::Builder::new(Vec::new());
    for (name, (kind, mode, bytes)) in entries {
        let mut header = tar::Header::new_gnu();
        if name.len() > NAME_MAX {
            return Err(io::Error::other(format!("the name {name} is too long")));
        }
        // not set_path(), which takes the `./` away
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(date);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        archive.append(&header, bytes)?;
    }
    archive.into_inner()
}

/// One member of the ar archive: a header of 60 characters, the bytes, and one more if they are odd (deb(5)).
fn member(out: &mut Vec<u8>, name: &str, date: u64, bytes: &[u8]) {
    let size = bytes.len();
    let header = format!("{name:<16}{date:<12}0     0     100644  {size:<10}`\n");
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(bytes);
    if size % 2 == 1 {
        out.push(b'\n');
    }
}
