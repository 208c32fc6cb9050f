//! Owns what a build starts from: the board, the recipe, where packages come from.

pub mod board;
pub mod mirror;
pub mod near;
pub mod overlay;
pub mod project;
pub mod recipe;
