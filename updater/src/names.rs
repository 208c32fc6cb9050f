//! The names by which a server of ours may be asked, and whether a request over HTTP is meant for it.
//!
//! Any web page can make a visitor's browser ask a device in his own network (DNS rebinding). The answer is to serve only
//! requests that name this machine: by an address, by its host name, or by a name that its owner configured. Boards and the
//! lock service have the same rule, which stands here once; this knows of values, and nothing of HTTP libraries.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

/// Names of a machine, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

/// What a request says of where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a, F> {
    /// The host of an absolute target, without its port; none where the target is a path.
    pub target: Option<&'a str>,
    /// All Host fields, as they came.
    pub fields: F,
    /// It is of HTTP/1.0.
    pub old: bool,
}

/// For whom a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// For us.
    Us,
    /// For somebody else: 421 (RFC 9110, section 15.5.20).
    Other,
    /// Without exactly one valid Host: a server MUST answer 400 (RFC 9112, section 3.2).
    Unclear,
}

impl Names {
    /// Of a machine with that host name, and the names that its owner added.
    pub fn new(hostname: &str, configured: &[String]) -> Self {
        let hostname = hostname.trim().to_ascii_lowercase();
        let mut names = vec!["localhost".to_owned()];
        if !hostname.is_empty() {
            names.push(format!("{hostname}.local"));
            names.push(hostname);
        }
        names.extend(configured.iter().map(|name| name.to_ascii_lowercase()));
        Self(names)
    }

    /// For whom the request is.
    pub fn meant<'a>(&self, asked: Asked<'a, impl IntoIterator<Item = &'a [u8]>>) -> Meant {
        // RFC 9112, section 3.2.2: the host of an absolute target wins over the field.
        if let Some(host) = asked.target {
            return self.known(host);
        }
        let mut fields = asked.fields.into_iter();
        match (fields.next(), fields.next()) {
            (Some(field), None) => {
                let host = core::str::from_utf8(field).ok().and_then(without_port);
                host.map_or(Meant::Unclear, |host| self.known(host))
            }
            // HTTP/1.0 knows no Host; no browser speaks it.
            (None, _) if asked.old => Meant::Us,
            _ => Meant::Unclear,
        }
    }

    fn known(&self, host: &str) -> Meant {
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        // A trailing dot only says that the name is complete (RFC 3986, section 3.2.2).
        let name = host.strip_suffix('.').unwrap_or(host);
        if bare.parse::<IpAddr>().is_ok() || self.0.iter().any(|n| n.eq_ignore_ascii_case(name)) {
            Meant::Us
        } else {
            Meant::Other
        }
    }
}

/// The host of a Host field: `uri-host [ ":" port ]` (RFC 9110, section 7.2).
fn without_port(field: &str) -> Option<&str> {
    let colon = match field.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (field.len() > end).then_some(end)
        }
        None => field.find(':'),
    };
    let Some(colon) = colon else {
        return (!field.is_empty()).then_some(field);
    };
    let (name, port) = field.split_at_checked(colon)?;
    let port = port.strip_prefix(':')?;
    (!name.is_empty() && port.bytes().all(|c| c.is_ascii_digit())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(target: Option<&str>, fields: &[&str], old: bool) -> Meant {
        let names = Names::new("Black-Pearl\n", &["Pearl.example.org".to_owned()]);
        let fields = fields.iter().map(|f| f.as_bytes());
        names.meant(Asked {
            target,
            fields,
            old,
        })
    }

    #[test]
    fn a_page_of_elsewhere_cannot_make_a_browser_ask_us() {
        for (host, expected) in [
            ("192.168.1.7", Meant::Us),
            ("192.168.1.7:8080", Meant::Us),
            ("[fe80::1]:8080", Meant::Us),
            ("[::1]", Meant::Us),
            ("black-pearl", Meant::Us),
            ("BLACK-PEARL.local:8080", Meant::Us),
            ("black-pearl.local.:8080", Meant::Us),
            ("pearl.example.org", Meant::Us),
            ("localhost:8080", Meant::Us),
            ("localhost:", Meant::Us),
            ("evil.example", Meant::Other),
            ("evil.example:8080", Meant::Other),
            ("black-pearl.evil.example", Meant::Other),
            ("192.168.1.7.evil.example", Meant::Other),
            ("local", Meant::Other),
            ("black-pearl:80:80", Meant::Unclear),
            ("black-pearl:x", Meant::Unclear),
            ("black-pearl@evil.example:80:x", Meant::Unclear),
            ("[::1", Meant::Unclear),
            ("[::1]x", Meant::Unclear),
            ("[]é", Meant::Unclear),
            (":8080", Meant::Unclear),
            ("", Meant::Unclear),
        ] {
            assert_eq!(meant(None, &[host], false), expected, "{host:?}");
        }
    }

    #[test]
    fn two_hosts_are_none_and_an_absolute_target_wins() {
        for (danger, target, fields, old, expected) in [
            (
                "two",
                None,
                &["localhost", "localhost"][..],
                false,
                Meant::Unclear,
            ),
            ("none", None, &[], false, Meant::Unclear),
            ("none, of old", None, &[], true, Meant::Us),
            (
                "two, of old",
                None,
                &["localhost", "x"],
                true,
                Meant::Unclear,
            ),
            ("one, of old", None, &["evil.example"], true, Meant::Other),
            (
                "target",
                Some("evil.example"),
                &["localhost"],
                false,
                Meant::Other,
            ),
            ("target", Some("[::1]"), &["evil.example"], false, Meant::Us),
        ] {
            assert_eq!(meant(target, fields, old), expected, "{danger}: {fields:?}");
        }
        let bytes = Asked {
            target: None,
            fields: [&b"\xff"[..]],
            old: false,
        };
        assert_eq!(Names::default().meant(bytes), Meant::Unclear);
    }
}
