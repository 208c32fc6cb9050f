//! From Debian packages to board images and signed releases (DESIGN 7): `lock -> fetch -> unpack -> configure -> normalise ->
//! bake -> image + release`, each a function of its inputs and cached by content hash.

pub mod cli;
pub mod cross;
pub mod doctor;
pub mod elf;
pub mod exec;
pub mod files;
pub mod project;
