//! Tests of a finished card image without starting it: what the old build-time tests asserted about the raw image, the
//! root tree and the image, as far as A/B slots did not change it by design.

use anyhow::{Context, Result, ensure};
use hypriot_updater::boot::BootState;
use hypriot_updater::layout::{self, BLANK, BLANK_MARK, BOOT_STATE, BOOT_STATE_SIZE};
use hypriot_updater::slot::Slot;

use crate::bake::{AGENT, SETTINGS};
use crate::fs::erofs::read::Erofs;
use crate::fs::fat::read::Fat;
use crate::fs::{Blocks, Window, pass};
use crate::mbr;

/// One assertion and how it went.
#[derive(Debug)]
pub struct Finding {
    /// What is asserted.
    pub what: String,
    /// Why it does not hold; `None` when it does.
    pub wrong: Option<String>,
}

/// All findings so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn check(&mut self, what: impl Into<String>, result: Result<()>) {
        let wrong = result.err().map(|e| format!("{e:#}"));
        self.0.push(Finding {
            what: what.into(),
            wrong,
        });
    }
}

/// A part of the card as a thing of its own.
fn window<B: Blocks + ?Sized>(disk: &B, part: layout::Partition) -> Window<'_, B> {
    Window {
        of: disk,
        start: part.start,
        len: part.size,
    }
}

/// Runs every assertion. None depends on another: all faults of an image are told at once.
pub fn check<B: Blocks + ?Sized>(disk: &B) -> Vec<Finding> {
    let mut found = Findings::default();
    raw(disk, &mut found);
    let config = window(disk, layout::CONFIG);
    let config = Fat::open(&config);
    first_partition(&config, &mut found);
    let boot = window(disk, layout::boot(Slot::A));
    slot_boot(&Fat::open(&boot), &mut found);
    let root = window(disk, layout::root(Slot::A));
    match Erofs::open(&root) {
        Ok(root) => {
            found.check("root-a is an EROFS image", Ok(()));
            system(&root, &mut found);
            root_tree(&root, &mut found);
            let same = || {
                let (a, b) = (
                    root.read("etc/os-release")?,
                    opened(&config)?.read("os-release")?,
                );
                ensure!(a == b, "they differ");
                Ok(())
            };
            found.check(
                "os-release on the first partition is that of the root",
                same(),
            );
        }
        Err(e) => found.check("root-a is an EROFS image", Err(e)),
    }
    found.0
}

/// Raw image: partitions, types, places, boot state.
fn raw<B: Blocks + ?Sized>(disk: &B, found: &mut Findings) {
    let size = || {
        ensure!(
            disk.size() == layout::IMAGE_SIZE,
            "it has {} bytes, not {}",
            disk.size(),
            layout::IMAGE_SIZE
        );
        Ok(())
    };
    found.check("the image has the length of the layout", size());
    match mbr::Table::parse(disk) {
        Err(e) => found.check("there is a partition table", Err(e)),
        Ok(table) => {
            for want in mbr::card(table.signature).partitions {
                let have = table.get(want.number).copied();
                let same = || {
                    ensure!(have == Some(want), "it is {have:?}, not {want:?}");
                    Ok(())
                };
                found.check(
                    format!("partition {} has its type, start and size", want.number),
                    same(),
                );
            }
            let count = || {
                ensure!(
                    table.partitions.len() == 7,
                    "there are {}",
                    table.partitions.len()
                );
                Ok(())
            };
            found.check("there are exactly 7 partitions", count());
        }
    }
    let mark = || {
        ensure!(
            disk.bytes(BLANK, BLANK_MARK.len())? == BLANK_MARK,
            "it is missing: no board would make its data partition"
        );
        Ok(())
    };
    found.check("the card is marked blank", mark());
    for (n, at) in BOOT_STATE.into_iter().enumerate() {
        let fresh = || {
            let state = BootState::parse(&disk.bytes(at, BOOT_STATE_SIZE)?)?;
            ensure!(state == BootState::fresh(), "it is {state:?}");
            Ok(())
        };
        found.check(
            format!("boot state copy {} says slot A, no trial", n + 1),
            fresh(),
        );
    }
    for part in [layout::boot(Slot::B), layout::root(Slot::B), layout::DATA] {
        let empty = || {
            ensure!(
                pass::is_zero(&disk.bytes(part.start, 1 << 20)?),
                "there is something in it"
            );
            Ok(())
        };
        found.check(format!("{} is empty", part.name), empty());
    }
}

type Opened<'a, B> = Result<Fat<'a, B>>;

fn opened<'x, 'a, B: Blocks + ?Sized>(fat: &'x Opened<'a, B>) -> Result<&'x Fat<'a, B>> {
    fat.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))
}

