//! The parsers of the field read our metrics: promtool of Prometheus, and the OpenMetrics parser of the Python client.
//! Where one is not installed, its test says so and how to install it.

use hypriot_agent::exec::{Cmd, ExecError};
use hypriot_agent::probe::{self, Context, Root};
use hypriot_agent::report::{Report, UpdateView};
use hypriot_agent::serve::metrics::{Format, render};
use hypriot_keys::time::Timestamp;

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
        time_floor: Timestamp(0),
        vitals: probe::Meter::default().read(),
        previous: None,
    };
    probe::collect(&Root::default(), &context, Timestamp(1_700_000_000))
}

#[test]
fn promtool_accepts_the_classic_text() {
    let text = render(&report(), Format::Classic);
    match Cmd::new("promtool")
        .args(["check", "metrics"])
        .stdin(text)
        .run()
    {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stderr), ""),
        Err(ExecError::Missing { .. }) => println!("not checked: apt install prometheus"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn python_client_accepts_openmetrics() {
    let program = "import sys\n\
        try:\n    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        except ImportError:\n    sys.exit(77)\n\
        print(len(list(parse(sys.stdin.read()))))\n";
    let text = render(&report(), Format::OpenMetrics);
    match Cmd::new("python3")
        .args(["-c", program])
        .stdin(text)
        .output()
    {
        Ok(output) if output.exit == hypriot_agent::exec::Exit::Code(77) => {
            println!("not checked: pip install prometheus-client");
        }
        Ok(output) => {
            let families = String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse::<usize>();
            assert!(
                families.is_ok_and(|n| n > 15),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Err(ExecError::Missing { .. }) => println!("not checked: apt install python3"),
        Err(error) => panic!("{error}"),
    }
}
