//! The program itself: three holders, one of them on another machine, from the first key to a refused repository.
#![cfg(feature = "tool")]
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A directory to run in, with a passphrase in the environment.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the program under test is started here and nowhere else"
    )]
    fn start(&self, words: &str, passphrase: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hypriot-keys"));
        command
            .args(words.split_whitespace())
            .current_dir(self.0.path());
        command
            .env_remove("HYPRIOT_KEYS_PASSPHRASE")
            .stdin(std::process::Stdio::null());
        if let Some(passphrase) = passphrase {
            command.env("HYPRIOT_KEYS_PASSPHRASE", passphrase);
        }
        command.output().unwrap()
    }

    /// Runs a command that must succeed; its JSON.
    fn json(&self, words: &str) -> Value {
        let output = self.start(&format!("--json {words}"), Some("open sesame"));
        assert!(
            output.status.success(),
            "{words}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail; its exit code and words.
    fn fails(&self, words: &str) -> (i32, String) {
        let output = self.start(words, Some("open sesame"));
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn a_release_signed_by_holders_on_different_machines() {
    let (desk, other) = (Desk::new(), Desk::new());
    for key in ["alice", "online"] {
        desk.json(&format!("generate {key}.key"));
    }
    let bob = other.json("generate bob.key")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let mode = std::fs::metadata(desk.path("alice.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    carry(&other.path("bob.pub"), &desk.path("bob.pub"));

    desk.json("init repo --root alice.pub --root bob.pub --root-threshold 2 --targets alice.pub --key online.pub");
    carry(&desk.path("alice.pub"), &desk.path("release.json"));
    desk.json(r#"add-target repo release.json --custom {"board":"rpi-4","version":"1.0.0"}"#);
    let (code, words) = desk.fails("publish repo out --key online.key --key alice.key");
    assert_eq!(code, 1);
    assert!(words.contains("1 of the 2 signatures"), "{words}");
    assert!(!desk.path("out").join("timestamp.json").exists());

    // The root travels to Bob and back; his key does not.
    carry(
        &desk.path("repo/staged/root.json"),
        &other.path("root.json"),
    );
    other.json("sign root.json --key bob.key");
    carry(
        &other.path("root.json"),
        &desk.path("repo/staged/root.json"),
    );
    let done = desk.json("publish repo out --key online.key --key alice.key");
    assert_eq!(done["targets_checked"], 1);
    carry(&desk.path("out/1.root.json"), &desk.path("trusted.json"));
    let verified = desk.json("verify out --root trusted.json");
    assert_eq!(verified["targets"][0], "release.json");

    // Bob leaves; he signs that he does.
    desk.json(&format!("rotate repo root --remove {bob} --threshold 1"));
    desk.json("sign repo/staged/root.json --key alice.key");
    assert_eq!(desk.fails("publish repo out --key online.key").0, 1);
    carry(
        &desk.path("repo/staged/root.json"),
        &other.path("root.json"),
    );
    let (code, words) = other.fails("sign root.json --key bob.key");
    assert_eq!(code, 1);
    assert!(
        words.contains("may not sign"),
        "without the root before nobody knows him: {words}"
    );
    carry(&desk.path("trusted.json"), &other.path("before.json"));
    other.json("sign root.json --key bob.key --previous before.json");
    carry(
        &other.path("root.json"),
        &desk.path("repo/staged/root.json"),
    );
    desk.json("publish repo out --key online.key");
    assert_eq!(desk.json("verify out --root trusted.json")["root"], 2);
    assert_eq!(
        desk.json("refresh-timestamp repo out --key online.key")["versions"]["timestamp"],
        3
    );
    let show = desk.json("show repo");
    assert!(
        show.as_array()
            .unwrap()
            .iter()
            .all(|r| r["state"] == "published"),
        "{show}"
    );
}

#[test]
fn what_is_refused_and_how_it_ends() {
    let desk = Desk::new();
    desk.json("generate k.key");
    desk.json("init repo --key k.key");
    desk.json("add-target repo k.pub");
    desk.json("publish repo out --key k.key");
    carry(&desk.path("out/1.root.json"), &desk.path("root.json"));
    for (words, code, says) in [
        ("generate k.key", 3, "exists already"),
        ("init repo --key k.pub", 1, "exists already"),
        ("init other", 3, "no holder"),
        (
            "init other --key k.pub --root-threshold 2",
            1,
            "needs at least 1, and no more than it has keys",
        ),
        ("add-target repo nothing", 3, "does not exist"),
        (
            "add-target repo k.pub --name ../x",
            1,
            "cannot be published",
        ),
        ("add-target repo k.pub --custom [1]", 3, "JSON object"),
        (
            r#"add-target repo k.pub --custom {"rollout":{"pausd":"x"}}"#,
            3,
            "pass over",
        ),
        ("add-target nowhere k.pub", 1, "is not a repository"),
        (
            "verify out --root root.json --at 2050-01-01T00:00:00Z",
            1,
            "expired",
        ),
        (
            "verify out --root root.json --at tomorrow",
            3,
            "--at wants a time",
        ),
        (
            "verify nowhere --root root.json",
            1,
            "timestamp.json is missing",
        ),
        (
            "verify http://127.0.0.1:9/ --root root.json",
            3,
            "could not be read",
        ),
        ("show out/timestamp.json extra", 2, "unexpected argument"),
        ("rotate repo nobody", 1, "no role"),
        ("rotate repo root --threshold 0", 1, "needs at least 1"),
    ] {
        let (found, text) = desk.fails(words);
        assert_eq!(found, code, "{words}: {text}");
        assert!(text.contains(says), "{words}: {text}");
    }
    let wrong = desk.start("refresh-timestamp repo out --key k.key", Some("wrong"));
    assert_eq!(wrong.status.code(), Some(3));
    let none = desk.start(
        "refresh-timestamp repo out --key k.key --passphrase-file nothing",
        None,
    );
    assert_eq!(none.status.code(), Some(3));
}

/// Runs of two programs at once: enough that without the lock half of them lose something.
const ROUNDS: usize = 12;

#[test]
fn a_publication_beside_the_timer_loses_no_release() {
    let desk = Desk::new();
    desk.json("generate k.key");
    desk.json("init repo --key k.key");
    desk.json("publish repo out --key k.key");
    carry(&desk.path("out/1.root.json"), &desk.path("root.json"));
    for round in 0..ROUNDS {
        for writer in ["a", "b"] {
            carry(
                &desk.path("k.pub"),
                &desk.path(&format!("{writer}{round}.json")),
            );
        }
        let run = |words: String| {
            let done = desk.start(&words, Some("open sesame"));
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(done.status.success(), "round {round}: {words}: {said}");
        };
        std::thread::scope(|s| {
            for writer in ["a", "b"] {
                s.spawn(move || {
                    run(format!("add-target repo {writer}{round}.json"));
                    run("publish repo out --key k.key".to_owned());
                });
            }
            s.spawn(|| run("refresh-timestamp repo out --key k.key".to_owned()));
        });
        let listed = &desk.json("verify out --root root.json")["targets"];
        let listed = listed.as_array().unwrap().len();
        assert_eq!(listed, 2 * (round + 1), "round {round}: a release is gone");
    }
}

fn carry(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}
