//! The kernel: parameters, modules, build options, device tree.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::exec::Cmd;
use crate::files;
use crate::probe::Root;
use crate::selftest::run::{Found, Values};

/// A kernel's config is about 300 KiB, its list of modules 600 KiB.
const LIMIT: u64 = 8 * 1024 * 1024;

/// sysctl names, with dots or slashes.
pub(super) fn parameter(name: &str, root: &Root) -> Result<Values> {
    anyhow::ensure!(
        !name.contains("..") && !name.ends_with(['.', '/']),
        "{name:?} is no parameter"
    );
    // sysctl.d(5): when the first separator is a slash, dots are part of names.
    let slash = name
        .find('/')
        .is_some_and(|slash| name.find('.').is_none_or(|dot| slash < dot));
    let path = if slash {
        name.to_owned()
    } else {
        name.replace('.', "/")
    };
    let value = root
        .text(format!("/proc/sys/{path}"))
        .map(|text| text.trim_end().into());
    Ok(Values::from([("value", value.map_err(Into::into))]))
}

/// The version of the kernel that runs, or the only one that is installed.
fn release(root: &Root) -> Result<String> {
    if let Ok(release) = root.text("/proc/sys/kernel/osrelease") {
        return Ok(release.trim().to_owned());
    }
    let installed = root.names("/lib/modules");
    match installed.as_slice() {
        [one] => Ok(one.clone()),
        _ => anyhow::bail!("which kernel? /lib/modules has {}", installed.join(", ")),
    }
}

pub(super) fn module(name: &str, root: &Root) -> Result<Values> {
    let name = name.replace('-', "_");
    let loaded = root.text("/proc/modules").unwrap_or_default();
    let loaded = loaded
        .lines()
        .any(|line| line.split(' ').next() == Some(&name));
    // A module that is built in has parameters or a version here, or stands in modules.builtin.
    let builtin = listed(root, "modules.builtin", &name)?;
    let available = loaded || builtin || listed(root, "modules.dep", &name)?;
    Ok(Values::from([
        ("available", Ok(available.into())),
        ("loaded", Ok((loaded || builtin).into())),
    ]))
}

fn listed(root: &Root, list: &str, name: &str) -> Result<bool> {
    let path = root.path(format!("/lib/modules/{}/{list}", release(root)?));
    if !path.exists() {
        return Ok(false);
    }
    let text = files::read(&path, LIMIT)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    // kernel/fs/overlayfs/overlay.ko.xz: kernel/fs/…
    let found = text.lines().any(|line| {
        let file = line
            .split(':')
            .next()
            .unwrap_or_default()
            .rsplit('/')
            .next()
            .unwrap_or_default();
        file.split(".ko")
            .next()
            .is_some_and(|module| module.replace('-', "_") == name)
    });
    Ok(found)
}

/// `y`, `m`, a number or a word; `n` for what is not set.
pub(super) fn config(name: &str, root: &Root) -> Result<Values> {
    let text = config_text(root)?;
    let wanted = format!("CONFIG_{}=", name.strip_prefix("CONFIG_").unwrap_or(name));
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(wanted.as_str()));
    Ok(Values::from([(
        "value",
        Ok(value.unwrap_or("n").trim_matches('"').into()),
    )]))
}

fn config_text(root: &Root) -> Result<String> {
    let release = release(root)?;
    for path in [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
    ] {
        if root.exists(&path) {
            return Ok(files::read_text(&root.path(&path), LIMIT)?);
        }
    }
    // CONFIG_IKCONFIG_PROC; gzip is part of every Debian.
    let packed = files::read(&root.path("/proc/config.gz"), LIMIT)
        .context("this kernel's config is nowhere")?;
    let plain = Cmd::new("gzip")
        .arg("-dc")
        .stdin(packed)
        .timeout(Duration::from_secs(10))
        .keep(8 * 1024 * 1024)
        .run()?;
    Ok(String::from_utf8_lossy(&plain.stdout).into_owned())
}

/// A property below /proc/device-tree: words end with NUL, several stand one after another.
pub(super) fn device_tree(name: &str, root: &Root) -> Values {
    let path = format!("/proc/device-tree/{}", name.trim_start_matches('/'));
    if !root.exists(&path) {
        return Values::from([("exists", Ok(false.into()))]);
    }
    let value = root.bytes(&path).map(|bytes| Found::from(words(&bytes)));
    Values::from([
        ("exists", Ok(true.into())),
        ("value", value.map_err(Into::into)),
    ])
}

