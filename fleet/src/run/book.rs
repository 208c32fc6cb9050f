//! The journal of a run: one file, one event a line, only ever appended to, and synced before what it says is done.
//!
//! Whoever works on a run holds a lock on its file. What the operator says from elsewhere (pause, abort) is left in a
//! second file, which the one who works takes up.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::rollout::journal::{Event, Journal, What};
use crate::rollout::plan::Plan;

/// A run of ten thousand boards writes about ten lines of 500 bytes for each.
const LIMIT: u64 = 256 * 1024 * 1024;

/// Where lines go. A port, so that tests can end the world at any line.
pub trait Log {
    /// Appends a line; it is on the disk when this returns.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
}

impl Log for Flock<File> {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.write_all(line)?;
        self.sync_data()
    }
}

/// A run, and the right to work on it.
#[derive(Debug)]
pub struct Book<L: Log = Flock<File>> {
    /// The sum of its events.
    pub journal: Journal,
    /// What it is for.
    pub plan: Plan,
    /// Who began it.
    pub operator: String,
    /// Each event.
    pub events: Vec<Event>,
    log: L,
    words: PathBuf,
}

/// The folder of all runs.
#[derive(Debug, Clone)]
pub struct Shelf(pub PathBuf);

impl Shelf {
    /// The folder that is meant: by `--runs`, else by the XDG base directory specification.
    pub fn find(named: Option<&Path>) -> Result<Self> {
        if let Some(named) = named {
            return Ok(Self(named.to_owned()));
        }
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let state =
            absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let state =
            state.context("neither XDG_STATE_HOME nor HOME is set; say --runs DIRECTORY")?;
        Ok(Self(state.join("hypriot-fleet/runs")))
    }

    /// Ids of all runs, oldest first.
    pub fn runs(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("reading {}", self.0.display())),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(run) = name.to_str().and_then(|n| n.strip_suffix(".jsonl")) {
                runs.push(run.to_owned());
            }
        }
        runs.sort();
        Ok(runs)
    }

    /// A run's journal: by its id, or by the file itself, which may have come from another laptop.
    fn path(&self, run: &str) -> PathBuf {
        if run.contains('/') || Path::new(run).extension().is_some_and(|e| e == "jsonl") {
            return PathBuf::from(run);
        }
        self.0.join(format!("{run}.jsonl"))
    }

    fn words(path: &Path) -> PathBuf {
        path.with_extension("words")
    }

    /// Begins a run.
    pub fn create(&self, run: &str, operator: &str, plan: Plan, now: u64) -> Result<Book> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.0)
            .with_context(|| format!("making {}", self.0.display()))?;
        let path = self.path(run);
        let mut options = OpenOptions::new();
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let log = lock(
            file.with_context(|| format!("making {}", path.display()))?,
            &path,
            run,
        )?;
        File::open(&self.0)
            .and_then(|dir| dir.sync_all())
            .with_context(|| format!("syncing {}", self.0.display()))?;
        Book::begin(log, Self::words(&path), run, operator, plan, now)
    }

    /// Takes a run up.
    pub fn open(&self, run: &str) -> Result<Book> {
        let path = self.path(run);
        let file = OpenOptions::new().read(true).append(true).open(&path);
        let file = file.with_context(|| self.unknown(run))?;
        let mut log = lock(file, &path, run)?;
        let (events, whole) = read(&mut log, &path)?;
        // a line that a power cut tore was never acted upon
        log.set_len(whole)
            .and_then(|()| log.sync_all())
            .context("ending the journal at its last whole line")?;
        Book::resume(log, Self::words(&path), events).with_context(|| path.display().to_string())
    }

    /// Looks at a run that somebody else may be working on.
    pub fn show(&self, run: &str) -> Result<Vec<Event>> {
        let path = self.path(run);
        let mut file = File::open(&path).with_context(|| self.unknown(run))?;
        Ok(read(&mut file, &path)?.0)
    }

    fn unknown(&self, run: &str) -> String {
        let known = self.runs().unwrap_or_default();
        let known = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        format!(
            "there is no run {run:?} in {}; there are: {known}",
            self.0.display()
        )
    }

    /// Says a word to a run: to whoever works on it, or into its journal when nobody does. True when somebody does.
    pub fn say(&self, run: &str, what: What, now: u64) -> Result<bool> {
        match self.open(run) {
            Ok(mut book) => {
                book.add(what, now)?;
                Ok(false)
            }
            Err(error) if error.is::<AtWork>() => {
                let path = Self::words(&self.path(run));
                let line = serde_json::to_string(&Event { at: now, what })? + "\n";
                let mut options = OpenOptions::new();
                let file = options.append(true).create(true).mode(0o600).open(&path)?;
                let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
                file.append(line.as_bytes())?;
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

/// Somebody works on the run at this moment.
#[derive(Debug)]
pub struct AtWork(String);

impl std::fmt::Display for AtWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "another hypriot-fleet of this machine works on run {}; `hypriot-fleet show {}` shows how far it is",
            self.0, self.0
        )
    }
}

