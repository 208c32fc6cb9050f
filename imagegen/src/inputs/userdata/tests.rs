//! user-data and network-config, judged as the board will read them.

use std::collections::BTreeMap;

use super::*;

/// A real public key, made for these tests; its private half is nowhere.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJULoDNmF+fmBBg+MtwOyckkGxbuiT7CWm9Dcl2F21gm me@here";

/// An image of a few files.
pub(super) struct Small(pub(super) BTreeMap<&'static str, &'static str>);

impl Image for Small {
    fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.0.get(path).map(|t| t.as_bytes().to_vec())
    }
}

fn image() -> Small {
    let schema = r##"{"$defs": {"user": {"type": "object", "additionalProperties": false, "required": ["name"],
        "properties": {"name": {"type": "string"}, "gecos": {"type": "string"}, "shell": {"type": "string"},
        "plain_text_passwd": {"type": "string"}, "lock_passwd": {"type": "boolean"}, "groups": {"type": "string"},
        "ssh_authorized_keys": {"type": "array", "items": {"type": "string"}, "minItems": 1}}}},
        "allOf": [{"type": "object", "properties": {"users": {"type": "array", "items":
            {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/user"}]}},
            "apt_update": {"type": "boolean", "deprecated": true, "deprecated_description": "Use ``package_update``. Really."}}}],
        "properties": {"users": {}, "hostname": {}, "timezone": {}, "write_files": {}, "runcmd": {}, "apt_update": {},
            "ssh_pwauth": {}, "locale": {}, "packages": {}}, "additionalProperties": false}"##;
    Small(BTreeMap::from([
        (
            "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json",
            schema,
        ),
        ("usr/share/zoneinfo/Europe/Berlin", ""),
        ("usr/lib/locale/C.utf8", ""),
        ("usr/lib/systemd/system/hypriot-packages.service", ""),
        ("bin/bash", ""),
    ]))
}

fn read(text: &str) -> Result<Checked, Refused> {
    user_data(
        "user-data",
        text.as_bytes(),
        Some(&image()),
        Locked::Refused,
    )
}

