//! What is laid over the configured root tree: agent, units, settings, names, and the places that things are mounted on.

use anyhow::{Context, Result, ensure};

use super::{AGENT, Input, SETTINGS, SKEL, SYSTEMD, Steps, TRUST_ROOT, embedded, settings};
use super::{custom, slim};
use crate::inputs::overlay;
use crate::tree::{Kind, Tree, show};

/// Where units lie.
pub(super) const UNITS: &str = "usr/lib/systemd/system";
/// Where units of the owner may lie too (systemd.unit(5), "Unit File Load Path").
pub(super) const OWN_UNITS: &str = "etc/systemd/system";
/// Services of Debian's own that an image needs and that its packages do not enable by themselves.
const ENABLED: [(&str, &str); 2] = [
    ("systemd-networkd.service", "multi-user.target.wants"),
    ("systemd-resolved.service", "multi-user.target.wants"),
];
/// Started by its package at every boot, and idle: it waits for callers on D-Bus (NetworkManager), which start it themselves by its
/// other name. For each radio that network-config names, netplan starts a wpa_supplicant of its own.
const IDLE: &str = "etc/systemd/system/multi-user.target.wants/wpa_supplicant.service";
/// Directories that something is mounted on, with their modes.
const PLACES: [(&str, u16); 8] = [
    ("boot", 0o755),
    ("data", 0o755),
    ("dev", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("root", 0o700),
];

pub(super) fn bake(root: &mut Tree, input: &Input<'_>) -> Result<()> {
    only_what_belongs(root)?;
    if let Some(rules) = slim::Rules::of(input.recipe)? {
        rules.apply(root)?;
    }
    // Where the agent's `kernel-config` tests look for it, as on other distributions.
    let release = input.kernel_release;
    if let Ok(config) = root.read(&format!("boot/config-{release}")) {
        root.insert_bytes(&format!("usr/lib/modules/{release}/config"), 0o644, config)?;
    }
    // The kernel lies in the boot partition; here the first partition is mounted.
    for path in children(root, "boot") {
        root.remove(&path)?;
    }
    for (path, mode) in PLACES {
        root.insert_dir(path, mode)?;
    }
    root.overlay(&embedded(&SKEL, root.epoch())?)?;
    let mut own_units = Vec::new();
    let ours = [("the project".to_owned(), embedded(&SYSTEMD, root.epoch())?)];
    for (name, tree) in ours.iter().chain(&input.overlays) {
        let laid = overlay::lay(root, tree, name)?;
        own_units.extend(units(root, &laid)?);
    }
    root.insert_file(AGENT, 0o755, input.agent.clone())?;
    root.insert_bytes(SETTINGS, 0o644, settings(input, root.epoch())?)?;
    if let Some(bytes) = input.trust_root {
        root.insert_bytes(TRUST_ROOT, 0o644, bytes)?;
    }
    if let Steps::Run(run) = input.steps {
        let name = root.read("etc/hostname")?;
        *root = run(std::mem::replace(root, Tree::new(0)))?;
        only_what_belongs(root)?;
        // A tree that comes out of a sandbox is normalised, and has no name: it could be the building machine's.
        root.insert_bytes("etc/hostname", 0o644, name)?;
    }
    for unit in &own_units {
        enable(root, unit)?;
    }
    custom::hold(root, &input.recipe.hold)?;
    for (unit, wants) in ENABLED {
        if root.get(&format!("{UNITS}/{unit}")).is_some() {
            root.insert_symlink(
                &format!("etc/systemd/system/{wants}/{unit}"),
                &format!("/{UNITS}/{unit}"),
            )?;
        }
    }
    if root.get(IDLE).is_some() {
        root.remove(IDLE)?;
    }
    if root
        .get(&format!("{UNITS}/systemd-resolved.service"))
        .is_some()
    {
        root.insert_symlink("etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf")?;
    }
    // Empty, not absent: systemd makes one at the first start and writes it to /etc (machine-id(5)).
    root.insert_bytes("etc/machine-id", 0o444, "")?;
    for name in ["user-data", "meta-data", "network-config"] {
        root.insert_symlink(
            &format!("var/lib/cloud/seed/nocloud/{name}"),
            &format!("/boot/{name}"),
        )?;
    }
    custom::units(root, input.recipe)?;
    os_release(root, input)
}

/// Nothing that only a running system has, and no device nodes: `/dev` is a devtmpfs on the board.
fn only_what_belongs(root: &mut Tree) -> Result<()> {
    for dir in ["dev", "proc", "sys", "run", "tmp"] {
        for path in children(root, dir) {
            root.remove(&path)?;
        }
    }
    for (path, entry) in root.iter() {
        ensure!(
            matches!(entry.kind, Kind::Dir | Kind::File(_) | Kind::Symlink(_)),
            "{} is a {}: only directories, files and links belong into an image",
            show(path),
            entry.kind.name()
        );
    }
    Ok(())
}

fn children(root: &Tree, dir: &str) -> Vec<String> {
    let below = root
        .below(dir.as_bytes())
        .map(|(p, _)| String::from_utf8_lossy(p).into_owned());
    below
        .filter(|p| !p[dir.len() + 1..].contains('/'))
        .collect()
}

/// A unit that came with a folder.
pub(super) struct Unit {
    /// Where it lies.
    pub(super) at: String,
    pub(super) name: String,
    pub(super) text: String,
}

/// The units among the files that were laid over the tree, wherever units may lie.
fn units(root: &Tree, laid: &[Vec<u8>]) -> Result<Vec<Unit>> {
    let mut out = Vec::new();
    for path in laid {
        let at = String::from_utf8_lossy(path).into_owned();
        let Some((UNITS | OWN_UNITS, name)) = at.rsplit_once('/') else {
            continue;
        };
        if let Some(Kind::File(content)) = root.entry(path).map(|e| &e.kind) {
            let text = String::from_utf8(content.read()?.to_vec())
                .with_context(|| format!("/{at} is not text"))?;
            let name = name.to_owned();
            out.push(Unit { at, name, text });
        }
    }
    Ok(out)
}

/// Makes the links that `systemctl enable` makes (systemd.unit(5), [Install] section), so that owners can disable them.
pub(super) fn enable(root: &mut Tree, unit: &Unit) -> Result<()> {
    // A template alone starts nothing.
    if unit.name.contains("@.") {
        return Ok(());
    }
    let install = unit
        .text
        .lines()
        .map(str::trim)
        .skip_while(|l| *l != "[Install]")
        .skip(1)
        .take_while(|l| !l.starts_with('['));
    for line in install {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        for name in value.split_whitespace() {
            let link = match key.trim() {
                "WantedBy" => format!("{OWN_UNITS}/{name}.wants/{}", unit.name),
                "RequiredBy" => format!("{OWN_UNITS}/{name}.requires/{}", unit.name),
                "Alias" => format!("{OWN_UNITS}/{name}"),
                _ => continue,
            };
            root.insert_symlink(&link, &format!("/{}", unit.at))?;
        }
    }
    Ok(())
}

/// Debian's os-release with the keys that HypriotOS always had.
fn os_release(root: &mut Tree, input: &Input<'_>) -> Result<()> {
    let path = "usr/lib/os-release";
    let text =
        String::from_utf8(root.read(path)?.to_vec()).context("/usr/lib/os-release is not text")?;
    let own = [
        "HYPRIOT_OS",
        "HYPRIOT_OS_VERSION",
        "HYPRIOT_DEVICE",
        "HYPRIOT_IMAGE_VERSION",
    ];
    let foreign = |l: &&str| {
        !own.iter()
            .any(|k| l.split_once('=').is_some_and(|(key, _)| key == *k))
    };
    let mut lines: Vec<String> = text.lines().filter(foreign).map(str::to_owned).collect();
    let (board, version) = (input.board, input.version);
    for (key, value) in own.iter().zip([
        format!("HypriotOS/{}", board.arch),
        format!("v{version}"),
        board.description.clone(),
        format!("v{version}"),
    ]) {
        ensure!(
            !value.contains(['"', '\\', '$', '`', '\n']),
            "{value:?} cannot stand in os-release"
        );
        lines.push(format!("{key}=\"{value}\""));
    }
    lines.push(String::new());
    root.insert_bytes(path, 0o644, lines.join("\n"))
}
