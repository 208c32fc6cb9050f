//! What a build will take and make, told from the lock alone: downloads, what is in the store already, the size of the root
//! file system, the room it leaves in its slot. Nothing of a package is fetched for it.

use hypriot_updater::layout::{self, Partition};
use hypriot_updater::slot::Slot;
use serde::Serialize;

use crate::arch::Arch;
use crate::bake::slim::Left;
use crate::fetch::store::Store;
use crate::inputs::board::Board;
use crate::inputs::needs::{self, Lack};
use crate::lock::{Lock, LockedPackage};

/// A root file system takes this part of what its packages say, in per cent. `Installed-Size` rounds every file up to 1 KiB
/// (Debian policy 5.6.20) and counts the kernel, which goes to another partition; what scripts make comes on top. Measured:
/// 98.7 on qemu-arm64 with 230 packages of trixie.
const TAKES: [u64; 2] = [92, 106];

/// The plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Board.
    pub board: String,
    /// Suite.
    pub suite: String,
    /// Architecture.
    pub arch: Arch,
    /// Packages of the root file system.
    pub packages: usize,
    /// Packages of which boot files are taken.
    pub boot_packages: usize,
    /// Programs of this machine's architecture that configure them.
    pub tools: usize,
    /// What must still be fetched.
    pub download: Files,
    /// What is in the store.
    pub stored: Files,
    /// Bytes the packages say they take when installed.
    pub installed_bytes: u64,
    /// The root file system in its slot.
    pub root: Estimate,
    /// The card.
    pub partitions: Vec<Part>,
    /// Bytes of the image.
    pub image_bytes: u64,
    /// The packages that take most.
    pub largest: Vec<Large>,
    /// What the image's tests would miss.
    pub lacking: Vec<Lack>,
    /// What a recipe leaves out of its packages, where they are here to be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Left>,
}

/// A number of files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// How many.
    pub files: usize,
    /// Bytes of all.
    pub bytes: u64,
}

/// What a partition will hold, and its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Estimate {
    /// At least so many bytes.
    pub least: u64,
    /// At most so many.
    pub most: u64,
    /// Room of the partition, the same in either slot.
    pub room: u64,
}

/// A partition of the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: u64,
}

/// A large package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Large {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Installed bytes, as it says.
    pub bytes: u64,
}

/// The root file system cannot fit.
#[derive(Debug, thiserror::Error)]
#[error(
    "the root file system of {board} would need {} MiB at least, and its partition has {} MiB; nothing was fetched. Take \
     packages out of the recipe; the largest are: {largest}", mib(*.needs), mib(*.room)
)]
pub struct TooBig {
    /// Board.
    board: String,
    /// Bytes needed at least.
    needs: u64,
    /// Bytes there are.
    room: u64,
    /// The largest packages.
    largest: String,
}

/// An image of these packages would fail its tests.
#[derive(Debug, thiserror::Error)]
#[error(
    "an image for {board} of this recipe would fail its tests, and nothing was fetched for it; it lacks the packages:\n  {list}\n\
     Add them to the recipe (`base = \"default\"` brings all of them), or build with --no-inspect if the image means to be different"
)]
pub struct Lacking {
    board: String,
    list: String,
}

/// Refuses packages of which no image can be made that passes its tests, before a byte of them is fetched.
pub fn suffices(lock: &Lock, board: &Board) -> Result<(), Lacking> {
    let lacking = lacking(lock, board);
    if lacking.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    Err(Lacking {
        board: board.name.clone(),
        list: lines.join("\n  "),
    })
}

fn lacking(lock: &Lock, board: &Board) -> Vec<Lack> {
    needs::lacking(board, |name| lock.packages.iter().any(|p| p.name == name))
}

/// Whole MiB.
pub fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Packages that are named as the largest.
const LARGEST: usize = 10;

