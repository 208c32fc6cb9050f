//! An owner's own authority and a certificate of the board's own, against a TLS server that asks for one.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hypriot_keys::source::Source as _;
use hypriot_keys::source::http::{HttpOptions, HttpSource, TlsIdentity, TlsTime};
use hypriot_keys::time::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};

const CA: &[u8] = include_bytes!("../testdata/tls/own-ca.pem");
const SERVER: &[u8] = include_bytes!("../testdata/tls/own-server.pem");
const CLIENT: &[u8] = include_bytes!("../testdata/tls/own-client.pem");
const TIME: TlsTime = TlsTime {
    clock: Timestamp(1_900_000_000),
    floor: Timestamp(0),
};

/// Answers one connection, if the client shows a certificate of the owner's; gives the base URL.
fn serve() -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(CA).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(SERVER).unwrap()],
            PrivateKeyDer::from_pem_slice(SERVER).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = Stream::new(&mut tls, &mut tcp);
        let mut request = [0; 2048];
        if stream.read(&mut request).is_ok_and(|n| n > 0) {
            drop(stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            ));
            tls.send_close_notify();
            drop(tls.write_tls(&mut tcp));
        }
    });
    url
}

fn ask(identity: TlsIdentity) -> Result<String, String> {
    let options = HttpOptions {
        attempts: 1,
        identity,
        ..HttpOptions::at(TIME)
    };
    let source = HttpSource::new(&serve(), options).map_err(|e| e.to_string())?;
    let mut body = source.open("file", 0).map_err(|e| e.to_string())?;
    let mut text = String::new();
    body.read_to_string(&mut text).map_err(|e| e.to_string())?;
    Ok(text)
}

#[test]
fn a_server_of_the_owners_authority_is_reached_by_who_trusts_it_and_shows_its_certificate() {
    let stranger = TlsIdentity::default();
    let why = ask(stranger.clone()).unwrap_err();
    assert!(why.contains("UnknownIssuer"), "{why}");
    let mut trusts = stranger;
    trusts.trust(CA).unwrap();
    assert!(ask(trusts.clone()).is_err(), "it shows no certificate");
    let mut known = trusts;
    known.show(CLIENT).unwrap();
    assert_eq!(ask(known).as_deref(), Ok("hello"));
}

#[test]
fn a_file_that_is_none_is_named_and_changes_nothing() {
    let mut identity = TlsIdentity::default();
    for text in [&b""[..], b"no pem", b"-----BEGIN CERTIFICATE-----\n***\n"] {
        assert!(identity.trust(text).is_err());
        assert!(identity.show(text).is_err());
    }
    assert!(identity.show(CA).unwrap_err().contains("no private key"));
    assert!(ask(identity).is_err());
    // the key is shown to nobody, also not in a log
    let mut known = TlsIdentity::default();
    known.show(CLIENT).unwrap();
    assert!(format!("{known:?}").len() < 80);
}
