//! The self-tests that only the maker of an image can write: what exactly is in it, in goss's vocabulary.
//!
//! They come from the finished root tree, so nobody keeps versions in two places by hand. They are baked into the image,
//! where the board's agent runs them with all others, and lie beside it for whoever validates boards.
//!
//! *Required* is only what holds on every board in every state, because a release whose required tests fail is taken back:
//! the kernel that runs, and what lies on the read-only root. `/etc` and what apt does belong to the owner: *wanted*.
//! Labels end in [`OURS`], since a test with the id of one in another file would be refused, also if that is the owner's.
//! Nothing here starts more than one process: a board with one slow core runs these tests at every start.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::bake::record;
use crate::bake::{AGENT, SETTINGS, TRUST_ROOT};
use crate::debian::dpkg::{self, Records};
use crate::inputs::userdata::edit::quoted;
use crate::tree::{Entry, Kind, Tree, show};

#[cfg(test)]
mod tests;

/// Where they lie in the root tree.
pub const PATH: &str = "usr/share/hypriot/selftest.d/05-image.yaml";
/// What labels end in.
const OURS: &str = " of this image";
/// Ids below this have the same name on every Debian (policy 9.2.2); the others are given out by each system.
const FIXED_IDS: u32 = 100;
const UNITS: &str = "etc/systemd/system";

/// Files whose mode and owner matter, besides those that run with another user's rights.
const KEY_FILES: [&str; 22] = [
    "usr/bin/bash",
    "usr/bin/dpkg",
    "usr/bin/cloud-init",
    "usr/bin/docker",
    "usr/sbin/dockerd",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/sbin/runc",
    "usr/sbin/sshd",
    AGENT,
    SETTINGS,
    TRUST_ROOT,
    record::LOCK,
    record::BUILD,
    "etc/fstab",
    "etc/group",
    "etc/gshadow",
    "etc/passwd",
    "etc/shadow",
    "etc/ssh/sshd_config",
    "etc/sudoers",
    "etc/sudoers.d",
];

/// What the tree itself does not say.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The architecture.
    pub arch: Arch,
    /// Release of the kernel.
    pub kernel: &'a str,
}

/// A test that is being written.
struct Test {
    label: String,
    lines: Vec<String>,
}

impl Test {
    /// About the resource `name`, of which the file's key `setting` tells.
    fn new(label: &str, setting: &str, name: &str) -> Self {
        Self {
            label: format!("{label}{OURS}"),
            lines: vec![format!("{setting}: {}", quoted(name))],
        }
    }

    fn line(mut self, key: &str, value: &str) -> Self {
        self.lines.push(format!("{key}: {value}"));
        self
    }

    fn wanted(self) -> Self {
        self.line("severity", "wanted")
    }
}

/// The text of the tests for `root`, the finished tree of an image.
pub fn text(root: &Tree, facts: Facts<'_>) -> Result<String> {
    let mut out = "# What this image contains, written when it was made. `required` is what no owner can change.\n".to_owned();
    for (kind, tests) in [
        ("command", vec![kernel_runs(facts.kernel)]),
        ("package", packages(root, facts.arch)?),
        ("file", files(root, facts.kernel)?),
        ("user", users(root)?),
        ("group", groups(root)?),
    ] {
        if tests.is_empty() {
            continue;
        }
        out.extend([kind, ":\n"]);
        for test in tests {
            out.extend(["  ", &quoted(&test.label), ":\n"]);
            let lines = test.lines.iter();
            out.extend(lines.flat_map(|line| ["    ", line.as_str(), "\n"]));
        }
    }
    Ok(out)
}

/// A list of one line that must be there, exactly.
fn exact_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let pattern = |line: &str| {
        let escape = |c: char| match c {
            c if "\\.+*?()|[]{}^$".contains(c) => format!("\\{c}"),
            c => c.to_string(),
        };
        quoted(&format!(
            "/^{}$/",
            line.chars().map(escape).collect::<String>()
        ))
    };
    let all: Vec<String> = lines.into_iter().map(pattern).collect();
    format!("[{}]", all.join(", "))
}

/// The kernel lies in the boot partition and its modules in the root: both must be of one release.
fn kernel_runs(release: &str) -> Test {
    Test::new("the kernel", "exec", "uname -r")
        .line("exit-status", "0")
        .line("stdout", &exact_lines([release]))
}

fn packages(root: &Tree, arch: Arch) -> Result<Vec<Test>> {
    let status = text_of(root, &format!("{}/status", dpkg::DIR))?;
    let records = Records::parse(&status, []);
    let mut tests = vec![
        Test::new("the architecture", "name", &format!("dpkg:{arch}")).line("installed", "true"),
    ];
    let rows = records.packages().iter().map(|p| {
        Test::new(&p.name, "name", &p.name)
            .wanted()
            .line("installed", "true")
            .line("versions", &format!("[{}]", quoted(&p.version)))
    });
    tests.extend(rows);
    Ok(tests)
}

