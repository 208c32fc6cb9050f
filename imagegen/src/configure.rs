//! Owns the step from unpacked to configured: the packages' own scripts run, by `dpkg --configure`, in a sandbox; the programs
//! they call are those of the building machine's architecture where that changes nothing but the time.

pub mod cover;
pub mod fidelity;
mod order;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::exec::{self, ExecError};
use crate::files;
use crate::files::inroot::{Hand, Spot};
use crate::inputs::recipe::Run;
use crate::lock::{Lock, LockedPackage};
use crate::progress::Stage;
use crate::sandbox::{self, Foreign, Guest, Plan, Step, Sync};
use crate::unpack::Unpacked;
use order::{CONFIGURE_LIMIT, in_order};

/// How scripts are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Mode {
    /// With this machine's programs; a package whose script fails with them is configured with emulated ones.
    Auto,
    /// With this machine's programs where that changes nothing, and with nothing else: fast, or an error.
    Native,
    /// With everything emulated: ten times slower, and what the fast way is compared with.
    Emulated,
    /// To try things out: what is new is installed into a tree that lies in the cache (`--quick`). What comes of it depends on that tree.
    #[value(skip)]
    Quick,
}

impl Mode {
    /// Its name in cache keys and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Emulated => "emulated",
            Self::Quick => "quick",
        }
    }

    /// Whether this failure of the native way is answered with the emulated one, for that package alone. Only a script's is: what
    /// else can fail (no emulator, no namespaces, a full disk) fails the other way too.
    pub fn falls_back(self, e: &ConfigureError) -> bool {
        self == Self::Auto && matches!(e, ConfigureError::Script { .. })
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
    /// A step of the recipe failed.
    #[error(
        "the recipe's [[run]] `{name}` failed; its last lines:\n{lines}\n(a step has no network, starts no service and sees only \
         the image's own files)"
    )]
    Step {
        /// Its name.
        name: String,
        /// What it printed last.
        lines: String,
    },
    /// Native was asked for, and the lock was made on a machine of another architecture.
    #[error(
        "the lock names no programs of {host} to run the scripts of {arch} packages with: it was made on a machine of another \
         architecture; make it anew here (`hypriot-imagegen lock --update`), or build with --configure emulated"
    )]
    NoTools {
        /// This machine's architecture.
        host: String,
        /// The board's.
        arch: Arch,
    },
    /// No emulator for the board's architecture.
    #[error("{program} is needed to run programs of {arch}: install qemu-user-static")]
    NoEmulator {
        /// The program.
        program: String,
        /// Architecture.
        arch: Arch,
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
    pub arch: Arch,
    /// What was unpacked.
    pub packages: &'a [LockedPackage],
    /// What that left.
    pub unpacked: &'a [Unpacked],
    /// The tree of tools of the building machine's architecture, if they are to be used.
    pub tools: Option<&'a Path>,
    /// What is done about a script that fails with them.
    pub mode: Mode,
    /// This program.
    pub helper: &'a Path,
    /// No file is made younger than this.
    pub source_date: i64,
}

/// Packages that are emulated one by one; where more do not bear this machine's programs, something else is wrong.
const ALONE: usize = 20;
/// Lines of a failed script that are shown.
const SHOWN: usize = 25;

/// Whether the lock's tools are to be used: not where everything is emulated, nor where the board's programs run as they are.
pub fn needs_tools(mode: Mode, lock: &Lock) -> Result<bool, ConfigureError> {
    let host = Arch::host();
    if mode == Mode::Emulated || host == Some(lock.arch) {
        return Ok(false);
    }
    let host = host.map_or(std::env::consts::ARCH, Arch::name);
    let fit = lock.tools.iter().any(|t| t.arch == host);
    if !fit && mode == Mode::Native {
        return Err(ConfigureError::NoTools {
            host: host.to_owned(),
            arch: lock.arch,
        });
    }
    Ok(fit)
}

/// Runs the scripts of all packages; says how, in a word.
pub fn run(job: &Job<'_>, stage: &Stage) -> Result<String, ConfigureError> {
    go(job, order::steps(job), stage)
}

/// Installs more packages into a tree that is configured, as dpkg on the board would; `debs` are their files, as paths in the tree.
pub fn add(job: &Job<'_>, debs: &[String], stage: &Stage) -> Result<String, ConfigureError> {
    go(job, vec![order::add(job, debs)], stage)
}

