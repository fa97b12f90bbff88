//! The journal through its public interface, on memory and on files, and on a storage that fails on
//! command.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests start threads")]

mod fixture;
mod group;
mod incarnations;
mod missing;
mod storage_faults;
mod tails;
