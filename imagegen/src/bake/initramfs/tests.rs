//! Which modules end in the archive, in which order, and what is refused.

use std::io::Write;

use super::*;

const RELEASE: &str = "6.12.1-arm64";

/// A tree with a kernel's module lists as depmod writes them.
fn root() -> Tree {
    let mut tree = Tree::new(1_700_000_000);
    let dir = format!("usr/lib/modules/{RELEASE}");
    let mut put = |name: &str, bytes: &[u8]| {
        tree.insert_bytes(&format!("{dir}/{name}"), 0o644, bytes)
            .unwrap();
    };
    put(
        "modules.dep",
        b"kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz kernel/fs/mbcache.ko.xz\n\
          kernel/fs/jbd2/jbd2.ko.xz:\n\
          kernel/fs/mbcache.ko.xz:\n\
          kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio-pci-modern.ko.xz kernel/drivers/virtio/virtio.ko.xz\n\
          kernel/drivers/virtio/virtio-pci-modern.ko.xz: kernel/drivers/virtio/virtio.ko.xz\n\
          kernel/drivers/virtio/virtio.ko.xz:\n\
          kernel/crypto/crc32c_generic.ko.xz:\n\
          kernel/arch/crc32c-fast.ko.xz:\n\
          kernel/a.ko.xz: kernel/b.ko.xz\n\
          kernel/b.ko.xz: kernel/a.ko.xz\n\
          kernel/fs/fat/vfat.ko.xz:\n\
          kernel/fs/nls/nls_cp437.ko.xz:\n\
          kernel/drivers/watchdog/sunxi_wdt.ko.xz:\n\
          kernel/text.ko:\n",
    );
    put("modules.builtin", b"kernel/fs/overlayfs/overlay.ko\n");
    put(
        "modules.softdep",
        b"# comment\nsoftdep ext4 pre: crc32c nosuchthing\n",
    );
    put("modules.alias", b"# comment\nalias crc32c crc32c_generic\nalias crc32c crc32c-fast\nalias pci:v1* virtio_pci\n");
    for name in [
        "fs/ext4/ext4",
        "fs/jbd2/jbd2",
        "fs/mbcache",
        "drivers/virtio/virtio-pci-modern",
        "drivers/virtio/virtio",
        "crypto/crc32c_generic",
        "arch/crc32c-fast",
        "fs/fat/vfat",
        "fs/nls/nls_cp437",
        "drivers/watchdog/sunxi_wdt",
        "a",
        "b",
    ] {
        let mut xz = xz2::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(format!("\x7fELF {name}").as_bytes()).unwrap();
        put(&format!("kernel/{name}.ko.xz"), &xz.finish().unwrap());
    }
    put("kernel/drivers/virtio/virtio_pci.ko", b"\x7fELF plain");
    put("kernel/text.ko", b"no ELF");
    tree
}

fn all(wanted: &[&str]) -> Result<Vec<String>> {
    let wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
    Ok(modules::resolve(&root(), RELEASE, &wanted)?
        .into_iter()
        .map(|m| m.name)
        .collect())
}

/// Without the watchdog's, which comes last.
fn order(wanted: &[&str]) -> Result<Vec<String>> {
    let mut names = all(wanted)?;
    assert_eq!(names.pop().as_deref(), Some("sunxi_wdt"));
    Ok(names)
}

#[test]
fn the_drivers_of_watchdogs_that_the_kernel_has_come_along() {
    assert_eq!(
        all(&[]).unwrap(),
        ["sunxi_wdt"],
        "and no other one is missed"
    );
}

#[test]
fn modules_come_after_what_they_need_and_once() {
    assert_eq!(
        order(&["virtio-pci", "virtio"]).unwrap(),
        ["virtio", "virtio_pci_modern", "virtio_pci"]
    );
    assert_eq!(
        order(&["ext4", "overlay", "mbcache"]).unwrap(),
        ["crc32c_generic", "crc32c_fast", "mbcache", "jbd2", "ext4"]
    );
    assert_eq!(
        order(&["vfat"]).unwrap(),
        ["vfat", "nls_cp437"],
        "a code page that is a module comes along"
    );
}

#[test]
fn what_cannot_be_loaded_is_refused_by_name() {
    for (wanted, says) in [
        ("nosuch", "nosuch (board file, kernel.modules)"),
        ("nosuch", "neither among the modules of kernel 6.12.1-arm64"),
        ("a", "circles"),
        ("text", "not ELF"),
    ] {
        let e = format!("{:#}", order(&[wanted]).unwrap_err());
        assert!(e.contains(says), "{wanted}: {e}");
    }
    let e = format!(
        "{:#}",
        modules::resolve(&Tree::new(0), RELEASE, &[]).unwrap_err()
    );
    assert!(e.contains("depmod did not run"), "{e}");
}

#[test]
fn the_archive_starts_with_the_agent_and_is_the_same_every_time() {
    let agent = Content::Bytes(b"\x7fELF agent"[..].into());
    let make = || build(&root(), RELEASE, &["ext4".to_owned()], &agent).unwrap();
    assert_eq!(make(), make());
    let plain = zstd::bulk::decompress(&make(), 1 << 20).unwrap();
    let text = String::from_utf8_lossy(&plain);
    assert!(text.starts_with("070701"));
    for want in [
        "\x7fELF agent",
        "/lib/modules/6.12.1-arm64/crc32c_generic.ko\n",
        "\n/lib/modules/6.12.1-arm64/ext4.ko\n",
        "dev/console",
    ] {
        assert!(text.contains(want), "{want}");
    }
}

#[test]
fn one_kernel_is_found_and_two_are_refused() {
    let mut tree = root();
    assert_eq!(kernel_release(&tree).unwrap(), RELEASE);
    tree.insert_bytes("usr/lib/modules/5.0/modules.dep", 0o644, "")
        .unwrap();
    assert!(
        kernel_release(&tree)
            .unwrap_err()
            .to_string()
            .contains("several kernels")
    );
    assert!(kernel_release(&Tree::new(0)).is_err());
}
