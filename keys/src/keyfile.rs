//! Private keys on disk: sealed under a passphrase, mode 0600, never unencrypted, not even for a moment.
//!
//! The file is JSON: the public key in the clear (so that one can see whose it is without the passphrase), and the seed
//! sealed with XChaCha20-Poly1305 under a key from Argon2id (RFC 9106). The public part is bound in as associated data.

use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::{self, Access};
use crate::json;
use crate::key::Key;
use crate::secret::SecretKey;

/// The environment variable that may hold the passphrase.
pub const PASSPHRASE_VARIABLE: &str = "HYPRIOT_KEYS_PASSPHRASE";
/// Longest key file that is read.
const MAX_FILE: u64 = 16 << 10;
/// Most memory a key file may ask for, in KiB: a hostile file must not exhaust the machine.
const MAX_MEMORY: u32 = 1 << 20;
/// Most passes a key file may ask for.
const MAX_PASSES: u32 = 64;

/// Why a key file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error("{} may be read by others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    OpenToOthers {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is one already; a key is never overwritten.
    #[error("{} exists already; a key is never overwritten, choose another name", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// Not a key file.
    #[error("not a key file of hypriot-keys: {0}")]
    Malformed(String),
    /// Wrong passphrase, or the file was altered. Nobody can tell which.
    #[error("the passphrase is wrong or the key file was altered")]
    Locked,
    /// No passphrase anywhere.
    #[error(
        "no passphrase: set {PASSPHRASE_VARIABLE}, give --passphrase-file, or run this in a terminal"
    )]
    NoPassphrase,
    /// The passphrase is empty.
    #[error("the passphrase is empty")]
    EmptyPassphrase,
    /// No random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    /// The format's version.
    hypriot_key: u32,
    public: Key,
    kdf: Kdf,
    nonce: String,
    seed: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    argon2id: Cost,
    salt: String,
}

/// What guessing one passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// KiB.
    pub memory: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
    fn default() -> Self {
        Self {
            memory: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

/// A new random key.
pub fn generate() -> Result<SecretKey, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    random(seed.as_mut())?;
    Ok(SecretKey::from_seed(&seed))
}

/// Seals a key into the text of a key file.
pub fn seal(key: &SecretKey, passphrase: &str, cost: Cost) -> Result<String, KeyFileError> {
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    random(&mut salt)?;
    random(&mut nonce)?;
    let cipher = cipher(passphrase, &salt, cost)?;
    let aad = associated(key.public());
    let payload = Payload {
        msg: key.seed(),
        aad: &aad,
    };
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), payload)
        .map_err(|e| KeyFileError::Malformed(e.to_string()))?;
    let file = Sealed {
        hypriot_key: 1,
        public: key.public().clone(),
        kdf: Kdf {
            argon2id: cost,
            salt: hex::encode(salt),
        },
        nonce: hex::encode(nonce),
        seed: hex::encode(sealed),
    };
    serde_json::to_string_pretty(&file)
        .map(|text| text + "\n")
        .map_err(|e| KeyFileError::Malformed(e.to_string()))
}

/// The public part of a key file; needs no passphrase.
pub fn public_part(text: &[u8]) -> Result<Key, KeyFileError> {
    parse(text).map(|file| file.public)
}

/// Opens the text of a key file.
pub fn unseal(text: &[u8], passphrase: &str) -> Result<SecretKey, KeyFileError> {
    let file = parse(text)?;
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    let malformed = |e: hex::FromHexError| KeyFileError::Malformed(e.to_string());
    hex::decode_to_slice(&file.kdf.salt, &mut salt).map_err(malformed)?;
    hex::decode_to_slice(&file.nonce, &mut nonce).map_err(malformed)?;
    let sealed = hex::decode(&file.seed).map_err(malformed)?;
    let cipher = cipher(passphrase, &salt, file.kdf.argon2id)?;
    let aad = associated(&file.public);
    let payload = Payload {
        msg: &sealed,
        aad: &aad,
    };
    let Ok(seed) = cipher.decrypt(&XNonce::from(nonce), payload) else {
        return Err(KeyFileError::Locked);
    };
    let seed = Zeroizing::new(seed);
    let Ok(seed) = <&[u8; 32]>::try_from(seed.as_slice()) else {
        return Err(KeyFileError::Locked);
    };
    let key = SecretKey::from_seed(seed);
    // Bound in as associated data already; checked all the same, signing under a wrong name would be a riddle later.
    if *key.public() == file.public {
        Ok(key)
    } else {
        Err(KeyFileError::Locked)
    }
}

/// Writes a new key file, mode 0600.
pub fn write(path: &Path, text: &str) -> Result<(), KeyFileError> {
    if path.symlink_metadata().is_ok() {
        return Err(KeyFileError::Exists { path: path.into() });
    }
    files::replace(path, text.as_bytes(), Access::Private).map_err(|e| io("writing", path, e))
}

