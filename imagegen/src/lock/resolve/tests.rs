//! Tests of [`super`]: small made-up archives.

use super::*;
use crate::inputs::near::distance;

/// A world of packages: `name version; Field: value; …`, one per line.
fn world(lines: &str) -> Universe {
    let paragraph = |line: &str| {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let rest: String = parts.flat_map(|p| [p, "\n"]).collect();
        format!("Package: {name}\nVersion: {version}\nArchitecture: arm64\n{rest}\n")
    };
    let text = lines
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(paragraph)
        .collect();
    Universe {
        arch: "arm64".to_owned(),
        suite: "trixie".to_owned(),
        indices: vec![Index::new("main", "trixie", text)],
        wanted: BTreeMap::new(),
    }
}

fn names(universe: &Universe, roots: &[&str]) -> Result<String, ResolveError> {
    let roots: Vec<String> = roots.iter().map(|r| (*r).to_owned()).collect();
    let set = resolve(universe, &roots, &[])?;
    Ok(set
        .values()
        .map(|c| format!("{}={}", c.name, c.version))
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn rules_of_choice() {
    for (rule, lines, roots, expected) in [
        ("newest version wins", "a 1.9\na 1.10", &["a"][..], "a=1.10"),
        (
            "first alternative wins",
            "a 1; Depends: b | c\nb 1\nc 1",
            &["a"],
            "a=1 b=1",
        ),
        (
            "an alternative that was asked for wins",
            "a 1; Depends: b | c\nb 1\nc 1",
            &["a", "c"],
            "a=1 c=1",
        ),
        (
            "an alternative that does not exist is passed over",
            "a 1; Depends: b | c\nc 1",
            &["a"],
            "a=1 c=1",
        ),
        (
            "an alternative of the wrong version is passed over",
            "a 1; Depends: b (>= 2) | c\nb 1\nc 1",
            &["a"],
            "a=1 c=1",
        ),
        (
            "an alternative that conflicts is passed over",
            "a 1; Depends: b | c\nb 1; Conflicts: a\nc 1",
            &["a"],
            "a=1 c=1",
        ),
        (
            "virtual packages",
            "a 1; Depends: v\nb 1; Provides: v",
            &["a"],
            "a=1 b=1",
        ),
        (
            "the provider of higher priority wins",
            "a 1; Depends: v\nb 1; Provides: v; Priority: optional\nc 1; Provides: v; Priority: required",
            &["a"],
            "a=1 c=1",
        ),
        (
            "versioned provides",
            "a 1; Depends: v (>= 2)\nb 1; Provides: v (= 1)\nc 1; Provides: v (= 3)",
            &["a"],
            "a=1 c=1",
        ),
        (
            "circles end",
            "a 1; Depends: b\nb 1; Depends: a",
            &["a"],
            "a=1 b=1",
        ),
        (
            "pre-depends count",
            "a 1; Pre-Depends: b\nb 1",
            &["a"],
            "a=1 b=1",
        ),
        (
            "recommends do not",
            "a 1; Recommends: b\nb 1",
            &["a"],
            "a=1",
        ),
        (
            "qualifiers do not matter",
            "a 1; Depends: b:any (>= 1~)\nb 1.5",
            &["a"],
            "a=1 b=1.5",
        ),
        (
            "a virtual root is its provider",
            "b 1; Provides: v",
            &["v"],
            "b=1",
        ),
        (
            "replacing what one provides is no conflict with oneself",
            "a 1; Provides: v; Conflicts: v",
            &["a"],
            "a=1",
        ),
    ] {
        assert_eq!(names(&world(lines), roots).unwrap(), expected, "{rule}");
    }
}

#[test]
fn every_impossible_wish_says_why() {
    for (danger, lines, roots, says) in [
        (
            "unknown package",
            "docker.io 1",
            &["docker-io"][..],
            "did you mean `docker.io`",
        ),
        (
            "missing dependency",
            "a 1; Depends: b (>= 2)\nb 1",
            &["a"],
            "`a` needs `b (>= 2)`",
        ),
        (
            "two that exclude each other",
            "a 1; Conflicts: b\nb 1",
            &["a", "b"],
            "exclude each other",
        ),
        (
            "broken version",
            "a 1; Breaks: b (<< 2)\nb 1",
            &["a", "b"],
            "exclude each other",
        ),
        (
            "dependency that conflicts",
            "a 1; Depends: b\nb 1; Conflicts: c\nc 1",
            &["a", "c"],
            "b excludes c",
        ),
        (
            "conflict with what another provides",
            "a 1; Conflicts: v\nb 1; Provides: v",
            &["a", "b"],
            "exclude each other",
        ),
    ] {
        let e = names(&world(lines), roots).unwrap_err().to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
}

#[test]
fn excluded_package_is_not_taken() {
    let lines = "a 1; Depends: b | c\nb 1\nc 1";
    let root = ["a".to_owned()];
    let set = resolve(&world(lines), &root, &["b".to_owned()]).unwrap();
    assert!(set.contains_key("c") && !set.contains_key("b"));
    assert!(resolve(&world("a 1; Depends: b\nb 1"), &root, &["b".to_owned()]).is_err());
}

#[test]
fn essential_packages_are_found() {
    let u = world("a 1; Essential: yes; Priority: required\nb 1\nc 1; Essential: yes");
    assert_eq!(u.essential().unwrap(), ["a", "c"]);
}

#[test]
fn near_names_are_near() {
    assert_eq!(distance(b"ab", b"ba"), 1);
    assert_eq!(distance(b"kitten", b"sitting"), 3);
    assert_eq!(
        closest("avahi-deamon", ["avahi-daemon", "avahi-utils"].into_iter()),
        Some("avahi-daemon")
    );
    assert_eq!(closest("zzz", ["avahi-daemon"].into_iter()), None);
}

/// A kernel of the backports that pulls the rest of its pocket along would make another distribution of the image.
#[test]
fn a_pin_takes_its_sources_from_the_pocket_and_nothing_else() {
    let mut universe = world(
        "image 6; Source: linux-signed (6+1); Depends: modules (= 6)\n\
         modules 6; Source: linux; Depends: tool\n\
         tool 1\n\
         old 6; Source: linux\n\
         core 1; Essential: yes",
    );
    let pocket = world(
        "image 7; Source: linux-signed (7+1); Depends: modules (= 7)\n\
         modules 7; Source: linux; Depends: tool\n\
         tool 2\n\
         core 2; Essential: yes",
    );
    let sources = ["linux".to_owned(), "linux-signed".to_owned()];
    universe.pin(&sources, pocket.indices);
    assert_eq!(
        names(&universe, &["image", "old", "core"]).unwrap(),
        "core=1 image=7 modules=7 old=6 tool=1"
    );
    assert_eq!(universe.essential().unwrap(), ["core"]);
}

#[test]
fn of_several_packages_behind_a_name_none_is_taken_by_alphabet() {
    let mail = "courier 1; Provides: mta\npostfix 1; Provides: mta\nnull 1; Provides: mta";
    let e = names(&world(mail), &["mta"]).unwrap_err();
    let ResolveError::Virtual { name, providers } = &e else {
        panic!("{e}")
    };
    assert_eq!((name.as_str(), providers.len()), ("mta", 3));
    assert!(e.to_string().contains("postfix"), "{e}");
    assert_eq!(
        names(&world("p 1; Provides: mta"), &["mta"]).unwrap(),
        "p=1"
    );
}
