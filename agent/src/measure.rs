//! Measures of the hardware for a board that was just flashed: is the card as large and as quick as it says, is memory what was
//! written to it, does the board stay cool and powered under load, is the cable good, and is this the image that was flashed.
//!
//! None of it is asked while a board does its work: it takes half a minute, makes the board busy and writes to the card. What is
//! measured is free room alone.
//!
//! * [`card`]: true size and speed, by what comes back
//! * [`load`]: memory, temperature, power and clock while all cores are busy
//! * [`link`]: what cables and switches negotiated
//! * [`image`]: every byte of the running slot beside a release index

pub mod card;
pub mod image;
pub mod link;
pub mod load;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::Status;

/// One measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// Whether that is good enough.
    pub status: Status,
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Of what.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub unit: &'static str,
    /// In words, with what to do if it is not good.
    pub output: String,
}

/// By their names, as `/health` names its checks.
pub type Measures = BTreeMap<String, Measure>;

impl Measure {
    /// Good.
    pub fn pass(output: impl Into<String>) -> Self {
        Self {
            status: Status::Pass,
            value: None,
            unit: "",
            output: output.into(),
        }
    }

    /// With its number.
    #[must_use]
    pub fn of(self, value: f64, unit: &'static str) -> Self {
        let value = Some((value * 100.0).round() / 100.0);
        Self {
            value,
            unit,
            ..self
        }
    }

    /// Not good, and what to do.
    #[must_use]
    pub fn worse(self, status: Status, fix: &str) -> Self {
        let output = format!("{}; {fix}", self.output);
        Self {
            status,
            output,
            ..self
        }
    }
}
