//! The crate's integration tests, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod compaction;
mod crash;
mod damage;
mod manifest;
mod sample;