impl std::error::Error for AtWork {}

fn lock(file: File, path: &Path, run: &str) -> Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| {
        if e == nix::errno::Errno::EWOULDBLOCK {
            anyhow::Error::new(AtWork(run.to_owned()))
        } else {
            anyhow::Error::new(e).context(format!("locking {}", path.display()))
        }
    })
}

/// All whole lines, and how many bytes they have.
fn read(file: &mut File, path: &Path) -> Result<(Vec<Event>, u64)> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(LIMIT + 1).read_to_end(&mut text)?;
    ensure!(
        text.len() as u64 <= LIMIT,
        "{} is larger than {LIMIT} bytes",
        path.display()
    );
    parse(&text).with_context(|| path.display().to_string())
}

/// The events of a journal. What stands behind the last end of a line was torn off.
pub fn parse(text: &[u8]) -> Result<(Vec<Event>, u64)> {
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let lines = text[..whole]
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty());
    let events = lines.enumerate().map(|(n, line)| {
        serde_json::from_slice(line)
            .with_context(|| format!("line {}: not an event of this version", n + 1))
    });
    Ok((events.collect::<Result<_>>()?, whole as u64))
}

impl<L: Log> Book<L> {
    /// Begins a run on `log`.
    pub fn begin(
        log: L,
        words: PathBuf,
        run: &str,
        operator: &str,
        plan: Plan,
        now: u64,
    ) -> Result<Self> {
        let mut book = Self {
            journal: Journal::default(),
            plan: plan.clone(),
            operator: operator.to_owned(),
            events: Vec::new(),
            log,
            words,
        };
        let (run, operator) = (run.to_owned(), operator.to_owned());
        book.add(
            What::Begun {
                run,
                operator,
                plan,
            },
            now,
        )?;
        Ok(book)
    }

    /// Takes a run up from its events.
    pub fn resume(log: L, words: PathBuf, events: Vec<Event>) -> Result<Self> {
        let Some(What::Begun { operator, plan, .. }) = events.first().map(|e| e.what.clone())
        else {
            bail!("the journal has no beginning: nothing was done in this run; begin a new one");
        };
        let mut journal = Journal::default();
        for event in &events {
            journal.add(event);
        }
        Ok(Self {
            journal,
            plan,
            operator,
            events,
            log,
            words,
        })
    }

    /// Writes an event down. Only then is it so.
    pub fn add(&mut self, what: What, now: u64) -> Result<&Event> {
        let event = Event { at: now, what };
        let line = serde_json::to_string(&event)? + "\n";
        self.log
            .append(line.as_bytes())
            .context("the journal cannot be written: nothing more is told to any board; make room and resume the run")?;
        self.journal.add(&event);
        self.events.push(event);
        self.events.last().context("just pushed")
    }

    /// What the operator said from elsewhere since the last time. Said twice when this machine dies between the two
    /// writes, which changes nothing.
    pub fn hear(&mut self, now: u64) -> Result<usize> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.words) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(e) => return Err(e).with_context(|| self.words.display().to_string()),
        };
        let mut file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e)?;
        let (events, _) = read(&mut file, &self.words.clone())?;
        let heard = events.len();
        for event in events {
            self.add(event.what, now)?;
        }
        file.set_len(0)?;
        Ok(heard)
    }
}
