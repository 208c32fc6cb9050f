//! A recipe on top of another: which values win, and where each came from.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::check::{check, package, place};
use super::{DEFAULT, MAX_BYTES, Recipe, RecipeError, invalid};
use crate::inputs::container::Layout;
use crate::sha256::Sha256;

/// More recipes on each other are a circle.
const DEPTH: usize = 8;
/// A package or key file is not larger.
const FILE_MAX: u64 = 1 << 30;
/// The largest key file.
const KEY_MAX: usize = 1 << 20;

/// A value of a recipe, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Its key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The recipe it stands in.
    pub from: String,
}

/// Reads the text of one layer and checks its values.
pub(super) fn parse(origin: &str, text: &str) -> Result<Recipe, RecipeError> {
    // Windows' editors put a mark before the first line.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut recipe: Recipe = toml::from_str(text).map_err(|e| invalid(origin, e.to_string()))?;
    let wrong: Vec<String> = check(&recipe)
        .into_iter()
        .map(|o| {
            let (line, column) = place(text, &o.way);
            format!("line {line}, column {column}: {}", o.reason)
        })
        .collect();
    if !wrong.is_empty() {
        return Err(invalid(origin, wrong.join("\n  ")));
    }
    if !recipe.version.is_empty()
        && let Ok(version) = super::version(&recipe.version)
    {
        recipe.version = version.to_string();
    }
    recipe.origins = told(&recipe, origin);
    Ok(recipe)
}

/// Reads a file and everything below it.
pub(super) fn load(path: &Path) -> Result<Recipe, RecipeError> {
    let mut layers = vec![read(path)?];
    let mut at = path.to_owned();
    while let Some(base) = layers.last().and_then(|l| l.base.clone()) {
        let origin = at.display().to_string();
        if layers.len() == DEPTH {
            return Err(invalid(
                &origin,
                format!("{DEPTH} recipes lie on each other: the bases lead in a circle"),
            ));
        }
        if base == "default" {
            layers.push(parse("default (embedded)", DEFAULT)?);
            break;
        }
        at = at.parent().unwrap_or(Path::new(".")).join(&base);
        layers.push(read(&at)?);
    }
    let mut whole = layers.pop().unwrap_or_default();
    while let Some(upper) = layers.pop() {
        whole = merge(whole, upper);
    }
    self::whole(&path.display().to_string(), whole)
}

/// What only a whole recipe must say.
pub(super) fn whole(origin: &str, mut recipe: Recipe) -> Result<Recipe, RecipeError> {
    if recipe.version.is_empty() {
        return Err(invalid(
            origin,
            "it has no `version`, and no base that has one",
        ));
    }
    if recipe.packages.is_empty() {
        return Err(invalid(
            origin,
            "it names no packages; `base = \"default\"` brings those of every HypriotOS image",
        ));
    }
    recipe.base = None;
    Ok(recipe)
}

