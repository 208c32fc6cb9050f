//! Tests of [`super`]: the grammar of OpenMetrics 1.0 as far as we use it, checked line by line.
//! The parsers of the field (promtool, the Python client) read the same text in `tests/tests/metrics_peers.rs`.

use std::collections::BTreeMap;

use super::*;
use crate::report::tests::example;

fn full() -> Report {
    let mut report = example();
    for (key, ..) in NUMBERS {
        report.gauges.insert((*key).into(), 1.5);
    }
    report
}

#[test]
fn openmetrics_families_are_whole_and_in_order() {
    let text = render(&full(), Format::OpenMetrics);
    assert!(
        text.ends_with("\n# EOF\n"),
        "the end is marked once, at the end"
    );
    assert_eq!(text.matches("# EOF").count(), 1);
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let mut family = "";
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(kinds.insert(name, kind).is_none(), "{name} twice");
            family = name;
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').expect("a unit");
            assert_eq!(name, family);
            assert!(
                name.ends_with(&format!("_{unit}")),
                "{name} does not end with {unit}"
            );
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(
                rest.starts_with(&format!("{family} ")) && rest.ends_with('.'),
                "{line}"
            );
        } else {
            let suffix = match kinds[family] {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let sample = line
                .strip_prefix(family)
                .and_then(|l| l.strip_prefix(suffix))
                .expect(line);
            let value = sample.rsplit(' ').next().expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(sample.starts_with('{') || sample.starts_with(' '), "{line}");
            if matches!(kinds[family], "info") {
                assert_eq!(value, "1");
            }
        }
    }
    assert!(kinds.keys().all(|name| name.starts_with("hypriot_")));
    assert_eq!(kinds["hypriot_card_writes"], "counter");
}

#[test]
fn exactly_one_state_of_each_set_is_on() {
    let text = render(&full(), Format::OpenMetrics);
    let states: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("hypriot_check_status{check=\"memory\""))
        .collect();
    assert_eq!(states.len(), 3);
    assert_eq!(states.iter().filter(|l| l.ends_with(" 1")).count(), 1);
    assert!(text.contains("hypriot_health{hypriot_health=\"pass\"} 1\n"));
}

#[test]
fn classic_text_names_counters_and_infos_with_their_suffix_and_has_no_end() {
    let text = render(&full(), Format::Classic);
    assert!(text.contains("# TYPE hypriot_oom_kills_total counter\n"));
    assert!(text.contains("# TYPE hypriot_system_info gauge\n"));
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
}

#[test]
fn labels_cannot_break_out() {
    let mut report = example();
    report.version = "1\"} 1\nevil 2\\".into();
    let text = render(&report, Format::OpenMetrics);
    assert!(text.contains(r#"version="1\"} 1\nevil 2\\""#), "{text}");
}

#[test]
fn absent_numbers_are_absent_not_zero_and_no_report_says_so() {
    let text = render(&example(), Format::OpenMetrics);
    assert!(!text.contains("temperature"));
    assert!(render_none(Format::OpenMetrics).contains("hypriot_report_present 0\n# EOF\n"));
}

#[test]
fn every_number_of_the_probes_has_a_family() {
    let sources = [
        include_str!("../../probe/boot.rs"),
        include_str!("../../probe/canary.rs"),
        include_str!("../../probe/card.rs"),
        include_str!("../../probe/clock.rs"),
        include_str!("../../probe/disk.rs"),
        include_str!("../../probe/docker.rs"),
        include_str!("../../probe/heat.rs"),
        include_str!("../../probe/kernel.rs"),
        include_str!("../../probe/memory.rs"),
        include_str!("../../probe/network.rs"),
        include_str!("../../probe/power.rs"),
        include_str!("../../probe/units.rs"),
        include_str!("../../probe/update.rs"),
    ];
    let known: Vec<&str> = NUMBERS.iter().map(|n| n.0).collect();
    let mut seen = 0;
    for source in sources {
        for call in source.split(".gauge(").skip(1) {
            let name = call.split('"').nth(1).expect("a literal name");
            assert!(
                known.contains(&name),
                "{name} is measured but not in NUMBERS"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, known.len(), "a family without a probe");
}

#[test]
fn the_catalogue_names_what_a_board_answers() {
    let text = render(&full(), Format::OpenMetrics);
    let known = catalogue();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().expect("a name");
        assert!(known.iter().any(|m| m.name == name), "{name} is missing");
    }
    let plain = render(&Report::default(), Format::OpenMetrics);
    assert!(!plain.contains("update"), "no slots, no updates:\n{plain}");
}
