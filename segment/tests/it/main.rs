//! The crate's integration tests: the seam's contract on both back ends, what only the file back end
//! promises, and sealed segments on real files.
#![allow(clippy::unwrap_used, reason = "tests, and what only tests call")]

mod back_ends;
mod files;
mod locks;
mod sealed;
