//! Neighbours that help, and every way in which they can not: the slot is right, and nobody is waited for beyond what was agreed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hypriot_updater::slot::Slot;

use super::*;
use crate::files;
use crate::neighbours::lend;
use crate::neighbours::shelf::{Shelf, partition};
use crate::neighbours::wire::{Id, Map, Request};

/// Segments of the release of these tests.
const SEGMENTS: usize = 13;

/// Who is found. One test at a time, since whoever looks is a plain function.
static FOUND: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn find(_: &AtomicBool) -> Vec<SocketAddr> {
    FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A release in which everything is worth a question.
fn noisy() -> (Verified<Index>, [Vec<u8>; 2], Vec<u8>) {
    let many = |from: u8, n: u8| (0..n).flat_map(|i| noise(from + i, MIB)).collect();
    let images: [Vec<u8>; 2] = [many(10, 3), many(50, 10)];
    let (file, bytes) = payload_of("p.full", &full_rows(&images), None);
    (index_of(9, &images, vec![file]), images, bytes)
}

fn big_slot() -> [MemDisk; 2] {
    [MemDisk::new(4 * MIB), MemDisk::new(12 * MIB)]
}

/// A neighbour that holds the release, as a board does.
fn good(dir: &Path, index: &Index, images: &[Vec<u8>; 2], has: &[bool]) -> SocketAddr {
    for (target, bytes) in [Target::Boot, Target::Root].into_iter().zip(images) {
        files::replace(&dir.join(partition(Slot::A, target)), bytes, 0o600).unwrap();
    }
    drop(Shelf::begin(dir, Slot::A, index, has).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let dir = dir.to_owned();
    thread::spawn(move || lend::serve(listener, &dir));
    at
}

/// A neighbour that answers with what `says` says.
fn bad(says: fn(Request, &Index, &mut TcpStream)) -> SocketAddr {
    let (index, ..) = noisy();
    let index: Index = (*index).clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), index) = (stream, index.clone()) else {
                return;
            };
            thread::spawn(move || {
                let mut asked = [0; 1024];
                let read = stream.read(&mut asked).unwrap_or(0);
                let text = String::from_utf8_lossy(&asked[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                if let Some(request) = Request::parse(path) {
                    says(request, &index, &mut stream);
                }
            });
        }
    });
    at
}

fn say(stream: &mut TcpStream, head: &str, length: usize, body: &[u8]) {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
    // who asked may be gone
    drop(
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body)),
    );
}

fn claim_all(stream: &mut TcpStream) {
    let map = Map {
        id: Id([9; 16]),
        installing: false,
        has: vec![true; SEGMENTS],
    };
    let bytes = map.encode();
    say(stream, "200 OK", bytes.len(), &bytes);
}

/// Installs beside these neighbours. Gives what it cost, and how long it took.
fn beside(
    found: Vec<SocketAddr>,
    source: &dyn Source,
    slot: &[MemDisk; 2],
) -> (Result<Summary, InstallError>, Duration) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = found;
    let (index, ..) = noisy();
    let dir = tempfile::tempdir().unwrap();
    let near = Nearby {
        find: Some(find),
        shelf: dir.path().to_owned(),
        slot: Slot::B,
    };
    let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
    let begun = Instant::now();
    let done = install(&index, source, None, Some(&near), &mut disks, &mut |_| ());
    let took = begun.elapsed();
    // nobody waits for this board any more, however it ended; where nothing was to be written, nobody was told
    if let Ok(map) = std::fs::read(dir.path().join("b.map")) {
        let map = Map::parse(&map, SEGMENTS).unwrap();
        assert!(!map.installing);
        assert!(done.is_err() || map.has == [true; SEGMENTS]);
    }
    (done, took)
}

/// A source of so many bytes in a second.
struct Slow(MemSource, u32);

struct Dripping<'a>(Box<dyn io::Read + 'a>, u32);

impl io::Read for Dripping<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(64 << 10);
        let read = self.0.read(&mut into[..most])?;
        thread::sleep(Duration::from_secs_f64(
            f64::from(u32::try_from(read).unwrap()) / f64::from(self.1),
        ));
        Ok(read)
    }
}

impl Source for Slow {
    fn open(&self, name: &str, from: u64) -> Result<Box<dyn io::Read + '_>, SourceError> {
        Ok(Box::new(Dripping(self.0.open(name, from)?, self.1)))
    }
}

