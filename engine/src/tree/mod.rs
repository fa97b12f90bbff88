//! The radix tree: byte string to leaf, over many resident frames.
//!
//! It is not the database: it logs nothing, resolves no payload, knows no time and takes no
//! logical lock. Keys are whole internal keys (the caller puts the tree id in front). What lies in
//! *one* frame is `treering-blobframe`'s matter; this module follows crossings between frames,
//! latches them, splits them and captures them for a cut.
//!
//! # Map
//! * `latch` — optimistic and exclusive access to one frame (invariants L1–L4).
//! * `table` — frame number to slot (T1, T2).
//! * `read` — lookups; `scan` — ordered ranges and listings.
//! * `write` — writers, and the splits they cause.
//! * `capture` — what a cut needs to save a frame as it was at the bump (C1–C4).
//!
//! # Who may call what
//! Reads and scans need nothing. A `Writer` lives inside the engine's gate and is given the epoch that
//! was read there. `open_cut` is called with the gate closed. Everything is safe to call from many
//! threads at once within these rules.

mod capture;
mod latch;
mod read;
mod scan;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use capture::CutSet;
pub(crate) use scan::{Resume, ScanItem, ScanRequest, Skip};
pub(crate) use write::Writer;

use bytes::Bytes;
use capture::Cuts;
use std::sync::atomic::AtomicU64 as Word;
use table::{FrameTable, Slot, SlotState};
use treering_blobframe::{BlobFrame, BlobFrameRef, FrameId, LeafPointer, verify};

/// What a tree is made of, fixed for its life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeOptions {
    /// Size of a frame in bytes, a power of two from 4 KiB to 512 KiB.
    pub(crate) frame_bytes: usize,
    /// Goes into every frame's id, so that frames of another store are told apart.
    pub(crate) store_tag: u64,
    /// The number of the root frame.
    pub(crate) root: u64,
    /// The number that the next new frame gets, above every number ever used.
    pub(crate) next_frame: u64,
    /// The epoch in which the tree is opened.
    pub(crate) epoch: u64,
}

/// Why the tree could not answer. Either is final for the frame: retrying does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TreeError {
    /// The frame's contents contradict themselves or the tree.
    Damage {
        /// The frame's number.
        frame: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// No split or re-pack makes room for this put: the key or the value is larger than frames allow.
    TooLarge {
        /// The frame's number.
        frame: u64,
    },
}

impl std::fmt::Display for TreeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damage { frame, what } => write!(f, "frame {frame} is damaged: {what}"),
            Self::TooLarge { frame } => write!(f, "the entry is too large for frame {frame}"),
        }
    }
}

impl std::error::Error for TreeError {}

/// What a leaf says without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafMeta {
    /// The LSN of the record that wrote it.
    pub(crate) version: u64,
    /// When it expires, in milliseconds of store time.
    pub(crate) death: Option<u64>,
    /// The value's length in bytes.
    pub(crate) value_len: u64,
    /// Where the value is, unless it is inline.
    pub(crate) pointer: Option<LeafPointer>,
}

/// A leaf copied out of its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedLeaf {
    /// The LSN of the record that wrote it.
    pub(crate) version: u64,
    /// When it expires, in milliseconds of store time.
    pub(crate) death: Option<u64>,
    /// The value's length in bytes, also where the value was not asked for.
    pub(crate) value_len: u64,
    /// The value, or where it is.
    pub(crate) value: LeafData,
}

/// A leaf's value, or where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeafData {
    /// The value itself. Empty, whatever the value, in a scan that asked for keys only.
    Inline(Bytes),
    /// Where the value is.
    Pointer(LeafPointer),
}

/// Sums over all resident frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeStats {
    /// Resident frames.
    pub(crate) frames: u64,
    /// Frames that differ from their newest capture.
    pub(crate) dirty_frames: u64,
    /// Leaves in them.
    pub(crate) leaves: u64,
    /// Bytes of them in use.
    pub(crate) used_bytes: u64,
    /// Bytes of them that a re-pack would win back.
    pub(crate) dead_bytes: u64,
}

