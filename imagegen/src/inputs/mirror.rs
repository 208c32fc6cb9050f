//! Owns where packages come from: the option, the environment, or what this machine's apt says that it uses. No mirror is
//! written in the code, and no key is taken from the sources: what Debian is, its own keyring says.

use std::path::PathBuf;
use std::time::Duration;

use crate::exec::{self, ExecError};

#[cfg(test)]
mod tests;

/// Seconds apt may take to read its own settings.
const APT_LIMIT: Duration = Duration::from_secs(30);
/// More archives than a machine has.
const MAX_ARCHIVES: usize = 1000;

/// Where the archives are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Base of the main archive (the directory that holds `dists` and `pool`).
    pub main: String,
    /// Base of the security archive, if known.
    pub security: Option<String>,
    /// True if the security base was guessed from the main one and may not exist.
    pub security_guessed: bool,
}

/// Why no mirror is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// There is nobody to ask.
    #[error(
        "no Debian mirror is known: this machine has no apt to ask; give the base URL of one with --mirror or HYPRIOT_MIRROR"
    )]
    NoApt,
    /// Nothing names one.
    #[error(
        "no Debian mirror is known: {}; give the base URL of one with --mirror or HYPRIOT_MIRROR",
        looked(.0)
    )]
    None(Vec<String>),
    /// apt does not answer.
    #[error("this machine's apt cannot be asked for its mirror: {0}")]
    Apt(#[from] ExecError),
    /// It is no URL we can use.
    #[error("`{0}` is no mirror: it must begin with http:// or https://")]
    BadUrl(String),
}

fn looked(archives: &[String]) -> String {
    if archives.is_empty() {
        "the apt sources of this machine name no archive that is enabled".to_owned()
    } else {
        format!(
            "none of the archives that apt uses here is Debian's ({})",
            archives.join("; ")
        )
    }
}

/// What the user said.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `--mirror` or `HYPRIOT_MIRROR`.
    pub main: Option<String>,
    /// `--security-mirror` or `HYPRIOT_SECURITY_MIRROR`.
    pub security: Option<String>,
}

impl Asked {
    /// What the environment says, for whoever reads no command line.
    pub fn of_environment() -> Self {
        Self {
            main: std::env::var("HYPRIOT_MIRROR").ok(),
            security: std::env::var("HYPRIOT_SECURITY_MIRROR").ok(),
        }
    }
}

/// The apt of a machine.
#[derive(Debug, Clone, Default)]
pub struct Apt {
    /// Its settings (`APT_CONFIG`), where they are not this machine's.
    pub config: Option<PathBuf>,
}

/// One archive that apt uses, in the order of its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Base URL.
    pub uri: String,
    /// Suite as the source names it.
    pub suite: String,
    /// `Origin` and `Label` of its Release file, if apt has fetched it.
    pub release: Option<(String, String)>,
}

impl Apt {
    fn ask(&self, program: &str, args: &[&str]) -> Result<String, ExecError> {
        let mut cmd = exec::tool(program)
            .args(args)
            .env("LC_ALL", "C")
            .timeout(APT_LIMIT);
        if let Some(config) = &self.config {
            cmd = cmd.env("APT_CONFIG", config);
        }
        Ok(cmd.run()?.text())
    }

    /// The archives it takes packages from.
    pub fn archives(&self) -> Result<Vec<Archive>, MirrorError> {
        if !exec::exists("apt-get") {
            return Err(MirrorError::NoApt);
        }
        // apt-get(8): without release information it tells of archives that were never fetched, too, and leaves the fields
        // of those as they are written here.
        let format = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)\t$(LABEL)";
        let args = ["indextargets", "--no-release-info", "--format", format];
        let all = self.ask("apt-get", &[&args[..], &["Created-By: Packages"]].concat())?;
        Ok(parse(&all))
    }

    /// The proxy that it uses, with the setting's name.
    pub fn proxy(&self) -> Option<(String, &'static str)> {
        let dump = self
            .ask("apt-config", &["dump", "--format", "%f\t%v%n"])
            .ok()?;
        let value = |wanted: &str| {
            let mut all = dump.lines().filter_map(|l| l.split_once('\t'));
            let (_, value) = all.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            let usable = !value.is_empty() && !value.eq_ignore_ascii_case("DIRECT");
            usable.then(|| value.trim_end_matches('/').to_owned())
        };
        ["Acquire::http::Proxy", "Acquire::https::Proxy"]
            .into_iter()
            .find_map(|name| Some((value(name)?, name)))
    }
}

