//! The crate's integration tests, in one binary.

mod crash;
mod damage;
mod manifest;
mod sample;
