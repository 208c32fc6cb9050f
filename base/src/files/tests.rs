//! Tests of [`super`].

use super::*;
use std::os::unix::fs::symlink;

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .expect("a directory")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

#[test]
fn replaces_with_the_mode_asked_for_and_leaves_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.json");
    replace(&path, b"one", 0o644).expect("first");
    replace(&path, b"two", 0o600).expect("second");
    assert_eq!(read(&path, 3).expect("readable"), b"two");
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(names(dir.path()), ["report.json"]);
}

#[test]
fn failing_fill_keeps_the_old_file_and_no_temporary() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("record");
    replace(&path, b"old", 0o644).expect("first");
    let failed = replace_with(&path, 0o644, |to| {
        to.write_all(b"half")?;
        Err::<(), _>(io::Error::other("disk full"))
    });
    let text = failed.expect_err("the fill failed").to_string();
    assert!(
        text.contains("record") && text.contains("disk full"),
        "{text}"
    );
    assert_eq!(read(&path, 100).expect("readable"), b"old");
    assert_eq!(names(dir.path()), ["record"]);
}

#[test]
fn symbolic_link_is_replaced_not_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (victim, link) = (dir.path().join("victim"), dir.path().join("link"));
    replace(&victim, b"keep", 0o644).expect("victim");
    symlink(&victim, &link).expect("link");
    replace(&link, b"new", 0o644).expect("replace");
    assert_eq!(read(&victim, 100).expect("victim"), b"keep");
    assert_eq!(read(&link, 100).expect("link"), b"new");
}

#[test]
fn missing_directory_is_an_error_that_names_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("no/such/file");
    let text = replace(&path, b"x", 0o644)
        .expect_err("no directory")
        .to_string();
    assert!(text.contains("no/such/file"), "{text}");
    assert!(replace(Path::new("/"), b"x", 0o644).is_err());
}

#[test]
fn oversized_file_is_refused_not_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("big");
    replace(&path, &[7; 101], 0o644).expect("written");
    assert_eq!(read(&path, 101).expect("fits").len(), 101);
    assert!(read(&path, 100).is_err());
}

#[test]
fn a_name_of_any_length_has_a_temporary_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("n".repeat(255));
    replace(&path, b"x", 0o644).expect("written");
    assert_eq!(read(&path, 1).expect("there"), b"x");
}

#[test]
fn sweep_removes_only_what_a_power_cut_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let (kept, left) = (
        dir.path().join(".profile"),
        dir.path().join(".record.hypriot-new-1-0"),
    );
    replace(&kept, b"x", 0o644).expect("kept");
    File::create(&left).expect("left");
    sweep(dir.path()).expect("swept");
    assert_eq!(names(dir.path()), [".profile"]);
}

#[test]
fn removing_twice_is_no_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a/b/c/f");
    make_directories(&dir.path().join("a/b/c")).expect("made");
    make_directories(&dir.path().join("a/b/c")).expect("already there");
    replace(&path, b"x", 0o644).expect("written");
    remove(&path).expect("removed");
    remove(&path).expect("already gone");
    assert!(make_directories(&dir.path().join("a")).is_ok());
}

#[test]
fn concurrent_writers_never_tear() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f");
    std::thread::scope(|scope| {
        for n in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..20 {
                    replace(path, &[n; 4096], 0o644).expect("replaced");
                }
            });
        }
    });
    let bytes = read(&path, 4096).expect("readable");
    assert_eq!(bytes.len(), 4096);
    assert!(bytes.iter().all(|b| *b == bytes[0]));
    assert_eq!(names(dir.path()), ["f"]);
}

#[test]
fn what_has_no_end_is_not_opened() {
    let dir = tempfile::tempdir().expect("a directory");
    let (pipe, socket, link) = (
        dir.path().join("pipe"),
        dir.path().join("socket"),
        dir.path().join("link"),
    );
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    symlink(&pipe, &link).expect("a link");
    let zero = Path::new("/dev/zero");
    for path in [&*pipe, &*socket, &*link, zero, dir.path()] {
        let error = open(path).expect_err("no file").to_string();
        assert!(read(path, 10).is_err(), "{error}");
    }
    // the kernel's own are files
    assert!(read(Path::new("/proc/self/status"), 1 << 20).is_ok_and(|text| text.len() > 100));
    let missing = open(&dir.path().join("missing")).expect_err("nothing there");
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}
