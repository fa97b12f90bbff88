//! Deathtime cohorts: the manifest of what a store consists of, and the policy and work of
//! compaction over sealed segments.
//!
//! - [`manifest`]: the append-only, checksummed catalogue of frames' extents, segments, pins and
//!   clocks. It is the store's single point of truth after a crash.
//! - [`cohort`]: which records die about the same time, and which segments to collect first.
//! - [`merge`]: several segments as one, the last writer winning.
//! - [`cycle`]: one cycle of compaction, with an index or alone.
//!
//! The crate starts no thread, reads no clock and draws no randomness; time comes in as an argument.

#![forbid(unsafe_code)]

pub mod cohort;
pub mod cycle;
pub mod error;
pub mod manifest;
pub mod merge;

pub use cohort::{CohortInfo, cohort_of, identify_cohorts};
pub use cycle::{CompactionStats, Cycle, Liveness, compact_cycle, remove_orphans};
pub use error::{Error, Fate};
pub use manifest::Manifest;
