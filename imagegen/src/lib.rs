//! From Debian packages to board images and signed releases: `lock -> fetch -> unpack -> configure -> normalise ->
//! bake -> image + release`, each a function of its inputs and cached by content hash.
//!
//! | room | owns |
//! |---|---|
//! | [`cli`] | the command line: parses, calls, prints |
//! | [`pipeline`] | the stages one after the other: packages to a root tree, a tree to files that are handed out |
//! | [`inputs`] | what a build starts from: board, recipe, mirror, the project's own files |
//! | [`lock`] | which packages, out of which archive, signed by whom |
//! | [`fetch`] | packages into the store, and what that will take |
//! | [`unpack`] | packages into a tree on disk |
//! | [`configure`] | the packages' own scripts, run natively or emulated |
//! | [`sandbox`] | the world those scripts see |
//! | [`normalise`] | nothing of the day or of the machine stays in a tree |
//! | [`bake`] | a tree becomes a system: agent, units, initramfs, boot files, expectations, record |
//! | [`image`] | cards: partitions, and the forms in which they are handed out |
//! | [`flash`] | an image to a card: what the owner adds, which disks may be written, reading back |
//! | [`release`] | a signed update, and publishing it |
//! | [`refresh`] | the next release out of Debian's own updates |
//! | [`imagecheck`] | whether an image is right |
//! | [`questions`] | what else is asked of images that are there: same bytes again? from where? what changed? |
//! | [`agent_deb`] | the agent as a package for plain Debian |
//! | [`debian`] | Debian's own formats: packages, and the records of what is installed |
//! | [`formats`] | file systems as plans: EROFS, FAT, cpio |
//! | [`arch`] | what a program runs on |
//! | [`elf`] | programs: their processor, what they need, and whether the tree has it |
//! | [`tree`] | a root tree in memory, packed, compared |
//! | [`host`] | the building machine: what it lacks, its compilers |
//! | [`files`], [`sha256`], [`exec`], [`progress`] | durable files, what names them, processes, and what is said while one waits |

pub mod agent_deb;
pub mod arch;
pub mod bake;
pub mod cli;
pub mod configure;
pub mod debian;
pub mod elf;
pub mod exec;
pub mod fetch;
pub mod files;
pub mod flash;
pub mod formats;
pub mod host;
pub mod image;
pub mod imagecheck;
pub mod inputs;
pub mod lock;
pub mod normalise;
pub mod pipeline;
pub mod progress;
pub mod questions;
pub mod refresh;
pub mod release;
pub mod sandbox;
pub mod sha256;
#[cfg(test)]
pub(crate) mod testing;
pub mod tree;
pub mod unpack;