fn words(bytes: &[u8]) -> Value {
    let Some((0, rest)) = bytes.split_last() else {
        return hex::encode(bytes).into();
    };
    match std::str::from_utf8(rest) {
        Ok(text) if text.chars().all(|c| c == '\0' || !c.is_control()) => {
            let words: Vec<&str> = text.split('\0').collect();
            match words.as_slice() {
                [one] => (*one).into(),
                many => many.iter().map(|word| Value::from(*word)).collect(),
            }
        }
        _ => hex::encode(bytes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tests::tree;

    fn value(values: Result<Values>, property: &str) -> Value {
        values
            .expect("looked")
            .remove(property)
            .expect("there")
            .expect("read")
            .value()
            .expect("a value")
    }

    #[test]
    fn modules_built_in_loaded_and_only_available_differ() {
        let (_dir, root) = tree(&[
            ("/proc/sys/kernel/osrelease", "6.12.1-arm64\n"),
            (
                "/proc/modules",
                "br_netfilter 32768 0 - Live 0x0\noverlay 1 2 - Live\n",
            ),
            (
                "/lib/modules/6.12.1-arm64/modules.dep",
                "kernel/fs/erofs/erofs.ko.xz: kernel/lib/x.ko\nkernel/net/ip-tunnel.ko:\n",
            ),
            (
                "/lib/modules/6.12.1-arm64/modules.builtin",
                "kernel/fs/ext4/ext4.ko\n",
            ),
        ]);
        for (name, available, loaded) in [
            ("overlay", true, true),
            ("br-netfilter", true, true),
            ("ext4", true, true),
            ("erofs", true, false),
            ("ip_tunnel", true, false),
            ("x", false, false),
            ("vxlan", false, false),
        ] {
            assert_eq!(value(module(name, &root), "available"), available, "{name}");
            assert_eq!(value(module(name, &root), "loaded"), loaded, "{name}");
        }
    }

    #[test]
    fn config_of_the_running_kernel_is_read_also_when_packed() {
        let (_dir, root) = tree(&[
            ("/proc/sys/kernel/osrelease", "6.12.1\n"),
            (
                "/boot/config-6.12.1",
                "CONFIG_VETH=m\nCONFIG_EMBEDDED=\"x\"\n# CONFIG_FOO is not set\n",
            ),
        ]);
        for (name, expected) in [
            ("VETH", "m"),
            ("CONFIG_VETH", "m"),
            ("EMBEDDED", "x"),
            ("FOO", "n"),
            ("VET", "n"),
        ] {
            assert_eq!(value(config(name, &root), "value"), expected, "{name}");
        }
        let packed = Cmd::new("gzip")
            .arg("-c")
            .stdin("CONFIG_VETH=y\n")
            .run()
            .expect("gzip")
            .stdout;
        let (_dir, root) = tree(&[("/proc/sys/kernel/osrelease", "6.12.1\n")]);
        files::replace(&root.path("/proc/config.gz"), &packed, 0o644).expect("written");
        assert_eq!(value(config("VETH", &root), "value"), "y");
        let (_dir, root) = tree(&[("/lib/modules/1/x", ""), ("/lib/modules/2/x", "")]);
        assert!(config("VETH", &root).is_err());
    }

    #[test]
    fn device_tree_words_lose_their_nul() {
        assert_eq!(words(b"Raspberry Pi 4 Model B\0"), "Raspberry Pi 4 Model B");
        assert_eq!(
            words(b"raspberrypi,4\0brcm,bcm2711\0"),
            serde_json::json!(["raspberrypi,4", "brcm,bcm2711"])
        );
        assert_eq!(words(&[0, 0, 0x10, 0]), "00001000");
        assert_eq!(words(b""), "");
    }

    #[test]
    fn parameters_take_both_spellings() {
        let (_dir, root) = tree(&[
            ("/proc/sys/net/ipv4/conf/eth0.1/forwarding", "1\n"),
            ("/proc/sys/kernel/ostype", "Linux\n"),
        ]);
        assert_eq!(value(parameter("kernel.ostype", &root), "value"), "Linux");
        assert_eq!(
            value(parameter("net/ipv4/conf/eth0.1/forwarding", &root), "value"),
            "1"
        );
        assert!(parameter("../../etc/shadow", &root).is_err());
    }
}
