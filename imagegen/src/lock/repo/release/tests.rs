//! Tests of [`super`]: signed, stale and altered Release files.

use std::path::Path;
use std::time::Duration;

use pgp::composed::cleartext::CleartextSignedMessage;
use pgp::composed::{KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType};
use pgp::ser::Serialize;
use pgp::types::{PublicKeyTrait, SecretKeyTrait};

use super::*;
use crate::lock::repo::keyring;

/// 2026-11-23, noon.
const NOW: u64 = 1_795_435_200;
/// When the archive's key was made: a month before.
const BORN: i64 = 1_792_843_200;
const URL: &str = "http://m.example/debian/dists/trixie/InRelease";
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(crate) fn key() -> SignedSecretKey {
    let params = SecretKeyParamsBuilder::default()
        .key_type(KeyType::EdDSALegacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(chrono::DateTime::from_timestamp(BORN, 0).unwrap())
        .primary_user_id("archive <a@example.org>".to_owned())
        .build()
        .unwrap();
    let secret = params.generate(rand::thread_rng()).unwrap();
    secret.sign(rand::thread_rng(), String::new).unwrap()
}

pub(crate) fn ring(of: &SignedSecretKey) -> Keyring {
    let public = of
        .public_key()
        .sign(rand::thread_rng(), of, String::new)
        .unwrap();
    keyring::parse(Path::new("ring"), &public.to_bytes().unwrap()).unwrap()
}

fn text(date: &str, until: &str) -> String {
    format!(
        "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: {date}\n{until}Acquire-By-Hash: yes\nSHA256:\n {HASH} 3 main/binary-arm64/Packages.xz\n"
    )
}

fn good() -> String {
    text(
        "Mon, 23 Nov 2026 09:00:00 UTC",
        "Valid-Until: Mon, 30 Nov 2026 09:00:00 UTC\n",
    )
}

pub(crate) fn signed(text: &str, by: &SignedSecretKey) -> String {
    CleartextSignedMessage::sign(rand::thread_rng(), text, by, String::new)
        .unwrap()
        .to_armored_string(pgp::ArmorOptions::default())
        .unwrap()
}

#[test]
fn what_a_trusted_key_signed_is_read() {
    let key = key();
    let release = verify(
        URL,
        "trixie",
        &signed(&good(), &key),
        &ring(&key),
        now(),
        false,
    )
    .unwrap();
    let file = release.packages("main", "arm64").unwrap();
    assert_eq!(
        file.path,
        format!("main/binary-arm64/by-hash/SHA256/{HASH}")
    );
    assert_eq!((file.sha256.to_string().as_str(), file.size), (HASH, 3));
    assert!(matches!(
        release.packages("main", "sparc"),
        Err(RepoError::NoIndex { .. })
    ));
    verify(
        URL,
        "stable",
        &signed(&good(), &key),
        &ring(&key),
        now(),
        false,
    )
    .unwrap();
}

#[test]
fn every_forgery_has_its_own_refusal() {
    let (key, stranger) = (key(), key());
    let ours = ring(&key);
    let check = |message: &str| verify(URL, "trixie", message, &ours, now(), false).unwrap_err();

    assert!(
        matches!(check(&good()), RepoError::Unsigned { .. }),
        "no signature"
    );
    assert!(matches!(check(""), RepoError::Unsigned { .. }), "empty");
    assert!(
        matches!(
            check("<html>captive portal</html>"),
            RepoError::Unsigned { .. }
        ),
        "a web page"
    );
    let e = check(&signed(&good(), &stranger));
    assert!(
        matches!(e, RepoError::WrongKey { .. }),
        "a stranger's key: {e}"
    );
    let changed = signed(&good(), &key).replace(" 3 main/", " 4 main/");
    assert!(
        matches!(check(&changed), RepoError::WrongKey { .. }),
        "text changed after signing"
    );
    let before = format!("SHA256: evil\n{}", signed(&good(), &key));
    assert!(
        matches!(check(&before), RepoError::Unsigned { .. }),
        "text smuggled in before the signed part"
    );
    let after = format!("{}\nSHA256: evil\n", signed(&good(), &key));
    assert!(
        matches!(check(&after), RepoError::Unsigned { .. }),
        "text smuggled in after the signed part"
    );
}

#[test]
fn a_revoked_key_and_a_forgeable_hash_do_not_count() {
    let key = key();
    let public = key
        .public_key()
        .sign(rand::thread_rng(), &key, String::new)
        .unwrap();
    let config = SignatureConfig::v4(
        SignatureType::KeyRevocation,
        key.algorithm(),
        key.hash_alg(),
    );
    let mut revoked = public.clone();
    let revocation = config
        .sign_key(&key, String::new, &public.primary_key)
        .unwrap();
    revoked.details.revocation_signatures.push(revocation);
    let ring_of = keyring::parse(Path::new("ring"), &revoked.to_bytes().unwrap()).unwrap();
    let message = signed(&good(), &key);
    let e = verify(URL, "trixie", &message, &ring_of, now(), false).unwrap_err();
    assert!(
        matches!(&e, RepoError::DeadKey { reason, .. } if reason.contains("revoked")),
        "{e}"
    );

    // A hash that Debian never signs with: what is not on our list is refused, weak or new.
    let config = SignatureConfig::v4(
        SignatureType::Text,
        key.algorithm(),
        HashAlgorithm::SHA3_512,
    );
    let odd = CleartextSignedMessage::new(&good(), config, &key, String::new).unwrap();
    let odd = odd.to_armored_string(pgp::ArmorOptions::default()).unwrap();
    // The header is a hint that nobody signed.
    let odd = odd.replace("Hash: SHA3-512", "Hash: SHA512");
    let e = verify(URL, "trixie", &odd, &ring(&key), now(), false).unwrap_err();
    assert!(matches!(e, RepoError::WeakHash { .. }), "{e}");
}

#[test]
fn stale_and_foreign_tables_are_refused() {
    let key = key();
    let ring = ring(&key);
    let check = |text: &str| verify(URL, "trixie", &signed(text, &key), &ring, now(), false);
    let expired = text(
        "Mon, 02 Nov 2026 09:00:00 UTC",
        "Valid-Until: Mon, 09 Nov 2026 09:00:00 UTC\n",
    );
    assert!(matches!(check(&expired), Err(RepoError::Expired { .. })));
    verify(URL, "trixie", &signed(&expired, &key), &ring, now(), true)
        .expect("a frozen copy may be expired");
    let future = text("Mon, 30 Nov 2026 09:00:00 UTC", "");
    assert!(matches!(check(&future), Err(RepoError::NotYet { .. })));
    let other = good()
        .replace("trixie", "sid")
        .replace("stable", "unstable");
    assert!(matches!(check(&other), Err(RepoError::OtherSuite { .. })));
    let release = check(&good()).unwrap();
    release.not_older_than(None).unwrap();
    release
        .not_older_than(Some((release.date(), "same")))
        .unwrap();
    let older = release.not_older_than(Some((release.date() + 1, "newer")));
    assert!(matches!(older, Err(RepoError::Rollback { .. })));
}

#[test]
fn damaged_tables_are_errors_not_panics() {
    let key = key();
    let ring = ring(&key);
    for (danger, from, to) in [
        ("no date", "Date: Mon, 23 Nov 2026 09:00:00 UTC\n", ""),
        (
            "date that is none",
            "Mon, 23 Nov 2026 09:00:00 UTC",
            "yesterday",
        ),
        ("hash too short", HASH, "abcd"),
        ("size that is none", " 3 main", " x main"),
        ("no list", "SHA256:", "MD5Sum:"),
    ] {
        let bad = good().replacen(from, to, 1);
        let e = verify(URL, "trixie", &signed(&bad, &key), &ring, now(), false).unwrap_err();
        assert!(matches!(e, RepoError::Malformed { .. }), "{danger}: {e}");
    }
}

#[test]
fn keyring_that_is_none_says_what_to_install() {
    let e = keyring::parse(Path::new("/k"), b"not a keyring")
        .unwrap_err()
        .to_string();
    assert!(
        e.contains("/k") && e.contains("debian-archive-keyring"),
        "{e}"
    );
    assert!(keyring::load(Path::new("/no/such/ring")).is_err());
}
