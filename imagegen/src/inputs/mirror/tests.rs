//! `/etc/apt` folders as people have them, read by apt itself. `mirror.example` stands for a mirror of Debian's.

use std::path::Path;

use super::*;
use crate::files;

const DEBIAN: &str = "http://mirror.example/debian";
const SECURITY: &str = "http://mirror.example/debian-security";
const STOCK: &str = "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates\nComponents: main\n\
    Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
    Types: deb\nURIs: http://mirror.example/debian-security\nSuites: trixie-security\nComponents: main\n";

/// Whose signature an archive has.
fn signed_by_debian(uri: &str, _suite: &str) -> Result<(), String> {
    if uri.starts_with(DEBIAN) {
        Ok(())
    } else {
        Err("is signed by somebody else".to_owned())
    }
}

/// An apt with these files below its `/etc/apt`.
fn apt(dir: &Path, files: &[(&str, &str)]) -> Apt {
    let (etc, lists) = (dir.join("etc"), dir.join("lists/partial"));
    for sub in ["sources.list.d", "apt.conf.d", "preferences.d"] {
        std::fs::create_dir_all(etc.join(sub)).unwrap();
    }
    std::fs::create_dir_all(&lists).unwrap();
    for (name, text) in files {
        files::replace(&etc.join(name), text.as_bytes()).unwrap();
    }
    let config = dir.join("apt.conf");
    let text = format!(
        "Dir::Etc \"{}\";\nDir::State::lists \"{}\";\n",
        etc.display(),
        dir.join("lists").display()
    );
    files::replace(&config, text.as_bytes()).unwrap();
    Apt {
        config: Some(config),
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    clippy::items_after_statements,
    reason = "a table, one row for each machine"
)]
fn the_mirror_is_the_one_that_apt_uses_and_never_a_third_partys() {
    let listed = tempfile::tempdir().unwrap();
    let list = listed.path().join("debian.list");
    files::replace(&list, b"# a cloud\nhttp://mirror.example/debian\n").unwrap();
    let cloud = format!(
        "Types: deb\nURIs: mirror+file:{}\nSuites: trixie\nComponents: main\n",
        list.display()
    );
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<&'a str>);
    let cases: [Case<'_>; 12] = [
        (
            "stock",
            &[("sources.list.d/debian.sources", STOCK)],
            Some(SECURITY),
        ),
        (
            "sury, whose suites have Debian's names, and comes first",
            &[
                (
                    "sources.list.d/a.sources",
                    "Types: deb\nURIs: https://packages.sury.example/php\nSuites: bookworm\nEnabled: yes\nComponents: main\nSigned-By:\n /etc/apt/keyrings/a.gpg\n /usr/share/keyrings/b.gpg\n",
                ),
                ("sources.list.d/debian.sources", STOCK),
            ],
            Some(SECURITY),
        ),
        (
            "a browser whose suite is called stable",
            &[
                (
                    "sources.list.d/brave.list",
                    "deb [signed-by=/usr/share/keyrings/brave.gpg] https://brave.example/ stable main\n",
                ),
                ("sources.list.d/debian.sources", STOCK),
            ],
            Some(SECURITY),
        ),
        (
            "Ubuntu with an editor whose suite is called stable",
            &[
                (
                    "sources.list.d/ubuntu.sources",
                    "Types: deb\nURIs: http://archive.example/ubuntu/\nSuites: noble noble-updates\nComponents: main universe\n",
                ),
                (
                    "sources.list.d/vscode.list",
                    "deb [arch=amd64,arm64] https://code.example/repos/code stable main\n",
                ),
            ],
            None,
        ),
        (
            "values on lines of their own",
            &[(
                "sources.list.d/debian.sources",
                "Types:\n deb\n deb-src\nURIs:\n http://mirror.example/debian/\nSuites:\n bookworm\nComponents:\n main\n contrib\n",
            )],
            Some("guessed"),
        ),
        (
            "tabs",
            &[(
                "sources.list",
                "deb\thttp://mirror.example/debian\tbookworm\tmain\ndeb\thttp://mirror.example/debian-security\tbookworm-security\tmain\n",
            )],
            Some(SECURITY),
        ),
        (
            "Raspbian and its vendor's archive",
            &[(
                "sources.list",
                "deb http://raspbian.example/raspbian/ bookworm main rpi\ndeb http://archive.rpi.example/debian/ bookworm main\n",
            )],
            None,
        ),
        (
            "a disabled source comes first",
            &[
                (
                    "sources.list.d/a-old.sources",
                    "Enabled: false\nTypes: deb\nURIs: http://mirror.example/debian-old\nSuites: trixie\nComponents: main\n",
                ),
                ("sources.list.d/debian.sources", STOCK),
            ],
            Some(SECURITY),
        ),
        (
            "a key inside of the source",
            &[(
                "sources.list.d/debian.sources",
                "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBGAEHQwBEAC7\n -----END PGP PUBLIC KEY BLOCK-----\n",
            )],
            Some("guessed"),
        ),
        (
            "a vendor with Debian's suite and a key of its own",
            &[
                (
                    "sources.list.d/a-vendor.sources",
                    "Types: deb\nURIs: http://127.0.0.1:18095/\nSuites: trixie\nComponents: main\nSigned-By: /run/vendor.gpg\n",
                ),
                ("sources.list.d/debian.sources", STOCK),
            ],
            Some(SECURITY),
        ),
        (
            "a cloud's list of mirrors",
            &[("sources.list.d/debian.sources", &cloud)],
            Some("guessed"),
        ),
        ("nothing", &[], None),
    ];
    if !exec::exists("apt-get") {
        println!("skipped: no apt on this machine");
        return;
    }
    for (danger, files, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let found = find(
            &Asked::default(),
            &apt(dir.path(), files),
            &signed_by_debian,
        );
        match (found, want) {
            (Ok(m), Some(security)) => {
                assert_eq!(m.main, DEBIAN, "{danger}");
                assert_eq!(m.security.as_deref(), Some(SECURITY), "{danger}");
                assert_eq!(m.security_guessed, security == "guessed", "{danger}");
            }
            (Err(MirrorError::None(_)), None) => {}
            (found, _) => panic!("{danger}: {found:?}"),
        }
    }
}

