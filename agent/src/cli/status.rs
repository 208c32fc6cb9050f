//! `hypriot-agent status`: both slots, the trial, the last attempt and its reason, for people and for programs.

use hypriot_updater::decide::{Seen, Step, Why, decide};
use hypriot_updater::record::{Attempt, Refused};
use hypriot_updater::slot::{Release, Slot};
use serde::Serialize;

use crate::config::Settings;
use crate::owner::Additions;
use crate::report::{FetchedView, UpdateView};
use crate::system::{NoSlots, Plain};
use crate::update::board;
use crate::update::store::FailureReport;
use crate::update::why::word;

/// The status as JSON; the shape is stable, fields are only added.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// Board name.
    pub board: String,
    /// Version that runs.
    pub version: String,
    /// By this the board is known to a fleet: of its machine-id, without telling it (machine-id(5)).
    pub id: String,
    /// Slots and trial.
    #[serde(flatten)]
    pub update: UpdateView,
    /// What happens next, in words.
    pub next: String,
    /// The last update that ended.
    pub last: Option<Attempt>,
    /// Releases that are not installed again by themselves.
    pub refused: Vec<Refused>,
    /// What the slot of the last failed trial left behind.
    pub failure: Option<FailureReport>,
    /// What the owner added to this start.
    pub boot: Option<Additions>,
    /// Whether boards of one network lend each other what they hold of a release.
    pub neighbours: bool,
}

/// Computes the status; nothing of it is stored anywhere.
pub fn status(
    seen: &Seen,
    settings: &Settings,
    failure: Option<FailureReport>,
    boot: Option<Additions>,
) -> Status {
    let policy = &settings.policy;
    Status {
        board: settings.board.clone(),
        version: seen.running.to_string(),
        id: super::fleet::id(),
        update: board::view_of(seen, policy, None),
        next: words(&decide(seen, policy)),
        last: seen.record.last.clone(),
        refused: seen.record.refused.clone(),
        failure,
        boot,
        neighbours: settings.neighbours,
    }
}

/// The status of a system without slots, in the same shape.
pub fn plain(system: &Plain) -> Status {
    Status {
        board: system.name.clone(),
        version: system.version.clone(),
        id: super::fleet::id(),
        update: Plain::view(),
        next: NoSlots.to_string(),
        last: None,
        refused: Vec::new(),
        failure: None,
        boot: None,
        neighbours: false,
    }
}

fn words(step: &Step) -> String {
    match step {
        Step::Wait(Why::OwnerReboots(slot)) => {
            format!("slot {slot} is ready; restart the board to try it")
        }
        Step::Wait(why) => why.to_string(),
        Step::Ask => "asks the update source".into(),
        Step::SelfTest => "runs its self-tests".into(),
        Step::Install { into, release } => format!("installs {} in slot {into}", release.version),
        Step::Arm { slot, release } => format!("arms slot {slot} with {}", release.version),
        Step::Retry(slot) => format!("tries slot {slot} once more"),
        Step::Lock(release) => format!("asks the lock service for {}", release.version),
        Step::Prepare(release) => format!("runs its hooks before it tries {}", release.version),
        Step::After(after) => format!("runs its hooks after the update to {}", after.version),
        Step::Steady => "tells the lock service that it is steady".into(),
        Step::KeepLock => "tells the lock service what failed, and keeps the lock".into(),
        Step::Disarm(slot) => format!("disarms slot {slot}, which may not be tried now"),
        Step::RebootToTry => "restarts into the slot on trial".into(),
        Step::Commit(slot) => format!("commits slot {slot}"),
        Step::Fail(_) | Step::RebootBack => "goes back to the other slot".into(),
        Step::Settle(..) => "records how the trial ended".into(),
        Step::Adopt(slot) => format!("keeps slot {slot}, because the default one did not come up"),
        Step::CameUp => "tells the boot loader that this start went well".into(),
    }
}

