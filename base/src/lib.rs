//! What every program here stands on.
//!
//! * [`files`]: the only place that replaces files: wholly the old one or wholly the new one, after any power cut.
//! * [`exec`]: the only place that starts processes and waits for them: bounded in time and output, ended with all they started.
#![forbid(unsafe_code)]

pub mod exec;
pub mod files;