/// The tree.
#[derive(Debug)]
pub(crate) struct Tree {
    table: FrameTable,
    root: u64,
    store_tag: u64,
    cuts: Cuts,
}

impl Tree {
    /// A tree without frames: `create_root` or `install` must follow.
    pub(crate) fn new(options: &TreeOptions) -> Self {
        let next_frame = options.next_frame.max(options.root.saturating_add(1));
        Self {
            table: FrameTable::new(options.frame_bytes, next_frame),
            root: options.root,
            store_tag: options.store_tag,
            cuts: Cuts::new(options.epoch),
        }
    }

    /// Makes the empty root frame of a new store, dirty in `epoch`.
    pub(crate) fn create_root(&self, epoch: u64) -> Result<(), TreeError> {
        self.make_frame(self.root, epoch).map(|_| ())
    }

    /// Takes over a frame from disk: `fill` decodes it into zeroed words. Answers `false`, without
    /// calling `fill`, if the number is 0, not below `next_frame`, or already taken.
    pub(crate) fn install<E>(
        &self,
        number: u64,
        fill: impl FnOnce(&[Word]) -> Result<(), E>,
    ) -> Result<bool, E> {
        if number == 0 || number >= self.table.next_number() || self.table.get(number).is_some() {
            return Ok(false);
        }
        let words = self.table.blank();
        fill(&words)?;
        Ok(self.table.install(number, words, SlotState::default()).is_some())
    }

    /// The number that the next new frame gets. Exact while the gate is closed.
    pub(crate) fn next_frame_number(&self) -> u64 {
        self.table.next_number()
    }

    /// The number of the root frame.
    pub(crate) fn root(&self) -> u64 {
        self.root
    }

    /// Lays memory ready for `count` new frames, so that splits inside the gate neither allocate nor
    /// touch fresh pages (W1).
    pub(crate) fn prime(&self, count: usize) {
        self.table.prime(count);
    }

    /// Sums over all frames, each as it is when its turn comes.
    pub(crate) fn stats(&self) -> TreeStats {
        let mut sums = TreeStats::default();
        for slot in self.table.slots() {
            let guard = slot.latch.shared();
            let frame = BlobFrameRef::attach(&slot.words);
            sums.frames += 1;
            sums.dirty_frames += u64::from(guard.dirty.is_some());
            sums.leaves += frame.live_leaves() as u64;
            sums.used_bytes += frame.used_bytes() as u64;
            sums.dead_bytes += frame.dead_bytes() as u64;
        }
        sums
    }

    /// Proves every frame's invariants, each frame by itself.
    pub(crate) fn verify_frames(&self) -> Result<(), TreeError> {
        for slot in self.table.slots() {
            let guard = slot.latch.shared();
            if guard.broken() {
                return Err(read::damage(slot.number, read::BROKEN));
            }
            let frame = BlobFrameRef::attach(&slot.words);
            verify(frame).map_err(|error| read::damage(slot.number, error.what))?;
            if frame.id() != (FrameId { number: slot.number, store_tag: self.store_tag }) {
                return Err(read::damage(slot.number, "its id is another frame's"));
            }
        }
        Ok(())
    }

    /// Makes an empty frame that no crossing names yet.
    fn make_frame(&self, number: u64, epoch: u64) -> Result<&Slot, TreeError> {
        let words = self.table.blank();
        let _ = BlobFrame::init(&words, &FrameId { number, store_tag: self.store_tag }, epoch);
        let state = SlotState { dirty: Some(epoch), frozen: None };
        let slot = self
            .table
            .install(number, words, state)
            .ok_or(TreeError::Damage { frame: number, what: "its number is taken" })?;
        self.cuts.note_dirty(number);
        Ok(slot)
    }

    fn root_slot(&self) -> Result<&Slot, TreeError> {
        self.slot(self.root)
    }

    fn slot(&self, number: u64) -> Result<&Slot, TreeError> {
        self.table.get(number).ok_or(TreeError::Damage { frame: number, what: "it is not there" })
    }
}
