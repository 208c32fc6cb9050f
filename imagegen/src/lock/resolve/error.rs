//! Why packages make no working set.

use crate::lock::repo::RepoError;

/// Why there is no working set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The archive has no package of this name.
    #[error("there is no package `{name}` for {arch} in {suite}{}", .similar.as_ref().map_or_else(String::new, |s| format!(" (did you mean `{s}`?)")))]
    Unknown {
        /// Its name.
        name: String,
        /// Architecture.
        arch: String,
        /// Suite.
        suite: String,
        /// A name that looks like it.
        similar: Option<String>,
    },
    /// The archive has the package, and not as it is wanted.
    #[error("there is no {wanted} of package `{name}`; there is: {}", if .there.is_empty() { "none at all".to_owned() } else { .there.join(", ") })]
    NoVersion {
        /// Its name.
        name: String,
        /// What is wanted of it.
        wanted: String,
        /// What there is.
        there: Vec<String>,
    },
    /// A name that several packages provide: which one is the owner's to say, as with apt.
    #[error(
        "`{name}` is a virtual package, which {} provide; name one of them in the recipe instead",
        .providers.join(", ")
    )]
    Virtual {
        /// The name.
        name: String,
        /// Who provides it.
        providers: Vec<String>,
    },
    /// A dependency that no package fulfils.
    #[error("package `{package}` needs `{dependency}`, which cannot be installed{}", .why.as_ref().map_or_else(String::new, |w| format!(" ({w})")))]
    Unmet {
        /// Who needs it.
        package: String,
        /// What it needs.
        dependency: String,
        /// What stands against it.
        why: Option<String>,
    },
    /// Two packages of the set exclude each other.
    #[error(
        "packages `{one}` and `{other}` exclude each other ({relation}); take one of them out of the recipe"
    )]
    Conflict {
        /// The package that says so.
        one: String,
        /// The other.
        other: String,
        /// The relation as it stands in the package.
        relation: String,
    },
    /// A package that the recipe forbids is needed.
    #[error("package `{package}` needs `{excluded}`, which the recipe excludes")]
    Excluded {
        /// Who needs it.
        package: String,
        /// What is forbidden.
        excluded: String,
    },
    /// The archive says something that cannot be read.
    #[error(transparent)]
    Repo(#[from] RepoError),
}
