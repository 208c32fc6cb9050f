//! `hypriot-fleet validate` and `hypriot-fleet report`: parses and prints.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand, ValueEnum};
use hypriot_keys::keyfile;
use hypriot_keys::secret::SecretKey;

use super::boards::Boards;
use super::{now, write_out};
use crate::ask;
use crate::hosts::Host;
use crate::ssh::Ssh;
use crate::validate::inside::{self, Wanted};
use crate::validate::report::{self, Statement, Subject};
use crate::validate::{Expected, Validation, Verdict, flashed, format, rack, read as judge};

pub(super) const EXAMPLES: &str = "\
Examples:
  hypriot-fleet validate --hosts black-pearl.local                       # waits for its self-tests, prints TAP
  hypriot-fleet validate --hosts-file rack.txt --expect-version 1.4.0 --format junit > rack.xml
  hypriot-fleet validate --hosts-file rack.txt --image out/rpi64.img.zip --report rack.json --key validation.key
  hypriot-fleet validate --hosts-file rack.txt --image out/rpi64.img.zip --ssh --expect out/rpi64.selftest.yaml
  hypriot-fleet report verify rack.json --key validation.key
  hypriot-fleet report diff last-week.json rack.json

A board is valid when it has tested itself since it started, all that is required holds, it runs what was flashed, what was
measured on it (--ssh) is good enough, and no other board of the rack has its identity.

A key of `hypriot-fleet authorize` may measure, but not run the tests of --expect: these may start programs.

Exit codes: 0 all boards are valid, 1 a board is not, 2 wrong usage or an error, 4 no board is invalid but one is still waiting";