/// Makes the plan of a lock.
pub fn of(lock: &Lock, board: &Board, store: &Store) -> Plan {
    let (mut download, mut stored) = (Files::default(), Files::default());
    for package in lock.all() {
        let there = store.get(package.sha256, package.size).is_some();
        let count = if there { &mut stored } else { &mut download };
        count.files += 1;
        count.bytes += package.size;
    }
    let installed = lock.packages.iter().map(bytes).sum::<u64>();
    let mut largest: Vec<&LockedPackage> = lock.packages.iter().collect();
    largest.sort_by_key(|p| (std::cmp::Reverse(p.installed_kib), &p.name));
    let root = layout::root(Slot::A);
    let part = |p: Partition| Part {
        number: p.number,
        name: p.name,
        bytes: p.size,
    };
    Plan {
        board: lock.board.clone(),
        suite: lock.suite.clone(),
        arch: lock.arch,
        packages: lock.packages.len(),
        boot_packages: lock.boot_packages.len(),
        tools: lock.tools.len(),
        download,
        stored,
        installed_bytes: installed,
        root: Estimate {
            least: installed / 100 * TAKES[0],
            most: installed / 100 * TAKES[1],
            room: root.size,
        },
        partitions: layout::PARTITIONS.into_iter().map(part).collect(),
        image_bytes: layout::IMAGE_SIZE,
        largest: largest
            .into_iter()
            .take(LARGEST)
            .map(|p| Large {
                name: p.name.clone(),
                version: p.version.clone(),
                bytes: bytes(p),
            })
            .collect(),
        lacking: lacking(lock, board),
        left_out: None,
    }
}

fn bytes(package: &LockedPackage) -> u64 {
    package.installed_kib.saturating_mul(1024)
}

impl Plan {
    /// Takes off what a recipe leaves out of its packages.
    pub fn leave_out(&mut self, left: Left) {
        self.root.least = self.root.least.saturating_sub(left.out_bytes);
        self.root.most = self.root.most.saturating_sub(left.out_bytes);
        self.left_out = Some(left);
    }

    /// Refuses what cannot fit, before a byte of it is fetched.
    pub fn fits(&self) -> Result<(), TooBig> {
        if self.root.least <= self.root.room {
            return Ok(());
        }
        let largest = self.largest.iter().take(5);
        let largest: Vec<String> = largest
            .map(|l| format!("{} ({} MiB)", l.name, mib(l.bytes)))
            .collect();
        Err(TooBig {
            board: self.board.clone(),
            needs: self.root.least,
            room: self.root.room,
            largest: largest.join(", "),
        })
    }

