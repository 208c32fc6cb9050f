//! Owns what a build starts from: the board, the recipe, where packages come from, the owner's files.

pub mod board;
pub mod container;
pub mod mirror;
pub mod near;
pub mod needs;
pub mod overlay;
pub mod project;
pub mod recipe;
pub mod userdata;
