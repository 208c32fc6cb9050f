//! What a recipe says of a system besides packages and folders: names, users, single files, units, archives for apt.
//!
//! It ends in the tree, so it comes with every update. Users are declared to systemd-sysusers and their keys lie below
//! `/etc/ssh/authorized_keys.d`: boards that run already, with an `/etc/passwd` of their own, get them with the update that
//! brings them, and lose the keys with the one that takes them away.

use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;

use super::root::{OWN_UNITS, UNITS, Unit, enable};
use crate::inputs::board::Board;
use crate::inputs::near::closest;
use crate::inputs::recipe::{self, FileEntry, Recipe, Repository, User};
use crate::tree::{Content, Entry, Kind, Tree};

/// The name of images for which a recipe gives no other.
pub(super) const HOST_NAME: &str = "black-pearl";
/// Where sshd finds the keys of a recipe's users.
const KEYS: &str = "etc/ssh/authorized_keys.d";

/// The files of a recipe as a folder that is laid over the tree: `[[file]]`, `[[user]]`, `[[container]]`,
/// `[[repository]]` and the settings.
pub fn folder(
    root: &Tree,
    recipe: &Recipe,
    board: &Board,
    version: &semver::Version,
) -> Result<Tree> {
    let mut out = Tree::new(root.epoch());
    settings(&mut out, root, recipe)?;
    users(&mut out, &recipe.users)?;
    super::containers::add(&mut out, &recipe.containers, board.arch)?;
    for repository in &recipe.repositories {
        source(&mut out, repository)?;
    }
    for file in &recipe.file {
        one_file(&mut out, root, file, recipe, board, version)
            .with_context(|| format!("the recipe's [[file]] {}", file.path))?;
    }
    Ok(out)
}

fn settings(out: &mut Tree, root: &Tree, recipe: &Recipe) -> Result<()> {
    // Not the packages' own: every image has the project's.
    let hosts = super::SKEL
        .get_file("etc/hosts")
        .and_then(|f| f.contents_utf8());
    if let Some(name) = &recipe.hostname {
        out.insert_bytes("etc/hostname", 0o644, format!("{name}\n"))?;
        let hosts = hosts
            .context("the project has /etc/hosts")?
            .replace(HOST_NAME, name);
        out.insert_bytes("etc/hosts", 0o644, hosts)?;
    }
    if let Some(zone) = &recipe.timezone {
        let path = format!("usr/share/zoneinfo/{zone}");
        ensure!(
            root.resolve(&path).is_some(),
            "the recipe's timezone {zone} is not in the image (/{path}); they are called as in Europe/Berlin, and the package tzdata \
             has them (tzdata-legacy the old names)"
        );
        // timedatectl(1), localtime(5): a link whose target names the zone.
        out.insert_symlink("etc/localtime", &format!("/{path}"))?;
        out.insert_bytes("etc/timezone", 0o644, format!("{zone}\n"))?;
    }
    if let Some(country) = &recipe.wifi_country {
        let line = format!("options cfg80211 ieee80211_regdom={country}\n");
        out.insert_bytes("etc/modprobe.d/hypriot-wifi-country.conf", 0o644, line)?;
    }
    Ok(())
}

fn users(out: &mut Tree, users: &[User]) -> Result<()> {
    if users.is_empty() {
        return Ok(());
    }
    let (mut accounts, mut homes) = (String::new(), String::new());
    for user in users {
        let name = &user.name;
        let id = user.uid.map_or("-".to_owned(), |u| u.to_string());
        // sysusers.d(5): type, name, id, gecos, home, shell.
        writeln!(
            accounts,
            "u {name} {id} \"{}\" /home/{name} {}",
            user.gecos, user.shell
        )?;
        for group in &user.groups {
            writeln!(accounts, "m {name} {group}")?;
        }
        // tmpfiles.d(5). /home lies on the data partition.
        writeln!(homes, "d /home/{name} 0750 {name} {name} -")?;
        for file in [".profile", ".bashrc"] {
            writeln!(
                homes,
                "C /home/{name}/{file} 0644 {name} {name} - /etc/skel/{file}"
            )?;
        }
        let keys = user.ssh_keys.iter().map(|k| format!("{}\n", k.trim()));
        out.insert_bytes(&format!("{KEYS}/{name}"), 0o644, keys.collect::<String>())?;
        if user.sudo {
            let line = format!("{name} ALL=(ALL:ALL) NOPASSWD: ALL\n");
            out.insert_bytes(&format!("etc/sudoers.d/recipe-{name}"), 0o440, line)?;
        }
    }
    out.insert_bytes("usr/lib/sysusers.d/hypriot-recipe.conf", 0o644, accounts)?;
    out.insert_bytes("usr/lib/tmpfiles.d/hypriot-recipe.conf", 0o644, homes)?;
    // sshd_config(5): what stands first counts, so Debian's and cloud-init's own place stays the first of the list.
    out.insert_bytes(
        "etc/ssh/sshd_config.d/10-hypriot-recipe.conf",
        0o644,
        "AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /etc/ssh/authorized_keys.d/%u\n",
    )
}

