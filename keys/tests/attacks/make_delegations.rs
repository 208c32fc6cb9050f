//! Attacks by, on and through delegated roles.

use serde_json::json;

use crate::make::{Attack, honest};
use crate::world::{Files, World};

pub(crate) fn all() -> Vec<Attack> {
    let world = |twist: &dyn Fn(&mut World)| -> Files {
        let mut world = World::honest(2);
        twist(&mut world);
        world.build()
    };
    let team = |w: &mut World| {
        w.delegate("targets", "team", 5, &["team/*"], false);
        w.add_target("team", "team/app.json", b"app");
    };
    let case = |name, about, files: Files, target| Attack {
        target: Some(target),
        ..Attack::new(name, about, files)
    };
    vec![
        case(
            "delegation-honest",
            "a delegated role's target is found",
            world(&team),
            "team/app.json",
        ),
        case(
            "delegation-outside-its-paths",
            "a role lists a name that it was not trusted with (extraneous dependencies)",
            world(&|w| {
                team(w);
                w.add_target("team", "other/app.json", b"stolen name");
            }),
            "other/app.json",
        ),
        case(
            "delegation-below-its-parents-paths",
            "a role passes on more than it was given",
            world(&|w| {
                team(w);
                w.delegate("team", "friend", 6, &["*/*"], false);
                w.add_target("friend", "other/app.json", b"stolen name");
            }),
            "other/app.json",
        ),
        case(
            "delegation-wrong-key",
            "the delegated role is signed by a key of nobody",
            world(&|w| {
                team(w);
                w.roles.get_mut("team").expect("there").keys = vec![9];
            }),
            "team/app.json",
        ),
        case(
            "delegation-signed-by-its-parent",
            "the parent's key is not the role's",
            world(&|w| {
                team(w);
                w.roles.get_mut("team").expect("there").keys = vec![4];
            }),
            "team/app.json",
        ),
        case(
            "delegation-expired",
            "the delegated role has expired",
            world(&|w| {
                team(w);
                w.role("team")["expires"] = json!("2026-11-23T12:00:00Z");
            }),
            "team/app.json",
        ),
        case(
            "delegation-not-in-snapshot",
            "a role that the snapshot does not list is not asked for",
            {
                // Listed by nobody: built without the role, served with it.
                let mut with = World::honest(2);
                team(&mut with);
                let files = with.build();
                let mut without = with;
                without.roles.remove("team");
                let mut served = without.build();
                served.insert("1.team.json".into(), files["1.team.json"].clone());
                served
            },
            "team/app.json",
        ),
        case(
            "delegation-terminating",
            "a terminating role ends the search, a later one is not asked (CVE-2025-2886)",
            world(&|w| {
                w.delegate("targets", "first", 5, &["team/*"], true);
                w.delegate("targets", "second", 6, &["team/*"], false);
                w.add_target("second", "team/app.json", b"from the second");
            }),
            "team/app.json",
        ),
        case(
            "delegation-terminating-below",
            "a terminating role below another one ends the search too (CVE-2024-47534)",
            world(&|w| {
                w.delegate("targets", "first", 5, &["team/*"], false);
                w.delegate("first", "inner", 6, &["team/*"], true);
                w.delegate("targets", "second", 7, &["team/*"], false);
                w.add_target("second", "team/app.json", b"from the second");
            }),
            "team/app.json",
        ),
        case(
            "delegation-cycle",
            "two roles delegate to each other (GHSA-j8x2-777p-23fc)",
            world(&|w| {
                w.delegate("targets", "one", 5, &["*/*"], false);
                w.delegate("one", "two", 6, &["*/*"], false);
                w.delegate("two", "one", 5, &["*/*"], false);
            }),
            "team/app.json",
        ),
        case(
            "delegation-chain",
            "a chain of 40 roles",
            world(&|w| {
                let mut parent = "targets".to_owned();
                for n in 0..40 {
                    let name = format!("r{n}");
                    w.delegate(&parent, &name, 5, &["*/*"], false);
                    parent = name;
                }
            }),
            "team/app.json",
        ),
        case(
            "delegations-10000",
            "10,000 roles that all may speak for the name",
            many(),
            "team/app.json",
        ),
        Attack {
            before: Some(world(&|w| {
                team(w);
                w.role("team")["version"] = json!(7);
            })),
            ..case(
                "delegation-rollback",
                "a new snapshot lists an older version of a delegated role (CVE-2025-2887)",
                world(&|w| {
                    team(w);
                    w.role("team")["version"] = json!(6);
                    w.snapshot.signed["version"] = json!(3);
                    w.timestamp.signed["version"] = json!(3);
                }),
                "team/app.json",
            )
        },
        Attack {
            before: Some(world(&team)),
            ..case(
                "delegation-dropped",
                "a role vanishes from the snapshot",
                world(&|w| {
                    w.snapshot.signed["version"] = json!(3);
                    w.timestamp.signed["version"] = json!(3);
                }),
                "team/app.json",
            )
        },
        case(
            "delegation-named-root",
            "a role whose file would be stored over the trusted root",
            world(&|w| {
                w.delegate("targets", "root", 5, &["*"], false);
            }),
            "x",
        ),
        case(
            "delegation-named-twice",
            "two roles of one name with different keys",
            world(&|w| {
                team(w);
                w.delegate("targets", "team", 9, &["*"], false);
            }),
            "x",
        ),
        case(
            "delegation-with-a-path-for-a-name",
            "a role named ../team is one encoded file name",
            world(&|w| {
                w.delegate("targets", "../team", 5, &["team/*"], false);
                w.add_target("../team", "team/app.json", b"app");
            }),
            "team/app.json",
        ),
        case(
            "delegation-threshold-zero",
            "a role that needs no signature",
            world(&|w| {
                team(w);
                w.role("targets")["delegations"]["roles"][0]["threshold"] = json!(0);
            }),
            "x",
        ),
        case(
            "delegation-key-twice",
            "one key twice for a role of threshold 2",
            world(&|w| {
                team(w);
                let id = w.role("targets")["delegations"]["roles"][0]["keyids"][0].clone();
                w.role("targets")["delegations"]["roles"][0]["keyids"] = json!([id, id]);
                w.role("targets")["delegations"]["roles"][0]["threshold"] = json!(2);
            }),
            "x",
        ),
        case(
            "delegation-paths-and-prefixes",
            "a role with two rules for its names",
            world(&|w| {
                team(w);
                w.role("targets")["delegations"]["roles"][0]["path_hash_prefixes"] = json!(["00"]);
            }),
            "x",
        ),
        case(
            "delegation-empty-prefix",
            "a prefix of no digits would cover every name",
            world(&|w| {
                team(w);
                let role = &mut w.role("targets")["delegations"]["roles"][0];
                role["path_hash_prefixes"] = json!([""]);
                role.as_object_mut().expect("an object").remove("paths");
            }),
            "x",
        ),
        case(
            "delegation-honest-but-unknown-name",
            "nobody lists the name",
            world(&team),
            "team/other.json",
        ),
        Attack {
            before: Some(honest(1)),
            ..case(
                "delegation-missing",
                "the mirror drops the delegated role",
                {
                    let mut files = world(&team);
                    files.remove("1.team.json");
                    files
                },
                "team/app.json",
            )
        },
    ]
}

fn many() -> Files {
    let mut world = World::honest(2);
    world.delegate("targets", "r0", 5, &["*/*"], false);
    let one = world.role("targets")["delegations"]["roles"][0].clone();
    let role = world.roles["r0"].clone();
    let mut list = vec![];
    let mut listed = serde_json::Map::new();
    for n in 0..10_000 {
        let mut next = one.clone();
        next["name"] = json!(format!("r{n}"));
        list.push(next);
        listed.insert(format!("r{n}.json"), json!({"version": 1}));
        if n < 40 {
            world.roles.insert(format!("r{n}"), role.clone());
        }
    }
    world.role("targets")["delegations"]["roles"] = json!(list);
    world.snapshot.signed["meta"] = json!(listed);
    world.build()
}
