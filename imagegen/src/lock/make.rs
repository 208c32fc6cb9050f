//! Makes a lock: asks the archives, resolves, and writes down what came out.

use std::collections::BTreeMap;

use super::{
    FORMAT, Lock, LockError, LockedPackage, LockedRelease, LockedRepository, local, locked,
    request, tools,
};
use crate::arch::Arch;
use crate::inputs::board::Board;
use crate::inputs::recipe::{self, Recipe};
use crate::lock::repo::archive::{self, Sources};
use crate::lock::repo::index::Candidate;
use crate::lock::resolve::{self, ResolveError, Universe, Want};

/// Looks at the archive and decides on every package.
pub fn make(board: &Board, recipe: &Recipe, from: &Sources<'_>) -> Result<Lock, LockError> {
    let suite = recipe.suite.as_ref().unwrap_or(&board.suite);
    let mut releases = Vec::new();
    let (universe, names) = asked(board, recipe, suite, from, &mut releases)?;
    let mut roots = universe.essential().map_err(ResolveError::from)?;
    roots.extend(names.iter().chain(&board.packages).cloned());
    roots.dedup();
    let packages = resolve::resolve(&universe, &roots, &recipe.exclude)?;
    let boot_packages = boot(board, suite, &universe, from, &mut releases)?;
    let tools = helpers(board, suite, &packages, from, &mut releases)?;
    releases.sort_by(|a, b| (&a.archive, &a.suite).cmp(&(&b.archive, &b.suite)));
    releases.dedup();
    let own = recipe.repositories.iter().map(|r| LockedRepository {
        name: r.name.clone(),
        uri: r.uri.trim_end_matches('/').to_owned(),
    });
    Ok(Lock {
        format: FORMAT,
        board: board.name.clone(),
        arch: board.arch,
        suite: suite.clone(),
        request: request(board, recipe),
        releases,
        repositories: own.collect(),
        packages: packages.values().map(locked).collect::<Result<_, _>>()?,
        boot_packages,
        tools,
    })
}

/// Everything that may be taken, and the names of what is asked for.
fn asked(
    board: &Board,
    recipe: &Recipe,
    suite: &str,
    from: &Sources<'_>,
    releases: &mut Vec<LockedRelease>,
) -> Result<(Universe, Vec<String>), LockError> {
    let mut components: Vec<&str> = board.components.iter().map(String::as_str).collect();
    for component in &recipe.components {
        if !components.contains(&component.as_str()) {
            components.push(component);
        }
    }
    let mut universe = archive::universe(from, suite, board.arch.name(), &components, releases)?;
    for pin in &board.pins {
        let of_pin = pin.components.iter().map(String::as_str).collect();
        let components = if pin.components.is_empty() {
            &components
        } else {
            &of_pin
        };
        archive::pin(from, &mut universe, pin, components, releases)?;
    }
    for repository in &recipe.repositories {
        archive::repository(from, &mut universe, repository, releases)?;
    }
    let mut names = Vec::new();
    for text in &recipe.packages {
        let asked = recipe::package(text).map_err(|reason| LockError::File {
            path: format!("recipe {}", recipe.name),
            reason,
        })?;
        let name = asked.name.to_owned();
        if let Some(version) = asked.version {
            let want = Want::Version(version.to_owned());
            universe.wanted.insert(name.clone(), want);
        }
        if let Some(of) = asked.suite {
            if !universe.indices.iter().any(|i| i.suite == of) {
                archive::suite(from, &mut universe, of, &components, releases)?;
            }
            let want = Want::Suite(of.to_owned());
            universe.wanted.insert(name.clone(), want);
        }
        names.push(name);
    }
    if !recipe.debs.is_empty() {
        let (index, own) = local::index(recipe, board.arch.name())?;
        universe.indices.push(index);
        names.extend(own);
    }
    Ok((universe, names))
}

/// What a boot loader is made of: it may be of a newer suite than the system.
fn boot(
    board: &Board,
    suite: &str,
    universe: &Universe,
    from: &Sources<'_>,
    releases: &mut Vec<LockedRelease>,
) -> Result<Vec<LockedPackage>, LockError> {
    let mut out = Vec::new();
    for wanted in &board.boot_packages {
        let boot_suite = wanted.suite.as_deref().unwrap_or(suite);
        let held;
        let universe = if boot_suite == suite && board.components.contains(&wanted.component) {
            universe
        } else {
            let components = [&*wanted.component];
            held = archive::universe(from, boot_suite, board.arch.name(), &components, releases)?;
            &held
        };
        let candidate = universe
            .newest(&wanted.name)
            .map_err(ResolveError::from)?
            .ok_or_else(|| ResolveError::Unknown {
                name: wanted.name.clone(),
                arch: board.arch.to_string(),
                suite: boot_suite.to_owned(),
                similar: None,
            })?;
        out.push(locked(&candidate)?);
    }
    Ok(out)
}

/// Programs of the building machine's architecture that stand in for the board's while packages are configured.
fn helpers(
    board: &Board,
    suite: &str,
    packages: &BTreeMap<String, Candidate>,
    from: &Sources<'_>,
    releases: &mut Vec<LockedRelease>,
) -> Result<Vec<LockedPackage>, LockError> {
    let Some(host) = Arch::host().filter(|h| *h != board.arch) else {
        return Ok(Vec::new());
    };
    let universe = archive::universe(from, suite, host.name(), &["main"], releases)?;
    let wanted: Vec<String> = tools::TOOLS
        .iter()
        .filter(|t| packages.contains_key(**t))
        .map(|t| (*t).to_owned())
        .collect();
    let found = resolve::resolve(&universe, &wanted, &[])?;
    Ok(found.values().map(locked).collect::<Result<_, _>>()?)
}
