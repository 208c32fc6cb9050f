//! Servers on the loopback for the comparison: HTTP, DNS, a socket, and a folder with files.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;

/// Where they are.
pub(crate) struct Ports {
    http: u16,
    dns: u16,
    six: u16,
    dir: tempfile::TempDir,
}

impl Ports {
    /// For `--vars-inline`.
    pub(crate) fn vars(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "{{\"http\": \"{}\", \"dns\": \"{}\", \"six\": \"{}\", \"dir\": \"{dir}\", \"word\": \"bar\", \"list\": [\"a\", \"b\"], \"map\": {{\"k\": \"v\"}}, \"yes\": true}}",
            self.http, self.dns, self.six
        )
    }
}

/// Starts them; they end with the test.
pub(crate) fn start() -> Ports {
    let http = TcpListener::bind("127.0.0.1:0").expect("a port");
    let six = TcpListener::bind("[::]:0").expect("a port");
    let dns = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let dir = tempfile::tempdir().expect("a folder");
    let unix = UnixListener::bind(dir.path().join("sock")).expect("a socket");
    let file = |name: &str, text: &[u8]| {
        hypriot_agent::files::replace(&dir.path().join(name), text, 0o640).expect("written");
    };
    file("text", b"first line\nsecond [line]\n! bang\nlast");
    file("empty", b"");
    file("windows", b"one\r\ntwo\r\n");
    let mut long = b"x\n".repeat(1_500_000);
    long.extend(b"kernel error\n");
    file("long", &long);
    file("long-line", &b"y".repeat(2_000_000));
    std::os::unix::fs::symlink("text", dir.path().join("link")).expect("linked");
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling")).expect("linked");
    let ports = Ports {
        http: http.local_addr().expect("an address").port(),
        dns: dns.local_addr().expect("an address").port(),
        six: six.local_addr().expect("an address").port(),
        dir,
    };
    std::thread::spawn(move || {
        http.incoming()
            .flatten()
            .for_each(|stream| drop(std::thread::spawn(|| answer(stream))));
    });
    std::thread::spawn(move || six.incoming().for_each(drop));
    std::thread::spawn(move || unix.incoming().for_each(drop));
    std::thread::spawn(move || resolve(&dns));
    ports
}

fn answer(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let head = loop {
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => request.extend(&piece[..n]),
            _ => return,
        }
        if let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    let length = text
        .lines()
        .find_map(|l| {
            l.to_ascii_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse::<usize>()
                .ok()
        })
        .unwrap_or(0);
    while request.len() < head + 4 + length {
        match stream.read(&mut piece) {
            Ok(n) if n > 0 => request.extend(&piece[..n]),
            _ => return,
        }
    }
    let body = request[head + 4..].to_vec();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let path = path
        .strip_prefix("http://some.host.example")
        .unwrap_or(path);
    let authorised = text.contains("dTpw");
    let (status, headers, body): (&str, &str, Vec<u8>) = match path {
        "/ok" => (
            "200 OK",
            "Content-Type: text/plain\r\nX-Test: yes\r\n",
            b"hello\n".to_vec(),
        ),
        "/redirect" => ("302 Found", "Location: /ok\r\n", Vec::new()),
        "/loop" => ("302 Found", "Location: /loop\r\n", Vec::new()),
        "/auth" if authorised => ("200 OK", "", b"in".to_vec()),
        "/auth" => ("401 Unauthorized", "", Vec::new()),
        "/echo" => ("200 OK", "", body),
        "/headers" => ("200 OK", "", text.clone().into_bytes()),
        "/json" => ("200 OK", "", br#"{"a": [1, 2], "s": "up"}"#.to_vec()),
        "/twice" => (
            "200 OK",
            "X-Two: 1\r\nX-Two: 2\r\nETAG: abc\r\n",
            Vec::new(),
        ),
        "/big" => {
            let mut big = b"y\n".repeat(1_000_000);
            big.extend(b"END OF PAGE\n");
            ("200 OK", "", big)
        }
        "/slow" => {
            std::thread::sleep(std::time::Duration::from_millis(1500));
            ("200 OK", "", Vec::new())
        }
        _ => ("404 Not Found", "", b"nope\n".to_vec()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client that went away is its own business.
    drop(
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body)),
    );
}

/// Names below `test.example`, RFC 1035.
fn resolve(socket: &UdpSocket) {
    let name = |text: &str| {
        let mut out = Vec::new();
        for label in text.split('.') {
            out.push(u8::try_from(label.len()).expect("short"));
            out.extend(label.as_bytes());
        }
        out.push(0);
        out
    };
    let mut buffer = [0; 1024];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..length];
        let (mut at, mut labels) = (12, Vec::new());
        while question[at] != 0 {
            let n = usize::from(question[at]);
            labels.push(String::from_utf8_lossy(&question[at + 1..=at + n]).to_lowercase());
            at += n + 1;
        }
        let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
        let asked = labels.join(".");
        let records: Vec<Vec<u8>> = match (asked.as_str(), kind) {
            ("a.test.example", 1) => vec![vec![192, 0, 2, 1], vec![192, 0, 2, 2]],
            ("a.test.example", 28) => vec![
                std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)
                    .octets()
                    .to_vec(),
            ],
            ("a.test.example", 2) => vec![name("ns.test.example")],
            ("a.test.example", 5) => vec![name("c.test.example")],
            ("a.test.example", 15) => vec![[vec![0, 10], name("mx.test.example")].concat()],
            ("a.test.example", 16) => vec![
                b"\x09hello dns".to_vec(),
                b"\x08part one\x08part two".to_vec(),
            ],
            ("a.test.example", 33) => {
                vec![[vec![0, 0, 0, 5, 1, 187], name("s.test.example")].concat()]
            }
            ("a.test.example", 257) => vec![b"\0\x05issueca.example".to_vec()],
            ("1.2.0.192.in-addr.arpa", 12) => vec![name("a.test.example")],
            _ => Vec::new(),
        };
        let known = asked == "a.test.example" || !records.is_empty();
        let mut answer = question[..2].to_vec();
        answer.extend([
            0x85,
            if known { 0x80 } else { 0x83 },
            0,
            1,
            0,
            u8::try_from(records.len()).expect("few"),
            0,
            0,
            0,
            0,
        ]);
        answer.extend(&question[12..at + 5]);
        for record in records {
            answer.extend([0xc0, 0x0c]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend(u16::try_from(record.len()).expect("short").to_be_bytes());
            answer.extend(record);
        }
        drop(socket.send_to(&answer, from));
    }
}
