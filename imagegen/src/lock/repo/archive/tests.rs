//! Tests of [`super`]: a whole mirror that lies, lags or breaks, over HTTP. What each fault ends in is a row.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgp::composed::SignedSecretKey;

use super::*;
use crate::lock::repo::release::tests::{key, now, ring, signed};
use crate::sha256::Sha256;

const LIST: &str = "dists/sid/main/binary-arm64/Packages.xz";
const PACKAGES: &str = "Package: a\nVersion: 2\nArchitecture: arm64\n\n";
const OLDER: &str = "Package: a\nVersion: 1\nArchitecture: arm64\n\n";

/// What the server says to a request for a path.
#[derive(Clone)]
pub(crate) enum Answer {
    Bytes(Vec<u8>),
    Status(u16),
    /// One byte of so many, then nothing for longer than anybody waits.
    Drip(usize),
    /// Never an end.
    Endless,
}

/// Answers by path; the nth request gets the nth, later ones the last.
pub(crate) type Site = BTreeMap<String, Vec<Answer>>;

pub(crate) fn xz(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    xz2::read::XzEncoder::new(text.as_bytes(), 1)
        .read_to_end(&mut out)
        .unwrap();
    out
}

/// The text of a table of contents of the 21st to the 23rd that vouches for `list`.
fn table(day: u8, list: &[u8], by_hash: &str) -> String {
    let name = ["Sat", "Sun", "Mon"][usize::from(day - 21)];
    format!(
        "Origin: Debian\nSuite: unstable\nCodename: sid\nDate: {name}, {day:02} Nov 2026 09:00:00 UTC\n{by_hash}SHA256:\n {} {} main/binary-arm64/Packages.xz\n",
        Sha256::of(list),
        list.len()
    )
}

pub(crate) fn serve(site: Site) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let site = Arc::new(Mutex::new(site));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let site = Arc::clone(&site);
            std::thread::spawn(move || answer(stream, &site));
        }
    });
    base
}

fn answer(mut stream: TcpStream, site: &Mutex<Site>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let path = first.split([' ', '?']).nth(1).unwrap_or("/")[1..].to_owned();
    while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
    let answer = match site.lock().unwrap().get_mut(&path) {
        Some(answers) if answers.len() > 1 => answers.remove(0),
        Some(answers) => answers[0].clone(),
        None => Answer::Status(404),
    };
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    // A client that had enough hangs up: no fault of the test.
    drop(match answer {
        Answer::Bytes(body) => stream
            .write_all(head(body.len()).as_bytes())
            .and_then(|()| stream.write_all(&body)),
        Answer::Status(status) => stream.write_all(
            format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        ),
        Answer::Drip(length) => stream
            .write_all(format!("{}x", head(length)).as_bytes())
            .map(|()| std::thread::sleep(Duration::from_secs(5))),
        Answer::Endless => (|| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'x'; 1 << 13])?;
            }
        })(),
    });
}

/// How reading the archive went.
fn read(site: Site, keyring: &Keyring, store: &Store) -> Result<Universe, RepoError> {
    let drips = |a: &Answer| matches!(a, Answer::Drip(_));
    let patience = if site.values().flatten().any(drips) {
        100
    } else {
        400
    };
    let mirror = Mirror {
        main: serve(site),
        security: None,
        security_guessed: false,
    };
    let from = Sources {
        mirror: &mirror,
        keyring,
        store,
        client: &Client::new(Duration::from_millis(patience)),
        frozen: false,
        now: now(),
        progress: Progress::Quiet,
    };
    universe(&from, "sid", "arm64", &["main"], &mut Vec::new())
}

/// A danger, what the server says for the table of contents and for the list, and what the reader must say.
type Row = (
    &'static str,
    Vec<Answer>,
    Vec<Answer>,
    Result<(), &'static str>,
);

