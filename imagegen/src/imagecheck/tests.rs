//! An image that is right, and the same broken in one place: exactly that is found.

use std::collections::BTreeSet;

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};
use crate::bake::{Baked, Input, scr};
use crate::image::card;
use crate::tree::{Content, Kind, Tree};

const RELEASE: &str = "6.12.1-arm64";
/// 64 bit, little-endian, AArch64.
const ELF: &[u8] =
    b"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00 and so on";
const TREE: &[u8] = b"\xd0\x0d\xfe\xed a device tree";
/// Firmware, raw blob, device trees: one of each kind a board file can name.
const MORE: &str = "files = [{ from = \"usr/lib/fw/start.elf\" }]\n\
    texts = [{ name = \"config.txt\", text = \"arm_64bit=1\\n\" }]\n\
    raw = [{ file = \"usr/lib/u-boot/spl.bin\", offset = 8192 }]\n";

fn the_board() -> Board {
    let kernel = "dtbs = [\"usr/lib/linux-image-*/broadcom/bcm2837-*.dtb\"]\nfdtfile = \"broadcom/bcm2837-rpi-3-b.dtb\"\n[boot]";
    board(&(PLAIN.replacen("[boot]", kernel, 1) + MORE))
}

/// Everything an image needs, put into the small tree of the baking tests.
fn complete(input: &mut Input<'_>) {
    let root = &mut input.root;
    let mut put =
        |path: &str, mode: u16, bytes: &[u8]| root.insert_bytes(path, mode, bytes).unwrap();
    let mut kernel = vec![0; 64];
    kernel[56..60].copy_from_slice(b"ARM\x64");
    put(&format!("boot/vmlinuz-{RELEASE}"), 0o644, &kernel);
    let config = kernel::OPTIONS.map(|o| format!("CONFIG_{o}=y\n")).concat() + "CONFIG_SMP=y\n";
    put(&format!("boot/config-{RELEASE}"), 0o644, config.as_bytes());
    let builtin = kernel::MODULES.map(|m| format!("kernel/{m}.ko\n")).concat();
    // This one is a file, as in the baking tests.
    let builtin = builtin.replace("kernel/erofs.ko\n", "");
    let dir = format!("usr/lib/modules/{RELEASE}");
    put(&format!("{dir}/modules.builtin"), 0o644, builtin.as_bytes());
    for name in ["bcm2837-rpi-3-b", "bcm2711-rpi-4-b"] {
        let path = format!("usr/lib/linux-image-{RELEASE}/broadcom/{name}.dtb");
        put(&path, 0o644, TREE);
    }
    for path in docker::PROGRAMS.iter().chain(&packages::PROGRAMS) {
        put(path, 0o755, ELF);
    }
    put("usr/libexec/docker/cli-plugins/docker-compose", 0o755, ELF);
    put("bin/true", 0o755, ELF);
    for unit in docker::UNITS {
        put(
            &format!("usr/lib/systemd/system/{unit}"),
            0o644,
            b"[Unit]\n",
        );
    }
    put(
        "usr/lib/systemd/system/docker.socket",
        0o644,
        b"[Socket]\nSocketMode=0660\nSocketUser=root\nSocketGroup=docker\n",
    );
    for (unit, wants) in system::ENABLED.into_iter().chain([
        system::CLOCKS[0],
        ("docker.service", "multi-user.target.wants"),
        ("docker.socket", "sockets.target.wants"),
        ("containerd.service", "multi-user.target.wants"),
    ]) {
        let unit_path = format!("usr/lib/systemd/system/{unit}");
        if root.get(&unit_path).is_none() {
            root.insert_bytes(&unit_path, 0o644, "[Unit]\n").unwrap();
        }
        root.insert_symlink(
            &format!("etc/systemd/system/{wants}/{unit}"),
            &format!("/{unit_path}"),
        )
        .unwrap();
    }
    for unit in system::OWN_UNITS {
        root.insert_bytes(&format!("usr/lib/systemd/system/{unit}"), 0o644, "[Unit]\n")
            .unwrap();
    }
    for path in system::STICK {
        root.insert_bytes(path, 0o644, "").unwrap();
    }
    let mut put = |path: &str, mode: u16, text: &str| root.insert_bytes(path, mode, text).unwrap();
    put(
        "usr/lib/systemd/system/serial-getty@.service",
        0o644,
        "[Unit]\n",
    );
    put(
        "usr/share/bash-completion/completions/docker",
        0o644,
        "complete",
    );
    put(
        "usr/share/keyrings/debian-archive-keyring.gpg",
        0o644,
        "keys",
    );
    put(
        "etc/shadow",
        0o640,
        "root:*:20000:0:99999:7:::\nsshd:!:20000::::::\n",
    );
    put(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/bash\nsshd:x:990:65534::/run/sshd:/usr/sbin/nologin\n",
    );
    put(
        "etc/group",
        0o644,
        "root:x:0:\nsudo:x:27:\nvideo:x:44:\ndocker:x:999:\n",
    );
    put("etc/sudoers", 0o440, "root ALL=(ALL:ALL) ALL\n");
    let status: Vec<String> = crate::inputs::needs::DOCKER
        .iter()
        .chain(&crate::inputs::needs::SYSTEM)
        .map(|need| need.any[0])
        .map(|p| format!("Package: {p}\nStatus: install ok installed\nVersion: 1\n\n"))
        .collect();
    let status = status.concat();
    put("var/lib/dpkg/status", 0o644, &status);
    input.agent = Content::Bytes(ELF.into());
}

