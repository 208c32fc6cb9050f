//! The update core: what a board decides, without doing any of it.
//!
//! Nothing here can do I/O (`no_std`): the agent gathers what it sees into values, asks, and acts.
//! imagegen writes with the same code what the agent reads.
//!
//! * [`layout`]: where everything lies on a card
//! * [`mbr`]: the partition table that says so
//! * [`slot`]: the two slots and the releases in them
//! * [`boot`]: the boot loader's memory of the trial, and the U-Boot script that keeps it
//! * [`index`]: the signed description of a release, segment by segment
//! * [`payload`]: the untrusted transport of its bytes
//! * [`health`]: test results to a verdict
//! * [`record`]: the one small thing a board must remember
//! * [`data`]: which shape the data of services has, and which release reads it
//! * [`rollout`]: which release is next, and when it is this board's turn
//! * [`window`]: when the owner lets a board restart
//! * [`names`]: by which names a server of ours may be asked
//! * [`decide`]: the whole update policy, one function
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

pub mod boot;
pub mod data;
pub mod decide;
pub mod health;
pub mod index;
pub mod layout;
pub mod mbr;
pub mod names;
pub mod payload;
pub mod record;
pub mod rollout;
pub mod slot;
pub mod window;
