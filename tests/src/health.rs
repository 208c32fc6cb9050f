//! Reads a board's `/health` as a stranger would: only the fields we ask about, whatever else is there.

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// What a board says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `pass`, `warn` or `fail`.
    pub status: String,
    /// Version of the running system.
    #[serde(default)]
    pub version: String,
    /// `a` or `b`.
    #[serde(default)]
    pub slot: String,
    /// The kernel's id of this boot.
    #[serde(default)]
    pub boot_id: String,
    /// What is wrong, when something is.
    #[serde(default)]
    pub output: String,
    /// What the update loop does and did.
    #[serde(default)]
    pub update: Update,
}

/// The update loop, seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Update {
    /// One word.
    pub phase: String,
    /// The trial that has not ended.
    pub trial: Option<Trial>,
    /// The last one that has.
    pub last_attempt: Option<Attempt>,
    /// The owner's hooks that have not put the board back into service yet.
    pub owes: Option<String>,
}

/// A trial.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Trial {
    /// The slot on trial.
    pub slot: String,
    /// The version on trial.
    pub version: String,
    /// `armed` before the start that tries it.
    #[serde(default)]
    pub state: String,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attempt {
    /// The version that was tried.
    pub version: String,
    /// `confirmed`, `failed`, `never-tried`, `unknown`.
    pub outcome: String,
    /// Why, if strangers are told.
    #[serde(default)]
    pub reason: String,
}

impl Health {
    /// Reads the body of an answer.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).with_context(|| {
            let begin: String = text.chars().take(200).collect();
            format!("the board's health is not what it should be: {begin}")
        })
    }

    /// In one line, for people.
    pub fn words(&self) -> String {
        let mut words = vec![
            self.status.clone(),
            format!("slot {}", self.slot),
            format!("version {}", self.version),
        ];
        if !self.update.phase.is_empty() {
            words.push(self.update.phase.clone());
        }
        if let Some(last) = &self.update.last_attempt {
            words.push(format!("last update {} {}", last.version, last.outcome));
        }
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_and_a_bare_answer_are_read() {
        let full = r#"{"status":"pass","version":"1.1.0","slot":"b","bootId":"x","serviceId":"new",
            "update":{"phase":"committed","lastAttempt":{"version":"1.2.0","outcome":"failed","at":"2026-01-01T00:00:00Z"}}}"#;
        let health = Health::parse(full).unwrap();
        assert_eq!(
            health.words(),
            "pass, slot b, version 1.1.0, committed, last update 1.2.0 failed"
        );
        assert_eq!(Health::parse(r#"{"status":"fail"}"#).unwrap().slot, "");
        assert!(Health::parse("<html>").is_err());
    }
}
