//! Making and releasing space in a frame: nodes upward from the header, leaves downward from the
//! end, a free list per node size. What the space is for is not known here.
//!
//! - **A1** Nothing but a crossing may take the last [`SPILLOVER_RESERVATION`] bytes of the gap; and
//!   the one word of an empty root, which takes the place of an entry's last leaf, so that a
//!   removal cannot fail.
//! - **A2** A freed node block of at most 32 units goes on the list of its exact size (last in,
//!   first out); kinds of the same size share it. The topmost block, and the lowest leaf, widen
//!   the gap again. Everything else that is released is dead until the next re-pack.
//! - **A3** Every unit below `node_top` and from `leaf_bottom` on is live, free or dead, and the
//!   header counts the free and the dead exactly.
//!
//! [`SPILLOVER_RESERVATION`]: crate::SPILLOVER_RESERVATION

use std::sync::atomic::AtomicU64;

use crate::error::{AllocError, FreeError};
use crate::frame::{BlobFrame, FrameId, magic_word};
use crate::layout::{
    FREE_CLASSES, HEADER_UNITS, MORTAL_SHIFT, NodeType, RESERVED_UNITS, UNIT, W_BOUNDS, W_COUNTS, W_DEAD,
    W_ENTRIES, W_EPOCH, W_FREE, W_MAGIC, W_NUMBER, W_TAG, key_bytes_max, kind, kind_of, node_word, u16_at,
    u32_at, units_for,
};
use crate::node::set_rank;
use crate::words::{load, store, write_parts};

/// Where a node lies in its frame: units of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeOffset(pub(crate) u16);

impl<'a> BlobFrame<'a> {
    /// Makes an empty frame of `words`: one entry, an empty root.
    ///
    /// # Panics
    /// If `words` is not a power of two of 4 KiB to 512 KiB.
    #[must_use]
    pub fn init(words: &'a [AtomicU64], id: &FrameId, epoch: u64) -> Self {
        let mut frame = Self::attach(words);
        store(words, W_MAGIC, magic_word(words.len()));
        store(words, W_NUMBER, id.number);
        store(words, W_TAG, id.store_tag);
        store(words, W_EPOCH, epoch);
        frame.clear(1);
        frame.plant_empty_roots(1);
        frame
    }

    /// Forgets all content; the `entries` entries lead nowhere until they are set.
    pub(crate) fn clear(&mut self, entries: u16) {
        let table_units = usize::from(entries).div_ceil(4).max(1);
        let top = HEADER_UNITS + table_units;
        self.set_bounds(top, self.units());
        store(self.words, W_DEAD, 0);
        store(self.words, W_COUNTS, 0);
        let capacity = (table_units * 4) as u64;
        store(self.words, W_ENTRIES, HEADER_UNITS as u64 | (capacity << 16) | (u64::from(entries) << 32));
        for word in W_FREE..top {
            store(self.words, word, 0);
        }
    }

    /// Gives each of a cleared frame's first `entries` entries an empty root.
    pub(crate) fn plant_empty_roots(&mut self, entries: u16) {
        for entry in 0..entries {
            // There is room: an entry table is an eighth of what its roots may need at most.
            if let Ok(at) = self.take_node_units(NodeType::EmptyRoot.units(), 0) {
                store(self.words, usize::from(at), node_word(kind::EMPTY, 0, 0, 0));
                self.set_entry(entry, at);
            }
        }
    }

    /// Sets the epoch of the last change.
    pub fn set_epoch(&mut self, epoch: u64) {
        store(self.words, W_EPOCH, epoch);
    }

    /// Makes a node of the type without edges or prefix. It belongs to nobody until it is hung
    /// into the tree; until then [`verify`](crate::verify) refuses the frame.
    ///
    /// # Errors
    /// [`AllocError::OutOfSpace`] if the gap is too small (A1).
    pub fn alloc_node(&mut self, node: NodeType) -> Result<NodeOffset, AllocError> {
        self.alloc_node_with_prefix(node, &[])
    }

