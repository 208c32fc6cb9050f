//! Owns the cross build of the static agent: which of three ways this machine can go, and going it.
//!
//! A binary that is dynamically linked, or that needs a newer processor than the board has, never leaves this module:
//! every result passes [`crate::elf::check`].

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::arch::Processor;
use crate::elf::{self, ElfError, ElfFacts};
use crate::exec::{self, Cmd, ExecError};
use crate::files;

#[cfg(test)]
mod tests;
pub mod tools;

/// A pair of programs that build Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// The package manager.
    pub cargo: PathBuf,
    /// The compiler.
    pub rustc: PathBuf,
    /// Where its libraries lie.
    pub sysroot: PathBuf,
}

/// What this machine has to cross build with, for one target.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// The project's own toolchain has the target's standard library.
    pub installed: Option<Toolchain>,
    /// `cross` is installed and a container engine answers.
    pub cross: bool,
    /// A toolchain that has the standard library's source.
    pub with_source: Option<Toolchain>,
}

/// How the agent gets built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// With the target's standard library as rustup or the distribution ships it; zig compiles C and links.
    Installed(Toolchain),
    /// In cross's container.
    Cross,
    /// The standard library is compiled too, from its source; zig compiles C and links.
    BuildStd(Toolchain),
}

impl Way {
    /// In words, for the message that says which way was taken.
    pub fn words(&self) -> String {
        match self {
            Self::Installed(_) => "the installed Rust target, zig as linker".to_owned(),
            Self::Cross => "cross, in its container".to_owned(),
            Self::BuildStd(t) => {
                format!("{} -Zbuild-std, zig as linker", t.rustc.display())
            }
        }
    }

    /// One word, for the cache folder: the ways must not overwrite each other's intermediate files.
    fn id(&self) -> &'static str {
        match self {
            Self::Installed(_) => "installed",
            Self::Cross => "cross",
            Self::BuildStd(_) => "build-std",
        }
    }
}

/// Why there is no agent binary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CrossError {
    /// None of the three ways is open here.
    #[error(
        "cannot build for {0} on this machine. Do one of:\n  \
         rustup target add {0}\n  \
         install Docker and `cargo install cross`\n  \
         on Debian: apt-get install rustc-web cargo-web rust-web-src (or run `hypriot-imagegen doctor --install`)"
    )]
    NoWay(&'static str),
    /// A tool could not be run or failed.
    #[error("building the agent for {targets}: {source}")]
    Tool {
        /// The targets that were built together.
        targets: String,
        /// Which tool, and its last lines.
        source: ExecError,
    },
    /// The linker and the build helper could not be installed into the cache.
    #[error(transparent)]
    Zig(#[from] tools::ToolsError),
    /// The build worked and its result is not what the boards need.
    #[error("the agent for {target} is not usable: {source}")]
    Unusable {
        /// The target.
        target: &'static str,
        /// What is wrong with it.
        source: ElfError,
    },
    /// A file could not be read or written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// Gerund: what we were doing.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What the compiler is asked for: a profile of the workspace's `Cargo.toml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The smallest program: for what is flashed.
    Release,
    /// The same code without optimisation of the whole program: for demos and tests.
    Quick,
}

impl Profile {
    /// Cargo's word for it, and its folder.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

/// What to build, and where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The workspace's folder.
    pub root: PathBuf,
    /// The project's cache folder.
    pub cache: PathBuf,
    /// For which processors.
    pub targets: Vec<Processor>,
    /// The folder that receives `hypriot-agent-<target>`.
    pub out: PathBuf,
    /// How much time the compiler may take.
    pub profile: Profile,
}

/// A finished agent.
#[derive(Debug, Clone)]
pub struct Built {
    /// For which processor.
    pub target: Processor,
    /// The binary.
    pub path: PathBuf,
    /// What its header says.
    pub facts: ElfFacts,
    /// Its size in bytes.
    pub size: u64,
    /// BLAKE3 of its bytes.
    pub blake3: String,
}

/// Picks the way: an installed target, `cross`, the standard library from source.
pub fn choose(host: &Host, target: Processor) -> Result<Way, CrossError> {
    if let Some(toolchain) = &host.installed {
        return Ok(Way::Installed(toolchain.clone()));
    }
    if host.cross {
        return Ok(Way::Cross);
    }
    let toolchain = host.with_source.as_ref();
    toolchain
        .map(|t| Way::BuildStd(t.clone()))
        .ok_or(CrossError::NoWay(target.triple()))
}

/// What does not depend on the target: it takes a dozen processes to find out, so it is looked for once.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The project's own toolchain first (rustup chooses by the folder), then the distribution's.
    toolchains: Vec<Toolchain>,
    cross: bool,
}

