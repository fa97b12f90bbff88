//! The two handles on a frame, its header, and the search for a key. What a change does is in
//! `edit`, `remove`, `build` and `split`.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;

use crate::error::Torn;
use crate::layout::{
    CROSSING_GROUP, FORMAT, FRAME_BYTES_MAX, FRAME_BYTES_MIN, HEADER_UNITS, MAGIC, MORTAL_SHIFT, NodeType,
    RESERVED_UNITS, UNIT, W_BOUNDS, W_COUNTS, W_DEAD, W_ENTRIES, W_EPOCH, W_MAGIC, W_NUMBER, W_TAG, flags_of,
    kind, kind_of, u16_at, u32_at,
};
use crate::leaf::{LeafOffset, LeafView};
use crate::node::child_of;
use crate::words::{eq_bytes, load};

/// A frame's 16-byte identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId {
    /// Frame number: dense from 1, never reused.
    pub number: u64,
    /// The same in all frames of one store.
    pub store_tag: u64,
}

/// Where a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In this frame.
    Leaf(LeafOffset),
    /// Nowhere in the store.
    Absent,
    /// If anywhere, in another frame.
    Crossing {
        /// That frame's number.
        child: u64,
        /// The entry of that frame to go on at.
        entry: u16,
        /// Bytes of the searched key that lie above the child's entry.
        consumed: usize,
    },
}

/// A frame to read: copyable, usable beside a writer (B1, B3).
#[derive(Clone, Copy, Debug)]
pub struct BlobFrameRef<'a> {
    pub(crate) words: &'a [AtomicU64],
}

/// A frame to change: its holder is the only one who changes it (B2).
#[derive(Debug)]
pub struct BlobFrame<'a> {
    frame: BlobFrameRef<'a>,
}

impl<'a> Deref for BlobFrame<'a> {
    type Target = BlobFrameRef<'a>;

    fn deref(&self) -> &BlobFrameRef<'a> {
        &self.frame
    }
}

impl<'a> BlobFrame<'a> {
    /// A frame that holds what `words` hold; REQUIRES: they were made by [`BlobFrame::init`] or
    /// [`decode_image`](crate::decode_image), and nobody else changes them meanwhile.
    ///
    /// # Panics
    /// If `words` is not a power of two of 4 KiB to 512 KiB.
    #[must_use]
    pub fn attach(words: &'a [AtomicU64]) -> Self {
        Self { frame: BlobFrameRef::attach(words) }
    }

    /// The frame as a reader sees it.
    #[must_use]
    pub fn as_ref(&self) -> BlobFrameRef<'a> {
        self.frame
    }
}

impl<'a> BlobFrameRef<'a> {
    /// A view of `words`, whatever they hold.
    ///
    /// # Panics
    /// If `words` is not a power of two of 4 KiB to 512 KiB.
    #[inline]
    #[must_use]
    pub fn attach(words: &'a [AtomicU64]) -> Self {
        let bytes = words.len() * UNIT;
        assert!(bytes.is_power_of_two() && (FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes));
        Self { words }
    }

    /// Looks `key` up in the subtree of `entry`; `key` is what is left of it below the crossings
    /// passed so far.
    ///
    /// # Errors
    /// [`Torn`] if the bytes on the way are not those of a valid frame.
    pub fn find(self, entry: u16, key: &[u8]) -> Result<Found, Torn> {
        let mut at = self.entry_root(entry)?;
        let mut consumed = 0;
        // Bounded (B3): each turn but the last consumes the byte of an edge.
        loop {
            let word = load(self.words, at);
            let Some(node) = NodeType::inner(kind_of(word)) else {
                return self.find_end(at, word, key, consumed);
            };
            let prefix_len = usize::from(u16_at(word, 32));
            let rest = &key[consumed..];
            let Some((prefix, rest)) = rest.split_at_checked(prefix_len) else { return Ok(Found::Absent) };
            if !eq_bytes(self.words, at + node.units(), prefix) {
                return Ok(Found::Absent);
            }
            let next = match rest.first() {
                None => {
                    let terminal = u16_at(word, 48);
                    return Ok(if terminal == 0 { Found::Absent } else { Found::Leaf(LeafOffset(terminal)) });
                }
                Some(&byte) => child_of(self, at, node, word, byte),
            };
            if next == 0 {
                return Ok(Found::Absent);
            }
            consumed += prefix_len + 1;
            at = usize::from(next);
        }
    }

    #[inline]
    fn find_end(self, at: usize, word: u64, key: &[u8], consumed: usize) -> Result<Found, Torn> {
        match kind_of(word) {
            kind::LEAF => {
                let leaf = LeafView::at(self, at)?;
                Ok(if leaf.suffix_is(&key[consumed..]) { Found::Leaf(leaf.offset()) } else { Found::Absent })
            }
            kind::CROSSING => {
                let group = usize::from(flags_of(word) & CROSSING_GROUP);
                Ok(Found::Crossing {
                    child: load(self.words, at + 1),
                    entry: u16_at(word, 16),
                    consumed: consumed.checked_sub(group).ok_or(Torn)?,
                })
            }
            kind::EMPTY => Ok(Found::Absent),
            _ => Err(Torn),
        }
    }

