//! Owns dpkg's records of a freshly unpacked tree: `status`, `info/`, `triggers/`, as `dpkg --unpack` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use debian_packaging::control::ControlParagraphReader;

use super::{UnpackError, Unpacked};
use crate::debian::deb::{Deb, DebError};
use crate::files::inroot::{Folder, Hand};
use crate::lock::LockedPackage;

/// The control files of a package.
#[derive(Debug)]
pub struct Control {
    text: String,
    fields: BTreeMap<String, String>,
    conffiles: Vec<String>,
    members: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Control {
    /// What a package of a test says, one field a line.
    #[cfg(test)]
    pub(crate) fn said(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(": "));
        Self {
            text: text.to_owned(),
            fields: fields.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            conffiles: Vec::new(),
            members: BTreeMap::new(),
        }
    }

    /// True if this path is one of its configuration files.
    pub fn is_conffile(&self, path: &str) -> bool {
        self.conffiles.iter().any(|c| c == path)
    }

    /// True if it says it replaces (files of) this package.
    pub fn replaces(&self, name: &str) -> bool {
        self.names("Replaces").any(|n| n == name)
    }

    /// True if it has this maintainer script.
    pub fn has(&self, script: &str) -> bool {
        self.members.contains_key(script)
    }

    /// Names in its Pre-Depends and Depends, all alternatives.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.names("Pre-Depends").chain(self.names("Depends"))
    }

    /// Names in its Pre-Depends, all alternatives.
    pub fn pre_needs(&self) -> impl Iterator<Item = &str> {
        self.names("Pre-Depends")
    }

    /// Names of what it also stands for.
    pub fn provides(&self) -> impl Iterator<Item = &str> {
        self.names("Provides")
    }

    /// True if no system is without it.
    pub fn is_essential(&self) -> bool {
        self.fields
            .get("Essential")
            .is_some_and(|v| v.trim() == "yes")
    }

    fn names(&self, field: &str) -> impl Iterator<Item = &str> {
        let text = self.fields.get(field).map_or("", String::as_str);
        text.split([',', '|'])
            .filter_map(|d| d.split([' ', '(', ':', '\n']).find(|w| !w.is_empty()))
    }

    /// The name of its files below `info/` (dpkg's database format 1).
    pub(super) fn info_name(&self, package: &LockedPackage) -> String {
        match self.fields.get("Multi-Arch").map(|v| v.trim()) {
            Some("same") => format!("{}:{}", package.name, package.arch),
            _ => package.name.clone(),
        }
    }

    /// The paragraph of `status`: what the package says, with its state and its configuration files.
    fn status(&self) -> String {
        let mut lines = self.text.trim_end().lines();
        let mut out = String::new();
        // dpkg puts Status second; the first line is Package, as policy 5.3 asks.
        out.push_str(lines.next().unwrap_or_default());
        out.push_str("\nStatus: install ok unpacked\n");
        for line in lines {
            out.push_str(line);
            out.push('\n');
        }
        if !self.conffiles.is_empty() {
            out.push_str("Conffiles:\n");
            for path in &self.conffiles {
                // The mark dpkg itself writes for a file that --configure must still put in its place.
                out.extend([" ", path, " newconffile\n"]);
            }
        }
        out.push('\n');
        out
    }
}

