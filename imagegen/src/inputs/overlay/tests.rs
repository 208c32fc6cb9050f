//! Folders as owners write them, over a tree as packages leave it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const EPOCH: u64 = 1_700_000_000;

/// A tree with the links that Debian has, and one that leads out of any tree that is a folder of this machine.
fn debian() -> Tree {
    let mut root = Tree::new(EPOCH);
    for dir in ["usr/bin", "usr/lib/systemd/system", "etc/ssh", "run"] {
        root.insert_dir(dir, 0o755).unwrap();
    }
    for (link, to) in [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("var/run", "/run"),
        ("var/lock", "/run/lock"),
        ("usr/lib/ssl/certs", "/etc/ssl/certs"),
        ("usr/up", "../../../etc"),
        ("circle", "circle2"),
        ("circle2", "circle"),
        ("etc/resolv.conf", "/run/resolv.conf"),
    ] {
        root.insert_symlink(link, to).unwrap();
    }
    root.insert_bytes("etc/issue", 0o644, "Debian").unwrap();
    root
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        crate::files::replace(&dir.path().join(file), b"mine").unwrap();
    }
    dir
}

/// Lays one file over Debian's tree, and says where it is then.
fn lay_one(file: &str) -> Result<String> {
    let dir = folder(&[file]);
    let mut root = debian();
    let laid = lay(&mut root, &read(dir.path(), EPOCH)?, "my-files")?;
    assert_eq!(laid.len(), 1);
    let at = String::from_utf8(laid[0].clone()).unwrap();
    assert_eq!(&*root.read(&at)?, b"mine");
    Ok(at)
}

#[test]
fn a_file_goes_where_it_would_go_on_the_board_and_never_out_of_the_tree() {
    for (file, at) in [
        ("etc/own.conf", "etc/own.conf"),
        ("bin/mytool", "usr/bin/mytool"),
        ("lib/firmware/own.bin", "usr/lib/firmware/own.bin"),
        ("usr/lib/ssl/certs/my.pem", "etc/ssl/certs/my.pem"),
        ("usr/up/inside", "etc/inside"),
        ("etc/issue", "etc/issue"),
        ("etc/resolv.conf", "etc/resolv.conf"),
        (
            "etc/Grüße mit Leerzeichen.txt",
            "etc/Grüße mit Leerzeichen.txt",
        ),
    ] {
        assert_eq!(lay_one(file).unwrap(), at, "{file}");
    }
}

#[test]
fn what_cannot_be_laid_over_the_tree_is_refused_with_its_path() {
    for (danger, file, says) in [
        (
            "through a link to /run",
            "var/run/hunt/x",
            "it would be /run/hunt",
        ),
        (
            "through a link into nothing",
            "var/lock/x",
            "it would be /run/lock",
        ),
        ("hidden by a mount", "boot/kernel", "first partition"),
        ("a circle", "circle/x", "circle"),
        ("below a file", "etc/issue/x", "/etc/issue"),
        ("a file for a folder", "etc/ssh", "/etc/ssh"),
    ] {
        let e = format!("{:#}", lay_one(file).expect_err(danger));
        assert!(e.contains(says) && e.contains("my-files"), "{danger}: {e}");
    }
}

#[test]
fn a_link_where_the_tree_has_a_folder_is_refused() {
    let dir = folder(&[]);
    fs::create_dir(dir.path().join("etc")).unwrap();
    symlink("/data/ssh", dir.path().join("etc/ssh")).unwrap();
    let mut root = debian();
    let before = root.len();
    let e = lay(&mut root, &read(dir.path(), EPOCH).unwrap(), "my-files").unwrap_err();
    let e = format!("{e:#}");
    assert!(e.contains("/etc/ssh") && e.contains("symbolic link"), "{e}");
    assert_eq!(root.len(), before);
}

#[test]
fn a_pipe_or_socket_in_a_folder_is_refused_at_once_and_all_of_them_are_named() {
    let dir = folder(&["etc/x"]);
    nix::unistd::mkfifo(
        &dir.path().join("etc/pipe"),
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    nix::unistd::mkfifo(
        &dir.path().join("pipe2"),
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    let e = format!("{:#}", read(dir.path(), 0).unwrap_err());
    assert!(
        e.contains("/etc/pipe is a named pipe") && e.contains("/pipe2"),
        "{e}"
    );
    let socket = folder(&[]);
    let _held = std::os::unix::net::UnixListener::bind(socket.path().join("sock")).unwrap();
    let e = format!("{:#}", read(socket.path(), 0).unwrap_err());
    assert!(e.contains("sock is a socket"), "{e}");
}

#[test]
fn modes_are_plain_whatever_the_umask_was_and_private_where_readers_demand_it() {
    for umask in [0o000, 0o077] {
        let dir = folder(&[
            "usr/bin/tool",
            "etc/x.conf",
            "root/.ssh/authorized_keys",
            "etc/sudoers.d/me",
        ]);
        for (file, mode) in [
            ("usr/bin/tool", 0o777),
            ("etc/x.conf", 0o666),
            ("root/.ssh/authorized_keys", 0o666),
            ("root/.ssh", 0o777),
            ("etc", 0o777),
        ] {
            let mode = fs::Permissions::from_mode(mode & !umask);
            fs::set_permissions(dir.path().join(file), mode).unwrap();
        }
        let tree = read(dir.path(), EPOCH).unwrap();
        for (path, mode) in [
            ("usr/bin/tool", 0o755),
            ("etc/x.conf", 0o644),
            ("etc", 0o755),
            ("root", 0o755),
            ("root/.ssh", 0o700),
            ("root/.ssh/authorized_keys", 0o600),
            ("etc/sudoers.d", 0o755),
            ("etc/sudoers.d/me", 0o440),
        ] {
            let entry = tree.get(path).unwrap();
            assert_eq!(entry.mode, mode, "{path} under umask {umask:o}");
            assert_eq!((entry.uid, entry.gid), (0, 0));
        }
    }
}

#[test]
fn a_folder_that_is_a_link_is_read_and_one_that_is_not_there_is_named() {
    let dir = folder(&["etc/x"]);
    let link = dir.path().join("link");
    symlink(dir.path().join("etc"), &link).unwrap();
    assert!(read(&link, 0).unwrap().get("x").is_some());
    let e = format!("{:#}", read(Path::new("/no/such/folder"), 0).unwrap_err());
    assert!(e.contains("/no/such/folder"), "{e}");
}