fn slow() -> Slow {
    Slow(MemSource::new("p.full", noisy().2), 8 << 20)
}

#[test]
fn a_neighbour_that_has_it_all_spares_the_source_and_the_slot_is_the_same() {
    let (index, images, payload) = noisy();
    let dir = tempfile::tempdir().unwrap();
    let at = good(dir.path(), &index, &images, &[true; SEGMENTS]);
    let slot = big_slot();
    // a source of 1 MiB/s, as a line into a house
    let source = Slow(MemSource::new("p.full", payload.clone()), 1 << 20);
    let (done, took) = beside(vec![at], &source, &slot);
    let done = done.unwrap();
    assert!(holds(&slot, &images));
    assert_eq!(done.neighbours, 1);
    let all = done.fetched + done.lent;
    assert!(done.lent >= 8 << 20, "{done}");
    assert!(
        all <= payload.len() as u64 + (2 << 20),
        "nothing came twice: {done}"
    );
    assert!(took < Duration::from_secs(13), "{took:?}");
}

#[test]
fn neighbours_that_lie_drip_or_vanish_change_no_byte_and_cost_no_more_than_was_agreed() {
    type Says = fn(Request, &Index, &mut TcpStream);
    let rows: [(&str, Says); 12] = [
        ("wrong bytes", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => say(stream, "200 OK", MIB, &vec![0x5a; MIB]),
        }),
        (
            "the bytes of another segment",
            |request, _, stream| match request {
                Request::Map(_) => claim_all(stream),
                Request::Segment(_) => say(stream, "200 OK", MIB, &noise(11, MIB)),
            },
        ),
        ("it ends early", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => say(stream, "200 OK", MIB, &vec![1; 1000]),
        }),
        ("it drips", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => {
                say(stream, "200 OK", MIB, &[]);
                while stream.write_all(&[1]).is_ok() {
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }),
        ("it says nothing", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => thread::sleep(Duration::from_mins(1)),
        }),
        ("it says nothing from the beginning", |_, _, _| {
            thread::sleep(Duration::from_mins(1));
        }),
        ("a huge length", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => say(stream, "200 OK", usize::MAX, &vec![1; MIB]),
        }),
        ("a huge map", |_, _, stream| {
            say(stream, "200 OK", 1 << 30, &vec![0xff; MIB]);
        }),
        ("a map that lies", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => say(stream, "404 Not Found", 0, &[]),
        }),
        ("it always says later", |request, _, stream| match request {
            Request::Map(_) => claim_all(stream),
            Request::Segment(_) => say(stream, "503 x\r\nretry-after: 99999", 0, &[]),
        }),
        ("it closes each connection", |request, _, stream| {
            if let Request::Map(_) = request {
                claim_all(stream);
            }
        }),
        (
            "it says that it is fetching all that is anybody's",
            |request, _, stream| match request {
                Request::Map(_) => {
                    let mut map = Map::empty(Id([3; 16]), SEGMENTS);
                    map.installing = true;
                    let bytes = map.encode();
                    say(stream, "200 OK", bytes.len(), &bytes);
                }
                Request::Segment(_) => say(stream, "404 Not Found", 0, &[]),
            },
        ),
    ];
    let (_, images, _) = noisy();
    for (danger, says) in rows {
        let slot = big_slot();
        let (done, took) = beside(vec![bad(says)], &slow(), &slot);
        let done = done.unwrap_or_else(|e| panic!("{danger}: {e}"));
        assert!(holds(&slot, &images), "{danger}");
        assert_eq!((done.lent, done.neighbours), (0, 0), "{danger}");
        // the source alone needs a second and a half, the account has two, and a question ends within a tenth
        assert!(took < Duration::from_secs(8), "{danger}: {took:?}");
    }
}

