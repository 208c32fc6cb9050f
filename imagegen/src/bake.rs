//! Makes the contents of a card out of a configured root tree: the root file system, the boot partition of a slot, the
//! first partition, and the blobs before it. Pure: from values to values.

pub mod expectations;
pub mod initramfs;
pub mod record;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use hypriot_keys::time::Timestamp;
use hypriot_updater::boot::script::{
    Addresses, INITRAMFS, KERNEL, KernelCommand, ScriptBoard, script,
};
use include_dir::{Dir, include_dir};

use crate::bake::expectations::Facts;
use crate::inputs::board::{Board, Load};
use crate::inputs::recipe::Recipe;
use crate::tree::{Content, Tree};

mod config;
pub mod containers;
pub mod custom;
mod kernel;
pub mod origins;
mod root;
pub mod scr;
pub mod slim;
#[cfg(test)]
pub(crate) mod tests;

/// Where the agent lies in the root tree.
pub const AGENT: &str = "usr/bin/hypriot-agent";
/// The root of trust in the root tree.
pub const TRUST_ROOT: &str = "usr/share/hypriot/root.json";
/// The image's settings of the agent.
pub const SETTINGS: &str = "usr/lib/hypriot/agent.toml";

/// The kernel's own names for interfaces, `eth0` and `wlan0`, as samples of `network-config` and the old HypriotOS have them, on every
/// board (systemd.net-naming-scheme(7), `net.ifnames=`). Of two such words the last one counts, so a recipe or the owner's
/// hypriot-boot.txt can say otherwise.
pub const KERNEL_NAMES: &str = "net.ifnames=0";

/// Files of every image, laid out as they are installed.
static SYSTEMD: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../systemd");
static SKEL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/skel");
/// Files of every first partition.
static P1: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/p1");

/// Everything an image is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// The board.
    pub board: &'a Board,
    /// Version of the image.
    pub version: &'a semver::Version,
    /// The configured root tree.
    pub root: Tree,
    /// The unpacked boot packages.
    pub boot_files: &'a Tree,
    /// Release of the kernel in `root`.
    pub kernel_release: &'a str,
    /// The static agent for the board.
    pub agent: Content,
    /// What was asked for: its names, units, packages to hold, arguments for the kernel.
    pub recipe: &'a Recipe,
    /// What runs the recipe's steps, once everything is laid over the root.
    pub steps: Steps<'a>,
    /// Folders laid over the root, in this order, each with what it is called in messages.
    pub overlays: Vec<(String, Tree)>,
    /// `root.json` of the update repository; without it the board cannot be updated.
    pub trust_root: Option<&'a [u8]>,
    /// Where the board asks for updates.
    pub update_url: Option<&'a str>,
    /// How often it asks.
    pub poll_seconds: Option<u64>,
    /// The owner's `user-data` instead of ours.
    pub user_data: Option<&'a [u8]>,
    /// Blobs that the user brings, by the name in the board file.
    pub blobs: &'a BTreeMap<String, Content>,
    /// Text of the lock that the packages are from.
    pub lock: &'a str,
    /// Text of the build record ([`record::Record`]).
    pub record: &'a str,
}

/// How the steps of a recipe are run: the tree before, the tree after.
pub type Run<'a> = &'a dyn Fn(Tree) -> Result<Tree>;

/// What runs the steps of a recipe.
#[derive(Clone, Copy)]
pub enum Steps<'a> {
    /// There are none.
    None,
    /// This does.
    Run(Run<'a>),
}

impl std::fmt::Debug for Steps<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "no steps",
            Self::Run(_) => "steps",
        })
    }
}

/// A blob before the first partition.
#[derive(Debug, Clone)]
pub struct Raw {
    /// What it is, for messages.
    pub name: String,
    /// First byte on the card.
    pub offset: u64,
    /// What is written there.
    pub bytes: std::sync::Arc<[u8]>,
}

/// The contents of a card.
#[derive(Debug)]
pub struct Baked {
    /// Root file system.
    pub root: Tree,
    /// Boot partition of a slot.
    pub boot: Tree,
    /// First partition.
    pub config: Tree,
    /// Blobs before it.
    pub raw: Vec<Raw>,
}

/// Makes the contents of a card.
pub fn bake(mut input: Input<'_>) -> Result<Baked> {
    let boot = boot(&input)?;
    let raw = config::raw(&input)?;
    let mut root = std::mem::replace(&mut input.root, Tree::new(0));
    root::bake(&mut root, &input)?;
    papers(&mut root, &input)?;
    let config = config::bake(&root, &input)?;
    let mut baked = Baked {
        root,
        boot,
        config,
        raw,
    };
    let record = origins::record(&baked, &baked.root, &input)?;
    baked.root.insert_bytes(origins::RECORD, 0o644, record)?;
    Ok(baked)
}

