//! The fuzz targets of all crates without a fuzzer: on the committed corpora, and on what lies near them. `make fuzz` looks further,
//! led by what the code does with an input; this needs no nightly compiler, and is the same on each machine.
#![expect(
    clippy::unwrap_used,
    reason = "a corpus that cannot be read has failed the test"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;

use hypriot_tests::fuzz::TARGETS;

/// Inputs near the corpus, for each target.
const MUTANTS: usize = 1500;
/// As `tests/fuzz` says to the fuzzer.
const LONGEST: usize = 8192;
/// What parsers are sensitive to.
const TOKENS: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"=",
    b".",
    b"..",
    b"/",
    b"-",
    b"0",
    b"-1",
    b"1e9",
    b"18446744073709551616",
    b"null",
    b"\xff\xff\xff\xff",
    b"\xf0\x9f\x90\xb3",
    b"\\u0000",
    b"  ",
];

fn corpus(of: &str, target: &str) -> Vec<Vec<u8>> {
    let folder = fuzz(of).join("corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn fuzz(of: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(of)
        .join("fuzz")
}

/// Numbers that are the same each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}

/// One to four changes to a member of the corpus.
fn mutant(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let end = at + dice.below(bytes.len() + 1 - at).min(dice.below(64));
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            3 => {
                let token = TOKENS[dice.below(TOKENS.len())];
                drop(bytes.splice(at..at, token.iter().copied()));
            }
            4 => {
                let token = TOKENS[dice.below(TOKENS.len())];
                drop(bytes.splice(at..end, token.iter().copied()));
            }
            5 => {
                // the end of another one
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            6 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            _ if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            _ => bytes.push(0),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

/// The first input that a target cannot bear.
fn drive(target: fn(&[u8]), corpus: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let near = (0..MUTANTS).map(|_| mutant(corpus, &mut dice));
    let mut inputs = corpus.iter().cloned().chain([Vec::new()]).chain(near);
    inputs.find(|bytes| catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err())
}

#[test]
fn no_input_near_a_known_one_breaks_a_parser() {
    let broken: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = TARGETS
            .iter()
            .map(|(of, name, target)| {
                scope.spawn(move || {
                    let found = drive(*target, &corpus(of, name))?;
                    Some(format!("{of}/{name}: \"{}\"", found.escape_ascii()))
                })
            })
            .collect();
        runs.into_iter()
            .filter_map(|run| run.join().unwrap())
            .collect()
    });
    assert!(
        broken.is_empty(),
        "put each into its corpus, and mend what it found:\n{}",
        broken.join("\n")
    );
}

#[test]
fn what_is_broken_by_few_changes_is_found() {
    let corpus = [b"{\"length\": 12, \"more\": [1, 2]}".to_vec()];
    let cut: fn(&[u8]) = |bytes| assert!(bytes.len() > 4, "too short");
    let number: fn(&[u8]) = |bytes| {
        let long = bytes.windows(20).any(|w| w == b"18446744073709551616");
        assert!(!long, "too many digits");
    };
    for target in [cut, number] {
        let found = drive(target, &corpus).expect("it breaks");
        assert!(catch_unwind(|| target(&found)).is_err());
    }
    assert_eq!(drive(|_| (), &corpus), None);
}

#[test]
fn every_target_and_every_corpus_is_driven() {
    for of in ["keys", "updater", "imagegen"] {
        let targets = TARGETS.iter().filter(|(its, _, _)| *its == of);
        let known: BTreeSet<String> = targets.map(|(_, name, _)| (*name).to_owned()).collect();
        for folder in ["fuzz_targets", "corpus"] {
            let there: BTreeSet<String> = fs::read_dir(fuzz(of).join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            assert_eq!(there, known, "{of}/fuzz/{folder}");
        }
        for name in &known {
            assert!(
                !corpus(of, name).is_empty(),
                "{of}/{name} begins with nothing"
            );
        }
    }
}
