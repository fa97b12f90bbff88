//! The frame's layout, word by word: this file is the format; nothing else states an offset.
//!
//! A frame of 2^k bytes (12 ≤ k ≤ 19) is 2^k / 8 little-endian words ("units"). Offsets are unit
//! numbers in 16 bits; 65,536 × 8 is 512 KiB, so that an offset read from a full-size frame cannot
//! leave it, and in smaller frames it is masked. Offset 0 lies in the header and means "none".
//!
//! ```text
//! header │ entry table, nodes ──►        free gap        ◄── leaves │
//! 0      16                  node_top              leaf_bottom      units
//! ```
//!
//! Header:
//!
//! | word | bits | what |
//! |---|---|---|
//! | 0 | 0..32 | magic `TRFR`; 32..48 format (1); 48..56 log2 of the frame's bytes; 56..64 zero |
//! | 1 | 0..64 | frame number, never reused |
//! | 2 | 0..64 | store tag: the same in every frame of a store |
//! | 3 | 0..64 | epoch of the last change |
//! | 4 | 0..32 | node_top: first unit above the nodes; 32..64 leaf_bottom: lowest unit of the leaves |
//! | 5 | 0..32 | dead node units; 32..64 dead leaf units (both wait for a re-pack) |
//! | 6 | 0..32 | live leaves; 32..64 units on the free lists |
//! | 7 | 0..16 | entry table's offset; 16..32 its capacity in entries (4 a word); 32..48 entries used; 48..64 live leaves that have a death time |
//! | 8..16 | 16 each | free-list heads for blocks of exactly 1, 2, … 32 units |
//!
//! An *entry* is the root of one subtree that other frames' crossings (or the store's root) name;
//! the entry table holds each entry's node offset, 16 bits each. Entry 0 always exists.
//!
//! Word 0 of an inner node: kind 0..8, flags 8..16 (zero), count of edges 16..32, prefix bytes
//! 32..48, terminal 48..64 (offset of the leaf whose key ends right after this node's prefix, 0 if
//! none). Its body by kind, then its prefix, padded with zeros to a whole word:
//!
//! | kind | body words |
//! |---|---|
//! | Node4 | 1: edge bytes, ascending (4 × 8 bits, then zero); 2: their children (4 × 16 bits) |
//! | Node16 | 1, 2: edge bytes, ascending; 3..7: their children |
//! | Node48 | 1..5: a 256-bit map of the edge bytes; 5..17: children by rank in the map |
//! | Node256 | 1..65: child of each byte, 0 if none |
//!
//! Other kinds:
//! - *Empty root* (1 word): an entry without keys.
//! - *Crossing* (2 words): word 0 flags bit 0 GROUP, 16..32 entry in the child frame; word 1 the
//!   child frame's number. An ordinary crossing hangs on one edge, whose byte is consumed. A GROUP
//!   crossing is the child of two or more neighbouring edges of one node; their bytes are *not*
//!   consumed (the child's entry starts with them), and it owns its whole byte range: an edge that
//!   comes to be between two of its edges is its edge too.
//! - *Free block*: 16..32 its units, 32..48 the next block of its list. A dead block is nobody's.
//! - *Leaf* (in the leaf region): word 0 flags bit 0 DEATH, bit 1 POINTER, bit 2 STAGED, 16..32
//!   suffix bytes, 32..64 value bytes; word 1 version; then if DEATH a word death time; then if
//!   POINTER three words: segment, offset, length 0..32 | CRC 32..64; then the suffix bytes and, if
//!   not POINTER, the value right behind them; padded with zeros to a whole word. STAGED if and
//!   only if POINTER and the segment is [`STAGING`](crate::STAGING).
//!
//! A frame is valid if and only if [`verify`](crate::verify) accepts it; that file numbers the
//! invariants.

/// Smallest frame, in bytes.
pub const FRAME_BYTES_MIN: usize = 4 << 10;
/// Largest frame, in bytes, and the default.
pub const FRAME_BYTES_MAX: usize = 512 << 10;
/// What an internal key may have beyond the caller's key: the tree id in front of it.
pub const KEY_BYTES_EXTRA: usize = 4;
/// Bytes that only a crossing node may take, so that a split can always leave its crossing.
pub const SPILLOVER_RESERVATION: usize = 128;

/// The longest internal key (tree id included) that a frame of `frame_bytes` takes.
#[must_use]
pub const fn key_bytes_max(frame_bytes: usize) -> usize {
    let eighth = frame_bytes / 8;
    (if eighth < 8 << 10 { eighth } else { 8 << 10 }) + KEY_BYTES_EXTRA
}

/// The longest inline value that a frame of `frame_bytes` takes.
#[must_use]
pub const fn inline_bytes_max(frame_bytes: usize) -> usize {
    frame_bytes / 8
}

pub(crate) const UNIT: usize = 8;
pub(crate) const MAGIC: u64 = u32::from_le_bytes(*b"TRFR") as u64;
pub(crate) const FORMAT: u64 = 1;
pub(crate) const HEADER_UNITS: usize = 16;
pub(crate) const RESERVED_UNITS: usize = SPILLOVER_RESERVATION / UNIT;

pub(crate) const W_MAGIC: usize = 0;
pub(crate) const W_NUMBER: usize = 1;
pub(crate) const W_TAG: usize = 2;
pub(crate) const W_EPOCH: usize = 3;
pub(crate) const W_BOUNDS: usize = 4;
pub(crate) const W_DEAD: usize = 5;
pub(crate) const W_COUNTS: usize = 6;
pub(crate) const W_ENTRIES: usize = 7;
/// Where word 7 counts the leaves with a death time.
pub(crate) const MORTAL_SHIFT: u32 = 48;
pub(crate) const W_FREE: usize = 8;
/// Blocks of 1..=FREE_CLASSES units have a free list; larger ones are dead until a re-pack.
pub(crate) const FREE_CLASSES: usize = 32;

