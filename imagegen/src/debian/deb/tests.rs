//! Tests of [`super`]: archives put together byte by byte.

use super::*;

fn member(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
        0,
        0,
        0,
        "100644",
        bytes.len()
    )
    .into_bytes();
    out.extend_from_slice(bytes);
    out.resize(out.len() + out.len() % 2, b'\n');
    out
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = AR_MAGIC.to_vec();
    out.extend(members.iter().flat_map(|(n, b)| member(n, b)));
    out
}

fn compressed(bytes: &[u8], how: &str) -> Vec<u8> {
    match how {
        ".gz" => {
            let mut out = Vec::new();
            flate2::read::GzEncoder::new(bytes, flate2::Compression::fast())
                .read_to_end(&mut out)
                .unwrap();
            out
        }
        ".xz" => {
            let mut out = Vec::new();
            xz2::read::XzEncoder::new(bytes, 1)
                .read_to_end(&mut out)
                .unwrap();
            out
        }
        ".zst" => zstd::encode_all(bytes, 1).unwrap(),
        _ => bytes.to_vec(),
    }
}

#[test]
fn every_compression_of_dpkg_is_read() {
    for how in ["", ".gz", ".xz", ".zst"] {
        let name = format!("data.tar{how}");
        let data = compressed(b"the data", how);
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", b"control"),
            (&name, &data),
        ]);
        let deb = parse(&bytes).unwrap();
        let (mut control, mut data) = (String::new(), String::new());
        deb.control().unwrap().read_to_string(&mut control).unwrap();
        deb.data(1000).unwrap().read_to_string(&mut data).unwrap();
        assert_eq!(
            (control.as_str(), data.as_str()),
            ("control", "the data"),
            "{how}"
        );
    }
}

#[test]
fn bombs_are_bounded() {
    let zeros = vec![0; 1 << 20];
    for how in [".gz", ".xz", ".zst"] {
        let name = format!("data.tar{how}");
        let data = compressed(&zeros, how);
        let bytes = ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", b""),
            (&name, &data),
        ]);
        let mut out = Vec::new();
        let e = parse(&bytes)
            .unwrap()
            .data(1000)
            .unwrap()
            .read_to_end(&mut out)
            .unwrap_err();
        assert!(e.to_string().contains("1000"), "{how}: {e}");
    }
    let control = compressed(&vec![0; usize::try_from(MAX_CONTROL).unwrap() + 1], ".zst");
    let bytes = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.zst", &control),
        ("data.tar", b""),
    ]);
    let mut out = Vec::new();
    let mut reader = parse(&bytes).unwrap().control().unwrap();
    assert!(reader.read_to_end(&mut out).is_err(), "control files");
    let list = compressed(&zeros, ".xz");
    assert!(text_within("Packages.xz", &list, 1 << 20).is_ok());
    let e = text_within("Packages.xz", &list, (1 << 20) - 1)
        .unwrap_err()
        .to_string();
    assert!(e.contains("grows beyond"), "a list of packages: {e}");
}

#[test]
fn damaged_packages_are_errors_not_panics() {
    let good = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", b"c"),
        ("data.tar", b"d"),
    ]);
    for n in 0..good.len() {
        if let Ok(deb) = parse(&good[..n]) {
            assert!(
                deb.data.bytes.is_empty() || n + 1 >= good.len(),
                "cut at {n}"
            );
        }
    }
    for (danger, bytes) in [
        ("empty", Vec::new()),
        ("no archive", b"PK\x03\x04".to_vec()),
        (
            "other first member",
            ar(&[
                ("control.tar", b"c"),
                ("debian-binary", b"2.0\n"),
                ("data.tar", b"d"),
            ]),
        ),
        (
            "other version",
            ar(&[
                ("debian-binary", b"9.0\n"),
                ("control.tar", b"c"),
                ("data.tar", b"d"),
            ]),
        ),
        (
            "no data",
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", b"c")]),
        ),
        (
            "size that is none",
            [AR_MAGIC, &[b'x'; 58], b"`\n"].concat(),
        ),
    ] {
        assert!(parse(&bytes).is_err(), "{danger}");
    }
    let odd = ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar", b"c"),
        ("data.tar.rar", b"d"),
    ]);
    assert!(
        parse(&odd).unwrap().data(10).is_err(),
        "unknown compression"
    );
}
