//! The one page for people with a browser: no script, no cookie, nothing from elsewhere, both colour schemes.

use std::fmt::Write as _;

use crate::report::{Report, SlotView, Status};

/// The style sheet of the page, served beside it so that the page needs no inline styles.
pub(super) const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--pass:#1a7f37;--warn:#9a6700;--fail:#cf222e}\
@media(prefers-color-scheme:dark){:root{--pass:#3fb950;--warn:#d29922;--fail:#f85149}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.35rem .6rem .35rem 0;border-bottom:1px solid var(--line)}\
.pass{color:var(--pass)}.warn{color:var(--warn)}.fail{color:var(--fail)}\
b.pass,b.warn,b.fail{white-space:nowrap}small{display:block;opacity:.8}footer{margin-top:2rem;opacity:.7}\
";

/// The page of a report.
pub(super) fn render(report: &Report) -> String {
    let mut body = String::with_capacity(8 * 1024);
    let status = report.status();
    put(
        &mut body,
        format_args!("<h1>{} is {}</h1>", text(&report.board), badge(status)),
    );
    let system = match &report.slot {
        Some(slot) => format!("HypriotOS {}, slot {slot}", report.version),
        None => format!("{} {}, no slots", report.board, report.version),
    };
    put(
        &mut body,
        format_args!("<p>{}, seen at {}.</p>", text(&system), report.taken_at),
    );
    body += "<table><tr><th>Check<th>Status<th>Finding";
    for (name, check) in &report.checks {
        put(
            &mut body,
            format_args!(
                "<tr><td>{}<td>{}<td>{}",
                text(name),
                badge(check.status),
                text(&check.output)
            ),
        );
        if let Some(fix) = check.fix.as_ref().filter(|_| check.status != Status::Pass) {
            put(&mut body, format_args!("<small>{}</small>", text(fix)));
        }
    }
    body += "</table>";
    if report.update.booted.is_some() {
        update(&mut body, report);
    }
    frame(&body)
}

/// The page when there is no fresh report.
pub(super) fn render_none(why: &str) -> String {
    frame(&format!(
        "<h1>This board is {}</h1><p>{}</p>",
        badge(Status::Fail),
        text(why)
    ))
}

fn update(body: &mut String, report: &Report) {
    let view = &report.update;
    *body += "<h2>Updates</h2><table><tr><th>Slot<th>Version<th>State";
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
        put(
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
        put(
            body,
            format_args!(
                "<p>{} is on trial in slot {}.</p>",
                text(&trial.version),
                text(&trial.slot)
            ),
        );
    }
    if let Some(last) = &view.last_attempt {
        put(
            body,
            format_args!(
                "<p>Last update: {}, {}, at {}.</p>",
                text(&last.version),
                text(&last.outcome),
                last.at
            ),
        );
    }
}

fn frame(body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=10><title>Health of this board</title><link rel=stylesheet href=/style.css>\
         <main>{body}</main><footer><a href=/health>health</a> · <a href=/readyz?verbose>readyz</a> · \
         <a href=/metrics>metrics</a></footer></html>\n"
    )
}

/// Never colour alone: the word says it too.
fn badge(status: Status) -> String {
    let sign = match status {
        Status::Pass => "✓",
        Status::Warn => "!",
        Status::Fail => "✗",
    };
    format!("<b class={0}>{sign} {0}</b>", status.name())
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
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn page_is_small_and_has_no_script() {
        let page = render(&example());
        assert!(page.len() + STYLE.len() < 30_000, "{}", page.len());
        assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("http://"));
        assert!(page.contains("✓ pass") && page.contains("slot b"));
    }

    #[test]
    fn words_of_others_cannot_become_markup() {
        let mut report = example();
        report.version = "<script>alert('1')</script>&\"".into();
        report.checks.get_mut("memory").expect("there").output = "</table><img src=x>".into();
        let page = render(&report);
        assert!(
            !page.contains("<script") && !page.contains("<img"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"));
    }

    #[test]
    fn owner_only_words_stay_away() {
        let mut report = example();
        report.checks.get_mut("memory").expect("there").detail = Some("my-secret".into());
        assert!(!render(&report).contains("secret") && !render(&report).contains("/etc/hostname"));
    }
}
