//! Owns how an ordinary user becomes root of a user namespace: which ids it gets (subuid(5)), who maps them (newuidmap(1)), and
//! what to do where the system does not allow it.

use std::fs;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

use crate::exec;

/// Ids a root tree needs besides root's: every owner that Debian knows is below (policy 9.2.2, `nobody` is 65534).
const NEEDED: u32 = 65_536;
/// Where ranges begin if nobody has one yet (login.defs(5), `SUB_UID_MIN`).
const FIRST_RANGE: u32 = 100_000;
/// Files of ranges, and the option of usermod(8) that adds one.
const FILES: [(&str, &str); 2] = [
    ("/etc/subuid", "--add-subuids"),
    ("/etc/subgid", "--add-subgids"),
];
/// The programs that map ids, for users and for groups.
const MAPPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// Why an ordinary user cannot build here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdsError {
    /// The helpers are not installed.
    #[error(
        "{0} is missing; without it an ordinary user cannot make files of several owners: install it as root \
         (Debian: apt-get install uidmap), or build as root"
    )]
    NoMapper(&'static str),
    /// The user has no ids to give.
    #[error(
        "user {user} has no {NEEDED} subordinate ids in {file}; as root, run `{command}`, \
         or add the line `{line}` to {file}; or build as root"
    )]
    NoRange {
        /// The user.
        user: String,
        /// The file that lacks them.
        file: &'static str,
        /// What adds them.
        command: String,
        /// Or by hand.
        line: String,
    },
    /// The user has no name.
    #[error(
        "user {0} has no name in /etc/passwd, and newuidmap asks for one: build as a user that has one, or as root"
    )]
    NoName(u32),
    /// The system forbids user namespaces.
    #[error(
        "this system forbids user namespaces to ordinary users ({0}): allow them as root with `sysctl -w {1}` \
         (and a file in /etc/sysctl.d, so that it stays), or build as root"
    )]
    Forbidden(&'static str, &'static str),
    /// Root of a namespace that is too small.
    #[error(
        "you are root of a user namespace with few ids, which cannot hold the owners of a root tree: \
         build as an ordinary user with {NEEDED} subordinate ids, or as the machine's root"
    )]
    FewIds,
    /// It is not allowed, and no known setting says so.
    #[error(
        "no user namespace to be had here ({0}): in a container, start it with --privileged \
         (or --security-opt seccomp=unconfined), or build as root outside"
    )]
    Refused(String),
}

/// Some consecutive ids: (first inside, first outside, how many).
pub(crate) type Range = (u32, u32, u32);

/// What a namespace's ids stand for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Maps {
    users: Vec<Range>,
    groups: Vec<Range>,
}

/// What counts of this machine and its user.
#[derive(Debug, Clone)]
struct Machine {
    uid: u32,
    gid: u32,
    name: Option<String>,
    /// The texts of [`FILES`].
    files: [String; 2],
    /// Which of [`MAPPERS`] is not installed.
    lacking: Option<&'static str>,
    sysctl: Sysctl,
}

/// The settings that forbid; `None` where the kernel does not have one.
#[derive(Debug, Clone, Copy, Default)]
struct Sysctl {
    max_user_namespaces: Option<u64>,
    unprivileged_userns_clone: Option<u64>,
}

/// Says whether this caller can make trees, before anything is begun: as root that has all ids, or as a user that can get them.
pub fn check() -> Result<(), IdsError> {
    if !nix::unistd::geteuid().is_root() {
        return maps().map(drop);
    }
    let full = ["uid_map", "gid_map"].iter().all(|map| {
        // Where it cannot be read there are no namespaces, so every id exists.
        fs::read_to_string(Path::new("/proc/self").join(map)).map_or(true, |text| has_all(&text))
    });
    if full { Ok(()) } else { Err(IdsError::FewIds) }
}

/// The ids this user can give to a namespace.
pub(crate) fn maps() -> Result<Maps, IdsError> {
    let uid = nix::unistd::getuid();
    let name = nix::unistd::User::from_uid(uid).ok().flatten();
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
    decide(&Machine {
        uid: uid.as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        name: name.map(|u| u.name),
        files: FILES.map(|(path, _)| fs::read_to_string(path).unwrap_or_default()),
        lacking: MAPPERS.into_iter().find(|m| !exec::exists(m)),
        sysctl: Sysctl {
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
        },
    })
}

