//! Which kernel modules to load, in which order: `modules.dep`, `modules.builtin`, `modules.softdep` and
//! `modules.alias` of the tree, as `depmod` wrote them (kmod, depmod.d(5) and modules.dep(5)).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, bail, ensure};

use crate::tree::Tree;

/// A bigger module is no module: the largest of Debian has 20 MB.
const MODULE_MAX: u64 = 64 << 20;

/// A module ready to be loaded.
#[derive(Debug)]
pub(super) struct Module {
    pub(super) name: String,
    /// The ELF file, uncompressed.
    pub(super) bytes: Vec<u8>,
}

/// What the tree says about its modules.
struct Index<'a> {
    root: &'a Tree,
    dir: String,
    /// Name -> path of the file, paths it depends on, in the order of `modules.dep`.
    modules: BTreeMap<String, (&'a str, Vec<&'a str>)>,
    builtin: BTreeSet<String>,
    /// Name -> names or aliases to load before it if there are such.
    soft: BTreeMap<String, Vec<&'a str>>,
    /// Alias without wildcard -> names.
    aliases: BTreeMap<&'a str, Vec<String>>,
}

/// Modules are named with `_` in the kernel; files and people also write `-`.
fn fold(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    fold(file.split(".ko").next().unwrap_or(file))
}

/// Every module that `wanted` needs, each once, in the order to load them.
pub(super) fn resolve(root: &Tree, release: &str, wanted: &[String]) -> Result<Vec<Module>> {
    let dir = format!("usr/lib/modules/{release}");
    let text = |file: &str| -> Result<String> {
        let bytes = root.read(&format!("{dir}/{file}"))?;
        String::from_utf8(bytes.to_vec()).with_context(|| format!("/{dir}/{file} is not text"))
    };
    let optional = |file: &str| {
        if root.get(&format!("{dir}/{file}")).is_some() {
            text(file)
        } else {
            Ok(String::new())
        }
    };
    let dep = text("modules.dep")
        .context("the kernel's list of modules is missing: depmod did not run")?;
    let builtin = optional("modules.builtin")?;
    let (soft, alias) = (optional("modules.softdep")?, optional("modules.alias")?);

    let mut modules = BTreeMap::new();
    for line in dep.lines() {
        let (path, needs) = line
            .split_once(':')
            .with_context(|| format!("odd line in modules.dep: {line:?}"))?;
        modules.insert(name_of(path), (path, needs.split_whitespace().collect()));
    }
    let builtin = builtin.lines().map(name_of).collect();
    let soft = soft.lines().filter_map(|l| {
        let mut words = l.split_whitespace().skip_while(|w| *w != "softdep").skip(1);
        let name = fold(words.next()?);
        let pre = words
            .skip_while(|w| *w != "pre:")
            .skip(1)
            .take_while(|w| *w != "post:")
            .collect();
        Some((name, pre))
    });
    let mut aliases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in alias.lines() {
        if let ["alias", from, to] = line.split_whitespace().collect::<Vec<_>>()[..]
            && !from.contains(['*', '?', '['])
        {
            aliases.entry(from).or_default().push(fold(to));
        }
    }
    let index = Index {
        root,
        dir,
        modules,
        builtin,
        soft: soft.collect(),
        aliases,
    };
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        index
            .add(&fold(name), &mut order, 0)
            .with_context(|| format!("kernel module {name} (board file, kernel.modules)"))?;
    }
    for name in companions(wanted).iter().chain(WATCHDOGS) {
        if index.modules.contains_key(*name) {
            index.add(name, &mut order, 0)?;
        }
    }
    order.into_iter().map(|name| index.load(name)).collect()
}

/// Drivers of hardware watchdogs, for a kernel that hangs before systemd starts: Raspberry Pi, Allwinner, Amlogic, Exynos, Rockchip,
/// Tegra, and what a virtual machine may have. One that the kernel has not is not needed; one without its hardware does nothing.
const WATCHDOGS: &[&str] = &[
    "bcm2835_wdt",
    "sunxi_wdt",
    "meson_gxbb_wdt",
    "meson_wdt",
    "s3c2410_wdt",
    "dw_wdt",
    "tegra_wdt",
    "i6300esb",
];

/// What the kernel would ask `modprobe` for by itself; there is none in an initramfs. vfat needs the tables of the code
/// page and character set that `/init` mounts with.
fn companions(wanted: &[String]) -> &'static [&'static str] {
    if wanted.iter().any(|w| w == "vfat") {
        &["nls_cp437", "nls_ascii"]
    } else {
        &[]
    }
}

impl Index<'_> {
    /// Puts `name` into `order`, behind everything it needs.
    fn add(&self, name: &str, order: &mut Vec<String>, depth: usize) -> Result<()> {
        ensure!(depth < 32, "its dependencies go round in circles");
        if order.iter().any(|n| n == name) {
            return Ok(());
        }
        let Some((_, needs)) = self.modules.get(name) else {
            if self.builtin.contains(name) {
                return Ok(());
            }
            bail!(
                "is neither among the modules of kernel {} nor built into it; correct the board file or install the kernel that has it",
                self.dir.rsplit('/').next().unwrap_or_default()
            );
        };
        for soft in self.soft.get(name).into_iter().flatten() {
            let soft_name = fold(soft);
            let known = |n: &String| self.modules.contains_key(n) || self.builtin.contains(n);
            let found: Vec<String> = if known(&soft_name) {
                vec![soft_name]
            } else {
                self.aliases
                    .get(soft)
                    .into_iter()
                    .flatten()
                    .filter(|n| known(n))
                    .cloned()
                    .collect()
            };
            for n in found.iter().filter(|n| *n != name) {
                self.add(n, order, depth + 1)?;
            }
        }
        // modules.dep lists what is needed first last.
        for path in needs.iter().rev() {
            self.add(&name_of(path), order, depth + 1)?;
        }
        order.push(name.to_owned());
        Ok(())
    }

    fn load(&self, name: String) -> Result<Module> {
        let (path, _) = &self.modules[&name];
        let packed = self.root.read(&format!("{}/{path}", self.dir))?;
        let bytes = unpack(path, &packed)
            .with_context(|| format!("cannot unpack the kernel module /{}/{path}", self.dir))?;
        ensure!(
            bytes.starts_with(b"\x7fELF"),
            "/{}/{path} is no kernel module: it is not ELF",
            self.dir
        );
        Ok(Module { name, bytes })
    }
}

/// The kernel can unpack compressed modules itself, but only where it was built so; the archive is compressed anyway.
fn unpack(path: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    match path.rsplit('.').next() {
        Some("xz") => read(xz2::read::XzDecoder::new(packed), &mut out)?,
        Some("zst") => read(zstd::stream::read::Decoder::new(packed)?, &mut out)?,
        Some("gz") => read(flate2::read::GzDecoder::new(packed), &mut out)?,
        _ => out.extend_from_slice(packed),
    }
    Ok(out)
}

fn read(from: impl Read, out: &mut Vec<u8>) -> Result<()> {
    let n = from.take(MODULE_MAX + 1).read_to_end(out)?;
    ensure!(
        n as u64 <= MODULE_MAX,
        "it unpacks to more than {MODULE_MAX} bytes"
    );
    Ok(())
}