impl Machine {
    /// Looks at this machine.
    pub fn look(root: &Path) -> Self {
        let toolchains = [("cargo", "rustc"), ("/usr/bin/cargo", "/usr/bin/rustc")];
        Self {
            toolchains: toolchains
                .into_iter()
                .filter_map(|(cargo, rustc)| toolchain(root, Path::new(cargo), Path::new(rustc)))
                .collect(),
            cross: exec::exists("cross")
                && ["docker", "podman"]
                    .iter()
                    .any(|engine| answers(engine, &["info"])),
        }
    }

    /// What it has for one target.
    pub fn host(&self, target: Processor) -> Host {
        let first =
            |fits: &dyn Fn(&Toolchain) -> bool| self.toolchains.iter().find(|t| fits(t)).cloned();
        Host {
            installed: first(&|t| has_target(t, target)),
            cross: self.cross,
            with_source: first(&has_source),
        }
    }
}

/// Builds the agents, checks them, and puts them at their places in the output folder, in the order of the request. `say` gets a
/// line of progress at a time.
pub fn build(request: &Request, say: &mut dyn FnMut(&str)) -> Result<Vec<Built>, CrossError> {
    let machine = Machine::look(&request.root);
    let ways = request.targets.iter().map(|&target| {
        let way = choose(&machine.host(target), target)?;
        Ok((target, way))
    });
    let ways = ways.collect::<Result<Vec<_>, CrossError>>()?;
    for turn in turns(&ways) {
        let Some((_, way)) = turn.first() else {
            continue;
        };
        let targets: Vec<&str> = turn.iter().map(|(target, _)| target.triple()).collect();
        let names = targets.join(", ");
        say(&format!("agent for {names}: {}", way.words()));
        let zig = match way {
            Way::Cross => None,
            Way::Installed(_) | Way::BuildStd(_) => Some(tools::zig(&request.cache, say)?),
        };
        let cmd = command(request, &targets, way, zig.as_ref());
        cmd.run_telling(&mut *say)
            .map_err(|source| CrossError::Tool {
                targets: names,
                source,
            })?;
    }
    let taken = ways.iter().map(|(target, way)| {
        let made = intermediate(request, way).join(target.triple());
        take(
            &made.join(request.profile.name()).join("hypriot-agent"),
            *target,
            &request.out,
        )
    });
    taken.collect()
}

/// What one run of cargo builds: all neighbours that go the same way, since most of the time goes into linking, which uses one
/// core for each target. A container of cross is for one target.
fn turns(ways: &[(Processor, Way)]) -> impl Iterator<Item = &[(Processor, Way)]> {
    ways.chunk_by(|(_, a), (_, b)| a == b && *a != Way::Cross)
}

fn intermediate(request: &Request, way: &Way) -> PathBuf {
    request.cache.join("cross").join(way.id())
}

/// Checks what the compiler left and copies it to its place.
fn take(made: &Path, target: Processor, out: &Path) -> Result<Built, CrossError> {
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CrossError::File { what, path, source }
    };
    let bytes = std::fs::read(made).map_err(file("reading", made))?;
    let facts = elf::check(&bytes, target).map_err(|source| CrossError::Unusable {
        target: target.triple(),
        source,
    })?;
    let path = out.join(format!("hypriot-agent-{}", target.triple()));
    files::replace(&path, &bytes).map_err(file("writing", &path))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o755))
        .map_err(file("making executable", &path))?;
    Ok(Built {
        target,
        path,
        facts,
        size: bytes.len() as u64,
        blake3: blake3::hash(&bytes).to_hex().to_string(),
    })
}

