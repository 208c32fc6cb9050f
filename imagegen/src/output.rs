//! The forms an image is handed out in, and the papers that go with it: zip, zstd, bmap, SBOM, manifest.

pub mod bmap;
pub mod papers;
pub mod zip;
pub mod zst;
#[cfg(test)]
mod tests;
