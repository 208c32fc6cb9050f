//! The forms an image is handed out in, and the papers that go with it: zip, zstd, bmap, SBOM, manifest.

pub mod bmap;
pub mod bootimg;
pub mod papers;
#[cfg(test)]
mod tests;
pub mod zip;
pub mod zst;
