//! Removal of a key, and the tidying after it: shrinking nodes, joining a node with its only child,
//! pruning what holds no key any more.
//!
//! - **D1** The leaf goes first; every tidying step leaves a legal frame and may be left out for
//!   lack of space (B5). Shrinking and pruning work in place and need none.
//! - **D2** No inner node stays without edges and terminal; an entry without keys is an empty root, and
//!   a frame whose only entry has none starts anew, without free and dead units.
//! - **D3** A node whose only edge leads to a crossing stays: the crossing has no place for a prefix.

use crate::alloc::node_units;
use crate::edit::Slot;
use crate::error::Torn;
use crate::frame::{BlobFrame, Found};
use crate::layout::{
    NodeType, RESERVED_UNITS, flags_of, key_bytes_max, kind, kind_of, node_word, u16_at, u32_at, units_for,
};
use crate::leaf::{LeafView, head_units, leaf_word};
use crate::node::{Edges, child_of};
use crate::words::{copy_out, copy_words, load, store, write_parts};

/// What a removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove {
    /// The key was here and is gone.
    Removed,
    /// The key is nowhere in the store.
    Absent,
    /// The key, if it exists, is in another frame.
    Crossing {
        /// That frame's number.
        child: u64,
        /// The entry of that frame to go on at.
        entry: u16,
        /// Bytes of the key that lie above the child's entry.
        consumed: usize,
    },
}

/// A node on a key's path and the place that names it.
#[derive(Clone, Copy)]
struct Stop {
    slot: Slot,
    at: usize,
}

