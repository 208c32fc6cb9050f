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

use super::run::{Found, Setting, Values};
use super::schema::Kind;
use super::suite::Test;

/// Looks at the resource of `test`, within `left`. `None`: it only exists on a running board, and this is none.
pub(super) fn look(test: &Test, setting: &Setting, left: Duration) -> Result<Option<Values>> {
    let root = &setting.root;
    let name = test.name.as_str();
    let values = match test.schema.kind {
        // Kinds that the files of an image tell everything about.
        Kind::File => file::look(test, root),
        Kind::Package => package::look(name, setting),
        Kind::User => account::user(name, root),
        Kind::Group => account::group(name, root),
        Kind::KernelModule => kernel::module(name, root),
        Kind::KernelConfig => kernel::config(name, root),
        Kind::Service => Ok(service::look(test, root)),
        Kind::Matching => Ok(matching(test)),
        // These are files in tests, but only a running kernel fills them.
        Kind::KernelParam => kernel::parameter(name, root),
        Kind::DeviceTree => Ok(kernel::device_tree(name, root)),
        Kind::Mount => mount::look(test, root),
        Kind::Process => Ok(net::process(name, root)),
        Kind::Port => net::port(name, root),
        Kind::Clock => Ok(board::clock(setting)),
        Kind::Slot => board::slot(setting),
        Kind::Throttling => Ok(board::throttling(root)),
        Kind::Docker => docker::look(test, root),
        // These have no files: they are asked of the running system.
        Kind::Interface | Kind::Addr | Kind::Command | Kind::Dns | Kind::Http
            if !root.is_live() =>
        {
            return Ok(None);
        }
        Kind::Interface => Ok(net::interface(name)),
        Kind::Addr => net::address(test, left),
        Kind::Command => command::look(test, left),
        Kind::Dns => Ok(dns::look(test, left)),
        Kind::Http => http::look(test, left),
    };
    values.map(Some)
}

/// `as-reader`: a list of patterns is looked for in its lines, anything else sees the whole text.
fn matching(test: &Test) -> Values {
    let content = test.settings.get("content").cloned().unwrap_or_default();
    let found = if test.flag("as-reader") {
        Found::bytes(super::matcher::word(&content).into_bytes())
    } else {
        content.into()
    };
    Values::from([("matches", Ok(found))])
}