fn go(job: &Job<'_>, mut steps: Vec<Step>, stage: &Stage) -> Result<String, ConfigureError> {
    let host = Arch::host();
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
    let plan = |covers: &[(PathBuf, PathBuf)], steps: &[Step]| Plan {
        root: job.root.to_owned(),
        covers: covers.to_vec(),
        foreign: foreign.clone(),
        sync: Sync::Ignored,
        guest: Guest::Scripts,
        steps: steps.to_vec(),
    };
    let mut alone: Vec<String> = Vec::new();
    loop {
        let (ran, done) = attempt(job, &plan(&covers, &steps), stage)?;
        let Err(e) = ran else { break };
        let ConfigureError::Script { package, .. } = &e else {
            return Err(e);
        };
        let again = alone.contains(package) || alone.len() == ALONE;
        if covers.is_empty() || again || !job.mode.falls_back(&e) {
            return Err(e);
        }
        stage.note(&format!(
            "note: {e}\nnote: package {package} is configured with emulated programs, which takes about ten times as long; \
             --configure native stops here instead"
        ));
        steps.drain(..done);
        let step = if steps
            .first()
            .is_some_and(|s| s.what.starts_with("preinst "))
        {
            steps.remove(0)
        } else {
            // dpkg(1): what failed is half-configured, and is configured anew; policy 6.2: scripts bear that.
            order::configure(job, package)
        };
        alone.push(package.clone());
        attempt(job, &plan(&[], &[step]), stage)?.0?;
    }
    Ok(
        match (foreign.is_some(), covers.is_empty(), alone.as_slice()) {
            (true, true, _) => "emulated".to_owned(),
            (_, _, []) => "native".to_owned(),
            (_, _, alone) => format!("native, emulated: {}", alone.join(", ")),
        },
    )
}

/// Runs a plan once: what came of it, and how many of its steps were finished.
fn attempt(
    job: &Job<'_>,
    plan: &Plan,
    stage: &Stage,
) -> Result<(Result<(), ConfigureError>, usize), ConfigureError> {
    let mut talk = Talk::default();
    let mut begun: usize = 0;
    let ran = inside(job.helper, plan, |line| {
        begun += usize::from(line.starts_with(sandbox::STEP_MARK));
        if talk.hear(line) {
            stage.add(1);
            stage.now(&talk.package);
        }
    })?;
    let ran = match ran {
        Ok(()) => Ok(()),
        Err(ExecError::Failed { .. }) => Err(talk.blame()),
        Err(e) => Err(e.into()),
    };
    Ok((ran, begun.saturating_sub(1)))
}

/// Runs a plan in its tree, which has what scripts must find for that time alone.
fn inside(
    helper: &Path,
    plan: &Plan,
    on_line: impl FnMut(&str),
) -> Result<Result<(), ExecError>, ConfigureError> {
    let made = prepare(&plan.root, &plan.covers)?;
    let limit = Duration::from_secs(CONFIGURE_LIMIT * 2);
    let ran = sandbox::run(helper, plan, limit, on_line);
    for spot in made.iter().rev() {
        unseen(spot, |path| {
            if fs::symlink_metadata(path)?.is_dir() {
                fs::remove_dir(path)
            } else {
                fs::remove_file(path)
            }
        })?;
    }
    Ok(ran)
}

/// Steps of a recipe, and the tree they are run in.
#[derive(Debug)]
pub struct Steps<'a> {
    /// The tree.
    pub root: &'a Path,
    /// Its architecture.
    pub arch: Arch,
    /// The steps, in their order.
    pub steps: &'a [Run],
    /// This program.
    pub helper: &'a Path,
    /// No file is made younger than this.
    pub source_date: i64,
}

/// Seconds that a step of a recipe may take.
const STEP_LIMIT: u64 = 1800;

