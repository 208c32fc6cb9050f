//! Owns images for cards and disks: partitions, file systems, and the files that are handed out.

pub mod card;
pub mod output;
pub mod table;