/// A row of `damage.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Damage {
    danger: String,
    finds: String,
    at: Option<u64>,
    bytes: Option<String>,
    root: Option<String>,
    mode: Option<u16>,
    also: Option<String>,
    from: Option<String>,
    to: Option<String>,
    text: Option<String>,
    gone: Option<String>,
    dir: Option<String>,
    pipe: Option<String>,
    config: Option<String>,
    boot: Option<String>,
    script: Option<String>,
    initramfs: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Damages {
    damage: Vec<Damage>,
}

fn damages() -> Vec<Damage> {
    let read: Damages = toml::from_str(include_str!("damage.toml")).unwrap();
    assert!(read.damage.len() > 80);
    read.damage
}

impl Damage {
    /// Does it to what was baked; other bytes of the card are for [`Scratched`].
    fn apply(&self, baked: &mut Baked) {
        if let Some(path) = &self.root {
            self.file(&mut baked.root, path);
        }
        if let Some(path) = &self.also {
            baked.root.insert_bytes(path, 0o644, "x").unwrap();
        }
        if let Some(path) = &self.gone {
            assert!(baked.root.remove(path).unwrap() > 0, "{path}");
        }
        if let (Some(path), Some(mode)) = (&self.dir, self.mode) {
            baked.root.insert_dir(path, mode).unwrap();
        }
        if let Some(path) = &self.pipe {
            baked.root.insert(path, 0o644, Kind::Fifo).unwrap();
        }
        for (tree, path) in [
            (&mut baked.config, &self.config),
            (&mut baked.boot, &self.boot),
        ] {
            match (path, &self.text) {
                (Some(path), Some(text)) => tree.insert_bytes(path, 0o644, text).unwrap(),
                (Some(path), None) => assert_eq!(tree.remove(path).unwrap(), 1),
                _ => {}
            }
        }
        if let Some(words) = &self.script {
            let text = scr::decode(&baked.config.read("boot.scr").unwrap()).unwrap();
            assert!(text.contains(words.as_str()), "{words}");
            script(baked, &text.replace(words.as_str(), ""));
        }
        if let Some(init) = &self.initramfs {
            let mut tree = Tree::new(0);
            tree.insert_bytes("lib/modules/x/erofs.ko", 0o644, "")
                .unwrap();
            tree.insert_bytes("init", 0o755, init).unwrap();
            initramfs(baked, &tree);
        }
    }

    fn file(&self, root: &mut Tree, path: &str) {
        let text = match (&self.from, &self.to, &self.text) {
            (Some(from), Some(to), _) => {
                let old = String::from_utf8(root.read(path).unwrap().to_vec()).unwrap();
                assert!(old.contains(from.as_str()), "{path} has no {from:?}");
                old.replacen(from.as_str(), to, 1)
            }
            (_, _, text) => text.clone().unwrap(),
        };
        drop(root.remove(path));
        root.insert_bytes(path, self.mode.unwrap_or(0o644), text)
            .unwrap();
    }
}

fn script(baked: &mut Baked, text: &str) {
    let bytes = scr::encode(text, "", 0).unwrap();
    baked.config.insert_bytes("boot.scr", 0o644, bytes).unwrap();
}

fn initramfs(baked: &mut Baked, tree: &Tree) {
    let bytes = zstd::bulk::compress(&crate::formats::cpio::write(tree).unwrap(), 1).unwrap();
    baked.boot.insert_bytes("initrd.zst", 0o644, bytes).unwrap();
}

/// A card with other bytes in one place.
struct Scratched<'a> {
    card: &'a card::Card<'a>,
    at: u64,
    bytes: &'a [u8],
}

impl Blocks for Scratched<'_> {
    fn size(&self) -> u64 {
        self.card.size()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        self.card.read_at(at, buf)?;
        for (n, byte) in self.bytes.iter().enumerate() {
            let place = (self.at + n as u64).checked_sub(at);
            if let Some(slot) = place.and_then(|p| buf.get_mut(usize::try_from(p).ok()?)) {
                *slot = *byte;
            }
        }
        Ok(())
    }
}

fn findings(bytes: Option<(u64, &[u8])>, change: impl FnOnce(&mut Baked)) -> Vec<Finding> {
    findings_of(&the_board(), bytes, change)
}

fn findings_of(
    board: &Board,
    bytes: Option<(u64, &[u8])>,
    change: impl FnOnce(&mut Baked),
) -> Vec<Finding> {
    let mut baked = bake_with(board, "1.0.0", complete).unwrap();
    change(&mut baked);
    let volumes = card::volumes(&baked, "x", "1.0.0", None).unwrap();
    let card = card::Card::plan(&volumes, &baked.raw, card::signature("x", "1.0.0")).unwrap();
    let (at, bytes) = bytes.unwrap_or_default();
    let disk = Scratched {
        card: &card,
        at,
        bytes,
    };
    check_with(&disk, UserData::Shipped, |_| Ok(board.clone()))
}

