//! Public keys as TUF writes them (section 4.2), their ids, and the check of one signature.

use alloc::string::String;
use alloc::vec::Vec;

use ring::signature::{ECDSA_P256_SHA256_ASN1, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::json;

/// A key object. Fields that nobody defined are kept: they are part of what is signed and of the id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `ed25519`, `ecdsa` or `rsa`; others are carried but never count.
    pub keytype: String,
    /// `ed25519`, `ecdsa-sha2-nistp256` or `rsassa-pss-sha256`; others are carried but never count.
    pub scheme: String,
    /// The public part.
    pub keyval: KeyValue,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The `keyval` of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// Hexadecimal for ed25519, PEM for the others.
    pub public: String,
    /// Whatever else its author wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A public key in the one form in which two of them can be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublicKey {
    /// 32 bytes.
    Ed25519([u8; 32]),
    /// An uncompressed point, 65 bytes.
    EcdsaP256(Vec<u8>),
    /// A PKCS #1 `RSAPublicKey` in DER.
    RsaPss(Vec<u8>),
}

impl Key {
    /// The key object of an ed25519 public key.
    pub fn ed25519(public: &[u8; 32]) -> Self {
        Self {
            keytype: "ed25519".into(),
            scheme: "ed25519".into(),
            keyval: KeyValue {
                public: hex::encode(public),
                extra: Map::new(),
            },
            extra: Map::new(),
        }
    }

    /// Section 4.2: "a hexdigest of the SHA-256 hash of the canonical form of the key".
    pub fn id(&self) -> String {
        digest(&self.object(&self.extra))
    }

    /// Whether `id` is this key's id.
    ///
    /// Off-spec: the widely used tools hash the three defined fields only, and let people add fields afterwards (python-tuf,
    /// tuf-on-ci with `x-tuf-on-ci-keyowner`). Both readings bind the id to the public key, which is what the check is for.
    pub fn has_id(&self, id: &str) -> bool {
        self.id() == id || digest(&self.object(&Map::new())) == id
    }

    fn object(&self, extra: &Map<String, Value>) -> Value {
        let mut keyval = self.keyval.extra.clone();
        keyval.insert("public".into(), self.keyval.public.clone().into());
        let mut object = extra.clone();
        object.insert("keytype".into(), self.keytype.clone().into());
        object.insert("scheme".into(), self.scheme.clone().into());
        object.insert("keyval".into(), Value::Object(keyval));
        Value::Object(object)
    }

    /// The usable form; `None` when the kind is unknown or the public part malformed. Such a key never counts.
    pub fn public(&self) -> Option<PublicKey> {
        let public = &self.keyval.public;
        match (self.keytype.as_str(), self.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(public, &mut bytes).ok()?;
                Some(PublicKey::Ed25519(bytes))
            }
            // "ecdsa-sha2-nistp256" as a key type is what older securesystemslib wrote.
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let der = spki(public)?;
                // SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { uncompressed point } } (RFC 5480):
                // every length in it is fixed, so the prefix is the whole check.
                let point = der.strip_prefix(P256_PREFIX)?;
                (point.len() == 65 && point[0] == 4).then(|| PublicKey::EcdsaP256(point.to_vec()))
            }
            ("rsa", "rsassa-pss-sha256") => rsa_public_key(&spki(public)?).map(PublicKey::RsaPss),
            _ => None,
        }
    }
}

impl PublicKey {
    /// Whether `signature` is this key's signature of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(bytes) => {
                let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(bytes) else {
                    return false;
                };
                let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else {
                    return false;
                };
                // Strict: keys of small order, which would accept one signature for many messages, are refused.
                key.verify_strict(message, &signature).is_ok()
            }
            Self::EcdsaP256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(message, signature)
                .is_ok(),
            // Section 4.2: "All RSA keys MUST be at least 2048 bits"; ring checks that.
            Self::RsaPss(der) => UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, der)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

fn digest(object: &Value) -> String {
    hex::encode(Sha256::digest(json::canonical(object)))
}

fn spki(pem: &str) -> Option<Vec<u8>> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .ok()
        .map(|der| der.as_ref().to_vec())
}

const P256_PREFIX: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The RSAPublicKey inside a SubjectPublicKeyInfo with algorithm rsaEncryption and NULL parameters (RFC 3279, 2.3.1).
fn rsa_public_key(der: &[u8]) -> Option<Vec<u8>> {
    const RSA_ENCRYPTION: &[u8] = &[
        0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    let (outer, rest) = der_element(0x30, der)?;
    let bits = outer.strip_prefix(RSA_ENCRYPTION)?;
    let (bits, after) = der_element(0x03, bits)?;
    let key = bits.strip_prefix(&[0])?;
    (rest.is_empty() && after.is_empty()).then(|| key.to_vec())
}

/// Splits one DER element with tag `tag` off: its content, and what follows.
fn der_element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [found, first, rest @ ..] = bytes else {
        return None;
    };
    if *found != tag {
        return None;
    }
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (
            usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])),
            rest.get(2..)?,
        ),
        _ => return None,
    };
    rest.split_at_checked(length)
}
