//! What each unit of ours may do, as `systemd-analyze security` counts it: 0 is nothing, 10 everything.

use std::path::Path;
use std::time::Duration;

use hypriot_agent::selftest::unit::WALLS;
use hypriot_tests::exec;

/// Unit, and the most it may be exposed. The agent writes the card and talks to the network. The two of a trial are made to need as
/// little as can be: a name space of file systems is a thing that can fail.
const MOST: [(&str, f32); 9] = [
    ("hypriot-came-up.service", 1.5),
    ("hypriot-health.service", 1.5),
    ("hypriot-identity.service", 1.5),
    ("hypriot-neighbours.service", 1.5),
    ("hypriot-trial-expire.service", 3.0),
    ("hypriot-trial-keep.service", 3.0),
    ("hypriot-agent.service", 3.0),
    // it runs apt and packages' scripts
    ("hypriot-packages.service", 8.5),
    // it mounts the stick, where only itself sees it
    ("hypriot-stick@.service", 4.0),
];

/// The image's tests look at the whole system, as it is.
const LOOKS: (&str, f32) = ("hypriot-tests-image.service", 4.0);

/// What a server of the owner's runs.
const SERVER: (&str, f32) = ("hypriot-fleet.service", 1.5);

#[test]
fn no_unit_may_do_more_than_it_must() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let units = root.join("systemd/usr/lib/systemd/system");
    let own = MOST.map(|(unit, most)| (units.clone(), unit, most));
    let server = (root.join("docs/src/how-to/unattended"), SERVER.0, SERVER.1);
    let work = tempfile::tempdir().unwrap();
    let looks = (work.path().to_owned(), LOOKS.0, LOOKS.1);
    let walls = WALLS.join("\n");
    let text = format!("[Service]\nExecStart=/usr/bin/hypriot-agent\n{walls}\n");
    hypriot_imagegen::files::replace(&work.path().join(LOOKS.0), text.as_bytes()).unwrap();
    for (units, unit, most) in own.into_iter().chain([server, looks]) {
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

#[test]
fn what_an_owner_puts_into_usr_local_is_never_taken_for_a_program_of_the_way_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let units = root.join("systemd/usr/lib/systemd/system");
    let mut seen = 0;
    for entry in std::fs::read_dir(units).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        // The half that talks to strangers starts nothing.
        if text.contains("/usr/bin/hypriot-agent") && !text.contains("hypriot-agent serve") {
            let own = text
                .lines()
                .any(|l| l == "Environment=PATH=/usr/sbin:/usr/bin");
            assert!(own, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} units");
}

/// XML 1.0, 2.5: two hyphens end a comment, and avahi leaves such a file out without a word to anybody who looks.
#[test]
fn what_boards_announce_is_read_by_avahi() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd/etc/avahi/services");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let mut python = exec::command("python3");
        let script = "import sys, xml.dom.minidom as xml; print(xml.parse(sys.argv[1]).documentElement.tagName)";
        python.args(["-c", script]).arg(entry.unwrap().path());
        let root = exec::run(python, Duration::from_mins(1)).unwrap();
        assert_eq!(root.trim(), "service-group");
        files += 1;
    }
    assert!(files > 0);
}
