//! Owns Debian's own formats: packages, and the records of what is installed.

pub mod deb;
pub mod dpkg;
