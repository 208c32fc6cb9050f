//! Whether a key that made a signature counts, by the rules of `gpgv` (GnuPG: g10/getkey.c, `merge_selfsigs_main` and
//! `merge_selfsigs_subkey`; g10/sig-check.c). `tests/gpgv.rs` judges them beside it.
//!
//! Only what the primary key itself signed says anything about a key: a revocation or an expiry that somebody else put into
//! the file does not.

#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the crate whose types these are is pgp's, and not ours to name"
)]

use hypriot_keys::time::Timestamp;
use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{PublicKeyTrait, Tag};

/// The part of a key that made a signature.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

/// Which part of `key` made the signature, if one did, whatever it is worth.
pub(super) fn signer<'a>(
    key: &'a SignedPublicKey,
    signature: &Signature,
    text: &[u8],
) -> Option<Signer<'a>> {
    // Certifications and bindings are signatures too, and say nothing about a text.
    if !matches!(signature.typ(), SignatureType::Binary | SignatureType::Text) {
        return None;
    }
    if signature.verify(&key.primary_key, text).is_ok() {
        return Some(Signer::Primary);
    }
    let mut subkeys = key.public_subkeys.iter();
    subkeys
        .find(|s| signature.verify(&s.key, text).is_ok())
        .map(Signer::Subkey)
}

/// Why the signature does not count at `now`, if so.
pub(super) fn dead(
    key: &SignedPublicKey,
    signer: Signer<'_>,
    signature: &Signature,
    now: i64,
) -> Option<String> {
    let created = match signer {
        Signer::Primary => key.primary_key.created_at(),
        Signer::Subkey(subkey) => subkey.key.created_at(),
    };
    let subkey = || match signer {
        Signer::Primary => None,
        Signer::Subkey(subkey) => self::subkey(key, subkey, now),
    };
    primary(key, now)
        .or_else(subkey)
        .or_else(|| made(signature, created.timestamp(), now))
}

/// A time as people read it.
fn shown(at: i64) -> Timestamp {
    Timestamp(u64::try_from(at).unwrap_or(0))
}

fn made(signature: &Signature, key_created: i64, now: i64) -> Option<String> {
    let Some(created) = made_at(signature) else {
        return Some("does not say when it signed".to_owned());
    };
    if created < key_created {
        return Some(format!(
            "was made on {}, after its signature of {}",
            shown(key_created),
            shown(created)
        ));
    }
    let life = signature.signature_expiration_time();
    ended(created, life.map(|d| d.num_seconds()), now)
        .map(|end| format!("made a signature that expired on {end}"))
}

/// The end, if it is past. No expiry, or one of zero seconds, is none (RFC 9580, 5.2.3.13).
fn ended(from: i64, life: Option<i64>, now: i64) -> Option<Timestamp> {
    let end = from.checked_add(life.filter(|l| *l > 0)?)?;
    (end < now).then(|| shown(end))
}

fn made_at(signature: &Signature) -> Option<i64> {
    signature.created().map(|c| c.timestamp())
}

/// How long a key lives by the word of this signature.
fn life(by: &Signature) -> Option<i64> {
    by.key_expiration_time().map(|d| d.num_seconds())
}

fn primary(key: &SignedPublicKey, now: i64) -> Option<String> {
    let (own, details) = (&key.primary_key, &key.details);
    if own.created_at().timestamp() > now {
        return Some("was made in the future: is this machine's clock right?".to_owned());
    }
    let revoked = details
        .revocation_signatures
        .iter()
        .any(|s| s.typ() == SignatureType::KeyRevocation && s.verify_key(own).is_ok());
    if revoked {
        return Some("was revoked".to_owned());
    }
    let direct = details
        .direct_signatures
        .iter()
        .filter(|s| s.typ() == SignatureType::Key && s.verify_key(own).is_ok());
    let users = details.users.iter().flat_map(|user| {
        let mine = |s: &&Signature| s.verify_certification(own, Tag::UserId, &user.id).is_ok();
        let valid: Vec<&Signature> = user.signatures.iter().filter(mine).collect();
        let revoked = valid
            .iter()
            .filter(|s| s.typ() == SignatureType::CertRevocation)
            .filter_map(|s| made_at(s))
            .max();
        // A user id that was revoked later speaks no more.
        let speaks = move |s: &&Signature| s.is_certification() && made_at(s) > revoked;
        valid.into_iter().filter(speaks).collect::<Vec<_>>()
    });
    let Some(newest) = direct
        .chain(users)
        .filter(|s| s.signature_expiration_time().is_none())
        .max_by_key(|s| made_at(s))
    else {
        return Some("has no signature of its own that is valid".to_owned());
    };
    ended(own.created_at().timestamp(), life(newest), now).map(|end| format!("expired on {end}"))
}

fn subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: i64) -> Option<String> {
    let name = format!("{:X}", subkey.key.key_id());
    let mine = |s: &&Signature| s.verify_key_binding(&key.primary_key, &subkey.key).is_ok();
    let valid: Vec<&Signature> = subkey.signatures.iter().filter(mine).collect();
    // Whatever its date: a binding made after a revocation does not bring a subkey back (merge_selfsigs_subkey).
    if valid
        .iter()
        .any(|s| s.typ() == SignatureType::SubkeyRevocation)
    {
        return Some(format!("revoked its subkey {name}, which signed"));
    }
    let bindings = valid
        .into_iter()
        .filter(|s| s.typ() == SignatureType::SubkeyBinding);
    let Some(newest) = bindings.max_by_key(|s| made_at(s)) else {
        return Some(format!(
            "does not vouch for the subkey {name}, which signed"
        ));
    };
    // Without the subkey's own word anybody could take a stranger's subkey for his (RFC 9580, 5.2.1.9, type 0x19).
    let agrees = newest.embedded_signature().is_some_and(|back| {
        back.typ() == SignatureType::KeyBinding
            && back
                .verify_backwards_key_binding(&subkey.key, &key.primary_key)
                .is_ok()
    });
    if !newest.key_flags().sign() || !agrees {
        return Some(format!("has a subkey {name} that may not sign"));
    }
    ended(subkey.key.created_at().timestamp(), life(newest), now)
        .map(|end| format!("has a subkey {name}, which signed and expired on {end}"))
}
