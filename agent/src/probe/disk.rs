//! File systems: space, inodes, and whether the data partition has become read-only.

use anyhow::{Context as _, Result};
use nix::sys::statvfs::statvfs;

use super::{Finding, Found, Look};
use crate::paths::DATA_LOST;
use crate::report::{Severity, Status};

/// The file systems that matter on a HypriotOS board; the data partition holds all that changes.
const DATA: &str = "/data";
const DOCKER: &str = "/var/lib/docker";

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where.
    pub(crate) point: String,
    /// What: `/dev/vda7`.
    pub(crate) source: String,
    /// The kind: `ext4`.
    pub(crate) kind: String,
    /// Options of this mount.
    pub(crate) options: Vec<String>,
    /// Options of the file system itself.
    pub(crate) super_options: Vec<String>,
}

/// Room on a file system, in bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Room {
    pub(crate) total: f64,
    /// What ordinary users may still take.
    pub(crate) available: f64,
    pub(crate) inodes: f64,
    pub(crate) inodes_free: f64,
}

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let mounts = mounts(&look.root.text("/proc/self/mountinfo")?);
    // Without slots there is no data partition, even if an owner calls a disk so: the root is what changes.
    let slots = look.context.update.booted.is_some();
    let point = if slots && find(&mounts, DATA).is_some() {
        DATA
    } else {
        "/"
    };
    let mount = find(&mounts, point).context("mountinfo has no root file system")?;
    let room =
        room(&look.root.path(point)).with_context(|| format!("asking for the room on {point}"))?;
    let name = if point == DATA {
        "disk-data"
    } else {
        "disk-root"
    };
    let mut found = Found::default();
    found.gauge("disk_size_bytes", room.total);
    found.gauge("disk_available_bytes", room.available);
    found.gauge("disk_inodes", room.inodes);
    found.gauge("disk_inodes_free", room.inodes_free);
    let readonly = is_readonly(mount);
    if look.root.exists(DATA_LOST) {
        found.add("disk-data", lost().detail(reasons(look)));
        return Ok(found);
    }
    found.gauge("disk_readonly", f64::from(u8::from(readonly)));
    found.add(name, judge(room, readonly));
    // Where Docker has a disk of its own, that one fills up.
    if let Some(own) = find(&mounts, DOCKER).filter(|own| own.source != mount.source)
        && let Ok(room) = self::room(&look.root.path(DOCKER))
    {
        found.add("disk-docker", judge(room, is_readonly(own)));
    }
    Ok(found)
}

/// What the initramfs says of each part, one line each.
fn reasons(look: &Look<'_>) -> Option<String> {
    // the first line is for the settings
    let text = look.root.text(DATA_LOST).ok()?;
    text.split_once('\n').map(|(_, reasons)| reasons.to_owned())
}

fn lost() -> Finding {
    let output =
        "what the data partition keeps cannot be used: the board runs with an empty one in memory";
    let fix =
        "do not update now; the card is failing: save what can be saved, then flash a new one";
    Finding::pass(Severity::Required, "state", output).worse(Status::Fail, fix)
}

fn judge(room: Room, readonly: bool) -> Finding {
    let used = 100.0 * (1.0 - room.available / room.total.max(1.0));
    let inodes = if room.inodes > 0.0 {
        100.0 * (1.0 - room.inodes_free / room.inodes)
    } else {
        0.0
    };
    let output = format!(
        "{used:.0} % of {:.1} GiB and {inodes:.0} % of the inodes are used",
        room.total / 1_073_741_824.0
    );
    let mut finding =
        Finding::pass(Severity::Required, "utilization", output).observed(used, "percent");
    if readonly {
        finding.output = "the file system became read-only".into();
        let fix = "the card or its file system is failing: save your data, then replace the card; the kernel log tells more";
        return finding.worse(Status::Fail, fix);
    }
    let fix = "free some space, for example with docker system prune, or use a larger card";
    let worst = used.max(inodes);
    if worst >= 98.0 {
        finding = finding.worse(Status::Fail, fix);
    } else if worst >= 90.0 {
        finding = finding.worse(Status::Warn, fix);
    }
    finding
}

