//! What came of the stick with updates that is in, for a board without a screen.

use anyhow::{Context as _, Result};

use super::{Finding, Found, Look};
use crate::report::{Severity, Status};
use crate::stick::{NOTE, NOTE_LIMIT, Note, State};

pub(super) fn probe(look: &Look<'_>) -> Result<Found> {
    let mut found = Found::default();
    if look.root.exists(NOTE) {
        let bytes = crate::files::read(&look.root.path(NOTE), NOTE_LIMIT)?;
        let note: Note = serde_json::from_slice(&bytes).context("reading the stick's note")?;
        found.add("stick", judge(&note));
    }
    Ok(found)
}

/// Whose stick it is and what lies on it is the owner's business: the words are theirs to read.
fn judge(note: &Note) -> Finding {
    let say = |output: &str| Finding::pass(Severity::Info, "state", output);
    let finding = match note.state {
        State::Working => say("the stick is read"),
        State::Done => say("the board has what the stick offers"),
        State::Failed => say("nothing was taken from the stick").worse(
            Status::Warn,
            "the detail says why; hypriot-agent install DIRECTORY tries it by hand",
        ),
    };
    finding.detail(Some(note.said.clone()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{context, tree};
    use super::*;
    use hypriot_keys::time::Timestamp;

    #[test]
    fn a_board_without_a_screen_says_what_came_of_the_stick() {
        let note = r#"{"state":"failed","said":"signed by nobody","at":"2026-11-27T12:00:00Z","led":null}"#;
        for (text, broken, status) in [
            (note, false, Some(Status::Warn)),
            (&note.replace("failed", "done"), false, Some(Status::Pass)),
            ("{", true, None),
        ] {
            let (_dir, root) = tree(&[(NOTE, text)]);
            let context = context(None);
            let look = Look {
                root: &root,
                context: &context,
                now: Timestamp(0),
                uptime: 1.0,
            };
            let found = probe(&look);
            assert_eq!(found.is_err(), broken, "{text}");
            let shown = found.ok().map(|f| f.findings[0].1.status);
            assert_eq!(shown, status, "{text}");
        }
    }
}
