//! What an owner adds to the start of a board (`hypriot-boot.txt`), read before it goes to a card as the boot script will read it.

use anyhow::{Context, Result, bail, ensure};
use hypriot_updater::boot::owner;

use super::Changes;
use crate::bake::scr;
use crate::tree::Tree;

/// Puts the owner's words into the file, and refuses a file that does not do what it says.
pub(super) fn add(tree: &mut Tree, changes: &Changes) -> Result<()> {
    let given = changes
        .files
        .iter()
        .any(|path| path.file_name().is_some_and(|name| name == owner::FILE));
    if changes.cmdline.is_none() && !given {
        return Ok(());
    }
    let script = tree
        .read("boot.scr")
        .ok()
        .and_then(|bytes| scr::decode(&bytes).ok());
    ensure!(
        script.is_some_and(|text| text.contains(owner::FILE)),
        "the boot loader of this image does not read {}: it is older than that, or the board's own",
        owner::FILE
    );
    if let Some(words) = &changes.cmdline {
        let old = tree.read(owner::FILE).unwrap_or_default();
        let new = with_words(&String::from_utf8_lossy(&old), words);
        tree.insert_bytes(owner::FILE, 0o644, new)?;
    }
    let (_, notes) = owner::read(&tree.read(owner::FILE)?).context(owner::FILE)?;
    if let Some(note) = notes.first() {
        bail!("{}: {note}", owner::FILE);
    }
    Ok(())
}

/// The text with `words` as its command line, and no other.
fn with_words(old: &str, words: &str) -> String {
    let key = format!("{}=", owner::CMDLINE);
    let others = old
        .lines()
        .filter(|line| !line.trim_start().starts_with(&key));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    text.extend([&key, words, "\n"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flashed(script: &str, words: &str) -> Result<String> {
        let mut tree = Tree::new(0);
        let scr = scr::encode(script, "", 0)?;
        tree.insert_bytes("boot.scr", 0o644, scr)?;
        let shipped = include_str!("../../p1/hypriot-boot.txt");
        tree.insert_bytes(owner::FILE, 0o644, shipped)?;
        let changes = Changes {
            cmdline: Some(words.to_owned()),
            ..Changes::default()
        };
        add(&mut tree, &changes)?;
        add(&mut tree, &changes)?;
        Ok(String::from_utf8(tree.read(owner::FILE)?.to_vec())?)
    }

    #[test]
    fn words_that_would_not_reach_the_kernel_are_refused_before_anything_is_written() {
        let script = owner::FILE;
        let text = flashed(script, "quiet net.ifnames=0").unwrap();
        let (taken, _) = owner::read(text.as_bytes()).unwrap();
        assert_eq!(taken.cmdline.as_deref(), Some("quiet net.ifnames=0"));
        let said = text.lines().filter(|l| l.starts_with("cmdline="));
        assert_eq!(said.count(), 1, "said twice, there once");
        for (danger, script, words, says) in [
            ("an image that does not read it", "older", "quiet", "older"),
            (
                "what updates rely on",
                script,
                "quiet hypriot.slot=b",
                "hypriot.slot=b",
            ),
            (
                "no end of the last resort",
                script,
                "systemd.mask=x",
                "systemd.mask=x",
            ),
            ("words that never reach the kernel", script, "-- x", "--"),
            ("quotes", script, "a='b c'", "spaces"),
            ("another line", script, "a\nb=c", "no key `b`"),
            (
                "too long",
                script,
                &"x".repeat(owner::MAX_CMDLINE + 1),
                "room for 512",
            ),
        ] {
            let e = flashed(script, words).expect_err(danger);
            assert!(format!("{e:#}").contains(says), "{danger}: {e:#}");
        }
    }

    #[test]
    fn what_an_image_ships_adds_nothing() {
        let shipped = include_str!("../../p1/hypriot-boot.txt");
        let nothing = (owner::Owner::default(), Vec::new());
        assert_eq!(owner::read(shipped.as_bytes()), Ok(nothing));
        // and each example in it does what it says
        let used = shipped
            .replace("\n#cmdline", "\ncmdline")
            .replace("\n#device", "\ndevice");
        let (taken, notes) = owner::read(used.as_bytes()).unwrap();
        assert!(taken.cmdline.is_some() && taken.device_tree.is_some());
        assert_eq!(notes, []);
    }
}
