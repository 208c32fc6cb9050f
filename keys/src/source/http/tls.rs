//! TLS on a device whose clock may be wrong: ring, Mozilla's roots, and time from the same rule as metadata.

use std::string::{String, ToString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::TlsTime;
use crate::workflow::trusted_now;

/// Longest chain whose certificates may each be younger than the device believes the day to be.
const MAX_STEPS: usize = 8;

/// Whom the device trusts besides Mozilla's list, and who it says it is.
#[derive(Default)]
pub struct TlsIdentity {
    roots: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl core::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // without the key: options end up in logs
        f.debug_struct("TlsIdentity")
            .field("roots", &self.roots.len())
            .field("own", &self.own.is_some())
            .finish_non_exhaustive()
    }
}

impl Clone for TlsIdentity {
    fn clone(&self) -> Self {
        let own = self.own.as_ref();
        Self {
            roots: self.roots.clone(),
            own: own.map(|(chain, key)| (chain.clone(), key.clone_key())),
        }
    }
}

impl TlsIdentity {
    /// Trusts the certificates of this PEM text, too.
    pub fn trust(&mut self, pem: &[u8]) -> Result<(), String> {
        let found = certificates(pem)?;
        if found.is_empty() {
            return Err("no certificate in it (-----BEGIN CERTIFICATE-----)".into());
        }
        self.roots.extend(found);
        Ok(())
    }

    /// Shows the certificates of this PEM text, the own one first, and proves it with the private key that stands there, too.
    pub fn show(&mut self, pem: &[u8]) -> Result<(), String> {
        let chain = certificates(pem)?;
        if chain.is_empty() {
            return Err("no certificate in it (-----BEGIN CERTIFICATE-----)".into());
        }
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_no| String::from("no private key in it (-----BEGIN PRIVATE KEY-----)"))?;
        self.own = Some((chain, key));
        Ok(())
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.map_err(|e| e.to_string())
}

/// The configuration for one source.
pub(super) fn config(time: TlsTime, identity: &TlsIdentity) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    for root in &identity.roots {
        roots.add(root.clone()).map_err(|e| e.to_string())?;
    }
    let verifier = NotBeforeIsNews::new(roots, &provider)?;
    let now = trusted_now(time.clock, time.floor);
    let time = Arc::new(Running {
        base: Duration::from_secs(now.0),
        since: Instant::now(),
    });
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match &identity.own {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|e| e.to_string()),
    }
}

/// The time that was trusted when the source was made, and what has passed since. No wall clock is read.
#[derive(Debug)]
struct Running {
    base: Duration,
    since: Instant,
}

impl TimeProvider for Running {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(
            self.base.saturating_add(self.since.elapsed()),
        ))
    }
}

/// Ordinary verification, except that a certificate from the device's future is judged at the day it begins.
///
/// What the device has is a lower bound of the time (the floor, or a clock that was restored at boot and is behind). A
/// certificate that begins later than that bound is what an honest server shows to a device that slept for a year; refusing
/// it would block the update that repairs the clock. One that ended before the bound has ended for certain and is refused.
/// Nothing rests on this but privacy and credentials: what is downloaded is checked by its own signatures.
#[derive(Debug)]
struct NotBeforeIsNews {
    verifier: Arc<WebPkiServerVerifier>,
}

impl NotBeforeIsNews {
    fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map(|verifier| Self { verifier })
            .map_err(|e| e.to_string())
    }
}

impl ServerCertVerifier for NotBeforeIsNews {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut at = now;
        for _ in 0..MAX_STEPS {
            match self.verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                at,
            ) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before.as_secs() > at.as_secs() => {
                    at = not_before;
                }
                other => return other,
            }
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &[u8] = include_bytes!("../../../testdata/tls/ca.der");
    const INTERMEDIATE: &[u8] = include_bytes!("../../../testdata/tls/intermediate.der");
    const SERVER: &[u8] = include_bytes!("../../../testdata/tls/server.der");

    fn judge(at: &str, name: &'static str, ca: &'static [u8]) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca)).unwrap();
        let verifier = NotBeforeIsNews::new(roots, &provider).unwrap();
        let at = crate::time::Timestamp::parse(at).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at.0));
        let name = ServerName::try_from(name).unwrap();
        let chain = [CertificateDer::from(INTERMEDIATE)];
        verifier
            .verify_server_cert(&CertificateDer::from(SERVER), &chain, &name, &[], now)
            .map(|_| ())
    }

    #[test]
    fn a_device_that_is_behind_still_connects() {
        for at in [
            "1970-01-01T00:00:00Z",
            "2019-01-01T00:00:00Z",
            "2026-05-01T00:00:00Z",
            "2026-09-30T23:59:59Z",
            "2026-11-23T00:00:00Z",
        ] {
            assert_eq!(judge(at, "board.example", CA), Ok(()), "{at}");
        }
    }

    #[test]
    fn what_has_ended_has_ended_and_names_and_authorities_count() {
        let expired = judge("2027-01-02T00:00:00Z", "board.example", CA);
        assert!(
            matches!(
                expired,
                Err(Error::InvalidCertificate(
                    CertificateError::ExpiredContext { .. }
                ))
            ),
            "{expired:?}"
        );
        assert!(judge("2039-01-01T00:00:00Z", "board.example", CA).is_err());
        for at in ["1970-01-01T00:00:00Z", "2026-11-23T00:00:00Z"] {
            assert!(
                judge(at, "other.example", CA).is_err(),
                "another name at {at}"
            );
            assert!(
                judge(at, "board.example", INTERMEDIATE).is_ok(),
                "the intermediate as an anchor at {at}"
            );
            assert!(
                judge(at, "board.example", SERVER).is_err(),
                "an authority that signed nothing at {at}"
            );
        }
    }

    #[test]
    fn time_runs_on_from_what_was_trusted() {
        let time = TlsTime {
            clock: crate::time::Timestamp(5),
            floor: crate::time::Timestamp(1000),
        };
        assert!(config(time, &TlsIdentity::default()).is_ok());
        let now = trusted_now(time.clock, time.floor);
        let running = Running {
            base: Duration::from_secs(now.0),
            since: Instant::now(),
        };
        assert!((1000..1010).contains(&running.current_time().unwrap().as_secs()));
    }
}