/// First partition: what `flash` and the boot loader look for.
fn first_partition<B: Blocks + ?Sized>(fat: &Opened<'_, B>, found: &mut Findings) {
    let label = || {
        let label = &opened(fat)?.label;
        ensure!(label == "HypriotOS", "it is {label:?}");
        Ok(())
    };
    found.check(
        "the first partition is FAT with the label HypriotOS",
        label(),
    );
    for name in [
        "user-data",
        "meta-data",
        "network-config",
        "os-release",
        "README.txt",
    ] {
        found.check(
            format!("the first partition has {name}"),
            opened(fat).and_then(|f| f.read(name)).map(drop),
        );
    }
    let no_password = || {
        let text = String::from_utf8(opened(fat)?.read("user-data")?).context("it is not text")?;
        let bad = |l: &&str| {
            let l = l.trim_start_matches(['-', ' ']);
            [
                "passwd:",
                "hashed_passwd:",
                "plain_text_passwd:",
                "chpasswd:",
                "password:",
            ]
            .iter()
            .any(|k| l.starts_with(k))
        };
        let line = text.lines().find(bad);
        ensure!(line.is_none(), "it has the line {line:?}");
        Ok(())
    };
    found.check("user-data has no password", no_password());
    let script = || {
        let bytes = opened(fat)?.read("boot.scr")?;
        ensure!(bytes.len() > 72, "it is too short");
        let (mut head, data) = (bytes[..64].to_vec(), &bytes[64..]);
        let sum = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        head[4..8].fill(0);
        ensure!(
            sum(0) == 0x2705_1956
                && sum(4) == crc32fast::hash(&head)
                && sum(24) == crc32fast::hash(data),
            "its checksums are wrong"
        );
        Ok(())
    };
    found.check("boot.scr is a U-Boot script with right checksums", script());
}

/// Boot partition of slot A.
fn slot_boot<B: Blocks + ?Sized>(fat: &Opened<'_, B>, found: &mut Findings) {
    for name in ["vmlinuz", "version"] {
        found.check(
            format!("boot-a has {name}"),
            opened(fat).and_then(|f| f.read(name)).map(drop),
        );
    }
    let initrd = || {
        let bytes = opened(fat)?.read("initrd.zst")?;
        // RFC 8878, 3.1.1: magic number of a frame
        ensure!(
            bytes.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]),
            "it is not compressed with zstd"
        );
        Ok(())
    };
    found.check("boot-a has a zstd initramfs", initrd());
}

/// Programs and services.
fn system<B: Blocks + ?Sized>(root: &Erofs<'_, B>, found: &mut Findings) {
    for path in [
        "usr/bin/bash",
        "usr/bin/dpkg",
        "usr/sbin/sshd",
        "usr/bin/cloud-init",
        "usr/bin/docker",
        "usr/sbin/dockerd",
        "usr/bin/containerd",
        "usr/sbin/runc",
        AGENT,
    ] {
        let program = || {
            let node = root.get(path)?;
            ensure!(
                node.is_file() && node.mode & 0o7777 == 0o755 && node.uid == 0,
                "mode {:o}, owner {}",
                node.mode,
                node.uid
            );
            Ok(())
        };
        found.check(
            format!("/{path} is a program of root with mode 755"),
            program(),
        );
    }
    let processor = |path: &str| -> Result<Vec<u8>> {
        let bytes = root.read(path)?;
        ensure!(
            bytes.len() > 64 && bytes.starts_with(b"\x7fELF"),
            "/{path} is not ELF"
        );
        // EI_CLASS, EI_DATA and e_machine (System V ABI, ELF header)
        Ok([&bytes[4..6], &bytes[18..20]].concat())
    };
    let same = || {
        ensure!(
            processor(AGENT)? == processor("usr/bin/dpkg")?,
            "they differ"
        );
        Ok(())
    };
    found.check(
        "the agent is for the processor that the packages are for",
        same(),
    );
    for unit in [
        "docker.service",
        "docker.socket",
        "ssh.service",
        "systemd-networkd.service",
        "systemd-timesyncd.service",
    ] {
        let file = root
            .get(&format!("usr/lib/systemd/system/{unit}"))
            .map(drop);
        found.check(format!("{unit} is installed"), file);
    }
}