/// Reads the control member of a package and checks that it is the package we think it is.
pub(super) fn read_control(package: &LockedPackage, deb: &Deb<'_>) -> Result<Control, UnpackError> {
    let wrong = |source: DebError| UnpackError::Deb {
        package: package.name.clone(),
        source,
    };
    let bad = |why: String| wrong(DebError::Malformed(why));
    let mut archive = tar::Archive::new(deb.control().map_err(wrong)?);
    let mut members = BTreeMap::new();
    for entry in archive.entries().map_err(|e| wrong(e.into()))? {
        let mut entry = entry.map_err(|e| wrong(e.into()))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry
            .path()
            .map_err(|e| wrong(e.into()))?
            .to_string_lossy()
            .into_owned();
        let name = path.trim_start_matches("./").to_owned();
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(UnpackError::Refused {
                package: package.name.clone(),
                path,
                reason: "a control file in an odd place".to_owned(),
            });
        }
        let mode = entry.header().mode().map_err(|e| wrong(e.into()))? & 0o777;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|e| wrong(e.into()))?;
        members.insert(name, (mode, bytes));
    }
    let text = members
        .remove("control")
        .ok_or_else(|| bad("no control file".to_owned()))?
        .1;
    let text = String::from_utf8(text).map_err(|e| bad(e.to_string()))?;
    let paragraph = ControlParagraphReader::new(text.as_bytes())
        .next()
        .ok_or_else(|| bad("empty control file".to_owned()))?
        .map_err(|e| bad(e.to_string()))?;
    let fields: BTreeMap<String, String> = paragraph
        .iter_fields()
        .map(|f| (f.name().to_owned(), f.value_str().to_owned()))
        .collect();
    for (field, wanted) in [
        ("Package", &package.name),
        ("Version", &package.version),
        ("Architecture", &package.arch),
    ] {
        let got = fields.get(field).map_or("", |v| v.trim());
        if got != wanted {
            return Err(bad(format!(
                "its {field} is `{got}`, the lock says `{wanted}`"
            )));
        }
    }
    // deb-conffiles(5): a path per line; a flag may stand before it.
    let conffiles = members.get("conffiles").map_or_else(String::new, |(_, b)| {
        String::from_utf8_lossy(b).into_owned()
    });
    let conffiles = conffiles
        .lines()
        .map(str::trim)
        .filter(|l| l.starts_with('/'))
        .map(str::to_owned)
        .collect();
    Ok(Control {
        text,
        fields,
        conffiles,
        members,
    })
}

/// Where dpkg keeps its records.
const BASE: &str = "var/lib/dpkg";

/// Writes the records. They are as durable as the tree: it counts only once its stage is complete.
pub(super) fn write(
    dir: &Path,
    packages: &[LockedPackage],
    unpacked: &[Unpacked],
) -> Result<(), UnpackError> {
    // A package can bring a link in the place of any of these.
    let tree = Hand::new(dir)?;
    let base = tree.make(Path::new(BASE))?;
    let folder = |sub: &str| -> io::Result<Folder> {
        let folder = tree.make(&Path::new(BASE).join(sub))?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    };
    for sub in ["updates", "alternatives", "parts"] {
        folder(sub)?;
    }
    let (info, triggers) = (folder("info")?, folder("triggers")?);
    info.put("format", b"1\n", 0o644)?;
    let mut status = String::new();
    let mut file_triggers: BTreeSet<String> = BTreeSet::new();
    let mut named_triggers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut order: Vec<usize> = (0..unpacked.len()).collect();
    order.sort_by_key(|&i| &packages[i].name);
    for i in order {
        let u = &unpacked[i];
        status.push_str(&u.control.status());
        let mut list = u.list.join("\n");
        list.push('\n');
        info.put(&format!("{}.list", u.info_name), list.as_bytes(), 0o644)?;
        for (name, (mode, bytes)) in &u.control.members {
            info.put(&format!("{}.{name}", u.info_name), bytes, *mode)?;
        }
        if let Some((_, bytes)) = u.control.members.get("triggers") {
            for (trigger, noawait) in interests(&String::from_utf8_lossy(bytes)) {
                let who = format!("{}{}", u.info_name, if noawait { "/noawait" } else { "" });
                if trigger.starts_with('/') {
                    file_triggers.insert(format!("{trigger} {who}"));
                } else {
                    named_triggers.entry(trigger).or_default().insert(who);
                }
            }
        }
    }
    base.put("status", status.as_bytes(), 0o644)?;
    base.put("available", b"", 0o644)?;
    let lines = |set: &BTreeSet<String>| {
        set.iter()
            .flat_map(|l| [l.as_str(), "\n"])
            .collect::<String>()
    };
    triggers.put("File", lines(&file_triggers).as_bytes(), 0o644)?;
    triggers.put("Unincorp", b"", 0o644)?;
    for (trigger, who) in &named_triggers {
        if trigger.contains('/') || trigger.starts_with('.') {
            continue;
        }
        triggers.put(trigger, lines(who).as_bytes(), 0o644)?;
    }
    Ok(())
}

/// deb-triggers(5): the triggers a package waits for, and whether those who pull them need not wait.
fn interests(text: &str) -> Vec<(String, bool)> {
    let one = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let noawait = match words.next()? {
            "interest" | "interest-await" => false,
            "interest-noawait" => true,
            _ => return None,
        };
        Some((words.next()?.to_owned(), noawait))
    };
    text.lines().filter_map(one).collect()
}
