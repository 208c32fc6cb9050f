//! On-device agent: health, self-tests, A/B updates. The rooms, in the order in which a board meets them:

/// The card: its partition table, a window of it, the boot loader's memory; and the ports through which it is used.
pub mod card;
/// The command line.
pub mod cli;
/// The kernel command line, as far as the board obeys it.
pub mod cmdline;
/// Settings of image and owner.
pub mod config;
/// One file with all that a maintainer asks for, without secrets.
pub mod diagnose;
/// Messages of the domain name system.
pub(crate) mod dns;
/// What makes this board another than its neighbours: its SSH host keys.
pub mod identity;
/// Process 1 of the initramfs: mounts the slot, makes the data partition at first boot, hands over to systemd.
pub mod init;
/// Requests to block devices that nix does not have.
pub mod ioctl;
/// Locks between root's processes.
pub mod lock;
/// Measures of the hardware, for a board that was just flashed.
pub mod measure;
/// Boards of one network lend each other what they hold of a release.
pub mod neighbours;
/// What an owner added to this start, and what became of it.
pub mod owner;
/// Packages that an owner adds: a layer over the root, for each release.
pub mod packages;
/// Where the initramfs leaves word for those who run later.
pub mod paths;
/// What one look at the board finds.
pub mod probe;
/// What was found, as the file that both halves share.
pub mod report;
/// Tests of the board in goss's vocabulary.
pub mod selftest;
/// The HTTP half, which only reads the report: health, metrics, page.
pub mod serve;
/// Updates that come on a USB stick.
pub mod stick;
/// Sums of files of any length.
mod sums;
/// Whether there are slots to decide about at all.
pub mod system;
/// The update loop: look, decide ([`hypriot_updater::decide`]), act.
pub mod update;

/// The only places that start processes and replace files.
pub use hypriot_base::{exec, files};