impl BlobFrame<'_> {
    /// Removes `key` (what is left of it below the crossings passed) from the subtree of `entry`.
    ///
    /// # Errors
    /// [`Torn`] if the frame is damaged.
    pub fn remove(&mut self, entry: u16, key: &[u8]) -> Result<Remove, Torn> {
        let leaf = match self.find(entry, key)? {
            Found::Absent => return Ok(Remove::Absent),
            Found::Crossing { child, entry, consumed } => {
                return Ok(Remove::Crossing { child, entry, consumed });
            }
            Found::Leaf(leaf) => usize::from(self.leaf(leaf)?.offset().0),
        };
        let (above, stop) = self.last_stops(entry, key)?;
        if stop.at == leaf {
            match (stop.slot, above) {
                (Slot::Edge { node, byte }, Some(above)) => self.cut_edge(node, byte, above.slot)?,
                (Slot::Entry(_), _) if self.entries() == 1 => {
                    // The last leaf: the frame starts anew, without dead units.
                    self.clear(1);
                    self.plant_empty_roots(1);
                    return Ok(Remove::Removed);
                }
                (slot, _) => {
                    // There is room: V2 of `verify`.
                    let root = self.take_node(NodeType::EmptyRoot, 0).map_err(|_| Torn)?;
                    store(self.words, usize::from(root), node_word(kind::EMPTY, 0, 0, 0));
                    self.set_slot(slot, root)?;
                }
            }
        } else {
            self.set_terminal(stop.at, 0);
            self.tidy(stop)?;
        }
        self.drop_leaf(leaf)?;
        self.prune(entry, key)?;
        Ok(Remove::Removed)
    }

    /// The last node or leaf on the way of `key`, and the node above it.
    fn last_stops(&self, entry: u16, key: &[u8]) -> Result<(Option<Stop>, Stop), Torn> {
        let mut above = None;
        let mut stop = Stop { slot: Slot::Entry(entry), at: self.entry_root(entry)? };
        let mut consumed = 0;
        // Bounded (B3): each turn but the last consumes the byte of an edge.
        loop {
            let word = load(self.words, stop.at);
            let Some(node) = NodeType::inner(kind_of(word)) else { return Ok((above, stop)) };
            consumed += usize::from(u16_at(word, 32));
            let Some(&byte) = key.get(consumed) else { return Ok((above, stop)) };
            let next = child_of(**self, stop.at, node, word, byte);
            if next == 0 {
                return Ok((above, stop));
            }
            consumed += 1;
            above = Some(stop);
            stop = Stop { slot: Slot::Edge { node: stop.at, byte }, at: usize::from(next) };
        }
    }

    /// Takes the edge `byte` off the node at `at`, which `slot` names, and tidies the node.
    fn cut_edge(&mut self, at: usize, byte: u8, slot: Slot) -> Result<(), Torn> {
        let word = load(self.words, at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let mut edges = Edges::read(**self, at)?;
        edges.remove(byte);
        edges.write(**self, at, node, usize::from(u16_at(word, 32)), u16_at(word, 48));
        self.tidy(Stop { slot, at })
    }

    /// Joins or shrinks an inner node that lost something (D1).
    fn tidy(&mut self, stop: Stop) -> Result<(), Torn> {
        let word = load(self.words, stop.at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let (count, terminal) = (usize::from(u16_at(word, 16)), u16_at(word, 48));
        let joined = match (count, terminal) {
            (0, 0) => return Ok(()),
            (0, leaf) => self.join_leaf(stop, None, leaf)?,
            (1, 0) => {
                let edges = Edges::read(**self, stop.at)?;
                let (byte, child) = (edges.bytes()[0], edges.children()[0]);
                let below = load(self.words, usize::from(child));
                match kind_of(below) {
                    kind::LEAF => self.join_leaf(stop, Some(byte), child)?,
                    kind::CROSSING => false,
                    _ => self.join_node(stop, byte, usize::from(child), below)?,
                }
            }
            _ => false,
        };
        if !joined && node.shrunk(count) != node {
            self.shrink(stop.at, word, node, node.shrunk(count))?;
        }
        Ok(())
    }

    /// The node's prefix, and `byte`.
    fn lead(&self, at: usize, byte: Option<u8>) -> Result<Vec<u8>, Torn> {
        let word = load(self.words, at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let mut lead = Vec::new();
        copy_out(self.words, at + node.units(), 0, usize::from(u16_at(word, 32)), &mut lead);
        lead.extend(byte);
        Ok(lead)
    }

    /// Puts the only leaf of the node at `stop`, with a longer suffix, in the node's place.
    fn join_leaf(&mut self, stop: Stop, byte: Option<u8>, leaf: u16) -> Result<bool, Torn> {
        let lead = self.lead(stop.at, byte)?;
        let old = LeafView::at(**self, usize::from(leaf))?;
        let suffix = lead.len() + old.suffix_len();
        let head = head_units(flags_of(old.word()));
        if suffix > key_bytes_max(self.frame_bytes()) {
            return Ok(false);
        }
        let Ok(new) = self.take_leaf_units(head + units_for(lead.len() + old.tail_len()), RESERVED_UNITS)
        else {
            return Ok(false);
        };
        let at = usize::from(new);
        let old_at = usize::from(leaf);
        store(self.words, at, leaf_word(flags_of(old.word()), suffix, u32_at(old.word(), 32)));
        for word in 1..head {
            store(self.words, at + word, load(self.words, old_at + word));
        }
        let mut tail = Vec::new();
        copy_out(self.words, old.tail_at(), 0, old.tail_len(), &mut tail);
        write_parts(self.words, at + head, &[&lead, &tail]);
        self.set_slot(stop.slot, new)?;
        self.free_inner(stop.at)?;
        self.give_leaf_units(old_at, old.units());
        Ok(true)
    }

    /// Puts the only child of the node at `stop`, an inner node, with a longer prefix in its place.
    fn join_node(&mut self, stop: Stop, byte: u8, child: usize, below: u64) -> Result<bool, Torn> {
        let node = NodeType::inner(kind_of(below)).ok_or(Torn)?;
        let mut prefix = self.lead(stop.at, Some(byte))?;
        copy_out(self.words, child + node.units(), 0, usize::from(u16_at(below, 32)), &mut prefix);
        if prefix.len() > key_bytes_max(self.frame_bytes()) {
            return Ok(false);
        }
        let Ok(new) = self.take_node(node, prefix.len()) else { return Ok(false) };
        let at = usize::from(new);
        let count = usize::from(u16_at(below, 16));
        store(self.words, at, node_word(node.kind(), count, prefix.len(), u16_at(below, 48)));
        for word in 1..node.units() {
            store(self.words, at + word, load(self.words, child + word));
        }
        write_parts(self.words, at + node.units(), &[&prefix]);
        self.set_slot(stop.slot, new)?;
        self.free_inner(stop.at)?;
        self.free_inner(child)?;
        Ok(true)
    }

    fn free_inner(&mut self, at: usize) -> Result<(), Torn> {
        let units = node_units(load(self.words, at)).ok_or(Torn)?;
        self.give_node_units(at, units);
        Ok(())
    }

    /// Rewrites the node at `at` in place as one of the smaller type `to`.
    fn shrink(&mut self, at: usize, word: u64, from: NodeType, to: NodeType) -> Result<(), Torn> {
        let prefix = usize::from(u16_at(word, 32));
        let edges = Edges::read(**self, at)?;
        edges.write(**self, at, to, prefix, u16_at(word, 48));
        copy_words(self.words, at + from.units(), self.words, at + to.units(), prefix);
        self.give_node_units(at + to.units() + units_for(prefix), from.units() - to.units());
        Ok(())
    }

    /// Removes nodes without edges and terminal from the way of `key`, the lowest first (D2).
    fn prune(&mut self, entry: u16, key: &[u8]) -> Result<(), Torn> {
        // Bounded (B3): each turn but the last takes a node off the way.
        for _ in 0..=key.len() + 1 {
            let (above, stop) = self.last_stops(entry, key)?;
            let word = load(self.words, stop.at);
            let hollow =
                NodeType::inner(kind_of(word)).is_some() && u16_at(word, 16) == 0 && u16_at(word, 48) == 0;
            if !hollow {
                return Ok(());
            }
            match (stop.slot, above) {
                (Slot::Edge { node, byte }, Some(above)) => {
                    self.free_inner(stop.at)?;
                    self.cut_edge(node, byte, above.slot)?;
                }
                _ if self.entries() == 1 => {
                    self.clear(1);
                    self.plant_empty_roots(1);
                }
                _ => {
                    let units = node_units(word).ok_or(Torn)?;
                    store(self.words, stop.at, node_word(kind::EMPTY, 0, 0, 0));
                    self.give_node_units(stop.at + 1, units - 1);
                }
            }
        }
        Err(Torn)
    }
}
