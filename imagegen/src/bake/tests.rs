//! What ends in a card for a made-up board and tree.

use super::*;
use crate::inputs::recipe::Recipe;
use crate::tree::Kind;

mod blobs;

const EPOCH: u64 = 1_700_000_000;
const RELEASE: &str = "6.12.1-arm64";

/// A configured tree with just what baking looks at.
pub(crate) fn root() -> Tree {
    let mut tree = Tree::new(EPOCH);
    let mut put = |path: &str, bytes: &[u8]| tree.insert_bytes(path, 0o644, bytes).unwrap();
    put(
        "usr/lib/os-release",
        b"ID=debian\nVERSION_CODENAME=trixie\n",
    );
    put(&format!("boot/vmlinuz-{RELEASE}"), b"kernel");
    put(&format!("boot/config-{RELEASE}"), b"config");
    put(
        &format!("usr/lib/modules/{RELEASE}/modules.dep"),
        b"kernel/erofs.ko:\n",
    );
    put(&format!("usr/lib/modules/{RELEASE}/modules.builtin"), b"kernel/a/virtio_pci.ko\nkernel/virtio_mmio.ko\nkernel/virtio_blk.ko\nkernel/vfat.ko\nkernel/ext4.ko\nkernel/overlay.ko\n");
    put(
        &format!("usr/lib/modules/{RELEASE}/kernel/erofs.ko"),
        b"\x7fELF erofs",
    );
    put(
        "usr/lib/systemd/system/systemd-networkd.service",
        b"[Service]\n",
    );
    put("etc/hosts", b"from the package");
    put("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n");
    put("etc/group", b"root:x:0:\n");
    put(
        "var/lib/dpkg/status",
        b"Package: dpkg\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1.22.21\n",
    );
    put("tmp/left-behind", b"x");
    put(
        &format!("usr/lib/linux-image-{RELEASE}/broadcom/bcm2837-rpi-3-b.dtb"),
        b"tree 3",
    );
    put(
        &format!("usr/lib/linux-image-{RELEASE}/broadcom/bcm2711-rpi-4-b.dtb"),
        b"tree 4",
    );
    put(
        &format!("usr/lib/linux-image-{RELEASE}/allwinner/sun50i.dtb"),
        b"tree 5",
    );
    tree.insert_symlink("etc/os-release", "../usr/lib/os-release")
        .unwrap();
    tree
}

pub(crate) fn board(more: &str) -> Board {
    let text = format!(
        "name = \"x\"\ndescription = \"A Board\"\narch = \"arm64\"\nagent-target = \"t\"\nsuite = \"trixie\"\npackages = []\n\
         console = [\"tty1\", \"ttyAMA0\"]\ncmdline = [\"cgroup_enable=memory\"]\nproven = \"\"\n{more}"
    );
    crate::inputs::board::parse("test", &text).unwrap()
}

pub(crate) const PLAIN: &str = "[kernel]\nimage = \"boot/vmlinuz-*\"\nload = \"booti\"\nmodules = [\"erofs\", \"vfat\"]\n[boot]\nmethod = \"uboot-script\"\nstorage = \"mmc\"\n";

