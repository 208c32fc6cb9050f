//! Which signatures of an archive count: our reading of OpenPGP keys beside `gpgv`, over keys that GnuPG makes here.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: helpers may panic, and it starts the judge and the maker of keys itself"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hypriot_imagegen::lock::repo::keyring;

const TEXT: &str = "Origin: Debian\nSuite: stable\n- a line that begins with a dash\n";
const DAY: u64 = 86_400;

/// A folder of GnuPG's, with its agent, which ends with it.
struct Gnupg(tempfile::TempDir);

fn start(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| {
            panic!("{program}: {e}; `hypriot-imagegen doctor --install --for test` installs it")
        });
    let mut to = child.stdin.take().unwrap();
    // Who answers before he read all of it is judged by his answer.
    drop(to.write_all(input));
    drop(to);
    child.wait_with_output().unwrap()
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        start(
            "gpgconf",
            &["--homedir", &self.home(), "--kill", "all"],
            b"",
        );
    }
}

impl Gnupg {
    /// With one key that signs, made 30 days ago.
    fn new(life: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gnupg = Self(dir);
        gnupg.at(
            30,
            &[
                "--quick-gen-key",
                "archive <a@example.org>",
                "ed25519",
                "sign",
                life,
            ],
        );
        gnupg
    }

    fn home(&self) -> String {
        self.0.path().display().to_string()
    }

    /// Runs `gpg` as if it were so many days ago.
    fn at(&self, days: u64, args: &[&str]) -> String {
        self.with(days, args, b"")
    }

    fn with(&self, days: u64, args: &[&str], input: &[u8]) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let (home, time) = (self.home(), (now - days * DAY).to_string());
        let mut all = vec![
            "--homedir",
            &home,
            "--batch",
            "--no-tty",
            "--quiet",
            "--yes",
        ];
        all.extend(["--pinentry-mode", "loopback", "--passphrase", ""]);
        all.extend(["--faked-system-time", &time]);
        all.extend(args);
        let done = start("gpg", &all, input);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "gpg {args:?}: {said}");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Fingerprints: the primary key's first.
    fn keys(&self) -> Vec<String> {
        let list = self.at(0, &["--with-colons", "--list-keys"]);
        let fpr = |l: &str| Some(l.strip_prefix("fpr:")?.trim_matches(':').to_owned());
        list.lines().filter_map(fpr).collect()
    }

    /// A second key below the first, made 30 days ago.
    fn subkey(&self, life: &str) {
        self.at(
            30,
            &["--quick-add-key", &self.keys()[0], "ed25519", "sign", life],
        );
    }

    /// Asks `gpg` to change the first key in its own words.
    fn edit(&self, words: &str) {
        let key = &self.keys()[0];
        let args = [
            "--no-batch",
            "--command-fd",
            "0",
            "--status-fd",
            "2",
            "--edit-key",
            key,
        ];
        self.with(5, &args, words.as_bytes());
    }

    /// TEXT, signed 20 days ago by one of the keys.
    fn sign(&self, key: usize, more: &[&str]) -> String {
        let by = format!("{}!", self.keys()[key]);
        let mut args = more.to_vec();
        args.extend(["--local-user", &by, "--clearsign"]);
        self.with(20, &args, TEXT.as_bytes())
    }

    fn ring(&self) -> Vec<u8> {
        let path = self.0.path().join("ring");
        let shown = path.display().to_string();
        self.at(0, &["--output", &shown, "--export"]);
        std::fs::read(path).unwrap()
    }
}

/// What `gpgv` says: good, or why not. Only GOODSIG counts (doc/DETAILS; apt's gpgv method asks the same).
fn judge(dir: &Path, ring: &[u8], message: &str) -> Result<(), String> {
    let (keys, text) = (dir.join("judge.gpg"), dir.join("message"));
    hypriot_imagegen::files::replace(&keys, ring).unwrap();
    hypriot_imagegen::files::replace(&text, message.as_bytes()).unwrap();
    let (keys, text) = (keys.display().to_string(), text.display().to_string());
    let mut args = vec!["--status-fd", "1", "--keyring", &keys];
    // What apt distrusts besides.
    for weak in ["SHA1", "RIPEMD160"] {
        args.extend(["--weak-digest", weak]);
    }
    args.push(&text);
    let done = start("gpgv", &args, b"");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let good = said.lines().any(|l| l.starts_with("[GNUPG:] GOODSIG "));
    if good { Ok(()) } else { Err(said) }
}

