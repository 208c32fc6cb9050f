//! Looking at resources: one function for each kind, from a name to the values of the properties that are asserted.

mod account;
mod board;
mod command;
mod dns;
mod docker;
mod file;
mod http;
mod kernel;
mod mount;
mod net;
mod package;
mod service;

use std::time::Duration;

use anyhow::Result;

use super::run::{Setting, Values};
use super::suite::Test;

/// Looks at the resource of `test`, within `left`. `None`: it only exists on a running board, and this is none.
pub(super) fn look(test: &Test, setting: &Setting, left: Duration) -> Result<Option<Values>> {
    let root = &setting.root;
    let name = test.name.as_str();
    // Kinds that the files of an image tell everything about.
    let values = match test.schema.name {
        "file" => file::look(test, root),
        "package" => package::look(name, root),
        "user" => account::user(name, root),
        "group" => account::group(name, root),
        "kernel-module" => kernel::module(name, root),
        "kernel-config" => kernel::config(name, root),
        "service" => service::look(test, root),
        "matching" => Ok(matching(test)),
        // These are files in tests, but only a running kernel fills them.
        "kernel-param" => kernel::parameter(name, root),
        "device-tree" => Ok(kernel::device_tree(name, root)),
        "mount" => mount::look(test, root),
        "process" => Ok(net::process(name, root)),
        "port" => net::port(name, root),
        "clock" => Ok(board::clock(setting)),
        "slot" => board::slot(setting),
        "throttling" => Ok(board::throttling(root)),
        "docker" => docker::look(test, root),
        // These have no files: they are asked of the running system.
        _ if !root.is_live() => return Ok(None),
        "interface" => net::interface(name),
        "addr" => net::address(test, left),
        "command" => command::look(test, left),
        "dns" => Ok(dns::look(test, left)),
        "http" => http::look(test, left),
        other => anyhow::bail!("resource {other:?} cannot be looked at"),
    };
    values.map(Some)
}

fn matching(test: &Test) -> Values {
    let content = test.settings.get("content").cloned().unwrap_or_default();
    let content = if test.flag("as-reader") && !content.is_string() {
        content.to_string().into()
    } else {
        content
    };
    Values::from([("matches", Ok(content))])
}
