//! What a recipe's values must be. Every objection names the value's place in the file.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::Recipe;
use crate::inputs::userdata::{host_name, public_key};

mod containers;

/// One step of the way to a value: a key, or the number of a part.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Key(&'static str),
    Part(usize),
}

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Objection {
    pub(super) way: Vec<Step>,
    pub(super) reason: String,
}

/// A package as a recipe asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// The version wanted.
    pub version: Option<&'a str>,
    /// The suite it shall come from.
    pub suite: Option<&'a str>,
}

/// Reads `name`, `name=version` or `name/suite` (apt-get(8), "install").
pub fn package(text: &str) -> Result<Package<'_>, String> {
    let (name, version, suite) = if let Some((name, version)) = text.split_once('=') {
        (name, Some(version), None)
    } else if let Some((name, suite)) = text.split_once('/') {
        (name, None, Some(suite))
    } else {
        (text, None, None)
    };
    if text.contains('|') {
        return Err(format!(
            "`{text}`: a recipe names what it wants, not a choice; take one of them"
        ));
    }
    let extension = std::path::Path::new(text).extension();
    if extension.is_some_and(|e| e.eq_ignore_ascii_case("deb")) {
        return Err(format!("`{text}` is a file: put it into `debs = […]`"));
    }
    if name.contains(':') {
        return Err(format!(
            "`{text}`: an image holds packages of its board's architecture alone; leave `:…` away"
        ));
    }
    // Debian policy 5.6.1.
    let fits = name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    if !fits {
        return Err(format!("`{text}` is no name of a package"));
    }
    let word = |w: Option<&str>| {
        w.is_none_or(|w| {
            !w.is_empty()
                && w.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+-.:~_".contains(&b))
        })
    };
    if !word(version) || !word(suite) {
        return Err(format!("`{text}`: write name, name=version or name/suite"));
    }
    Ok(Package {
        name,
        version,
        suite,
    })
}

/// Everything that is wrong with the values of a recipe.
pub(super) fn check(recipe: &Recipe) -> Vec<Objection> {
    use Step::{Key, Part};

    let mut out = Vec::new();
    let mut say = |way: Vec<Step>, result: Result<(), String>| {
        if let Err(reason) = result {
            out.push(Objection { way, reason });
        }
    };
    say(vec![Key("name")], word(&recipe.name, "a name"));
    if !recipe.version.is_empty() {
        say(
            vec![Key("version")],
            super::version(&recipe.version).map(drop),
        );
    }
    for (key, list) in [
        ("packages", &recipe.packages),
        ("exclude", &recipe.exclude),
        ("hold", &recipe.hold),
    ] {
        for (n, text) in list.iter().enumerate() {
            let plain = |p: Package<'_>| match (p.version, p.suite) {
                (None, None) => Ok(()),
                _ if key == "packages" => Ok(()),
                _ => Err(format!("`{text}`: only the name can stand here")),
            };
            say(vec![Key(key), Part(n)], package(text).and_then(plain));
        }
    }
    patterns(recipe, &mut say);
    for (n, component) in recipe.components.iter().enumerate() {
        say(
            vec![Key("components"), Part(n)],
            word(component, "a component"),
        );
    }
    if let Some(name) = &recipe.hostname {
        let dotless = |()| {
            if name.contains('.') {
                Err("the host name has no dots".to_owned())
            } else {
                Ok(())
            }
        };
        say(vec![Key("hostname")], host_name(name).and_then(dotless));
    }
    if let Some(zone) = &recipe.timezone {
        let fits = !zone.is_empty()
            && !zone.starts_with('/')
            && !zone.contains("..")
            && zone
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b));
        say(
            vec![Key("timezone")],
            fits.then_some(()).ok_or_else(|| {
                format!("`{zone}` is no time zone; they are called as in Europe/Berlin")
            }),
        );
    }
    if let Some(country) = &recipe.wifi_country {
        let known = crate::inputs::userdata::country(country);
        say(vec![Key("wifi-country")], known.map(drop));
    }
    for (n, argument) in recipe.cmdline.iter().enumerate() {
        say(vec![Key("cmdline"), Part(n)], kernel_argument(argument));
    }
    for (key, list) in [
        ("enable", &recipe.enable),
        ("disable", &recipe.disable),
        ("mask", &recipe.mask),
    ] {
        for (n, name) in list.iter().enumerate() {
            let fits = !name.is_empty()
                && !name.contains('/')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b));
            say(
                vec![Key(key), Part(n)],
                fits.then_some(())
                    .ok_or_else(|| format!("`{name}` is no name of a unit")),
            );
        }
    }
    users(recipe, &mut say);
    files(recipe, &mut say);
    repositories(recipe, &mut say);
    containers::check(recipe, &mut say);
    for (n, run) in recipe.runs.iter().enumerate() {
        let result = match (run.script.is_empty(), &run.from) {
            (true, None) => Err("a step needs `script` or `from`".to_owned()),
            (false, Some(_)) => Err("a step has either `script` or `from`".to_owned()),
            _ => Ok(()),
        };
        say(vec![Key("run"), Part(n)], result);
    }
    out
}

