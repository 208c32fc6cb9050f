//! Owns what a build starts from: the board, the recipe, where packages come from.

pub mod board;
pub mod mirror;
pub mod project;
pub mod recipe;
