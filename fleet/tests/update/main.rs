//! `hypriot-fleet update` as an owner runs it: the real program, the real ssh and sshd on loopback. The boards behind them
//! are simulated: they speak the agent's JSON over HTTP, and obey what reaches them over ssh.

mod rack;
mod swarm;

use rack::{Behaviour, Rack};

#[test]
fn a_release_reaches_all_boards_canary_first() {
    let rack = Rack::start(&[Behaviour::Good; 3]);
    let (code, text) = rack.fleet(&["update"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(rack.versions(), ["1.1.0"; 3], "{text}");
    let installs: Vec<usize> = rack.told("install");
    assert_eq!(installs, [0, 1, 2], "{text}");
    assert!(text.contains("done: 3 updated"), "{text}");
    assert!(rack.told("claim").len() >= 6, "claimed and let go");
    let (code, text) = rack.fleet(&["update"]);
    assert_eq!(code, 3, "nothing to do: {text}");
}

#[test]
fn a_release_that_fails_on_the_canary_touches_nobody_else_and_says_why() {
    let rack = Rack::start(&[Behaviour::FallsBack, Behaviour::Good]);
    let (code, text) = rack.fleet(&["update"]);
    assert_eq!(code, 5, "{text}");
    assert_eq!(rack.versions(), ["1.0.0"; 2]);
    assert_eq!(rack.told("install"), [0]);
    assert!(text.contains("docker: not running"), "{text}");
    assert!(
        !text.contains('\u{1b}') && !text.contains('\u{7}'),
        "words of a board drive no terminal: {text:?}"
    );
}

#[test]
fn dry_run_shows_the_waves_and_changes_nothing() {
    let rack = Rack::start(&[Behaviour::Good; 2]);
    let (code, text) = rack.fleet(&["update", "--dry-run"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("wave 0") && text.contains("wave 1"), "{text}");
    assert!(rack.told("install").is_empty());
}

#[test]
fn a_changed_host_key_is_refused_with_what_to_do() {
    let rack = Rack::start(&[Behaviour::Good; 2]);
    rack.forge_known_host(1);
    let (code, text) = rack.fleet(&["update"]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("ssh-keygen -R '[127.0.0.1]:"), "{text}");
    assert!(rack.told("install").is_empty());
}

#[test]
fn the_second_operator_is_told_who_runs_what() {
    let rack = Rack::start(&[Behaviour::Good, Behaviour::HeldByAlice]);
    let (code, text) = rack.fleet(&["update"]);
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("run r9 of alice@laptop"), "{text}");
    assert!(rack.told("install").is_empty());
}

#[test]
fn a_release_that_is_withdrawn_mid_rollout_stops_it() {
    let rack = Rack::start(&[Behaviour::Good, Behaviour::Withdrawn, Behaviour::Good]);
    let (code, text) = rack.fleet(&["update"]);
    assert_eq!(code, 5, "{text}");
    assert_eq!(rack.versions(), ["1.1.0", "1.0.0", "1.0.0"]);
    assert!(text.contains("not offered any more"), "{text}");
}

#[test]
fn a_killed_laptop_is_taken_up_where_it_was() {
    let rack = Rack::start(&[Behaviour::Good; 3]);
    rack.fleet_killed_after(&["update"], || !rack.told("install").is_empty());
    let run = rack.only_run();
    let (code, text) = rack.fleet(&["resume", &run]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(rack.versions(), ["1.1.0"; 3], "{text}");
    let (code, text) = rack.fleet(&["show", &run]);
    assert!(code == 0 && text.contains("updated"), "{text}");
}
