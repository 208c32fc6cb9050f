//! What a cloud-config can and cannot do on a board of ours, and who can log in after it.

use super::keys::base64;
use super::logins::ways_in;
use super::schema::kind;
use super::yaml::{At, Node, Value};
use super::{Found, Image, Kind, Locked};

/// Keys by which a cloud-config is known although its first line is missing.
pub(super) const KNOWN: [&str; 16] = [
    "hostname",
    "fqdn",
    "users",
    "user",
    "write_files",
    "runcmd",
    "bootcmd",
    "packages",
    "package_update",
    "ssh_authorized_keys",
    "ssh_pwauth",
    "password",
    "chpasswd",
    "manage_etc_hosts",
    "locale",
    "timezone",
];

/// Places that a `write_files` cannot reach or that hold nothing, each with why. The longest that fits counts.
const PLACES: [(&str, Kind, &str); 20] = [
    ("/bin", Kind::Refused, READ_ONLY),
    (
        "/boot",
        Kind::Warning,
        "that is the card's first partition: FAT knows no owners and modes",
    ),
    ("/dev", Kind::Refused, "devices appear there at every start"),
    (
        "/etc/fstab",
        Kind::Warning,
        "mounting is the initramfs' work; what is added here is mounted besides",
    ),
    (
        "/etc/netplan",
        Kind::Warning,
        "cloud-init writes its own file there; put it into network-config",
    ),
    (
        "/etc/network",
        Kind::Refused,
        "nothing on the image reads it (ifupdown is not in it); put the network into network-config",
    ),
    (
        "/etc/wpa_supplicant",
        Kind::Refused,
        "nothing starts wpa_supplicant with it; put the Wi-Fi into network-config",
    ),
    (
        "/etc/dhcpcd.conf",
        Kind::Refused,
        "dhcpcd is not on the image; put the address into network-config",
    ),
    ("/lib", Kind::Refused, READ_ONLY),
    ("/proc", Kind::Refused, "the kernel shows its state there"),
    (
        "/run",
        Kind::Warning,
        "it is empty again after every restart",
    ),
    ("/sbin", Kind::Refused, READ_ONLY),
    (
        "/sys",
        Kind::Warning,
        "the kernel shows its devices there; the setting is gone after a restart",
    ),
    (
        "/tmp",
        Kind::Warning,
        "it is empty again after every restart",
    ),
    ("/usr", Kind::Refused, READ_ONLY),
    (
        "/var",
        Kind::Warning,
        "it starts from the image again after every restart",
    ),
    ("/var/lib/cloud", Kind::Warning, "that is cloud-init's own"),
    ("/var/lib/docker", Kind::Warning, "that is Docker's own"),
    ("/var/log", Kind::Warning, "logs are rotated away"),
    ("/var/lib/hypriot", Kind::Warning, "that is the agent's own"),
];
const READ_ONLY: &str = "the root file system is read-only and is replaced whole by updates; put files below /etc, /home, /root, \
                         /usr/local, /opt or /srv, or into the image (`[[file]]` of a recipe)";

pub(super) fn check(root: &Node, image: Option<&dyn Image>, locked: Locked, found: &mut Found) {
    names(root, found);
    files(root, found);
    packages(root, image, found);
    places(root, image, found);
    let ways = ways_in(root, image, found);
    if ways.is_empty() {
        let kind = match locked {
            Locked::Refused if !scripted(root) => Kind::Refused,
            _ => Kind::Warning,
        };
        let at = root.entry("users").map_or(root.at, |(k, _)| k.at);
        found.at(
            kind,
            At { line: at.line.max(1), column: at.column.max(1), ..at },
            "nobody can log in: no user has a key in `ssh_authorized_keys`, or a password together with `lock_passwd: false`",
        );
    }
}

/// Whether something runs that may let somebody in.
fn scripted(root: &Node) -> bool {
    ["runcmd", "bootcmd"]
        .iter()
        .any(|k| root.get(k).is_some_and(|n| !n.list().is_empty()))
        || root.get("write_files").is_some_and(|files| {
            let path = |f: &Node| {
                f.get("path")
                    .and_then(Node::text)
                    .unwrap_or_default()
                    .to_owned()
            };
            files
                .list()
                .iter()
                .any(|f| path(f).contains("authorized_keys"))
        })
}

