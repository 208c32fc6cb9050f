//! The envelope around every file: signed part and signatures, and the count of good ones.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::json;
use crate::key::Key;

/// A file as it came: nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The signed part, with every field its author wrote.
    pub signed: Value,
    /// Who signed.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The id of the key.
    pub keyid: String,
    /// In hexadecimal.
    pub sig: String,
}

/// Whose signatures are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Signers<'a> {
    /// The role they sign for.
    pub role: &'a str,
    /// Whose list this is, for the message.
    pub by: &'a str,
    /// All keys that list knows.
    pub keys: &'a BTreeMap<String, Key>,
    /// Those of the role.
    pub keyids: &'a [String],
    /// How many of them must sign.
    pub threshold: u64,
}

impl Signed {
    /// Reads the envelope; the signed part stays an untyped value.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let value = json::parse(file, bytes)?;
        // A derived reader takes a list for a struct; other tools would not, and all must read one thing.
        let lists = |v: &Value| {
            v.as_array()
                .is_some_and(|l| l.iter().any(|s| !s.is_object()))
        };
        if !value.is_object() || value.get("signatures").is_some_and(lists) {
            return Err(Error::Schema {
                file: file.into(),
                why: "an object is wanted for the file and for each signature".into(),
            });
        }
        let signed: Self = serde_json::from_value(value).map_err(|e| Error::Schema {
            file: file.into(),
            why: alloc::format!("{e}"),
        })?;
        // Section 4.2, KEYID: "multiple signatures with the same keyid are not allowed".
        let mut seen = BTreeSet::new();
        match signed.signatures.iter().find(|s| !seen.insert(&s.keyid)) {
            Some(twice) => Err(Error::DuplicateSignature {
                file: file.into(),
                keyid: twice.keyid.clone(),
            }),
            None => Ok(signed),
        }
    }

    /// The bytes that are signed.
    pub fn message(&self) -> Vec<u8> {
        json::canonical(&self.signed)
    }

    /// How many distinct keys of the role have signed.
    pub fn count(&self, by: &Signers<'_>) -> u64 {
        let message = self.message();
        // Sets of public keys and not of ids: the same key under two ids (an extra field changes the id) is one signer.
        let mut good = BTreeSet::new();
        for signature in &self.signatures {
            if !by.keyids.contains(&signature.keyid) {
                continue;
            }
            let Some(key) = by.keys.get(&signature.keyid).and_then(Key::public) else {
                continue;
            };
            // A malformed signature does not count; it does not spoil the others either.
            let Ok(bytes) = hex::decode(&signature.sig) else {
                continue;
            };
            if key.verify(&message, &bytes) {
                good.insert(key);
            }
        }
        good.len() as u64
    }

    /// Refuses the file unless a threshold of distinct keys has signed.
    pub fn verify(&self, file: &str, by: &Signers<'_>) -> Result<(), Error> {
        let valid = self.count(by);
        // `check` refuses threshold 0; it is refused here too, because nothing is checked yet in the file under test.
        if by.threshold > 0 && valid >= by.threshold {
            Ok(())
        } else {
            Err(Error::NotSigned {
                file: file.into(),
                role: by.role.into(),
                by: by.by.into(),
                valid,
                threshold: by.threshold,
            })
        }
    }
}