type Say<'a> = dyn FnMut(Vec<Step>, Result<(), String>) + 'a;

fn users(recipe: &Recipe, say: &mut Say<'_>) {
    use Step::{Key, Part};
    for (n, user) in recipe.users.iter().enumerate() {
        let at = |key| vec![Key("user"), Part(n), Key(key)];
        let fits = |name: &str| {
            !name.is_empty()
                && name.len() <= 32
                && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
        };
        let is_name = |name: &str| {
            fits(name).then_some(()).ok_or_else(|| {
                format!("`{name}` cannot be a name: small letters, digits, - and _, at most 32")
            })
        };
        say(at("name"), is_name(&user.name));
        if user.name == "root" {
            say(
                at("name"),
                Err("root is there already, and nobody logs in as root".to_owned()),
            );
        }
        for group in &user.groups {
            say(at("groups"), is_name(group));
        }
        for key in &user.ssh_keys {
            say(at("ssh-keys"), public_key(key));
        }
        if user.ssh_keys.is_empty() {
            say(
                vec![Key("user"), Part(n)],
                Err(format!(
                    "`{}` has no `ssh-keys`: nobody could log in (passwords belong into user-data: an image is the same on every card)",
                    user.name
                )),
            );
        }
        if !user.shell.starts_with('/') || user.shell.contains(char::is_whitespace) {
            say(
                at("shell"),
                Err(format!("`{}` is no path of a program", user.shell)),
            );
        }
        if user.gecos.contains([':', '\n', '"']) {
            say(
                at("gecos"),
                Err("no colon, quote or line end can stand here".to_owned()),
            );
        }
        if user.uid.is_some_and(|u| !(1000..60_000).contains(&u)) {
            say(
                at("uid"),
                Err("users have numbers from 1000 to 59999 (Debian policy 9.2.2)".to_owned()),
            );
        }
    }
}

fn files(recipe: &Recipe, say: &mut Say<'_>) {
    use Step::{Key, Part};
    for (n, file) in recipe.file.iter().enumerate() {
        let at = |key| vec![Key("file"), Part(n), Key(key)];
        let parts = file.path.trim_start_matches('/').split('/');
        if !file.path.starts_with('/')
            || parts.clone().any(|p| p.is_empty() || p == "." || p == "..")
            || file.path.contains('\0')
        {
            say(
                at("path"),
                Err(format!("`{}` is no path of a file from / on", file.path)),
            );
        }
        let given = usize::from(file.content.is_some())
            + usize::from(file.from.is_some() || file.sha256.is_some());
        if given != 1 {
            say(
                vec![Key("file"), Part(n)],
                Err(format!("{} needs either `content` or `from`", file.path)),
            );
        }
        if u32::from_str_radix(&file.mode, 8).is_ok_and(|m| m <= 0o7777) {
        } else {
            say(
                at("mode"),
                Err(format!(
                    "`{}` is no mode; write four octal digits, as in \"0644\"",
                    file.mode
                )),
            );
        }
        for (key, name) in [("owner", &file.owner), ("group", &file.group)] {
            say(at(key), word(name, "a name or a number"));
        }
    }
}

