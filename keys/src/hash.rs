//! SHA-256 over several pieces, for crates that need one and no more of the machinery.

use sha2::{Digest, Sha256};

/// SHA-256 of the pieces put together. The caller sees to it that only the last may vary in length.
pub fn sha256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update(piece);
    }
    hash.finalize().into()
}