fn parse(text: &str) -> Vec<Archive> {
    let mut all: Vec<Archive> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [uri, suite, component, origin, label] = fields[..] else {
            continue;
        };
        let known = |field: &str| !field.starts_with("$(") && !field.is_empty();
        let archive = Archive {
            uri: listed(uri),
            suite: suite.to_owned(),
            release: known(origin).then(|| (origin.to_owned(), label.to_owned())),
        };
        if component == "main" && !all.contains(&archive) && all.len() < MAX_ARCHIVES {
            all.push(archive);
        }
    }
    all
}

/// apt-transport-mirror(1): a file of this machine that lists mirrors, as the images for clouds have. The first is taken.
fn listed(uri: &str) -> String {
    let mirror = || {
        let path = uri.strip_prefix("mirror+file:")?.trim_end_matches('/');
        let text = std::fs::read_to_string(path).ok()?;
        let mut lines = text.lines().map(|l| l.split('#').next().unwrap_or(""));
        let first = lines.find_map(|l| l.split_whitespace().next())?;
        Some(first.to_owned())
    };
    mirror().unwrap_or_else(|| uri.to_owned())
}

/// Whether an archive (base URL, suite) is Debian's: its Release file is signed by Debian's own keys. Else why not.
pub type IsDebian<'a> = dyn Fn(&str, &str) -> Result<(), String> + 'a;

/// The mirror to use: what was asked for, else what the host's apt uses.
pub fn find(asked: &Asked, apt: &Apt, is_debian: &IsDebian<'_>) -> Result<Mirror, MirrorError> {
    if asked.main.is_some() {
        return decide(asked, &[], is_debian);
    }
    decide(asked, &apt.archives()?, is_debian)
}

/// Decides from the archives that apt uses.
pub fn decide(
    asked: &Asked,
    archives: &[Archive],
    is_debian: &IsDebian<'_>,
) -> Result<Mirror, MirrorError> {
    if let Some(main) = &asked.main {
        let main = base(main)?;
        return Ok(match &asked.security {
            Some(url) => Mirror {
                security: Some(base(url)?),
                security_guessed: false,
                main,
            },
            None => guessed(main),
        });
    }
    let mut others = Vec::new();
    let mut first = |security: bool| {
        let label = if security {
            "Debian-Security"
        } else {
            "Debian"
        };
        archives.iter().find(|a| {
            let name = match a.suite.strip_suffix("-security") {
                Some(name) if security => name,
                None if !security => a.suite.as_str(),
                _ => return false,
            };
            if !is_debian_suite(name) || base(&a.uri).is_err() {
                return false;
            }
            let ours = match &a.release {
                Some((origin, its)) if origin == "Debian" && its == label => Ok(()),
                Some((origin, _)) => Err(format!("is {origin}'s")),
                None => is_debian(&a.uri, &a.suite),
            };
            if let Err(why) = &ours {
                others.push(format!("{} {why}", a.uri));
            }
            ours.is_ok()
        })
    };
    let (main, security) = (first(false), first(true));
    let Some(main) = main else {
        if others.is_empty() {
            others.extend(archives.iter().map(|a| format!("{} {}", a.uri, a.suite)));
            others.dedup();
        }
        return Err(MirrorError::None(others));
    };
    let main = base(&main.uri)?;
    let security = match (&asked.security, security) {
        (Some(url), _) => base(url)?,
        (None, Some(archive)) => base(&archive.uri)?,
        (None, None) => return Ok(guessed(main)),
    };
    Ok(Mirror {
        main,
        security: Some(security),
        security_guessed: false,
    })
}

/// With the security archive that most mirrors have beside the main one.
fn guessed(main: String) -> Mirror {
    let beside = main.strip_suffix("/debian");
    Mirror {
        security: beside.map(|b| format!("{b}/debian-security")),
        security_guessed: true,
        main,
    }
}

fn base(url: &str) -> Result<String, MirrorError> {
    let url = url.trim().trim_end_matches('/');
    let ok = (url.starts_with("http://") || url.starts_with("https://"))
        && !url.contains(char::is_whitespace);
    if ok {
        Ok(url.to_owned())
    } else {
        Err(MirrorError::BadUrl(url.to_owned()))
    }
}

/// Code names of Debian, and the names that stand for one of them: no other archive is worth a question.
fn is_debian_suite(name: &str) -> bool {
    const NAMES: [&str; 12] = [
        "buster",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "oldoldstable",
    ];
    NAMES.contains(&name)
}
