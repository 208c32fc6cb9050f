//! Who may say what: ed25519 keys, TUF 1.0 metadata and its verification.
//!
//! * `time`: [`time::Timestamp`], seconds since 1970, read and written in RFC 3339.
//! * `source`: where bytes come from; untrusted, one method.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
extern crate alloc;

#[cfg(feature = "std")]
pub mod source;
pub mod time;
