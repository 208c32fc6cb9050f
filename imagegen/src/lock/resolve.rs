//! Owns which packages make a working set: the newest version of each, the first alternative that can be installed, conflicts
//! checked. Deterministic, and proven equal to `apt-get -s install` on the real recipes (`tests/resolver.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use debian_packaging::dependency::{
    DependencyList, DependencyVersionConstraint, SingleDependency, VersionRelationship,
};

use crate::lock::repo::RepoError;
use crate::lock::repo::index::{Candidate, Index};
use crate::lock::repo::version::Version;

mod error;

pub use crate::inputs::near::closest;
pub use error::ResolveError;

/// All packages of all suites in use, for one architecture.
#[derive(Debug)]
pub struct Universe {
    /// Architecture.
    pub arch: String,
    /// Main suite, for messages.
    pub suite: String,
    /// The lists of packages.
    pub indices: Vec<Index>,
    /// Packages of which a recipe wants a version, or one of a suite.
    pub wanted: BTreeMap<String, Want>,
}

/// Which version of a package is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// This one.
    Version(String),
    /// The newest of this suite.
    Suite(String),
}

impl Want {
    fn fits(&self, candidate: &Candidate) -> bool {
        match self {
            Self::Version(version) => Version::new(version) == candidate.version,
            Self::Suite(suite) => *suite == candidate.suite,
        }
    }
}

type Provided = (String, Option<Version>);

/// A package taken, with what it provides.
#[derive(Debug)]
struct Taken {
    candidate: Candidate,
    provides: Vec<Provided>,
    excludes: Vec<SingleDependency>,
}

impl Universe {
    /// The version of a package that would be installed: the newest of all suites, the first listed where two are equal.
    pub fn newest(&self, name: &str) -> Result<Option<Candidate>, RepoError> {
        let want = self.wanted.get(name);
        let mut best: Option<(i32, Candidate)> = None;
        for index in &self.indices {
            for candidate in index.named(name)? {
                // Whoever names a version or a suite means it, whatever the priorities are.
                let priority = match want {
                    Some(want) if !want.fits(&candidate) => continue,
                    Some(_) => 0,
                    None if index.priority < 0 => continue,
                    None => index.priority,
                };
                let better = best
                    .as_ref()
                    .is_none_or(|(p, b)| (priority, &candidate.version) > (*p, &b.version));
                if better {
                    best = Some((priority, candidate));
                }
            }
        }
        Ok(best.map(|(_, candidate)| candidate))
    }

    /// The newest version of a package in one suite.
    fn newest_of(&self, name: &str, suite: &str) -> Result<Option<Candidate>, RepoError> {
        let mut best: Option<Candidate> = None;
        for index in self.indices.iter().filter(|i| i.suite == suite) {
            for candidate in index.named(name)? {
                if best.as_ref().is_none_or(|b| candidate.version > b.version) {
                    best = Some(candidate);
                }
            }
        }
        Ok(best)
    }

    /// The versions that there are, for whoever wants another.
    fn versions(&self, name: &str) -> Result<Vec<String>, RepoError> {
        let mut out = Vec::new();
        for index in &self.indices {
            for candidate in index.named(name)? {
                out.push(format!("{} ({})", candidate.version, candidate.suite));
            }
        }
        Ok(out)
    }

    /// What `from` has of these sources is taken from there, and no other version of it.
    pub fn pin(&mut self, sources: &[String], mut from: Vec<Index>) {
        for index in &mut from {
            index.retain(|_, source| sources.iter().any(|s| s == source));
        }
        let pinned: BTreeSet<&str> = from.iter().flat_map(Index::names).collect();
        for index in &mut self.indices {
            index.retain(|name, _| !pinned.contains(name));
        }
        self.indices.extend(from);
    }

    /// Packages every system must have, of all suites.
    pub fn essential(&self) -> Result<Vec<String>, RepoError> {
        let mut names = BTreeSet::new();
        for index in &self.indices {
            names.extend(index.essential()?);
        }
        Ok(names.into_iter().collect())
    }

    /// Newest versions that provide a name, best first: higher priority, then name.
    fn providers(&self, name: &str) -> Result<Vec<Candidate>, RepoError> {
        let mut names = BTreeSet::new();
        for index in &self.indices {
            names.extend(index.providing(name)?.into_iter().map(|c| c.name));
        }
        let mut found = Vec::new();
        for n in names {
            found.extend(self.newest(&n)?);
        }
        found.sort_by_key(|c| {
            (
                c.field("Essential") != Some("yes"),
                priority(c),
                c.name.clone(),
            )
        });
        Ok(found)
    }

    /// The package that alone provides a name. Of several, apt takes none (cacheset.cc, "is a virtual package provided by").
    fn only_provider(&self, name: &str) -> Result<Candidate, ResolveError> {
        let mut all = self.providers(name)?;
        match (all.pop(), all.is_empty()) {
            (None, _) => Err(self.unknown(name)),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                let mut providers: Vec<String> = all.into_iter().map(|c| c.name).collect();
                providers.push(last.name);
                let name = name.to_owned();
                Err(ResolveError::Virtual { name, providers })
            }
        }
    }

    fn unknown(&self, name: &str) -> ResolveError {
        let names = self.indices.iter().flat_map(Index::names);
        ResolveError::Unknown {
            name: name.to_owned(),
            arch: self.arch.clone(),
            suite: self.suite.clone(),
            similar: closest(name, names).map(str::to_owned),
        }
    }
}

