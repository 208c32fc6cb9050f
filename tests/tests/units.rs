//! What each unit of ours may do, as `systemd-analyze security` counts it: 0 is nothing, 10 everything.

use std::path::Path;
use std::time::Duration;

use hypriot_tests::exec;

/// Unit, and the most it may be exposed. The agent itself sees the real mounts and so has no name space of its own; it is
/// held where it is, so that nothing makes it worse. What runs beside it has no such excuse.
const MOST: [(&str, f32); 5] = [
    ("hypriot-came-up.service", 1.5),
    ("hypriot-health.service", 1.5),
    ("hypriot-identity.service", 1.5),
    ("hypriot-trial-expire.service", 3.6),
    ("hypriot-agent.service", 5.0),
];

/// What a server of the owner's runs.
const SERVER: (&str, f32) = ("hypriot-fleet.service", 1.5);

#[test]
fn no_unit_may_do_more_than_it_must() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let units = root.join("systemd/usr/lib/systemd/system");
    let own = MOST.map(|(unit, most)| (units.clone(), unit, most));
    let server = (root.join("docs/src/how-to/unattended"), SERVER.0, SERVER.1);
    for (units, unit, most) in own.into_iter().chain([server]) {
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
