//! The server over real connections: what it gives, to whom, and what a flood does to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as Stream;
use std::sync::atomic::AtomicBool;
use std::thread;

use hypriot_updater::index::{Index, SegmentHash, Target};
use hypriot_updater::slot::Slot;

use super::*;
use crate::files;
use crate::neighbours::ask::{self, Answer, Bounds};
use crate::neighbours::shelf::{Shelf, partition};
use crate::neighbours::wire::Map;
use crate::update::install::tests::release;

/// A board that holds the first release in slot B, but for what `has` does not name.
struct Lends {
    at: SocketAddr,
    dir: tempfile::TempDir,
    index: Index,
    images: [Vec<u8>; 2],
    shelf: Shelf,
}

fn lends(has: [bool; 6]) -> Lends {
    let dir = tempfile::tempdir().expect("a directory");
    let (index, images, _) = release(7);
    for (target, bytes) in [Target::Boot, Target::Root].into_iter().zip(&images) {
        let path = dir.path().join(partition(Slot::B, target));
        files::replace(&path, bytes, 0o600).expect("written");
    }
    let shelf = Shelf::begin(dir.path(), Slot::B, &index, &has).expect("begun");
    let listener = Listener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let path = dir.path().to_owned();
    // it ends with the tests
    thread::spawn(move || serve(listener, &path));
    Lends {
        at,
        dir,
        index: (*index).clone(),
        images,
        shelf,
    }
}

impl Lends {
    fn segment(&self, n: usize) -> std::io::Result<Answer<Vec<u8>>> {
        let (_, _, len, hash) = self.index.segments().nth(n).expect("a segment");
        let mut bytes = vec![0; len];
        let answer = ask::ask(self.at, Request::Segment(hash), &mut bytes, bounds())?;
        Ok(match answer {
            Answer::Here(()) => Answer::Here(bytes),
            Answer::NotHere => Answer::NotHere,
            Answer::Later(rest) => Answer::Later(rest),
        })
    }

    fn map(&self) -> Option<Map> {
        let request = Request::Map(self.index.content());
        match ask::map(self.at, request, 6, bounds()).expect("an answer") {
            Answer::Here(map) => Some(map),
            _ => None,
        }
    }

    fn bytes(&self, n: usize) -> &[u8] {
        let (image, segment, len, _) = self.index.segments().nth(n).expect("a segment");
        &self.images[image][segment << 20..][..len]
    }
}

static NEVER: AtomicBool = AtomicBool::new(false);

fn bounds() -> Bounds<'static> {
    Bounds {
        within: Duration::from_secs(20),
        stop: &NEVER,
    }
}

#[test]
fn what_is_there_is_lent_and_what_is_not_is_not() {
    let has = [true, true, false, true, true, true];
    let board = lends(has);
    assert_eq!(board.map().expect("a map").has, has);
    for (n, has) in has.into_iter().enumerate() {
        let answer = board.segment(n).expect("an answer");
        if has {
            assert_eq!(answer, Answer::Here(board.bytes(n).to_vec()), "{n}");
        } else {
            assert_eq!(answer, Answer::NotHere, "{n} was not written");
        }
    }
    let mut nothing = [0; 5];
    let unknown = Request::Segment(SegmentHash([9; 32]));
    let answer = ask::ask(board.at, unknown, &mut nothing, bounds());
    assert_eq!(answer.expect("an answer"), Answer::NotHere);
    let other = Request::Map(SegmentHash([9; 32]));
    let answer = ask::map(board.at, other, 6, bounds()).expect("an answer");
    assert_eq!(answer, Answer::NotHere);
}

#[test]
fn a_card_that_changed_is_not_lent_from() {
    let board = lends([true; 6]);
    let path = board.dir.path().join(partition(Slot::B, Target::Root));
    let mut root = files::read(&path, 1 << 30).expect("there");
    root[(1 << 20) + 5] ^= 1;
    // the same file, as a partition is
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("open");
    file.write_all(&root).expect("written");
    assert_eq!(board.segment(3).expect("an answer"), Answer::NotHere);
    assert!(
        matches!(board.segment(4), Ok(Answer::Here(_))),
        "the next one is well"
    );
}

