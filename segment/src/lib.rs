//! Bytes at rest: the storage seam, payload segments and slot segments.
//!
//! # Code map
//! - [`storage`] and [`error`]: the seam, as object-safe traits, and its two error families.
//! - [`file`], [`memory`]: its back ends over pread/pwrite and over memory; [`conformance`] is the
//!   suite that every back end passes. [`clock`] has the real clock and randomness.
//! - [`heap`]: payloads in memory, by absolute offset. [`sealed`]: payloads in immutable files.
//!
//! # Deliberately absent
//! No threads; no clock or randomness except through the traits (a lock's patience is a kernel
//! wait); no knowledge of trees, logs or frames.

#[cfg(not(all(unix, target_pointer_width = "64", target_endian = "little")))]
compile_error!("treering runs on 64-bit little-endian Unix hosts only");

pub mod clock;
pub mod conformance;
pub mod error;
pub mod file;
pub mod heap;
mod lock;
pub mod memory;
pub mod sealed;
pub mod storage;
mod sync;
