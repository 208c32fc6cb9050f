//! On-device agent: health, self-tests, A/B updates.