/// The status for people: the verdict first.
pub fn human(status: &Status) -> String {
    let mut lines = Vec::new();
    let u = &status.update;
    let mut line = |label: &str, value: &str| {
        lines.push(format!("{label:>8}  {value}\n"));
    };
    let Some(slot) = u.booted.as_deref() else {
        line(
            &status.board,
            &format!("{}, {}", status.version, status.next),
        );
        return lines.concat();
    };
    line(
        &status.board,
        &format!("{} in slot {slot}, {}", status.version, u.phase),
    );
    for (name, view) in [(Slot::A, &u.a), (Slot::B, &u.b)] {
        if let Some(view) = view {
            let mark = if u.booted.as_deref() == Some(name.name()) {
                " (runs)"
            } else {
                ""
            };
            let default = if u.default.as_deref() == Some(name.name()) {
                ", default"
            } else {
                ""
            };
            line(
                &format!("slot {name}"),
                &format!(
                    "{} {}{default}{mark}",
                    view.version.as_deref().unwrap_or("-"),
                    view.state
                ),
            );
        }
    }
    if let Some(last) = &status.last {
        line(
            "last",
            &format!(
                "{} in slot {} {} at {}",
                last.release.version,
                last.slot,
                word(last.outcome),
                last.at
            ),
        );
        for reason in &last.reasons {
            line("", reason);
        }
    }
    if let Some(fetched) = &u.fetched {
        line("came", &whence(fetched));
    }
    if !status.neighbours {
        line(
            "",
            "neighbours are switched off: nothing is lent, nor borrowed",
        );
    }
    if let Some(drill) = &u.drill {
        let went = if drill.passed {
            "came back by itself"
        } else {
            "did not come back as it should"
        };
        let took = drill
            .seconds
            .map_or_else(String::new, |s| format!(", healthy after {s} s"));
        line(
            "drill",
            &format!("{went}{took}, at {} ({})", drill.at, drill.outcome),
        );
    }
    for Refused {
        release: Release {
            version, digest, ..
        },
        reasons,
        ..
    } in &status.refused
    {
        line(
            "refused",
            &format!("{version} ({}): {}", digest.short(), reasons.join("; ")),
        );
    }
    if let Some(boot) = &status.boot {
        for (n, text) in boot.lines().iter().enumerate() {
            line(if n == 0 { "boot" } else { "" }, text);
        }
    }
    line("next", &status.next);
    lines.concat()
}

/// What the last installation cost, and whom.
fn whence(fetched: &FetchedView) -> String {
    let mb = |bytes: u64| format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
    let source = format!("{} from the source", mb(fetched.source));
    match fetched.lenders {
        0 => format!("{source}, nothing from neighbours"),
        1 => format!("{source}, {} from a neighbour", mb(fetched.neighbours)),
        n => format!("{source}, {} from {n} neighbours", mb(fetched.neighbours)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neighbours_gave_is_told_apart_from_what_the_source_did() {
        let of = |lenders, neighbours| {
            whence(&FetchedView {
                source: 12_345_678,
                neighbours,
                lenders,
            })
        };
        assert_eq!(of(0, 0), "12.3 MB from the source, nothing from neighbours");
        assert_eq!(
            of(1, 999),
            "12.3 MB from the source, 0.0 MB from a neighbour"
        );
        assert_eq!(
            of(3, 90 << 20),
            "12.3 MB from the source, 94.3 MB from 3 neighbours"
        );
    }

    #[test]
    fn system_without_slots_says_so_and_shows_none() {
        let status = plain(&Plain {
            name: "debian".into(),
            version: "13".into(),
        });
        let text = human(&status);
        assert_eq!(
            text.trim_start(),
            "debian  13, this board has no slots: health and self-tests only\n"
        );
        let json = serde_json::to_value(&status).expect("json");
        assert_eq!(
            (&json["booted"], &json["a"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(json["phase"], "no-slots");
    }
}
