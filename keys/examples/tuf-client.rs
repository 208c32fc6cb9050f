//! Speaks the command-line protocol of the public TUF conformance suite (theupdateframework/tuf-conformance, CLIENT-CLI.md).
//!
//! A driver without any check of its own: every decision is the library's, the same that the agent uses.
//!
//! ```text
//! tuf-client --metadata-dir D init ROOT
//! tuf-client --metadata-dir D --metadata-url U refresh
//! tuf-client --metadata-dir D --metadata-url U --target-name N... --target-base-url T --target-dir P download
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hypriot_keys::client::Client;
use hypriot_keys::source::http::{HttpOptions, HttpSource, TlsTime};
use hypriot_keys::time::Timestamp;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// The protocol's options and command, in any order.
#[derive(Default)]
struct Arguments {
    metadata_dir: PathBuf,
    metadata_url: String,
    target_names: Vec<String>,
    target_base_url: String,
    target_dir: PathBuf,
    command: Vec<String>,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("tuf-client: {e}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut from: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn std::error::Error>> {
    let mut arguments = Arguments::default();
    while let Some(word) = from.next() {
        if !word.starts_with("--") {
            arguments.command.push(word);
            continue;
        }
        let value = from.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--metadata-dir" => arguments.metadata_dir = value.into(),
            "--metadata-url" => arguments.metadata_url = value,
            "--target-name" => arguments.target_names.push(value),
            "--target-base-url" => arguments.target_base_url = value,
            "--target-dir" => arguments.target_dir = value.into(),
            _ => return Err(format!("unknown option {word}").into()),
        }
    }
    Ok(arguments)
}

fn run(arguments: &Arguments) -> Outcome {
    let command: Vec<&str> = arguments.command.iter().map(String::as_str).collect();
    match command[..] {
        ["init", root] => init(&arguments.metadata_dir, Path::new(root)),
        ["refresh"] => refreshed(arguments).map(|_| ()),
        ["download"] => download(arguments),
        _ => Err("a command is needed: init ROOT, refresh, or download".into()),
    }
}

fn init(store: &Path, root: &Path) -> Outcome {
    Client::open(store, &std::fs::read(root)?, Timestamp(0))?;
    Ok(())
}

fn refreshed(arguments: &Arguments) -> Result<(Client, HttpSource), Box<dyn std::error::Error>> {
    let now = now();
    let mut client = Client::resume(&arguments.metadata_dir, Timestamp(0))?;
    let source = source(&arguments.metadata_url, now, client.floor())?;
    client.refresh(&source, now)?;
    Ok((client, source))
}

fn download(arguments: &Arguments) -> Outcome {
    let (client, metadata) = refreshed(arguments)?;
    let targets = source(&arguments.target_base_url, now(), client.floor())?;
    for name in &arguments.target_names {
        let target = client.find(&metadata, name)?;
        client.fetch_into(&targets, name, &target, &arguments.target_dir)?;
    }
    Ok(())
}

fn source(
    base: &str,
    clock: Timestamp,
    floor: Timestamp,
) -> Result<HttpSource, Box<dyn std::error::Error>> {
    Ok(HttpSource::new(
        base,
        HttpOptions::at(TlsTime { clock, floor }),
    )?)
}

/// The outermost loop of this program: the one place that reads the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the clock is read here once and passed on as a value"
)]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |d| d.as_secs()))
}
