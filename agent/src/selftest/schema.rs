//! The vocabulary: every kind of resource, its properties (what is asserted) and its settings (how it is looked at).
//!
//! The first block is goss's own; the second what goss lacks on boards.

use super::matcher::Shape::{self, Text, Value};

/// One kind of resource.
#[derive(Debug)]
pub(super) struct Schema {
    /// Key in the file.
    pub(super) name: &'static str,
    /// The setting that holds the real name when the key is only a label.
    pub(super) alias: &'static str,
    /// When this property does not hold, the others are skipped. Empty: there is none.
    pub(super) main: &'static str,
    /// What can be asserted.
    pub(super) properties: &'static [(&'static str, Shape)],
    /// How it is looked at.
    pub(super) settings: &'static [&'static str],
}

/// Settings of every resource: goss's, then ours.
pub(super) const COMMON: &[&str] = &["title", "meta", "skip", "severity", "wait-for", "boards"];

/// All kinds.
pub(super) const KINDS: &[Schema] = &[
    Schema {
        name: "addr",
        alias: "address",
        main: "",
        properties: &[("reachable", Value)],
        settings: &["timeout", "local-address"],
    },
    Schema {
        name: "command",
        alias: "exec",
        main: "",
        properties: &[("exit-status", Value), ("stdout", Text), ("stderr", Text)],
        settings: &["timeout", "retry_count", "retry_delay"],
    },
    Schema {
        name: "dns",
        alias: "resolve",
        main: "resolvable",
        properties: &[
            ("resolvable", Value),
            ("resolveable", Value),
            ("addrs", Value),
        ],
        settings: &["timeout", "server", "retry_count", "retry_delay"],
    },
    Schema {
        name: "file",
        alias: "path",
        main: "exists",
        properties: &[
            ("exists", Value),
            ("mode", Value),
            ("size", Value),
            ("owner", Value),
            ("uid", Value),
            ("group", Value),
            ("gid", Value),
            ("filetype", Value),
            ("linked-to", Value),
            ("contents", Text),
            ("contains", Text),
            ("md5", Value),
            ("sha256", Value),
            ("sha512", Value),
        ],
        settings: &[],
    },
    Schema {
        name: "group",
        alias: "groupname",
        main: "exists",
        properties: &[("exists", Value), ("gid", Value)],
        settings: &[],
    },
    Schema {
        name: "http",
        alias: "url",
        main: "status",
        properties: &[("status", Value), ("headers", Text), ("body", Text)],
        settings: &[
            "method",
            "allow-insecure",
            "no-follow-redirects",
            "timeout",
            "request-headers",
            "request-body",
            "username",
            "password",
            "ca-file",
            "cert-file",
            "key-file",
            "proxy",
        ],
    },
    Schema {
        name: "interface",
        alias: "name",
        main: "exists",
        properties: &[("exists", Value), ("addrs", Value), ("mtu", Value)],
        settings: &[],
    },
    Schema {
        name: "kernel-param",
        alias: "name",
        main: "",
        properties: &[("value", Value)],
        settings: &[],
    },
    Schema {
        name: "matching",
        alias: "",
        main: "",
        properties: &[("matches", Value)],
        settings: &["content", "as-reader"],
    },
    Schema {
        name: "mount",
        alias: "mountpoint",
        main: "exists",
        properties: &[
            ("exists", Value),
            ("opts", Value),
            ("vfs-opts", Value),
            ("source", Value),
            ("filesystem", Value),
            ("usage", Value),
        ],
        settings: &["timeout"],
    },
    Schema {
        name: "package",
        alias: "name",
        main: "installed",
        properties: &[("installed", Value), ("versions", Value)],
        settings: &["retry_count", "retry_delay"],
    },
    Schema {
        name: "port",
        alias: "port",
        main: "listening",
        properties: &[("listening", Value), ("ip", Value)],
        settings: &[],
    },
    Schema {
        name: "process",
        alias: "comm",
        main: "",
        properties: &[("running", Value)],
        settings: &[],
    },
    Schema {
        name: "service",
        alias: "name",
        main: "",
        properties: &[("enabled", Value), ("running", Value), ("runlevels", Value)],
        settings: &[],
    },
    Schema {
        name: "user",
        alias: "username",
        main: "exists",
        properties: &[
            ("exists", Value),
            ("uid", Value),
            ("gid", Value),
            ("groups", Value),
            ("home", Value),
            ("shell", Value),
        ],
        settings: &[],
    },
    // What goss lacks.
    Schema {
        name: "clock",
        alias: "",
        main: "",
        properties: &[
            ("synchronized", Value),
            ("after-build", Value),
            ("year", Value),
        ],
        settings: &[],
    },
    Schema {
        name: "device-tree",
        alias: "path",
        main: "exists",
        properties: &[("exists", Value), ("value", Value)],
        settings: &[],
    },
    Schema {
        name: "docker",
        alias: "name",
        main: "",
        properties: &[
            ("reachable", Value),
            ("server-version", Value),
            ("storage-driver", Value),
            ("cgroup-version", Value),
            ("cgroup-driver", Value),
            ("swarm", Value),
            ("warnings", Value),
            ("exists", Value),
            ("running", Value),
            ("restarting", Value),
            ("healthy", Value),
        ],
        settings: &[],
    },
    Schema {
        name: "kernel-config",
        alias: "name",
        main: "",
        properties: &[("value", Value)],
        settings: &[],
    },
    Schema {
        name: "kernel-module",
        alias: "name",
        main: "available",
        properties: &[("available", Value), ("loaded", Value)],
        settings: &[],
    },
    Schema {
        name: "slot",
        alias: "",
        main: "",
        properties: &[
            ("booted", Value),
            ("default", Value),
            ("on-trial", Value),
            ("settled", Value),
        ],
        settings: &[],
    },
    Schema {
        name: "throttling",
        alias: "",
        main: "",
        properties: &[("undervoltage", Value), ("temperature", Value)],
        settings: &[],
    },
];

/// The kind called `name`.
pub(super) fn find(name: &str) -> Option<&'static Schema> {
    KINDS.iter().find(|schema| schema.name == name)
}
