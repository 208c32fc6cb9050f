//! Files are put together field by field, and lie in a tree with the lists of the packages that brought them.

use std::io::Write as _;
use std::sync::Arc;

use super::*;
use crate::inputs::board;

const REL: u16 = 1;
const EXEC: u16 = 2;
const DYN: u16 = 3;
const LOADER: &str = "/lib/ld-linux.so.3";

/// What a made-up ELF file has.
#[derive(Clone)]
struct Made {
    wide: bool,
    kind: u16,
    machine: u16,
    flags: u32,
    loader: Option<&'static str>,
    /// Tags and values of `.ARM.attributes`.
    attributes: Option<Vec<u8>>,
    go: Option<&'static str>,
    pie: bool,
}

/// A library of Debian's armel.
const LIBRARY: Made = Made {
    wide: false,
    kind: DYN,
    machine: 40,
    flags: EF_ARM_ABI_FLOAT_SOFT,
    loader: None,
    attributes: None,
    go: None,
    pie: false,
};

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut data: Vec<(&str, u32, Vec<u8>)> = Vec::new();
        if let Some(pairs) = &self.attributes {
            let size = u8::try_from(pairs.len()).unwrap();
            let mut section = vec![b'A', 4 + 6 + 5 + size, 0, 0, 0];
            section.extend(b"aeabi\0");
            section.extend([1, 5 + size, 0, 0, 0]);
            section.extend(pairs);
            data.push((".ARM.attributes", super::super::SHT_ARM_ATTRIBUTES, section));
        }
        if let Some(text) = self.go {
            let mut section = b"\xff Go buildinf:\x04\x02".to_vec();
            section.resize(32, 0);
            for part in ["go1.24", text] {
                section.push(u8::try_from(part.len()).unwrap());
                section.extend(part.bytes());
            }
            data.push((".go.buildinfo", 1, section));
        }
        let mut names = vec![0];
        let at: Vec<usize> = data
            .iter()
            .map(|(name, ..)| {
                let at = names.len();
                names.extend(name.bytes().chain([0]));
                at
            })
            .collect();
        data.push(("", 3, names));
        let mut dynamic = Vec::new();
        if self.pie {
            for n in [0x6fff_fffb_u64, 0x0800_0000] {
                dynamic.extend(&n.to_le_bytes()[..self.word()]);
            }
        }
        let mut programs = vec![(2u32, dynamic)];
        if let Some(loader) = self.loader {
            programs.push((3, [loader.as_bytes(), &[0]].concat()));
        }
        self.laid_out(&programs, &data, &at)
    }

    fn word(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// Header, program headers, section headers, and what they point to.
    fn laid_out(
        &self,
        programs: &[(u32, Vec<u8>)],
        sections: &[(&str, u32, Vec<u8>)],
        names: &[usize],
    ) -> Vec<u8> {
        let w = self.word();
        let (head, program, section) = if self.wide {
            (64, 56, 64)
        } else {
            (52, 32, 40)
        };
        let sections_at = head + program * programs.len();
        let mut free = sections_at + section * sections.len();
        let mut out = vec![0; free];
        out[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', if self.wide { 2 } else { 1 }, 1]);
        let mut put = |at: usize, n: usize, len: usize| {
            out[at..at + len].copy_from_slice(&n.to_le_bytes()[..len]);
        };
        put(16, self.kind.into(), 2);
        put(18, self.machine.into(), 2);
        put(if self.wide { 32 } else { 28 }, head, w);
        put(if self.wide { 40 } else { 32 }, sections_at, w);
        put(if self.wide { 48 } else { 36 }, self.flags as usize, 4);
        for (n, value) in [
            program,
            programs.len(),
            section,
            sections.len(),
            sections.len() - 1,
        ]
        .into_iter()
        .enumerate()
        {
            put((if self.wide { 54 } else { 42 }) + 2 * n, value, 2);
        }
        let mut tail: Vec<u8> = Vec::new();
        let (offset, size) = if self.wide { (8, 32) } else { (4, 16) };
        for (n, (kind, bytes)) in programs.iter().enumerate() {
            let at = head + n * program;
            put(at, *kind as usize, 4);
            put(at + offset, free, w);
            put(at + size, bytes.len(), w);
            free += bytes.len();
            tail.extend(bytes);
        }
        let (offset, size) = if self.wide { (24, 32) } else { (16, 20) };
        for (n, (_, kind, bytes)) in sections.iter().enumerate() {
            let at = sections_at + n * section;
            put(at, names.get(n).copied().unwrap_or(0), 4);
            put(at + 4, *kind as usize, 4);
            put(at + offset, free, w);
            put(at + size, bytes.len(), w);
            free += bytes.len();
            tail.extend(bytes);
        }
        out.extend(tail);
        out
    }
}

/// Attributes as a compiler writes them: processor, and further tags.
fn cpu(arch: u8, more: &[u8]) -> Vec<u8> {
    [&[67, b'2', 0, 6, arch], more].concat()
}

fn board(name: &str) -> Board {
    let mut board = board::find(name).unwrap();
    board.elf_exceptions.clear();
    board
}

/// A tree with this file, the loader, and dpkg's lists.
fn tree(path: &str, file: Vec<u8>) -> Tree {
    let mut tree = Tree::new(0);
    tree.insert_bytes("usr/lib/ld-linux.so.3", 0o755, "a link in reality")
        .unwrap();
    tree.insert_symlink("lib", "usr/lib").unwrap();
    tree.insert_bytes(path, 0o755, file).unwrap();
    for (package, text) in [
        ("base-files", "/.\n/usr\n/etc/os-release\n".to_owned()),
        ("culprit:armel", format!("/.\n/usr\n/{path}\n")),
    ] {
        tree.insert_bytes(&format!("{DPKG_INFO}/{package}.list"), 0o644, text)
            .unwrap();
    }
    tree
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_a_board_cannot_run_is_refused_and_what_it_can_passes() {
    let v5 = Made {
        attributes: Some(cpu(3, &[])),
        ..LIBRARY
    };
    let hard = Made {
        flags: EF_ARM_ABI_FLOAT_HARD,
        attributes: Some(cpu(10, &[10, 4, 28, 1])),
        ..LIBRARY
    };
    let wide = Made {
        wide: true,
        machine: 183,
        flags: 0,
        ..LIBRARY
    };
    let program = Made {
        kind: EXEC,
        loader: Some(LOADER),
        ..v5.clone()
    };
    let go = |text| Made {
        go: Some(text),
        ..v5.clone()
    };
    let with = |arch, more: &[u8]| Made {
        attributes: Some(cpu(arch, more)),
        ..LIBRARY
    };
    for (danger, on, file, refused) in [
        ("armel library", "rpi", v5.clone(), None),
        ("armel program", "rpi", program, None),
        (
            "ARMv7 on ARMv6",
            "rpi",
            with(10, &[]),
            Some("it needs ARMv7, and ARMv6"),
        ),
        (
            "Thumb-2 on ARMv6",
            "rpi",
            with(6, &[9, 2]),
            Some("it needs Thumb-2"),
        ),
        (
            "NEON on ARMv6",
            "rpi",
            with(6, &[12, 1]),
            Some("it needs NEON"),
        ),
        (
            "VFPv3 on ARMv6",
            "rpi",
            with(6, &[10, 3]),
            Some("VFPv3 or newer"),
        ),
        (
            "Go for ARMv7 on ARMv6",
            "rpi",
            go("build\tGOARM=7\n"),
            Some("GOARM=7"),
        ),
        (
            "Go for ARMv5",
            "rpi",
            go("path\tx\nbuild\tGOARM=5,softfloat\n"),
            None,
        ),
        (
            "armhf library on armel",
            "rpi",
            Made {
                attributes: Some(cpu(6, &[])),
                ..hard.clone()
            },
            Some("hard-float ABI"),
        ),
        (
            "static program on armel, whatever its floating point",
            "rpi",
            Made {
                pie: true,
                attributes: Some(cpu(6, &[10, 2, 28, 1])),
                ..hard.clone()
            },
            None,
        ),
        (
            "nothing known about the processor",
            "rpi",
            LIBRARY,
            Some("no .ARM.attributes"),
        ),
        (
            "64 bit on 32",
            "rpi",
            wide.clone(),
            Some("it is for 64-bit ARM, not for 32-bit ARM"),
        ),
        (
            "PC on ARM",
            "rpi64",
            Made {
                machine: 62,
                ..wide.clone()
            },
            Some("x86-64, not for 64-bit ARM"),
        ),
        (
            "32 bit on 64",
            "rpi64",
            v5.clone(),
            Some("32-bit ARM, not for 64-bit ARM"),
        ),
        ("arm64", "rpi64", wide.clone(), None),
        (
            "loader that is not there",
            "rpi64",
            Made {
                loader: Some("/lib/ld-musl.so"),
                ..wide
            },
            Some("/lib/ld-musl.so"),
        ),
        ("armhf", "orangepi-pc", hard.clone(), None),
        (
            "armel library on armhf",
            "orangepi-pc",
            v5,
            Some("soft-float ABI"),
        ),
        (
            "ARMv8 on ARMv7",
            "orangepi-pc",
            with(14, &[]),
            Some("newer than ARMv7-A"),
        ),
        (
            "floating point of ARMv8 on ARMv7",
            "orangepi-pc",
            with(10, &[10, 7]),
            Some("of ARMv8"),
        ),
        (
            "kernel module for another processor",
            "rpi64",
            Made { kind: REL, ..hard },
            Some("32-bit ARM"),
        ),
    ] {
        let got = check(&tree("usr/lib/x.so", file.bytes()), &board(on));
        match (got, refused) {
            (Ok(passed), None) => assert_eq!(passed.files, 1, "{danger}"),
            (Err(e), Some(says)) => {
                let e = e.to_string();
                assert!(e.contains(says), "{danger}: {e}");
                assert!(
                    e.contains("/usr/lib/x.so (of package culprit:armel)"),
                    "{danger}: {e}"
                );
                assert!(e.contains(&format!("board {on}")), "{danger}: {e}");
            }
            (got, want) => panic!("{danger}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn a_compressed_kernel_module_of_another_architecture_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.ko.xz");
    let module = Made {
        kind: REL,
        ..LIBRARY
    };
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&module.bytes()).unwrap();
    let packed = xz.finish().unwrap();
    crate::files::replace(&path, &packed).unwrap();
    let content = Content::Host {
        path: Arc::from(path.as_path()),
        len: packed.len() as u64,
    };
    let mut tree = tree("usr/lib/other", Vec::new());
    tree.insert_file("usr/lib/modules/6/x.ko.xz", 0o644, content)
        .unwrap();
    assert_eq!(check(&tree, &board("rpi")).unwrap().files, 1);
    let e = check(&tree, &board("rpi64")).unwrap_err().to_string();
    assert!(
        e.contains("/usr/lib/modules/6/x.ko.xz (of no package)"),
        "{e}"
    );
}

#[test]
fn what_the_board_file_excepts_passes_and_nothing_beside_it() {
    let file = Made {
        attributes: Some(cpu(10, &[12, 1])),
        ..LIBRARY
    };
    let tree = tree("usr/lib/neon/libx.so.1", file.bytes());
    let mut rpi = board("rpi");
    for (files, passes) in [
        ("usr/lib/neon/*", true),
        ("usr/lib/*/libx.so.*", true),
        ("usr/lib/neon/libx.so.1", true),
        ("usr/lib/neon", false),
        ("usr/lib/neon/*.so", false),
        ("*/other.so", false),
    ] {
        rpi.elf_exceptions = vec![board::ElfException {
            files: files.to_owned(),
            reason: "run only where NEON is".to_owned(),
        }];
        let got = check(&tree, &rpi).ok();
        let want = passes.then_some(Passed {
            files: 1,
            excepted: 1,
        });
        assert_eq!(got, want, "{files}");
    }
}

#[test]
fn many_faults_are_counted_and_the_first_are_named() {
    let bad = Made {
        machine: 62,
        ..LIBRARY
    };
    let mut tree = tree("usr/lib/00.so", bad.bytes());
    for n in 1..30 {
        tree.insert_bytes(&format!("usr/lib/{n:02}.so"), 0o644, bad.bytes())
            .unwrap();
    }
    let e = check(&tree, &board("rpi")).unwrap_err().to_string();
    assert!(e.starts_with("30 files are not for"), "{e}");
    assert!(
        e.contains("/usr/lib/19.so") && !e.contains("/usr/lib/20.so"),
        "{e}"
    );
    assert!(e.contains("and 10 more"), "{e}");
}

#[test]
fn no_damage_panics() {
    let good = Made {
        kind: EXEC,
        loader: Some(LOADER),
        go: Some("build\tGOARM=6\n"),
        attributes: Some(cpu(6, &[10, 2])),
        pie: true,
        ..LIBRARY
    };
    let good = good.bytes();
    let rpi = board("rpi");
    assert!(check(&tree("usr/bin/x", good.clone()), &rpi).is_ok());
    for at in 0..good.len() {
        for value in [0, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            drop(check(&tree("usr/bin/x", bad), &rpi));
        }
        drop(check(&tree("usr/bin/x", good[..at].to_vec()), &rpi));
    }
}
