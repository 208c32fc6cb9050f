//! Owns the keys an archive must be signed with, and the check of a clear-signed text against them.

mod life;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pgp::Deserializable;
use pgp::composed::SignedPublicKey;
use pgp::composed::cleartext::CleartextSignedMessage;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::Signature;
use pgp::types::PublicKeyTrait;

use super::RepoError;

/// The places Debian has kept its archive keys at.
const DEFAULTS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];
/// A keyring larger than this is something else.
const MAX_BYTES: u64 = 4 << 20;

/// Trusted public keys.
#[derive(Debug)]
pub struct Keyring {
    path: PathBuf,
    keys: Vec<SignedPublicKey>,
}

/// The keyring Debian installs on this machine.
pub fn default_path() -> PathBuf {
    DEFAULTS
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists())
        .unwrap_or_else(|| PathBuf::from(DEFAULTS[0]))
}

/// Reads a keyring file, binary or armored.
pub fn load(path: &Path) -> Result<Keyring, RepoError> {
    let bad = |reason: String| RepoError::Keyring {
        path: path.to_owned(),
        reason,
    };
    let len = std::fs::metadata(path)
        .map_err(|e| bad(e.to_string()))?
        .len();
    if len > MAX_BYTES {
        return Err(bad(format!("{len} bytes are too many")));
    }
    let bytes = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    parse(path, &bytes)
}

/// Reads keys from bytes. `path` is for messages.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Keyring, RepoError> {
    let bad = |reason: String| RepoError::Keyring {
        path: path.to_owned(),
        reason,
    };
    let keys: Vec<SignedPublicKey> = if bytes.starts_with(b"-----BEGIN") {
        let text = std::str::from_utf8(bytes).map_err(|e| bad(e.to_string()))?;
        let (keys, _) = SignedPublicKey::from_string_many(text).map_err(|e| bad(e.to_string()))?;
        keys.filter_map(Result::ok).collect()
    } else {
        SignedPublicKey::from_bytes_many(bytes)
            .filter_map(Result::ok)
            .collect()
    };
    if keys.is_empty() {
        return Err(bad("it holds no OpenPGP keys".to_owned()));
    }
    Ok(Keyring {
        path: path.to_owned(),
        keys,
    })
}

impl Keyring {
    /// Checks a clear-signed text and gives back exactly the text that was signed, nothing around it.
    pub fn verify(&self, url: &str, message: &str, now: SystemTime) -> Result<String, RepoError> {
        let (message, _) =
            CleartextSignedMessage::from_string(message).map_err(|e| RepoError::Unsigned {
                url: url.to_owned(),
                reason: e.to_string(),
            })?;
        // RFC 9580, 7.2: what is hashed is the text without dash escapes and trailing blanks, with CR LF line ends.
        let text = message.signed_text();
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs())
            .cast_signed();
        let mut refusal = None;
        for signature in message.signatures() {
            match self.check(url, &signature.signature, text.as_bytes(), now) {
                Ok(()) => return Ok(text.replace("\r\n", "\n")),
                Err(e) => refusal = refusal.or(e),
            }
        }
        let signers = message
            .signatures()
            .iter()
            .flat_map(|s| s.signature.issuer())
            .map(|id| format!("{id:X}"))
            .collect::<Vec<_>>();
        Err(refusal.unwrap_or_else(|| RepoError::WrongKey {
            url: url.to_owned(),
            signers: if signers.is_empty() {
                "unknown".to_owned()
            } else {
                signers.join(", ")
            },
            keyring: self.path.clone(),
        }))
    }

    /// `Err(None)`: no key of ours made it. `Err(Some)`: one did, and yet it does not count.
    fn check(
        &self,
        url: &str,
        signature: &Signature,
        text: &[u8],
        now: i64,
    ) -> Result<(), Option<RepoError>> {
        for key in &self.keys {
            let Some(signer) = life::signer(key, signature, text) else {
                continue;
            };
            let hash = signature.hash_alg();
            if !matches!(
                hash,
                HashAlgorithm::SHA2_256 | HashAlgorithm::SHA2_384 | HashAlgorithm::SHA2_512
            ) {
                return Err(Some(RepoError::WeakHash {
                    url: url.to_owned(),
                    hash: hash.to_string(),
                }));
            }
            return match life::dead(key, signer, signature, now) {
                None => Ok(()),
                Some(reason) => Err(Some(RepoError::DeadKey {
                    url: url.to_owned(),
                    key: format!("{:X}", key.key_id()),
                    reason,
                })),
            };
        }
        Err(None)
    }
}
