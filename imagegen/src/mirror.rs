//! Owns where packages come from: the option, the environment, or the host's own apt sources. No mirror is written in the code.

use std::path::{Path, PathBuf};

/// Where the archives are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Base of the main archive (the directory that holds `dists` and `pool`).
    pub main: String,
    /// Base of the security archive, if known.
    pub security: Option<String>,
    /// True if the security base was guessed from the main one and may not exist.
    pub security_guessed: bool,
    /// Keyring the host's sources name.
    pub keyring: Option<PathBuf>,
}

/// Why no mirror is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// Nothing names one.
    #[error(
        "no Debian mirror is known: the apt sources of this machine name none; give the base URL of one with --mirror or HYPRIOT_MIRROR"
    )]
    None,
    /// It is no URL we can use.
    #[error("`{0}` is no mirror: it must begin with http:// or https://")]
    BadUrl(String),
}

/// What the user said.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// `--mirror` or `HYPRIOT_MIRROR`.
    pub main: Option<String>,
    /// `--security-mirror` or `HYPRIOT_SECURITY_MIRROR`.
    pub security: Option<String>,
}

/// The mirror to use: what was asked for, else what the host's apt uses.
pub fn find(asked: &Asked, etc_apt: &Path) -> Result<Mirror, MirrorError> {
    let texts = sources(etc_apt);
    decide(asked, &texts)
}

/// Decides from the texts of source files: (is it deb822, text).
pub fn decide(asked: &Asked, sources: &[(bool, String)]) -> Result<Mirror, MirrorError> {
    let mut found: Vec<Source> = sources
        .iter()
        .flat_map(|(deb822, text)| {
            if *deb822 {
                deb822_sources(text)
            } else {
                line_sources(text)
            }
        })
        .collect();
    found.retain(|s| s.uri.starts_with("http://") || s.uri.starts_with("https://"));
    let host_main = found
        .iter()
        .find(|s| s.suites.iter().any(|n| is_debian_suite(n)));
    let host_security = found.iter().find(|s| {
        s.suites
            .iter()
            .any(|n| n.strip_suffix("-security").is_some_and(is_debian_suite))
    });

    let main = asked
        .main
        .clone()
        .or_else(|| host_main.map(|s| s.uri.clone()))
        .ok_or(MirrorError::None)?;
    let main = base(&main)?;
    let (security, security_guessed) = match (&asked.security, &asked.main, host_security) {
        (Some(url), _, _) => (Some(base(url)?), false),
        (None, None, Some(host)) => (Some(base(&host.uri)?), false),
        _ => (
            main.strip_suffix("/debian")
                .map(|b| format!("{b}/debian-security")),
            true,
        ),
    };
    let keyring = match asked.main {
        Some(_) => None,
        None => host_main
            .and_then(|s| s.signed_by.clone())
            .map(PathBuf::from)
            .filter(|p| p.is_absolute()),
    };
    Ok(Mirror {
        main,
        security,
        security_guessed,
        keyring,
    })
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

/// Code names of Debian, and the names that stand for one of them. Ubuntu and others have names of their own.
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

#[derive(Debug, Default)]
struct Source {
    uri: String,
    suites: Vec<String>,
    signed_by: Option<String>,
}

fn sources(etc_apt: &Path) -> Vec<(bool, String)> {
    let mut paths = vec![etc_apt.join("sources.list")];
    let parts = std::fs::read_dir(etc_apt.join("sources.list.d"));
    paths.extend(parts.into_iter().flatten().flatten().map(|e| e.path()));
    paths.sort();
    let read = |p: PathBuf| {
        let kind = p.extension()?.to_str()?.to_owned();
        let deb822 = kind == "sources";
        (deb822 || kind == "list").then(|| std::fs::read_to_string(&p).ok().map(|t| (deb822, t)))?
    };
    paths.into_iter().filter_map(read).collect()
}

/// sources.list(5), one-line style: `deb [ options ] uri suite component…`
fn line_sources(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next()?.trim();
            let rest = line.strip_prefix("deb ")?.trim();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(r) => r.split_once(']')?,
                None => ("", rest),
            };
            let mut words = rest.split_whitespace();
            let signed_by = options
                .split_whitespace()
                .find_map(|o| o.strip_prefix("signed-by="))
                .map(str::to_owned);
            Some(Source {
                uri: words.next()?.to_owned(),
                suites: vec![words.next()?.to_owned()],
                signed_by,
            })
        })
        .collect()
}