/// What the image says about itself: what it was made of, and what must therefore hold on a board.
fn papers(root: &mut Tree, input: &Input<'_>) -> Result<()> {
    root.insert_bytes(record::LOCK, 0o644, input.lock)?;
    root.insert_bytes(record::BUILD, 0o644, input.record)?;
    if let Some(text) = &input.board.own {
        root.insert_bytes(record::BOARD, 0o644, text)?;
    }
    let facts = Facts {
        arch: input.board.arch,
        kernel: input.kernel_release,
    };
    let tests = expectations::text(root, facts)?;
    root.insert_bytes(expectations::PATH, 0o644, tests)
}

/// The boot partition of a slot: kernel, initramfs, device trees, and which release it is.
fn boot(input: &Input<'_>) -> Result<Tree> {
    let board = input.board;
    let mut boot = Tree::new(input.root.epoch());
    let image = kernel::image(&input.root, &board.kernel.image, input.kernel_release)?;
    let image = kernel::for_uboot(&image).context("the kernel image")?;
    if let Some(at) = board.boot.addresses {
        kernel::fits(&image, at)?;
    }
    boot.insert_bytes(KERNEL, 0o644, image)?;
    let initrd = initramfs::build(
        &input.root,
        input.kernel_release,
        &board.kernel.modules,
        &input.agent,
    )?;
    boot.insert_bytes(INITRAMFS, 0o644, initrd)?;
    for (name, content) in
        kernel::device_trees(&input.root, &board.kernel.dtbs, input.kernel_release)?
    {
        boot.insert_file(&format!("dtbs/{name}"), 0o644, content)?;
    }
    boot.insert_bytes(
        "version",
        0o644,
        format!("{} {}\n", board.name, input.version),
    )?;
    Ok(boot)
}

/// The text of the board's boot script.
fn script_text(board: &Board, recipe: &Recipe) -> String {
    let arguments: Vec<&str> = board.console.iter().map(String::as_str).collect();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|c| format!("console={c}"))
        .chain([KERNEL_NAMES.to_owned()])
        .chain(board.cmdline.iter().chain(&recipe.cmdline).cloned())
        .collect();
    let device_tree = match &board.kernel.fdtfile {
        Some(name) => Some(format!("dtbs/{name}")),
        // U-Boot knows which of the trees is its board's.
        None if !board.kernel.dtbs.is_empty() => Some("dtbs/${fdtfile}".to_owned()),
        None => None,
    };
    script(&ScriptBoard {
        arguments: &arguments.join(" "),
        kernel: match board.kernel.load {
            Load::Booti => KernelCommand::Booti,
            Load::Bootz => KernelCommand::Bootz,
        },
        device_tree: device_tree.as_deref(),
        addresses: board.boot.addresses.map(|at| Addresses {
            kernel: at.kernel,
            device_tree: at.device_tree,
            initramfs: at.initramfs,
        }),
    })
}

/// The folders that are compiled in and end in every image, for the build record.
pub(crate) fn embedded_trees() -> Result<[Tree; 3]> {
    Ok([
        embedded(&SKEL, 0)?,
        embedded(&P1, 0)?,
        embedded(&SYSTEMD, 0)?,
    ])
}

/// A folder that was compiled in, as a tree.
fn embedded(dir: &Dir<'_>, epoch: u64) -> Result<Tree> {
    let mut tree = Tree::new(epoch);
    let mut todo = vec![dir];
    while let Some(dir) = todo.pop() {
        for file in dir.files() {
            let path = file
                .path()
                .to_str()
                .context("names of embedded files are ASCII")?;
            tree.insert_bytes(path, 0o644, file.contents())?;
        }
        todo.extend(dir.dirs());
    }
    Ok(tree)
}

/// The settings the image gives to its agent.
fn settings(input: &Input<'_>, epoch: u64) -> Result<String> {
    let text =
        |key: &str, value: &str| format!("{key} = {}\n", toml::Value::String(value.to_owned()));
    let mut out = text("board", &input.board.name) + &text("version", &input.version.to_string());
    out += &text("built", &Timestamp(epoch).to_string());
    if let Some(number) = input.recipe.state_version {
        out.extend(["state_version = ", &number.to_string(), "\n"]);
    }
    out += "\n[update]\n";
    if let Some(url) = input.update_url {
        ensure!(
            !url.contains(char::is_control),
            "the update URL {url:?} has control characters"
        );
        out += &text("url", url);
    }
    if let Some(seconds) = input.poll_seconds {
        out.extend(["poll_seconds = ", &seconds.to_string(), "\n"]);
    }
    Ok(out)
}
