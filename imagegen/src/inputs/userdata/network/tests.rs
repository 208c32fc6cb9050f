//! Tests of [`super`]: the samples of an owner's network-config, judged as they are before they go to a card.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::edit::{self, Network};
use super::super::network_config;
use super::super::tests::Small;
use super::wifi::country;

const SAMPLES: &str = include_str!("samples.toml");

#[derive(Deserialize)]
struct Samples {
    sample: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    name: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    wifi: Vec<Radio>,
    country: Option<String>,
    refused: Option<String>,
}

#[derive(Deserialize)]
struct Radio {
    ssid: String,
    password: Option<String>,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    wpa3: bool,
}

fn image(files: &[&'static str]) -> Small {
    Small(
        files
            .iter()
            .map(|path| (*path, ""))
            .collect::<BTreeMap<_, _>>(),
    )
}

#[test]
fn a_network_that_cannot_come_up_is_refused_and_one_that_can_is_taken() {
    let all: Samples = toml::from_str(SAMPLES).unwrap();
    let with_wifi = image(&["usr/sbin/wpa_supplicant", "usr/sbin/netplan"]);
    for sample in all.sample {
        let name = &sample.name;
        let networks = sample.wifi.into_iter().map(|r| Network {
            ssid: r.ssid,
            password: r.password,
            hidden: r.hidden,
            wpa3: r.wpa3,
        });
        let networks: Vec<_> = networks.collect();
        let text = match networks.as_slice() {
            [] => sample.text,
            some => edit::wifi(some, sample.country.as_deref()),
        };
        let answer = network_config("network-config", text.as_bytes(), Some(&with_wifi));
        match (answer, sample.refused) {
            (Ok(_), None) => {}
            (Err(e), Some(says)) => assert!(e.to_string().contains(&says), "{name}: {e}"),
            (Ok(_), Some(_)) => panic!("{name}: it was taken"),
            (Err(e), None) => panic!("{name}: {e}"),
        }
    }
}

#[test]
fn an_image_without_wifi_says_what_it_lacks() {
    let home = Network {
        ssid: "home".to_owned(),
        ..Network::default()
    };
    let text = edit::wifi(&[home], None);
    for (files, lacks) in [
        (image(&["usr/sbin/netplan"]), "wpasupplicant"),
        (image(&["usr/sbin/wpa_supplicant"]), "netplan.io"),
    ] {
        let e = network_config("n", text.as_bytes(), Some(&files)).unwrap_err();
        assert!(e.to_string().contains(lacks), "{e}");
    }
}

#[test]
fn a_country_is_missed_only_where_the_image_says_none() {
    let text = edit::wifi(
        &[Network {
            ssid: "home".to_owned(),
            ..Network::default()
        }],
        None,
    );
    let mut files = vec!["usr/sbin/wpa_supplicant", "usr/sbin/netplan"];
    let missed = |files: &[&'static str]| {
        let words = network_config("n", text.as_bytes(), Some(&image(files)))
            .unwrap()
            .words;
        words.iter().any(|w| w.text.contains("regulatory-domain"))
    };
    assert!(missed(&files));
    files.push("etc/modprobe.d/hypriot-wifi-country.conf");
    assert!(!missed(&files));
}

#[test]
fn what_netplan_knows_and_cloud_inits_schema_does_not_is_no_warning() {
    let mut with_wifi = image(&["usr/sbin/wpa_supplicant", "usr/sbin/netplan"]);
    with_wifi.0.insert(
        "usr/lib/python3/dist-packages/cloudinit/config/schemas/schema-network-config-v2.json",
        r#"{"type": "object", "properties": {"version": {"type": "string"}}, "additionalProperties": false}"#,
    );
    let home = Network {
        ssid: "home".to_owned(),
        ..Network::default()
    };
    let text = edit::wifi(&[home], Some("DE"));
    let words = network_config("n", text.as_bytes(), Some(&with_wifi))
        .unwrap()
        .words;
    let said: Vec<_> = words.iter().map(|w| w.text.as_str()).collect();
    assert!(said.len() == 1 && said[0].contains("version"), "{said:?}");
}

#[test]
fn the_samples_on_the_card_are_right_once_their_marks_are_gone() {
    let shipped = include_str!("../../../../p1/network-config");
    let meant: Vec<&str> = shipped
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "))
        .collect();
    let meant = meant.join("\n") + "\n";
    let with_wifi = image(&["usr/sbin/wpa_supplicant", "usr/sbin/netplan"]);
    let checked = network_config("n", meant.as_bytes(), Some(&with_wifi)).unwrap();
    assert!(checked.words.is_empty(), "{:?}", checked.words);
    assert!(
        meant.contains("wifis:") && meant.contains("ethernets:"),
        "{meant}"
    );
}

#[test]
fn a_country_is_two_capital_letters() {
    for (text, fits) in [
        ("DE", true),
        ("NO", true),
        ("de", false),
        ("Germany", false),
        ("", false),
        ("ÄÖ", false),
    ] {
        assert_eq!(country(text).is_ok(), fits, "{text}");
    }
}
