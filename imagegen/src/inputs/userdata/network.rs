//! What `network-config` must say so that the board has a network: cloud-init's formats, version 1 and 2.

use std::net::IpAddr;

use super::schema::kind;
use super::yaml::{At, Node, Value};
use super::{Found, Image, Kind, by_schema};

/// What the image needs for Wi-Fi.
const WIFI: &str = "usr/sbin/wpa_supplicant";
/// Names that wired and wireless interfaces have on our boards (`net.ifnames=0`, and what device trees name).
const NAMES: [&str; 5] = ["eth", "wlan", "end", "usb", "br"];

pub(super) fn check(root: &Node, image: Option<&dyn Image>, found: &mut Found) {
    if matches!(root.value, Value::Null) {
        return;
    }
    let top = root.get("network").unwrap_or(root);
    if !matches!(top.value, Value::Map(_)) {
        let what = format!("this must be keys (`version: 2` …), and is {}", kind(top));
        found.at(Kind::Refused, top.at, what);
        return;
    }
    if let Some((key, _)) = top
        .entry("config")
        .filter(|(_, v)| v.text() == Some("disabled"))
    {
        found.at(
            Kind::Warning,
            key.at,
            "the network is left alone: what the image does by itself (DHCP on wires) holds",
        );
        return;
    }
    match top.get("version").map(|v| &v.value) {
        Some(Value::Int(1)) => {
            by_schema("schema-network-config-v1.json", top, image, found);
            first(top, found);
        }
        Some(Value::Int(2)) => {
            // cloud-init's file for version 2 describes the whole, `network` included.
            by_schema("schema-network-config-v2.json", root, image, found);
            second(top, image, found);
        }
        _ => found.at(
            Kind::Refused,
            top.at,
            "it has no `version: 1` or `version: 2`: cloud-init takes no notice of it",
        ),
    }
}

/// Version 1: a list of interfaces.
fn first(top: &Node, found: &mut Found) {
    let Some(config) = top.get("config") else {
        found.at(Kind::Refused, top.at, "version 1 needs a list `config:`");
        return;
    };
    for entry in config.list() {
        match entry.get("type").and_then(Node::text) {
            Some("physical") => {
                if let Some(name) = entry.get("name") {
                    known(name.text().unwrap_or_default(), name.at, found);
                }
            }
            Some("wifi") => found.at(
                Kind::Refused,
                entry.at,
                "cloud-init's version 1 has no Wi-Fi; write it in version 2 (`wifis:`)",
            ),
            _ => {}
        }
        for subnet in entry.get("subnets").map_or(&[][..], Node::list) {
            if let Some(address) = subnet.get("address") {
                let mask = subnet.get("netmask").is_some();
                is_address(
                    address,
                    if mask { Prefix::May } else { Prefix::Must },
                    found,
                );
            }
            for key in ["gateway", "dns_nameservers"] {
                addresses(subnet.get(key), Prefix::None, found);
            }
        }
    }
}

/// Version 2: netplan's words.
fn second(top: &Node, image: Option<&dyn Image>, found: &mut Found) {
    for group in ["ethernets", "wifis"] {
        for (key, node) in top.get(group).map_or(&[][..], Node::map) {
            if node.get("match").is_none() {
                known(&key.text, key.at, found);
            }
            interface(node, found);
            if group == "wifis" {
                wifi(&key.text, key.at, node, found);
            }
        }
    }
    if let (Some((key, _)), Some(image)) = (top.entry("wifis"), image)
        && !image.has(WIFI)
    {
        found.at(
            Kind::Refused,
            key.at,
            "this image cannot do Wi-Fi: the package wpasupplicant is not in it",
        );
    }
}

fn known(name: &str, at: At, found: &mut Found) {
    if !NAMES.iter().any(|n| name.starts_with(n)) {
        let what = format!(
            "no board of ours names an interface `{name}`: wired ones are eth0 …, wireless ones wlan0 …"
        );
        found.at(Kind::Warning, at, what);
    }
}

