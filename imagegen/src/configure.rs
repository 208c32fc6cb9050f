//! Owns the step from unpacked to configured: the packages' own scripts run, by `dpkg --configure`, in a sandbox; the programs
//! they call are those of the building machine's architecture where that changes nothing but the time (DESIGN 7).

pub mod cover;
pub mod normalise;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exec::{self, ExecError};
use crate::files;
use crate::lock::LockedPackage;
use crate::ns::{self, Foreign, Plan, Step};
use crate::progress::Stage;
use crate::unpack::Unpacked;

/// How scripts are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// With programs of the building machine's architecture laid over the target's.
    Native,
    /// With everything emulated: an order of magnitude slower, and what the fast way is compared with.
    Emulated,
}

impl Mode {
    /// Its name in cache keys and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Emulated => "emulated",
        }
    }
}

/// Why a tree could not be configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// A package's script failed.
    #[error("package {package}: its script failed; its last lines:\n{lines}")]
    Script {
        /// The package.
        package: String,
        /// What it printed last.
        lines: String,
    },
    /// No emulator for the board's architecture.
    #[error("{program} is needed to run programs of {arch}: install qemu-user-static")]
    NoEmulator {
        /// The program.
        program: String,
        /// Architecture.
        arch: String,
    },
    /// The sandbox could not be set up.
    #[error("the sandbox for packages' scripts failed: {0}")]
    Sandbox(String),
    /// Starting it failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A file of the tree.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What there is to configure.
#[derive(Debug)]
pub struct Job<'a> {
    /// The unpacked tree.
    pub root: &'a Path,
    /// Its architecture.
    pub arch: &'a str,
    /// What was unpacked.
    pub packages: &'a [LockedPackage],
    /// What that left.
    pub unpacked: &'a [Unpacked],
    /// The tree of tools of the building machine's architecture, if they are to be used.
    pub tools: Option<&'a Path>,
    /// This program.
    pub helper: &'a Path,
    /// No file is made younger than this.
    pub source_date: i64,
}

/// Seconds `dpkg --configure` may take: far more than the slowest emulation needs.
const CONFIGURE_LIMIT: u64 = 2 * 3600;
/// Lines of a failed script that are shown.
const SHOWN: usize = 25;

