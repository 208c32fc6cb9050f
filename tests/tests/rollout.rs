//! A rollout that reaches the real agent: `hypriot-fleet update` over sshd, boards that install, restart, test themselves, and keep the
//! release or go back by themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, Instant};

use hypriot_tests::locks::servers::Server;
use hypriot_tests::native::{MANUAL, Yard};

/// `hypriot-fleet update` with the patience of a test.
fn update(canary: &str) -> Vec<&str> {
    let mut words = vec!["update", "--canary", canary, "--max-unavailable", "2"];
    words.extend(["--soak", "1", "--settle", "1"]);
    words.extend(["--deadline", "300", "--silence", "120"]);
    words
}

fn all<T>(yard: &Yard, of: impl Fn(usize) -> T) -> Vec<T> {
    (0..yard.size()).map(of).collect()
}

fn versions(yard: &Yard) -> Vec<String> {
    all(yard, |n| yard.version(n).unwrap_or_default())
}

fn starts(yard: &Yard) -> Vec<usize> {
    all(yard, |n| yard.starts(n))
}

fn logs(yard: &Yard) -> String {
    all(yard, |n| format!("--- board {n}\n{}\n", yard.log(n))).concat()
}

/// Runs hypriot-fleet, which must end with `code`.
fn fleet(yard: &Yard, words: &[&str], code: i32) -> String {
    let (found, text) = yard.fleet(words).unwrap();
    assert_eq!(found, code, "{words:?}: {text}\n{}", logs(yard));
    text
}

/// Over the same ssh, by a key that may do nothing else: what each board has on its card is the release, to the last byte.
fn the_rack_is_measured(yard: &Yard) {
    let measure = |version| {
        let image = yard.releases.image(version);
        let words = ["validate", "--image", image.to_str().unwrap(), "--ssh"];
        let more = ["--load", "1", "--no-ssh-keys"];
        yard.fleet(&[&words[..], &more].concat()).unwrap()
    };
    let (_, text) = measure("1.1.0");
    for (what, expected) in [
        (
            "measured:image",
            "pass 0 segments all 2 segments of the running slot are those of native 1.1.0",
        ),
        ("measured:card-size", "0 came back as something else"),
        ("measured:load-memory", "0 words were not as written"),
    ] {
        let held = text
            .lines()
            .filter(|l| l.contains(what) && l.contains(expected));
        assert_eq!(held.count(), yard.size(), "{what}: {text}");
    }
    assert!(
        !text.contains("has the same as"),
        "identities of their own: {text}"
    );
    let (code, text) = measure("1.0.0");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("not the image that was flashed"), "{text}");
}

/// An Ansible inventory in each of its forms, and what would be done over the owner's ssh.
fn inventories_say_the_same(yard: &Yard) {
    let ini = |n, http, ssh| {
        format!(
            "n{n} ansible_host=127.0.0.1 ansible_port={ssh} hypriot_port={http} hypriot_spread=s{n}\n"
        )
    };
    let yaml = |n, http, ssh| {
        format!(
            "        n{n}: {{ansible_host: 127.0.0.1, ansible_port: {ssh}, hypriot_port: {http}, hypriot_spread: s{n}}}\n"
        )
    };
    let json = |n, http, ssh| {
        let comma = if n == 0 { "" } else { "," };
        format!(
            r#"{comma}"n{n}": {{"ansible_host": "127.0.0.1", "ansible_port": {ssh}, "hypriot_port": {http}, "hypriot_spread": "s{n}"}}"#
        )
    };
    let names: Vec<String> = (0..yard.size()).map(|n| format!("\"n{n}\"")).collect();
    let tail = format!(
        r#"}}}}, "all": {{"children": ["ungrouped", "cluster"]}}, "cluster": {{"hosts": [{}]}}}}"#,
        names.join(", ")
    );
    let head = r#"{"_meta": {"hostvars": {"#;
    let files = [
        yard.file("hosts.ini", "[other]\nelsewhere\n[cluster]\n", ini, ""),
        yard.file(
            "hosts.yml",
            "all:\n  children:\n    cluster:\n      hosts:\n",
            yaml,
            "",
        ),
        yard.file("hosts.json", head, json, &tail),
    ];
    for file in files {
        let words = [
            "update",
            "--dry-run",
            "--inventory",
            &file.unwrap(),
            "--group",
            "cluster",
        ];
        let text = fleet(yard, &words, 0);
        for n in 0..yard.size() {
            assert!(text.contains(&format!("n{n}")), "{words:?}: {text}");
        }
        assert!(
            text.contains("1.0.0 -> 1.1.0: 3") && !text.contains("elsewhere"),
            "{words:?}: {text}"
        );
    }
    assert_eq!(starts(yard), [1; 3], "nobody was told anything");
}

#[test]
fn real_agents_take_a_good_release_in_waves_and_a_bad_one_stops_at_the_canary() {
    let mut yard = Yard::start(3, MANUAL).unwrap();
    let canary = yard.name(1);
    assert_eq!(versions(&yard), ["1.0.0"; 3]);
    yard.releases.offer("1.1.0", true).unwrap();
    inventories_say_the_same(&yard);
    let text = fleet(&yard, &update(&canary), 0);
    assert_eq!(versions(&yard), ["1.1.0"; 3], "{text}");
    assert!(text.contains("done: 3 updated"), "{text}");
    assert_eq!(starts(&yard), [2; 3], "each restarted once");

    the_rack_is_measured(&yard);

    yard.releases.offer("1.2.0", false).unwrap();
    let text = fleet(&yard, &update(&canary), 5);
    assert_eq!(versions(&yard), ["1.1.0"; 3], "{text}");
    assert_eq!(
        starts(&yard),
        [2, 4, 2],
        "the canary tried it and came back, nobody else was told: {text}"
    );
    assert!(
        text.contains("/nowhere/of/this/release"),
        "the canary says why: {text}"
    );
    // it failed there: that board takes it again when its owner says so, and not before
    let text = fleet(&yard, &update(&canary), 4);
    assert!(text.contains("forgive"), "{text}");
}

