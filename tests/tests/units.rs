//! What each unit of ours may do, as `systemd-analyze security` counts it: 0 is nothing, 10 everything.

use std::path::Path;
use std::time::Duration;

use hypriot_tests::exec;

/// Unit, and the most it may be exposed. The agent itself sees the real mounts and so has no name space of its own; it is
/// held where it is, so that nothing makes it worse. What runs beside it has no such excuse.
const MOST: [(&str, f32); 4] = [
    ("hypriot-health.service", 1.5),
    ("hypriot-identity.service", 1.5),
    ("hypriot-trial-expire.service", 3.6),
    ("hypriot-agent.service", 5.0),
];

#[test]
fn no_unit_may_do_more_than_it_must() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/usr/lib/systemd/system");
    for (unit, most) in MOST {
        let mut c = exec::command("systemd-analyze");
        c.args(["security", "--offline=true", "--no-pager"])
            .arg(units.join(unit));
        let said = exec::run(c, Duration::from_mins(1)).unwrap();
        let line = said
            .lines()
            .rfind(|l| l.contains("exposure level"))
            .unwrap();
        let score = line.rsplit(": ").next().and_then(|s| s.split(' ').next());
        let score: f32 = score.unwrap().parse().unwrap();
        assert!(score <= most, "{unit}: {score} is more than {most}");
    }
}
