//! What is taken from an owner's file, and what is not.

use alloc::string::ToString;

use super::*;

fn words(text: &str) -> String {
    read(text.as_bytes()).map_or_else(|e| e.to_string(), |(o, _)| o.cmdline.unwrap_or_default())
}

#[test]
fn what_an_update_relies_on_cannot_be_said() {
    for (danger, given, taken) in [
        (
            "an ordinary line",
            "quiet net.ifnames=0",
            "quiet net.ifnames=0",
        ),
        (
            "the watchdog is the owner's",
            "systemd.watchdog_sec=0 systemd.log_level=debug",
            "systemd.watchdog_sec=0 systemd.log_level=debug",
        ),
        (
            "a masked last resort",
            "systemd.mask=hypriot-trial-expire.service",
            "refused.mask=refused-trial-expire.service",
        ),
        (
            "a masked one, hidden between quotes",
            "sys\"temd.mask=a",
            "sys temd.mask=a",
        ),
        (
            "a masked one, made by what is taken out",
            "syssystemdtemd.mask=a",
            "sysrefusedtemd.mask=a",
        ),
        (
            "a stand-in that somebody wrote",
            "!0.mask=a !1=x",
            " 0.mask=a  1=x",
        ),
        (
            "a command instead of the system",
            "systemd.run=poweroff systemd.break=pre-mount",
            "refused.run=poweroff refused.break=pre-mount",
        ),
        (
            "a drop-in by credential",
            "systemd.set_credential=systemd.unit-dropin.x.service:x",
            "refused.set_credential=refused.unit-dropin.x.service:x",
        ),
        (
            "the end of the kernel's arguments",
            "quiet -- x --- y ----",
            "quiet - x - y -",
        ),
        (
            "no restart after a panic, later on",
            "sysctl.kernel.panic=0 sysctl.kernel/panic=0",
            "refused.kernel.panic=0 refused.kernel/panic=0",
        ),
        ("no restart at all", "reboot=hard", "refusedhard"),
        (
            "units from elsewhere, by environment",
            "SYSTEMD_UNIT_PATH=/x LD_PRELOAD=/x",
            "refused_UNIT_PATH=/x refusedPRELOAD=/x",
        ),
        ("another slot", "hypriot.slot=b", "refused.slot=b"),
        ("an end of U-Boot's quotes", "a'; reset; '", "a   reset   "),
        (
            "a variable of U-Boot's",
            "${bootcmd} $a `b` \\$c",
            "  bootcmd   a  b   c",
        ),
        (
            "marks of U-Boot's shell",
            "a\u{3}bootcmd\u{3}b\u{4}c",
            "a bootcmd b c",
        ),
        ("a line that goes on", "a \\\nb", "a  b"),
        ("letters of other alphabets", "größe=1", "gr    e=1"),
    ] {
        assert_eq!(words(&format!("cmdline={given}\n")), taken, "{danger}");
    }
}

#[test]
fn a_file_of_any_shape_is_read_as_u_boot_reads_it() {
    for (danger, text, cmdline, tree) in [
        ("empty", "", None, None),
        ("comments alone", "# a=b\n  # cmdline=x", None, None),
        ("no line end", "cmdline=x", Some("x"), None),
        (
            "line ends of Windows",
            "# c\r\n\r\ncmdline=x\r\ndevice_tree=y\r\n",
            Some("x "),
            Some("y "),
        ),
        ("empty values", "cmdline=\ndevice_tree", None, None),
        ("the first counts", "cmdline=x\ncmdline=y", Some("x"), None),
        ("an empty first counts", "cmdline=\ncmdline=y", None, None),
        ("blanks before", " \tcmdline=x\n", Some("x"), None),
        ("blanks behind the name", "cmdline =x\n", None, None),
        ("NUL ends it", "cmdline=x\0\ndevice_tree=y", Some("x"), None),
        (
            "others' keys",
            "hy_seq=7fffffff\nbootcmd=reset\ndevice_tree=a/b.dtb",
            None,
            Some("a/b.dtb"),
        ),
    ] {
        let (owner, _) = read(text.as_bytes()).unwrap_or_else(|e| panic!("{danger}: {e}"));
        let expected = Owner {
            cmdline: cmdline.map(Into::into),
            device_tree: tree.map(Into::into),
        };
        assert_eq!(owner, expected, "{danger}");
    }
    assert_eq!(words("=x\n"), OwnerError::NoName(1).to_string());
    assert_eq!(words(&"#".repeat(MAX + 1)), OwnerError::TooLong.to_string());
    let fits = format!("cmdline={}\n", "x".repeat(MAX_CMDLINE));
    assert_eq!(words(&fits).len(), MAX_CMDLINE);
    let room = OwnerError::Room(CMDLINE, MAX_CMDLINE + 1);
    assert_eq!(words(&fits.replacen('x', "xx", 1)), room.to_string());
}

#[test]
fn what_does_not_do_what_it_says_is_told() {
    let text =
        "kernel=x\r\n\r\ncmdline=a -- 'b' systemd.unit=c\ncmdline=x\ndevice_tree=firmware\r\n";
    let (_, notes) = read(text.as_bytes()).unwrap();
    let expected = [
        Note::Unknown(1, "kernel".into()),
        Note::Twice(4, CMDLINE.into()),
        Note::Characters(CMDLINE),
        Note::Hyphens,
        Note::Refused("systemd.unit=c".into()),
    ];
    assert_eq!(notes, expected);
    let (_, notes) = read(b"# mine\r\n\r\ncmdline=quiet systemd.show_status=1\r\n").unwrap();
    assert_eq!(notes, [], "an ordinary file of Windows");
}

#[test]
fn the_agent_is_told_by_the_last_word() {
    let told = |line: &str| Use::told(line);
    assert_eq!(told("quiet hypriot.owner=used\n"), Some(Use::Used));
    assert_eq!(
        told("hypriot.owner=used hypriot.owner=left"),
        Some(Use::Left)
    );
    assert_eq!(told("quiet"), None);
    assert_eq!(told("hypriot.owner=x"), None);
}