fn files(root: &Tree, kernel: &str) -> Result<Vec<Test>> {
    let os_release = text_of(root, "usr/lib/os-release")?;
    let kept = |l: &&str| {
        ["ID=", "VERSION_CODENAME=", "HYPRIOT_"]
            .iter()
            .any(|k| l.starts_with(k))
    };
    let mut tests = vec![
        file("what it calls itself", "usr/lib/os-release")
            .line("contents", &exact_lines(os_release.lines().filter(kept))),
        file(
            "the kernel's modules",
            &format!("usr/lib/modules/{kernel}/modules.dep"),
        ),
    ];
    for path in [record::LOCK, record::BUILD] {
        let hash = crate::sha256::Sha256::of(&root.read(path)?);
        tests.push(
            file(&format!("the content of /{path}"), path)
                .line("sha256", &quoted(&hash.to_string())),
        );
    }
    let name_of = |path| -> Result<BTreeMap<u32, String>> {
        let names = accounts(root, path)?.into_iter();
        Ok(names.map(|a| (a.id, a.name)).collect())
    };
    let (users, groups) = (name_of("etc/passwd")?, name_of("etc/group")?);
    let rights = |e: &Entry| matches!(e.kind, Kind::File(_)) && e.mode & 0o6000 != 0;
    for (path, entry) in root.iter() {
        let key = KEY_FILES.iter().any(|k| k.as_bytes() == path);
        if !key && !rights(entry) || matches!(entry.kind, Kind::Symlink(_)) {
            continue;
        }
        let path = String::from_utf8_lossy(path).into_owned();
        let mut test = file(&format!("/{path}"), &path);
        // The name counts, not the number: the owner's /etc may have given the number to somebody else.
        for (what, id, names) in [("owner", entry.uid, &users), ("group", entry.gid, &groups)] {
            if let Some(name) = names.get(&id) {
                test = test.line(what, &quoted(name));
            }
        }
        let mode = quoted(&format!("{:04o}", entry.mode));
        // cloud-init makes this folder its own at the first boot of every board.
        let mode = if path == "etc/sudoers.d" {
            format!("{{or: [{mode}, \"0750\"]}}")
        } else {
            mode
        };
        test = test.line("mode", &mode);
        let fixed = entry.uid < FIXED_IDS && entry.gid < FIXED_IDS;
        let owners = path.starts_with("etc/");
        tests.push(if owners || !fixed {
            test.wanted()
        } else {
            test
        });
    }
    tests.extend(enabled(root));
    Ok(tests)
}

fn file(label: &str, path: &str) -> Test {
    Test::new(label, "path", &format!("/{path}")).line("exists", "true")
}

/// Units that are enabled, by their links: `systemctl is-enabled` would be a process for each.
fn enabled(root: &Tree) -> Vec<Test> {
    let links = root.below(UNITS.as_bytes()).filter_map(|(path, entry)| {
        let shown = show(path);
        let (dir, unit) = shown.rsplit_once('/')?;
        let target = dir.rsplit('/').next()?;
        let target = [".wants", ".requires"]
            .iter()
            .find_map(|end| target.strip_suffix(end))?;
        matches!(entry.kind, Kind::Symlink(_)).then(|| {
            file(
                &format!("{unit} enabled for {target}"),
                shown.trim_start_matches('/'),
            )
            .line("filetype", "symlink")
            .wanted()
        })
    });
    links.collect()
}

/// One line of passwd(5) or group(5).
struct Account {
    name: String,
    id: u32,
    home: Option<String>,
    shell: Option<String>,
}

fn accounts(root: &Tree, path: &str) -> Result<Vec<Account>> {
    let text = text_of(root, path)?;
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let field = |n: usize| fields.get(n).map(|f| (*f).to_owned());
        Some(Account {
            name: field(0).filter(|n| !n.is_empty())?,
            id: field(2)?.parse().ok()?,
            home: field(5),
            shell: field(6),
        })
    };
    text.lines()
        .map(|l| row(l).with_context(|| format!("/{path}: the line {l:?} makes no sense")))
        .collect()
}

fn users(root: &Tree) -> Result<Vec<Test>> {
    let row = |a: Account| {
        let test = Test::new(&a.name, "username", &a.name)
            .wanted()
            .line("exists", "true");
        if a.id >= FIXED_IDS {
            return test;
        }
        let rows = [("home", a.home), ("shell", a.shell)];
        let rows = rows
            .into_iter()
            .filter_map(|(k, v)| Some((k, v.filter(|v| !v.is_empty())?)));
        rows.fold(test.line("uid", &a.id.to_string()), |t, (k, v)| {
            t.line(k, &quoted(&v))
        })
    };
    Ok(accounts(root, "etc/passwd")?.into_iter().map(row).collect())
}

fn groups(root: &Tree) -> Result<Vec<Test>> {
    let row = |a: Account| {
        let test = Test::new(&a.name, "groupname", &a.name)
            .wanted()
            .line("exists", "true");
        if a.id < FIXED_IDS {
            test.line("gid", &a.id.to_string())
        } else {
            test
        }
    };
    Ok(accounts(root, "etc/group")?.into_iter().map(row).collect())
}

fn text_of(root: &Tree, path: &str) -> Result<String> {
    let bytes = root
        .read(path)
        .context("the self-test expectations are made from it")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
