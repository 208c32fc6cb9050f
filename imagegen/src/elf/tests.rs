//! Binaries are put together field by field; real ones are checked by every cross build.

use super::*;

const SECTION_AT: u8 = 52 + 32;

/// A 32-bit ARM file with one program header and one section header.
fn arm(interp: bool, cpu: u8, fp: u8, vfp_args: u8) -> Vec<u8> {
    let pairs = [67, b'2', 0, 6, cpu, 10, fp, 28, vfp_args];
    let size = u8::try_from(pairs.len()).unwrap();
    let mut section = vec![b'A', 4 + 6 + 5 + size, 0, 0, 0];
    section.extend(b"aeabi\0");
    section.extend([1, 5 + size, 0, 0, 0]);
    section.extend(pairs);

    let mut f = vec![0x7f, b'E', b'L', b'F', 1, 1, 1];
    f.resize(52, 0);
    f[18] = 40;
    f[28] = 52; // e_phoff
    f[32] = SECTION_AT; // e_shoff
    f[42..50].copy_from_slice(&[32, 0, 1, 0, 40, 0, 1, 0]);
    let headers = usize::from(SECTION_AT);
    f.resize(headers + 40, 0);
    f[52] = if interp { 3 } else { 1 };
    f[52 + 4] = 0;
    f[52 + 16] = 4;
    f[headers + 4..headers + 8].copy_from_slice(&SHT_ARM_ATTRIBUTES.to_le_bytes());
    f[headers + 16] = SECTION_AT + 40;
    f[headers + 20] = 1 + 4 + 6 + 5 + size;
    f.extend(section);
    f
}

#[test]
fn only_what_the_board_runs_passes() {
    let too_new = |found, wanted| Err(ElfError::TooNew { found, wanted });
    for (what, file, processor, want) in [
        (
            "v6 on v6",
            arm(false, 6, 2, 1),
            Processor::Armv6,
            Ok("arm ARMv6"),
        ),
        (
            "v6KZ on v6",
            arm(false, 7, 2, 1),
            Processor::Armv6,
            Ok("arm ARMv6KZ"),
        ),
        (
            "v6 on v7",
            arm(false, 6, 2, 1),
            Processor::Armv7,
            Ok("arm ARMv6"),
        ),
        (
            "v7 on v7",
            arm(false, 10, 4, 1),
            Processor::Armv7,
            Ok("arm ARMv7"),
        ),
        (
            "v7 on v6",
            arm(false, 10, 2, 1),
            Processor::Armv6,
            too_new("ARMv7", "ARMv6"),
        ),
        (
            "Thumb-2 on v6",
            arm(false, 8, 2, 1),
            Processor::Armv6,
            too_new("ARMv6T2", "ARMv6"),
        ),
        (
            "VFPv3 on v6",
            arm(false, 6, 4, 1),
            Processor::Armv6,
            too_new("VFPv3 or newer", "VFPv2"),
        ),
        (
            "soft float",
            arm(false, 6, 0, 0),
            Processor::Armv6,
            Err(ElfError::SoftFloat),
        ),
        (
            "32 on 64 bit",
            arm(false, 6, 2, 1),
            Processor::Aarch64,
            Err(ElfError::Machine {
                found: 40,
                wanted: 183,
            }),
        ),
    ] {
        let got = check(&file, processor).map(|f| f.processor);
        assert_eq!(got, want.map(str::to_owned), "{what}");
    }
}

#[test]
fn a_binary_that_wants_a_loader_is_refused() {
    let e = check(&arm(true, 6, 2, 1), Processor::Armv6).unwrap_err();
    assert!(matches!(e, ElfError::Dynamic(_)), "{e}");
}

#[test]
fn no_damage_panics() {
    let good = arm(false, 6, 2, 1);
    for len in 0..good.len() {
        assert!(
            check(&good[..len], Processor::Armv6).is_err(),
            "cut at {len}"
        );
    }
    for at in 0..good.len() {
        for value in [0, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            drop(check(&bad, Processor::Armv6));
        }
    }
}