fn pin(packages: &str, host: &str, priority: i32) -> String {
    format!("Package: {packages}\nPin: origin \"{host}\"\nPin-Priority: {priority}\n")
}

/// The archive in apt's own words, so that the board knows it, too (sources.list(5), "DEB822-STYLE FORMAT").
fn source(out: &mut Tree, repository: &Repository) -> Result<()> {
    let key = format!("etc/apt/keyrings/{}", repository.key_name());
    let mut text = format!(
        "Types: deb\nURIs: {}\nSuites: {}\n",
        repository.uri,
        repository.suites.join(" ")
    );
    if !repository.components.is_empty() {
        writeln!(text, "Components: {}", repository.components.join(" "))?;
    }
    writeln!(text, "Signed-By: /{key}")?;
    out.insert_bytes(&key, 0o644, repository.key_bytes())?;
    let name = &repository.name;
    out.insert_bytes(
        &format!("etc/apt/sources.list.d/{name}.sources"),
        0o644,
        text,
    )?;
    let mut pins = String::new();
    // apt_preferences(5): of an archive that is trusted with some packages, no others are taken on the board either.
    let host = repository.uri.split('/').nth(2).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    if !repository.packages.is_empty() {
        let list = repository.packages.join(" ");
        pins = pin("*", host, -1) + "\n" + &pin(&list, host, repository.priority);
    } else if repository.priority != 500 {
        pins = pin("*", host, repository.priority);
    }
    if !pins.is_empty() {
        out.insert_bytes(&format!("etc/apt/preferences.d/{name}"), 0o644, pins)?;
    }
    Ok(())
}

fn one_file(
    out: &mut Tree,
    root: &Tree,
    file: &FileEntry,
    recipe: &Recipe,
    board: &Board,
    version: &semver::Version,
) -> Result<()> {
    let bytes = match (&file.content, &file.from) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(from)) => {
            let bytes =
                std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            let now = crate::sha256::Sha256::of(&bytes);
            ensure!(
                file.sha256 == Some(now),
                "{} changed while the image was built",
                from.display()
            );
            bytes
        }
        (None, None) => bail!("it has neither `content` nor `from`"),
    };
    let bytes = if file.template {
        let text = String::from_utf8(bytes).context("a template must be text")?;
        filled(&text, recipe, board, version)?.into_bytes()
    } else {
        bytes
    };
    let mode = u16::from_str_radix(&file.mode, 8).context("its mode")?;
    let path = file.path.trim_start_matches('/');
    out.insert_entry(
        path.as_bytes().to_vec(),
        Entry {
            kind: Kind::File(Content::Bytes(bytes.into())),
            mode,
            uid: id(root, "etc/passwd", &file.owner).context("its owner")?,
            gid: id(root, "etc/group", &file.group).context("its group")?,
            mtime: root.epoch(),
            xattrs: std::collections::BTreeMap::default(),
            link: None,
        },
    )
}