/// Runs the scripts of all packages.
pub fn run(job: &Job<'_>, stage: &Stage) -> Result<(), ConfigureError> {
    let host = crate::deb::host_arch();
    let foreign = if host == Some(job.arch) {
        None
    } else {
        Some(emulator(job.arch)?)
    };
    let covers = match (job.tools, host) {
        (Some(tools), Some(host)) if foreign.is_some() => {
            cover::plan(job.root, tools, job.arch, host)?
        }
        _ => Vec::new(),
    };
    let made = prepare(job.root, &covers)?;
    let plan = Plan {
        root: job.root.to_owned(),
        covers,
        foreign,
        steps: steps(job),
    };
    let mut talk = Talk::default();
    let limit = Duration::from_secs(CONFIGURE_LIMIT * 2);
    let ran = ns::run(job.helper, &plan, limit, |line| {
        if talk.hear(line) {
            stage.add(1);
            stage.now(&talk.package);
        }
    });
    for path in made.iter().rev() {
        if fs::symlink_metadata(path)?.is_dir() {
            fs::remove_dir(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    match ran {
        Ok(()) => Ok(()),
        Err(ExecError::Failed { .. }) => Err(talk.blame()),
        Err(e) => Err(e.into()),
    }
}

/// The emulator of an architecture and how its programs are recognised (as in qemu's scripts/qemu-binfmt-conf.sh).
fn emulator(arch: &str) -> Result<Foreign, ConfigureError> {
    let (program, class, machine) = match arch {
        "arm64" => ("qemu-aarch64", 2, r"\xb7\x00"),
        "armhf" | "armel" => ("qemu-arm", 1, r"\x28\x00"),
        "amd64" => ("qemu-x86_64", 2, r"\x3e\x00"),
        "riscv64" => ("qemu-riscv64", 2, r"\xf3\x00"),
        _ => ("qemu-i386", 1, r"\x03\x00"),
    };
    let named = format!("{program}-static");
    let interpreter =
        exec::find(&named)
            .or_else(|| exec::find(program))
            .ok_or(ConfigureError::NoEmulator {
                program: named,
                arch: arch.to_owned(),
            })?;
    Ok(Foreign {
        name: format!("hypriot-{program}"),
        magic: format!(
            r"\x7fELF\x0{class}\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00{machine}"
        ),
        mask: r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
            .to_owned(),
        interpreter,
    })
}

/// Makes what the scripts must find and the tree must not keep; returns it in the order of making.
fn prepare(root: &Path, covers: &[(PathBuf, PathBuf)]) -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (_, to) in covers {
        let path = root.join(to);
        if !path.exists() {
            fs::create_dir(&path).map_err(|e| files::named(&path, &e))?;
            made.push(path);
        }
    }
    let lib64 = root.join("lib64");
    if !covers.is_empty() && fs::symlink_metadata(&lib64).is_err() {
        std::os::unix::fs::symlink("usr/lib64", &lib64)?;
        made.push(lib64);
    }
    for dir in ["proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(root.join(dir))?;
    }
    // Policy 9.3.3.2 (invoke-rc.d): 101 forbids to start anything.
    let policy = root.join("usr/sbin/policy-rc.d");
    script(&policy, "#!/bin/sh\nexit 101\n")?;
    made.push(policy);
    Ok(made)
}

fn script(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    files::replace(path, text.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// First the scripts that dpkg would have run before unpacking, then dpkg itself.
fn steps(job: &Job<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = preinst_order(job)
        .into_iter()
        .map(|i| {
            let (package, unpacked) = (&job.packages[i], &job.unpacked[i]);
            Step {
                what: format!("preinst {}", package.name),
                argv: vec![
                    format!("/var/lib/dpkg/info/{}.preinst", unpacked.info_name),
                    "install".to_owned(),
                ],
                // dpkg(1), "Environment": what maintainer scripts find set.
                env: environment(
                    job,
                    &[
                        ("DPKG_MAINTSCRIPT_PACKAGE", &package.name),
                        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
                        ("DPKG_MAINTSCRIPT_ARCH", &package.arch),
                        ("DPKG_MAINTSCRIPT_NAME", "preinst"),
                        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
                        ("DPKG_ROOT", ""),
                    ],
                ),
                seconds: 600,
            }
        })
        .collect();
    steps.push(Step {
        what: "configure".to_owned(),
        argv: [
            "dpkg",
            "--configure",
            "-a",
            "--force-confold",
            "--force-unsafe-io",
        ]
        .map(str::to_owned)
        .to_vec(),
        env: environment(job, &[]),
        seconds: CONFIGURE_LIMIT,
    });
    steps
}

fn environment(job: &Job<'_>, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let date = job.source_date.to_string();
    more.iter()
        .copied()
        .chain([("SOURCE_DATE_EPOCH", date.as_str())])
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Packages that have a preinst, each after those it needs; the accounts and the base directories before all.
fn preinst_order(job: &Job<'_>) -> Vec<usize> {
    let by_name: BTreeMap<&str, usize> = job
        .packages
        .iter()
        .enumerate()
        .map(|(i, p)| (p.name.as_str(), i))
        .collect();
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let early = ["base-passwd", "base-files"]
        .iter()
        .filter_map(|n| by_name.get(n))
        .copied();
    for start in early.chain(by_name.values().copied()) {
        let mut stack = vec![(start, false)];
        while let Some((i, ready)) = stack.pop() {
            if ready {
                order.push(i);
            } else if seen.insert(i) {
                stack.push((i, true));
                stack.extend(
                    job.unpacked[i]
                        .control
                        .needs()
                        .filter_map(|n| by_name.get(n))
                        .map(|&n| (n, false)),
                );
            }
        }
    }
    order.retain(|&i| job.unpacked[i].control.has("preinst"));
    order
}

/// What the sandbox said, as far as it matters when it fails.
#[derive(Default)]
struct Talk {
    package: String,
    lines: std::collections::VecDeque<String>,
    failed: Option<String>,
}

impl Talk {
    /// True when the next package begins.
    fn hear(&mut self, line: &str) -> bool {
        let begins = line
            .strip_prefix("Setting up ")
            .or_else(|| line.strip_prefix("Processing triggers for "));
        let step = line.strip_prefix(ns::STEP_MARK);
        if let Some(rest) = begins {
            rest.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut self.package);
            self.lines.clear();
        } else if let Some(rest) = step {
            rest.split(' ')
                .next_back()
                .unwrap_or_default()
                .clone_into(&mut self.package);
            self.lines.clear();
        } else if let Some(rest) = line.strip_prefix("dpkg: error processing package ") {
            self.failed.get_or_insert_with(|| {
                let lines: Vec<String> = self.lines.iter().map(|l| format!("  {l}")).collect();
                format!(
                    "{}\n{}",
                    rest.split(' ').next().unwrap_or_default(),
                    lines.join("\n")
                )
            });
        } else {
            self.lines.push_back(line.to_owned());
            if self.lines.len() > SHOWN {
                self.lines.pop_front();
            }
        }
        line.starts_with("Setting up ")
    }

    fn blame(self) -> ConfigureError {
        let lines: Vec<String> = self.lines.iter().map(|l| format!("  {l}")).collect();
        if let Some((package, lines)) = self.failed.as_deref().and_then(|f| f.split_once('\n')) {
            return ConfigureError::Script {
                package: package.to_owned(),
                lines: lines.to_owned(),
            };
        }
        if self.package.is_empty() {
            return ConfigureError::Sandbox(lines.join("\n").trim_start().to_owned());
        }
        ConfigureError::Script {
            package: self.package,
            lines: lines.join("\n"),
        }
    }
}

#[cfg(test)]
mod tests;