    /// As [`alloc_node`](Self::alloc_node), with room for and copy of `prefix`.
    ///
    /// # Errors
    /// [`AllocError::InvalidRequest`] if the prefix is longer than any key, or the node has none.
    pub fn alloc_node_with_prefix(
        &mut self,
        node: NodeType,
        prefix: &[u8],
    ) -> Result<NodeOffset, AllocError> {
        let prefixless = matches!(node, NodeType::Crossing | NodeType::EmptyRoot);
        if prefix.len() > key_bytes_max(self.frame_bytes()) || (prefixless && !prefix.is_empty()) {
            return Err(AllocError::InvalidRequest);
        }
        let at = self.take_node(node, prefix.len())?;
        let unit = usize::from(at);
        store(self.words, unit, node_word(node.kind(), 0, prefix.len(), 0));
        for word in 1..node.units() {
            store(self.words, unit + word, 0);
        }
        write_parts(self.words, unit + node.units(), &[prefix]);
        Ok(NodeOffset(at))
    }

    /// Releases a node that no edge leads to.
    ///
    /// # Errors
    /// [`FreeError`] if no node starts there; the frame is then unchanged.
    pub fn free_node(&mut self, offset: NodeOffset) -> Result<(), FreeError> {
        let at = usize::from(offset.0);
        if at < self.nodes_start() || at >= self.node_top() {
            return Err(FreeError::OutOfBounds);
        }
        let units = node_units(load(self.words, at)).ok_or(FreeError::NotANode)?;
        if at + units > self.node_top() {
            return Err(FreeError::NotANode);
        }
        self.give_node_units(at, units);
        Ok(())
    }

    /// Takes `bytes` bytes, rounded up to whole units, from the leaves' side and gives the byte
    /// offset, a multiple of 8.
    ///
    /// # Errors
    /// [`AllocError::InvalidRequest`] for no bytes or more than a frame has;
    /// [`AllocError::OutOfSpace`] if the gap is too small (A1).
    pub fn alloc_extent(&mut self, bytes: usize) -> Result<usize, AllocError> {
        if bytes == 0 || bytes > self.frame_bytes() {
            return Err(AllocError::InvalidRequest);
        }
        self.take_leaf_units(units_for(bytes), RESERVED_UNITS).map(|at| usize::from(at) * UNIT)
    }

    /// Space for a node of the type with `prefix` prefix bytes.
    pub(crate) fn take_node(&mut self, node: NodeType, prefix: usize) -> Result<u16, AllocError> {
        let exempt = matches!(node, NodeType::Crossing | NodeType::EmptyRoot);
        let reserve = if exempt { 0 } else { RESERVED_UNITS };
        self.take_node_units(node.units() + units_for(prefix), reserve)
    }

    pub(crate) fn take_node_units(&mut self, units: usize, reserve: usize) -> Result<u16, AllocError> {
        if let Some(at) = self.take_listed(units) {
            return Ok(at);
        }
        let (top, bottom) = (self.node_top(), self.leaf_bottom());
        let avail = bottom.saturating_sub(top).saturating_sub(reserve);
        match u16::try_from(top) {
            Ok(at) if units <= avail => {
                self.set_bounds(top + units, bottom);
                Ok(at)
            }
            _ => Err(AllocError::OutOfSpace { need: units * UNIT, avail: avail * UNIT }),
        }
    }

    /// The head of the free list for `units`, if it is a block of that size.
    fn take_listed(&mut self, units: usize) -> Option<u16> {
        let class = units.checked_sub(1).filter(|&class| class < FREE_CLASSES)?;
        let head = u16_at(load(self.words, W_FREE + class / 4), free_shift(class));
        let at = usize::from(head);
        let word = load(self.words, at);
        let fits = kind_of(word) == kind::FREE && usize::from(u16_at(word, 16)) == units;
        if head == 0 || !fits || at + units > self.node_top() {
            return None;
        }
        set_rank(**self, W_FREE, class, u16_at(word, 32));
        self.add_free(-i64::try_from(units).unwrap_or(0));
        Some(head)
    }