/// The number of a user or group of the image (passwd(5), group(5)).
fn id(root: &Tree, path: &str, name: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = root.read(path)?;
    let text = String::from_utf8_lossy(&text);
    let rows = || text.lines().map(|l| l.split(':').collect::<Vec<_>>());
    if let Some(row) = rows().find(|r| r[0] == name && r.len() > 2) {
        return row[2]
            .parse()
            .with_context(|| format!("/{path} has no number for {name}"));
    }
    let names: Vec<String> = rows().map(|r| r[0].to_owned()).collect();
    let near = closest(name, names.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
    bail!(
        "/{path} of the image has no {name}{near}; users of the recipe are made on the board and have no number yet"
    )
}

/// A text with its `{{ words }}` replaced.
fn filled(text: &str, recipe: &Recipe, board: &Board, version: &semver::Version) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..].find("}}").context("a `{{` without `}}`")? + start;
        let word = rest[start + 2..end].trim();
        out += &rest[..start];
        out += &match word {
            "hostname" => recipe
                .hostname
                .clone()
                .unwrap_or_else(|| HOST_NAME.to_owned()),
            "name" => recipe.name.clone(),
            "board" => board.name.clone(),
            "arch" => board.arch.to_string(),
            "suite" => recipe.suite.clone().unwrap_or_else(|| board.suite.clone()),
            "version" => version.to_string(),
            other => {
                bail!("`{{{{ {other} }}}}` is none of hostname, name, board, arch, suite, version")
            }
        };
        rest = &rest[end + 2..];
    }
    Ok(out + rest)
}

/// Enables, disables and masks the units that a recipe names.
pub(super) fn units(root: &mut Tree, recipe: &Recipe) -> Result<()> {
    for name in &recipe.enable {
        let unit = found(root, &recipe::unit(name)).context("the recipe's `enable`")?;
        ensure!(
            unit.text.lines().any(|l| l.trim() == "[Install]"),
            "the recipe's `enable`: {} says nothing about when it starts ([Install]); other units start it",
            unit.name
        );
        enable(root, &unit)?;
    }
    for name in recipe.disable.iter().chain(&recipe.mask) {
        let unit = recipe::unit(name);
        let links: Vec<String> = root
            .below(OWN_UNITS.as_bytes())
            .filter(|(path, entry)| {
                matches!(&entry.kind, Kind::Symlink(_))
                    && path.rsplit(|b| *b == b'/').next() == Some(unit.as_bytes())
            })
            .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
            .collect();
        ensure!(
            !links.is_empty() || recipe.mask.contains(name) || found(root, &unit).is_ok(),
            "the recipe's `disable`: there is no unit {unit} in the image"
        );
        for link in links {
            root.remove(&link)?;
        }
    }
    for name in &recipe.mask {
        // systemctl(1), "mask".
        root.insert_symlink(&format!("{OWN_UNITS}/{}", recipe::unit(name)), "/dev/null")?;
    }
    Ok(())
}

fn found(root: &Tree, name: &str) -> Result<Unit> {
    // An instance is of its template (systemd.unit(5)).
    let file = match name.split_once('@') {
        Some((before, after)) => format!(
            "{before}@.{}",
            after.rsplit('.').next().unwrap_or("service")
        ),
        None => name.to_owned(),
    };
    for dir in [OWN_UNITS, UNITS] {
        let at = format!("{dir}/{file}");
        if let Ok(bytes) = root.read(&at) {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            return Ok(Unit {
                at,
                name: name.to_owned(),
                text,
            });
        }
    }
    let names: Vec<String> = root
        .below(UNITS.as_bytes())
        .filter_map(|(p, _)| {
            Some(
                String::from_utf8_lossy(p)
                    .strip_prefix(UNITS)?
                    .trim_start_matches('/')
                    .to_owned(),
            )
        })
        .collect();
    let near = closest(name, names.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
    bail!("there is no unit {name} in the image{near}")
}

/// Packages that apt must not replace, in dpkg's own record (dpkg(1), "hold").
pub(super) fn hold(root: &mut Tree, packages: &[String]) -> Result<()> {
    const STATUS: &str = "var/lib/dpkg/status";
    if packages.is_empty() {
        return Ok(());
    }
    let text = root.read(STATUS)?;
    let mut text = String::from_utf8(text.to_vec()).context("dpkg's status is not text")?;
    for name in packages {
        let head = format!("Package: {name}\n");
        let at = if text.starts_with(&head) {
            Some(0)
        } else {
            text.find(&format!("\n{head}"))
        };
        let at = at.with_context(|| format!("the recipe's `hold`: {name} is not in the image"))?;
        let (before, after) = text.split_at(at);
        text = format!(
            "{before}{}",
            after.replacen(
                "Status: install ok installed",
                "Status: hold ok installed",
                1
            )
        );
    }
    root.insert_bytes(STATUS, 0o644, text)
}
