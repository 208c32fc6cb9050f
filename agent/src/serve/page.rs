//! The one page for people with a browser: no script, no cookie, nothing from elsewhere, both colour schemes. What an owner on a
//! phone wants to know comes first: is it well, why not, what to do.

mod curve;
mod update;

use std::fmt::Write as _;

use super::health::bad;
use super::history::{History, Series};
use crate::probe::duration;
use crate::report::{Check, Knowledge, Report, Status};

/// The style sheet of the page, served beside it so that the page needs no inline styles.
pub(super) const STYLE: &str = include_str!("page/style.css");

/// Tiles, in the order in which they matter on a board: the title, and what the names of its checks begin with.
const TILES: &[(&str, &[&str])] = &[
    ("Power", &["power", "throttling", "supply"]),
    ("Card and disk", &["card", "disk"]),
    ("Temperature", &["temperature"]),
    ("Memory", &["memory", "oom"]),
    ("Updates", &["slot", "update"]),
    ("Tests", &["selftests", "owner"]),
    ("Containers", &["docker", "swarm"]),
    ("Clock", &["clock"]),
    ("Network", &["network"]),
    (
        "System",
        &[
            "units", "kernel", "load", "uptime", "boot", "watchdog", "shutdown", "reset",
        ],
    ),
];

/// The page of a report. `host` is the board's own name.
pub(super) fn render(report: &Report, host: &str, history: &History) -> String {
    let mut body = String::with_capacity(16 * 1024);
    let status = report.status();
    let system = match &report.slot {
        Some(slot) => format!(
            "{}, HypriotOS {}, slot {slot}",
            report.board, report.version
        ),
        None => format!("{} {}, no slots", report.board, report.version),
    };
    who(&mut body, host, &system);
    verdict(&mut body, report, status);
    body += "<div class=tiles>";
    for (title, prefixes) in TILES {
        tile(&mut body, report, title, prefixes, history);
    }
    let known = |name: &str| TILES.iter().any(|(_, prefixes)| belongs(name, prefixes));
    let others: Vec<_> = report
        .checks
        .iter()
        .filter(|(name, _)| !known(name))
        .collect();
    if !others.is_empty() {
        rows(&mut body, "More", &others);
        body += "</section>";
    }
    body += "</div></main>";
    let seen = format!("Seen at {}.", report.taken_at);
    frame(status, host, &body, &seen)
}

/// The page when there is no fresh report.
pub(super) fn render_none(why: &str, host: &str) -> String {
    let mut body = String::new();
    who(&mut body, host, "nothing is known about it");
    put(
        &mut body,
        format_args!(
            "<main><div class=\"verdict fail\"><h1>✗ Not known</h1><ul><li>{}</ul></div></main>",
            text(why)
        ),
    );
    frame(Status::Fail, host, &body, "")
}

/// The icon of a status, for the tabs of a browser: a form of its own for each, not only a colour.
pub(super) fn icon(status: Status) -> &'static str {
    match status {
        Status::Pass => {
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"8\" fill=\"#1a7f37\"/><path d=\"M4 8l3 3 5-6\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2\"/></svg>"
        }
        Status::Warn => {
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><path d=\"M8 0l8 15H0z\" fill=\"#d29922\"/><path d=\"M8 5v5m0 1v2\" stroke=\"#000\" stroke-width=\"2\"/></svg>"
        }
        Status::Fail => {
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 16 16\"><rect width=\"16\" height=\"16\" fill=\"#cf222e\"/><path d=\"M4 4l8 8m0-8l-8 8\" stroke=\"#fff\" stroke-width=\"2\"/></svg>"
        }
    }
}

fn who(body: &mut String, host: &str, system: &str) {
    let host = if host.is_empty() { "this board" } else { host };
    put(
        body,
        format_args!(
            "<header><p><b>{}</b> {}</p></header>",
            text(host),
            text(system)
        ),
    );
}

