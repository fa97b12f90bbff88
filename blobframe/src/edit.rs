//! Changes of leaves under a key: insert, replace, re-point. Removal is in `remove`, the growth
//! of nodes in `grow`.

use crate::error::{AllocError, FrameError, Torn};
use crate::frame::{BlobFrame, Found};
use crate::layout::{
    CROSSING_GROUP, NodeType, RESERVED_UNITS, UNIT, flags_of, inline_bytes_max, key_bytes_max, kind, kind_of,
    u16_at, units_for,
};
use crate::leaf::{Leaf, LeafPointer, LeafValue, LeafView, write_leaf};
use crate::node::{child_of, edge_below, edge_from, is_group};
use crate::words::{common_len, load};

/// What an insert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The key is new.
    Inserted,
    /// The key was there; its leaf is replaced.
    Replaced,
    /// The key belongs to another frame; nothing that a reader could see has changed.
    Crossing {
        /// That frame's number.
        child: u64,
        /// The entry of that frame to go on at.
        entry: u16,
        /// Bytes of the key that lie above the child's entry.
        consumed: usize,
    },
}

/// The sizes of a leaf to come, to ask for room before its content is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafShape {
    /// Whether it has a death time.
    pub death: bool,
    /// Bytes of the inline value; `None` if the leaf is to hold a pointer.
    pub inline: Option<usize>,
}

impl From<&Leaf<'_>> for LeafShape {
    fn from(leaf: &Leaf<'_>) -> Self {
        let inline = match leaf.value {
            LeafValue::Inline(bytes) => Some(bytes.len()),
            LeafValue::Pointer(_) => None,
        };
        Self { death: leaf.death.is_some(), inline }
    }
}

/// The place that names a node or leaf.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Entry(u16),
    Edge { node: usize, byte: u8 },
}