/// A host name that is the same everywhere: in the kernel, in DNS, in avahi (RFC 1123, 2.1; RFC 6762, 16).
pub fn host_name(text: &str) -> Result<(), String> {
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.len() <= 253 && text.split('.').all(fits) && !text.is_empty() {
        return Ok(());
    }
    let near: String = text
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let near = near.trim_matches(['-', '.']).to_owned();
    let hint = if near.split('.').all(fits) {
        format!("; write {near}")
    } else {
        String::new()
    };
    Err(format!(
        "`{text}` is no host name: letters, digits and hyphens, 1 to 63 of them{hint}"
    ))
}

fn names(root: &Node, found: &mut Found) {
    for key in ["hostname", "fqdn"] {
        let Some(node) = root.get(key) else { continue };
        match &node.value {
            Value::Text(text) => {
                if let Err(e) = host_name(text) {
                    found.at(Kind::Refused, node.at, format!("{key}: {e}"));
                } else if key == "hostname" && text.contains('.') {
                    found.at(Kind::Warning, node.at, "a host name with dots: put the whole name into `fqdn`, and its first part here");
                }
            }
            _ => found.at(
                Kind::Refused,
                node.at,
                format!("{key} must be text, and is {}", kind(node)),
            ),
        }
    }
}

fn files(root: &Node, found: &mut Found) {
    let Some(node) = root.get("write_files") else {
        return;
    };
    if !matches!(node.value, Value::List(_) | Value::Null) {
        found.at(
            Kind::Refused,
            node.at,
            format!(
                "write_files must be a list (`- path: …`), and is {}",
                kind(node)
            ),
        );
    }
    for file in node.list() {
        let Some(path) = file.get("path") else {
            found.at(
                Kind::Refused,
                file.at,
                "a file without `path`: cloud-init stops here and writes no later one",
            );
            continue;
        };
        let Some(text) = path.text().filter(|t| t.starts_with('/')) else {
            found.at(
                Kind::Refused,
                path.at,
                "the path of a file must be text and begin with /",
            );
            continue;
        };
        place(text, path.at, found);
        if let (Some(content), Some(encoding)) = (
            file.get("content"),
            file.get("encoding").and_then(Node::text),
        ) && ["b64", "base64"].contains(&encoding)
            && content
                .text()
                .is_none_or(|t| base64(&t.split_whitespace().collect::<String>()).is_none())
        {
            found.at(
                Kind::Refused,
                content.at,
                format!("this is no base64, which `encoding: {encoding}` says it is"),
            );
        }
        if let Some(mode) = file.get("permissions") {
            let octal = match &mode.value {
                Value::Text(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
                Value::Int(n) => u32::try_from(*n).ok(),
                _ => None,
            };
            if octal.is_none_or(|m| m > 0o7777) {
                found.at(
                    Kind::Refused,
                    mode.at,
                    "permissions must be octal in quotes, as in '0644'",
                );
            }
        }
    }
}

/// What is said of a path: where it is written, or why it cannot be.
fn place(text: &str, at: At, found: &mut Found) {
    let below =
        |dir: &str| text == dir || text.strip_prefix(dir).is_some_and(|r| r.starts_with('/'));
    // The one place below /usr that is the owner's.
    if below("/usr/local") {
        return;
    }
    let nearest = PLACES
        .iter()
        .filter(|(dir, ..)| below(dir))
        .max_by_key(|(dir, ..)| dir.len());
    if let Some((dir, kind, why)) = nearest {
        let what = match kind {
            Kind::Refused => format!("{text} cannot be written: {why}"),
            _ => format!("{text} lies in {dir}: {why}"),
        };
        found.at(*kind, at, what);
    }
}

/// What shows that an image takes an owner's packages: older ones do not.
const TAKES_PACKAGES: &str = "usr/lib/systemd/system/hypriot-packages.service";

/// What would change the root file system.
fn packages(root: &Node, image: Option<&dyn Image>, found: &mut Found) {
    let why = "the root file system is read-only and an update replaces it whole; put packages into a recipe (`packages = […]`) \
               and build the image with it";
    let taken = image.is_none_or(|image| image.has(TAKES_PACKAGES));
    for key in ["packages", "snap"] {
        if let Some((at, node)) = root.entry(key)
            && !node.list().is_empty() | matches!(node.value, Value::Map(_))
        {
            if key == "packages" && taken {
                names_of_packages(node, found);
                continue;
            }
            found.at(
                Kind::Refused,
                at.at,
                format!("`{key}` cannot install anything: {why}"),
            );
        }
    }
    for key in [
        "package_upgrade",
        "apt_upgrade",
        "package_reboot_if_required",
    ] {
        if let Some((at, node)) = root.entry(key)
            && node.is_true()
        {
            found.at(
                Kind::Warning,
                at.at,
                format!("`{key}` does nothing here: the agent's updates bring new packages"),
            );
        }
    }
    for key in ["runcmd", "bootcmd"] {
        let Some(node) = root.get(key) else { continue };
        for command in node.list() {
            let words: Vec<&str> = match &command.value {
                Value::Text(text) => text.split_whitespace().collect(),
                Value::List(list) => list.iter().filter_map(Node::text).collect(),
                Value::Null => Vec::new(),
                _ => {
                    let what = format!(
                        "a command must be text or a list of words, and this is {}: cloud-init runs none of them then",
                        kind(command)
                    );
                    found.at(Kind::Refused, command.at, what);
                    continue;
                }
            };
            let apt = words
                .iter()
                .any(|w| ["apt", "apt-get", "aptitude"].contains(w))
                && words.contains(&"install");
            if apt {
                found.at(
                    Kind::Warning,
                    command.at,
                    if taken {
                        "apt cannot install anything by itself: write the names into `packages`, or call `hypriot-agent packages add`"
                            .to_owned()
                    } else {
                        format!("apt cannot install anything: {why}")
                    },
                );
            }
        }
    }
}

/// Names as the agent takes them (`hypriot-agent packages add`): alone, with a version beside, or in a list for apt.
fn names_of_packages(node: &Node, found: &mut Found) {
    let (list, snap) = match &node.value {
        Value::Map(_) => (
            node.get("apt").map_or(&[][..], Node::list),
            node.entry("snap"),
        ),
        _ => (node.list(), None),
    };
    if let Some((key, _)) = snap {
        found.at(
            Kind::Refused,
            key.at,
            "`snap` is not on the image".to_owned(),
        );
    }
    for entry in list {
        let name = match &entry.value {
            // name and version
            Value::List(pair) => pair.first().unwrap_or(entry),
            _ => entry,
        };
        if let Some(text) = name.text().filter(|text| !is_package(text)) {
            let what = format!(
                "{text:?} is no package's name that can be added to a board: lower case letters, digits, + . and -, as in nginx or \
                 nginx=1.26.3-3"
            );
            found.at(Kind::Refused, name.at, what);
        }
    }
}

fn is_package(text: &str) -> bool {
    let name = text.split('=').next().unwrap_or_default();
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() > 1
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || "+.-:".contains(c))
        && !name.ends_with('-')
}

