//! The parsers of the field read our metrics: promtool of Prometheus, and the OpenMetrics parser of the Python client.
//! Both are fetched when they are not there: a parser that is missing is no parser that agrees.

use std::time::Duration;

use hypriot_agent::card::canary::{Fate, Known, Told};
use hypriot_agent::exec::Cmd;
use hypriot_agent::probe::{self, Context, Root};
use hypriot_agent::report::{Report, UpdateView};
use hypriot_agent::serve::metrics::{Format, render};
use hypriot_keys::time::Timestamp;
use hypriot_tests::peers;

fn report() -> Report {
    let update = UpdateView {
        booted: Some("a".into()),
        phase: "idle".into(),
        ..UpdateView::default()
    };
    let context = Context {
        board: "a \"board\"\\".into(),
        version: "1.2.3".into(),
        update,
        selftests: None,
        owner_tests: probe::OwnerTests::None,
        canary: Known {
            told: Some(Told {
                at: 1.0,
                took: Duration::from_millis(14),
                fate: Fate::Kept,
            }),
            looking: None,
        },
        time_floor: Timestamp(0),
        vitals: probe::Meter::default().read(),
        previous: None,
    };
    probe::collect(&Root::default(), &context, Timestamp(1_700_000_000))
}

#[test]
fn promtool_accepts_the_classic_text() {
    let promtool = peers::PROMTOOL.get().expect("promtool");
    let text = render(&report(), Format::Classic);
    let output = Cmd::new(promtool)
        .args(["check", "metrics"])
        .stdin(text)
        .run()
        .expect("promtool reads it");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn python_client_accepts_openmetrics() {
    let parser = peers::OPENMETRICS.get().expect("the Python client");
    let packages = parser.ancestors().nth(3).expect("the folder of packages");
    let program = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        print(len(list(parse(sys.stdin.read()))))\n";
    let output = Cmd::new("python3")
        .args(["-c", program])
        .env("PYTHONPATH", packages)
        .stdin(render(&report(), Format::OpenMetrics))
        .output()
        .expect("python3 runs");
    let families = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse::<usize>();
    assert!(
        families.is_ok_and(|n| n > 15),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