fn decide(machine: &Machine) -> Result<Maps, IdsError> {
    if machine.sysctl.max_user_namespaces == Some(0) {
        return Err(IdsError::Forbidden(
            "user.max_user_namespaces is 0",
            "user.max_user_namespaces=15000",
        ));
    }
    if machine.sysctl.unprivileged_userns_clone == Some(0) {
        return Err(IdsError::Forbidden(
            "kernel.unprivileged_userns_clone is 0",
            "kernel.unprivileged_userns_clone=1",
        ));
    }
    if let Some(program) = machine.lacking {
        return Err(IdsError::NoMapper(program));
    }
    let name = machine
        .name
        .as_deref()
        .ok_or(IdsError::NoName(machine.uid))?;
    let map = |n: usize, own: u32| {
        let ranges = ranges(&machine.files[n], name, machine.uid);
        mapping(own, &ranges).ok_or_else(|| no_range(machine, name, n))
    };
    Ok(Maps {
        users: map(0, machine.uid)?,
        groups: map(1, machine.gid)?,
    })
}

/// subuid(5): `user:first:count`, the user by name or by number; also in the file for groups.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let uid = uid.to_string();
    let one = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (owner == name || owner == uid).then_some(range)
    };
    text.lines().filter_map(one).collect()
}

/// 0 is the user's own id, the rest comes from the ranges in their order. `None` if they are too few.
fn mapping(own: u32, ranges: &[(u32, u32)]) -> Option<Vec<Range>> {
    let mut map = vec![(0, own, 1)];
    let mut have = 0;
    for &(first, count) in ranges {
        let take = count.min(NEEDED - have);
        if take > 0 && first.checked_add(take).is_some() {
            map.push((1 + have, first, take));
            have += take;
        }
    }
    (have == NEEDED).then_some(map)
}

/// Names a range that nobody has.
fn no_range(machine: &Machine, name: &str, n: usize) -> IdsError {
    let end = |line: &str| {
        let mut fields = line.split(':').skip(1).map(str::parse::<u32>);
        fields.next()?.ok()?.checked_add(fields.next()?.ok()?)
    };
    let ends = machine.files.iter().flat_map(|f| f.lines()).filter_map(end);
    let first = ends.max().unwrap_or(0).max(FIRST_RANGE);
    let (file, option) = FILES[n];
    let last = first.saturating_add(NEEDED - 1);
    IdsError::NoRange {
        user: name.to_owned(),
        file,
        command: format!("usermod {option} {first}-{last} {name}"),
        line: format!("{name}:{first}:{NEEDED}"),
    }
}

/// Whether `/proc/self/uid_map` (user_namespaces(7)) knows every id that a tree may need.
fn has_all(map: &str) -> bool {
    let mut lines: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|l| {
            let mut n = l.split_whitespace().map(str::parse);
            let first = n.next()?.ok()?;
            Some((first, n.nth(1)?.ok()?))
        })
        .collect();
    lines.sort_unstable();
    let reached = lines.iter().fold(0, |end, (first, count)| {
        if *first <= end {
            end.max(first + count)
        } else {
            end
        }
    });
    // The last one, 65535, is no owner: it means "none" (Debian policy 9.2.2).
    reached >= u64::from(NEEDED) - 1
}

/// Makes this process root of a user namespace with these ids. It must have no other thread.
pub(crate) fn become_root(maps: &Maps) -> anyhow::Result<()> {
    let pid = std::process::id().to_string();
    let mapper = exec::tool(std::env::current_exe()?)
        .arg("inside-map")
        .arg(&pid);
    let mapper = mapper.hold()?;
    unshare(CloneFlags::CLONE_NEWUSER).map_err(refused)?;
    mapper.release(&serde_json::to_vec(maps)?)?;
    // Root of the namespace may do this, unless a security module has taken the capabilities away.
    unshare(CloneFlags::CLONE_NEWNS).map_err(refused)?;
    super::die_with_parent()
}