    /// Releases units of the node region (A2).
    pub(crate) fn give_node_units(&mut self, at: usize, units: usize) {
        if units == 0 {
            return;
        }
        if at + units == self.node_top() {
            self.set_bounds(at, self.leaf_bottom());
        } else if units <= FREE_CLASSES {
            let class = units - 1;
            let head = u16_at(load(self.words, W_FREE + class / 4), free_shift(class));
            store(self.words, at, u64::from(kind::FREE) | ((units as u64) << 16) | (u64::from(head) << 32));
            set_rank(**self, W_FREE, class, u16::try_from(at).unwrap_or(0));
            self.add_free(i64::try_from(units).unwrap_or(0));
        } else {
            store(self.words, at, 0);
            store(self.words, W_DEAD, load(self.words, W_DEAD).wrapping_add(units as u64));
        }
    }

    /// Space for `units` units of leaf.
    pub(crate) fn take_leaf_units(&mut self, units: usize, reserve: usize) -> Result<u16, AllocError> {
        let (top, bottom) = (self.node_top(), self.leaf_bottom());
        let avail = bottom.saturating_sub(top).saturating_sub(reserve);
        match u16::try_from(bottom.wrapping_sub(units)) {
            Ok(at) if units > 0 && units <= avail => {
                self.set_bounds(top, bottom - units);
                Ok(at)
            }
            _ => Err(AllocError::OutOfSpace { need: units * UNIT, avail: avail * UNIT }),
        }
    }

    /// Releases units of the leaf region (A2).
    pub(crate) fn give_leaf_units(&mut self, at: usize, units: usize) {
        if at == self.leaf_bottom() {
            self.set_bounds(self.node_top(), at + units);
        } else {
            store(self.words, W_DEAD, load(self.words, W_DEAD).wrapping_add((units as u64) << 32));
        }
    }

    /// Counts a leaf that comes (1) or goes (-1), and whether it has a death time.
    pub(crate) fn count_leaf(&mut self, mortal: bool, more: i32) {
        let word = load(self.words, W_COUNTS);
        let leaves = u32_at(word, 0).wrapping_add_signed(more);
        store(self.words, W_COUNTS, (word & !0xffff_ffff) | u64::from(leaves));
        if mortal {
            self.count_mortal(more);
        }
    }

    /// Counts a leaf that gets (1) or loses (-1) its death time.
    pub(crate) fn count_mortal(&mut self, more: i32) {
        let word = load(self.words, W_ENTRIES);
        store(self.words, W_ENTRIES, word.wrapping_add_signed(i64::from(more) << MORTAL_SHIFT));
    }

    fn add_free(&mut self, more: i64) {
        let word = load(self.words, W_COUNTS);
        store(self.words, W_COUNTS, word.wrapping_add_signed(more << 32));
    }

    fn set_bounds(&mut self, node_top: usize, leaf_bottom: usize) {
        store(self.words, W_BOUNDS, node_top as u64 | ((leaf_bottom as u64) << 32));
    }

    /// Lets `entry` start at `at`; REQUIRES: the entry exists.
    pub(crate) fn set_entry(&mut self, entry: u16, at: u16) {
        let table = u16_at(load(self.words, W_ENTRIES), 0);
        set_rank(**self, usize::from(table), usize::from(entry), at);
    }
}

/// Units of the node whose word 0 is `word`; `None` if it is not a node's.
pub(crate) fn node_units(word: u64) -> Option<usize> {
    match kind_of(word) {
        kind::CROSSING => Some(NodeType::Crossing.units()),
        kind::EMPTY => Some(NodeType::EmptyRoot.units()),
        inner => NodeType::inner(inner).map(|node| node.units() + units_for(usize::from(u16_at(word, 32)))),
    }
}

fn free_shift(class: usize) -> u32 {
    16 * u32::try_from(class % 4).unwrap_or(0)
}