fn list_rows(key: &SignedSecretKey) -> Vec<Row> {
    let (list, older) = (xz(PACKAGES), xz(OLDER));
    let bytes = |b: &[u8]| Answer::Bytes(b.to_vec());
    let sign = |text: &str| Answer::Bytes(signed(text, key).into_bytes());
    let today = sign(&table(23, &list, ""));
    let by_hash = sign(&table(23, &list, "Acquire-By-Hash: yes\n"));
    let swapped = format!("{PACKAGES}Package: evil\nVersion: 1\n\n");
    let altered = {
        let mut bytes = list.clone();
        bytes[20] ^= 1;
        bytes
    };
    let not_xz = b"Package: a\nVersion: 2\n";
    vec![
        (
            "an honest mirror",
            vec![today.clone()],
            vec![bytes(&list)],
            Ok(()),
        ),
        (
            "no lists under their hashes",
            vec![by_hash],
            vec![bytes(&list)],
            Ok(()),
        ),
        (
            "an update that ends while we ask",
            vec![today.clone()],
            vec![bytes(&older), bytes(&list)],
            Ok(()),
        ),
        (
            "a table of contents that catches up with its lists",
            vec![sign(&table(22, &older, "")), today.clone()],
            vec![bytes(&list)],
            Ok(()),
        ),
        (
            "an update that never ends",
            vec![today.clone()],
            vec![bytes(&older)],
            Err("in the middle of an update"),
        ),
        (
            "a list swapped for another",
            vec![today.clone()],
            vec![bytes(&xz(&swapped))],
            Err("in the middle of an update"),
        ),
        (
            "a list with other bytes of the same length",
            vec![today.clone()],
            vec![bytes(&altered)],
            Err("its SHA-256 is"),
        ),
        (
            "a list that is gone",
            vec![today.clone()],
            vec![Answer::Status(404)],
            Err("HTTP 404"),
        ),
        (
            "a list that drips",
            vec![today.clone()],
            vec![Answer::Drip(list.len())],
            Err("the transfer stopped"),
        ),
        (
            "a busy server that recovers",
            vec![Answer::Status(503), today],
            vec![Answer::Status(503), bytes(&list)],
            Ok(()),
        ),
        (
            "a signed list that is none",
            vec![sign(&table(23, not_xz, ""))],
            vec![bytes(not_xz)],
            Err("Packages.xz"),
        ),
    ]
}

/// The same for a table of contents that lies itself.
fn contents_rows(key: &SignedSecretKey, stranger: &SignedSecretKey) -> Vec<Row> {
    let list = xz(PACKAGES);
    let bytes = |b: &[u8]| Answer::Bytes(b.to_vec());
    let today = signed(&table(23, &list, ""), key);
    vec![
        (
            "a table of contents changed after signing",
            vec![bytes(today.replace("unstable", "unstablf").as_bytes())],
            vec![bytes(&list)],
            Err("no signature by a trusted key"),
        ),
        (
            "a table of contents without a signature",
            vec![bytes(table(23, &list, "").as_bytes())],
            vec![bytes(&list)],
            Err("is not signed"),
        ),
        (
            "a table of contents signed by a stranger",
            vec![bytes(signed(&table(23, &list, ""), stranger).as_bytes())],
            vec![bytes(&list)],
            Err("no signature by a trusted key"),
        ),
        (
            "a table of contents without end",
            vec![Answer::Endless],
            vec![bytes(&list)],
            Err("cannot reach"),
        ),
        (
            "a server without the archive",
            vec![Answer::Status(404)],
            vec![],
            Err("HTTP 404"),
        ),
    ]
}

#[test]
fn what_a_mirror_may_do() {
    let (key, stranger) = (key(), key());
    let keyring = ring(&key);
    let rows = list_rows(&key)
        .into_iter()
        .chain(contents_rows(&key, &stranger));
    for (danger, contents, lists, wanted) in rows {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut site = Site::from([("dists/sid/InRelease".to_owned(), contents)]);
        if !lists.is_empty() {
            site.insert(LIST.to_owned(), lists);
        }
        match (read(site, &keyring, &store), wanted) {
            (Ok(universe), Ok(())) => {
                let found = universe.newest("a").unwrap().unwrap();
                assert_eq!(found.version.to_string(), "2", "{danger}");
            }
            (Err(e), Err(says)) => assert!(e.to_string().contains(says), "{danger}: {e}"),
            (Ok(_), Err(says)) => panic!("{danger}: believed, not `{says}`"),
            (Err(e), Ok(())) => panic!("{danger}: {e}"),
        }
    }
}

#[test]
fn a_mirror_that_goes_back_in_time_is_refused_and_a_broken_one_locks_nobody_out() {
    let key = key();
    let keyring = ring(&key);
    let (list, older) = (xz(PACKAGES), xz(OLDER));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let site = |day: u8, list: &[u8], served: &[u8]| {
        let contents = signed(&table(day, list, ""), &key).into_bytes();
        Site::from([
            (
                "dists/sid/InRelease".to_owned(),
                vec![Answer::Bytes(contents)],
            ),
            (LIST.to_owned(), vec![Answer::Bytes(served.to_vec())]),
        ])
    };
    // Newer, but its lists do not fit: it must not become the newest seen.
    assert!(read(site(23, &older, &list), &keyring, &store).is_err());
    read(site(21, &list, &list), &keyring, &store).unwrap();
    read(site(22, &list, &list), &keyring, &store).unwrap();
    let e = read(site(21, &older, &older), &keyring, &store).unwrap_err();
    assert!(matches!(e, RepoError::Rollback { .. }), "{e}");
    read(site(22, &list, &list), &keyring, &store).unwrap();
}
