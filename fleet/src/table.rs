//! Answers for people: one line for each board, and a summary.

use std::collections::BTreeMap;

use hypriot_keys::time::Timestamp;

use crate::answer::{Row, State};

const HEAD: [&str; 8] = [
    "HOST", "STATE", "BOARD", "VERSION", "SLOT", "UPDATE", "SEEN", "NOTE",
];

/// The table of `rows` at `now`.
pub fn render(rows: &[Row], now: Timestamp) -> String {
    let lines: Vec<[String; 8]> = rows.iter().map(|row| line(row, now)).collect();
    let mut widths = HEAD.map(str::len);
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format(&HEAD.map(str::to_owned), &widths);
    for line in &lines {
        text += &format(line, &widths);
    }
    text + &summary(rows)
}

fn format(line: &[String; 8], widths: &[usize; 8]) -> String {
    let cells: Vec<String> = line
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned() + "\n"
}

fn line(row: &Row, now: Timestamp) -> [String; 8] {
    let or_dash = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".into());
    [
        row.host.clone(),
        name(row.state).into(),
        or_dash(&row.board),
        or_dash(&row.version),
        or_dash(&row.slot),
        or_dash(&row.update),
        row.seen_at
            .map_or_else(|| "-".into(), |then| ago(then, now)),
        row.note.clone().unwrap_or_default(),
    ]
}

fn name(state: State) -> &'static str {
    match state {
        State::Pass => "pass",
        State::Warn => "warn",
        State::Fail => "FAIL",
        State::Stale => "STALE",
        State::Foreign => "FOREIGN",
        State::Silent => "SILENT",
    }
}

/// A board's clock may be wrong by years; that is worth seeing.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let (age, suffix) = match now.0.checked_sub(then.0) {
        Some(age) => (age, "ago"),
        None => (then.0 - now.0, "ahead"),
    };
    match age {
        0..=119 => format!("{age} s {suffix}"),
        120..=7199 => format!("{} min {suffix}", age / 60),
        7200..=172_799 => format!("{} h {suffix}", age / 3600),
        _ => format!("{} days {suffix}", age / 86_400),
    }
}

/// `4 boards: 2 pass, 1 warn, 1 silent; versions 1.2.3 (2), 1.2.4 (1)`.
fn summary(rows: &[Row]) -> String {
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *states.entry(row.state).or_default() += 1;
        if let Some(version) = &row.version {
            *versions.entry(version).or_default() += 1;
        }
    }
    let states: Vec<String> = states
        .iter()
        .map(|(state, n)| format!("{n} {}", name(*state).to_lowercase()))
        .collect();
    let versions: Vec<String> = versions
        .iter()
        .map(|(version, n)| format!("{version} ({n})"))
        .collect();
    let versions = if versions.is_empty() {
        String::new()
    } else {
        format!("; versions {}", versions.join(", "))
    };
    let plural = if rows.len() == 1 { "board" } else { "boards" };
    format!("{} {plural}: {}{versions}\n", rows.len(), states.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(host: &str, state: State) -> Row {
        Row {
            host: host.into(),
            state,
            board: None,
            version: None,
            slot: None,
            update: None,
            seen_at: None,
            note: None,
        }
    }

    #[test]
    fn table_is_aligned_and_counts() {
        let good = Row {
            board: Some("rpi64".into()),
            version: Some("1.2.3".into()),
            slot: Some("a".into()),
            update: Some("idle".into()),
            seen_at: Some(Timestamp(1_000)),
            ..row("pearl.local", State::Pass)
        };
        let silent = Row {
            note: Some("no answer in time".into()),
            ..row("b", State::Silent)
        };
        let text = render(&[good, silent], Timestamp(1_005));
        let expected = "\
HOST         STATE   BOARD  VERSION  SLOT  UPDATE  SEEN     NOTE
pearl.local  pass    rpi64  1.2.3    a     idle    5 s ago
b            SILENT  -      -        -     -       -        no answer in time
2 boards: 1 pass, 1 silent; versions 1.2.3 (1)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn wrong_clocks_show() {
        for (then, text) in [
            (1_000_000, "0 s ago"),
            (999_000, "16 min ago"),
            (0, "11 days ago"),
            (1_500_000, "5 days ahead"),
        ] {
            assert_eq!(ago(Timestamp(then), Timestamp(1_000_000)), text);
        }
    }
}
