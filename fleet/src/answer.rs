//! What a board's answer means. Absence is not green: a board that says nothing, or only old things, is a state of its own.

use anyhow::Result;
use hypriot_keys::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ask::Reply;
use crate::rollout::{self, Health};

/// Text of a board that is shown is cut to this: it comes from the network.
const SHOWN: usize = 200;

/// How a board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All well.
    Pass,
    /// Worth a look.
    Warn,
    /// Something required fails.
    Fail,
    /// It answers, but has not looked at itself lately.
    Stale,
    /// Something answers that is no board of ours.
    Foreign,
    /// Nothing answers.
    Silent,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// As its owner calls it.
    pub host: String,
    /// How it is.
    pub state: State,
    /// Kind of board.
    pub board: Option<String>,
    /// Version that runs.
    pub version: Option<String>,
    /// Slot that runs.
    pub slot: Option<String>,
    /// What its update loop does, `on trial` when the running version is.
    pub update: Option<String>,
    /// When it looked at itself.
    pub seen_at: Option<Timestamp>,
    /// Why it is not well.
    pub note: Option<String>,
}

/// The part of a board's document that we use. Others may be there: boards of another version are in the fleet too.
#[derive(Debug, Deserialize)]
struct Document {
    status: String,
    version: Option<String>,
    board: Option<String>,
    slot: Option<String>,
    #[serde(rename = "bootId")]
    boot: Option<String>,
    time: Option<Timestamp>,
    output: Option<String>,
    update: Option<Update>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    #[serde(default)]
    phase: String,
    trial: Option<Trial>,
    last_attempt: Option<Attempt>,
    owes: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Trial {
    version: String,
    state: String,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    version: String,
    outcome: String,
    #[serde(default)]
    at: String,
}

/// What a rollout needs of a board's answer. None when it is no answer of a board that has looked at itself.
pub fn seen(reply: &Reply) -> Option<rollout::Answer> {
    let document = serde_json::from_slice::<Document>(&reply.body).ok()?;
    let health = match document.status.to_ascii_lowercase().as_str() {
        "pass" | "ok" | "up" => Health::Pass,
        "warn" => Health::Warn,
        "fail" | "error" | "down" => Health::Fail,
        _ => return None,
    };
    let update = document.update;
    let owes = update.as_ref().is_some_and(|u| u.owes.is_some());
    let (trial, last) = update.map_or((None, None), |u| (u.trial, u.last_attempt));
    Some(rollout::Answer {
        health,
        version: clean(&document.version?),
        slot: clean(&document.slot.unwrap_or_default()),
        boot: clean(&document.boot.unwrap_or_default()),
        trial: trial.map(|t| rollout::Trial {
            armed: t.state == "armed",
            version: clean(&t.version),
        }),
        last: last.map(|l| rollout::Attempt {
            version: clean(&l.version),
            outcome: clean(&l.outcome),
            at: clean(&l.at),
        }),
        owes,
    })
}

/// Reads what `host` replied.
pub fn read(host: &str, reply: &Result<Reply>) -> Row {
    let row = |state, note: String| Row {
        host: host.to_owned(),
        state,
        board: None,
        version: None,
        slot: None,
        update: None,
        seen_at: None,
        note: Some(clean(&note)),
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => return row(State::Silent, format!("{error:#}")),
    };
    let Ok(document) = serde_json::from_slice::<Document>(&reply.body) else {
        return row(
            State::Foreign,
            format!("HTTP {} without a health document", reply.status),
        );
    };
    let state = match document.status.to_ascii_lowercase().as_str() {
        // The aliases of draft-inadarei-api-health-check-06, section 3.1.
        "pass" | "ok" | "up" => State::Pass,
        "warn" => State::Warn,
        "fail" | "error" | "down" if document.time.is_none() => State::Stale,
        "fail" | "error" | "down" => State::Fail,
        other => return row(State::Foreign, format!("status {other:?}")),
    };
    Row {
        state,
        board: document.board.as_deref().map(clean),
        version: document.version.as_deref().map(clean),
        slot: document.slot.as_deref().map(clean),
        update: document.update.as_ref().map(update),
        seen_at: document.time,
        note: document.output.as_deref().map(clean),
        ..row(state, String::new())
    }
}

fn update(update: &Update) -> String {
    let text = match (&update.trial, &update.last_attempt) {
        (Some(trial), _) if trial.state == "trying" => format!("{} on trial", trial.version),
        (Some(trial), _) => format!("{} {}", trial.version, trial.state),
        (None, Some(last)) if last.outcome == "failed" || last.outcome == "unknown" => {
            format!("{} rolled back", last.version)
        }
        _ => match &update.owes {
            Some(hooks) => format!("hooks {hooks} to end well"),
            None => update.phase.clone(),
        },
    };
    clean(&text)
}

/// One character from the network: none that drives a terminal, ends a line, or turns the words around it.
pub(crate) fn harmless(c: char) -> char {
    // Unicode 16, 23.2 "Layout Controls": marks, embeddings, overrides and isolates of direction, and separators of lines
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || turns { ' ' } else { c }
}

/// Words from the network: harmless, and not too many.
pub(crate) fn clean(text: &str) -> String {
    let mut chars = text.chars().map(harmless);
    let mut short: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Row {
        read(
            "h",
            &Ok(Reply {
                status,
                body: body.into(),
            }),
        )
    }

    #[test]
    fn every_state_is_told_apart() {
        let time = "\"time\":\"2026-11-23T14:00:00Z\"";
        for (status, body, state) in [
            (200, format!("{{\"status\":\"pass\",{time}}}"), State::Pass),
            (200, format!("{{\"status\":\"OK\",{time}}}"), State::Pass),
            (200, format!("{{\"status\":\"warn\",{time}}}"), State::Warn),
            (503, format!("{{\"status\":\"fail\",{time}}}"), State::Fail),
            (
                503,
                "{\"status\":\"fail\",\"output\":\"too old\"}".into(),
                State::Stale,
            ),
            (200, "{\"status\":\"great\"}".into(), State::Foreign),
            (404, "not found".into(), State::Foreign),
            (200, "<html>".into(), State::Foreign),
            (200, "[]".into(), State::Foreign),
            (200, String::new(), State::Foreign),
        ] {
            assert_eq!(of(status, &body).state, state, "{body}");
        }
        let silent = read("h", &Err(anyhow::anyhow!("no route")));
        assert_eq!(
            (silent.state, silent.note.as_deref()),
            (State::Silent, Some("no route"))
        );
    }

    #[test]
    fn updates_are_told_in_a_word() {
        let row = |update: &str| {
            of(200, &format!("{{\"status\":\"pass\",\"update\":{update}}}"))
                .update
                .expect("an update")
        };
        assert_eq!(row(r#"{"phase":"idle"}"#), "idle");
        assert_eq!(
            row(r#"{"phase":"x","trial":{"slot":"b","version":"2","state":"trying"}}"#),
            "2 on trial"
        );
        assert_eq!(
            row(r#"{"phase":"x","trial":{"slot":"b","version":"2","state":"armed"}}"#),
            "2 armed"
        );
        assert_eq!(
            row(
                r#"{"phase":"idle","lastAttempt":{"version":"3","outcome":"failed","at":"2026-11-23T14:00:00Z"}}"#
            ),
            "3 rolled back"
        );
        assert_eq!(
            row(r#"{"phase":"idle","lastAttempt":{"version":"3","outcome":"confirmed"}}"#),
            "idle"
        );
        assert_eq!(
            row(r#"{"phase":"idle","owes":"after-commit"}"#),
            "hooks after-commit to end well"
        );
    }

    #[test]
    fn words_of_a_board_cannot_drive_the_terminal_nor_turn_the_words_around_them() {
        for hostile in [
            "\u{1b}[2J",
            "a\r\nb",
            "ok \u{202e}dekaf",
            "\u{2066}x",
            "\u{85}\u{9b}2J",
            "a\u{2028}b",
        ] {
            let text = clean(hostile);
            let bad = |c: char| c.is_control() || harmless(c) != c;
            assert!(!text.chars().any(bad), "{hostile:?}: {text:?}");
        }
        assert_eq!(clean("Küche, 漢字"), "Küche, 漢字");

        let row = of(
            200,
            &format!(
                "{{\"status\":\"warn\",\"version\":\"1\\u001b[2J\",\"output\":\"{}\"}}",
                "x".repeat(1000)
            ),
        );
        assert_eq!(row.version.as_deref(), Some("1 [2J"));
        assert_eq!(row.note.expect("a note").chars().count(), SHOWN + 1);
    }
}
