//! Boards that announce themselves in the local network: `_hypriot._tcp` by multicast DNS, as their own avahi says it
//! (RFC 6762, RFC 6763).
//!
//! Anybody in that network can announce anything. What is found is a list of names, no more trusted than a list that somebody sent:
//! orders go over ssh, which knows the boards by their keys.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent};

use crate::answer::clean;
use crate::hosts::{self, Host, MOST};

/// What boards announce.
const SERVICE: &str = "_hypriot._tcp.local.";
/// RFC 6762, 6: answers to a question for all come within 120 ms, a second time after a second.
const PATIENCE: Duration = Duration::from_secs(4);

/// An announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// With a dot at its end.
    host: String,
    port: u16,
    addresses: Vec<IpAddr>,
}

/// Asks, and waits a few seconds for answers. Boards are in the order of their names.
pub fn boards() -> Result<Vec<Host>> {
    let daemon = ServiceDaemon::new().context("listening for multicast DNS (port 5353)")?;
    let answers = daemon.browse(SERVICE).context("asking by multicast DNS")?;
    let end = Instant::now() + PATIENCE;
    let mut found = Vec::new();
    while let Ok(event) = answers.recv_deadline(end) {
        if let ServiceEvent::ServiceResolved(service) = event
            && found.len() < MOST
        {
            found.push(of(&service));
        }
    }
    // its thread ends with us in any case
    drop(daemon.shutdown());
    let (hosts, odd) = read(&found, &|name| resolves(name));
    for name in odd {
        eprintln!(
            "hypriot-fleet: passed over an announcement that is no host name: {}",
            clean(&name)
        );
    }
    if hosts.is_empty() {
        return Err(anyhow!(
            "no board announces itself in this network ({SERVICE}); boards of another network segment are not heard: name \
             them with --hosts, or ask from a machine beside them"
        ));
    }
    Ok(hosts)
}

fn of(service: &ResolvedService) -> Found {
    Found {
        host: service.host.clone(),
        port: service.port,
        addresses: service
            .addresses
            .iter()
            .map(mdns_sd::ScopedIp::to_ip_addr)
            .collect(),
    }
}

/// A laptop without nss-mdns cannot look `.local` up: the board is then reached by its address.
fn resolves(name: &str) -> bool {
    use std::net::ToSocketAddrs as _;
    (name, 0)
        .to_socket_addrs()
        .is_ok_and(|mut a| a.next().is_some())
}

/// Hosts, and names that are none. A board that is announced twice is one board.
fn read(found: &[Found], resolves: &dyn Fn(&str) -> bool) -> (Vec<Host>, Vec<String>) {
    let (mut hosts, mut odd) = (BTreeMap::new(), Vec::new());
    for one in found {
        let name = one.host.trim_end_matches('.').to_ascii_lowercase();
        let parsed = hosts::parse(&name).ok().filter(|_| one.port != 0);
        let host = match parsed.as_deref() {
            // a name alone: neither a user nor a port nor anything else that a line may say
            Some([host]) if host.name == name && *host == Host::new(&*name, hosts::PORT) => {
                Host::new(&*name, one.port)
            }
            _ => {
                odd.push(one.host.clone());
                continue;
            }
        };
        let known: &mut Host = hosts.entry(name.clone()).or_insert(host);
        if known.address.is_none() && !resolves(&name) {
            let mut addresses = one.addresses.clone();
            // IPv4 first: a link-local address of IPv6 is none without its link
            addresses.sort();
            known.address = addresses.first().map(ToString::to_string);
        }
    }
    (hosts.into_values().collect(), odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(host: &str, port: u16) -> Found {
        let addresses = vec![
            "fe80::1".parse().expect("an address"),
            "10.0.0.7".parse().expect("an address"),
        ];
        Found {
            host: host.into(),
            port,
            addresses,
        }
    }

    #[test]
    fn what_is_announced_is_a_list_of_names_and_nothing_else() {
        let announced = [
            found("Black-Pearl.local.", 8080),
            found("black-pearl.local.", 8080),
            found("flying-dutchman.local.", 9090),
            found("-oProxyCommand=reboot.local.", 8080),
            found("root@n1.local.", 8080),
            found("n2 user=root.local.", 8080),
            found("n3.local.,n4.local.", 8080),
            found("\u{1b}]0;x\u{7}.local.", 8080),
            found("n5.local.", 0),
            found("", 8080),
        ];
        let (hosts, odd) = read(&announced, &|name| name.starts_with("black"));
        let lines: Vec<String> = hosts.iter().map(Host::line).collect();
        assert_eq!(
            lines,
            [
                "black-pearl.local",
                "flying-dutchman.local:9090 address=10.0.0.7"
            ]
        );
        assert_eq!(odd.len(), 7, "{odd:?}");
        for host in hosts {
            let again = hosts::parse(&host.line()).expect("a line");
            assert_eq!(again, [host], "the journal keeps it as a line");
        }
    }
}
