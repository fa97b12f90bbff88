//! Deathtime cohorts: the manifest of what a store consists of, and the policy and work of
//! compaction over sealed segments.
//!
//! - [`manifest`]: the append-only, checksummed catalogue of frames' extents, segments, pins and
//!   clocks. It is the store's single point of truth after a crash.
//!
//! The crate starts no thread, reads no clock and draws no randomness; time comes in as an argument.

#![forbid(unsafe_code)]

pub mod error;
pub mod manifest;

pub use error::{Error, Fate};
pub use manifest::Manifest;
