//! HTTP answers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::blocking::{Client, Request};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Identity, Method, Proxy, redirect};
use serde_json::Value;

use crate::files;
use crate::selftest::run::{Found, Values};
use crate::selftest::suite::Test;

/// The roots that the system trusts: the owner's own authority is among them.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const LIMIT: u64 = 1024 * 1024;
/// Begins as goss's does: servers let it in, and tests look for it.
const AGENT: &str = concat!("goss/0.4.9 hypriot-agent/", env!("CARGO_PKG_VERSION"));
/// goss follows as many.
const REDIRECTS: usize = 10;

pub(super) fn look(test: &Test, left: Duration) -> Result<Values> {
    let client = client(test, test.timeout(5_000).min(left))?;
    let response = client.execute(request(test, &client)?)?;
    let headers = response.headers().iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        format!("{}: {value}", title_case(name.as_str()))
    });
    let mut headers: Vec<String> = headers.collect();
    headers.sort();
    let mut values = Values::from([
        ("status", Ok(response.status().as_u16().into())),
        ("headers", Ok(Found::bytes(headers.join("\n").into_bytes()))),
    ]);
    if test.wants("body") {
        values.insert("body", Ok(Found::Text(Box::new(response))));
    }
    Ok(values)
}

fn client(test: &Test, timeout: Duration) -> Result<Client> {
    // Only the first call installs it; the others find it installed.
    let _installed = rustls::crypto::ring::default_provider()
        .install_default()
        .is_ok();
    let follow = if test.flag("no-follow-redirects") {
        redirect::Policy::none()
    } else {
        redirect::Policy::limited(REDIRECTS)
    };
    let mut builder = Client::builder()
        .timeout(timeout)
        .http1_title_case_headers()
        .redirect(follow)
        .tls_danger_accept_invalid_certs(test.flag("allow-insecure"));
    let bundle = test.word("ca-file").unwrap_or(ROOTS);
    if Path::new(bundle).exists() || test.word("ca-file").is_some() {
        let pem = files::read(Path::new(bundle), LIMIT)?;
        builder = builder.tls_certs_only(
            Certificate::from_pem_bundle(&pem).with_context(|| format!("reading {bundle}"))?,
        );
    }
    if let (Some(cert), Some(key)) = (test.word("cert-file"), test.word("key-file")) {
        let mut pem = files::read(Path::new(key), LIMIT)?;
        pem.extend(files::read(Path::new(cert), LIMIT)?);
        builder =
            builder.identity(Identity::from_pem(&pem).context("reading cert-file and key-file")?);
    }
    if let Some(proxy) = test.word("proxy") {
        builder = builder.proxy(Proxy::all(proxy).context("proxy")?);
    }
    Ok(builder.build()?)
}

fn request(test: &Test, client: &Client) -> Result<Request> {
    let method =
        Method::from_bytes(test.word("method").unwrap_or("GET").as_bytes()).context("method")?;
    let mut request = client.request(method, &test.name);
    let headers: Vec<&str> = match test.settings.get("request-headers") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for header in &headers {
        let (name, value) = header
            .split_once(':')
            .with_context(|| format!("request-headers: {header:?} has no colon"))?;
        request = request.header(
            HeaderName::try_from(name.trim())?,
            HeaderValue::try_from(value.trim())?,
        );
    }
    // Some servers turn away who does not say what it is.
    if !headers
        .iter()
        .any(|h| h.to_ascii_lowercase().starts_with("user-agent:"))
    {
        request = request.header(reqwest::header::USER_AGENT, AGENT);
    }
    if let Some(user) = test.word("username") {
        request = request.basic_auth(user, test.word("password"));
    }
    if let Some(body) = test.word("request-body") {
        request = request.body(body.to_owned());
    }
    Ok(request.build()?)
}

/// Header names on the wire have any case; owners write `Content-Type`.
fn title_case(name: &str) -> String {
    let word = |word: &str| {
        let mut chars = word.chars();
        chars.next().map_or_else(String::new, |first| {
            first.to_ascii_uppercase().to_string() + chars.as_str()
        })
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
