//! `hypriot-imagegen inspect` and `explain`: questions about a finished card image.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use super::image::{row, say};
use crate::formats::HostFile;
use crate::imagecheck::{self, UserData};
use crate::questions::explain;

/// Test a card image without starting it
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen inspect out/hypriotos-qemu-arm64-1.0.0.img\n  \
    hypriot-imagegen inspect --verbose out/hypriotos-rpi64-1.0.0.img\n\n\
    Which board it is for, the image says itself. `image` runs the same assertions on what it makes.\n\
    Exit codes: 0 every assertion holds; 1 something in the image is wrong, or it cannot be read.")]
pub(super) struct InspectArgs {
    /// The image.
    image: PathBuf,
    /// Its user-data was edited: accept what it says.
    #[arg(long)]
    edited: bool,
    /// Also list the assertions that hold.
    #[arg(long, short)]
    verbose: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Tell what lies at a byte of a card image: partition, file, byte in it, package, version, source
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    hypriot-imagegen explain out/hypriotos-qemu-arm64-1.0.0.img 0x1a2b0000\n  \
    hypriot-imagegen explain out/hypriotos-qemu-arm64-1.0.0.img 0-511\n  \
    hypriot-imagegen explain --json /dev/mmcblk0 8MiB+4096\n  \
    hypriot-imagegen explain --recipe my-image.toml\n\n\
    Exit codes: 0 told; 1 the image cannot be read, or the bytes are past its end.")]
pub(super) struct ExplainArgs {
    /// The image.
    #[arg(required_unless_present = "recipe", conflicts_with = "recipe")]
    image: Option<PathBuf>,
    /// OFFSET, FIRST-LAST or OFFSET+LENGTH in bytes, decimal or 0x and hexadecimal; KiB, MiB and GiB may follow a number.
    #[arg(
        value_name = "BYTES",
        required_unless_present = "recipe",
        conflicts_with = "recipe"
    )]
    bytes: Option<String>,
    /// Tell where each value of this recipe comes from instead.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `inspect`
pub(super) fn inspect(args: &InspectArgs) -> Result<()> {
    let disk = HostFile::open(&args.image)?;
    let user_data = if args.edited {
        UserData::Owners
    } else {
        UserData::Shipped
    };
    let found = imagecheck::check(&disk, user_data);
    let wrong = found.iter().filter(|f| f.wrong.is_some()).count();
    if args.json {
        let rows: Vec<_> = found
            .iter()
            .map(|f| serde_json::json!({ "family": f.family, "what": f.what, "wrong": f.wrong }))
            .collect();
        row(&serde_json::json!({ "checks": rows, "wrong": wrong }))?;
    } else {
        for f in &found {
            match &f.wrong {
                Some(why) => say(&format!("wrong: {}: {}: {why}", f.family, f.what)),
                None if args.verbose => say(&format!("ok:    {}: {}", f.family, f.what)),
                None => {}
            }
        }
        say(&format!("{} assertions, {wrong} wrong", found.len()));
    }
    ensure!(wrong == 0, "{} is not a good image", args.image.display());
    Ok(())
}

/// `explain`
pub(super) fn explain(args: &ExplainArgs) -> Result<()> {
    if let Some(path) = &args.recipe {
        return super::recipe::explain(path, args.json);
    }
    let (Some(image), Some(bytes)) = (&args.image, &args.bytes) else {
        return Ok(());
    };
    let span = explain::span(bytes)?;
    let disk = HostFile::open(image)?;
    let said = explain::explain(&disk, span)?;
    if args.json {
        return row(&serde_json::to_value(&said)?);
    }
    for one in &said {
        say(&explain::line(one));
    }
    Ok(())
}