/// A cloud-config in which somebody can log in, and these lines.
fn with(lines: &str) -> String {
    format!(
        "#cloud-config\nusers:\n  - name: pirate\n    ssh_authorized_keys:\n      - {KEY}\n{lines}"
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row for each danger")]
fn what_cannot_work_is_refused_with_its_place() {
    let no_key = KEY.replace("ZDI1", "");
    for (danger, text, at, says) in [
        (
            "a tab",
            with("write_files:\n\t- path: /etc/x\n"),
            7,
            "a tab stands at the beginning",
        ),
        (
            "host name with an underscore",
            with("hostname: my_board\n"),
            6,
            "write my-board",
        ),
        (
            "host name of nothing but dots",
            with("hostname: '..'\n"),
            6,
            "no host name",
        ),
        (
            "host name that is a number",
            with("hostname: 1234\n"),
            6,
            "must be text",
        ),
        (
            "nobody in it",
            "#cloud-config\nhostname: x\n".to_owned(),
            2,
            "nobody can log in",
        ),
        (
            "an empty file",
            "#cloud-config\n".to_owned(),
            1,
            "nobody can log in",
        ),
        (
            "a password that is locked",
            "#cloud-config\nusers:\n  - name: p\n    plain_text_passwd: made-up\n".to_owned(),
            2,
            "nobody can log in",
        ),
        (
            "a placeholder for a key",
            with("").replace(KEY, "ssh-ed25519 AAAAC3 me"),
            5,
            "is not whole (`AAAAC3`)",
        ),
        (
            "half a key",
            with("").replace(KEY, &no_key),
            5,
            "is not whole",
        ),
        (
            "a private key",
            with("").replace(KEY, "'-----BEGIN OPENSSH PRIVATE KEY-----'"),
            5,
            "private key",
        ),
        (
            "a DSA key",
            with("").replace(KEY, "ssh-dss AAAA me"),
            5,
            "DSA",
        ),
        (
            "a file below /usr",
            with("write_files:\n  - path: /usr/bin/x\n    content: x\n"),
            7,
            "read-only",
        ),
        (
            "a file without a path",
            with("write_files:\n  - content: x\n"),
            7,
            "without `path`",
        ),
        (
            "ifupdown, which is not there",
            with("write_files:\n  - path: /etc/network/interfaces.d/wlan0\n"),
            7,
            "network-config",
        ),
        (
            "wpa_supplicant, which nothing starts",
            with("write_files:\n  - {path: /etc/wpa_supplicant/wpa_supplicant.conf}\n"),
            7,
            "network-config",
        ),
        (
            "what apt would take for an order to remove",
            with("packages:\n  - htop\n  - nginx-\n"),
            8,
            "no package's name",
        ),
        (
            "an option for a package",
            with("packages:\n  - [--purge, 1]\n"),
            7,
            "no package's name",
        ),
        (
            "a locale that is not there",
            with("locale: en_US.UTF-8\n"),
            6,
            "recipe",
        ),
        (
            "a time zone that is none",
            with("timezone: Berlin\n"),
            6,
            "no time zone",
        ),
        (
            "a shell that is not there",
            with("").replace("    ssh", "    shell: /bin/zsh\n    ssh"),
            4,
            "/bin/zsh",
        ),
        (
            "a command that is none",
            with("runcmd:\n  - true\n"),
            7,
            "runs none",
        ),
        (
            "base64 that is none",
            with("write_files:\n  - path: /etc/x\n    encoding: b64\n    content: '!'\n"),
            9,
            "no base64",
        ),
        (
            "a mode that is none",
            with("write_files:\n  - path: /etc/x\n    permissions: rw\n"),
            8,
            "octal",
        ),
        (
            "a user's name that is none",
            with("").replace("pirate", "Jack Sparrow"),
            3,
            "cannot be the name",
        ),
        (
            "a hash that is a password",
            with("").replace("    ssh", "    passwd: secret\n    ssh"),
            4,
            "mkpasswd",
        ),
        (
            "a list where keys must be",
            "#cloud-config\n- a\n".to_owned(),
            2,
            "a list of keys",
        ),
        (
            "no cloud-config at all",
            "Hello!\n".to_owned(),
            1,
            "first line",
        ),
        ("two documents", with("---\na: b\n"), 6, "second document"),
    ] {
        let e = read(&text).map(|c| c.words).expect_err(danger);
        let word = e
            .words
            .iter()
            .find(|w| w.kind == Kind::Refused && w.text.contains(says));
        let word = word.unwrap_or_else(|| panic!("{danger}: {:#?}", e.words));
        assert_eq!(word.line, at, "{danger}: {word}");
        assert!(e.to_string().contains(says), "{danger}: {e}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for (danger, bytes, says) in [
        ("Windows' Unicode", b"\xff\xfe#\0c\0".to_vec(), "UTF-16"),
        (
            "an old code page",
            b"#cloud-config\n# \xe4\n".to_vec(),
            "line 2, column 3",
        ),
        ("zero bytes", b"#cloud-config\n\0".to_vec(), "zero bytes"),
        ("a film", vec![b'a'; MAX_BYTES + 1], "at most"),
    ] {
        let e = user_data("user-data", &bytes, None, Locked::Refused).expect_err(danger);
        assert!(e.to_string().contains(says), "{danger}: {e}");
    }
}

#[test]
fn what_can_be_mended_is_mended_and_said() {
    let good = with("hostname: black-pearl\n");
    let headless = good.replace("#cloud-config\n", "");
    for (danger, text, says) in [
        (
            "a byte order mark",
            format!("\u{feff}{good}"),
            "byte order mark",
        ),
        ("Windows' line ends", good.replace('\n', "\r\n"), "CR LF"),
        ("no first line", headless.clone(), "first line"),
        (
            "a misspelt first line",
            format!("# cloud-config\n{headless}"),
            "first line",
        ),
        (
            "an underscore in it",
            format!("#cloud_config\n{headless}"),
            "first line",
        ),
    ] {
        let checked = read(&text).unwrap_or_else(|e| panic!("{danger}: {e}"));
        assert_eq!(checked.text, good, "{danger}");
        let said = checked
            .words
            .iter()
            .any(|w| w.kind == Kind::Repaired && w.text.contains(says));
        assert!(said, "{danger}: {:?}", checked.words);
    }
    // cloud-init itself passes over blank lines before it.
    let blank = format!("\n\n{good}");
    let checked = read(&blank).unwrap();
    assert_eq!((checked.text, checked.words), (blank, Vec::new()));
}

#[test]
fn what_will_be_ignored_is_said_and_passes() {
    for (danger, text, line, says) in [
        (
            "a key cloud-init does not know",
            with("hostnam: x\n"),
            6,
            "did you mean `hostname`",
        ),
        (
            "a key in the wrong place",
            with("").replace("    ssh", "    ssh_pwauth: true\n    ssh"),
            4,
            "no key `ssh_pwauth` in `users`",
        ),
        (
            "an old key",
            with("apt_update: true\n"),
            6,
            "Use `package_update`.",
        ),
        (
            "a key twice",
            with("hostname: a\nhostname: b\n"),
            7,
            "line 6 too",
        ),
        (
            "a number where text must be",
            with("").replace("    ssh", "    gecos: 12\n    ssh"),
            4,
            "must be text",
        ),
        (
            "apt in a command",
            with("runcmd:\n  - apt-get install -y htop\n"),
            7,
            "hypriot-agent packages add",
        ),
        (
            "memory",
            with("write_files:\n  - path: /run/x\n"),
            7,
            "after every restart",
        ),
        (
            "no list",
            with("").replace("    ssh", "    groups: [a]\n    ssh"),
            4,
            "`groups` must be text",
        ),
    ] {
        let words = read(&text)
            .unwrap_or_else(|e| panic!("{danger}: {e}"))
            .words;
        let found = words
            .iter()
            .find(|w| w.kind == Kind::Warning && w.text.contains(says));
        let found = found.unwrap_or_else(|| panic!("{danger}: {words:#?}"));
        assert_eq!(found.line, line, "{danger}: {found}");
    }
}

#[test]
fn whoever_gets_in_is_seen() {
    for (way, text) in [
        ("a key", with("")),
        ("a password", "#cloud-config\nusers:\n  - name: p\n    plain_text_passwd: x\n    lock_passwd: no\n".to_owned()),
        ("keys of the default user", format!("#cloud-config\nssh_authorized_keys: ['{KEY}']\n")),
        ("a key with options", with("").replace(KEY, &format!("'no-pty,command=\"a b\" {KEY}'"))),
        ("chpasswd", "#cloud-config\nusers:\n  - {name: p, lock_passwd: false}\nchpasswd:\n  list: |\n    p:made-up\n".to_owned()),
        ("a script", "#cloud-config\nruncmd:\n  - useradd -m x\n".to_owned()),
    ] {
        read(&text).unwrap_or_else(|e| panic!("{way}: {e}"));
    }
    let closed = b"#cloud-config\nhostname: x\n";
    let words = user_data("x", closed, None, Locked::Meant).unwrap().words;
    assert!(words[0].text.contains("nobody can log in") && words[0].kind == Kind::Warning);
}

#[test]
fn a_change_touches_nothing_else() {
    let shipped = include_str!("../../../p1/user-data");
    let named = edit::set_host_name(shipped, "kiosk").unwrap();
    assert_eq!(
        named,
        shipped.replace("hostname: black-pearl", "hostname: kiosk")
    );
    let keyed = edit::add_key(&named, KEY).unwrap();
    read(&keyed).unwrap();
    let more: Vec<&str> = keyed.lines().filter(|l| !named.contains(l)).collect();
    assert_eq!(more.len(), 1, "{more:?}");
    let two = edit::add_key(&keyed, &KEY.replace("me@here", "you")).unwrap();
    assert_eq!(two.matches("ssh-ed25519 AAAAC3NzaC1").count(), 2);
    read(&two).unwrap();
    for text in [
        with(""),
        format!("#cloud-config\nusers: [{{name: p, ssh_authorized_keys: ['{KEY}']}}]\n"),
        "#cloud-config\nusers:\n- name: p\n".to_owned(),
        "#cloud-config\nusers: [{name: p}]\n".to_owned(),
        "#cloud-config\nhostname: x".to_owned(),
    ] {
        let done = edit::add_key(&text, KEY).unwrap();
        read(&done).unwrap_or_else(|e| panic!("{done}: {e}"));
        assert_eq!(
            host_name_of(&edit::set_host_name(&done, "new-name").unwrap()).as_deref(),
            Some("new-name")
        );
    }
    assert!(
        edit::add_key("#!/bin/sh\n", KEY).is_err() && edit::set_host_name(shipped, "a_b").is_err()
    );
}

#[test]
fn words_mean_what_pyyaml_takes_them_for() {
    for (text, want) in [
        ("yes", "Bool(true)"),
        ("Off", "Bool(false)"),
        ("~", "Null"),
        ("0644", "Int(420)"),
        ("22:30", "Int(1350)"),
        ("0x1F", "Int(31)"),
        ("1_000", "Int(1000)"),
        ("1.5", "Float"),
        ("1.2.3", "Text(\"1.2.3\")"),
        ("'yes'", "Text(\"yes\")"),
        ("0o644", "Text(\"0o644\")"),
        ("10:99", "Text(\"10:99\")"),
        ("y", "Text(\"y\")"),
        ("-5", "Int(-5)"),
        ("2024-01-01", "Text(\"2024-01-01\")"),
    ] {
        let root = yaml::parse(text).unwrap().root;
        assert_eq!(format!("{:?}", root.value), want, "{text}");
    }
}

#[test]
fn packages_are_taken_by_an_image_that_takes_them_and_refused_for_an_older_one() {
    let text = with("packages:\n  - htop\n  - [nginx, 1.26.3-3]\n  - g++=4:14.2.0-1\n");
    assert!(read(&text).is_ok());
    let mut older = image();
    older
        .0
        .remove("usr/lib/systemd/system/hypriot-packages.service");
    let refused = user_data("user-data", text.as_bytes(), Some(&older), Locked::Refused);
    let said = format!("{:?}", refused.map(|_| ()).unwrap_err().words);
    assert!(said.contains("recipe"), "{said}");
}
