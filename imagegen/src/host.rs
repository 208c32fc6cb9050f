//! Owns the building machine: what it lacks, its cache, its compilers, what it is told while it waits.

pub mod cross;
pub mod doctor;