/// Reads one file, and what it names beside it.
fn read(path: &Path) -> Result<Recipe, RecipeError> {
    let error = |source| RecipeError::Read {
        path: path.to_owned(),
        source,
    };
    let len = std::fs::metadata(path).map_err(error)?.len();
    let origin = path.display().to_string();
    if len > MAX_BYTES {
        return Err(invalid(&origin, format!("{len} bytes are no recipe")));
    }
    let text = std::fs::read_to_string(path).map_err(error)?;
    let mut recipe = parse(&origin, &text)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let beside = |name: &Path| dir.join(name);
    let small = |name: &Path, most: u64| -> Result<Vec<u8>, RecipeError> {
        let at = beside(name);
        let error = |source| RecipeError::Read {
            path: at.clone(),
            source,
        };
        let meta = std::fs::metadata(&at).map_err(error)?;
        if !meta.is_file() || meta.len() > most {
            return Err(invalid(
                &origin,
                format!("{} is no file of at most {most} bytes", at.display()),
            ));
        }
        std::fs::read(&at).map_err(error)
    };
    recipe.files = recipe.files.as_deref().map(beside);
    for deb in &mut recipe.debs {
        deb.path = beside(&deb.path);
        let (sha256, len) = Sha256::of_file(&deb.path).map_err(|source| RecipeError::Read {
            path: deb.path.clone(),
            source,
        })?;
        if len > FILE_MAX {
            return Err(invalid(
                &origin,
                format!("{} has {len} bytes: this is no package", deb.path.display()),
            ));
        }
        deb.sha256 = Some(sha256);
    }
    for file in &mut recipe.file {
        if let Some(from) = &file.from {
            let bytes = small(from, 64 << 20)?;
            file.sha256 = Some(Sha256::of(&bytes));
            file.from = Some(beside(from));
        }
    }
    for container in &mut recipe.containers {
        if let Some(from) = container.from.take() {
            let at = beside(&from);
            let hash = Layout::open(&at).and_then(|layout| layout.sha256());
            container.sha256 = Some(hash.map_err(|e| invalid(&origin, e.to_string()))?);
            container.from = Some(at);
        }
    }
    for run in &mut recipe.runs {
        if let Some(from) = run.from.take() {
            let text = String::from_utf8(small(&from, MAX_BYTES)?);
            run.script =
                text.map_err(|_e| invalid(&origin, format!("{} is no text", from.display())))?;
        }
    }
    for repository in &mut recipe.repositories {
        if let Some(from) = repository.signed_by.take() {
            let bytes = small(&from, KEY_MAX as u64)?;
            let named = beside(&from);
            // OpenPGP: armor, or the tag of a public key packet (RFC 9580, 4.2). Whether it is one is seen when it is used.
            if !bytes.starts_with(b"-----BEGIN PGP PUBLIC KEY")
                && !matches!(bytes.first(), Some(0x98..=0x9b | 0xc6))
            {
                return Err(invalid(
                    &origin,
                    format!("{} is no OpenPGP public key", named.display()),
                ));
            }
            repository.key = match String::from_utf8(bytes) {
                Ok(text) if text.contains("-----BEGIN PGP") => text.replace("\r\n", "\n"),
                Ok(text) => format!("hex:{}", hex::encode(text)),
                Err(e) => format!("hex:{}", hex::encode(e.into_bytes())),
            };
        }
    }
    Ok(recipe)
}

