//! Packages: which there are, that each is completely installed, for which processor, and that apt starts from nothing.

use anyhow::{Context, Result, ensure};

use super::{Card, Findings};
use crate::bake::AGENT;
use crate::formats::Blocks;
use crate::inputs::needs::{Need, SYSTEM};

/// Programs of them, all root's with mode 755.
pub(super) const PROGRAMS: [&str; 9] = [
    "usr/bin/bash",
    "usr/bin/dpkg",
    "usr/bin/curl",
    "usr/bin/cloud-init",
    "usr/lib/systemd/systemd",
    "usr/sbin/avahi-daemon",
    "usr/sbin/mkfs.ext4",
    "usr/sbin/sshd",
    AGENT,
];

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    installed(card, found, &SYSTEM);
    for name in &card.board.packages {
        let there = card.records.named(name).map(drop).context("it is missing");
        found.check(format!("package {name} is installed"), there);
    }
    let complete = || {
        let half = card
            .records
            .packages()
            .iter()
            .filter_map(|p| Some((&p.name, card.records.named(&p.name)?.1)))
            .find(|(_, state)| !["install ok installed", "hold ok installed"].contains(state));
        if let Some((name, state)) = half {
            anyhow::bail!("{name} is `{state}`");
        }
        Ok(())
    };
    found.check("every package is completely installed", complete());
    let waiting = || {
        let left = card
            .root
            .names
            .keys()
            .find(|p| p.ends_with(".dpkg-new") || p.ends_with(".dpkg-tmp"));
        ensure!(left.is_none(), "there is a /{}", left.map_or("", |p| p));
        Ok(())
    };
    found.check("no file waits for dpkg", waiting());
    for path in PROGRAMS {
        found.check(
            format!("/{path} is a program of root with mode 755"),
            card.file(path, 0o755),
        );
    }
    let want = card.board.arch.elf();
    for path in ["usr/bin/dpkg", "usr/bin/bash", AGENT] {
        let right = || {
            let have = processor(&card.root.read(path)?)?;
            ensure!(
                have == want,
                "its class and machine are {have:?}; {} needs {want:?}",
                card.board.arch
            );
            Ok(())
        };
        found.check(format!("/{path} is for the board's processor"), right());
    }
    apt(card, found);
}

/// One of the packages of each need is there.
pub(super) fn installed<B: Blocks + ?Sized>(
    card: &Card<'_, B>,
    found: &mut Findings,
    needs: &[Need],
) {
    for need in needs {
        let there = need
            .any
            .iter()
            .any(|name| card.records.named(name).is_some());
        let result = there
            .then_some(())
            .with_context(|| format!("it is missing: {}", need.what));
        found.check(format!("package {} is installed", need.names()), result);
    }
}

/// Class and machine of an ELF file: `EI_CLASS` and `e_machine` (System V ABI, ELF header).
fn processor(bytes: &[u8]) -> Result<(u8, u16)> {
    ensure!(
        bytes.len() >= 20 && bytes.starts_with(b"\x7fELF"),
        "it is not ELF"
    );
    Ok((bytes[4], u16::from_le_bytes([bytes[18], bytes[19]])))
}

/// apt knows whom to trust, and nothing of the machine the image was made on.
fn apt<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let below = |dir: &str| {
        let first = card.root.names.iter().find(|(p, n)| {
            p.starts_with(&format!("{dir}/")) && n.is_file() && !p.ends_with("/lock")
        });
        ensure!(first.is_none(), "there is a /{}", first.map_or("", |f| f.0));
        Ok(())
    };
    found.check(
        "apt has no lists of the building machine",
        below("var/lib/apt/lists"),
    );
    found.check(
        "apt has no packages of the building machine",
        below("var/cache/apt/archives"),
    );
    let keys = || {
        let dirs = ["usr/share/keyrings/", "etc/apt/trusted.gpg.d/"];
        let any = card
            .root
            .names
            .keys()
            .any(|p| dirs.iter().any(|d| p.starts_with(d)) && p.contains("debian-archive"));
        ensure!(any, "there are none: apt would refuse every archive");
        Ok(())
    };
    found.check("apt has Debian's archive keys", keys());
    let local = || {
        let sources = card.root.names.iter().filter(|(p, n)| {
            n.is_file()
                && (p.starts_with("etc/apt/sources.list.d/") || *p == "etc/apt/sources.list")
        });
        for (path, _) in sources {
            let text = card.text(path)?;
            let bad = [
                "127.0.0.1",
                "localhost",
                "file:",
                "trusted=yes",
                "Trusted: yes",
            ];
            let word = bad.iter().find(|w| text.contains(**w));
            ensure!(word.is_none(), "/{path} says {}", word.map_or("", |w| w));
        }
        Ok(())
    };
    found.check(
        "apt trusts no source unsigned or of the building machine",
        local(),
    );
}
