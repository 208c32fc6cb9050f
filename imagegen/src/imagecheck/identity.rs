//! Nobody can log in before the owner says who, and no two boards of one image are the same to anybody.
//!
//! Identity is made on the board, once: an image that carries a machine id, a host key, a random seed or an ext4
//! file system with its UUID gives the same to every board that is flashed with it.

use anyhow::{Context, ensure};

use super::{Card, Findings};
use crate::formats::Blocks;
use crate::image::card;
use crate::image::table;

/// Files that would be the same on every board, and what for.
const SHARED: [(&str, &str); 6] = [
    ("etc/ssh/ssh_host_", "host keys"),
    ("var/lib/systemd/random-seed", "randomness"),
    ("var/lib/systemd/credential.secret", "secret of systemd"),
    ("var/lib/dbus/machine-id", "id of D-Bus"),
    ("etc/ssl/private/", "keys of TLS"),
    ("var/lib/cloud/instance", "first start of cloud-init"),
];
/// Files that tell of the machine that made the image.
const TRACES: [&str; 3] = ["etc/mailname", "etc/adjtime", "usr/sbin/policy-rc.d"];

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    accounts(card, found);
    let id = || {
        ensure!(
            card.root.get("etc/machine-id")?.size == 0,
            "it is not empty: every board would have the same"
        );
        Ok(())
    };
    found.check("machine-id is there and empty", id());
    for (prefix, what) in SHARED {
        let none = || {
            let first = card
                .root
                .names
                .iter()
                .find(|(p, n)| p.starts_with(prefix) && !n.is_dir());
            ensure!(first.is_none(), "there is a /{}", first.map_or("", |f| f.0));
            Ok(())
        };
        found.check(format!("no two boards share {what}"), none());
    }
    for path in TRACES {
        found.check(
            format!("/{path} of the building machine is not there"),
            card.absent(path),
        );
    }
    let signature = || {
        let have = table::read(card.disk)?.signature;
        let want = card::signature(&card.board.name, &card.version);
        let own_code = card.board.boot.raw.iter().any(|r| r.offset == 0);
        ensure!(
            have == want || own_code,
            "it is {have:08x}, not {want:08x}: the board would take it for its own and keep it"
        );
        Ok(())
    };
    found.check(
        "the disk signature is the release's, for the board to replace",
        signature(),
    );
}

fn accounts<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let locked = || {
        for line in card.text("etc/shadow")?.lines() {
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
    let shadow = || {
        let (_, node) = card.root.resolve("etc/shadow")?;
        let mode = node.mode & 0o7777;
        ensure!(
            mode & 0o004 == 0 && node.uid == 0,
            "its mode is {mode:o}, its owner {}",
            node.uid
        );
        Ok(())
    };
    found.check("/etc/shadow is not for everybody", shadow());
    let root = || {
        let text = card.text("etc/passwd")?;
        let line = text.lines().find(|l| l.starts_with("root:"));
        let line = line.context("there is no root")?;
        ensure!(
            line.starts_with("root:x:0:0:") && line.ends_with(":/root:/bin/bash"),
            "it is {line:?}"
        );
        Ok(())
    };
    found.check("root is root, at home in /root, with bash", root());
    let people = || {
        // login.defs: people begin at 1000; nobody (65534) is none.
        let text = card.text("etc/passwd")?;
        let first = text.lines().find(|l| {
            let id = l.split(':').nth(2).and_then(|n| n.parse::<u32>().ok());
            id.is_some_and(|n| (1000..65_534).contains(&n))
        });
        ensure!(first.is_none(), "there is {first:?}");
        Ok(())
    };
    found.check("there are no people yet: user-data makes them", people());
    for group in ["docker", "sudo", "video"] {
        let there = || {
            ensure!(
                card.text("etc/group")?
                    .lines()
                    .any(|l| l.starts_with(&format!("{group}:"))),
                "there is none"
            );
            Ok(())
        };
        found.check(format!("there is a group {group}"), there());
    }
    found.check(
        "/etc/sudoers is root's with mode 440",
        card.file("etc/sudoers", 0o440),
    );
    let sudo = || {
        // But those whom the recipe names, as the image's record says.
        let users = card.recipe.as_ref().map_or(&[][..], |r| &r.users);
        let named = |path: &str| {
            let name = path.strip_prefix("etc/sudoers.d/recipe-");
            users
                .iter()
                .any(|u| u.sudo && name == Some(u.name.as_str()))
        };
        let rules = card.root.names.iter().find(|(p, n)| {
            p.starts_with("etc/sudoers.d/") && n.is_file() && !p.ends_with("/README") && !named(p)
        });
        ensure!(rules.is_none(), "there is a /{}", rules.map_or("", |r| r.0));
        Ok(())
    };
    found.check("nobody is given root's rights yet", sudo());
    let keys = || {
        let first = card
            .root
            .names
            .keys()
            .find(|p| p.ends_with(".ssh/authorized_keys"));
        ensure!(first.is_none(), "there is a /{}", first.map_or("", |f| f));
        Ok(())
    };
    found.check("nobody's key opens every board", keys());
    let no_passwords = || {
        let text = card.text("etc/cloud/cloud.cfg.d/90_hypriot.cfg")?;
        for line in ["disable_root: true", "ssh_pwauth: false"] {
            ensure!(text.lines().any(|l| l == line), "it does not say `{line}`");
        }
        Ok(())
    };
    found.check("ssh takes keys only, and not root's", no_passwords());
}
