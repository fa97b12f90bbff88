//! What one edit can say. An edit is one atomic transition of the store's durable state; its bytes
//! are [`format`](super::format)'s business, its effect [`State`](super::State)'s.

use bytes::Bytes;

/// The death time of a record that never dies by time.
pub const NEVER: u64 = u64::MAX;

/// Which part of a frame's image an extent holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentKind {
    /// A whole image.
    Base,
    /// Changes on top of the base and of the deltas before it; the first delta has order 1.
    Delta(u16),
}

/// A run of the frame file that holds a frame's base or one of its deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// What it holds.
    pub kind: ExtentKind,
    /// Byte offset in the frame file.
    pub offset: u64,
    /// Length in bytes.
    pub length: u32,
    /// The epoch of the cut that wrote it.
    pub epoch: u64,
    /// Checksum of its content (PROTOCOL F4).
    pub checksum: u32,
}

/// One change of the map from frames to extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtentChange {
    /// A base replaces everything the frame had; a delta is added to its chain.
    Set {
        /// The frame's number.
        frame: u64,
        /// Where the image, or the change to it, is.
        extent: Extent,
    },
    /// The frame is gone.
    Remove {
        /// The frame's number.
        frame: u64,
    },
}

/// What the catalogue knows about a sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// The segment's id; never reused (PROTOCOL O6).
    pub id: u64,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Records in the file.
    pub records: u64,
    /// Sum of the values' lengths.
    pub value_bytes: u64,
    /// Records that something still refers to, as of the edit; an upper bound while a detached prefix is swept.
    pub live_records: u64,
    /// Sum of the live records' value lengths.
    pub live_bytes: u64,
    /// The cohort (death bucket) that it belongs to.
    pub cohort: u64,
    /// The earliest death time of a record, in ms of store time; [`NEVER`] if none dies by time.
    pub min_death: u64,
    /// The latest death time of a record, in ms of store time; [`NEVER`] if any record never dies.
    pub max_death: u64,
    /// The Merkle root over its records.
    pub root: [u8; 32],
}

/// One change of the segment catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentChange {
    /// A sealed and synced segment joins.
    Add(SegmentMeta),
    /// New live counts of a segment, absolute (PROTOCOL C2).
    Live {
        /// The segment.
        id: u64,
        /// Records still referred to.
        live_records: u64,
        /// Their values' lengths.
        live_bytes: u64,
    },
    /// A segment leaves; its file may be unlinked once the edit is durable.
    Remove {
        /// The segment.
        id: u64,
    },
}

/// A durable, named hold on the state at an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The pin's id; never reused.
    pub id: u64,
    /// The name given by its owner, any bytes.
    pub name: Bytes,
    /// The epoch that it keeps.
    pub epoch: u64,
}

/// One change of the pins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinChange {
    /// A new pin.
    Add(Pin),
    /// A pin is released.
    Remove {
        /// The pin.
        id: u64,
    },
}

/// A subtree that was cut off by a prefix removal and waits to be swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DetachedRoot {
    /// The frame in which the subtree starts.
    pub frame: u64,
    /// The entry of that frame.
    pub entry: u16,
    /// The epoch at which it was detached.
    pub epoch: u64,
}

/// One change of the detached roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetachedChange {
    /// A subtree was detached.
    Add(DetachedRoot),
    /// It is swept.
    Remove {
        /// The frame in which it started.
        frame: u64,
        /// The entry of that frame.
        entry: u16,
    },
}

/// One atomic transition. Lists apply in order; what is `None` or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// The epoch that the state now stands at; never less than before.
    pub epoch: Option<u64>,
    /// Changes of the frame map.
    pub extents: Vec<ExtentChange>,
    /// Changes of the segment catalogue.
    pub segments: Vec<SegmentChange>,
    /// Changes of the pins.
    pub pins: Vec<PinChange>,
    /// Changes of the detached roots.
    pub detached: Vec<DetachedChange>,
    /// Store time in ms; the state keeps the maximum of all (PROTOCOL F6).
    pub clock_ms: Option<u64>,
    /// The engine's own bytes, replaced whole.
    pub engine: Option<Bytes>,
}
