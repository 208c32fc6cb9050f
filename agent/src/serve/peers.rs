//! How many connections each peer may have, so that nobody can take them all.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

/// How many connections may be open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of all but the board itself.
    pub(crate) strangers: usize,
    /// Of one of them: nobody can take them all.
    pub(crate) one: usize,
    /// Of the board itself, in places of their own.
    pub(crate) ourselves: usize,
}

/// How many connections each peer has.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    counts: Rc<RefCell<Counts>>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Counts {
    of: HashMap<Peer, usize>,
    /// Of all but ourselves.
    strangers: usize,
}

/// Who counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    Ourselves,
    V4(Ipv4Addr),
    /// The first 64 bits: one host may use any address below them (RFC 4291, 2.5.1; RFC 8981).
    V6(u64),
}

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            ip if ip.is_loopback() => Self::Ourselves,
            IpAddr::V4(ip) => Self::V4(ip),
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.segments().map(u64::from);
                Self::V6(a << 48 | b << 32 | c << 16 | d)
            }
        }
    }
}

/// One connection of one peer, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    peers: Peers,
    peer: Peer,
}

impl Peers {
    /// Nobody is here yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            counts: Rc::default(),
            limits,
        }
    }

    /// A place for a connection from `address`, if there is one.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let peer = Peer::of(address);
        let mut counts = self.counts.borrow_mut();
        let most = if peer == Peer::Ourselves {
            self.limits.ourselves
        } else if counts.strangers < self.limits.strangers {
            self.limits.one
        } else {
            return None;
        };
        let count = counts.of.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        counts.strangers += usize::from(peer != Peer::Ourselves);
        Some(Place {
            peers: self.clone(),
            peer,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.peers.counts.borrow_mut();
        counts.strangers -= usize::from(self.peer != Peer::Ourselves);
        if let Some(count) = counts.of.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.of.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        strangers: 64,
        one: 32,
        ourselves: 32,
    };

    #[test]
    fn one_peer_cannot_take_all_connections() {
        let peers = Peers::new(LIMITS);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let places: Vec<_> = (0..LIMITS.one)
            .map(|_| peers.enter(one).expect("room"))
            .collect();
        assert!(peers.enter(one).is_none());
        assert!(peers.enter(other).is_some());
        drop(places);
        assert!(peers.enter(one).is_some());
        let counts = peers.counts.borrow();
        assert!(
            counts.of.is_empty() && counts.strangers == 0,
            "nobody is remembered"
        );
    }

    #[test]
    fn all_the_network_together_cannot_keep_the_board_from_asking_itself() {
        let peers = Peers::new(LIMITS);
        let neighbours = (0..=u8::MAX).map(|n| IpAddr::from([10, 0, 0, n]));
        let taken: Vec<_> = neighbours.filter_map(|ip| peers.enter(ip)).collect();
        assert_eq!(taken.len(), LIMITS.strangers);
        let ourselves = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"];
        let ours: Vec<_> = ourselves
            .iter()
            .map(|ip| peers.enter(ip.parse().expect("an address")).expect("room"))
            .collect();
        assert_eq!(ours.len(), ourselves.len());
    }

    #[test]
    fn a_host_with_all_addresses_of_its_network_is_one_peer() {
        let peers = Peers::new(LIMITS);
        let address = |net: u16, n: u16| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, n]);
        let taken: Vec<_> = (0..200)
            .filter_map(|n| peers.enter(address(1, n)))
            .collect();
        assert_eq!(taken.len(), LIMITS.one);
        assert!(
            peers.enter(address(2, 0)).is_some(),
            "its neighbour is another"
        );
    }
}
