//! Asks a board over HTTP, as curl would.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Status and body of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body; at most 1 MiB is read.
    pub body: String,
}

/// Ports of loopback that nobody listens on. All are held while they are chosen, so that no two are the same.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Gets `url`; an answer of any status is an answer.
pub fn get(url: &str, within: Duration) -> Result<Answer> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .http_status_as_error(false)
        .build();
    let mut response = ureq::Agent::new_with_config(config)
        .get(url)
        .call()
        .with_context(|| format!("asking {url}"))?;
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(1 << 20)
        .read_to_string();
    Ok(Answer {
        status,
        body: body.with_context(|| format!("reading the answer of {url}"))?,
    })
}
