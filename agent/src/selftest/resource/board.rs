//! What only a board has: a clock that may be wrong, slots, heat and undervoltage.

use anyhow::{Context as _, Result};

use crate::probe::{Root, clock, heat, power};
use crate::report::{self, Report};
use crate::selftest::run::{Found, Setting, Values};

pub(super) fn clock(setting: &Setting) -> Values {
    let unknown = || anyhow::anyhow!("nothing tells: no time client that we know");
    let synchronized = clock::synchronised(&setting.root);
    let year = setting
        .now
        .to_string()
        .get(..4)
        .and_then(|year| year.parse::<u32>().ok());
    Values::from([
        (
            "synchronized",
            synchronized.map(Found::from).ok_or_else(unknown),
        ),
        ("after-build", Ok((setting.now >= setting.built).into())),
        ("year", year.map(Found::from).ok_or_else(unknown)),
    ])
}

pub(super) fn slot(setting: &Setting) -> Result<Values> {
    // A test that waits must see the report that came after the tests began.
    let fresh = Report::load(&setting.root.path(report::PATH)).map(|report| report.update);
    let view = match (&setting.update, fresh) {
        (_, Ok(fresh)) => fresh,
        (Some(known), Err(_)) => known.clone(),
        (None, Err(error)) => return Err(error.context("no report of the agent tells about slots")),
    };
    let word = |word: &Option<String>| {
        word.clone()
            .map(Found::from)
            .context("this system has no slots")
    };
    let trying = view
        .trial
        .as_ref()
        .is_some_and(|trial| trial.state == "trying");
    Ok(Values::from([
        ("booted", word(&view.booted)),
        ("default", word(&view.default)),
        ("on-trial", Ok(trying.into())),
        (
            "settled",
            Ok((view.booted.is_some() && view.booted == view.default && !trying).into()),
        ),
    ]))
}

pub(super) fn throttling(root: &Root) -> Values {
    let unknown = |what: &str| anyhow::anyhow!("this board has no {what}");
    let temperature = heat::temperature(root).map(Found::from);
    let undervoltage = power::undervoltage(root).map(Found::from);
    Values::from([
        (
            "temperature",
            temperature.ok_or_else(|| unknown("thermometer that we know")),
        ),
        (
            "undervoltage",
            undervoltage.ok_or_else(|| unknown("detector of undervoltage that we know")),
        ),
    ])
}
