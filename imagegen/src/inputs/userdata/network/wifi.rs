//! Wi-Fi in `network-config`: what netplan and wpa_supplicant must be told so that a board joins.

use super::super::schema::kind;
use super::super::yaml::{At, Key, Node, Value};
use super::super::{Found, Image, Kind};
use super::only;

/// What the image needs for it, with the package that brings it.
const NEEDS: [(&str, &str); 2] = [
    ("usr/sbin/wpa_supplicant", "wpasupplicant"),
    ("usr/sbin/netplan", "netplan.io"),
];
/// Where a recipe says the country for the whole image.
const COUNTRY: &str = "etc/modprobe.d/hypriot-wifi-country.conf";
/// netplan's words of an access point (netplan-yaml(5), "Properties for device type wifis:").
const POINT: [&str; 8] = [
    "auth",
    "band",
    "bssid",
    "channel",
    "hidden",
    "mode",
    "networkmanager",
    "password",
];
/// netplan's words for how one proves to an access point who one is (netplan-yaml(5), "Authentication").
const MANAGEMENT: [&str; 8] = [
    "none",
    "psk",
    "psk-sha256",
    "eap",
    "eap-sha256",
    "eap-suite-b-192",
    "sae",
    "802.1x",
];

/// A country as Wi-Fi knows it: two capital letters (ISO 3166).
pub fn country(text: &str) -> Result<String, String> {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is no country of two capital letters (ISO 3166), as in DE"
        ))
    }
}

/// All of `wifis:`.
pub(super) fn check(group: &Key, interfaces: &Node, image: Option<&dyn Image>, found: &mut Found) {
    for (key, node) in interfaces.map() {
        interface(&key.text, key.at, node, image, found);
    }
    let lacks = |(path, _): &&(&str, &str)| image.is_some_and(|image| !image.has(path));
    for (_, package) in NEEDS.iter().filter(lacks) {
        let what = format!("this image cannot do Wi-Fi: the package {package} is not in it");
        found.at(Kind::Refused, group.at, what);
    }
}

fn interface(name: &str, at: At, node: &Node, image: Option<&dyn Image>, found: &mut Found) {
    if let Some((key, _)) = node.entry("match") {
        found.at(
            Kind::Refused,
            key.at,
            "a radio is found by its name alone (wlan0), not by `match`: systemd-networkd can do no other",
        );
    }
    let Some((_, points)) = node.entry("access-points") else {
        let what = format!("`{name}` names no `access-points`: it will connect to nothing");
        found.at(Kind::Refused, at, what);
        return;
    };
    rules(at, node, image, found);
    for (ssid, point) in points.map() {
        // IEEE 802.11, 9.4.2.2: 0 to 32 bytes.
        if ssid.text.is_empty() || ssid.text.len() > 32 {
            let what = "the name of a network has 1 to 32 bytes";
            found.at(Kind::Refused, ssid.at, what);
        }
        // netplan 1.1 writes it as ssid=P"…", in which wpa_supplicant takes a backslash for the beginning of an escape.
        if ssid.text.contains('\\') {
            let what =
                "netplan loses the backslash in the name of a network: it would never be found";
            found.at(Kind::Refused, ssid.at, what);
        }
        only(point, &POINT, "a Wi-Fi network", found);
        if let Some(mode) = point.get("mode").filter(|m| m.text() == Some("ap")) {
            found.at(
                Kind::Refused,
                mode.at,
                "a board that is an access point itself cannot be said here (netplan can with NetworkManager alone); use hostapd",
            );
        }
        secret(&ssid.text, point, found);
    }
}

/// Whose rules of the air hold.
fn rules(at: At, node: &Node, image: Option<&dyn Image>, found: &mut Found) {
    let Some(domain) = node.get("regulatory-domain") else {
        if !image.is_some_and(|image| image.has(COUNTRY)) {
            found.at(
                Kind::Warning,
                at,
                "no `regulatory-domain` (your country, as in `regulatory-domain: DE`): channels that are allowed there may not be used",
            );
        }
        return;
    };
    match domain.text().map(country) {
        Some(Ok(_)) => {}
        Some(Err(what)) => found.at(Kind::Refused, domain.at, what),
        // Norway's code is YAML's word for false.
        None => {
            let what = format!(
                "the country must be text, and this is {}; put it in quotes (\"NO\")",
                kind(domain)
            );
            found.at(Kind::Refused, domain.at, what);
        }
    }
}

/// The password, where one is asked for.
fn secret(ssid: &str, point: &Node, found: &mut Found) {
    let auth = point.get("auth");
    let password = point
        .get("password")
        .or_else(|| auth.and_then(|a| a.get("password")));
    let management = auth.and_then(|a| a.get("key-management"));
    let way = management
        .and_then(Node::text)
        .unwrap_or(if password.is_some() { "psk" } else { "none" });
    if let Some(node) = management.filter(|_| !MANAGEMENT.contains(&way)) {
        let what = format!("`{way}` is none of {}", MANAGEMENT.join(", "));
        found.at(Kind::Refused, node.at, what);
    }
    let shared = matches!(way, "psk" | "psk-sha256" | "sae");
    match password {
        None if shared => {
            let at = management.map_or(point.at, |m| m.at);
            found.at(
                Kind::Refused,
                at,
                format!("`{ssid}` has no password, and {way} asks for one"),
            );
        }
        Some(node) if shared => {
            if let Value::Text(text) = &node.value {
                passphrase(text, node.at, found);
            } else {
                let what = format!(
                    "a password must be text, and this is {}; put it in quotes",
                    kind(node)
                );
                found.at(Kind::Refused, node.at, what);
            }
        }
        _ => {}
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
