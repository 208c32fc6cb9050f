//! Packages that an owner adds to a board: a layer over the read-only root, made for exactly one release.
//!
//! What lies where, below [`DIRECTORY`]:
//!
//! | | |
//! |---|---|
//! | `wanted` | what the owner wants, by name ([`wanted`]); it outlasts every release |
//! | `layers/<release>-<n>/` | what installing that changed in one release's root: an overlay's upper directory ([`layer`]) |
//! | `debs/` | the packages that layers were made of, to make them again without a network ([`debs`]) |
//! | `building/` | a layer that is being made ([`build`]); left by a power cut, it is removed |
//!
//! A layer is made beside the running system and never under it ([`stage`]); the initramfs lays it over the root of the release it was
//! made for and of no other ([`release`]), and leaves it out when the board does not come up with it. It may add packages and change
//! none of the image ([`apt`], [`shadow`]): what brings the board back is the image's own. In the first start of another release no layer
//! fits: it is made anew from the list, and then the board restarts, before anybody judges ([`boot`]). What came of it is a check and a
//! self-test ([`standing`]).

pub mod apt;
pub mod boot;
pub mod build;
pub mod debs;
pub mod dpkg;
pub mod layer;
pub mod release;
pub mod shadow;
pub mod stage;
pub mod standing;
pub mod store;
pub mod wanted;

#[cfg(test)]
mod tests;

/// Where all of it lies.
pub const DIRECTORY: &str = "/data/packages";
