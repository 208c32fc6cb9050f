//! The self-tests that the image generator writes are read by the agent, hold on the tree they are about, and fail where it
//! is changed. The two programs share no code: only this shows that they speak one language.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use hypriot_imagegen::bake::expectations::{self, Facts};
use hypriot_imagegen::bake::record;
use hypriot_imagegen::tree::Tree;
use hypriot_tests::exec;
use hypriot_tests::factory::Factory;

const KERNEL: &str = "6.12.48+deb13-arm64";

#[expect(
    clippy::disallowed_methods,
    reason = "scratch files; a power cut may take them"
)]
fn write(root: &Path, path: &str, text: &str, mode: u32) -> Result<()> {
    let to = root.join(path);
    std::fs::create_dir_all(to.parent().unwrap_or(root))?;
    std::fs::write(&to, text)?;
    Ok(std::fs::set_permissions(
        &to,
        std::fs::Permissions::from_mode(mode),
    )?)
}

/// A tree with one of everything that is expected of an image, and the expectations in their place.
fn image(root: &Path) -> Result<()> {
    let os_release = "ID=debian\nVERSION_CODENAME=trixie\nHYPRIOT_OS=\"HypriotOS/arm64\"\nHYPRIOT_DEVICE=\"ODROID C1/C1+ (32 bit)\"\n";
    for (path, text, mode) in [
        ("usr/lib/os-release", os_release, 0o644),
        (
            "var/lib/dpkg/status",
            "Package: dpkg\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1:1.22.21+b1~x\n",
            0o644,
        ),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nmessagebus:x:990:990::/nonexistent:/usr/sbin/nologin\n",
            0o644,
        ),
        (
            "etc/group",
            "root:x:0:\nsudo:x:27:\nmessagebus:x:990:\n",
            0o644,
        ),
        ("etc/shadow", "root:*:1::::::\n", 0o640),
        ("usr/bin/sudo", "x", 0o4755),
        (record::LOCK, "# lock\n", 0o644),
        (record::BUILD, "# record\n", 0o644),
        (&format!("usr/lib/modules/{KERNEL}/modules.dep"), "", 0o644),
    ] {
        write(root, path, text, mode)?;
    }
    let wants = root.join("etc/systemd/system/getty.target.wants");
    std::fs::create_dir_all(&wants)?;
    std::os::unix::fs::symlink(
        "/usr/lib/systemd/system/getty@.service",
        wants.join("getty@tty1.service"),
    )?;
    let facts = Facts {
        arch: hypriot_imagegen::arch::Arch::Arm64,
        kernel: KERNEL,
    };
    let text = expectations::text(&Tree::scan(root, u64::MAX)?, facts)?;
    write(root, expectations::PATH, &text, 0o644)
}

/// What the agent says about the tree; an error if something required does not hold.
fn selftest(root: &Path) -> Result<String> {
    let mut agent = exec::command(exec::workspace_program("hypriot-agent")?);
    agent.args(["selftest", "--root"]).arg(root);
    exec::run(agent, Duration::from_mins(1))
}

type Change = fn(&Path) -> Result<()>;

#[test]
fn the_agent_reads_the_expectations_of_an_image_and_misses_nothing() -> Result<()> {
    Factory::new()?.programs()?;
    let dir = tempfile::tempdir()?;
    let root = dir.path();
    image(root)?;
    let said = selftest(root)?;
    // The running kernel is asked only on a running board.
    ensure!(said.contains(" 0 failed, 2 skipped"), "{said}");

    let rows: [(&str, bool, Change); 9] = [
        (
            "file:what it calls itself of this image:contents",
            true,
            |r| {
                write(
                    r,
                    "usr/lib/os-release",
                    "ID=debian\nVERSION_CODENAME=trixie\nHYPRIOT_OS=\"HypriotOS/armhf\"\n",
                    0o644,
                )
            },
        ),
        ("package:dpkg of this image:versions", false, |r| {
            write(
                r,
                "var/lib/dpkg/status",
                "Package: dpkg\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2\n",
                0o644,
            )
        }),
        (
            "package:the architecture of this image:installed",
            true,
            |r| {
                write(
                    r,
                    "var/lib/dpkg/status",
                    "Package: dpkg\nStatus: install ok installed\nArchitecture: armhf\nVersion: 1:1.22.21+b1~x\n",
                    0o644,
                )
            },
        ),
        ("file:/usr/bin/sudo of this image:mode", true, |r| {
            write(r, "usr/bin/sudo", "x", 0o755)
        }),
        ("file:/etc/shadow of this image:mode", false, |r| {
            write(r, "etc/shadow", "root:*:1::::::\n", 0o644)
        }),
        (
            "file:the content of /usr/lib/hypriot/build/lock.toml of this image:sha256",
            true,
            |r| write(r, record::LOCK, "# another\n", 0o644),
        ),
        (
            "file:the kernel's modules of this image:exists",
            true,
            |r| {
                Ok(std::fs::remove_file(
                    r.join(format!("usr/lib/modules/{KERNEL}/modules.dep")),
                )?)
            },
        ),
        (
            "file:getty@tty1.service enabled for getty.target of this image:exists",
            false,
            |r| {
                Ok(std::fs::remove_file(r.join(
                    "etc/systemd/system/getty.target.wants/getty@tty1.service",
                ))?)
            },
        ),
        ("user:messagebus of this image:exists", false, |r| {
            write(r, "etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", 0o644)
        }),
    ];
    for (id, required, change) in rows {
        let dir = tempfile::tempdir()?;
        image(dir.path())?;
        change(dir.path())?;
        let said = selftest(dir.path());
        ensure!(said.is_err() == required, "{id}: {said:?}");
        let said = said.unwrap_or_else(|e| format!("{e:#}"));
        ensure!(said.contains(&format!("FAIL {id}")), "{id}: {said}");
    }
    Ok(())
}