#[test]
fn the_laptop_dies_and_another_goes_on_and_strangers_and_second_operators_are_refused() {
    let mut yard = Yard::start(2, MANUAL).unwrap();
    let canary = yard.name(0);
    yard.releases.offer("1.1.0", true).unwrap();

    yard.known(1, false).unwrap();
    let text = fleet(&yard, &update(&canary), 4);
    assert!(text.contains("ssh-keygen -R '[127.0.0.1]:"), "{text}");
    assert_eq!(starts(&yard), [1; 2], "nobody was told anything: {text}");
    yard.known(1, true).unwrap();

    // killed while the canary restarts into its trial; before that, somebody else tried
    let mut second = None;
    let run = yard
        .fleet_killed(&update(&canary), |run| {
            let journal = yard.fleet(&["show", run, "--json"])?.1;
            if second.is_none() && journal.contains(r#""event":"ordered""#) {
                second = Some(yard.fleet(&update(&canary))?);
            }
            Ok(second.is_some() && yard.starts(0) == 2)
        })
        .unwrap();
    let (code, text) = second.unwrap();
    assert_eq!(code, 4, "{text}");
    assert!(
        text.contains("somebody else") && text.contains(&format!("run {run} of ")),
        "{text}"
    );
    assert_eq!(yard.starts(1), 1, "nobody but the canary was told");

    // another laptop has the journal alone
    let journal = yard.taken_along(&run).unwrap();
    let text = fleet(&yard, &["resume", &journal], 0);
    assert!(text.contains("done: 2 updated"), "{text}");
    assert_eq!(versions(&yard), ["1.1.0"; 2], "{text}");
    assert_eq!(starts(&yard), [2; 2], "nobody restarted twice: {text}");

    let text = fleet(&yard, &["rollback", &journal], 7);
    assert_eq!(versions(&yard), ["1.0.0"; 2], "{text}");
    assert_eq!(starts(&yard), [3; 2], "{text}");
}

/// Waits for what nobody is told to do.
fn wait(yard: &Yard, server: &Server, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(4);
    while !holds() {
        let shown = || server.operator(&["group", "show"]).unwrap();
        assert!(Instant::now() < end, "{}\n{}", shown(), logs(yard));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Locks that the server has given since it began.
fn grants(server: &Server) -> usize {
    let url = format!("http://127.0.0.1:{}/metrics", server.port);
    let text = ureq::get(&url)
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    let mark = "hypriot_fleet_grants_total{group=\"default\"} ";
    let count = text.lines().find_map(|l| l.strip_prefix(mark));
    count.map_or(0, |n| n.parse().unwrap())
}

#[test]
fn boards_that_nobody_watches_ask_before_each_restart_and_a_bad_release_stays_with_the_first() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), &["--new", "--group", "default=1"]).unwrap();
    let lock = format!("http://127.0.0.1:{}", server.port);
    let settings = format!("[update]\nlock = \"{lock}\"\npoll_seconds = 5\n");
    let mut yard = Yard::start(2, &settings).unwrap();

    yard.releases.offer("1.1.0", true).unwrap();
    let home = || {
        let text = server.operator(&["group", "show"]).unwrap();
        text.contains("0 of 1 slots taken") && versions(&yard) == ["1.1.0"; 2]
    };
    wait(&yard, &server, home);
    assert_eq!((starts(&yard), grants(&server)), (vec![2; 2], 2));

    yard.releases.offer("1.2.0", false).unwrap();
    let back = || starts(&yard).contains(&4) && versions(&yard) == ["1.1.0"; 2];
    wait(&yard, &server, back);
    // whoever tried it keeps the lock, so that nobody else gets it for that, and says why: nobody waits for the deadline
    let show = || server.operator(&["group", "show"]).unwrap();
    wait(&yard, &server, || show().contains("paused by the server"));
    let text = show();
    for said in [
        "1 of 1 slots taken",
        "came back without 1.2.0, which ended as failed",
        "/nowhere/of/this/release",
    ] {
        assert!(text.contains(said), "{said}: {text}\n{}", logs(&yard));
    }
    let tried = || {
        let mut starts = starts(&yard);
        starts.sort_unstable();
        (starts, grants(&server))
    };
    assert_eq!(tried(), (vec![2, 4], 3), "{text}");
    // nobody need wait for it, says the operator, and the group stays paused: the board does not take its lock again
    let group = server.group().unwrap();
    let boards = group["boards"].as_array().unwrap();
    let failed = boards.iter().find(|b| b["state"] == "failed").unwrap();
    let id = failed["id"].as_str().unwrap();
    server.operator(&["group", "clear", "default", id]).unwrap();
    std::thread::sleep(Duration::from_secs(12));
    let text = show();
    assert!(
        text.contains("0 of 1 slots taken") && text.contains("paused by the server"),
        "{text}"
    );
    assert_eq!(tried(), (vec![2, 4], 3), "two questions later: {text}");
}