#[test]
fn the_first_segment_is_lent_while_its_first_sector_is_kept_from_the_card() {
    let board = lends([true; 6]);
    let path = board.dir.path().join(partition(Slot::B, Target::Boot));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("open");
    file.write_all(&[0; 512]).expect("broken");
    assert_eq!(board.segment(0).expect("an answer"), Answer::NotHere);
    board.shelf.key(&board.images[0][..512]);
    let answer = board.segment(0).expect("an answer");
    assert_eq!(answer, Answer::Here(board.bytes(0).to_vec()));
}

#[test]
fn another_release_in_the_slot_ends_what_was_lent_of_the_first() {
    let board = lends([true; 6]);
    assert!(board.map().is_some());
    let (other, ..) = release(8);
    let shelf = Shelf::begin(board.dir.path(), Slot::B, &other, &[false; 6]).expect("begun");
    assert_eq!(board.map(), None);
    assert_eq!(board.segment(3).expect("an answer"), Answer::NotHere);
    let request = Request::Map(other.content());
    let answer = ask::map(board.at, request, 6, bounds()).expect("an answer");
    assert!(matches!(answer, Answer::Here(map) if map.installing && map.id == shelf.id()));
    drop(shelf);
}

#[test]
fn an_installation_that_wrote_nothing_for_a_minute_is_not_waited_for() {
    let board = lends([false; 6]);
    assert!(board.map().expect("a map").installing);
    let path = board.dir.path().join("b.map");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("open");
    let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    file.set_modified(then).expect("old");
    assert!(!board.map().expect("a map").installing);
}

#[test]
fn only_questions_of_ours_are_answered_and_in_bounded_time() {
    let board = lends([true; 6]);
    let content = hex::encode(board.index.content().0);
    for (danger, text, expected) in [
        (
            "a map",
            format!("GET /map/{content} HTTP/1.1\r\nHost:\r\n\r\n"),
            "200",
        ),
        (
            "a change",
            format!("POST /map/{content} HTTP/1.1\r\nHost:\r\n\r\n"),
            "405",
        ),
        (
            "a file",
            "GET /../../etc/shadow HTTP/1.1\r\nHost:\r\n\r\n".into(),
            "404",
        ),
        ("no HTTP", "hello\r\n\r\n".into(), "400"),
        (
            "a long head",
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
            "431",
        ),
    ] {
        let mut stream = Stream::connect(board.at).expect("connected");
        // it may be closed before all was sent
        drop(stream.write_all(text.as_bytes()));
        let mut said = Vec::new();
        drop(stream.read_to_end(&mut said));
        let said = String::from_utf8_lossy(&said);
        assert!(
            said.starts_with(&format!("HTTP/1.1 {expected}")),
            "{danger}: {said}"
        );
    }
    // who asks nothing is not kept
    let begun = Instant::now();
    let mut idle = Stream::connect(board.at).expect("connected");
    let mut said = Vec::new();
    drop(idle.read_to_end(&mut said));
    assert!(begun.elapsed() < QUESTION + Duration::from_secs(10));
}

#[test]
fn a_flood_gets_the_rate_and_no_more_and_when_it_is_over_others_get_theirs() {
    let board = lends([true; 6]);
    let (at, begun) = (board.at, Instant::now());
    let hash = board.index.segments().nth(3).expect("a segment").3;
    let flood: Vec<_> = (0..16)
        .map(|_| {
            thread::spawn(move || {
                let (mut here, mut later) = (0, 0);
                while begun.elapsed() < Duration::from_secs(4) {
                    let mut bytes = vec![0; 1 << 20];
                    match ask::ask(at, Request::Segment(hash), &mut bytes, bounds()) {
                        Ok(Answer::Here(())) => here += 1,
                        Ok(Answer::Later(_)) => later += 1,
                        _ => (),
                    }
                }
                (here, later)
            })
        })
        .collect();
    let (mut here, mut later) = (0, 0);
    for thread in flood {
        let (some, more) = thread.join().expect("ended");
        (here, later) = (here + some, later + more);
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert!(
        f64::from(here) <= 6.0 * (seconds + 3.5),
        "{here} in {seconds:.1} s, {later} later"
    );
    assert!(here > 6 && later > 0, "{here}, {later}");
    assert!(board.map().is_some());
    assert!(matches!(
        board.segment(4),
        Ok(Answer::Here(_) | Answer::Later(_))
    ));
}
