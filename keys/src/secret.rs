//! Private keys in memory: no way to print, copy or serialise one, wiped when dropped.

use std::fmt;
use std::string::String;

use ed25519_dalek::Signer;

use crate::key::Key;
use crate::signed::{Signature, Signed};

/// An ed25519 private key.
pub struct SecretKey {
    // Zeroizes itself on drop (feature `zeroize` of ed25519-dalek).
    key: ed25519_dalek::SigningKey,
    public: Key,
    id: String,
}

impl SecretKey {
    /// The key that belongs to a seed of 32 random bytes. The caller wipes the seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let public = Key::ed25519(key.verifying_key().as_bytes());
        let id = public.id();
        Self { key, public, id }
    }

    /// The public part as TUF writes it.
    pub fn public(&self) -> &Key {
        &self.public
    }

    /// The key's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Adds this key's signature to a file, in place of an earlier one of the same key.
    pub fn sign(&self, file: &mut Signed) {
        let sig = hex::encode(self.key.sign(&file.message()).to_bytes());
        file.signatures.retain(|s| s.keyid != self.id);
        file.signatures.push(Signature {
            keyid: self.id.clone(),
            sig,
        });
    }

    /// This key's signature of a message of another format than TUF's. Its first byte must not be `{`, with which everything begins
    /// that TUF signs: a signature of one can never be one of the other.
    pub fn sign_message(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    #[cfg(feature = "keyfile")]
    pub(crate) fn seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
