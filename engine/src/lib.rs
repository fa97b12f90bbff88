//! An embedded, crash-safe store for path-shaped keys: object-store and file-system namespaces, build
//! caches, package indexes.
//!
//! ```
//! use treering::{Engine, ListOptions, Options};
//!
//! # fn main() -> treering::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("store");
//! let engine = Engine::open(&path, Options::new())?;
//! let files = engine.default_tree();
//! files.put("usr/bin/env", "a small record")?;
//! files.put("usr/lib/libc.so", "another")?;
//! assert_eq!(files.get("usr/bin/env")?.as_deref(), Some(&b"a small record"[..]));
//!
//! let page = files.list(&ListOptions { prefix: b"usr/".to_vec(), ..ListOptions::default() })?;
//! assert_eq!(page.entries.len(), 2); // the common prefixes usr/bin/ and usr/lib/
//! engine.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! One radix tree over latched frames holds all named trees; a write-ahead log in a shared ring makes
//! writes survive `kill -9` at close to memory cost, and group commit makes them survive power loss; cuts
//! move the state to its place on disk. ARCHITECTURE.md draws the map.
//!
//! It is *not* a server, not a relational store, and not for values that are large on the whole: keys up to
//! 8 KiB, values up to 1 GiB, best with small ones.

// The models of tests/loom.rs compile in what they need; the ring's model memory would keep the rest from building.
#![cfg(not(loom))]
#![forbid(unsafe_code)]

#[cfg(not(all(target_pointer_width = "64", target_endian = "little")))]
compile_error!("treering keeps its frames as 64-bit little-endian words; this target is neither");

mod background;
mod batch;
mod catalog;
mod clock;
mod cut;
mod engine;
mod error;
mod extents;
mod gate;
mod identity;
mod list;
mod namespace;
mod options;
mod payload;
mod range;
mod read;
mod recovery;
mod reserve;
mod staging;
mod state;
mod stats;
mod store;
mod tree;
mod verify;
mod write;

pub use batch::Batch;
pub use catalog::{DEFAULT_TREE_NAME, MAX_TREE_NAME_BYTES};
pub use cut::CutStats;
pub use engine::Engine;
pub use error::{Error, ErrorKind, Result};
pub use list::{DEFAULT_LIST_LIMIT, ListOptions, Listed, Listing, MAX_LIST_LIMIT};
pub use namespace::Tree;
pub use options::{
    Condition, Durability, MAX_BATCH_OPERATIONS, MAX_KEY_BYTES, MAX_VALUE_BYTES, Options, WriteOptions,
};
pub use range::{Entry, Range};
pub use stats::Stats;
/// What an engine can be opened in: storage, clock and randomness of the caller's.
pub use treering_segment as segment;
pub use verify::{FoundDamage, VerifyReport, verify, verify_in};