/// `upper` on top of `base`: single values win, lists grow, tables of one name are replaced.
fn merge(base: Recipe, upper: Recipe) -> Recipe {
    let name_of = |text: &str| package(text).map_or(text.to_owned(), |p| p.name.to_owned());
    let own: Vec<String> = upper.packages.iter().map(|p| name_of(p)).collect();
    let mut packages: Vec<String> = base
        .packages
        .into_iter()
        .filter(|p| {
            let name = name_of(p);
            !own.contains(&name) && !upper.exclude.contains(&name)
        })
        .collect();
    for package in upper.packages {
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    // Whoever asks for what the base excludes means it.
    let exclude = base.exclude.into_iter().filter(|e| !own.contains(e));
    let exclude = joined(exclude.collect(), upper.exclude);
    let mut folders = base.base_files;
    folders.extend(base.files);
    let kept = |o: &Origin| o.key != "packages" || packages.contains(&o.value);
    let mut origins: Vec<Origin> = base.origins.into_iter().filter(|o| kept(o)).collect();
    for origin in upper.origins {
        if SINGLE.contains(&origin.key.as_str()) {
            origins.retain(|o| o.key != origin.key);
        }
        origins.retain(|o| (&o.key, &o.value) != (&origin.key, &origin.value));
        origins.push(origin);
    }
    Recipe {
        name: upper.name,
        version: if upper.version.is_empty() {
            base.version
        } else {
            upper.version
        },
        state_version: upper.state_version.or(base.state_version),
        base: None,
        board: upper.board.or(base.board),
        suite: upper.suite.or(base.suite),
        components: joined(base.components, upper.components),
        packages,
        exclude,
        path_exclude: joined(base.path_exclude, upper.path_exclude),
        path_include: joined(base.path_include, upper.path_include),
        hold: joined(base.hold, upper.hold),
        debs: joined(base.debs, upper.debs),
        files: upper.files,
        base_files: folders,
        hostname: upper.hostname.or(base.hostname),
        timezone: upper.timezone.or(base.timezone),
        wifi_country: upper.wifi_country.or(base.wifi_country),
        cmdline: joined(base.cmdline, upper.cmdline),
        enable: joined(base.enable, upper.enable),
        disable: joined(base.disable, upper.disable),
        mask: joined(base.mask, upper.mask),
        users: replaced(base.users, upper.users, |u| u.name.clone()),
        file: replaced(base.file, upper.file, |f| f.path.clone()),
        containers: replaced(base.containers, upper.containers, |c| c.image.clone()),
        repositories: replaced(base.repositories, upper.repositories, |r| r.name.clone()),
        runs: joined(base.runs, upper.runs),
        origins,
    }
}

/// Keys of which the uppermost alone counts.
const SINGLE: [&str; 8] = [
    "name",
    "version",
    "state-version",
    "board",
    "suite",
    "hostname",
    "timezone",
    "wifi-country",
];

fn joined<T: PartialEq>(mut base: Vec<T>, upper: Vec<T>) -> Vec<T> {
    for part in upper {
        if !base.contains(&part) {
            base.push(part);
        }
    }
    base
}

fn replaced<T, K: PartialEq>(mut base: Vec<T>, upper: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    base.retain(|b| !upper.iter().any(|u| key(u) == key(b)));
    base.extend(upper);
    base
}

/// Every value of one layer.
fn told(recipe: &Recipe, from: &str) -> Vec<Origin> {
    let mut out = Vec::new();
    let mut say = |key: &str, value: &str| {
        out.push(Origin {
            key: key.to_owned(),
            value: value.to_owned(),
            from: from.to_owned(),
        });
    };
    say("name", &recipe.name);
    if !recipe.version.is_empty() {
        say("version", &recipe.version);
    }
    if let Some(number) = recipe.state_version {
        say("state-version", &number.to_string());
    }
    for (key, value) in [
        ("board", &recipe.board),
        ("suite", &recipe.suite),
        ("hostname", &recipe.hostname),
        ("timezone", &recipe.timezone),
        ("wifi-country", &recipe.wifi_country),
    ] {
        if let Some(value) = value {
            say(key, value);
        }
    }
    for (key, list) in [
        ("components", &recipe.components),
        ("packages", &recipe.packages),
        ("exclude", &recipe.exclude),
        ("path-exclude", &recipe.path_exclude),
        ("path-include", &recipe.path_include),
        ("hold", &recipe.hold),
        ("cmdline", &recipe.cmdline),
        ("enable", &recipe.enable),
        ("disable", &recipe.disable),
        ("mask", &recipe.mask),
    ] {
        for value in list {
            say(key, value);
        }
    }
    recipe.debs.iter().for_each(|d| say("debs", &d.name));
    if let Some(files) = &recipe.files {
        say("files", &files.display().to_string());
    }
    recipe.users.iter().for_each(|u| say("user", &u.name));
    recipe.file.iter().for_each(|f| say("file", &f.path));
    recipe
        .repositories
        .iter()
        .for_each(|r| say("repository", &r.name));
    let containers = recipe.containers.iter();
    containers.for_each(|c| say("container", &c.image));
    recipe.runs.iter().for_each(|r| say("run", &r.name));
    out
}

/// Where each value of a recipe came from, for people.
pub fn origins(recipe: &Recipe) -> Vec<String> {
    let line = |o: &Origin| format!("{:<14} {:<40} {}", o.key, o.value, o.from);
    recipe.origins.iter().map(line).collect()
}

/// A commented recipe to begin with.
pub fn template(name: &str) -> String {
    format!(include_str!("../../../recipes/new.txt"), name = name)
}

impl Recipe {
    /// Takes from `given` what a recorded recipe names by its hash alone, and refuses what is another.
    pub fn attach(&self, given: Option<&Self>) -> Result<Self, String> {
        let mut out = self.clone();
        let hint = |what: &str| {
            format!(
                "{what} of the recipe is not in the image; give the recipe it was made with: --recipe FILE"
            )
        };
        for file in out.file.iter_mut().filter(|f| f.sha256.is_some()) {
            let same = |f: &&super::FileEntry| f.path == file.path && f.sha256 == file.sha256;
            let found = given.and_then(|g| g.file.iter().find(same));
            file.from = Some(
                found
                    .and_then(|f| f.from.clone())
                    .ok_or_else(|| hint(&file.path))?,
            );
        }
        for container in &mut out.containers {
            let same = |c: &&super::Container| {
                (&c.image, &c.sha256) == (&container.image, &container.sha256)
            };
            let found = given.and_then(|g| g.containers.iter().find(same));
            let from = found.and_then(|c| c.from.clone());
            container.from = Some(from.ok_or_else(|| hint(&container.image))?);
        }
        for deb in &mut out.debs {
            let found = given.and_then(|g| g.debs.iter().find(|d| d.sha256 == deb.sha256));
            deb.path = found.map_or_else(PathBuf::new, |d| d.path.clone());
        }
        if let Some(given) = given {
            out.files.clone_from(&given.files);
            out.base_files.clone_from(&given.base_files);
        }
        Ok(out)
    }

    /// The folders that are laid over the tree, the lowest first.
    pub fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.base_files.iter().chain(&self.files)
    }
}
