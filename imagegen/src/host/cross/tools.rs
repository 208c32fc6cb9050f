//! Owns the linker of the cross build: zig and cargo-zigbuild, in a Python environment of the project's cache folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::exec::{self, Cmd, ExecError};
use crate::files;

/// The Python packages, with the versions this project is tested with.
const PACKAGES: [&str; 2] = ["ziglang==0.16.0", "cargo-zigbuild==0.24.0"];
/// Written last: the environment is complete.
const COMPLETE: &str = "complete";

/// Where the installed tools are.
#[derive(Debug, Clone)]
pub struct Zig {
    /// The wrapper around cargo.
    pub cargo_zigbuild: PathBuf,
    program: PathBuf,
    cache: PathBuf,
}

/// Why there is no linker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolsError {
    /// Python or its package manager failed.
    #[error(
        "installing zig (linker of the cross build) into {}: {source}\n\
         It comes from the Python package index and needs python3 with venv (Debian: python3-venv) and a network once.",
        dir.display()
    )]
    Install {
        /// The environment's folder.
        dir: PathBuf,
        /// The program that failed and its last lines.
        source: ExecError,
    },
    /// The environment lacks a file it should have.
    #[error("{} is not complete: {what}; delete it and try again", dir.display())]
    Incomplete {
        /// The environment's folder.
        dir: PathBuf,
        /// What is missing.
        what: String,
    },
}

impl Zig {
    /// Gives a command the tools, with caches inside the project.
    pub fn env(&self, cmd: Cmd) -> Cmd {
        cmd.env("CARGO_ZIGBUILD_ZIG_PATH", &self.program)
            .env("CARGO_ZIGBUILD_CACHE_DIR", self.cache.join("zigbuild"))
            .env("ZIG_GLOBAL_CACHE_DIR", self.cache.join("zig"))
            .env("ZIG_LOCAL_CACHE_DIR", self.cache.join("zig"))
    }
}

/// The tools, installed first if need be.
pub fn zig(cache: &Path, say: &mut dyn FnMut(&str)) -> Result<Zig, ToolsError> {
    // The versions are part of the name: a new version never meets the leftovers of an old one.
    let name: String = PACKAGES.join("-").replace("==", "-");
    let dir = cache.join("tools").join(name);
    if !dir.join(COMPLETE).is_file() {
        say("installing zig and cargo-zigbuild into the project's cache (once, about 100 MB)");
        install(&dir, say)?;
    }
    let incomplete = |what: String| ToolsError::Incomplete {
        dir: dir.clone(),
        what,
    };
    let cargo_zigbuild = dir.join("bin/cargo-zigbuild");
    if !cargo_zigbuild.is_file() {
        return Err(incomplete("bin/cargo-zigbuild".to_owned()));
    }
    let program = find_zig(&dir)
        .ok_or_else(|| incomplete("lib/python3*/site-packages/ziglang/zig".to_owned()))?;
    Ok(Zig {
        cargo_zigbuild,
        program,
        cache: cache.join("tools"),
    })
}

fn install(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<(), ToolsError> {
    let failed = |source| ToolsError::Install {
        dir: dir.to_owned(),
        source,
    };
    let venv = exec::tool("python3")
        .args(["-m", "venv", "--clear"])
        .arg(dir);
    venv.run().map_err(failed)?;
    let pip = exec::tool(dir.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--only-binary=:all:",
            "--no-deps",
            "--progress-bar=off",
        ])
        .args(PACKAGES)
        .timeout(Duration::from_mins(20));
    pip.run_telling(say).map_err(failed)?;
    files::replace(&dir.join(COMPLETE), b"").map_err(|e| ToolsError::Incomplete {
        dir: dir.to_owned(),
        what: e.to_string(),
    })
}

fn find_zig(dir: &Path) -> Option<PathBuf> {
    std::fs::read_dir(dir.join("lib"))
        .ok()?
        .flatten()
        .map(|python| python.path().join("site-packages/ziglang/zig"))
        .find(|p| p.is_file())
}
