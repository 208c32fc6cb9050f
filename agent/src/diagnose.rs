//! One file with all that a maintainer asks for: what the board says of itself, and what is below that, without secrets.
//!
//! It is made when something is broken, so nothing that may be broken is needed: every part fails alone, in bounded time and room,
//! and its failure is part of the answer. Nothing is written but the file.
//!
//! * `parts`: what belongs to it; `read`: how each of them is read
//! * `scrub`: what is taken out

mod parts;
mod read;
mod scrub;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use hypriot_keys::time::Timestamp;
use serde::Serialize;

use crate::probe::Root;
use parts::{PARTS, Part};

/// All parts together are smaller.
pub const LIMIT: usize = 8 * 1024 * 1024;
/// Nothing new is begun after this time.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is looked at.
#[derive(Debug, Clone)]
pub struct Options {
    /// The system, or the tree of one. Programs are asked only on the running one.
    pub root: Root,
    /// This program, to ask it for its status.
    pub program: Option<PathBuf>,
    /// Where the HTTP half listens.
    pub port: u16,
    /// Now.
    pub now: Timestamp,
}

/// How one part went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Went {
    /// Its name in the file.
    pub name: &'static str,
    /// Bytes of it in the file.
    pub bytes: usize,
    /// It was longer, and was cut.
    pub cut: bool,
    /// Secrets that were taken out.
    pub removed: usize,
    /// Why it is not there.
    pub missing: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// The file and what is to be said about it.
#[derive(Debug)]
pub struct Bundle {
    /// A tar.
    pub tar: Vec<u8>,
    /// Each part.
    pub parts: Vec<Went>,
}

/// Reads everything. `tell` hears the name of each part before it is read.
pub fn collect(options: &Options, tell: &mut dyn FnMut(&str)) -> io::Result<Bundle> {
    let began = Instant::now();
    let mut texts: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut parts = Vec::new();
    for part in PARTS {
        tell(part.name);
        let started = Instant::now();
        let left = PATIENCE.saturating_sub(began.elapsed());
        let clean = within(part, options, left).map(|raw| clean(part, &raw));
        let mut went = Went {
            name: part.name,
            bytes: 0,
            cut: false,
            removed: 0,
            missing: None,
            seconds: started.elapsed().as_secs_f64(),
        };
        match clean {
            Ok((clean, cut)) => {
                (went.bytes, went.cut, went.removed) = (clean.text.len(), cut, clean.removed);
                texts.insert(part.name, clean.text);
            }
            // A reason may quote what it could not read.
            Err(why) => went.missing = Some(scrub::scrub(&why).text.trim_end().to_owned()),
        }
        parts.push(went);
    }
    let tar = pack(&texts, &parts, options.now)?;
    Ok(Bundle { tar, parts })
}

/// Reads one part in a thread of its own: a card that does not answer holds whoever reads it, and cannot be interrupted.
fn within(part: &'static Part, options: &Options, left: Duration) -> Result<Vec<u8>, String> {
    if left.is_zero() {
        return Err(format!(
            "not asked: the {} s for all parts were over",
            PATIENCE.as_secs()
        ));
    }
    let limit = left.min(Duration::from_secs(part.seconds));
    let (to, from) = mpsc::channel();
    let options = options.clone();
    let started = thread::Builder::new().spawn(move || {
        // Nobody listens any more when it took too long.
        drop(to.send(read::read(part, &options, limit)));
    });
    started.map_err(|error| error.to_string())?;
    // Programs are ended by their own limit first, and say more.
    match from.recv_timeout(limit + Duration::from_secs(2)) {
        Ok(read) => read,
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// The text without secrets, within its limit; and whether something of it is left out.
fn clean(part: &Part, raw: &[u8]) -> (scrub::Clean, bool) {
    let cut = raw.len() > part.limit;
    // The device tree ends its texts with NUL.
    let text = String::from_utf8_lossy(&raw[..raw.len().min(part.limit)]).replace('\0', "\n");
    let mut clean = match part.source {
        parts::Source::Outline(_) => scrub::outline(&text),
        _ => scrub::scrub(&text),
    };
    let end = clean.text.floor_char_boundary(part.limit);
    let cut = cut || end < clean.text.len();
    clean.text.truncate(end);
    (clean, cut)
}

fn pack(
    texts: &BTreeMap<&'static str, String>,
    parts: &[Went],
    now: Timestamp,
) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, text: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now.0);
        tar.append_data(
            &mut header,
            format!("hypriot-diagnose/{name}"),
            text.as_bytes(),
        )
    };
    add("README.txt", &readme(parts, now))?;
    add("index.json", &serde_json::to_string_pretty(parts)?)?;
    for (name, text) in texts {
        add(name, text)?;
    }
    tar.into_inner()
}

fn readme(parts: &[Went], now: Timestamp) -> String {
    let mut text = format!(
        "What a HypriotOS board says of itself, {now}, by hypriot-agent {}.\n\
         Passwords, keys and tokens are taken out as far as they can be told; names of containers, units and hosts, and addresses in your\n\
         network, are not. Look through it before you give it to somebody.\n\n",
        env!("CARGO_PKG_VERSION")
    );
    for part in parts {
        let words = match &part.missing {
            Some(why) => format!("missing: {}", why.lines().next().unwrap_or_default()),
            None => format!(
                "{} bytes{}{}",
                part.bytes,
                if part.cut { ", cut" } else { "" },
                match part.removed {
                    0 => String::new(),
                    some => format!(", {some} secrets removed"),
                }
            ),
        };
        writeln!(text, "{:42} {words}", part.name).expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests;
