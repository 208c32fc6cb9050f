//! On-device agent: health, self-tests, A/B updates.
//!
//! * [`init`]: process 1 of the initramfs: mounts the slot, makes the data partition at first boot, hands over to systemd
//! * [`run`]: the daemon: observe, decide ([`hypriot_updater::decide`]), act
//! * [`system`]: whether there are slots to decide about at all
//! * [`install`], [`bootloader`], [`disk`], [`mbr`]: the parts that touch the card
//! * [`probe`], [`report`]: what one look at the board finds
//! * [`serve`], [`metrics`], [`page`]: the HTTP half, which only reads the report
//! * [`exec`], [`files`]: the only places that start processes and replace files

pub mod act;
pub mod board;
pub mod bootloader;
pub mod cli;
pub mod config;
pub mod disk;
pub mod exec;
#[cfg(test)]
mod fakes;
pub mod files;
pub mod init;
pub mod install;
pub mod ioctl;
pub mod mbr;
pub mod memory;
pub mod metrics;
pub mod offer;
pub mod page;
pub mod ports;
pub mod probe;
pub mod report;
pub mod run;
pub mod selftest;
pub mod serve;
pub mod status;
pub mod system;