/// Names, users, identity.
fn root_tree<B: Blocks + ?Sized>(root: &Erofs<'_, B>, found: &mut Findings) {
    let text = |path: &str| -> Result<String> {
        String::from_utf8(root.read(path)?).with_context(|| format!("/{path} is not text"))
    };
    let hostname = || {
        let node = root.get("etc/hostname")?;
        ensure!(
            node.mode & 0o7777 == 0o644 && node.uid == 0,
            "mode {:o}",
            node.mode
        );
        ensure!(
            text("etc/hostname")? == "black-pearl\n",
            "it is {:?}",
            text("etc/hostname")?
        );
        Ok(())
    };
    found.check("the host name is black-pearl", hostname());
    let locked = || {
        for line in text("etc/shadow")?.lines() {
            let mut fields = line.split(':');
            let (user, hash) = (
                fields.next().unwrap_or_default(),
                fields.next().unwrap_or_default(),
            );
            ensure!(
                hash.starts_with(['*', '!']),
                "{user} has a password, or none is asked for"
            );
        }
        Ok(())
    };
    found.check("no account has a password", locked());
    let docker = || {
        ensure!(
            text("etc/group")?.lines().any(|l| l.starts_with("docker:")),
            "there is none"
        );
        Ok(())
    };
    found.check("there is a group docker", docker());
    for key in [
        "ID=debian",
        "HYPRIOT_OS=",
        "HYPRIOT_OS_VERSION=",
        "HYPRIOT_DEVICE=",
        "HYPRIOT_IMAGE_VERSION=",
    ] {
        let has = || {
            ensure!(
                text("etc/os-release")?.lines().any(|l| l.starts_with(key)),
                "it is missing"
            );
            Ok(())
        };
        found.check(format!("os-release has {key}"), has());
    }
    let clean = || {
        ensure!(!text("etc/os-release")?.contains("dirty"), "it says dirty");
        Ok(())
    };
    found.check("os-release is not dirty", clean());
    let id = || {
        ensure!(
            root.get("etc/machine-id")?.size == 0,
            "it is not empty: every board would have the same"
        );
        Ok(())
    };
    found.check("machine-id is there and empty", id());
    let keys: Vec<&str> = root
        .names
        .keys()
        .map(String::as_str)
        .filter(|p| p.starts_with("etc/ssh/ssh_host_"))
        .collect();
    let none = || {
        ensure!(keys.is_empty(), "{}", keys.join(", "));
        Ok(())
    };
    found.check("there are no ssh host keys", none());
    found.check("the agent has its settings", text(SETTINGS).map(drop));
    places(root, found);
}

/// What is mounted on, and where cloud-init looks.
fn places<B: Blocks + ?Sized>(root: &Erofs<'_, B>, found: &mut Findings) {
    for path in ["boot", "data", "dev", "proc", "run", "sys", "tmp"] {
        let empty = || {
            ensure!(root.get(path)?.is_dir(), "it is no directory");
            let first = root
                .names
                .keys()
                .find(|p| p.starts_with(&format!("{path}/")));
            ensure!(first.is_none(), "it has {first:?}");
            Ok(())
        };
        found.check(format!("/{path} is an empty directory"), empty());
    }
    found.check("/etc/fstab is there", root.get("etc/fstab").map(drop));
    for name in ["user-data", "meta-data", "network-config"] {
        let seed = || {
            let to = root.link(&format!("var/lib/cloud/seed/nocloud/{name}"))?;
            ensure!(to == format!("/boot/{name}"), "it leads to {to}");
            Ok(())
        };
        found.check(
            format!("cloud-init finds {name} on the first partition"),
            seed(),
        );
    }
}

/// What lies at a byte of a card: the name of the part, then of the file in it.
pub fn explain<B: Blocks + ?Sized>(disk: &B, at: u64) -> Result<String> {
    ensure!(at < disk.size(), "the image ends at byte {}", disk.size());
    let Some(part) = layout::PARTITIONS
        .into_iter()
        .find(|p| (p.start..p.end()).contains(&at))
    else {
        let name = match at {
            0..512 => "the partition table",
            at if BOOT_STATE
                .iter()
                .any(|s| (*s..s + BOOT_STATE_SIZE as u64).contains(&at)) =>
            {
                "the boot state"
            }
            at if (BLANK..BLANK + 512).contains(&at) => "the mark of a blank card",
            at if at < layout::RAW_END => "the room of the boot loaders",
            at if at >= layout::EXTENDED_START => "the chain of the logical partitions",
            _ => "nothing",
        };
        return Ok(name.to_owned());
    };
    let inside = at - part.start;
    let mut said = format!("byte {inside} of partition {} ({})", part.number, part.name);
    if let Ok(root) = Erofs::open(&window(disk, part)) {
        let holds = |(start, len): &(u64, u64)| (*start..start + len).contains(&inside);
        let files = root
            .names
            .iter()
            .filter(|(_, n)| n.data().iter().any(holds));
        for (path, node) in files {
            let before: u64 = node
                .data()
                .iter()
                .take_while(|r| !holds(r))
                .map(|(_, len)| len)
                .sum();
            let range = node.data().into_iter().find(|r| holds(r));
            let offset = before + range.map_or(0, |(start, _)| inside - start);
            said.extend([", byte ", &offset.to_string(), " of /", path]);
        }
    }
    Ok(said)
}
