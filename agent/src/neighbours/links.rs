//! The networks that this board is on: who is on one of them is a neighbour, nobody else.

use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// More networks than this are no board's.
const MOST: usize = 16;

/// One address of this board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// The device.
    pub(super) name: String,
    /// Its number.
    pub(super) index: u32,
    /// Our address.
    pub(super) own: IpAddr,
    /// How many of its bits are those of the network.
    bits: u32,
}

impl Link {
    /// Whether `ip` is on this network.
    pub(super) fn holds(&self, ip: IpAddr) -> bool {
        match (self.own, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let rest = 32_u32.saturating_sub(self.bits);
                (own.to_bits() ^ ip.to_bits())
                    .checked_shr(rest)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let rest = 128_u32.saturating_sub(self.bits);
                (own.to_bits() ^ ip.to_bits())
                    .checked_shr(rest)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// Private and link-local addresses (RFC 1918, RFC 3927; RFC 4193, RFC 4291 2.5.6): what is not routed in the Internet.
pub(super) fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The networks of this board that are local, reach several and are up. An error is none: then there are no neighbours.
pub(super) fn all() -> Vec<Link> {
    let wanted = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_MULTICAST;
    let not = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    let Ok(entries) = getifaddrs() else {
        return Vec::new();
    };
    let fits = entries.filter(|e| e.flags.contains(wanted) && !e.flags.intersects(not));
    let links = fits.filter_map(|entry| {
        let own = entry.address.as_ref().and_then(ip_of)?;
        let bits = match entry.netmask.as_ref().and_then(ip_of)? {
            IpAddr::V4(mask) => mask.to_bits().count_ones(),
            IpAddr::V6(mask) => mask.to_bits().count_ones(),
        };
        let index = if_nametoindex(entry.interface_name.as_str()).ok()?;
        is_local(own).then_some(Link {
            name: entry.interface_name,
            index,
            own,
            bits,
        })
    });
    links.take(MOST).collect()
}

/// Whether whoever has this address is a neighbour, or this board itself.
pub(super) fn is_neighbour(links: &[Link], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || (is_local(ip) && links.iter().any(|link| link.holds(ip)))
}

fn ip_of(storage: &SockaddrStorage) -> Option<IpAddr> {
    let four = storage.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
    four.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::from(a.ip())))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn link(own: &str, bits: u32) -> Link {
        Link {
            name: "eth0".into(),
            index: 2,
            own: own.parse().expect("an address"),
            bits,
        }
    }

    #[test]
    fn only_who_is_on_a_network_of_ours_and_not_in_the_internet_is_a_neighbour() {
        let links = [
            link("192.168.1.7", 24),
            link("169.254.3.4", 16),
            link("fe80::7", 64),
            link("fd00:1::7", 64),
            // such a network would make everybody a neighbour
            link("10.0.0.1", 0),
            // not local: `all` gives none
            link("203.0.113.5", 24),
        ];
        for (ip, expected) in [
            ("192.168.1.200", true),
            ("::ffff:192.168.1.200", true),
            ("192.168.2.1", true),
            ("169.254.200.1", true),
            ("fe80::1", true),
            ("fd00:1::1", true),
            ("fd00:2::1", false),
            ("203.0.113.9", false),
            ("8.8.8.8", false),
            ("2001:db8::1", false),
            ("127.0.0.1", true),
            ("::1", true),
        ] {
            let ip = ip.parse().expect("an address");
            assert_eq!(is_neighbour(&links, ip), expected, "{ip}");
        }
        let one = [link("192.168.1.7", 24)];
        assert!(!is_neighbour(
            &one,
            "192.168.2.1".parse().expect("an address")
        ));
        assert!(!is_neighbour(
            &[],
            "192.168.1.1".parse().expect("an address")
        ));
    }

    #[test]
    fn what_this_machine_has_is_local() {
        let links = all();
        assert!(
            links.iter().all(|l| is_local(l.own) && l.index > 0),
            "{links:?}"
        );
    }
}