/// What is behind the kernel's refusal, as far as it can be seen.
pub(super) fn refused(e: nix::errno::Errno) -> IdsError {
    // Ubuntu 23.10 and later; the file exists nowhere else.
    let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
    if fs::read_to_string(apparmor).is_ok_and(|v| v.trim() == "1") {
        return IdsError::Forbidden(
            "kernel.apparmor_restrict_unprivileged_userns is 1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    IdsError::Refused(e.to_string())
}

/// Maps the ids of `pid` from outside.
pub(super) fn map(pid: u32, maps: &Maps) -> anyhow::Result<()> {
    for (program, ranges) in MAPPERS.iter().zip([&maps.users, &maps.groups]) {
        let numbers = ranges.iter().flat_map(|r| [r.0, r.1, r.2]);
        let found = exec::find(program).ok_or(IdsError::NoMapper(program))?;
        let cmd = exec::tool(found)
            .arg(pid.to_string())
            .args(numbers.map(|n| n.to_string()));
        cmd.run().map_err(|e| {
            anyhow::anyhow!(
                "{e}\n{program} must be set-user-id root or have its file capability, and the file system it lies on and \
                 the container we run in must let it (no `nosuid`, no `no-new-privileges`)"
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            uid: 1000,
            gid: 1001,
            name: Some("ci".to_owned()),
            files: ["ci:100000:65536\n", "1000:200000:65536\n"].map(str::to_owned),
            lacking: None,
            sysctl: Sysctl::default(),
        }
    }

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let maps = decide(&machine()).unwrap();
        assert_eq!(maps.users, [(0, 1000, 1), (1, 100_000, 65_536)]);
        assert_eq!(maps.groups, [(0, 1001, 1), (1, 200_000, 65_536)]);
    }

    #[test]
    fn several_ranges_are_joined_and_damaged_lines_skipped() {
        let mut m = machine();
        m.files[0] =
            "# ci:1:1\nci\nci:x:5\ncia:5:9\nci:300000:1000\nother:1:70000\nci:400000:90000\n"
                .to_owned();
        let maps = decide(&m).unwrap();
        assert_eq!(
            maps.users,
            [(0, 1000, 1), (1, 300_000, 1000), (1001, 400_000, 64_536)]
        );
    }

    #[test]
    fn whatever_is_missing_is_said_with_what_to_do() {
        type Change = fn(&mut Machine);
        let cases: [(Change, &[&str]); 8] = [
            (
                |m| m.lacking = Some("newgidmap"),
                &["newgidmap", "apt-get install uidmap"],
            ),
            (|m| m.name = None, &["user 1000 has no name"]),
            (
                |m| m.files[0] = "other:100000:65536\nmore:300000:100".to_owned(),
                &[
                    "/etc/subuid",
                    "usermod --add-subuids 300100-365635 ci",
                    "`ci:300100:65536`",
                ],
            ),
            (
                |m| m.files = [machine().files[0].clone(), String::new()],
                &["/etc/subgid", "--add-subgids 165536-231071 ci"],
            ),
            (
                |m| m.files[0] = "ci:100000:65535".to_owned(),
                &["no 65536 subordinate ids"],
            ),
            (
                |m| m.files[0] = "ci:4294967295:65536".to_owned(),
                &["/etc/subuid"],
            ),
            (
                |m| m.sysctl.max_user_namespaces = Some(0),
                &["sysctl -w user.max_user_namespaces=15000"],
            ),
            (
                |m| m.sysctl.unprivileged_userns_clone = Some(0),
                &["sysctl -w kernel.unprivileged_userns_clone=1"],
            ),
        ];
        for (change, words) in cases {
            let mut m = machine();
            change(&mut m);
            let e = decide(&m).unwrap_err().to_string();
            assert!(words.iter().all(|w| e.contains(w)), "{e}");
        }
    }

    #[test]
    fn root_of_a_small_namespace_is_not_enough() {
        for (map, want) in [
            ("         0          0 4294967295\n", true),
            ("0 1000 1\n1 100000 65536\n", true),
            ("1 100000 65535\n0 1000 1\n", true),
            ("0 1000 1\n", false),
            ("0 1000 1\n2 100000 65536\n", false),
            ("", false),
        ] {
            assert_eq!(has_all(map), want, "{map:?}");
        }
    }
}