/// A file system that the kernel remounted after an error is `ro` in its super options (`errors=remount-ro`).
fn is_readonly(mount: &Mount) -> bool {
    mount.super_options.iter().any(|option| option == "ro")
}

/// Room on the file system that holds `path`.
pub(crate) fn room(path: &std::path::Path) -> Result<Room> {
    let stat = statvfs(path)?;
    // The types differ by architecture; a float is exact enough for a share.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of a disk needs no 64 bits"
    )]
    let float = |n: u64| n as f64;
    #[expect(clippy::useless_conversion, reason = "u32 on some 32-bit targets")]
    let wide = |n: nix::libc::fsblkcnt_t| u64::from(n);
    #[expect(clippy::useless_conversion, reason = "u32 on 32-bit targets")]
    let unit = |n: nix::libc::c_ulong| u64::from(n);
    let block = float(unit(stat.fragment_size()));
    Ok(Room {
        total: float(wide(stat.blocks())) * block,
        available: float(wide(stat.blocks_available())) * block,
        inodes: float(wide(stat.files())),
        inodes_free: float(wide(stat.files_available())),
    })
}

/// The mount that is visible at `point`: the last one there.
pub(crate) fn find<'a>(mounts: &'a [Mount], point: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.point == point)
}

/// Reads mountinfo; a line that is not understood is left out (proc(5), /proc/pid/mountinfo).
pub(crate) fn mounts(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(4);
    let (point, options) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let (kind, source) = (right.next()?, right.next()?);
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    Some(Mount {
        point: unescape(point),
        source: unescape(source),
        kind: kind.into(),
        options: list(options),
        super_options: list(right.next().unwrap_or_default()),
    })
}

/// The kernel writes blank, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4);
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            out.push(char::from(byte));
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(available: f64, inodes_free: f64) -> Room {
        Room {
            total: 100.0,
            available,
            inodes: 100.0,
            inodes_free,
        }
    }

    #[test]
    fn full_disk_or_no_inodes_warn_then_fail() {
        for (available, inodes_free, status) in [
            (50.0, 50.0, Status::Pass),
            (10.0, 50.0, Status::Warn),
            (50.0, 10.0, Status::Warn),
            (2.0, 50.0, Status::Fail),
            (50.0, 0.0, Status::Fail),
        ] {
            let found = judge(with(available, inodes_free), false);
            assert_eq!(found.status, status, "{available} {inodes_free}");
        }
    }

    #[test]
    fn file_system_without_inode_count_passes() {
        let btrfs = Room {
            inodes: 0.0,
            inodes_free: 0.0,
            ..with(50.0, 0.0)
        };
        assert_eq!(judge(btrfs, false).status, Status::Pass);
    }

    #[test]
    fn remounted_read_only_fails_however_empty() {
        assert_eq!(judge(with(99.0, 99.0), true).status, Status::Fail);
    }

    #[test]
    fn mountinfo_is_read_with_its_escapes_and_topmost_mount() {
        let text = "1 0 254:5 / / ro,relatime shared:1 - erofs /dev/vda5 ro,user_xattr\n\
                    2 1 254:7 / /data rw,noatime shared:2 master:3 - ext4 /dev/vda7 rw,errors=remount-ro\n\
                    3 1 0:5 / /with\\040blank\\134 rw - tmpfs none rw\n\
                    garbage\n\
                    4 1 254:7 / /data rw,noatime - ext4 /dev/vda7 ro,errors=remount-ro\n";
        let mounts = mounts(text);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[2].point, "/with blank\\");
        assert!(is_readonly(find(&mounts, "/data").expect("mounted")));
        assert_eq!(find(&mounts, "/").expect("root").kind, "erofs");
        assert!(find(&mounts, "/boot").is_none());
    }
}
