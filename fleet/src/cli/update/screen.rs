//! What stands on the terminal while a rollout goes on.

use anyhow::Result;

use super::super::{now, write_out};
use super::unix;
use crate::rollout::journal::Event;
use crate::run::boards::Live;
use crate::run::book::Book;
use crate::run::show;

/// Rows of the live table; the rest is counted.
const ROWS: usize = 30;

/// What stands on the terminal.
pub(super) struct Screen {
    pub(super) json: bool,
    pub(super) drawn: usize,
    pub(super) waits: String,
}

impl Screen {
    pub(super) fn events(&mut self, events: &[Event]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        self.clear()?;
        let line = |e: &Event| {
            if self.json {
                Some(show::json(e))
            } else {
                show::line(e)
            }
        };
        let text: String = events.iter().filter_map(line).map(|l| l + "\n").collect();
        write_out(&text)
    }

    /// Once for each reason.
    pub(super) fn wait(&mut self, why: &str) -> Result<()> {
        if self.json || self.waits == why {
            return Ok(());
        }
        why.clone_into(&mut self.waits);
        write_out(&format!("{} {why}\n", now()))
    }

    /// The table, in place of the last one (ECMA-48: CUU, ED).
    pub(super) fn draw(&mut self, book: &Book, live: &Live, why: &str) -> Result<()> {
        self.clear()?;
        let mut lines = show::table(&book.plan, &book.journal, unix(), &|board| live.step(board));
        let more = lines.len().saturating_sub(ROWS);
        lines.truncate(ROWS);
        if more > 0 {
            lines.push(format!(
                "and {more} more; hypriot-fleet show {}",
                book.journal.run
            ));
        }
        lines.push(why.to_owned());
        self.drawn = lines.len();
        // a line that the terminal wraps would be two
        let cut: Vec<String> = lines
            .iter()
            .map(|l| l.chars().take(100).collect())
            .collect();
        write_out(&(cut.join("\n") + "\n"))
    }

    pub(super) fn clear(&mut self) -> Result<()> {
        if self.drawn > 0 {
            write_out(&format!("\u{1b}[{}A\u{1b}[J", self.drawn))?;
            self.drawn = 0;
        }
        Ok(())
    }
}
