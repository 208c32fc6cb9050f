//! The table of attacks: each row is a directory under `testdata/attacks`, with the exact reason for which it is refused.
//!
//! The directories are written by `make*.rs` with test keys that anybody may know; `UPDATE_FIXTURES=1` writes them anew,
//! and a test holds that they are what the makers make.
#![cfg(feature = "std")]
#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "helpers of a test fail by panicking, and its data are long"
)]

mod fixture;
mod interop;
mod make;
mod make_delegations;
mod make_signatures;
mod make_targets;
mod python;
mod table;
mod world;

use fixture::Run;
use table::table;

#[test]
fn every_attack_meets_its_reason() {
    let (table, directories) = (table(), fixture::directories());
    let mut wrong = Vec::new();
    for name in &directories {
        let Some((_, expected)) = table.iter().find(|(row, _)| row == name) else {
            wrong.push(format!("{name}: no row in the table"));
            continue;
        };
        let run = Run::of(name);
        if !expected(&run.outcome) {
            wrong.push(format!("{name}: {:?}", run.outcome));
        }
        // Refused means: nothing of it stays. What was accepted on the way (a root, a timestamp) was accepted for itself.
        if let Some(trouble) = run.aftermath {
            wrong.push(format!("{name}: {trouble}"));
        }
    }
    for (row, _) in &table {
        if !directories.iter().any(|d| d == row) {
            wrong.push(format!("{row}: no directory in testdata/attacks"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        table.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_fixtures_are_what_the_makers_make() {
    let update = std::env::var_os("UPDATE_FIXTURES").is_some();
    let mut stale = Vec::new();
    for attack in make::all() {
        if update {
            fixture::write(&attack);
        }
        if !fixture::is_current(&attack) {
            stale.push(attack.name);
        }
    }
    assert!(
        stale.is_empty(),
        "run again with UPDATE_FIXTURES=1: {stale:?}"
    );
}
