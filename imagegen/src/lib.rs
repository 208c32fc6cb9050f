//! From Debian packages to board images and signed releases (DESIGN 7): `lock -> fetch -> unpack -> configure -> normalise ->
//! bake -> image + release`, each a function of its inputs and cached by content hash.

pub mod cli;
pub mod cross;
pub mod doctor;
pub mod elf;
pub mod board;
pub mod configure;
pub mod deb;
pub mod exec;
pub mod fetch;
pub mod files;
pub mod lock;
pub mod mirror;
pub mod ns;
pub mod overlay;
pub mod progress;
pub mod recipe;
pub mod repo;
pub mod resolve;
pub mod root;
pub mod store;
pub mod unpack;
pub mod project;
pub mod cpio;
pub mod fs;
pub mod initramfs;
pub mod mbr;
pub mod output;
pub mod publish;
pub mod release;
pub mod make;
pub mod image;
pub mod imagecheck;
pub mod bake;
pub mod tree;
#[cfg(test)]
pub(crate) mod testing;