/// Reads a key file that only its owner can read.
pub fn load(path: &Path, passphrase: &str) -> Result<SecretKey, KeyFileError> {
    unseal(&read(path)?, passphrase)
}

/// The bytes of a key file.
pub fn read(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path)
        .map_err(|e| io("reading", path, e))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::OpenToOthers {
            path: path.into(),
            mode,
        });
    }
    files::read(path, MAX_FILE)
        .map_err(|e| io("reading", path, e))?
        .ok_or_else(|| io("reading", path, std::io::ErrorKind::NotFound.into()))
}

/// The passphrase: from a file if one is given, else from [`PASSPHRASE_VARIABLE`], else asked for at the terminal.
///
/// `question` is what the terminal shows. A file's last line end does not belong to the passphrase.
pub fn passphrase(file: Option<&Path>, question: &str) -> Result<Zeroizing<String>, KeyFileError> {
    let text = match (file, std::env::var(PASSPHRASE_VARIABLE)) {
        (Some(path), _) => {
            let bytes = files::read(path, 4096)
                .map_err(|e| io("reading", path, e))?
                .ok_or_else(|| io("reading", path, std::io::ErrorKind::NotFound.into()))?;
            let text = String::from_utf8(bytes)
                .map_err(|e| KeyFileError::Malformed(e.utf8_error().to_string()))?;
            Zeroizing::new(text)
        }
        (None, Ok(text)) => Zeroizing::new(text),
        (None, Err(_)) => Zeroizing::new(
            rpassword::prompt_password(question).or(Err(KeyFileError::NoPassphrase))?,
        ),
    };
    let trimmed = text.trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err(KeyFileError::EmptyPassphrase);
    }
    Ok(Zeroizing::new(trimmed.into()))
}

fn parse(text: &[u8]) -> Result<Sealed, KeyFileError> {
    let value =
        json::parse("key file", text).map_err(|e| KeyFileError::Malformed(e.to_string()))?;
    let file: Sealed =
        serde_json::from_value(value).map_err(|e| KeyFileError::Malformed(e.to_string()))?;
    if file.hypriot_key != 1 {
        return Err(KeyFileError::Malformed(std::format!(
            "format {} is not known",
            file.hypriot_key
        )));
    }
    Ok(file)
}

fn cipher(
    passphrase: &str,
    salt: &[u8; 16],
    cost: Cost,
) -> Result<XChaCha20Poly1305, KeyFileError> {
    if cost.memory > MAX_MEMORY || cost.passes > MAX_PASSES {
        return Err(KeyFileError::Malformed(
            "it asks for an unreasonable amount of work".into(),
        ));
    }
    let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(32))
        .map_err(|e| KeyFileError::Malformed(e.to_string()))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(|e| KeyFileError::Malformed(e.to_string()))?;
    Ok(XChaCha20Poly1305::new((&*key).into()))
}

fn associated(public: &Key) -> Vec<u8> {
    public.id().into_bytes()
}

fn random(bytes: &mut [u8]) -> Result<(), KeyFileError> {
    getrandom::fill(bytes).map_err(|e| KeyFileError::Random(e.to_string()))
}

fn io(doing: &'static str, path: &Path, source: std::io::Error) -> KeyFileError {
    KeyFileError::Io {
        doing,
        path: path.into(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost {
        memory: 64,
        passes: 1,
        lanes: 1,
    };

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only() {
        let key = generate().unwrap();
        let text = seal(&key, "open sesame", CHEAP).unwrap();
        assert_eq!(
            unseal(text.as_bytes(), "open sesame").unwrap().id(),
            key.id()
        );
        assert!(matches!(
            unseal(text.as_bytes(), "open Sesame"),
            Err(KeyFileError::Locked)
        ));
        assert!(!text.contains(&hex::encode(key.seed())));
    }

    #[test]
    fn a_sealed_key_does_not_open_under_another_name() {
        let (mine, theirs) = (generate().unwrap(), generate().unwrap());
        let text = seal(&mine, "p", CHEAP).unwrap();
        let swapped = text.replace(&mine.public().keyval.public, &theirs.public().keyval.public);
        assert!(matches!(
            unseal(swapped.as_bytes(), "p"),
            Err(KeyFileError::Locked)
        ));
    }

    #[test]
    fn a_key_file_that_asks_for_all_memory_is_refused() {
        let key = generate().unwrap();
        let text = seal(&key, "p", CHEAP).unwrap();
        let greedy = text.replace("\"memory\": 64", "\"memory\": 4000000000");
        assert!(matches!(
            unseal(greedy.as_bytes(), "p"),
            Err(KeyFileError::Malformed(_))
        ));
    }

    #[test]
    fn key_files_are_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        let text = seal(&generate().unwrap(), "p", CHEAP).unwrap();
        write(&path, &text).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(load(&path, "p").is_ok());
        assert!(matches!(
            write(&path, &text),
            Err(KeyFileError::Exists { .. })
        ));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            load(&path, "p"),
            Err(KeyFileError::OpenToOthers { mode: 0o640, .. })
        ));
    }
}
