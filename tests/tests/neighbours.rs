//! Boards of one network find each other through Debian's own avahi, by the file that our images have. All of it lives in network
//! namespaces of its own.

use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hypriot_tests::exec;
use hypriot_tests::network::Network;

/// Says to the same test that it runs in its namespace by now.
const INSIDE: &str = "HYPRIOT_NEIGHBOURS_INSIDE";
const LIMIT: Duration = Duration::from_mins(2);

#[test]
fn boards_of_one_network_find_each_other_by_their_avahi() {
    if std::env::var_os(INSIDE).is_some() {
        return inside().unwrap();
    }
    let test = "boards_of_one_network_find_each_other_by_their_avahi";
    exec::apart(test, INSIDE, LIMIT).unwrap();
}

/// An avahi as on a board of ours.
const AVAHI: &str = r#"set -e
mount -t tmpfs tmpfs /run
mkdir /run/avahi-daemon /run/services
cp "$2" /run/services/
mount --bind /run/services /etc/avahi/services
cat > /run/avahi.conf <<END
[server]
host-name=$1
enable-dbus=no
use-ipv6=no
[publish]
publish-workstation=no
END
exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f /run/avahi.conf
"#;

fn inside() -> Result<()> {
    let mut mount = exec::command("mount");
    mount.args(["-t", "tmpfs", "tmpfs", "/run"]);
    exec::run(mount, LIMIT)?;
    let service = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../systemd/etc/avahi/services/hypriot-update.service");
    let _network = Network::new(4)?;
    // before anybody is announced
    ensure!(found(2)?.is_empty(), "nobody is there yet");
    let begin = |n: usize| {
        let mut avahi = Network::on(n);
        avahi
            .args(["--mount", "sh", "-c", AVAHI, "sh"])
            .arg(format!("board-{n}"))
            .arg(&service)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        avahi.spawn().map(exec::Held).context("starting avahi")
    };
    let _boards = [begin(0)?, begin(1)?, begin(2)?];
    // avahi asks first whether somebody else has its name (RFC 6762, 8.1)
    let since = Instant::now();
    let expected = ["10.77.0.10:8094", "10.77.0.11:8094"];
    loop {
        // one that is announced itself does not find itself
        let all = found(2)?;
        if all == expected {
            break;
        }
        ensure!(
            since.elapsed() < LIMIT / 2,
            "{all:?} are found, not {expected:?}"
        );
        thread::sleep(Duration::from_secs(1));
    }
    let stranger = found(3)?;
    ensure!(
        stranger.len() == 3,
        "who announces nothing finds all: {stranger:?}"
    );
    Ok(())
}

/// Whom board `n` finds.
fn found(n: usize) -> Result<Vec<String>> {
    let mut agent = Network::on(n);
    agent
        .arg(exec::workspace_program("hypriot-agent")?)
        .arg("neighbours")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // exit code 3 says that there is none
    let output = agent.output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}: {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said
        .lines()
        .filter(|l| l.contains(':'))
        .map(str::to_owned)
        .collect())
}