#[test]
fn a_neighbour_that_disappears_in_the_middle_leaves_what_it_gave_and_no_more() {
    let (_, images, payload) = noisy();
    let slot = big_slot();
    let at = bad(|request, index, stream| {
        static GIVEN: Mutex<u32> = Mutex::new(0);
        let Request::Segment(hash) = request else {
            return claim_all(stream);
        };
        let mut given = GIVEN.lock().unwrap();
        *given += 1;
        let (_, images, _) = noisy();
        let mut all = index.segments();
        let (image, n, len, _) = all.find(|s| s.3 == hash).unwrap();
        let bytes = &images[image][n * MIB..][..len];
        let most = if *given > 3 { len / 2 } else { len };
        say(stream, "200 OK", len, &bytes[..most]);
    });
    let source = Slow(MemSource::new("p.full", payload), 2 << 20);
    let (done, took) = beside(vec![at], &source, &slot);
    let done = done.unwrap();
    assert!(holds(&slot, &images));
    assert!((1..=4).contains(&(done.lent >> 20)), "{done}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn a_thousand_that_are_announced_are_not_a_thousand_questions() {
    let (_, images, _) = noisy();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    // each at an address of its own, none of which ever says a word
    let all = (0..1000_u32).map(|n| {
        let [_, _, c, d] = (n + 1).to_be_bytes();
        SocketAddr::from(([127, 9, c, d], port))
    });
    let slot = big_slot();
    let (done, took) = beside(all.collect(), &slow(), &slot);
    assert_eq!(done.unwrap().neighbours, 0);
    assert!(holds(&slot, &images));
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_board_that_finds_itself_is_not_its_own_neighbour() {
    let (index, images, _) = noisy();
    let dir = tempfile::tempdir().unwrap();
    let slot = big_slot();
    for (target, bytes) in [Target::Boot, Target::Root].into_iter().zip(&images) {
        files::replace(&dir.path().join(partition(Slot::B, target)), bytes, 0o600).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let shelf = dir.path().to_owned();
    thread::spawn(move || lend::serve(listener, &shelf));
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = vec![at];
    let near = Nearby {
        find: Some(find),
        shelf: dir.path().to_owned(),
        slot: Slot::B,
    };
    let mut disks: [Box<dyn Disk>; 2] = [Box::new(slot[0].clone()), Box::new(slot[1].clone())];
    let done = install(&index, &slow(), None, Some(&near), &mut disks, &mut |_| ()).unwrap();
    assert_eq!((done.lent, done.neighbours), (0, 0), "{done}");
    assert!(holds(&slot, &images));
}

#[test]
fn a_source_that_ends_in_the_middle_is_made_up_for_by_a_neighbour() {
    let (index, images, payload) = noisy();
    let dir = tempfile::tempdir().unwrap();
    let at = good(dir.path(), &index, &images, &[true; SEGMENTS]);
    let slot = big_slot();
    // the table, and not one segment
    let source = MemSource::new("p.full", payload).cut_every(60_000);
    let (done, _) = beside(vec![at], &source, &slot);
    let done = done.unwrap();
    assert!(holds(&slot, &images));
    assert!(done.lent >= 12 << 20, "{done}");
    // and without a neighbour it is the error that it was
    let (done, took) = beside(Vec::new(), &source, &big_slot());
    assert!(matches!(done, Err(InstallError::Cut { .. })), "{done:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_source_that_gives_garbage_is_found_out_beside_neighbours_as_without() {
    let (index, _, payload) = noisy();
    let table = index.payloads[0].table_size as usize;
    let mut altered = payload;
    altered[table..].iter_mut().for_each(|b| *b ^= 1);
    let slot = big_slot();
    let source = MemSource::new("p.full", altered);
    let (done, _) = beside(Vec::new(), &source, &slot);
    assert!(
        matches!(done, Err(InstallError::Altered { .. })),
        "{done:?}"
    );
    for (disk, image) in slot.iter().zip(&noisy().1) {
        for (at, bytes) in disk.written() {
            let right = image.get(at..at + bytes.len()) == Some(&bytes[..]);
            assert!(right || bytes == [0; 512], "{} bytes at {at}", bytes.len());
        }
    }
}

#[test]
fn a_power_cut_beside_neighbours_leaves_no_loadable_slot_and_the_next_run_finishes() {
    let (index, images, payload) = noisy();
    let dir = tempfile::tempdir().unwrap();
    let at = good(dir.path(), &index, &images, &[true; SEGMENTS]);
    for n in [0, 1, 2, 7, 13, 14, 15] {
        let slot = big_slot();
        for disk in &slot {
            disk.cut_at_write(n, 4096);
        }
        let source = MemSource::new("p.full", payload.clone());
        let (done, _) = beside(vec![at], &source, &slot);
        for disk in &slot {
            disk.power_on();
        }
        let loadable = slot[0].medium()[..512] != [0; 512];
        assert!(
            !loadable || holds(&slot, &images),
            "cut at write {n}: {done:?}"
        );
        beside(vec![at], &source, &slot).0.unwrap();
        assert!(holds(&slot, &images), "cut at write {n}");
    }
}
