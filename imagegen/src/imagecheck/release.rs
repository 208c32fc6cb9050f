//! Who the image says it is: os-release with the keys HypriotOS always had, and its copy for whoever holds the card.

use anyhow::{Context, Result, ensure};

use super::{Card, Findings};
use crate::formats::Blocks;

const FILE: &str = "etc/os-release";

pub(super) fn check<B: Blocks + ?Sized>(card: &Card<'_, B>, found: &mut Findings) {
    let Some(text) = found.keep("os-release can be read", card.text(FILE)) else {
        return;
    };
    let value = |key: &str| -> Result<&str> {
        let mut values = text
            .lines()
            .filter_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        let value = values.next().context("it is missing")?;
        ensure!(values.next().is_none(), "it is there twice");
        Ok(value.trim_matches('"'))
    };
    let (board, version) = (&card.board, &card.version);
    for (key, want) in [
        ("ID", "debian".to_owned()),
        ("HYPRIOT_OS", format!("HypriotOS/{}", board.arch)),
        ("HYPRIOT_OS_VERSION", format!("v{version}")),
        ("HYPRIOT_DEVICE", board.description.clone()),
        ("HYPRIOT_IMAGE_VERSION", format!("v{version}")),
    ] {
        let same = || {
            let have = value(key)?;
            ensure!(have == want, "it is {have:?}, not {want:?}");
            Ok(())
        };
        found.check(format!("os-release has {key}"), same());
    }
    let code_name = || {
        let name = value("VERSION_CODENAME")?;
        ensure!(
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()),
            "it is {name:?}"
        );
        Ok(())
    };
    found.check("os-release has Debian's code name", code_name());
    let clean = || {
        ensure!(!text.contains("dirty"), "it says dirty");
        Ok(())
    };
    found.check("os-release is not dirty", clean());
    found.check(
        "os-release belongs to root and all may read it",
        card.file(FILE, 0o644),
    );
    let same = || {
        ensure!(
            card.config.read("os-release")? == text.as_bytes(),
            "they differ"
        );
        Ok(())
    };
    found.check(
        "os-release on the first partition is that of the root",
        same(),
    );
    found.check(
        "nothing is left of /etc/hypriot_release",
        card.absent("etc/hypriot_release"),
    );
}
