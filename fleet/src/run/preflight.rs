//! Whether a board can take part: by its answer over HTTP, and by what its agent says over ssh.

use serde::Deserialize;

use crate::answer::clean;
use crate::rollout::journal::{Before, Facts};
use crate::rollout::plan::Plan;
use crate::rollout::{Answer, Health};

/// `hypriot-agent status --json`, as far as it is needed here.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Status {
    /// Kind of board.
    pub board: String,
    /// Version that runs.
    pub version: String,
    /// Slot that runs; none where there are no slots.
    pub booted: Option<String>,
    /// An identity that no other board has.
    #[serde(default)]
    pub id: String,
    /// What the slot of the last failed trial left behind.
    pub last: Option<Last>,
}

/// The last update, with its reasons.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Last {
    /// Why it ended so.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// `hypriot-agent check --json`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Check {
    /// `available`, `held`, `up-to-date`, `refused`, `nothing`, `stuck`.
    pub result: String,
    /// The version.
    pub offered: Option<String>,
    /// In words.
    #[serde(default)]
    pub why: String,
}

/// Judges.
pub fn fit(plan: &Plan, answer: &Answer, status: &Status, check: &Check) -> Result<Facts, String> {
    if status.booted.is_none() {
        return Err("has no slots: it is no HypriotOS, and cannot be updated".into());
    }
    if clean(&status.version) != answer.version {
        return Err(format!(
            "answers with version {} over HTTP and {} over ssh: the two names lead to two boards, or one lies",
            answer.version,
            clean(&status.version)
        ));
    }
    match answer.health {
        Health::Fail => return Err("is not healthy; `hypriot-fleet status` says why".into()),
        Health::Warn if plan.strict => return Err("warns, which --strict does not take".into()),
        _ => {}
    }
    if let Some(trial) = answer.trial.as_ref().filter(|t| !t.armed) {
        return Err(format!("is trying {} at this moment", trial.version));
    }
    Ok(Facts {
        id: clean(&status.id),
        model: clean(&status.board),
        before: Before {
            version: answer.version.clone(),
            slot: answer.slot.clone(),
            last: answer.last.clone(),
        },
        target: target(plan, answer, check)?,
    })
}

fn target(plan: &Plan, answer: &Answer, check: &Check) -> Result<Option<String>, String> {
    let why = clean(&check.why);
    let offered = check.offered.as_deref().map(clean);
    match (check.result.as_str(), &plan.version) {
        (_, Some(wanted)) if *wanted == answer.version => Ok(None),
        // The operator's order is the hurry that a rollout curve leaves room for.
        ("available" | "held", wanted) => match (offered, wanted) {
            (Some(offered), Some(wanted)) if offered != *wanted => {
                Err(format!("is offered {offered}, not {wanted}"))
            }
            (None, _) => Err(format!(
                "says that a release is offered, but not which: {why}"
            )),
            (offered, _) => Ok(offered),
        },
        ("up-to-date", None) => Ok(None),
        ("up-to-date", Some(wanted)) => Err(format!(
            "runs {} and is not offered {wanted}",
            answer.version
        )),
        ("refused", _) => Err(format!(
            "{why}; `hypriot-agent forgive` on the board allows the release again"
        )),
        (_, _) => Err(format!("cannot say what it is offered: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Trial;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, one row for each board")]
    fn only_boards_that_are_well_and_are_offered_the_release_take_part() {
        let answer = Answer {
            version: "1.0.0".into(),
            slot: "a".into(),
            ..Answer::default()
        };
        let status = Status {
            board: "virt".into(),
            version: "1.0.0".into(),
            booted: Some("a".into()),
            ..Status::default()
        };
        let check = |result: &str, offered: Option<&str>| Check {
            result: result.into(),
            offered: offered.map(Into::into),
            why: "because\u{1b}[2J".into(),
        };
        let offered = || check("available", Some("1.1.0"));
        let trying = Answer {
            trial: Some(Trial {
                version: "1.1.0".into(),
                armed: false,
            }),
            ..answer.clone()
        };
        let sick = Answer {
            health: Health::Fail,
            ..answer.clone()
        };
        let plain = Status {
            booted: None,
            ..status.clone()
        };
        let other = Status {
            version: "9.9.9".into(),
            ..status.clone()
        };
        let any = Plan::new(Vec::new());
        let fixed = Plan {
            version: Some("1.1.0".into()),
            ..any.clone()
        };
        for (danger, plan, answer, status, check, expected) in [
            ("good", &any, &answer, &status, offered(), Ok(Some("1.1.0"))),
            (
                "held by its curve",
                &any,
                &answer,
                &status,
                check("held", Some("1.1.0")),
                Ok(Some("1.1.0")),
            ),
            (
                "has it",
                &any,
                &answer,
                &status,
                check("up-to-date", None),
                Ok(None),
            ),
            (
                "fixed",
                &fixed,
                &answer,
                &status,
                offered(),
                Ok(Some("1.1.0")),
            ),
            (
                "a newer one came",
                &fixed,
                &answer,
                &status,
                check("available", Some("1.2.0")),
                Err("is offered 1.2.0"),
            ),
            (
                "withdrawn",
                &fixed,
                &answer,
                &status,
                check("up-to-date", None),
                Err("is not offered 1.1.0"),
            ),
            (
                "failed here before",
                &any,
                &answer,
                &status,
                check("refused", Some("1.1.0")),
                Err("forgive"),
            ),
            (
                "no repository",
                &any,
                &answer,
                &status,
                check("nothing", None),
                Err("cannot say"),
            ),
            (
                "hostile words",
                &any,
                &answer,
                &status,
                check("x\u{7}", None),
                Err("because [2J"),
            ),
            (
                "trial",
                &any,
                &trying,
                &status,
                offered(),
                Err("is trying 1.1.0"),
            ),
            ("sick", &any, &sick, &status, offered(), Err("not healthy")),
            (
                "no slots",
                &any,
                &answer,
                &plain,
                offered(),
                Err("no slots"),
            ),
            ("a lie", &any, &answer, &other, offered(), Err("one lies")),
        ] {
            match (fit(plan, answer, status, &check), expected) {
                (Ok(facts), Ok(target)) => assert_eq!(facts.target.as_deref(), target, "{danger}"),
                (Err(why), Err(words)) => assert!(why.contains(words), "{danger}: {why}"),
                (found, _) => panic!("{danger}: {found:?}"),
            }
        }
    }
}