type Make = fn() -> (Gnupg, String);

#[test]
fn a_signature_counts_here_exactly_where_it_counts_for_gpgv() {
    let cases: [(&str, Make, bool); 13] = [
        (
            "a key as it should be",
            || signed(Gnupg::new("never"), 0),
            true,
        ),
        ("one that will expire", || signed(Gnupg::new("1y"), 0), true),
        (
            "a subkey as it should be",
            || with_subkey("never", "never", 1, |_| ()),
            true,
        ),
        (
            "a revoked key",
            || with_subkey("never", "never", 0, revoke),
            false,
        ),
        (
            "a subkey of a revoked key",
            || with_subkey("never", "never", 1, revoke),
            false,
        ),
        (
            "a revoked subkey",
            || with_subkey("never", "never", 1, revoke_subkey),
            false,
        ),
        (
            "the key of a revoked subkey",
            || with_subkey("never", "never", 0, revoke_subkey),
            true,
        ),
        (
            "an expired subkey",
            || with_subkey("never", "12d", 1, |_| ()),
            false,
        ),
        (
            "the key of an expired subkey",
            || with_subkey("never", "12d", 0, |_| ()),
            true,
        ),
        (
            "a subkey of an expired key",
            || with_subkey("12d", "never", 1, |_| ()),
            false,
        ),
        (
            "a key that expired and was prolonged",
            || {
                with_subkey("12d", "never", 0, |g| {
                    g.at(5, &["--quick-set-expire", &g.keys()[0], "1y"]);
                })
            },
            true,
        ),
        (
            "a signature that expired",
            || signed_with(&["--default-sig-expire", "3d"]),
            false,
        ),
        (
            "a digest that can be forged",
            || signed_with(&["--digest-algo", "SHA1"]),
            false,
        ),
    ];
    for (danger, make, good) in cases {
        let (gnupg, message) = make();
        let ring = gnupg.ring();
        let theirs = judge(gnupg.0.path(), &ring, &message);
        assert_eq!(theirs.is_ok(), good, "{danger}, gpgv: {theirs:?}");
        let keys = keyring::parse(Path::new("ring"), &ring).unwrap();
        let ours = keys.verify("http://m.example/InRelease", &message, SystemTime::now());
        assert_eq!(ours.is_ok(), good, "{danger}, ours: {ours:?}");
        if let Ok(text) = ours {
            assert_eq!(text.trim_end(), TEXT.trim_end(), "{danger}");
        }
        // And nobody else's keys make it good.
        let other = keyring::parse(Path::new("ring"), &Gnupg::new("never").ring()).unwrap();
        other.verify("u", &message, SystemTime::now()).unwrap_err();
    }
    // A clock that is behind makes no key valid before it was made.
    let (gnupg, message) = signed(Gnupg::new("never"), 0);
    let early = SystemTime::now() - Duration::from_secs(40 * DAY);
    let keys = keyring::parse(Path::new("ring"), &gnupg.ring()).unwrap();
    keys.verify("u", &message, early).unwrap_err();
}

fn signed(gnupg: Gnupg, key: usize) -> (Gnupg, String) {
    let message = gnupg.sign(key, &[]);
    (gnupg, message)
}

fn signed_with(options: &[&str]) -> (Gnupg, String) {
    let gnupg = Gnupg::new("never");
    let message = gnupg.sign(0, options);
    (gnupg, message)
}

/// Key and subkey, signed by one of them, and then something happened.
fn with_subkey(life: &str, sub: &str, by: usize, then: fn(&Gnupg)) -> (Gnupg, String) {
    let gnupg = Gnupg::new(life);
    gnupg.subkey(sub);
    let message = gnupg.sign(by, &[]);
    then(&gnupg);
    (gnupg, message)
}

/// With the certificate that GnuPG puts beside every new key; a colon keeps it from being used by mistake.
fn revoke(gnupg: &Gnupg) {
    let name = format!("openpgp-revocs.d/{}.rev", gnupg.keys()[0]);
    let text = std::fs::read_to_string(gnupg.0.path().join(name)).unwrap();
    let text = text.replace(":-----BEGIN", "-----BEGIN");
    gnupg.with(5, &["--import"], text.as_bytes());
}

fn revoke_subkey(gnupg: &Gnupg) {
    gnupg.edit("key 1\nrevkey\ny\n0\n\ny\nsave\n");
}