pub(crate) fn bake_with(
    board: &Board,
    version: &str,
    change: impl FnOnce(&mut Input<'_>),
) -> Result<Baked> {
    let version = version.parse().unwrap();
    let mut boot_files = Tree::new(EPOCH);
    boot_files
        .insert_bytes("usr/lib/fw/start.elf", 0o644, "firmware")
        .unwrap();
    boot_files
        .insert_bytes("usr/lib/u-boot/spl.bin", 0o644, vec![7; 40_000])
        .unwrap();
    let mut units = Tree::new(EPOCH);
    units
        .insert_bytes(
            "usr/lib/systemd/system/hypriot-agent.service",
            0o644,
            "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target\nAlias=agent.service\n",
        )
        .unwrap();
    units
        .insert_bytes("usr/share/hypriot/selftest.d/10-base.yaml", 0o644, "{}")
        .unwrap();
    let blobs = BTreeMap::new();
    let mut input = Input {
        board,
        version: &version,
        recipe: &Recipe {
            state_version: Some(2),
            ..Recipe::default()
        },
        steps: Steps::None,
        root: root(),
        boot_files: &boot_files,
        kernel_release: RELEASE,
        agent: Content::Bytes(b"\x7fELF agent"[..].into()),
        overlays: vec![("test".to_owned(), units)],
        trust_root: Some(b"{}"),
        update_url: Some("http://updates/"),
        poll_seconds: Some(60),
        user_data: None,
        blobs: &blobs,
        lock: "# the lock\n",
        record: "# the record\n",
    };
    change(&mut input);
    bake(input)
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8(tree.read(path).unwrap().to_vec()).unwrap()
}

#[test]
fn a_card_has_everything_in_its_place() {
    let baked = bake_with(&board(PLAIN), "1.2.3", |_| ()).unwrap();
    let root = &baked.root;
    assert_eq!(text(root, AGENT), "\x7fELF agent");
    assert_eq!(root.get(AGENT).unwrap().mode, 0o755);
    assert_eq!(
        text(root, SETTINGS),
        "board = \"x\"\nversion = \"1.2.3\"\nbuilt = \"2023-11-14T22:13:20Z\"\nstate_version = 2\n\n[update]\nurl = \"http://updates/\"\npoll_seconds = 60\n"
    );
    assert_eq!(text(root, TRUST_ROOT), "{}");
    assert_eq!(text(root, "etc/hostname"), "black-pearl\n");
    assert_eq!(text(root, "etc/machine-id"), "");
    assert!(text(root, "etc/hosts").contains("black-pearl"));
    assert_eq!(
        text(root, "etc/os-release"),
        "ID=debian\nVERSION_CODENAME=trixie\nHYPRIOT_OS=\"HypriotOS/arm64\"\nHYPRIOT_OS_VERSION=\"v1.2.3\"\nHYPRIOT_DEVICE=\"A Board\"\nHYPRIOT_IMAGE_VERSION=\"v1.2.3\"\n"
    );
    for (link, to) in [
        (
            "etc/systemd/system/multi-user.target.wants/hypriot-agent.service",
            "/usr/lib/systemd/system/hypriot-agent.service",
        ),
        (
            "etc/systemd/system/agent.service",
            "/usr/lib/systemd/system/hypriot-agent.service",
        ),
        (
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "/usr/lib/systemd/system/systemd-networkd.service",
        ),
        ("var/lib/cloud/seed/nocloud/user-data", "/boot/user-data"),
    ] {
        assert_eq!(
            root.get(link).map(|e| &e.kind),
            Some(&Kind::Symlink(to.as_bytes().into())),
            "{link}"
        );
    }
    assert!(
        root.get("etc/systemd/system/no.wants/hypriot-agent.service")
            .is_none(),
        "only the [Install] section counts"
    );
    assert!(root.below(b"boot").next().is_none() && root.below(b"tmp").next().is_none());
    assert_eq!(root.get("data").unwrap().mode, 0o755);

    let names: Vec<String> = baked
        .boot
        .below(b"")
        .map(|(p, _)| crate::tree::show(p))
        .collect();
    assert_eq!(names, ["/initrd.zst", "/version", "/vmlinuz"]);
    assert_eq!(text(&baked.boot, "version"), "x 1.2.3\n");
    let names: Vec<String> = baked
        .config
        .below(b"")
        .map(|(p, _)| crate::tree::show(p))
        .collect();
    assert_eq!(
        names,
        [
            "/README.txt",
            "/boot.scr",
            "/hypriot-boot.txt",
            "/meta-data",
            "/network-config",
            "/os-release",
            "/user-data"
        ]
    );
    assert!(
        !text(&baked.config, "user-data").contains("passwd:")
            || text(&baked.config, "user-data").contains("lock_passwd: true")
    );
    let script = baked.config.read("boot.scr").unwrap();
    let script = String::from_utf8_lossy(&script);
    assert!(
        script.contains("console=tty1 console=ttyAMA0 net.ifnames=0 cgroup_enable=memory"),
        "{script}"
    );
}

#[test]
fn device_trees_and_boot_files_follow_the_board_file() {
    let baked = bake_with(
        &board(
            "[kernel]\nimage = \"boot/vmlinuz-*\"\nload = \"bootz\"\nmodules = []\ndtbs = [\"usr/lib/linux-image-*/broadcom/bcm2837-*.dtb\", \"usr/lib/linux-image-*/allwinner/sun50i.dtb\"]\n\
             [boot]\nmethod = \"rpi-firmware\"\nstorage = \"mmc\"\nfiles = [{ from = \"usr/lib/fw/start*.elf\" }, { from = \"usr/lib/linux-image-*/broadcom/*.dtb\", root = true }, { from = \"usr/lib/u-boot/spl.bin\", to = \"u/kernel8.img\" }]\n\
             texts = [{ name = \"config.txt\", text = \"arm_64bit=1\\n\" }]\n",
        ),
        "1.0.0",
        |_| (),
    )
    .unwrap();
    assert_eq!(
        text(&baked.boot, "dtbs/broadcom/bcm2837-rpi-3-b.dtb"),
        "tree 3"
    );
    assert_eq!(text(&baked.boot, "dtbs/allwinner/sun50i.dtb"), "tree 5");
    assert!(
        baked
            .boot
            .get("dtbs/broadcom/bcm2711-rpi-4-b.dtb")
            .is_none()
    );
    assert_eq!(text(&baked.config, "start.elf"), "firmware");
    assert_eq!(text(&baked.config, "bcm2711-rpi-4-b.dtb"), "tree 4");
    assert_eq!(text(&baked.config, "bcm2837-rpi-3-b.dtb"), "tree 3");
    assert_eq!(baked.config.read("u/kernel8.img").unwrap().len(), 40_000);
    assert_eq!(text(&baked.config, "config.txt"), "arm_64bit=1\n");
    let script = baked.config.read("boot.scr").unwrap();
    let script = String::from_utf8_lossy(&script);
    assert!(
        script.contains("dtbs/${fdtfile}") && script.contains("bootz"),
        "{script}"
    );
}

#[test]
fn what_a_board_lacks_is_named() {
    let plain = board(PLAIN);
    let e = |board: &Board, change: fn(&mut Input<'_>)| {
        format!("{:#}", bake_with(board, "1.0.0", change).unwrap_err())
    };
    assert!(e(&plain, |i| i.kernel_release = "5.0").contains("vmlinuz-5.0"));
    assert!(
        e(&plain, |i| i
            .root
            .insert("usr/pipe", 0o644, Kind::Fifo)
            .unwrap())
        .contains("/usr/pipe is a named pipe")
    );
    assert!(e(&plain, |i| drop(i.root.remove("usr/lib/os-release"))).contains("os-release"));
    let blob = |raw: &str| board(&format!("{PLAIN}raw = [{{ {raw} }}]\n"));
    let user =
        blob("file = \"bl1.bin\", offset = 512, from-user = \"Owners find it at the vendor.\"");
    let text = e(&user, |_| ());
    assert!(
        text.contains("bl1.bin")
            && text.contains("byte 512")
            && text.contains("vendor")
            && text.contains("--blob bl1.bin=FILE"),
        "{text}"
    );
    assert!(e(&blob("file = \"usr/lib/none\", offset = 512"), |_| ()).contains("no /usr/lib/none"));
    assert!(
        e(
            &blob("file = \"usr/lib/u-boot/spl.bin\", offset = 512, room = 100"),
            |_| ()
        )
        .contains("room for 100")
    );
    assert!(
        e(
            &blob("file = \"usr/lib/u-boot/spl.bin\", offset = 512, skip = 50000"),
            |_| ()
        )
        .contains("what follows the first 50000")
    );
}

#[test]
fn boot_files_that_cannot_be_placed_are_refused() {
    for (danger, file, says) in [
        (
            "in the wrong tree",
            "from = \"usr/lib/linux-image-*/broadcom/*.dtb\"",
            "in the boot packages",
        ),
        (
            "not there",
            "from = \"usr/lib/linux-image-*/broadcom/none*\", root = true",
            "in the root tree: nothing matches",
        ),
        (
            "two files, one name",
            "from = \"usr/lib/linux-image-*/broadcom/*.dtb\", root = true, to = \"one.dtb\"",
            "2 files, which cannot all become one.dtb",
        ),
        (
            "a link to nothing",
            "from = \"usr/lib/dangling\", root = true",
            "a link to nothing",
        ),
    ] {
        let board = board(&format!("{PLAIN}files = [{{ {file} }}]\n"));
        let e = bake_with(&board, "1.0.0", |i| {
            i.root
                .insert_symlink("usr/lib/dangling", "nowhere")
                .unwrap();
        });
        let e = format!("{:#}", e.unwrap_err());
        assert!(e.contains(says), "{danger}: {e}");
    }
}

/// The size of a kernel in memory is in its header, and more than the file's (Linux booting.rst).
#[test]
fn a_kernel_that_would_lie_on_its_device_tree_is_refused() {
    let addresses =
        "addresses = { kernel = 0x200000, device-tree = 0x300000, initramfs = 0x400000 }\n";
    let board = board(&format!("{PLAIN}{addresses}"));
    let kernel = |memory: u64| {
        let mut image = vec![0; 64];
        image[16..24].copy_from_slice(&memory.to_le_bytes());
        image[56..60].copy_from_slice(b"ARM\x64");
        let path = format!("boot/vmlinuz-{RELEASE}");
        bake_with(&board, "1.0.0", |i| {
            i.root.insert_bytes(&path, 0o644, &image).unwrap();
        })
    };
    let baked = kernel(0x10_0000).unwrap();
    let script = baked.config.read("boot.scr").unwrap();
    assert!(String::from_utf8_lossy(&script).contains("setenv fdt_addr_r 0x300000"));
    let e = kernel(0x10_0001).unwrap_err().to_string();
    assert!(e.contains("1048577") && e.contains("0x300000"), "{e}");
}

#[test]
fn kernels_are_unpacked_for_u_boot() {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(b"Image").unwrap();
    let gz = gz.finish().unwrap();
    assert_eq!(kernel::for_uboot(&gz).unwrap(), b"Image");
    let mut zboot = b"MZ\0\0zimg".to_vec();
    zboot.extend(64u32.to_le_bytes());
    zboot.extend(u32::try_from(gz.len()).unwrap().to_le_bytes());
    zboot.resize(24, 0);
    zboot.extend(b"gzip\0\0\0\0");
    zboot.resize(64, 0);
    zboot.extend(&gz);
    assert_eq!(kernel::for_uboot(&zboot).unwrap(), b"Image");
    assert_eq!(kernel::for_uboot(b"MZ plain").unwrap(), b"MZ plain");
    for cut in [8, 12, 20, 31, 70] {
        assert!(kernel::for_uboot(&zboot[..cut]).is_err(), "{cut}");
    }
}