/// Time zone, locale, shells: what must be in the image.
fn places(root: &Node, image: Option<&dyn Image>, found: &mut Found) {
    if let Some(node) = root.get("locale")
        && let Some(text) = node.text()
    {
        let there = ["C", "POSIX", "C.UTF-8", "C.utf8"].contains(&text)
            || image.is_some_and(|i| has_locale(i, text));
        if !there {
            let what = format!(
                "locale {text} is not in the image, and cannot be made on the board (/usr is read-only): write C.UTF-8, or build an \
                 image with `locale = \"{text}\"` in its recipe"
            );
            found.at(Kind::Refused, node.at, what);
        }
    }
    if let (Some(node), Some(image)) = (root.get("timezone"), image)
        && let Some(zone) = node.text()
        && (zone.contains("..") || !image.has(&format!("usr/share/zoneinfo/{zone}")))
    {
        found.at(
            Kind::Refused,
            node.at,
            format!(
                "there is no time zone {zone} in the image (they are called as in Europe/Berlin)"
            ),
        );
    }
}

/// Whether glibc finds a locale: in a folder of its own, or in the archive, where its name stands as it is.
fn has_locale(image: &dyn Image, name: &str) -> bool {
    let plain = name.replace("UTF-8", "utf8");
    if image.has(&format!("usr/lib/locale/{plain}")) {
        return true;
    }
    let archive = image.read("usr/lib/locale/locale-archive");
    archive.is_some_and(|a| {
        a.windows(plain.len() + 1)
            .any(|w| w == [plain.as_bytes(), b"\0"].concat())
    })
}
