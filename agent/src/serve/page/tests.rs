//! Tests of [`super`].

use super::*;
use crate::report::tests::example;

fn page(report: &Report) -> String {
    render(report, "black-pearl", &History::default())
}

/// Everything a board can say, and a day of it.
fn full() -> (Report, History) {
    let mut report = example();
    let one = report.checks["memory"].clone();
    for (_, prefixes) in TILES {
        for prefix in *prefixes {
            let check = Check {
                status: Status::Fail,
                output: "a sentence of the usual length that says what was found on this board".into(),
                fix: Some("another sentence of about the usual length, which says what can be done about it now".into()),
                ..one.clone()
            };
            report.checks.insert((*prefix).to_owned(), check.clone());
            report.checks.insert(format!("{prefix}-other"), check);
        }
    }
    let mut history = History::default();
    for n in 0..400_u32 {
        report.uptime = f64::from(n) * 300.0;
        for gauge in ["temperature_celsius", "load1", "memory_available_bytes"] {
            report.gauges.insert(gauge.into(), f64::from(40 + n % 50));
        }
        report.gauges.insert("memory_total_bytes".into(), 100.0);
        history.add(&report);
    }
    (report, history)
}

#[test]
fn page_is_small_and_has_no_script() {
    let (report, history) = full();
    let page = render(&report, "black-pearl", &history);
    let size = page.len() + STYLE.len() + icon(Status::Fail).len();
    assert!(size < 30_000, "{size}");
    assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("http://"));
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(
        page.contains("Temperature, last 24 h: 40 to 89 °C"),
        "{page}"
    );
}

#[test]
fn what_matters_comes_first() {
    let mut report = example();
    let well = page(&report);
    assert!(well.contains("<h1>✓ All is well</h1>") && well.contains("slot b"));
    let memory = report.checks.get_mut("memory").expect("there");
    memory.status = Status::Warn;
    memory.fix = Some("stop a container".into());
    memory.output = "full".into();
    let disk = report.checks.get_mut("disk-data").expect("there");
    disk.status = Status::Fail;
    disk.output = "the card is dead".into();
    let page = page(&report);
    let at = |words: &str| {
        page.find(words)
            .unwrap_or_else(|| panic!("{words}: {page}"))
    };
    assert!(at("✗ Needs you") < at("the card is dead"));
    assert!(
        at("the card is dead") < at("memory: full") && at("memory: full") < at("stop a container")
    );
    assert!(at("stop a container") < at("<h2>"));
    assert!(page.contains("/icon-fail.svg") && page.contains("<title>✗ black-pearl</title>"));
}

#[test]
fn what_is_not_known_or_is_starting_does_not_look_well() {
    let mut report = example();
    let memory = report.checks.get_mut("memory").expect("there");
    memory.knowledge = Knowledge::Unknown;
    memory.output = "unknown: no such meter".into();
    report.checks.get_mut("disk-data").expect("there").knowledge = Knowledge::Starting;
    let page = page(&report);
    assert!(
        page.contains("? unknown</b><dd>memory: no such meter") && page.contains("… starting"),
        "{page}"
    );
}

#[test]
fn words_of_others_cannot_become_markup() {
    let mut report = example();
    let hostile = "<script>alert('1')</script>&\"";
    report.version = hostile.into();
    report.board = hostile.into();
    report.checks.get_mut("memory").expect("there").output = "</table><img src=x>".into();
    report
        .checks
        .insert(hostile.into(), report.checks["memory"].clone());
    let page = render(&report, hostile, &History::default());
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
    let page = page(&report);
    assert!(!page.contains("secret") && !page.contains("/etc/hostname"));
}

#[test]
fn a_curve_shows_gaps_as_gaps_and_a_flat_line_as_flat() {
    let mut history = History::default();
    let mut report = example();
    let mut body = String::new();
    for (uptime, celsius) in [(0.0, 50.0), (300.0, 50.0), (1200.0, 50.0), (1500.0, 50.0)] {
        curve::draw(&mut body, &history, Series::Temperature);
        report.uptime = uptime;
        report.gauges.insert("temperature_celsius".into(), celsius);
        history.add(&report);
        if uptime < 300.0 {
            assert_eq!(body, "", "one point is no curve");
        }
    }
    body.clear();
    curve::draw(&mut body, &history, Series::Temperature);
    assert!(
        body.contains("d=\"M282 32L283 32M286 32L287 32\""),
        "{body}"
    );
    assert!(
        body.contains("Temperature, last 30 min: 50 to 50 °C"),
        "{body}"
    );
}
