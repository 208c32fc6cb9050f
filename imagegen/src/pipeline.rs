//! Owns the way from a recipe to files that can be flashed and served, one stage after the other.

pub mod artifacts;
pub mod clean;
pub mod root_tree;
