//! What can only be seen over several boards: each must be itself. Cards that are copies of one card that had started once have one
//! set of ssh host keys, and whoever knows one of them knows all.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Validation, Verdict};
use crate::answer::clean;
use crate::exec;
use crate::hosts::Host;

/// `ssh-keyscan` of one board.
/// A Pi Zero that has just started takes ten seconds for one key, and each kind is asked for on a connection of its own.
const PATIENCE: Duration = Duration::from_mins(1);
/// Kinds of keys that a board has.
const KEYS: usize = 10;

/// Marks boards that have the identity of another as invalid.
pub fn unique(results: &mut [Validation]) {
    let mut of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (n, result) in results.iter().enumerate() {
        let boot = result
            .boot
            .iter()
            .map(|b| format!("boot id {b}: it is one board with two names"));
        let keys = result
            .keys
            .iter()
            .map(|k| format!("ssh host key {k}: the card is a copy; flash it anew"));
        let id = result
            .id
            .iter()
            .map(|i| format!("machine-id (as id {i}): the card is a copy; flash it anew"));
        let disk = result
            .disk
            .iter()
            .map(|d| format!("disk signature {d}: the card is a copy; flash it anew"));
        for identity in boot.chain(keys).chain(id).chain(disk) {
            of.entry(identity).or_default().push(n);
        }
    }
    for (identity, boards) in of.into_iter().filter(|(_, boards)| boards.len() > 1) {
        for n in &boards {
            let other = boards
                .iter()
                .find(|m| *m != n)
                .map_or_else(String::new, |m| results[*m].host.clone());
            results[*n].verdict = Verdict::Invalid;
            results[*n].note = format!("has the same as {other}: {identity}");
        }
    }
}

/// The ssh host keys of all boards, asked without logging in.
pub async fn keys(hosts: &[Host]) -> Vec<Vec<String>> {
    let mut set = JoinSet::new();
    for (n, host) in hosts.iter().cloned().enumerate() {
        set.spawn(async move { (n, scan(&host).await) });
    }
    let mut all = set.join_all().await;
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, keys)| keys).collect()
}

/// A board without ssh has no keys that could be the same.
async fn scan(host: &Host) -> Vec<String> {
    let port = host.ssh_port.unwrap_or(22).to_string();
    // behind `--`: a name from a file must not be taken for an option
    let arguments = ["-T", "20", "-p", &port, "--", host.address()].map(str::to_owned);
    let mut keys = Vec::new();
    let mut tell = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if let (Some(kind), Some(key), false) = (words.next(), words.next(), line.starts_with('#'))
        {
            keys.push(format!(
                "{} {}",
                clean(kind),
                key.chars()
                    .filter(char::is_ascii_graphic)
                    .take(800)
                    .collect::<String>()
            ));
        }
    };
    // nothing is known without it
    drop(exec::run("ssh-keyscan", &arguments, &[], PATIENCE, &mut tell).await);
    keys.sort();
    keys.truncate(KEYS);
    keys
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, of};
    use super::*;

    #[test]
    fn two_boards_with_one_identity_are_both_invalid() {
        let good = document(r#""selftests:failed":[{"status":"pass","observedValue":0}]"#);
        let mut rack: Vec<Validation> = (0..4)
            .map(|n| of(&format!("n{n}"), &good.replace("b1", &format!("b{n}"))))
            .collect();
        for (n, board) in rack.iter_mut().enumerate() {
            board.keys = vec![format!("ssh-ed25519 key{}", n.min(2))];
        }
        unique(&mut rack);
        let verdicts: Vec<Verdict> = rack.iter().map(|r| r.verdict).collect();
        assert_eq!(
            verdicts,
            [
                Verdict::Valid,
                Verdict::Valid,
                Verdict::Invalid,
                Verdict::Invalid
            ]
        );
        assert!(
            rack[3].note.contains("n2") && rack[3].note.contains("flash it anew"),
            "{}",
            rack[3].note
        );
        // one board under two names
        let mut rack = vec![of("a", &good), of("b", &good)];
        unique(&mut rack);
        assert!(
            rack.iter()
                .all(|r| r.verdict == Verdict::Invalid && r.note.contains("two names"))
        );
    }
}
