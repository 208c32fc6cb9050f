//! On-device agent: health, self-tests, A/B updates.

pub mod exec;
pub mod files;