/// The command line that builds. Paths of this machine are mapped away, so that every machine gets the same bytes.
fn command(request: &Request, targets: &[&str], way: &Way, zig: Option<&tools::Zig>) -> Cmd {
    // A panic ends the process (`panic = "abort"`) and nobody walks the stack: tables for that would be a tenth of the program.
    let mut flags = ["-C link-self-contained=no", "-C force-unwind-tables=no"]
        .map(str::to_owned)
        .to_vec();
    for (from, to) in [(&request.root, "/hypriot"), (&cargo_home(), "/cargo")] {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    let cmd = match (way, zig) {
        (Way::Installed(t) | Way::BuildStd(t), Some(zig)) => {
            flags.push(format!("--remap-path-prefix={}=/rust", t.sysroot.display()));
            zig.env(exec::tool(&zig.cargo_zigbuild))
                .arg("zigbuild")
                .env("CARGO", &t.cargo)
                .env("RUSTC", &t.rustc)
                .env("RUSTFLAGS", flags.join(" "))
        }
        _ => exec::tool("cross")
            .arg("build")
            .env("CROSS_CONFIG", request.root.join("cross.toml")),
    };
    let cmd = cmd
        .args([
            "--profile",
            request.profile.name(),
            "--locked",
            "-p",
            "hypriot-agent",
            "--bin",
            "hypriot-agent",
        ])
        .args(targets.iter().flat_map(|target| ["--target", target]))
        .arg("--target-dir")
        .arg(intermediate(request, way))
        .directory(&request.root)
        .without_env(outer_cargo())
        .timeout(Duration::from_hours(1));
    match way {
        // -Z is meant for nightly compilers; RUSTC_BOOTSTRAP opens it on the pinned stable one, which is what we want:
        // one known compiler instead of whatever nightly is today.
        // Named features take the place of the default ones, among them `backtrace`: a reader of debug information that the
        // stripped program has none of.
        Way::BuildStd(_) => cmd
            .arg("-Zbuild-std=std,panic_abort")
            .arg("-Zbuild-std-features=optimize_for_size")
            .env("RUSTC_BOOTSTRAP", "1"),
        Way::Installed(_) | Way::Cross => cmd,
    }
}

/// What `cargo run` and `cargo test` tell the program they start about its crate. A cargo that this program starts must not see
/// it: build scripts that watch it (ring's) would run again, and all that stands on them would be compiled anew.
pub fn outer_cargo() -> Vec<OsString> {
    let about_crate = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    let names = std::env::vars_os().map(|(name, _)| name);
    names.filter(about_crate).collect()
}

fn cargo_home() -> PathBuf {
    std::env::var_os("CARGO_HOME").map_or_else(
        || {
            std::env::home_dir()
                .unwrap_or_else(|| PathBuf::from("/root"))
                .join(".cargo")
        },
        PathBuf::from,
    )
}

fn answers(program: &str, args: &[&str]) -> bool {
    exec::tool(program)
        .args(args)
        .timeout(Duration::from_secs(20))
        .run()
        .is_ok()
}

/// The toolchain behind these two programs, if they run, are a pair and are new enough for this workspace.
fn toolchain(root: &Path, cargo: &Path, rustc: &Path) -> Option<Toolchain> {
    let ask = |program: &Path, what: &[&str]| {
        exec::tool(program)
            .args(what)
            .directory(root)
            .timeout(Duration::from_mins(1))
            .run()
            .ok()
            .map(|o| o.text())
    };
    let versions = [ask(cargo, &["--version"])?, ask(rustc, &["--version"])?];
    if versions.iter().any(|v| minor_version(v) < Some(MIN_MINOR)) {
        return None;
    }
    Some(Toolchain {
        cargo: cargo.to_owned(),
        rustc: rustc.to_owned(),
        sysroot: PathBuf::from(ask(rustc, &["--print", "sysroot"])?),
    })
}

/// The `rust-version` of the workspace is 1.95.
const MIN_MINOR: u32 = 95;

/// The 96 of `rustc 1.96.0 (…)`; nothing for another major version.
fn minor_version(text: &str) -> Option<u32> {
    text.split_whitespace()
        .nth(1)?
        .strip_prefix("1.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

fn has_target(toolchain: &Toolchain, target: Processor) -> bool {
    let dir = toolchain
        .sysroot
        .join("lib/rustlib")
        .join(target.triple())
        .join("lib");
    std::fs::read_dir(dir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with("libstd-"))
    })
}

fn has_source(toolchain: &Toolchain) -> bool {
    toolchain
        .sysroot
        .join("lib/rustlib/src/rust/library/Cargo.lock")
        .is_file()
}
