//! Owns how the tests get into a board: a key made for it, and the user-data on the card that lets the key in and says where a
//! time server is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::clock::TimeServer;
use crate::exec;
use crate::factory::HOST_SEEN_FROM_BOARD as HOST;
use crate::scratch;

/// The user the tests are on the board; may do everything through sudo.
pub const USER: &str = "tester";

/// Where the first FAT partition begins.
const SETTINGS_AT: u64 = hypriot_updater::layout::CONFIG.start;

/// A way into a board, and what the board has outside of itself.
#[derive(Debug)]
pub struct Access {
    /// The private key's file.
    pub key: PathBuf,
    /// What the board's clock is set by.
    pub clock: Option<TimeServer>,
}

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

/// Where the board finds a time server on `port` of this machine, at each of its starts. timesyncd knows no other port than NTP's, which
/// nobody but root may have here.
pub(crate) fn time_from(port: u16) -> String {
    format!(
        "bootcmd:\n  \
         - iptables -t nat -A OUTPUT -d {HOST} -p udp --dport 123 -j DNAT --to-destination {HOST}:{port}\n  \
         - mkdir -p /run/systemd/timesyncd.conf.d\n  \
         - printf '[Time]\\nNTP={HOST}\\nFallbackNTP=\\n' > /run/systemd/timesyncd.conf.d/tests.conf\n  \
         - systemctl --no-block try-restart systemd-timesyncd\n"
    )
}

/// A script as words for ssh: root runs it, and it ends with the first command that fails.
pub fn as_root(script: &str) -> String {
    format!("sudo sh -euc '{}'", script.replace('\'', r"'\''"))
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
pub fn grant(card: &Path, dir: &Path) -> Result<Access> {
    let (key, public) = key(dir)?;
    let clock = TimeServer::start()?;
    let text = user_data(&public) + &time_from(clock.port());
    write_setting(card, dir, "user-data", &text)?;
    Ok(Access {
        key,
        clock: Some(clock),
    })
}

/// Replaces a file on the card's first FAT partition, as the `flash` tool does.
pub fn write_setting(card: &Path, dir: &Path, name: &str, text: &str) -> Result<()> {
    let file = dir.join(name);
    scratch::put(&file, text)?;
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

    #[test]
    fn a_board_asks_this_machine_for_the_time() {
        assert_eq!(
            time_from(4711),
            "bootcmd:\n  \
             - iptables -t nat -A OUTPUT -d 10.0.2.2 -p udp --dport 123 -j DNAT --to-destination 10.0.2.2:4711\n  \
             - mkdir -p /run/systemd/timesyncd.conf.d\n  \
             - printf '[Time]\\nNTP=10.0.2.2\\nFallbackNTP=\\n' > /run/systemd/timesyncd.conf.d/tests.conf\n  \
             - systemctl --no-block try-restart systemd-timesyncd\n"
        );
    }
}
