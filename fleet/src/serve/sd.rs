//! Prometheus HTTP discovery (<https://prometheus.io/docs/prometheus/latest/http_sd/>): the boards that said where they are.

use serde::Serialize;

use super::desk::Shown;

/// A group of targets with the same labels.
#[derive(Debug, Serialize)]
pub(super) struct Targets<'a> {
    targets: [&'a str; 1],
    labels: Labels<'a>,
}

#[derive(Debug, Serialize)]
struct Labels<'a> {
    #[serde(rename = "__meta_hypriot_group")]
    group: &'a str,
    #[serde(rename = "__meta_hypriot_id")]
    id: &'a str,
    #[serde(rename = "__meta_hypriot_name")]
    name: &'a str,
    #[serde(rename = "__meta_hypriot_model")]
    model: &'a str,
    #[serde(rename = "__meta_hypriot_spread")]
    spread: &'a str,
}

pub(super) fn targets(shown: &Shown) -> Vec<Targets<'_>> {
    let mut all = Vec::new();
    for (group, books) in &shown.books.groups {
        for (id, board) in &books.boards {
            let report = &board.report;
            if is_address(&report.address) {
                all.push(Targets {
                    targets: [&report.address],
                    labels: Labels {
                        group,
                        id,
                        name: report.called(id),
                        model: &report.model,
                        spread: &report.spread,
                    },
                });
            }
        }
    }
    all
}

/// `host:port`, and nothing that would send Prometheus elsewhere on the way.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let name = |h: &str| {
        h.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
    };
    let inside = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = inside.map_or_else(
        || !host.is_empty() && name(host),
        |ip| ip.parse::<std::net::Ipv6Addr>().is_ok(),
    );
    host && port.parse::<u16>().is_ok_and(|p| p > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_cannot_send_prometheus_to_a_path_or_a_user() {
        for (text, expected) in [
            ("n1.local:8080", true),
            ("10.0.0.1:8080", true),
            ("[::1]:8080", true),
            ("", false),
            ("n1.local", false),
            ("n1:0", false),
            ("n1:99999", false),
            ("user@n1:80", false),
            ("n1/metrics?x=:80", false),
            ("[n1]:80", false),
            ("::1:80", false),
        ] {
            assert_eq!(is_address(text), expected, "{text}");
        }
    }
}
