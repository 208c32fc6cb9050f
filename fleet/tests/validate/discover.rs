//! Boards that announce themselves: a real responder in a network of its own, the real program that asks.

use std::path::Path;

use mdns_sd::{ServiceDaemon, ServiceInfo};

const INSIDE: &str = "HYPRIOT_TEST_IN_NAMESPACE";
const NAME: &str =
    "discover::boards_that_announce_themselves_are_found_and_odd_names_are_passed_over";

fn run(program: &str, words: &[&str]) {
    let done = std::process::Command::new(program).args(words).status();
    assert!(done.expect("starts").success(), "{program} {words:?}");
}

/// The test runs itself once more in a network of its own.
fn outside() -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let own = std::env::current_exe().expect("our own program");
    let done = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--net"])
        .arg(own)
        .args(["--exact", NAME, "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(done.expect("unshare starts").success());
    true
}

#[test]
fn boards_that_announce_themselves_are_found_and_odd_names_are_passed_over() {
    if outside() {
        return;
    }
    for words in [
        "link set lo up",
        "link add v0 type veth peer name v1",
        "addr add 10.99.0.1/24 dev v0",
        "link set v0 up",
        "link set v1 up",
        "route add 224.0.0.0/4 dev v0",
    ] {
        run("ip", &words.split(' ').collect::<Vec<_>>());
    }
    let board = super::board("1.0.0", "b1", "20");
    let port: u16 = board
        .rsplit(':')
        .next()
        .and_then(|p| p.parse().ok())
        .expect("a port");
    let daemon = ServiceDaemon::new().expect("a responder");
    for (name, host) in [
        ("pearl", "pearl.local."),
        ("odd", "-oProxyCommand=x.local."),
    ] {
        let service = "_hypriot._tcp.local.";
        let info = ServiceInfo::new(service, name, host, "10.99.0.1", port, None);
        daemon
            .register(info.expect("a service"))
            .expect("registered");
    }
    let (code, text) = super::fleet(Path::new("/"), &["status", "--discover"]);
    // its address is asked, since nobody here resolves .local
    assert!(
        code == 0 && text.contains(&format!("pearl.local:{port}")),
        "{text}"
    );
    assert!(text.contains("no host name"), "{text}");
    drop(daemon.shutdown());
}
