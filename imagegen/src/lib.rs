//! From Debian packages to board images and signed releases (DESIGN 7): `lock -> fetch -> unpack -> configure -> normalise ->
//! bake -> image + release`, each a function of its inputs and cached by content hash.

pub mod bake;
pub mod board;
pub mod clean;
pub mod cli;
pub mod configure;
pub mod cpio;
pub mod cross;
pub mod deb;
pub mod diff;
pub mod doctor;
pub mod dpkg;
pub mod elf;
pub mod errand;
pub mod exec;
pub mod expectations;
pub mod fetch;
pub mod files;
pub mod fs;
pub mod image;
pub mod imagecheck;
pub mod initramfs;
pub mod lock;
pub mod make;
pub mod mbr;
pub mod mirror;
pub mod ns;
pub mod output;
pub mod overlay;
pub mod package;
pub mod progress;
pub mod project;
pub mod publish;
pub mod recipe;
pub mod record;
pub mod release;
pub mod repo;
pub mod resolve;
pub mod root;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod unpack;
pub mod verify;