/// sources.list(5), deb822 style: paragraphs of `Field: value`.
fn deb822_sources(text: &str) -> Vec<Source> {
    let mut all = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut source = Source::default();
        let mut uris = Vec::new();
        let (mut usable, mut enabled) = (false, true);
        for line in paragraph.lines().filter(|l| !l.starts_with('#')) {
            let Some((field, value)) = line.split_once(':') else {
                continue;
            };
            let words = || {
                value
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            match field.to_ascii_lowercase().as_str() {
                "types" => usable = words().iter().any(|w| w == "deb"),
                "enabled" if value.trim().eq_ignore_ascii_case("no") => enabled = false,
                "uris" => uris = words(),
                "suites" => source.suites = words(),
                "signed-by" => {
                    source.signed_by = Some(value.trim().to_owned()).filter(|v| !v.is_empty());
                }
                _ => {}
            }
        }
        if usable
            && enabled
            && let Some(uri) = uris.into_iter().next()
        {
            all.push(Source { uri, ..source });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# a comment\nURIs: http://m.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
        Types: deb\nURIs: http://s.example/debian-security\nSuites: bookworm-security\nComponents: main\n";

    #[test]
    fn both_styles_of_host_sources_are_understood() {
        let lines = "deb [arch=amd64 signed-by=/k.gpg] http://m.example/debian/ bookworm main # x\ndeb http://s.example/debian-security bookworm-security main\n";
        for (deb822, text) in [(true, DEB822), (false, lines)] {
            let m = decide(&Asked::default(), &[(deb822, text.to_owned())]).unwrap();
            assert_eq!(m.main, "http://m.example/debian");
            assert_eq!(
                m.security.as_deref(),
                Some("http://s.example/debian-security")
            );
            assert_eq!(m.keyring.as_deref(), Some(Path::new("/k.gpg")));
        }
    }

    #[test]
    fn option_wins_over_host() {
        let asked = Asked {
            main: Some("https://x.example/debian/".to_owned()),
            security: None,
        };
        let m = decide(&asked, &[(true, DEB822.to_owned())]).unwrap();
        assert_eq!(
            (m.main.as_str(), m.security_guessed),
            ("https://x.example/debian", true)
        );
        assert_eq!(
            m.security.as_deref(),
            Some("https://x.example/debian-security")
        );
    }

    #[test]
    fn sources_that_are_not_debian_are_no_mirror() {
        for (deb822, text) in [
            (false, "deb http://u.example/ubuntu noble main"),
            (false, "deb http://n.example/node nodistro main"),
            (false, "deb cdrom:[Debian]/ trixie main"),
            (
                true,
                "Types: deb-src\nURIs: http://m.example/debian\nSuites: trixie\n",
            ),
            (false, ""),
        ] {
            assert!(
                matches!(
                    decide(&Asked::default(), &[(deb822, text.to_owned())]),
                    Err(MirrorError::None)
                ),
                "{text}"
            );
        }
    }

    #[test]
    fn url_that_could_be_a_file_or_an_option_is_refused() {
        for url in ["file:///etc", "--help", "http://a b"] {
            let asked = Asked {
                main: Some(url.to_owned()),
                security: None,
            };
            assert!(
                matches!(decide(&asked, &[]), Err(MirrorError::BadUrl(_))),
                "{url}"
            );
        }
    }
}