pub(crate) const LEAF_DEATH: u8 = 1;
pub(crate) const LEAF_POINTER: u8 = 2;
pub(crate) const LEAF_STAGED: u8 = 4;
pub(crate) const CROSSING_GROUP: u8 = 1;

/// The kinds of word 0. Zero is none of them, so that cleared memory is nobody's node.
pub(crate) mod kind {
    pub(crate) const LEAF: u8 = 1;
    pub(crate) const NODE4: u8 = 2;
    pub(crate) const NODE16: u8 = 3;
    pub(crate) const NODE48: u8 = 4;
    pub(crate) const NODE256: u8 = 5;
    pub(crate) const CROSSING: u8 = 6;
    pub(crate) const EMPTY: u8 = 7;
    pub(crate) const FREE: u8 = 8;
}

/// What `alloc_node` can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// Up to 4 edges.
    Node4,
    /// Up to 16 edges.
    Node16,
    /// Up to 48 edges, found by bitmap and rank.
    Node48,
    /// One child per byte.
    Node256,
    /// The way on into another frame.
    Crossing,
    /// An entry without keys.
    EmptyRoot,
}

impl NodeType {
    /// Size in bytes, without a prefix.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.units() * UNIT
    }

    pub(crate) const fn units(self) -> usize {
        match self {
            Self::Node4 => 3,
            Self::Node16 => 7,
            Self::Node48 => 17,
            Self::Node256 => 65,
            Self::Crossing => 2,
            Self::EmptyRoot => 1,
        }
    }

    pub(crate) const fn kind(self) -> u8 {
        match self {
            Self::Node4 => kind::NODE4,
            Self::Node16 => kind::NODE16,
            Self::Node48 => kind::NODE48,
            Self::Node256 => kind::NODE256,
            Self::Crossing => kind::CROSSING,
            Self::EmptyRoot => kind::EMPTY,
        }
    }

    /// The node type of an inner node's kind byte.
    pub(crate) const fn inner(kind: u8) -> Option<Self> {
        match kind {
            kind::NODE4 => Some(Self::Node4),
            kind::NODE16 => Some(Self::Node16),
            kind::NODE48 => Some(Self::Node48),
            kind::NODE256 => Some(Self::Node256),
            _ => None,
        }
    }

    /// Edges that fit.
    pub(crate) const fn capacity(self) -> usize {
        match self {
            Self::Node4 => 4,
            Self::Node16 => 16,
            Self::Node48 => 48,
            Self::Node256 => 256,
            Self::Crossing | Self::EmptyRoot => 0,
        }
    }

    /// The smallest inner node for `edges` edges.
    pub(crate) const fn fitting(edges: usize) -> Self {
        match edges {
            0..=4 => Self::Node4,
            5..=16 => Self::Node16,
            17..=48 => Self::Node48,
            _ => Self::Node256,
        }
    }

    /// The node type that a node of this type with `edges` edges shrinks to: with hysteresis, so
    /// that a removal and an insertion in turn do not rewrite the node each time.
    pub(crate) const fn shrunk(self, edges: usize) -> Self {
        match self {
            Self::Node256 if edges <= 40 => Self::fitting(edges),
            Self::Node48 if edges <= 12 => Self::fitting(edges),
            Self::Node16 if edges <= 3 => Self::Node4,
            same => same,
        }
    }
}

/// Bits `low..low + 16` of `word`.
#[inline]
pub(crate) const fn u16_at(word: u64, low: u32) -> u16 {
    ((word >> low) & 0xffff) as u16
}

/// Bits `low..low + 32` of `word`.
#[inline]
pub(crate) const fn u32_at(word: u64, low: u32) -> u32 {
    ((word >> low) & 0xffff_ffff) as u32
}

/// The kind byte of a word 0.
#[inline]
pub(crate) const fn kind_of(word: u64) -> u8 {
    (word & 0xff) as u8
}

/// The flags byte of a word 0.
#[inline]
pub(crate) const fn flags_of(word: u64) -> u8 {
    ((word >> 8) & 0xff) as u8
}

/// Word 0 of an inner node.
pub(crate) const fn node_word(kind: u8, count: usize, prefix: usize, terminal: u16) -> u64 {
    kind as u64 | ((count as u64) << 16) | ((prefix as u64) << 32) | ((terminal as u64) << 48)
}

/// Number of units that hold `bytes` bytes.
#[inline]
pub(crate) const fn units_for(bytes: usize) -> usize {
    bytes.div_ceil(UNIT)
}

const _: () = {
    assert!(FRAME_BYTES_MAX / UNIT == 1 << 16, "every 16-bit offset of a full frame is inside it");
    assert!(W_FREE + FREE_CLASSES / 4 == HEADER_UNITS, "the header ends with the free-list heads");
    assert!(NodeType::Node4.units() == 1 + 1 + 1);
    assert!(NodeType::Node16.units() == 1 + 2 + 4);
    assert!(NodeType::Node48.units() == 1 + 4 + 12);
    assert!(NodeType::Node256.units() == 1 + 64);
    assert!(NodeType::Crossing.bytes() <= SPILLOVER_RESERVATION);
    assert!(key_bytes_max(FRAME_BYTES_MAX) < 1 << 16, "lengths of keys fit 16 bits");
};
