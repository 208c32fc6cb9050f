//! TLS on a device whose clock may be wrong: ring, Mozilla's roots, and time from the same rule as metadata.

use std::string::{String, ToString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::TlsTime;
use crate::workflow::trusted_now;

/// Longest chain whose certificates may each be younger than the device believes the day to be.
const MAX_STEPS: usize = 8;

/// The configuration for one source.
pub(super) fn config(time: TlsTime) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| e.to_string())?;
    let now = trusted_now(time.clock, time.floor);
    let time = Arc::new(Running {
        base: Duration::from_secs(now.0),
        since: Instant::now(),
    });
    let config = ClientConfig::builder_with_details(provider, time)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NotBeforeIsNews { verifier }))
        .with_no_client_auth();
    Ok(config)
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
