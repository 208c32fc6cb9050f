//! Virtual boards, power cuts, attacks, fidelity and tidiness of the workspace.
//!
//! * `exec`: processes that never outlive us.
//! * `board`: a virtual board that is switched on, asked, and unplugged.
//! * `serve`: a file server for releases, which can be told to misbehave.
//! * `http`: asks a board, as curl would.

pub mod board;
pub mod exec;
pub mod http;
pub mod serve;
