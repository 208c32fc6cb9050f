//! The tile of updates: slots, trial, the last update, and what is waited for.

use super::{put as write, text};
use crate::report::{Report, SlotView};

pub(super) fn put(body: &mut String, report: &Report) {
    let view = &report.update;
    if view.booted.is_none() {
        return;
    }
    *body += "<table><tr><th scope=col>Slot<th scope=col>Version<th scope=col>State";
    for (name, slot) in [("a", &view.a), ("b", &view.b)] {
        let Some(SlotView { version, state }) = slot else {
            continue;
        };
        let runs = if view.booted.as_deref() == Some(name) {
            ", running"
        } else {
            ""
        };
        let version = version.as_deref().unwrap_or("none");
        write(
            body,
            format_args!(
                "<tr><td>{name}<td>{}<td>{}{runs}",
                text(version),
                text(state)
            ),
        );
    }
    *body += "</table>";
    if let Some(trial) = &view.trial {
        let (version, slot) = (text(&trial.version), text(&trial.slot));
        write(
            body,
            format_args!("<p>{version} is on trial in slot {slot}.</p>"),
        );
    }
    if let Some(last) = &view.last_attempt {
        let (version, outcome) = (text(&last.version), text(&last.outcome));
        write(
            body,
            format_args!("<p>Last update: {version}, {outcome}, at {}.</p>", last.at),
        );
    }
    if let Some(hooks) = &view.owes {
        let hooks = text(hooks);
        write(
            body,
            format_args!("<p>Not back in service: hooks {hooks} have not ended well.</p>"),
        );
    }
    if let Some(drill) = &view.drill {
        let outcome = if drill.passed {
            "came back"
        } else {
            "did not come back"
        };
        write(
            body,
            format_args!("<p>Last drill: {outcome}, at {}.</p>", drill.at),
        );
    }
    if let Some(waits) = &view.waits {
        // The text may name a lock's holder or a window's reason: the word is enough here.
        write(body, format_args!("<p>Now: {}.</p>", text(&waits.reason)));
    }
}
