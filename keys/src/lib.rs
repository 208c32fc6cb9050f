//! Who may say what: ed25519 keys, TUF 1.0 metadata and its verification.
//!
//! The core has no I/O and is `no_std`: bytes in, a [`verified::Verified`] value or the reason to refuse out.
//!
//! * `json`, `key`, `signed`, `schema`, `check`: one file: strict form, signatures, type, what can be wrong inside it.
//! * `workflow`: the specification's client workflow, file after file; `search`: its walk through delegations.
//! * `names`: safe names, file names, which names a delegation covers.
//! * `hash`: SHA-256 for others; `error`: every reason to refuse; `time`: instants as values.
//!
//! With feature `std`: [`client::Client`] over a [`source::Source`] and a durable store, and `repo`, the writing side.
//! With feature `keyfile`: private keys in encrypted files. With feature `http`: a source that speaks HTTP(S).
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod check;
pub mod error;
pub mod hash;
pub mod json;
pub mod key;
pub mod names;
pub mod schema;
pub mod search;
pub mod signed;
pub mod time;
pub mod verified;
pub mod workflow;

#[cfg(feature = "std")]
pub mod client;
#[cfg(feature = "std")]
pub mod fetch;
#[cfg(feature = "std")]
pub mod files;
#[cfg(feature = "keyfile")]
pub mod keyfile;
#[cfg(feature = "std")]
pub mod repo;
#[cfg(feature = "std")]
pub mod secret;
#[cfg(feature = "std")]
pub mod source;
#[cfg(feature = "std")]
mod store;

pub use error::Error;
pub use verified::{FromVerified, Verified};
