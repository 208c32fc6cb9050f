//! Owns how the tests get into a board: a key made for it, and the user-data on the card that lets the key in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::exec;

/// The user the tests are on the board; may do everything through sudo.
pub const USER: &str = "tester";

/// Where the first FAT partition begins.
const SETTINGS_AT: u64 = hypriot_updater::layout::CONFIG.start;

/// What cloud-init is told.
pub fn user_data(public_key: &str) -> String {
    format!("#cloud-config\nusers:\n{}", user(public_key))
}

/// The user whom the tests are, as an item of cloud-init's `users`.
pub fn user(public_key: &str) -> String {
    format!(
        "  - name: {USER}\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    shell: /bin/bash\n    lock_passwd: true\n    \
             ssh_authorized_keys:\n    - {}\n",
        public_key.trim()
    )
}

/// Makes a key in `dir`: its file, and its public half.
pub fn key(dir: &Path) -> Result<(PathBuf, String)> {
    let key = dir.join("key");
    let mut keygen = exec::command("ssh-keygen");
    keygen
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "board-test", "-f"])
        .arg(&key);
    exec::run(keygen, Duration::from_mins(1))?;
    let public = std::fs::read_to_string(dir.join("key.pub"))?;
    Ok((key, public))
}

/// Makes a key in `dir` and lets it into the board on this card, from the next boot on. The board must be off.
pub fn grant(card: &Path, dir: &Path) -> Result<PathBuf> {
    let (key, public) = key(dir)?;
    write_setting(card, dir, "user-data", &user_data(&public))?;
    Ok(key)
}

/// Replaces a file on the card's first FAT partition, as the `flash` tool does.
pub fn write_setting(card: &Path, dir: &Path, name: &str, text: &str) -> Result<()> {
    let file = dir.join(name);
    #[expect(
        clippy::disallowed_methods,
        reason = "a scratch file that nobody reads after a power cut"
    )]
    std::fs::write(&file, text)?;
    let mut mcopy = exec::command("mcopy");
    mcopy
        .args(["-o", "-i", &format!("{}@@{SETTINGS_AT}", card.display())])
        .arg(file)
        .arg(format!("::{name}"));
    exec::run(mcopy, Duration::from_mins(1))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_is_what_cloud_init_reads() {
        assert_eq!(
            user_data("ssh-ed25519 AAAA x\n"),
            "#cloud-config\nusers:\n  - name: tester\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    shell: /bin/bash\n    \
             lock_passwd: true\n    ssh_authorized_keys:\n    - ssh-ed25519 AAAA x\n"
        );
    }
}