/// Between two questions to boards that are still starting.
const PAUSE: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Tap,
    Junit,
    Json,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub(super) struct Arguments {
    #[command(flatten)]
    boards: Boards,
    /// Seconds to wait for all of them; a first boot takes a few minutes
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    within: u64,
    /// How to print the results
    #[arg(long, value_enum, default_value_t = Format::Tap)]
    format: Format,
    /// The same as --format json
    #[arg(long)]
    json: bool,
    /// The version that was flashed
    #[arg(long)]
    expect_version: Option<String>,
    /// The kind of board that it was made for
    #[arg(long)]
    expect_board: Option<String>,
    /// Do not compare ssh host keys
    #[arg(long)]
    no_ssh_keys: bool,
    /// The image that was flashed, out/rpi64-1.4.0.img.zip: board and version are those of its index beside it (.json), and its
    /// digest (.sha256) is the subject of the report
    #[arg(long)]
    image: Option<PathBuf>,
    /// Also measure each board over ssh: card, memory, temperature, power, links, and every byte of its slot against the index of
    /// --image; takes a minute and writes to free room of its card
    #[arg(long)]
    ssh: bool,
    /// The image's expectation file (.selftest.yaml): its tests are run on each board, as they are here
    #[arg(long, requires = "ssh")]
    expect: Option<PathBuf>,
    /// Seconds that each board is kept busy
    #[arg(long, requires = "ssh", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    load: u64,
    /// Option for ssh, as after its -o (repeatable)
    #[arg(long = "ssh-option", value_name = "OPTION", requires = "ssh")]
    ssh_options: Vec<String>,
    /// Call the agent as it is, without sudo
    #[arg(long, requires = "ssh")]
    no_sudo: bool,
    /// Write a signed report to this file
    #[arg(long, requires_all = ["image", "key"])]
    report: Option<PathBuf>,
    /// Key file, made by `hypriot-keys`, that signs it; its passphrase comes from --passphrase-file, HYPRIOT_KEYS_PASSPHRASE, or the terminal
    #[arg(long)]
    key: Option<PathBuf>,
    /// File that holds the passphrase
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Report {
    /// Check who signed a report, and show it
    Verify {
        /// The report
        file: PathBuf,
        /// Key file of whoever should have signed it; only its public part is used
        #[arg(long)]
        key: PathBuf,
    },
    /// Show what differs between two reports, or between two boards of one
    Diff {
        /// The report of before
        before: PathBuf,
        /// The report of now; the same again for two boards
        after: PathBuf,
        /// Two boards, `a,b`: a of the first report is compared with b of the second
        #[arg(long, value_delimiter = ',')]
        boards: Vec<String>,
    },
}

pub(super) fn validate(arguments: &Arguments) -> Result<u8> {
    let hosts = arguments.boards.find()?;
    let (index, expected) = flashed(arguments)?;
    // files are read, and a passphrase is asked for, before the boards are waited for
    let wanted = wanted(arguments, index)?;
    let sign = sign(arguments)?;
    let mut results = validated(&hosts, Duration::from_secs(arguments.within), &expected)?;
    if !arguments.no_ssh_keys && hosts.len() > 1 {
        let keys = ask::runtime()?.block_on(rack::keys(&hosts));
        for (result, keys) in results.iter_mut().zip(keys) {
            result.keys = keys;
        }
    }
    if arguments.ssh {
        let ssh = Ssh::new(arguments.ssh_options.clone(), !arguments.no_sudo)?;
        ask::runtime()?.block_on(inside::ask(&mut results, &hosts, ssh, wanted));
    }
    rack::unique(&mut results);
    let json = arguments.json || arguments.format == Format::Json;
    write_out(&match arguments.format {
        _ if json => serde_json::to_string_pretty(&results)? + "\n",
        Format::Junit => format::junit(&results),
        _ => format::tap(&results),
    })?;
    let any = |v| results.iter().any(|r| r.verdict == v);
    let code = match (any(Verdict::Invalid), any(Verdict::Waiting)) {
        (true, _) => 1,
        (false, true) => 4,
        (false, false) => 0,
    };
    if let (Some((key, image)), Some(path)) = (sign, &arguments.report) {
        let text = Statement::new(image, now().to_string(), results).sign(&key)?;
        put(path, &text)?;
    }
    Ok(code)
}

/// Asks until every board has a verdict, or the time is over.
fn validated(hosts: &[Host], within: Duration, expected: &Expected) -> Result<Vec<Validation>> {
    let end = Instant::now() + within;
    loop {
        let replies = ask::all(hosts, "/health", Duration::from_secs(5))?;
        let results: Vec<Validation> = hosts
            .iter()
            .zip(&replies)
            .map(|(host, reply)| judge(&host.to_string(), reply, expected))
            .collect();
        if Instant::now() >= end || results.iter().all(|r| r.verdict != Verdict::Waiting) {
            return Ok(results);
        }
        std::thread::sleep(PAUSE);
    }
}

/// What was flashed: by its index, and by what the options say otherwise.
fn flashed(arguments: &Arguments) -> Result<(Vec<u8>, Expected)> {
    let found = match &arguments.image {
        Some(image) => flashed::index(image)?,
        None => None,
    };
    if found.is_none()
        && arguments.ssh
        && let Some(image) = &arguments.image
    {
        eprintln!(
            "hypriot-fleet: there is no release index beside {}: slots are not compared with it",
            image.display()
        );
    }
    let (index, mut expected) = found.unwrap_or_default();
    let over = |own: &mut Option<String>, said: &Option<String>| {
        if said.is_some() {
            own.clone_from(said);
        }
    };
    over(&mut expected.version, &arguments.expect_version);
    over(&mut expected.board, &arguments.expect_board);
    Ok((index, expected))
}

/// What boards are asked over ssh.
fn wanted(arguments: &Arguments, index: Vec<u8>) -> Result<Wanted> {
    let tests = arguments.expect.as_deref().map(flashed::read).transpose()?;
    Ok(Wanted {
        seconds: arguments.load,
        index,
        tests: tests.unwrap_or_default(),
    })
}

fn sign(arguments: &Arguments) -> Result<Option<(SecretKey, Subject)>> {
    let (Some(_), Some(image), Some(key)) = (&arguments.report, &arguments.image, &arguments.key)
    else {
        return Ok(None);
    };
    let subject = flashed::subject(image)?;
    let passphrase = keyfile::passphrase(
        arguments.passphrase_file.as_deref(),
        "Passphrase of the key: ",
    )?;
    Ok(Some((keyfile::load(key, &passphrase)?, subject)))
}

/// Whole or not at all.
fn put(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    let folder = path
        .parent()
        .filter(|f| !f.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

pub(super) fn report(command: &Report) -> Result<u8> {
    let text = |file: &Path| {
        let text = std::fs::read_to_string(file);
        text.with_context(|| format!("reading {}", file.display()))
    };
    match command {
        Report::Verify { file, key } => {
            let key = keyfile::public_part(&keyfile::read(key)?)?;
            let statement = report::open(&text(file)?, Some(&key))
                .with_context(|| file.display().to_string())?;
            let image = &statement.subject[0];
            write_out(&format!(
                "{} of {} (sha256 {}), {}\n{}",
                statement.predicate.result,
                crate::answer::clean(&image.name),
                crate::answer::clean(&image.digest.sha256),
                crate::answer::clean(&statement.predicate.at),
                format::tap(&statement.predicate.boards)
            ))?;
            Ok(u8::from(statement.predicate.result != "PASSED"))
        }
        Report::Diff {
            before,
            after,
            boards,
        } => {
            ensure!(matches!(boards.len(), 0 | 2), "--boards names two: a,b");
            let of = |file: &Path| {
                report::open(&text(file)?, None).with_context(|| file.display().to_string())
            };
            let (before, after) = (of(before)?, of(after)?);
            let pairs: Vec<(&Validation, &Validation)> = if let [a, b] = boards.as_slice() {
                vec![(report::board(&before, a)?, report::board(&after, b)?)]
            } else {
                let boards = before.predicate.boards.iter();
                boards
                    .filter_map(|b| Some((b, report::board(&after, &b.host).ok()?)))
                    .collect()
            };
            let mut lines = String::new();
            for (a, b) in pairs {
                let title = if a.host == b.host {
                    a.host.clone()
                } else {
                    format!("{} -> {}", a.host, b.host)
                };
                for line in report::diff(a, b) {
                    lines.extend([
                        &crate::answer::clean(&title),
                        ": ",
                        &crate::answer::clean(&line),
                        "\n",
                    ]);
                }
            }
            write_out(&lines)?;
            Ok(u8::from(!lines.is_empty()))
        }
    }
}