fn interface(node: &Node, found: &mut Found) {
    addresses(node.get("addresses"), Prefix::Must, found);
    for key in ["gateway4", "gateway6"] {
        addresses(node.get(key), Prefix::None, found);
    }
    if let Some(names) = node.get("nameservers") {
        addresses(names.get("addresses"), Prefix::None, found);
    }
    if let Some(static_at) = node.entry("addresses").map(|(k, _)| k.at)
        && node.get("gateway4").is_none()
        && node.get("gateway6").is_none()
        && node.get("routes").is_none()
        && !node.get("dhcp4").is_some_and(Node::is_true)
    {
        found.at(Kind::Warning, static_at, "a fixed address without `gateway4` or `routes`: the board reaches its own network alone");
    }
}

fn wifi(name: &str, at: At, node: &Node, found: &mut Found) {
    let Some((_, points)) = node.entry("access-points") else {
        let what = format!("`{name}` names no `access-points`: it will connect to nothing");
        found.at(Kind::Refused, at, what);
        return;
    };
    if node.get("regulatory-domain").is_none() {
        found.at(
            Kind::Warning,
            at,
            "no `regulatory-domain` (your country, as in `regulatory-domain: DE`): channels that are allowed there may not be used",
        );
    }
    for (ssid, point) in points.map() {
        // IEEE 802.11, 9.4.2.2: 0 to 32 bytes.
        if ssid.text.is_empty() || ssid.text.len() > 32 {
            found.at(
                Kind::Refused,
                ssid.at,
                "the name of a network has 1 to 32 bytes",
            );
        }
        let auth = point.get("auth");
        let password = point
            .get("password")
            .or_else(|| auth.and_then(|a| a.get("password")));
        let eap = auth
            .and_then(|a| a.get("key-management"))
            .and_then(Node::text);
        if let Some(password) =
            password.filter(|_| !eap.is_some_and(|k| k.starts_with("eap") || k == "802.1x"))
        {
            if let Value::Text(text) = &password.value {
                passphrase(text, password.at, found);
            } else {
                let what = format!(
                    "a password must be text, and this is {}; put it in quotes",
                    kind(password)
                );
                found.at(Kind::Refused, password.at, what);
            }
        }
    }
}

/// IEEE 802.11, J.4: 8 to 63 printable characters, or the key itself as 64 hexadecimal digits.
fn passphrase(text: &str, at: At, found: &mut Found) {
    let is_key = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let fits = (8..=63).contains(&text.len()) && text.bytes().all(|b| (32..127).contains(&b));
    if !is_key && !fits {
        let what = format!(
            "a Wi-Fi password has 8 to 63 plain characters, this one has {}",
            text.chars().count()
        );
        found.at(Kind::Refused, at, what);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Must,
    May,
    None,
}

fn addresses(node: Option<&Node>, prefix: Prefix, found: &mut Found) {
    let Some(node) = node else { return };
    match &node.value {
        Value::List(list) => list.iter().for_each(|n| is_address(n, prefix, found)),
        _ => is_address(node, prefix, found),
    }
}

fn is_address(node: &Node, prefix: Prefix, found: &mut Found) {
    // netplan allows a map with the address as its only key.
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Map(map) if map.len() == 1 => map[0].0.text.clone(),
        _ => String::new(),
    };
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text.as_str(), None),
    };
    let parsed: Option<IpAddr> = address.parse().ok();
    let most = if parsed.is_some_and(|a| a.is_ipv6()) {
        128
    } else {
        32
    };
    let bits_fit = match bits {
        Some(bits) => prefix != Prefix::None && bits.parse::<u8>().is_ok_and(|b| b <= most),
        None => prefix != Prefix::Must,
    };
    if parsed.is_none() || !bits_fit {
        let form = match prefix {
            Prefix::Must => "192.168.0.31/24",
            _ => "192.168.0.1",
        };
        found.at(
            Kind::Refused,
            node.at,
            format!("`{text}` is no address of the form {form}"),
        );
    }
}
