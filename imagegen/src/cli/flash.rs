//! `hypriot-imagegen flash`: an image to cards, with what its owner adds.

use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::image::{row, say};
use crate::flash::{self, Changes, bmap, disks, source};
use crate::formats::Blocks;
use crate::inputs::userdata::edit::Network;
use crate::inputs::userdata::{self, Locked};
use crate::progress::Progress;

/// Write an image to a card, with your name, key and Wi-Fi in it
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen flash out/hypriotos-rpi64-1.0.0.img.zip                    lists the cards there are\n  \
    hypriot-imagegen flash out/hypriotos-rpi64-1.0.0.img /dev/sdb --hostname pearl --ssh-key ~/.ssh/id_ed25519.pub\n  \
    hypriot-imagegen flash image.img.zst /dev/mmcblk0 --ssid home --password 'made up' --country DE\n  \
    hypriot-imagegen flash image.img card.img --ssid home --password 'made up' --ssid guests --password '' --country DE\n  \
    hypriot-imagegen flash image.img card.img --userdata my.yaml               to a file\n\n\
    What goes to the card is read first as the board will read it. A disk is written only if it is removable and nothing of\n\
    this machine uses it. With the image's .bmap beside it only what holds something is written, and checked before.\n\
    Exit codes: 0 every card is written and read back; 1 one is not, the message says which; 2 the command line is wrong.")]
pub(super) struct FlashArgs {
    /// The image: .img, .img.zip, .img.zst, .img.gz, .img.xz.
    image: PathBuf,
    /// The disks or files to write, one after the other; without any, the cards there are are listed.
    to: Vec<PathBuf>,
    /// Host name of the board.
    #[arg(long, short = 'n')]
    hostname: Option<String>,
    /// A public key for the first user: the key, or its file.
    #[arg(long, value_name = "KEY|FILE")]
    ssh_key: Option<String>,
    /// Name of a Wi-Fi network; may be given again, and the board joins one that it hears.
    #[arg(long, short = 's')]
    ssid: Vec<String>,
    /// Its password, one for each --ssid in their order; '' for an open network.
    #[arg(long, short = 'p', requires = "ssid", allow_hyphen_values = true)]
    password: Vec<String>,
    /// The country whose rules hold for Wi-Fi: DE.
    #[arg(long, requires = "ssid", value_parser = userdata::country)]
    country: Option<String>,
    /// The Wi-Fi does not tell its name.
    #[arg(long, requires = "ssid")]
    hidden: bool,
    /// The Wi-Fi takes WPA3 alone.
    #[arg(long, requires = "password")]
    wpa3: bool,
    /// cloud-init's user-data instead of the image's.
    #[arg(long, short = 'u', alias = "user-data", value_name = "FILE")]
    userdata: Option<PathBuf>,
    /// cloud-init's network-config instead of the image's.
    #[arg(long, value_name = "FILE", conflicts_with = "ssid")]
    network_config: Option<PathBuf>,
    /// Words for the kernel's command line, in hypriot-boot.txt: 'net.ifnames=0 quiet'.
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    cmdline: Option<String>,
    /// One more file for the first partition; may be given again.
    #[arg(long, short = 'F', value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Take user-data that lets nobody in: the board is meant to be closed.
    #[arg(long)]
    closed: bool,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
    /// A folder with room for an unpacked image.
    #[arg(long, env = "TMPDIR", default_value = "/tmp")]
    scratch: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing but the result.
    #[arg(long, short)]
    quiet: bool,
}

/// `flash`
pub(super) fn flash(args: &FlashArgs) -> Result<()> {
    let progress = if args.quiet {
        Progress::Quiet
    } else {
        Progress::auto()
    };
    let changes = args.changes()?;
    let found = here()?;
    if args.to.is_empty() {
        if args.json {
            return row(&serde_json::to_value(&found)?);
        }
        say(&format!("cards:\n  {}", disks::candidates(&found)));
        bail!(
            "name the card to write: hypriot-imagegen flash {} /dev/…",
            args.image.display()
        );
    }
    let opened = source::open(&args.image, &args.scratch)?;
    let size = opened.disk.size();
    for to in args.to.iter().filter(|to| is_device(to)) {
        disks::chosen(&found, to, size)?;
    }
    let map = map_beside(&args.image, progress)?;
    let locked = if args.closed {
        Locked::Meant
    } else {
        Locked::Refused
    };
    let (disk, _kept) = opened.parts();
    let image = flash::prepare(disk, &changes, locked, progress)?;
    for to in &args.to {
        if is_device(to) {
            let disk = disks::chosen(&found, to, size)?;
            confirm(args, &disk.line())?;
        }
        let bytes = flash::write(&image, map.as_ref(), to, progress)?;
        if args.json {
            row(&serde_json::json!({ "to": to, "bytes": bytes, "checked": map.is_some() }))?;
        } else {
            say(&format!(
                "{}: written and read back; start the board with it, then hypriot-fleet validate",
                to.display()
            ));
        }
    }
    Ok(())
}

impl FlashArgs {
    fn changes(&self) -> Result<Changes> {
        Ok(Changes {
            user_data: self.userdata.clone(),
            network_config: self.network_config.clone(),
            hostname: self.hostname.clone(),
            ssh_key: self.ssh_key.clone(),
            wifi: self.networks()?,
            country: self.country.clone(),
            cmdline: self.cmdline.clone(),
            files: self.file.clone(),
        })
    }

    /// Each network with its password. One alone without any is open; of several each must say it, or a password would go to
    /// another network than was meant.
    fn networks(&self) -> Result<Vec<Network>> {
        let open = self.ssid.len() == 1 && self.password.is_empty();
        ensure!(
            open || self.ssid.len() == self.password.len(),
            "{} --ssid and {} --password: give one for each, '' for an open network",
            self.ssid.len(),
            self.password.len()
        );
        let password = |n: usize| self.password.get(n).filter(|p| !p.is_empty()).cloned();
        let all = self.ssid.iter().enumerate();
        Ok(all
            .map(|(n, ssid)| Network {
                ssid: ssid.clone(),
                password: password(n),
                hidden: self.hidden,
                wpa3: self.wpa3,
            })
            .collect())
    }
}

fn is_device(path: &Path) -> bool {
    path.starts_with("/dev")
}

/// The disks of this machine.
fn here() -> Result<Vec<disks::Disk>> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    disks::list(
        Path::new("/sys"),
        &read("/proc/self/mountinfo"),
        &read("/proc/swaps"),
    )
}

/// The block map beside the image, as `image` writes it.
fn map_beside(image: &Path, progress: Progress) -> Result<Option<bmap::Bmap>> {
    let name = image
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    let stem = name.split(".img").next().unwrap_or_default();
    let path = image.with_file_name(format!("{stem}.bmap"));
    if stem == name || !path.exists() {
        progress.note("note: there is no .bmap beside the image: all of it is written, and only what was written is checked");
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    bmap::parse(&text)
        .with_context(|| format!("{}", path.display()))
        .map(Some)
}

/// Asks, by what cannot be typed by mistake.
fn confirm(args: &FlashArgs, line: &str) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked here; give --yes to write {line}"
    );
    eprint!("All that is on it will be gone:\n  {line}\nWrite it? Type yes: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    ensure!(answer.trim() == "yes", "nothing was written");
    Ok(())
}
