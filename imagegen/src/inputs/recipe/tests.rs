//! Recipes: what is read, what is refused and where, and how layers join.

use std::path::Path;

use super::*;

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJULoDNmF+fmBBg+MtwOyckkGxbuiT7CWm9Dcl2F21gm me@here";

#[test]
fn embedded_recipe_is_valid() {
    assert_eq!(load(None).unwrap().name, "default");
}

#[test]
fn bad_recipes_are_refused_with_their_place() {
    for (danger, text, says) in [
        ("unknown key", "pakages=['b']", "pakages"),
        (
            "a version that is a path",
            "version='../1'",
            "line 2, column 9: version",
        ),
        ("nothing to install", "packages=[]", "no packages"),
        ("not TOML", "{]", "recipe x"),
        (
            "a choice of packages",
            "packages=['a1 | b1']",
            "line 2, column 11: `a1 | b1`: a recipe names",
        ),
        (
            "another architecture",
            "packages=['libc6:armhf']",
            "architecture alone",
        ),
        (
            "a file among packages",
            "packages=['ok','./my_1_arm64.deb']",
            "column 16: `./my_1_arm64.deb` is a file: put it into `debs",
        ),
        (
            "a name with blanks",
            "packages=['a b']",
            "no name of a package",
        ),
        ("a version of nothing", "packages=['ab=']", "name=version"),
        ("a version to hold", "hold=['ab=1']", "only the name"),
        (
            "host name with an underscore",
            "hostname='my_board'",
            "line 2, column 10: `my_board` is no host name",
        ),
        ("host name with a dot", "hostname='a.b'", "no dots"),
        (
            "a container without a tag",
            "[[container]]\nimage='nginx'\nfrom='x'",
            "line 3, column 7: `nginx`: a name needs its tag",
        ),
        (
            "a container from nowhere",
            "[[container]]\nimage='a:1'",
            "`a:1` has no `from`",
        ),
        (
            "a container twice",
            "[[container]]\nimage='a:1'\nfrom='x'\n[[container]]\nimage='a:1'\nfrom='y'",
            "line 6, column 7: `a:1` is here twice",
        ),
        (
            "a pattern of no path",
            "path-exclude=['usr/share/doc/*']",
            "line 2, column 15: `usr/share/doc/*` is no pattern",
        ),
        (
            "a pattern of everything",
            "path-exclude=['/*']",
            "most of a system",
        ),
        ("time zone that climbs", "timezone='../x'", "no time zone"),
        (
            "country in words",
            "wifi-country='Germany'",
            "two capital letters",
        ),
        (
            "an argument that ends the command",
            "cmdline=['a;reset']",
            "cannot be an argument",
        ),
        (
            "an argument with a variable",
            "cmdline=['${x}']",
            "cannot be an argument",
        ),
        (
            "another root",
            "cmdline=['root=/dev/sda1']",
            "is the board's",
        ),
        (
            "an end of the kernel's arguments",
            "cmdline=['--']",
            "updates depend on",
        ),
        (
            "another init",
            "cmdline=['quiet','init=/bin/sh']",
            "column 18: `init=/bin/sh`",
        ),
        (
            "a unit that is a path",
            "enable=['/etc/x.service']",
            "no name of a unit",
        ),
        (
            "a user without a key",
            "[[user]]\nname='jack'\n",
            "no `ssh-keys`",
        ),
        (
            "a user's key that is none",
            "[[user]]\nname='jack'\nssh-keys=['ssh-ed25519 AAAA x']\n",
            "line 4, column 10: the key",
        ),
        (
            "a user's name that is none",
            "[[user]]\nname='Jack'\nssh-keys=[]\n",
            "line 3, column 6: `Jack` cannot be a name",
        ),
        (
            "root",
            "[[user]]\nname='root'\nssh-keys=[]\n",
            "root is there already",
        ),
        (
            "a number of the system's",
            "[[user]]\nname='jack'\nuid=0\nssh-keys=[]\n",
            "from 1000",
        ),
        (
            "a file that climbs",
            "[[file]]\npath='/etc/../x'\ncontent=''\n",
            "line 3, column 6: `/etc/../x` is no path",
        ),
        (
            "a file of nothing",
            "[[file]]\npath='/etc/x'\n",
            "either `content` or `from`",
        ),
        (
            "a mode of words",
            "[[file]]\npath='/etc/x'\ncontent=''\nmode='rw'\n",
            "four octal digits",
        ),
        (
            "an unsigned archive",
            "[[repository]]\nname='x'\nuri='http://x'\nsuites=['s']\ncomponents=['c']\n",
            "unsigned archives are not taken",
        ),
        (
            "an archive on this machine",
            "[[repository]]\nname='x'\nuri='file:/x'\nsuites=['./']\nkey='k'\n",
            "http://",
        ),
        (
            "a flat archive with components",
            "[[repository]]\nname='x'\nuri='http://x'\nsuites=['./']\ncomponents=['c']\nkey='k'\n",
            "a flat one",
        ),
        (
            "an archive that takes Debian's place",
            "[[repository]]\nname='main'\nuri='http://x'\nsuites=['./']\nkey='k'\n",
            "another archive",
        ),
        (
            "a step of nothing",
            "[[run]]\nname='x'\n",
            "`script` or `from`",
        ),
    ] {
        let given = |key: &str| text.starts_with(key);
        let rest = [
            ("version", "version='1.0.0'\n"),
            ("packages", "packages=['ab']\n"),
        ];
        let rest: String = rest
            .iter()
            .filter(|(k, _)| !given(k))
            .map(|(_, l)| *l)
            .collect();
        // The row's own line is the second, and what follows a table would belong to it.
        let whole = if text.starts_with('[') {
            format!("name='x'; #\n{text}").replacen("; #", "", 1)
        } else {
            format!("name='x'\n{text}\n{rest}")
        };
        let e = parse("x", &whole).expect_err(danger).to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
}

#[test]
fn missing_recipe_is_named() {
    let e = load(Some(Path::new("/no/such/recipe.toml")))
        .unwrap_err()
        .to_string();
    assert!(e.contains("/no/such/recipe.toml"), "{e}");
}

#[test]
fn versions_are_taken_or_answered_with_what_to_write() {
    for (text, want) in [
        ("1.2.3", Ok("1.2.3")),
        ("v1.2.3", Ok("1.2.3")),
        ("1.2.3-rc.1+b", Ok("1.2.3-rc.1+b")),
        ("1.2", Err("write 1.2.0")),
        ("2024.05", Err("write 2024.5.0")),
        ("v2", Err("write 2.0.0")),
        ("1.2-rc1", Err("write 1.2.0-rc1")),
        ("1.2.3.4", Err("three numbers")),
        ("../1", Err("three numbers")),
        ("", Err("three numbers")),
        ("99999999999999999999", Err("three numbers")),
    ] {
        match (version(text), want) {
            (Ok(v), Ok(want)) => assert_eq!(v.to_string(), want),
            (Err(e), Err(says)) => assert!(e.contains(says), "{text}: {e}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
}

fn put(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    crate::files::replace(&path, text.as_bytes()).unwrap();
    path
}

#[test]
fn a_recipe_on_another_adds_and_takes_away() {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        "middle.toml",
        "name='middle'\nbase='default'\npackages=['htop']\nhostname='middle'\nfiles='m'\ncmdline=['a=1']\n",
    );
    let user = format!("[[user]]\nname='jack'\nssh-keys=['{KEY}']\n");
    let top = put(
        dir.path(),
        "top.toml",
        &format!(
            "\u{feff}name='top'\nversion='v2.0.0'\nbase='middle.toml'\npackages=['nginx','curl=8.14.1-2','less']\nexclude=['nano-tiny']\nhostname='top'\nfiles='t'\ncmdline=['b']\n{user}"
        ),
    );
    let recipe = load(Some(&top)).unwrap();
    let base = load(None).unwrap();
    assert_eq!(
        (recipe.name.as_str(), recipe.version.as_str()),
        ("top", "2.0.0")
    );
    assert_eq!(recipe.hostname.as_deref(), Some("top"));
    let without: Vec<_> = base
        .packages
        .iter()
        .filter(|p| !recipe.packages.contains(p))
        .collect();
    assert_eq!(without, ["curl", "nano-tiny"]);
    let more: Vec<_> = recipe
        .packages
        .iter()
        .filter(|p| !base.packages.contains(p))
        .collect();
    assert_eq!(more, ["htop", "nginx", "curl=8.14.1-2"]);
    assert_eq!(recipe.packages.iter().filter(|p| *p == "less").count(), 1);
    assert_eq!(recipe.cmdline, ["a=1", "b"]);
    let folders: Vec<_> = recipe
        .folders()
        .map(|f| f.strip_prefix(dir.path()).unwrap().to_owned())
        .collect();
    assert_eq!(folders, [Path::new("m"), Path::new("t")]);
    let lines = origins(&recipe);
    let from = |key: &str, value: &str| {
        let all: Vec<&String> = lines
            .iter()
            .filter(|l| l.split_whitespace().take(2).eq([key, value]))
            .collect();
        assert_eq!(all.len(), 1, "{key} {value}: {lines:#?}");
        all[0].rsplit('/').next().unwrap().to_owned()
    };
    assert_eq!(from("packages", "htop"), "middle.toml");
    assert_eq!(from("hostname", "top"), "top.toml");
    assert!(from("packages", "sudo").ends_with("default (embedded)"));
    assert!(
        !lines
            .iter()
            .any(|l| l.contains("nano-tiny") && l.contains("embedded")),
        "{lines:#?}"
    );
    // What is recorded in an image reads back as the same.
    let text = toml::to_string(&recipe).unwrap();
    let again: Recipe = toml::from_str(&text).unwrap();
    assert_eq!(toml::to_string(&again).unwrap(), text);
    assert!(!text.contains(dir.path().to_str().unwrap()), "{text}");
}

#[test]
fn bases_in_a_circle_end() {
    let dir = tempfile::tempdir().unwrap();
    let one = put(
        dir.path(),
        "one.toml",
        "name='one'\nversion='1.0.0'\nbase='two.toml'\npackages=['ab']\n",
    );
    put(dir.path(), "two.toml", "name='two'\nbase='one.toml'\n");
    let e = load(Some(&one)).unwrap_err().to_string();
    assert!(e.contains("circle"), "{e}");
    put(dir.path(), "two.toml", "name='two'\nbase='three.toml'\n");
    let e = load(Some(&one)).unwrap_err().to_string();
    assert!(e.contains("three.toml"), "{e}");
}

#[test]
fn files_beside_a_recipe_are_known_by_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "motd", "hello\n");
    put(dir.path(), "my.deb", "no package, and nobody looks yet");
    put(dir.path(), "step.sh", "true\n");
    crate::inputs::container::tests::layout(dir.path(), "arm64", "");
    let text = "name='x'\nversion='1.0.0'\npackages=['ab']\ndebs=['my.deb']\n[[file]]\npath='/etc/motd'\nfrom='motd'\n[[container]]\nimage='a:1'\nfrom='oci-1'\n[[run]]\nname='s'\nfrom='step.sh'\n";
    let path = put(dir.path(), "x.toml", text);
    let recipe = load(Some(&path)).unwrap();
    assert_eq!(
        recipe.file[0].sha256,
        Some(crate::sha256::Sha256::of(b"hello\n"))
    );
    assert_eq!(
        (recipe.debs[0].name.as_str(), recipe.runs[0].script.as_str()),
        ("my.deb", "true\n")
    );
    let recorded: Recipe = toml::from_str(&toml::to_string(&recipe).unwrap()).unwrap();
    let e = recorded.attach(None).unwrap_err();
    assert!(e.contains("/etc/motd") && e.contains("--recipe"), "{e}");
    let found = recorded.attach(Some(&recipe)).unwrap();
    assert_eq!(
        (&found.file[0].from, &found.debs[0].path),
        (&recipe.file[0].from, &recipe.debs[0].path)
    );
    // Another file of the same name is another file.
    put(dir.path(), "motd", "other\n");
    assert!(recorded.attach(Some(&load(Some(&path)).unwrap())).is_err());
    assert_eq!(recorded.containers[0].from, None);
    put(dir.path(), "key.asc", "no key");
    put(
        dir.path(),
        "x.toml",
        &format!(
            "{text}[[repository]]\nname='r'\nuri='http://x'\nsuites=['./']\nsigned-by='key.asc'\n"
        ),
    );
    let e = load(Some(&path)).unwrap_err().to_string();
    assert!(e.contains("key.asc is no OpenPGP public key"), "{e}");
}

#[test]
fn what_is_written_to_begin_with_is_a_recipe() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "my-image.toml", &template("my-image"));
    let recipe = load(Some(&path)).unwrap();
    assert_eq!(
        (recipe.name.as_str(), recipe.packages),
        ("my-image", load(None).unwrap().packages)
    );
    // All that is only a comment in it is right, too.
    let lines = template("my-image");
    let all: Vec<String> = lines
        .lines()
        .filter(|l| {
            !l.starts_with("#   ")
                && !l.contains("signed-by")
                && !l.contains("debs")
                && !l.contains("# files")
        })
        .map(|l| match l.strip_prefix("# ") {
            Some(rest) if rest.contains(" = ") || rest.starts_with("[[") => rest.to_owned(),
            _ => l.to_owned(),
        })
        .map(|l| {
            l.replace("\"ssh-ed25519 AAAA… jack@pearl\"", &format!("'{KEY}'"))
                .replace("https://…", "https://x")
                .replace("whoami.tar", "oci-1")
        })
        .map(|l| {
            if l.starts_with("components = [\"stable\"]") {
                format!("{l}\nkey = 'k'")
            } else {
                l
            }
        })
        .collect();
    crate::inputs::container::tests::layout(dir.path(), "arm64", "");
    put(dir.path(), "all.toml", &all.join("\n"));
    let all = load(Some(&dir.path().join("all.toml"))).unwrap();
    assert_eq!(
        (all.users.len(), all.runs.len(), all.repositories.len()),
        (1, 1, 1)
    );
    assert!(
        all.file[0]
            .content
            .as_deref()
            .unwrap()
            .contains("{{ hostname }}")
    );
}
