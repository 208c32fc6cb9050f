//! Whence an installation came.

use serde::{Deserialize, Serialize};

/// What the last installation cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Bytes that came from the source.
    pub source: u64,
    /// Bytes that came from neighbours.
    pub neighbours: u64,
    /// How many of them gave something.
    pub lenders: usize,
}