    /// The leaf at `offset`.
    ///
    /// # Errors
    /// [`Torn`] if no leaf lies there.
    #[inline]
    pub fn leaf(self, offset: LeafOffset) -> Result<LeafView<'a>, Torn> {
        LeafView::at(self, usize::from(offset.0))
    }

    /// Unit at which the subtree of `entry` starts.
    #[inline]
    pub(crate) fn entry_root(self, entry: u16) -> Result<usize, Torn> {
        let table = load(self.words, W_ENTRIES);
        if entry >= u16_at(table, 32) {
            return Err(Torn);
        }
        let word = load(self.words, usize::from(u16_at(table, 0)) + usize::from(entry / 4));
        Ok(usize::from(u16_at(word, 16 * u32::from(entry % 4))))
    }

    /// Whether magic, format and size in the header are those of a frame of this size.
    #[must_use]
    pub fn is_formatted(self) -> bool {
        load(self.words, W_MAGIC) == magic_word(self.words.len())
    }

    /// Frame number.
    #[must_use]
    pub fn number(self) -> u64 {
        load(self.words, W_NUMBER)
    }

    /// The whole identity.
    #[must_use]
    pub fn id(self) -> FrameId {
        FrameId { number: self.number(), store_tag: load(self.words, W_TAG) }
    }

    /// Epoch of the last change.
    #[must_use]
    pub fn epoch(self) -> u64 {
        load(self.words, W_EPOCH)
    }

    /// Entries in use.
    #[must_use]
    pub fn entries(self) -> u16 {
        u16_at(load(self.words, W_ENTRIES), 32)
    }

    /// Leaves in this frame.
    #[must_use]
    pub fn live_leaves(self) -> usize {
        u32_at(load(self.words, W_COUNTS), 0) as usize
    }

    /// Leaves without a death time.
    #[must_use]
    pub fn immortal_leaves(self) -> usize {
        let mortal = usize::from(u16_at(load(self.words, W_ENTRIES), MORTAL_SHIFT));
        self.live_leaves().saturating_sub(mortal)
    }

    /// Size of the frame in bytes.
    #[must_use]
    pub fn frame_bytes(self) -> usize {
        self.words.len() * UNIT
    }

    /// Bytes in use: header, entry table, live nodes and leaves.
    #[must_use]
    pub fn used_bytes(self) -> usize {
        (self.node_top() + self.units()).saturating_sub(self.leaf_bottom()).saturating_sub(self.dead_units())
            * UNIT
    }

    /// Bytes that a re-pack would make room of: dead ones and those on the free lists.
    #[must_use]
    pub fn dead_bytes(self) -> usize {
        self.dead_units() * UNIT
    }

    /// Part of the frame in use, 0 to 1.
    #[must_use]
    pub fn fill(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a frame's size is far below 2^52")]
        let (used, all) = (self.used_bytes() as f64, self.frame_bytes() as f64);
        used / all
    }

    /// Contiguous bytes that one allocation of anything but a crossing can have now.
    #[must_use]
    pub fn room(self) -> usize {
        self.gap_units().saturating_sub(RESERVED_UNITS) * UNIT
    }

    /// What [`room`](Self::room) would be after a re-pack.
    #[must_use]
    pub fn room_after_repack(self) -> usize {
        self.room() + self.dead_bytes()
    }

    /// Units of the frame.
    pub(crate) fn units(self) -> usize {
        self.words.len()
    }

    /// First unit behind the entry table.
    pub(crate) fn nodes_start(self) -> usize {
        let table = load(self.words, W_ENTRIES);
        usize::from(u16_at(table, 0)) + usize::from(u16_at(table, 16)) / 4
    }

    pub(crate) fn node_top(self) -> usize {
        u32_at(load(self.words, W_BOUNDS), 0) as usize
    }

    pub(crate) fn leaf_bottom(self) -> usize {
        u32_at(load(self.words, W_BOUNDS), 32) as usize
    }

    pub(crate) fn gap_units(self) -> usize {
        self.leaf_bottom().saturating_sub(self.node_top())
    }

    fn dead_units(self) -> usize {
        let dead = load(self.words, W_DEAD);
        let free = u32_at(load(self.words, W_COUNTS), 32) as usize;
        u32_at(dead, 0) as usize + u32_at(dead, 32) as usize + free
    }
}

/// Word 0 of a frame of `units` units.
pub(crate) fn magic_word(units: usize) -> u64 {
    MAGIC | (FORMAT << 32) | (u64::from((units * UNIT).trailing_zeros()) << 48)
}

const _: () = assert!(HEADER_UNITS > 0, "offset 0 is in the header and may mean none");