fn priority(c: &Candidate) -> usize {
    ["required", "important", "standard", "optional", "extra"]
        .iter()
        .position(|p| c.field("Priority") == Some(p))
        .unwrap_or(9)
}

/// The packages that `roots` need, themselves included, by name.
pub fn resolve(
    universe: &Universe,
    roots: &[String],
    exclude: &[String],
) -> Result<BTreeMap<String, Candidate>, ResolveError> {
    let mut solver = Solver {
        universe,
        taken: HashMap::new(),
        exclude,
    };
    let mut first = Vec::new();
    // All that was asked for is taken before anything it needs, so that it decides between alternatives (as apt does).
    for name in roots {
        let candidate = match universe.newest(name)? {
            Some(c) => c,
            None if universe.wanted.contains_key(name) => {
                return Err(ResolveError::NoVersion {
                    name: name.clone(),
                    wanted: match &universe.wanted[name] {
                        Want::Version(version) => format!("version {version}"),
                        Want::Suite(suite) => format!("version in {suite}"),
                    },
                    there: universe.versions(name)?,
                });
            }
            None => universe.only_provider(name)?,
        };
        let real = candidate.name.clone();
        if solver.take(candidate, "the recipe")? {
            first.push(real);
        }
    }
    for name in first {
        solver.follow(&name)?;
    }
    solver.check_conflicts()?;
    Ok(solver
        .taken
        .into_iter()
        .map(|(name, t)| (name, t.candidate))
        .collect())
}

struct Solver<'a> {
    universe: &'a Universe,
    taken: HashMap<String, Taken>,
    exclude: &'a [String],
}

