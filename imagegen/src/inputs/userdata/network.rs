//! What `network-config` must say so that the board has a network: cloud-init's formats, version 1 and 2.

use std::net::IpAddr;

use super::schema::{self, kind};
use super::yaml::{At, Node, Value};
use super::{Found, Image, Kind, by_schema};
use crate::inputs::near::closest;

#[cfg(test)]
mod tests;
mod wifi;

pub use wifi::country;

/// Names that the kernel gives to wired and wireless interfaces, which they keep on our boards (`net.ifnames=0`).
const NAMES: [&str; 3] = ["eth", "wlan", "usb"];
/// What version 2 may hold (netplan-yaml(5)). netplan refuses a file for one word that it does not know, and then no interface of it
/// is set.
const TOP: [&str; 14] = [
    "version",
    "renderer",
    "ethernets",
    "wifis",
    "bridges",
    "bonds",
    "vlans",
    "tunnels",
    "modems",
    "vrfs",
    "dummy-devices",
    "virtual-ethernets",
    "nm-devices",
    "openvswitch",
];
/// Its words for an interface of its own (netplan-yaml(5), "Properties for all device types", "… physical device types", "… ethernets",
/// "… wifis").
const INTERFACE: [&str; 49] = [
    "accept-ra",
    "access-points",
    "activation-mode",
    "addresses",
    "auth",
    "critical",
    "delay-virtual-functions-rebind",
    "dhcp-identifier",
    "dhcp4",
    "dhcp4-overrides",
    "dhcp6",
    "dhcp6-overrides",
    "embedded-switch-mode",
    "emit-lldp",
    "gateway4",
    "gateway6",
    "generic-receive-offload",
    "generic-segmentation-offload",
    "ignore-carrier",
    "infiniband-mode",
    "ipv6-address-generation",
    "ipv6-address-token",
    "ipv6-mtu",
    "ipv6-privacy",
    "large-receive-offload",
    "link",
    "link-local",
    "macaddress",
    "match",
    "mtu",
    "nameservers",
    "neigh-suppress",
    "networkmanager",
    "openvswitch",
    "optional",
    "optional-addresses",
    "ra-overrides",
    "receive-checksum-offload",
    "regulatory-domain",
    "renderer",
    "routes",
    "routing-policy",
    "set-name",
    "tcp-segmentation-offload",
    "tcp6-segmentation-offload",
    "transmit-checksum-offload",
    "virtual-function-count",
    "wakeonlan",
    "wakeonwlan",
];

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
            let mut said = Found::default();
            by_schema("schema-network-config-v2.json", root, image, &mut said);
            // It leaves out most of netplan's words (`wifis`), and cloud-init passes them on as they stand; `only` knows them.
            said.words.retain(|w| !w.text.starts_with(schema::UNKNOWN));
            found.words.append(&mut said.words);
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
    only(top, &TOP, "network-config", found);
    renderer(top, image, found);
    for group in ["ethernets", "wifis"] {
        for (key, node) in top.get(group).map_or(&[][..], Node::map) {
            if node.get("match").is_none() {
                known(&key.text, key.at, found);
            }
            only(node, &INTERFACE, "an interface", found);
            renderer(node, image, found);
            interface(node, found);
        }
    }
    if let Some((key, node)) = top.entry("wifis") {
        wifi::check(key, node, image, found);
    }
}

/// Refuses words that netplan does not know: it would take nothing of the file.
fn only(node: &Node, words: &[&str], of: &str, found: &mut Found) {
    for (key, _) in node.map() {
        if !words.contains(&key.text.as_str()) {
            let near = closest(&key.text, words.iter().copied());
            let near = near.map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
            let what = format!(
                "`{}` is no word of {of}{near}: netplan would take nothing of this file",
                key.text
            );
            found.at(Kind::Refused, key.at, what);
        }
    }
}

/// Who shall carry it out.
fn renderer(node: &Node, image: Option<&dyn Image>, found: &mut Found) {
    let named = node
        .get("renderer")
        .filter(|r| r.text() != Some("networkd"));
    let Some(named) = named else { return };
    match named.text() {
        Some("NetworkManager") if image.is_none_or(|i| i.has("usr/sbin/NetworkManager")) => {}
        Some("NetworkManager") => found.at(
            Kind::Refused,
            named.at,
            "this image has no NetworkManager; leave `renderer` away",
        ),
        _ => found.at(
            Kind::Refused,
            named.at,
            "`renderer` is networkd, or nothing",
        ),
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