fn repositories(recipe: &Recipe, say: &mut Say<'_>) {
    use Step::{Key, Part};
    for (n, repository) in recipe.repositories.iter().enumerate() {
        let at = |key| vec![Key("repository"), Part(n), Key(key)];
        say(at("name"), word(&repository.name, "a name"));
        if ["main", "security", "local"].contains(&repository.name.as_str()) {
            say(
                at("name"),
                Err(format!(
                    "`{}` is the name of another archive",
                    repository.name
                )),
            );
        }
        let web = ["http://", "https://"]
            .iter()
            .any(|s| repository.uri.to_lowercase().starts_with(s));
        if !web || repository.uri.contains(char::is_whitespace) {
            say(
                at("uri"),
                Err(format!(
                    "`{}` is no address that begins with http:// or https://",
                    repository.uri
                )),
            );
        }
        if repository.suites.is_empty() {
            say(
                at("suites"),
                Err("an archive has at least one suite".to_owned()),
            );
        }
        for suite in &repository.suites {
            let flat = suite.ends_with('/');
            if suite.contains(char::is_whitespace)
                || suite.split('/').any(|p| p == "..")
                || suite.starts_with('/')
            {
                say(at("suites"), Err(format!("`{suite}` is no suite")));
            } else if flat != repository.components.is_empty() {
                say(
                    at("components"),
                    Err(format!(
                        "a suite like `trixie` has components (`main`), a flat one (`{suite}` with / at its end) has none"
                    )),
                );
            }
        }
        if repository.signed_by.is_none() && repository.key.is_empty() {
            say(
                vec![Key("repository"), Part(n)],
                Err(format!(
                    "`{}` has no `signed-by`: unsigned archives are not taken",
                    repository.name
                )),
            );
        }
        for name in &repository.packages {
            say(at("packages"), package(name).map(drop));
        }
    }
}

fn patterns(recipe: &Recipe, say: &mut Say<'_>) {
    for (key, list) in [
        ("path-exclude", &recipe.path_exclude),
        ("path-include", &recipe.path_include),
    ] {
        for (n, pattern) in list.iter().enumerate() {
            say(vec![Step::Key(key), Step::Part(n)], path_pattern(pattern));
        }
    }
}

/// What dpkg takes as a pattern for files (dpkg(1), `path-exclude`).
fn path_pattern(text: &str) -> Result<(), String> {
    let depth = text.matches('/').count();
    if !text.starts_with('/') || text.contains('\n') {
        return Err(format!(
            "`{text}` is no pattern of a path from / on, as in /usr/share/doc/*"
        ));
    }
    if depth < 2 || text.starts_with("/*") {
        return Err(format!("`{text}` would leave out most of a system"));
    }
    Ok(())
}

fn word(text: &str, what: &str) -> Result<(), String> {
    let fits = !text.is_empty()
        && text.len() <= 100
        && !text.starts_with(['-', '.'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b));
    fits.then_some(())
        .ok_or_else(|| format!("`{text}` is no {}", what.trim_start_matches("a ")))
}

/// What can stand in a boot script and is not the boot loader's own.
fn kernel_argument(text: &str) -> Result<(), String> {
    const OURS: [&str; 7] = [
        "root=",
        "rootfstype=",
        "ro",
        "rw",
        "init=",
        "panic=",
        "hypriot.",
    ];
    if text.is_empty()
        || !text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"'\\$;`&|<>".contains(&b))
    {
        return Err(format!(
            "`{text}` cannot be an argument of the kernel: one word, without quotes or $ ; & | < >"
        ));
    }
    if text == "--" {
        return Err(
            "`--` ends the kernel's arguments: what updates depend on comes behind it".into(),
        );
    }
    if let Some(own) = OURS.iter().find(|o| {
        text == o.trim_end_matches('=') || (o.ends_with(['=', '.']) && text.starts_with(**o))
    }) {
        return Err(format!(
            "`{text}`: {own} is the board's, updates depend on it"
        ));
    }
    Ok(())
}

/// Line and column, from 1, of a value in the text of a recipe.
pub(super) fn place(text: &str, way: &[Step]) -> (usize, usize) {
    let span = find(text, way).unwrap_or(0..0);
    let before = &text[..span.start.min(text.len())];
    let line = before.matches('\n').count() + 1;
    (
        line,
        before.chars().rev().take_while(|c| *c != '\n').count() + 1,
    )
}

fn find(text: &str, way: &[Step]) -> Option<Range<usize>> {
    let whole = DeTable::parse(text).ok()?;
    let mut span = whole.span();
    let mut table = Some(whole.get_ref());
    let mut array = None;
    for step in way {
        let next = match (step, table, array) {
            (Step::Key(key), Some(table), _) => table.get(*key),
            (Step::Part(n), _, Some(array)) => {
                let array: &toml::de::DeArray<'_> = array;
                array.get(*n)
            }
            _ => None,
        };
        // What is not written has the place of what it belongs to.
        let Some(next) = next else { break };
        span = next.span();
        (table, array) = match next.get_ref() {
            DeValue::Table(table) => (Some(table), None),
            DeValue::Array(array) => (None, Some(array)),
            _ => (None, None),
        };
    }
    Some(span)
}