impl Solver<'_> {
    fn take(&mut self, candidate: Candidate, by: &str) -> Result<bool, ResolveError> {
        if self.exclude.contains(&candidate.name) {
            return Err(ResolveError::Excluded {
                package: by.to_owned(),
                excluded: candidate.name,
            });
        }
        let provides = provides(&candidate)?;
        let mut excludes = Vec::new();
        for field in ["Conflicts", "Breaks"] {
            excludes.extend(relations(&candidate, field)?.into_iter().flatten());
        }
        let name = candidate.name.clone();
        Ok(self
            .taken
            .insert(
                name,
                Taken {
                    candidate,
                    provides,
                    excludes,
                },
            )
            .is_none())
    }

    /// Takes what a package needs, depth first. The stack is ours: a chain of packages may be long.
    fn follow(&mut self, name: &str) -> Result<(), ResolveError> {
        let mut stack = vec![self.needs(name)?.into_iter()];
        let mut names = vec![name.to_owned()];
        while let Some(top) = stack.last_mut() {
            let Some(group) = top.next() else {
                stack.pop();
                names.pop();
                continue;
            };
            if group.iter().any(|d| self.satisfied(d)) {
                continue;
            }
            let by = names.last().cloned().unwrap_or_default();
            let chosen = self.choose(&by, &group)?;
            let chosen_name = chosen.name.clone();
            self.take(chosen, &by)?;
            stack.push(self.needs(&chosen_name)?.into_iter());
            names.push(chosen_name);
        }
        Ok(())
    }

    fn needs(&self, name: &str) -> Result<Vec<Vec<SingleDependency>>, ResolveError> {
        let Some(taken) = self.taken.get(name) else {
            return Ok(Vec::new());
        };
        let mut groups = relations(&taken.candidate, "Pre-Depends")?;
        groups.extend(relations(&taken.candidate, "Depends")?);
        Ok(groups)
    }

    fn satisfied(&self, dependency: &SingleDependency) -> bool {
        let by_itself = self
            .taken
            .get(&dependency.package)
            .is_some_and(|t| fits(dependency, &t.candidate.version));
        by_itself
            || self
                .taken
                .values()
                .any(|t| t.provides.iter().any(|p| provides_fits(dependency, p)))
    }

    fn choose(&self, by: &str, group: &[SingleDependency]) -> Result<Candidate, ResolveError> {
        let mut why = None;
        for dependency in group {
            let mut options: Vec<Candidate> = self
                .universe
                .newest(&dependency.package)?
                .into_iter()
                .filter(|c| fits(dependency, &c.version))
                .collect();
            for provider in self.universe.providers(&dependency.package)? {
                if provider.name != dependency.package
                    && provides(&provider)?
                        .iter()
                        .any(|p| provides_fits(dependency, p))
                {
                    options.push(provider);
                }
            }
            for option in options {
                if self.exclude.contains(&option.name) {
                    why = why.or(Some(format!("the recipe excludes {}", option.name)));
                    continue;
                }
                match self.excluded_by(&option)? {
                    None => return Ok(option),
                    Some(reason) => why = why.or(Some(reason)),
                }
            }
        }
        // As `apt-get install name/suite` does: what such a package needs may come from its suite, too.
        if let Some(suite) = self.chosen_suite(by) {
            for dependency in group {
                let found = self.universe.newest_of(&dependency.package, &suite)?;
                if let Some(option) = found.filter(|c| fits(dependency, &c.version))
                    && !self.exclude.contains(&option.name)
                    && self.excluded_by(&option)?.is_none()
                {
                    return Ok(option);
                }
            }
        }
        let dependency = group
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" | ");
        Err(ResolveError::Unmet {
            package: by.to_owned(),
            dependency,
            why,
        })
    }

    /// The suite a package was taken from, if that is not where packages come from by themselves.
    fn chosen_suite(&self, name: &str) -> Option<String> {
        let suite = &self.taken.get(name)?.candidate.suite;
        let mut indices = self.universe.indices.iter();
        let index = indices.find(|i| i.suite == *suite)?;
        (index.priority < 500).then(|| suite.clone())
    }

    /// Which package of the set stands against this one.
    fn excluded_by(&self, option: &Candidate) -> Result<Option<String>, ResolveError> {
        let mine = provides(option)?;
        for taken in self.taken.values() {
            if taken.candidate.name != option.name
                && taken
                    .excludes
                    .iter()
                    .any(|x| hits(x, &option.name, &option.version, &mine))
            {
                return Ok(Some(format!(
                    "{} excludes {}",
                    taken.candidate.name, option.name
                )));
            }
        }
        for field in ["Conflicts", "Breaks"] {
            for x in relations(option, field)?.into_iter().flatten() {
                let against = |t: &&Taken| {
                    t.candidate.name != option.name
                        && hits(&x, &t.candidate.name, &t.candidate.version, &t.provides)
                };
                if let Some(t) = self.taken.values().find(against) {
                    return Ok(Some(format!(
                        "{} excludes {}",
                        option.name, t.candidate.name
                    )));
                }
            }
        }
        Ok(None)
    }

    fn check_conflicts(&self) -> Result<(), ResolveError> {
        let mut names: Vec<&String> = self.taken.keys().collect();
        names.sort();
        for name in &names {
            for x in &self.taken[*name].excludes {
                let hit = names.iter().filter(|n| n != &name).find(|n| {
                    let t = &self.taken[**n];
                    hits(x, &t.candidate.name, &t.candidate.version, &t.provides)
                });
                if let Some(other) = hit {
                    return Err(ResolveError::Conflict {
                        one: (*name).clone(),
                        other: (*other).clone(),
                        relation: x.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// The groups of alternatives of a relationship field. A qualifier like `:any` does not matter with one architecture.
fn relations(candidate: &Candidate, field: &str) -> Result<Vec<Vec<SingleDependency>>, RepoError> {
    let Some(text) = candidate.field(field) else {
        return Ok(Vec::new());
    };
    let list = DependencyList::parse(text).map_err(|e| RepoError::Malformed {
        what: format!("{field} of package {}", candidate.name),
        reason: e.to_string(),
    })?;
    let plain = |d: &SingleDependency| {
        let mut d = d.clone();
        if let Some((name, _)) = d.package.split_once(':') {
            d.package = name.to_owned();
        }
        d
    };
    Ok(list
        .requirements()
        .map(|g| g.iter().map(plain).collect())
        .collect())
}

fn provides(candidate: &Candidate) -> Result<Vec<Provided>, RepoError> {
    let of = |d: SingleDependency| {
        (
            d.package,
            d.version_constraint
                .map(|c| Version::new(&c.version.to_string())),
        )
    };
    Ok(relations(candidate, "Provides")?
        .into_iter()
        .flatten()
        .map(of)
        .collect())
}

fn fits(dependency: &SingleDependency, version: &Version) -> bool {
    dependency
        .version_constraint
        .as_ref()
        .is_none_or(|c| satisfies(c, version))
}

/// Debian policy 7.5: a versioned dependency is fulfilled by a versioned Provides only.
fn provides_fits(dependency: &SingleDependency, (name, version): &Provided) -> bool {
    *name == dependency.package
        && match (&dependency.version_constraint, version) {
            (None, _) => true,
            (Some(c), Some(v)) => satisfies(c, v),
            (Some(_), None) => false,
        }
}

fn satisfies(constraint: &DependencyVersionConstraint, version: &Version) -> bool {
    let order = version.cmp(&Version::new(&constraint.version.to_string()));
    match constraint.relationship {
        VersionRelationship::StrictlyEarlier => order.is_lt(),
        VersionRelationship::EarlierOrEqual => order.is_le(),
        VersionRelationship::ExactlyEqual => order.is_eq(),
        VersionRelationship::LaterOrEqual => order.is_ge(),
        VersionRelationship::StrictlyLater => order.is_gt(),
    }
}

/// True if the exclusion means this package, by its name or by what it provides.
fn hits(
    exclusion: &SingleDependency,
    name: &str,
    version: &Version,
    provides: &[Provided],
) -> bool {
    (exclusion.package == name && fits(exclusion, version))
        || provides.iter().any(|p| provides_fits(exclusion, p))
}

#[cfg(test)]
mod tests;