/// Runs the steps of a recipe, each in a shell that stops at the first command that fails. The board's own programs run, emulated
/// where they are foreign: nobody knows what a step will call.
pub fn steps_of(job: &Steps<'_>, stage: &Stage) -> Result<(), ConfigureError> {
    let foreign = if Arch::host() == Some(job.arch) {
        None
    } else {
        Some(emulator(job.arch)?)
    };
    let date = job.source_date.to_string();
    let one = |run: &Run| Step {
        what: format!("run {}", run.name),
        argv: in_order(&["/bin/sh", "-eu", "-c", &run.script]),
        env: vec![("SOURCE_DATE_EPOCH".to_owned(), date.clone())],
        seconds: STEP_LIMIT,
    };
    let plan = Plan {
        root: job.root.to_owned(),
        covers: Vec::new(),
        foreign,
        sync: Sync::Ignored,
        guest: Guest::Scripts,
        steps: job.steps.iter().map(one).collect(),
    };
    let (mut name, mut lines) = (String::new(), std::collections::VecDeque::new());
    let ran = inside(job.helper, &plan, |line| {
        match line.strip_prefix(sandbox::STEP_MARK) {
            Some(step) => {
                step.trim_start_matches("run ").clone_into(&mut name);
                lines.clear();
                stage.add(1);
                stage.now(&name);
            }
            None => lines.push_back(format!("  {line}")),
        }
        if lines.len() > SHOWN {
            lines.pop_front();
        }
    })?;
    match ran {
        Ok(()) => Ok(()),
        Err(ExecError::Failed { .. }) => Err(ConfigureError::Step {
            name,
            lines: Vec::from(lines).join("\n"),
        }),
        Err(e) => Err(e.into()),
    }
}

/// The emulator of an architecture and how its programs are recognised (as in qemu's scripts/qemu-binfmt-conf.sh).
pub fn emulator(arch: Arch) -> Result<Foreign, ConfigureError> {
    let program = arch.emulator();
    let (class, machine) = arch.elf();
    let [low, high] = machine.to_le_bytes();
    let named = format!("{program}-static");
    let interpreter =
        exec::find(&named)
            .or_else(|| exec::find(program))
            .ok_or(ConfigureError::NoEmulator {
                program: named,
                arch,
            })?;
    Ok(Foreign {
        name: format!("hypriot-{program}"),
        magic: format!(
            r"\x7fELF\x0{class}\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x{low:02x}\x{high:02x}"
        ),
        mask: r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
            .to_owned(),
        interpreter,
    })
}

/// Makes what the scripts must find and the tree must not keep; returns it in the order of making.
fn prepare(root: &Path, covers: &[(PathBuf, PathBuf)]) -> io::Result<Vec<Spot>> {
    let tree = Hand::new(root)?;
    let mut made = Vec::new();
    for (_, to) in covers {
        let there = place(&tree, to)?;
        if there.meta()?.is_none() {
            unseen(&there, |path| fs::create_dir(path))?;
            made.push(there);
        }
    }
    let lib64 = place(&tree, Path::new("lib64"))?;
    if !covers.is_empty() && lib64.meta()?.is_none() {
        unseen(&lib64, |path| std::os::unix::fs::symlink("usr/lib64", path))?;
        made.push(lib64);
    }
    for dir in ["proc", "sys", "dev", "run", "tmp"] {
        tree.make(Path::new(dir))?;
    }
    // Policy 9.3.3.2 (invoke-rc.d): 101 forbids to start anything.
    let policy = place(&tree, Path::new("usr/sbin/policy-rc.d"))?;
    unseen(&policy, |_| policy.replace(b"#!/bin/sh\nexit 101\n", 0o755))?;
    made.push(policy);
    Ok(made)
}

/// A place in a folder that must be there.
fn place(tree: &Hand, path: &Path) -> io::Result<Spot> {
    tree.spot(path)?
        .ok_or_else(|| files::named(path, &io::Error::from(io::ErrorKind::NotFound)))
}

/// Makes or removes what is at `spot`, and its folder keeps the time it had: what is there only for the run leaves no trace.
fn unseen(spot: &Spot, act: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let dir = spot.folder().path();
    let before = fs::metadata(&dir)?.modified()?;
    act(&spot.path()).map_err(|e| files::named(&spot.shown(), &e))?;
    fs::File::open(dir)?.set_modified(before)
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
        let step = line.strip_prefix(sandbox::STEP_MARK);
        if let Some(rest) = begins {
            rest.split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut self.package);
            self.lines.clear();
        } else if let Some(rest) = step {
            // What dpkg itself says before its first package is no package's fault.
            rest.strip_prefix("preinst ")
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
