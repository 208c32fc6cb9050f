//! What is expected of a made-up tree. That the agent accepts and passes it is tested where both programs are at hand.

use super::*;
use crate::bake::tests::{PLAIN, bake_with, board};

fn baked() -> Tree {
    bake_with(&board(PLAIN), "1.2.3", |i| {
        let mut put = |path: &str, text: &str| i.root.insert_bytes(path, 0o644, text).unwrap();
        put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nsshd:x:992:65534:sshd user:/run/sshd:/usr/sbin/nologin\n");
        put("etc/group", "root:x:0:\nshadow:x:42:\n_ssh:x:991:\n");
        put("var/lib/dpkg/status", "Package: libstdc++6\nStatus: install ok installed\nVersion: 1:14.2.0-19+b1\n");
        i.root.insert_bytes("usr/bin/sudo", 0o4755, "x").unwrap();
        i.root.insert_bytes("usr/bin/ssh-agent", 0o2755, "x").unwrap();
        i.root.chown("usr/bin/ssh-agent", 0, 991).unwrap();
        i.root.insert_bytes("usr/bin/ordinary", 0o755, "x").unwrap();
    })
    .unwrap()
    .root
}

/// The lines of one test, joined.
fn test_of(text: &str, label: &str) -> String {
    let head = format!("  \"{label} of this image\":");
    let after = text
        .split_once(&head)
        .unwrap_or_else(|| panic!("no {label}: {text}"))
        .1;
    let lines = after.lines().skip(1).take_while(|l| l.starts_with("    "));
    lines.map(str::trim).collect::<Vec<_>>().join("; ")
}

#[test]
fn expectations_say_what_the_tree_has() {
    let root = baked();
    let text = String::from_utf8(root.read(PATH).unwrap().to_vec()).unwrap();
    let hash = crate::sha256::Sha256::of(&root.read(record::LOCK).unwrap());
    for (label, expected) in [
        ("the kernel", r#"exec: "uname -r"; exit-status: 0; stdout: ["/^6\\.12\\.1-arm64$/"]"#.to_owned()),
        ("the architecture", r#"name: "dpkg:arm64"; installed: true"#.to_owned()),
        ("libstdc++6", r#"name: "libstdc++6"; severity: wanted; installed: true; versions: ["1:14.2.0-19+b1"]"#.to_owned()),
        ("what it calls itself", "path: \"/usr/lib/os-release\"; exists: true; contents: [\"/^ID=debian$/\", \"/^VERSION_CODENAME=trixie$/\", \
            \"/^HYPRIOT_OS=\\\"HypriotOS/arm64\\\"$/\", \"/^HYPRIOT_OS_VERSION=\\\"v1\\\\.2\\\\.3\\\"$/\", \
            \"/^HYPRIOT_DEVICE=\\\"A Board\\\"$/\", \"/^HYPRIOT_IMAGE_VERSION=\\\"v1\\\\.2\\\\.3\\\"$/\"]".to_owned()),
        ("the content of /usr/lib/hypriot/build/lock.toml",
            format!(r#"path: "/usr/lib/hypriot/build/lock.toml"; exists: true; sha256: "{hash}""#)),
        ("/usr/bin/sudo", r#"path: "/usr/bin/sudo"; exists: true; owner: "root"; group: "root"; mode: "4755""#.to_owned()),
        ("/usr/bin/ssh-agent", r#"path: "/usr/bin/ssh-agent"; exists: true; owner: "root"; group: "_ssh"; mode: "2755"; severity: wanted"#.to_owned()),
        ("/etc/passwd", r#"path: "/etc/passwd"; exists: true; owner: "root"; group: "root"; mode: "0644"; severity: wanted"#.to_owned()),
        ("hypriot-agent.service enabled for multi-user.target",
            r#"path: "/etc/systemd/system/multi-user.target.wants/hypriot-agent.service"; exists: true; filetype: symlink; severity: wanted"#.to_owned()),
        ("root", r#"username: "root"; severity: wanted; exists: true; uid: 0; home: "/root"; shell: "/bin/bash""#.to_owned()),
        ("sshd", r#"username: "sshd"; severity: wanted; exists: true"#.to_owned()),
        ("shadow", r#"groupname: "shadow"; severity: wanted; exists: true; gid: 42"#.to_owned()),
        ("_ssh", r#"groupname: "_ssh"; severity: wanted; exists: true"#.to_owned()),
    ] {
        assert_eq!(test_of(&text, label), expected, "{label}");
    }
    assert!(!text.contains("/usr/bin/ordinary"), "only what matters");
}

#[test]
fn a_tree_without_its_records_is_refused_with_the_file() {
    for path in ["var/lib/dpkg/status", "etc/passwd", "etc/group"] {
        let mut root = baked();
        root.remove(path).unwrap();
        let e = text(
            &root,
            Facts {
                arch: Arch::Arm64,
                kernel: "6",
            },
        )
        .unwrap_err();
        assert!(format!("{e:#}").contains(path), "{e:#}");
    }
    let mut root = baked();
    root.insert_bytes("etc/passwd", 0o644, "root:x\n").unwrap();
    let e = text(
        &root,
        Facts {
            arch: Arch::Arm64,
            kernel: "6",
        },
    )
    .unwrap_err();
    assert!(e.to_string().contains("root:x"), "{e}");
}
