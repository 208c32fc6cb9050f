//! `hypriot-fleet validate` and its report as an owner runs them, against boards that answer over HTTP.

#![expect(
    clippy::disallowed_methods,
    reason = "a test starts the program itself"
)]

mod discover;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use hypriot_keys::keyfile;

const PASSPHRASE: &str = "of a test";

/// A board that says this about its card, and its address.
fn board(version: &str, boot: &str, speed: &str) -> String {
    let body = format!(
        r#"{{"status":"pass","version":"{version}","board":"rpi4","bootId":"{boot}","time":"2026-11-27T00:00:00Z","checks":{{"selftests:failed":[{{"status":"pass","observedValue":0}}],"card:speed":[{{"status":"pass","observedValue":{speed},"observedUnit":"MB/s"}}]}}}}"#
    );
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let address = format!("127.0.0.1:{port}");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 2048];
            drop(stream.read(&mut request));
            let head = format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            drop(stream.write_all((head + &body).as_bytes()));
        }
    });
    address
}

fn fleet(dir: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hypriot-fleet"))
        .current_dir(dir)
        .args(words)
        .env("HYPRIOT_KEYS_PASSPHRASE", PASSPHRASE)
        .output()
        .expect("runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn key(path: &Path) {
    let key = keyfile::generate().expect("a key");
    let sealed = keyfile::seal(&key, PASSPHRASE, keyfile::Cost::default()).expect("sealed");
    keyfile::write(path, &sealed).expect("written");
}

#[test]
fn a_rack_is_validated_reported_signed_and_compared() {
    let dir = tempfile::tempdir().expect("a folder");
    let here = dir.path();
    key(&here.join("own.key"));
    key(&here.join("other.key"));
    std::fs::write(
        here.join("x.img.zip.sha256"),
        format!("{}  x.img.zip\n", "ab".repeat(32)),
    )
    .expect("written");
    let (a, b) = (board("1.0.0", "b1", "20"), board("1.0.0", "b2", "5"));
    let hosts = format!("{a},{b}");
    let rack = [
        "validate",
        "--no-ssh-keys",
        "--within",
        "5",
        "--hosts",
        &hosts,
    ];
    let signed = [
        "--image",
        "x.img.zip",
        "--report",
        "rack.json",
        "--key",
        "own.key",
    ];
    let (code, text) = fleet(here, &[&rack[..], &signed[..]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(
        text.starts_with("TAP version 14\n1..2\n") && text.contains("card:speed pass 20 MB/s"),
        "{text}"
    );
    let (code, text) = fleet(here, &["report", "verify", "rack.json", "--key", "own.key"]);
    assert!(
        code == 0 && text.starts_with("PASSED of x.img.zip (sha256 abab"),
        "{text}"
    );
    let (code, text) = fleet(
        here,
        &["report", "verify", "rack.json", "--key", "other.key"],
    );
    assert!(code == 2 && text.contains("not signed by"), "{text}");
    let pair = format!("{a},{b}");
    let (code, text) = fleet(
        here,
        &[
            "report",
            "diff",
            "rack.json",
            "rack.json",
            "--boards",
            &pair,
        ],
    );
    assert!(
        code == 1 && text.contains("card:speed: pass (20 MB/s) -> pass (5 MB/s)"),
        "{text}"
    );
    let (code, text) = fleet(
        here,
        &[
            &rack[..],
            &["--expect-version", "1.1.0", "--format", "junit"],
        ]
        .concat(),
    );
    assert!(
        code == 1 && text.contains("this is not the image that was flashed"),
        "{text}"
    );
    let twice = format!("{a},localhost:{}", a.rsplit(':').next().expect("a port"));
    let (code, text) = fleet(
        here,
        &[
            "validate",
            "--no-ssh-keys",
            "--within",
            "5",
            "--hosts",
            &twice,
        ],
    );
    assert!(
        code == 1 && text.contains("one board with two names"),
        "{text}"
    );
}