fn names(found: &[Finding], wrong: bool) -> Vec<String> {
    let found = found.iter().filter(|f| f.wrong.is_some() || !wrong);
    found.map(|f| format!("{}: {}", f.family, f.what)).collect()
}

#[test]
fn a_good_image_has_nothing_wrong() {
    let found = findings(None, |_| ());
    assert_eq!(names(&found, true), Vec::<String>::new());
    assert!(found.len() > 200, "{}", found.len());
}

#[test]
fn a_board_whose_own_loader_starts_it_has_no_boot_script_and_a_stray_one_is_found() {
    let kernel = "dtbs = [\"usr/lib/linux-image-*/broadcom/bcm2837-*.dtb\"]\n[boot]";
    let own_loader = PLAIN
        .replacen("[boot]", kernel, 1)
        .replace("uboot-script", "android-bootimg")
        .replace("\"mmc\"", "\"none\"");
    let board = board(&own_loader);
    let found = findings_of(&board, None, |_| ());
    assert_eq!(names(&found, true), Vec::<String>::new());
    let wrong = names(&findings_of(&board, None, |b| script(b, "boot")), true);
    assert!(
        wrong.len() == 1 && wrong[0].starts_with("first_partition: no boot script"),
        "{wrong:?}"
    );
}

#[test]
fn a_kernel_for_one_processor_need_not_share_processors_out() {
    let found = findings(None, |baked| {
        let path = format!("usr/lib/modules/{RELEASE}/config");
        let config = String::from_utf8(baked.root.read(&path).unwrap().to_vec()).unwrap();
        let one = config
            .replace("CONFIG_SMP=y\n", "")
            .replace("CONFIG_CPUSETS=y\n", "");
        baked.root.remove(&path).unwrap();
        baked.root.insert_bytes(&path, 0o644, one).unwrap();
    });
    assert_eq!(names(&found, true), Vec::<String>::new());
}

/// Each damage is found as what it is, and nothing else is; and no assertion is left that never fails.
#[test]
fn every_damage_is_found_and_every_assertion_can_fail() {
    let mut never: BTreeSet<String> = names(&findings(None, |_| ()), false).into_iter().collect();
    for damage in damages() {
        let bytes = damage.bytes.as_ref().map(String::as_bytes);
        let found = findings(damage.at.zip(bytes), |baked| damage.apply(baked));
        let wrong = names(&found, true);
        assert_eq!(wrong, [damage.finds.as_str()], "{}", damage.danger);
        never.remove(&damage.finds);
    }
    // What a damage of its own would only repeat: an image with hardly anything in it, and tables of partitions without some.
    let card: [(u64, &[u8]); 3] = [
        (446 + 16 * 2 + 4, b"\x83"),
        (446 + 16 * 3 + 4, b"\x83"),
        (510, b"xx"),
    ];
    let mut more = vec![
        findings(None, hollow),
        findings(None, |baked| {
            let builtin = format!("usr/lib/modules/{RELEASE}/modules.builtin");
            baked.root.remove(&builtin).unwrap();
        }),
    ];
    more.extend(card.map(|bytes| findings(Some(bytes), |_| ())));
    for what in more.iter().flat_map(|found| names(found, true)) {
        never.remove(&what);
    }
    // Labels and length are the writers' own: `fs::fat` and `image` have tests that read them back.
    for constant in [
        "first_partition: the first partition has the label HypriotOS",
        "raw: the image has the length of the layout",
        "slot: boot-a has the label boot",
    ] {
        assert!(never.remove(constant), "{constant}");
    }
    assert!(never.is_empty(), "{never:#?}");
}

/// Takes away everything without which an image can still be opened.
fn hollow(baked: &mut Baked) {
    let root = &mut baked.root;
    let kept = [SETTINGS, origins::RECORD].map(|p| (p, root.read(p).unwrap()));
    let names: Vec<String> = root
        .below(b"")
        .map(|(p, _)| String::from_utf8_lossy(p).into_owned())
        .filter(|p| !p.contains('/'))
        .collect();
    for name in names {
        root.remove(&name).unwrap();
    }
    let mut put = |path: &str, mode, bytes: &[u8]| root.insert_bytes(path, mode, bytes).unwrap();
    for (path, bytes) in kept {
        put(path, 0o644, &bytes);
    }
    for (name, text) in [("dep", "kernel/gone.ko:\n"), ("builtin", "")] {
        let path = format!("usr/lib/modules/{RELEASE}/modules.{name}");
        put(&path, 0o644, text.as_bytes());
    }
    put(&format!("usr/lib/modules/{RELEASE}/config"), 0o644, b"");
    put("etc/os-release", 0o600, b"dirty\n");
    put("var/lib/dpkg/status", 0o644, b"");
    baked.config = Tree::new(0);
    script(baked, "run nothing");
    baked.boot = Tree::new(0);
    initramfs(baked, &Tree::new(0));
}