impl BlobFrame<'_> {
    /// Bytes that inserting a key of `key_len` bytes (what is left of it in this frame) and a leaf
    /// of `shape` can take at most: if [`room`](crate::BlobFrameRef::room) is at least that, the
    /// insert cannot fail for space.
    ///
    /// An insert makes one leaf and at most one inner node. The node's prefix and the leaf's
    /// suffix are disjoint parts of the key, so that the key is counted once; each of both may
    /// waste most of a unit.
    #[must_use]
    pub fn insert_bound(key_len: usize, shape: LeafShape) -> usize {
        let head = 2 + usize::from(shape.death) + if shape.inline.is_none() { 3 } else { 0 };
        let bytes = key_len + shape.inline.unwrap_or(0);
        (head + NodeType::Node256.units() + units_for(bytes) + 1) * UNIT
    }

    /// Puts `leaf` under `key` (what is left of it below the crossings passed) in the subtree of
    /// `entry`, in place of the leaf that is there.
    ///
    /// # Errors
    /// [`FrameError::Alloc`] if there is no room or the sizes are illegal: the frame is then as it
    /// was (B4). [`FrameError::Torn`] if the frame is damaged.
    pub fn insert(&mut self, entry: u16, key: &[u8], leaf: &Leaf<'_>) -> Result<Insert, FrameError> {
        let illegal = key.len() > key_bytes_max(self.frame_bytes())
            || leaf.inline_len() > inline_bytes_max(self.frame_bytes());
        if illegal {
            return Err(AllocError::InvalidRequest.into());
        }
        let mut slot = Slot::Entry(entry);
        let mut at = self.entry_root(entry)?;
        let mut consumed = 0;
        // Bounded (B3): each turn but the last consumes the byte of an edge.
        loop {
            let word = load(self.words, at);
            let Some(node) = NodeType::inner(kind_of(word)) else {
                return self.insert_end(slot, at, word, key, consumed, leaf);
            };
            let prefix_len = usize::from(u16_at(word, 32));
            let common = common_len(self.words, at + node.units(), prefix_len, &key[consumed..]);
            if common < prefix_len {
                self.split_prefix(slot, at, common, &key[consumed..], leaf)?;
                return Ok(Insert::Inserted);
            }
            consumed += prefix_len;
            let Some(&byte) = key.get(consumed) else { return self.put_terminal(at, leaf) };
            let mut next = child_of(**self, at, node, word, byte);
            if next == 0 {
                let Some(group) = self.owning_group(at, byte)? else {
                    self.insert_edge(slot, at, byte, &key[consumed + 1..], leaf)?;
                    return Ok(Insert::Inserted);
                };
                self.add_edge(slot, at, byte, group)?;
                next = group;
            }
            consumed += 1;
            slot = Slot::Edge { node: at, byte };
            at = usize::from(next);
            // A node that grew for the group's edge is elsewhere now, but a crossing follows, and
            // a crossing ends the walk without a use of the slot.
        }
    }

    fn insert_end(
        &mut self,
        slot: Slot,
        at: usize,
        word: u64,
        key: &[u8],
        consumed: usize,
        leaf: &Leaf<'_>,
    ) -> Result<Insert, FrameError> {
        match kind_of(word) {
            kind::LEAF => {
                let old = LeafView::at(**self, at)?;
                let rest = &key[consumed..];
                let common = old.suffix_common(rest);
                if common == rest.len() && common == old.suffix_len() {
                    self.replace(slot, at, rest, leaf)?;
                    return Ok(Insert::Replaced);
                }
                self.split_leaf(slot, at, common, rest, leaf)?;
                Ok(Insert::Inserted)
            }
            kind::CROSSING => {
                let group = usize::from(flags_of(word) & CROSSING_GROUP);
                Ok(Insert::Crossing {
                    child: load(self.words, at + 1),
                    entry: u16_at(word, 16),
                    consumed: consumed.checked_sub(group).ok_or(Torn)?,
                })
            }
            kind::EMPTY => {
                let new = self.new_leaf(&key[consumed..], leaf)?;
                self.set_slot(slot, new)?;
                self.give_node_units(at, NodeType::EmptyRoot.units());
                Ok(Insert::Inserted)
            }
            _ => Err(FrameError::Torn),
        }
    }

    /// Points a leaf elsewhere, if it points to `expect`: `false` if the key is not in this frame,
    /// its value is inline or it points elsewhere already.
    ///
    /// # Errors
    /// [`Torn`] if the frame is damaged.
    pub fn update_pointer(
        &mut self,
        entry: u16,
        key: &[u8],
        expect: &LeafPointer,
        new: &LeafPointer,
    ) -> Result<bool, Torn> {
        let Found::Leaf(offset) = self.find(entry, key)? else { return Ok(false) };
        let leaf = self.leaf(offset)?;
        if leaf.pointer() != Some(*expect) {
            return Ok(false);
        }
        leaf.set_pointer(new);
        Ok(true)
    }

    /// A new leaf that nothing leads to yet.
    pub(crate) fn new_leaf(&mut self, suffix: &[u8], leaf: &Leaf<'_>) -> Result<u16, AllocError> {
        let at = self.take_leaf_units(leaf.units(suffix.len()), RESERVED_UNITS)?;
        write_leaf(**self, usize::from(at), suffix, leaf);
        self.count_leaf(leaf.death.is_some(), 1);
        Ok(at)
    }

    /// Takes back the leaf at `at`.
    pub(crate) fn drop_leaf(&mut self, at: usize) -> Result<(), Torn> {
        let leaf = LeafView::at(**self, at)?;
        let mortal = leaf.death().is_some();
        self.give_leaf_units(at, leaf.units());
        self.count_leaf(mortal, -1);
        Ok(())
    }

    /// Puts `leaf` with the same suffix in place of the leaf at `at`, and there if it fits.
    fn replace(&mut self, slot: Slot, at: usize, suffix: &[u8], leaf: &Leaf<'_>) -> Result<(), FrameError> {
        if self.overwrite(at, suffix, leaf)? {
            return Ok(());
        }
        let new = self.new_leaf(suffix, leaf)?;
        self.set_slot(slot, new)?;
        Ok(self.drop_leaf(at)?)
    }

    fn overwrite(&mut self, at: usize, suffix: &[u8], leaf: &Leaf<'_>) -> Result<bool, Torn> {
        let there = LeafView::at(**self, at)?;
        let (old, new) = (there.units(), leaf.units(suffix.len()));
        if new > old {
            return Ok(false);
        }
        let becomes_mortal = i32::from(leaf.death.is_some()) - i32::from(there.death().is_some());
        self.count_mortal(becomes_mortal);
        write_leaf(**self, at, suffix, leaf);
        if new < old {
            self.give_leaf_units(at + new, old - new);
        }
        Ok(true)
    }

    fn put_terminal(&mut self, at: usize, leaf: &Leaf<'_>) -> Result<Insert, FrameError> {
        let old = usize::from(u16_at(load(self.words, at), 48));
        if old != 0 && self.overwrite(old, &[], leaf)? {
            return Ok(Insert::Replaced);
        }
        let new = self.new_leaf(&[], leaf)?;
        self.set_terminal(at, new);
        if old == 0 {
            return Ok(Insert::Inserted);
        }
        self.drop_leaf(old)?;
        Ok(Insert::Replaced)
    }

    /// The GROUP crossing whose byte range holds `byte`, which is no edge of the node at `at`.
    fn owning_group(&self, at: usize, byte: u8) -> Result<Option<u16>, Torn> {
        let below = edge_below(**self, at, usize::from(byte));
        let above = edge_from(**self, at, usize::from(byte));
        Ok(match (below, above) {
            (Some((_, low)), Some((_, high))) if low == high => {
                if !is_group(**self, low) {
                    return Err(Torn);
                }
                Some(low)
            }
            _ => None,
        })
    }
}
