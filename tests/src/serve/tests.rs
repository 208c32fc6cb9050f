//! The server is asked by hand, byte for byte, so that nothing a client does by itself hides a mistake.

use super::*;

fn ask(server: &Server, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or(all.len());
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    (head, all.get(end + 4..).unwrap_or_default().to_vec())
}

fn served() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    File::create(dir.path().join("a.bin"))
        .unwrap()
        .write_all(b"0123456789")
        .unwrap();
    let server = Server::start(dir.path(), 0).unwrap();
    (dir, server)
}

#[test]
fn whole_files_and_ranges_are_given() {
    let (_dir, server) = served();
    for (headers, status, want) in [
        ("", "200", &b"0123456789"[..]),
        ("Range: bytes=4-\r\n", "206", b"456789"),
        ("range: bytes=2-3\r\n", "206", b"23"),
        ("Range: bytes=8-99\r\n", "206", b"89"),
        ("Range: bytes=10-\r\n", "416", b""),
    ] {
        let (head, body) = ask(&server, &format!("GET /a.bin HTTP/1.1\r\n{headers}\r\n"));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{headers}: {head}"
        );
        assert_eq!(body, want, "{headers}");
    }
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let (_dir, server) = served();
    for name in [
        "../etc/passwd",
        "/etc/passwd",
        "..",
        "",
        ".",
        "%2e%2e/x",
        "missing",
    ] {
        let (head, _) = ask(&server, &format!("GET /{name} HTTP/1.1\r\n\r\n"));
        assert!(head.starts_with("HTTP/1.1 404"), "{name}: {head}");
    }
}

#[test]
fn faults_happen_as_often_as_told() {
    let (_dir, server) = served();
    let get = || ask(&server, "GET /a.bin HTTP/1.1\r\n\r\n");
    for (kind, status, want) in [
        (FaultKind::Status(503), "503", &b""[..]),
        (FaultKind::Cut(3), "200", b"012"),
        (FaultKind::Flip(2), "200", b"0133456789"),
        (FaultKind::Slow(1000), "200", b"0123456789"),
    ] {
        server.inject(Fault {
            name: "a.".to_owned(),
            kind,
            times: 1,
        });
        let (head, body) = get();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}")),
            "{kind:?}: {head}"
        );
        assert_eq!(body, want, "{kind:?}");
        assert_eq!(get().1, b"0123456789", "after {kind:?}");
    }
    assert_eq!(server.requests().len(), 8);
}