#[test]
fn the_error_says_which_archives_were_looked_at_and_why_not() {
    let archive = |uri: &str, release: Option<(&str, &str)>| Archive {
        uri: uri.to_owned(),
        suite: "stable".to_owned(),
        release: release.map(|(o, l)| (o.to_owned(), l.to_owned())),
    };
    let archives = [
        archive("https://a.example/", None),
        archive("https://b.example/", Some(("Docker", "Docker CE"))),
    ];
    let e = decide(&Asked::default(), &archives, &signed_by_debian).unwrap_err();
    let e = e.to_string();
    for says in [
        "https://a.example/ is signed by",
        "b.example/ is Docker's",
        "--mirror",
    ] {
        assert!(e.contains(says), "{e}");
    }
}

#[test]
fn what_a_release_file_says_is_asked_before_the_network() {
    let never = |_: &str, _: &str| -> Result<(), String> { panic!("the network was asked") };
    let line =
        |uri: &str, suite: &str, label: &str| format!("{uri}\t{suite}\tmain\tDebian\t{label}\n");
    let text = line(
        "http://b.example/backports/",
        "trixie",
        "Backports of somebody",
    ) + &line("http://mirror.example/debian/", "trixie", "Debian")
        + &line(
            "http://mirror.example/debian-security/",
            "trixie-security",
            "Debian-Security",
        );
    let m = decide(&Asked::default(), &parse(&text), &never).unwrap();
    assert_eq!(
        (m.main.as_str(), m.security.as_deref()),
        (DEBIAN, Some(SECURITY))
    );
}

#[test]
fn the_proxy_is_apts() {
    if !exec::exists("apt-config") {
        println!("skipped: no apt on this machine");
        return;
    }
    for (text, want) in [
        ("", None),
        (
            "Acquire::http::Proxy \"http://127.0.0.1:18081/\";\n",
            Some("http://127.0.0.1:18081"),
        ),
        ("Acquire::http::Proxy \"DIRECT\";\n", None),
        (
            "Acquire::https::Proxy \"http://p.example:1\";\n",
            Some("http://p.example:1"),
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let found = apt(dir.path(), &[("apt.conf.d/01proxy", text)]).proxy();
        assert_eq!(found.as_ref().map(|f| f.0.as_str()), want, "{text}");
    }
}

#[test]
fn option_wins_over_host() {
    let asked = Asked {
        main: Some("https://x.example/debian/".to_owned()),
        security: None,
    };
    let m = decide(&asked, &[], &signed_by_debian).unwrap();
    assert_eq!(m.main, "https://x.example/debian");
    assert!(m.security_guessed);
    let security = m.security.as_deref();
    assert_eq!(security, Some("https://x.example/debian-security"));
}

#[test]
fn url_that_could_be_a_file_or_an_option_is_refused() {
    for url in ["file:///etc", "--help", "http://a b"] {
        let asked = Asked {
            main: Some(url.to_owned()),
            security: None,
        };
        assert!(
            matches!(
                decide(&asked, &[], &signed_by_debian),
                Err(MirrorError::BadUrl(_))
            ),
            "{url}"
        );
    }
}
