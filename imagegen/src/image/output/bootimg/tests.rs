//! Tests of [`super`]: fields by the specification, limits of the device, damage.

use super::*;

const PARTS: Parts<'_> = Parts {
    kernel: b"kernel",
    ramdisk: &[7; PAGE],
    cmdline: "console=ttyS0 hypriot.slot=a",
    name: "shield-tv",
};

#[test]
fn every_field_lies_where_the_specification_has_it() {
    let image = encode(&PARTS, PARTITION).unwrap();
    let word = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    // bootimg.h, struct boot_img_hdr_v0: offset, value
    for (field, at, value) in [
        ("kernel_size", 8, 6),
        ("kernel_addr", 12, 0x1000_8000),
        ("ramdisk_size", 16, 2048),
        ("ramdisk_addr", 20, 0x1100_0000),
        ("second_size", 24, 0),
        ("second_addr", 28, 0),
        ("tags_addr", 32, 0x1000_0100),
        ("page_size", 36, 2048),
        ("header_version", 40, 0),
        ("os_version", 44, 0),
    ] {
        assert_eq!(word(at), value, "{field}");
    }
    assert_eq!(&image[..8], b"ANDROID!");
    assert_eq!(&image[48..64], b"shield-tv\0\0\0\0\0\0\0");
    assert!(image[64..576].starts_with(b"console=ttyS0 hypriot.slot=a\0"));
    assert!(
        image[608..2048].iter().all(|b| *b == 0),
        "NVIDIA's own fields"
    );
    assert_eq!(&image[2048..2055], b"kernel\0");
    assert_eq!(
        image[4096..],
        [7; 2048],
        "parts begin on pages, and the last one fills its page"
    );
    // sha1sum of: kernel, 6 in 4 bytes, 2048 times 7, 2048 in 4 bytes, 0 in 4 bytes
    assert_eq!(
        hex::encode(&image[576..596]),
        "5e515bc933c760b4202d5494a6f26b895a08fb6f"
    );
    assert_eq!(encode(&PARTS, PARTITION).unwrap(), image);
    assert_eq!(parse(&image).unwrap(), PARTS);
}

#[test]
fn what_the_device_cannot_take_is_refused() {
    let long = "x".repeat(512);
    let fits = "x".repeat(511);
    assert!(
        encode(
            &Parts {
                cmdline: &fits,
                ..PARTS
            },
            PARTITION
        )
        .is_ok()
    );
    let big = |what, size, limit| BootimgError::TooLarge { what, size, limit };
    for (danger, parts, limit, expected) in [
        (
            "no kernel",
            Parts {
                kernel: b"",
                ..PARTS
            },
            PARTITION,
            BootimgError::Empty("kernel"),
        ),
        (
            "no ramdisk",
            Parts {
                ramdisk: b"",
                ..PARTS
            },
            PARTITION,
            BootimgError::Empty("ramdisk"),
        ),
        (
            "arguments that would run into NVIDIA's fields",
            Parts {
                cmdline: &long,
                ..PARTS
            },
            PARTITION,
            big("command line", 512, 511),
        ),
        (
            "arguments that end early",
            Parts {
                cmdline: "a\0b",
                ..PARTS
            },
            PARTITION,
            BootimgError::Text("command line"),
        ),
        (
            "name without its end",
            Parts {
                name: "0123456789abcdef",
                ..PARTS
            },
            PARTITION,
            big("name", 16, 15),
        ),
        (
            "one byte too many",
            PARTS,
            6143,
            big("the boot image", 6144, 6143),
        ),
    ] {
        assert_eq!(encode(&parts, limit).unwrap_err(), expected, "{danger}");
    }
    assert!(encode(&PARTS, 6144).is_ok());
}

#[test]
fn kernel_is_packed_and_must_fit_where_it_is_unpacked() {
    use std::io::Read as _;
    let kernel = |size: u64| {
        let mut image = vec![0; 4096];
        image[IMAGE_SIZE..IMAGE_SIZE + 8].copy_from_slice(&size.to_le_bytes());
        image[IMAGE_MAGIC..IMAGE_MAGIC + 4].copy_from_slice(b"ARM\x64");
        image
    };
    let mut back = Vec::new();
    let small = packed(&kernel(KERNEL_ROOM)).unwrap();
    flate2::read::GzDecoder::new(small.as_slice())
        .read_to_end(&mut back)
        .unwrap();
    assert_eq!(back, kernel(KERNEL_ROOM));
    let says = |image: &[u8]| packed(image).unwrap_err().to_string();
    assert!(says(&kernel(KERNEL_ROOM + 1)).contains("the unpacked kernel has"));
    assert!(says(b"MZ").contains("no arm64 Image"));
}

#[test]
fn damaged_image_is_not_read() {
    let good = encode(&PARTS, PARTITION).unwrap();
    for (danger, at, says) in [
        ("magic", 0, "magic"),
        ("kernel's length", 9, "id"),
        ("page size", 36, "pages"),
        ("version", 40, "version"),
        ("id", 580, "id"),
        ("NVIDIA's fields", 608, "fields of its own"),
        ("kernel", 2048, "id"),
    ] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        let e = parse(&bad).unwrap_err().to_string();
        assert!(e.contains(says), "{danger}: {e}");
    }
    for cut in [0, 100, 2047, 5000] {
        assert!(parse(&good[..cut]).is_err(), "{cut}");
    }
}
