//! Against a server on loopback that answers as servers do, and as they should not.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use hypriot_keys::time::Timestamp;

use super::*;

const TIME: TlsTime = TlsTime {
    clock: Timestamp(1_800_000_000),
    floor: Timestamp(0),
};

fn asker() -> Asker {
    Asker {
        version: "1.0.0".into(),
        target: Some("2.0.0".into()),
        progress: "restart",
        reason: "to try 2.0.0".into(),
        model: "rpi-4".into(),
        slot: "a",
        boot: "5f5f".into(),
        last: None,
        name: "pearl".into(),
        manager: true,
        spread: "shelf-a".into(),
        address: Some("10.0.0.7:8080".into()),
        id: "0123456789abcdef".into(),
    }
}

/// Answers one request with these bytes; gives the server and what it was sent.
fn served(answer: Vec<u8>) -> (Server, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://{}/lock/",
        listener.local_addr().expect("an address")
    );
    let handle = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a request");
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("a limit");
        let (mut text, mut piece) = (Vec::new(), [0; 1024]);
        while !String::from_utf8_lossy(&text).ends_with('}') {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(n) => text.extend_from_slice(&piece[..n]),
            }
        }
        drop(stream.write_all(&answer));
        String::from_utf8_lossy(&text).into_owned()
    });
    (Server::new(&url, "pi.rack-1").expect("a server"), handle)
}

fn http(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into()
}

#[test]
fn a_request_is_what_any_fleetlock_server_reads() {
    for (what, path) in [
        (Ask::PreReboot, "POST /lock/v1/pre-reboot HTTP/1.1"),
        (Ask::SteadyState, "POST /lock/v1/steady-state HTTP/1.1"),
        (Ask::Failed, "POST /lock/v1/failed HTTP/1.1"),
    ] {
        let (server, sent) = served(http("200 OK", "any text"));
        let asked = Http::new(Net::default()).ask(what, &server, &asker(), TIME);
        assert_eq!(asked, Ok(()));
        let text = sent.join().expect("sent");
        assert!(text.starts_with(path), "{text}");
        assert!(
            text.to_lowercase()
                .contains("\r\nfleet-lock-protocol: true\r\n"),
            "{text}"
        );
        let (_, body) = text.split_once("\r\n\r\n").expect("a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("json");
        let params = serde_json::json!({"id": "0123456789abcdef", "group": "pi.rack-1"});
        assert_eq!(body["client_params"], params);
        assert_eq!(body["target"], "2.0.0");
        assert_eq!(body["manager"], true);
        assert_eq!(body["spread"], "shelf-a");
    }
}

#[test]
fn whatever_is_not_200_is_no_and_says_why() {
    let long = "x".repeat(100_000);
    let minute = Some(Duration::from_mins(1));
    for (danger, answer, kind, value, after) in [
        (
            "poseidon: taken",
            http(
                "423 Locked",
                r#"{"kind":"lock_held","value":"reboot lock held by n2"}"#,
            ),
            "lock_held",
            "reboot lock held by n2",
            minute,
        ),
        (
            "airlock: all slots taken, with 500",
            http(
                "500 E",
                r#"{"kind":"failed_lock","value":"all 1 slots already taken"}"#,
            ),
            "failed_lock",
            "all 1 slots already taken",
            minute,
        ),
        (
            "the server knows better when",
            http(
                "409 Conflict\r\nRetry-After: 7",
                r#"{"kind":"failed_lock_semaphore_full","value":"v"}"#,
            ),
            "failed_lock_semaphore_full",
            "v",
            Some(Duration::from_secs(7)),
        ),
        (
            "a date in Retry-After",
            http("503 No\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT", ""),
            "http-503",
            "the server answered 503",
            None,
        ),
        (
            "wrong group",
            http(
                "400 Bad",
                r#"{"kind":"unknown_group","value":"no group pi"}"#,
            ),
            "unknown_group",
            "no group pi",
            None,
        ),
        (
            "captive portal",
            http("302 Found\r\nLocation: http://127.0.0.1:1/login", "<html>"),
            "http-302",
            "the server answered 302; a redirect is not followed, set the URL it leads to",
            None,
        ),
        (
            "success that is none",
            http("204 No Content", ""),
            "http-204",
            "the server answered 204",
            None,
        ),
        (
            "text that would write on the terminal",
            http(
                "409 C",
                "{\"kind\":\"k\\u001b[31m\",\"value\":\"a\\nb\\u0007\"}",
            ),
            "k [31m",
            "a b",
            minute,
        ),
        (
            "a megabyte of reason",
            http("409 C", &format!(r#"{{"kind":"k","value":"{long}"}}"#)),
            "http-409",
            "the server answered 409",
            minute,
        ),
        (
            "not json",
            http("409 C", "kind"),
            "http-409",
            "the server answered 409",
            minute,
        ),
    ] {
        let (server, sent) = served(answer);
        let refusal = Http::new(Net::default())
            .ask(Ask::PreReboot, &server, &asker(), TIME)
            .expect_err(danger);
        sent.join().expect("sent");
        assert_eq!(
            (refusal.kind.as_str(), refusal.value.as_str(), refusal.after),
            (kind, value, after),
            "{danger}"
        );
    }
}

#[test]
fn garbage_a_hang_and_nobody_at_all_are_no_in_bounded_time() {
    for (danger, answer) in [
        ("garbage", b"\x00\x01 220 smtp ready\r\n\r\n".to_vec()),
        ("closed at once", Vec::new()),
        ("half a head", b"HTTP/1.1 200".to_vec()),
    ] {
        let (server, sent) = served(answer);
        let refusal = Http::new(Net::default())
            .ask(Ask::PreReboot, &server, &asker(), TIME)
            .expect_err(danger);
        sent.join().expect("sent");
        assert_eq!(refusal.kind, "request-failed", "{danger}: {refusal}");
        assert!(
            refusal.value.contains("/v1/pre-reboot"),
            "{danger}: {refusal}"
        );
    }
    // somebody listens and never answers
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    let server = Server::new(&url, "default").expect("a server");
    let hasty = Http {
        patience: Duration::from_millis(300),
        net: Net::default(),
    };
    let refusal = hasty.ask(Ask::PreReboot, &server, &asker(), TIME);
    assert_eq!(refusal.expect_err("a hang").kind, "request-failed");
    drop(silent);
    let refusal = hasty.ask(Ask::PreReboot, &server, &asker(), TIME);
    assert_eq!(refusal.expect_err("nobody").kind, "request-failed");
}

#[test]
fn mistakes_in_the_settings_are_named() {
    for (url, group, expected) in [
        ("lock.local", "default", "relative URL"),
        ("ftp://lock/", "default", "not an http"),
        ("http://me:secret@lock/", "default", "name or password"),
        ("http://lock/?a", "default", "no ?"),
        ("http://lock/", "", "letters"),
        ("http://lock/", "a b", "letters"),
    ] {
        let error = Server::new(url, group).expect_err(url);
        assert!(error.contains(expected), "{url} {group}: {error}");
        assert!(!error.contains("secret"));
    }
}