    /// The plan for people.
    pub fn lines(&self) -> Vec<String> {
        let mut out = vec![
            format!(
                "{}: {} {}, {} packages, {} with boot files, {} tools",
                self.board, self.suite, self.arch, self.packages, self.boot_packages, self.tools
            ),
            format!(
                "download   {} files, {} MiB; {} files, {} MiB are in the store",
                self.download.files,
                mib(self.download.bytes),
                self.stored.files,
                mib(self.stored.bytes)
            ),
            format!(
                "root       {} to {} MiB expected, {} MiB per slot: {} to {} MiB stay free in each",
                mib(self.root.least),
                mib(self.root.most),
                mib(self.root.room),
                mib(self.root.room.saturating_sub(self.root.most)),
                mib(self.root.room.saturating_sub(self.root.least)),
            ),
        ];
        if let Some(left) = &self.left_out {
            out.push(format!(
                "left out   {} of {} files, {} of {} MiB, by path-exclude: with them the root has {} to {} MiB",
                left.out_files,
                left.files,
                mib(left.out_bytes),
                mib(left.bytes),
                mib(self.root.least + left.out_bytes),
                mib(self.root.most + left.out_bytes),
            ));
        }
        let parts: Vec<String> = self
            .partitions
            .iter()
            .map(|p| format!("{} {} {} MiB", p.number, p.name, mib(p.bytes)))
            .collect();
        out.push(format!(
            "image      {} MiB: {}",
            mib(self.image_bytes),
            parts.join(", ")
        ));
        out.push("largest    as the packages say, installed:".to_owned());
        out.extend(
            self.largest
                .iter()
                .map(|l| format!("{:>8} MiB  {} {}", mib(l.bytes), l.name, l.version)),
        );
        if !self.lacking.is_empty() {
            out.push("lacks      what an image must have:".to_owned());
            out.extend(self.lacking.iter().map(|l| format!("           {l}")));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Lock;

    fn package(name: &str, size: u64, installed_kib: u64) -> LockedPackage {
        LockedPackage {
            name: name.to_owned(),
            version: "1".to_owned(),
            arch: "arm64".to_owned(),
            source: name.to_owned(),
            archive: "main".to_owned(),
            filename: format!("pool/{name}.deb"),
            size,
            installed_kib,
            sha256: crate::sha256::Sha256::of(name.as_bytes()),
        }
    }

    fn lock(packages: Vec<LockedPackage>) -> Lock {
        Lock {
            format: 1,
            board: "x".to_owned(),
            arch: Arch::Arm64,
            suite: "trixie".to_owned(),
            request: String::new(),
            releases: Vec::new(),
            repositories: Vec::new(),
            packages,
            boot_packages: vec![package("boot", 7, 1)],
            tools: vec![package("tool", 5, 1)],
        }
    }

    fn the_board() -> Board {
        crate::inputs::board::find("qemu-arm64").unwrap()
    }

    #[test]
    fn an_image_that_would_fail_its_tests_is_refused_before_the_first_download() {
        let board = the_board();
        let all: Vec<&str> = needs::lacking(&board, |_| false)
            .into_iter()
            .map(|l| l.package.leak().split(" or ").next().unwrap())
            .collect();
        let with = |without: &[&str], more: &[&str]| {
            let names = all.iter().filter(|n| !without.contains(n)).chain(more);
            lock(names.map(|n| package(n, 1, 1)).collect())
        };
        assert!(suffices(&with(&[], &[]), &board).is_ok());
        // Docker's own packages and another keeper of the clock do as well.
        let docker = [
            "docker.io",
            "docker-cli",
            "docker-compose",
            "containerd",
            "runc",
            "systemd-timesyncd",
        ];
        let others = [
            "docker-ce",
            "docker-ce-cli",
            "docker-compose-plugin",
            "containerd.io",
            "chrony",
        ];
        assert!(suffices(&with(&docker, &others), &board).is_ok());
        let kernel = board.packages[0].as_str();
        for gone in [
            "openssh-server",
            "docker.io",
            "cloud-init",
            "systemd-resolved",
            kernel,
        ] {
            let e = suffices(&with(&[gone], &[]), &board)
                .unwrap_err()
                .to_string();
            assert!(e.contains(gone) && e.contains("base = "), "{e}");
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path()).unwrap();
            let plan = of(&with(&[gone], &[]), &board, &store);
            assert!(plan.lines().join("\n").contains(gone));
        }
    }

    #[test]
    fn what_is_in_the_store_is_not_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let here = package("here", 4, 2);
        crate::files::replace(&store.path(here.sha256), b"1234").unwrap();
        let plan = of(
            &lock(vec![here, package("gone", 100, 3)]),
            &the_board(),
            &store,
        );
        let files = |files, bytes| Files { files, bytes };
        assert_eq!((plan.download, plan.stored), (files(3, 112), files(1, 4)));
        assert_eq!(plan.installed_bytes, 5 * 1024);
        assert_eq!(plan.largest[0].name, "gone");
        assert!(plan.fits().is_ok());
        let text = plan.lines().join("\n");
        assert!(
            text.contains("3 files") && text.contains("7 data"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_fit_is_refused_and_the_culprit_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let plan = of(
            &lock(vec![package("small", 1, 1), package("huge", 1, 3 << 20)]),
            &the_board(),
            &store,
        );
        let e = plan.fits().unwrap_err().to_string();
        assert!(
            e.contains("1280 MiB") && e.contains("huge (3072 MiB)") && e.contains("recipe"),
            "{e}"
        );
    }
}
