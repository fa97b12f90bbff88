//! Bytes at rest: the storage seam, payload segments and slot segments.
//!
//! # Code map
//! - [`storage`] and [`error`]: the seam, as object-safe traits, and its two error families.
//! - [`file`], [`memory`]: its back ends over pread/pwrite and over memory; [`conformance`] is the
//!   suite that every back end passes. [`clock`] has the real clock and randomness.
//! - [`crash_point`]: named places where the kill harness ends a process; empty in any release build.
//! - [`defects`]: switches by which the campaigns prove themselves; in no release build.
//! - [`heap`]: payloads in memory, by absolute offset. [`sealed`]: payloads in immutable files.
//!
//! # Example
//! ```
//! use treering_segment::memory::MemoryStorage;
//! use treering_segment::sealed::{RecordIn, SegmentReader, SegmentWriter};
//!
//! let (storage, store_id) = (MemoryStorage::new(), [7; 16]);
//! let mut writer = SegmentWriter::create(&storage, 1, store_id, 0)?;
//! for (lsn, key) in [b"docs/a", b"docs/b"].into_iter().enumerate() {
//!     let lsn = lsn as u64;
//!     writer.append(&RecordIn { key, value: b"payload", lsn, written_ms: 0, death_ms: None })?;
//! }
//! let summary = writer.finish()?; // Durable from here on.
//!
//! let reader = SegmentReader::open(&storage, 1, store_id)?;
//! let record = reader.get(b"docs/b")?.expect("it was written");
//! assert_eq!(record.value()?, &b"payload"[..]);
//! assert_eq!(reader.recompute_root()?, summary.merkle_root);
//! # Ok::<(), treering_segment::sealed::SegmentError>(())
//! ```
//!
//! # Deliberately absent
//! No threads; no clock or randomness except through the traits (a lock's patience is a kernel
//! wait); no knowledge of trees, logs or frames.

#[cfg(not(all(unix, target_pointer_width = "64", target_endian = "little")))]
compile_error!("treering runs on 64-bit little-endian Unix hosts only");

pub mod clock;
pub mod conformance;
pub mod crash_point;
pub mod defects;
pub mod error;
pub mod file;
pub mod heap;
mod lock;
pub mod memory;
pub mod sealed;
pub mod storage;
mod sync;
