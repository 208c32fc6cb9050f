//! Plays the cells of the fault matrix that need a whole board: each begins with a copy of a card that a scenario kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::board;
use crate::faults::{self, Cell};
use crate::narrate::Narrator;
use crate::stage::{Stage, TRIED};
use crate::steps::Scenario;

/// An orderly shutdown on a busy machine.
const SHUTDOWN: Duration = Duration::from_mins(5);
/// From the last word of the trial's start to somewhere in its middle.
const INTO_THE_TRIAL: Duration = Duration::from_secs(25);
/// What the board has to tell stands in its health so long after it is at rest, at the latest.
const TOLD: Duration = Duration::from_mins(3);

/// What became of all cells.
#[derive(Debug, Default)]
pub struct Sum {
    /// How many were played.
    pub cells: usize,
    /// The most starts of one.
    pub starts: usize,
    /// Those that did not end as they must, and how they did.
    pub breaches: Vec<String>,
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cells, starts, .. } = self;
        let held = cells - self.breaches.len();
        write!(
            f,
            "test-faults: cells={cells} held={held} starts_max={starts}"
        )
    }
}

impl Stage<'_> {
    /// Keeps a copy of the card of a board that was shut down in order.
    pub(crate) fn keep(&mut self, name: &str) -> Result<()> {
        let access = self.way_in()?;
        let user = crate::access::USER;
        // the connection goes down with the board, which is no answer to judge
        drop(
            self.board
                .ssh(&access.key, user, "sudo systemctl poweroff", SHUTDOWN),
        );
        self.board.wait_off(SHUTDOWN).context("shutting down")?;
        let kept = kept(&self.board.card(), name);
        board::copy(&self.board.card(), &kept)
    }

    /// Plays all cells, or those that `only` names a part of. One that ends badly is told of, and the next one is played.
    pub fn cells(
        &mut self,
        scenario: &Scenario,
        only: Option<&str>,
        narrator: &mut Narrator,
    ) -> Sum {
        let mut sum = Sum::default();
        // several parts, any of which
        let named =
            |cell: &Cell, parts: &str| parts.split(';').any(|part| cell.say.contains(part.trim()));
        let asked = |cell: &&Cell| only.is_none_or(|parts| named(cell, parts));
        for cell in scenario.cell.iter().filter(asked) {
            sum.cells += 1;
            match narrator.step(&cell.say, |n| self.cell(cell, n)) {
                Ok(starts) => sum.starts = sum.starts.max(starts),
                Err(error) => {
                    let breach = format!("{}: {error:#}", cell.say);
                    narrator.say(&format!("      BROKEN: {breach}"));
                    sum.breaches.push(breach);
                }
            }
            narrator.say(&format!("      {sum}"));
        }
        sum
    }

    fn cell(&mut self, cell: &Cell, narrator: &Narrator) -> Result<usize> {
        self.board.power_off()?;
        let card = self.board.card();
        let dir = card.parent().context("a card lies in a folder")?.to_owned();
        board::copy(&kept(&card, &cell.card), &card)?;
        if let Some(deadline) = cell.deadline {
            faults::hurry(&card, deadline)?;
        }
        faults::strike(&card, &dir, &cell.strike, cell.software)?;
        self.power_on()?;
        if !cell.strike_in_trial.is_empty() {
            self.board.wait_console(TRIED, cell.end.within())?;
            std::thread::sleep(INTO_THE_TRIAL);
            self.board.power_off()?;
            faults::strike(&card, &dir, &cell.strike_in_trial, cell.software)?;
            self.power_on()?;
        }
        self.wait(&cell.end, narrator)?;
        for words in &cell.told {
            self.told(words)?;
        }
        let starts = cell.starts(&self.board.console()?)?;
        let health = self.health()?;
        narrator.say(&format!("      {starts} starts, {}", health.words()));
        match &cell.keep {
            Some(name) => self.keep(name).map(|()| starts),
            None => Ok(starts),
        }
    }

    fn told(&mut self, words: &str) -> Result<()> {
        let mut last = None;
        let found = self.board.wait("its words", TOLD, |board| {
            let body = board.get("/health?verbose").map(|answer| answer.body);
            let says = body.as_ref().is_ok_and(|body| body.contains(words));
            last = Some(body);
            says.then_some(())
        });
        found.with_context(|| format!("its health does not say {words:?}: {last:?}"))
    }
}

fn kept(card: &Path, name: &str) -> PathBuf {
    card.with_file_name(format!("kept-{name}.img"))
}
