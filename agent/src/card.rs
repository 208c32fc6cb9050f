//! The card, and the ports through which the update works on it.

pub mod aligned;
pub mod bootloader;
pub mod canary;
pub mod disk;
#[cfg(test)]
pub(crate) mod fakes;
pub mod guarded;
pub mod loader;
pub mod ports;
pub mod tryboot;
