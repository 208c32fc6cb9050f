//! Owns what is asked of images that are there: whether they are right, what made them, and how two differ.

pub mod diff;
pub mod explain;
pub mod verify;
