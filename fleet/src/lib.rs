//! Host tool: many boards at once.
//!
//! * [`cli`]: parses and prints
//! * [`hosts`]: which boards
//! * [`ask`]: one question to one board, bounded in time and size; all boards side by side
//! * [`answer`]: what a board's answer means; a board that says nothing is a state of its own
//! * [`table`]: answers for people
//! * [`validate`]: whether boards have tested themselves, and how that went

pub mod answer;
pub mod ask;
pub mod cli;
pub mod hosts;
pub mod table;
pub mod validate;