fn verdict(body: &mut String, report: &Report, status: Status) {
    let words = match status {
        Status::Pass => "✓ All is well",
        Status::Warn => "! Worth a look",
        Status::Fail => "✗ Needs you",
    };
    put(
        body,
        format_args!(
            "<main><div class=\"verdict {}\"><h1>{words}</h1>",
            status.name()
        ),
    );
    let mut bad = bad(report).peekable();
    if bad.peek().is_some() {
        *body += "<ul>";
        for (name, check) in bad {
            put(
                body,
                format_args!("<li>{} {}: {}", badge(check), text(name), text(said(check))),
            );
            if let Some(fix) = &check.fix {
                put(body, format_args!("<small>{}</small>", text(fix)));
            }
            let seconds = report.taken_at.0.saturating_sub(check.since.0);
            if seconds >= 60 {
                // Exact up to 2^32 seconds.
                let seconds = f64::from(u32::try_from(seconds).unwrap_or(u32::MAX));
                put(
                    body,
                    format_args!("<small>for {}</small>", duration(seconds)),
                );
            }
        }
        *body += "</ul>";
    }
    *body += "</div>";
}

fn belongs(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

fn tile(body: &mut String, report: &Report, title: &str, prefixes: &[&str], history: &History) {
    let checks = report
        .checks
        .iter()
        .filter(|(name, _)| belongs(name, prefixes));
    let checks: Vec<_> = checks.collect();
    if checks.is_empty() {
        return;
    }
    rows(body, title, &checks);
    match title {
        "Temperature" => curve::draw(body, history, Series::Temperature),
        "Memory" => curve::draw(body, history, Series::Memory),
        "System" => curve::draw(body, history, Series::Load),
        "Updates" => update::put(body, report),
        _ => {}
    }
    *body += "</section>";
}

/// The tile up to its end, which may hold more.
fn rows(body: &mut String, title: &str, checks: &[(&String, &Check)]) {
    put(body, format_args!("<section><h2>{title}</h2><dl>"));
    for (name, check) in checks {
        put(
            body,
            format_args!(
                "<dt>{}<dd>{}: {}",
                badge(check),
                text(name),
                text(said(check))
            ),
        );
        // What to do about the others stands at the top.
        let here = check.status != Status::Pass && check.weight() == Status::Pass;
        if let Some(fix) = check.fix.as_ref().filter(|_| here) {
            put(body, format_args!("<small>{}</small>", text(fix)));
        }
    }
    *body += "</dl>";
}

/// The frame around a page. It does not renew itself unless asked to, which the server does with a header.
fn frame(status: Status, host: &str, body: &str, seen: &str) -> String {
    let sign = sign(status);
    let host = if host.is_empty() { "this board" } else { host };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{sign} {host}</title><link rel=icon href=/icon-{name}.svg><link rel=stylesheet href=/style.css>\
         {body}<footer><p>{seen} <a href=\"/\">Look again</a> <a href=\"/?refresh\">Look again every 10 seconds</a></p>\
         <nav aria-label=\"for programs\"><a href=/health>health</a> <a href=\"/readyz?verbose\">readyz</a> <a href=/metrics>metrics</a> \
         <a href=/openapi.json>openapi</a></nav></footer></html>\n",
        host = text(host),
        name = status.name(),
    )
}

fn sign(status: Status) -> &'static str {
    match status {
        Status::Pass => "✓",
        Status::Warn => "!",
        Status::Fail => "✗",
    }
}

/// Never colour alone: sign and word say it too.
fn badge(check: &Check) -> String {
    match check.knowledge {
        Knowledge::Unknown => "<b class=none>? unknown</b>".into(),
        Knowledge::Starting => "<b class=warn>… starting</b>".into(),
        Knowledge::Known | Knowledge::Broken => {
            let status = check.status;
            format!("<b class={0}>{1} {0}</b>", status.name(), sign(status))
        }
    }
}

/// What was found; the badge says already that nothing could be.
fn said(check: &Check) -> &str {
    let output = check.output.as_str();
    match check.knowledge {
        Knowledge::Unknown => output.strip_prefix("unknown: ").unwrap_or(output),
        _ => output,
    }
}

fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

fn put(body: &mut String, what: std::fmt::Arguments<'_>) {
    body.write_fmt(what).expect("a String takes any text");
}

#[cfg(test)]
mod tests;
