//! Writing a frame anew from a copy of it: the re-pack, and the tool that the split uses.
//!
//! The frame's words are copied to scratch memory, the frame is cleared, and its subtrees are
//! written back depth first: each node as the smallest kind that holds its edges, leaves in key
//! order from the frame's end downward. The result has no dead and no free unit, and uses at most
//! what was in use before, so that it always fits; a source that does not fit, or does not end, is
//! damaged, and the frame gets its words back.

use std::sync::atomic::AtomicU64;

use crate::error::Torn;
use crate::frame::{BlobFrame, BlobFrameRef};
use crate::layout::{
    CROSSING_GROUP, LEAF_DEATH, NodeType, flags_of, kind, kind_of, node_word, u16_at, units_for,
};
use crate::leaf::LeafView;
use crate::node::{Edges, child_of, set_child};
use crate::words::{copy_words, load, store};

/// Memory that a re-pack or a split works in: keep one per writer and use it again.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) words: Vec<AtomicU64>,
    pub(crate) stack: Vec<Item>,
    /// Nodes, leaves and crossings of the copy, parents before children: (offset, parent or 0).
    pub(crate) order: Vec<(u16, u16)>,
    /// By offset: units of the subtree there.
    pub(crate) sizes: Vec<u32>,
}

impl Scratch {
    /// Copies the frame's words.
    pub(crate) fn copy(&mut self, frame: BlobFrameRef<'_>) {
        self.words.resize_with(frame.units(), || AtomicU64::new(0));
        copy_words(frame.words, 0, &self.words, 0, frame.frame_bytes());
    }
}

/// A subtree of the copy still to be written, and the place that shall name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) from: u16,
    pub(crate) to: Place,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Entry(u16),
    Terminal(u16),
    /// All edges of the node with bytes `low..=high`.
    Run {
        node: u16,
        low: u8,
        high: u8,
    },
}

/// The edges `low..=high` of the copy's node at `node`, which get a crossing to `child` instead of
/// what hangs on them: a GROUP crossing if they are several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) node: u16,
    pub(crate) low: u8,
    pub(crate) high: u8,
    pub(crate) child: u64,
}

impl Cut {
    pub(crate) fn is_group(&self) -> bool {
        self.low != self.high
    }

    pub(crate) fn holds(&self, byte: u8) -> bool {
        (self.low..=self.high).contains(&byte)
    }
}

/// An edge that is written before its child is.
const PLACEHOLDER: u16 = 1;

impl BlobFrame<'_> {
    /// Writes the frame anew without dead or free units, nodes depth first and leaves in key order.
    ///
    /// # Errors
    /// [`Torn`] if the frame is damaged; it is then unchanged.
    pub fn repack(&mut self, scratch: &mut Scratch) -> Result<(), Torn> {
        scratch.copy(**self);
        let Scratch { words, stack, .. } = scratch;
        let source = BlobFrameRef { words };
        self.rebuild(source, stack, None)
    }

    /// Writes all entries of `source`, this frame's own copy, back without what `cut` takes away.
    pub(crate) fn rebuild(
        &mut self,
        source: BlobFrameRef<'_>,
        stack: &mut Vec<Item>,
        cut: Option<&Cut>,
    ) -> Result<(), Torn> {
        let entries = source.entries();
        self.clear(entries);
        let done = (0..entries).try_for_each(|entry| {
            let from = u16::try_from(source.entry_root(entry)?).map_err(|_| Torn)?;
            self.write_subtree(source, stack, Item { from, to: Place::Entry(entry) }, cut)
        });
        if done.is_err() {
            copy_words(source.words, 0, self.words, 0, source.frame_bytes());
        }
        done
    }

    /// Writes the subtree `first` of `source` into this frame.
    pub(crate) fn write_subtree(
        &mut self,
        source: BlobFrameRef<'_>,
        stack: &mut Vec<Item>,
        first: Item,
        cut: Option<&Cut>,
    ) -> Result<(), Torn> {
        stack.clear();
        stack.push(first);
        // Bounded (B3): each turn takes at least one unit of this frame.
        while let Some(item) = stack.pop() {
            let from = usize::from(item.from);
            let word = load(source.words, from);
            let at = match kind_of(word) {
                kind::LEAF => self.write_leaf_copy(source, from)?,
                kind::CROSSING => self.write_crossing(word, load(source.words, from + 1))?,
                kind::EMPTY => {
                    let at = self.take_node_units(NodeType::EmptyRoot.units(), 0).map_err(|_| Torn)?;
                    store(self.words, usize::from(at), node_word(kind::EMPTY, 0, 0, 0));
                    at
                }
                _ => self.write_node(source, from, stack, cut.filter(|cut| cut.node == item.from))?,
            };
            match item.to {
                Place::Entry(entry) => self.set_entry(entry, at),
                Place::Terminal(node) => self.set_terminal(usize::from(node), at),
                Place::Run { node, low, high } => self.set_run(usize::from(node), low, high, at)?,
            }
        }
        Ok(())
    }

    fn set_run(&mut self, at: usize, low: u8, high: u8, child: u16) -> Result<(), Torn> {
        let word = load(self.words, at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        for byte in low..=high {
            if low == high || child_of(**self, at, node, word, byte) != 0 {
                set_child(**self, at, byte, child)?;
            }
        }
        Ok(())
    }

    fn write_leaf_copy(&mut self, source: BlobFrameRef<'_>, from: usize) -> Result<u16, Torn> {
        let units = LeafView::at(source, from)?.units();
        let at = self.take_leaf_units(units, 0).map_err(|_| Torn)?;
        for unit in 0..units {
            store(self.words, usize::from(at) + unit, load(source.words, from + unit));
        }
        self.count_leaf(flags_of(load(source.words, from)) & LEAF_DEATH != 0, 1);
        Ok(at)
    }

    fn write_crossing(&mut self, word: u64, child: u64) -> Result<u16, Torn> {
        let at = self.take_node_units(NodeType::Crossing.units(), 0).map_err(|_| Torn)?;
        store(self.words, usize::from(at), word);
        store(self.words, usize::from(at) + 1, child);
        Ok(at)
    }

    fn write_node(
        &mut self,
        source: BlobFrameRef<'_>,
        from: usize,
        stack: &mut Vec<Item>,
        cut: Option<&Cut>,
    ) -> Result<u16, Torn> {
        let word = load(source.words, from);
        let old = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let edges = Edges::read(source, from)?;
        let prefix = usize::from(u16_at(word, 32));
        let node = NodeType::fitting(edges.len());
        let at = self.take_node_units(node.units() + units_for(prefix), 0).map_err(|_| Torn)?;
        let unit = usize::from(at);
        let crossing = match cut {
            Some(cut) => {
                let flags = if cut.is_group() { u64::from(CROSSING_GROUP) } else { 0 };
                self.write_crossing(u64::from(kind::CROSSING) | (flags << 8), cut.child)?
            }
            None => 0,
        };
        let mut written = edges.clone();
        for (index, &byte) in edges.bytes().iter().enumerate() {
            let crossed = cut.is_some_and(|cut| cut.holds(byte));
            written.set_child(index, if crossed { crossing } else { PLACEHOLDER });
        }
        written.write(**self, unit, node, prefix, 0);
        copy_words(source.words, from + old.units(), self.words, unit + node.units(), prefix);
        push_runs(stack, &edges, at, |byte| cut.is_none_or(|cut| !cut.holds(byte)))?;
        let terminal = u16_at(word, 48);
        if terminal != 0 {
            stack.push(Item { from: terminal, to: Place::Terminal(at) });
        }
        Ok(at)
    }

    /// Writes an inner node over the edges of the copy's node that `cut` holds, as entry 0.
    pub(crate) fn write_group(
        &mut self,
        source: BlobFrameRef<'_>,
        stack: &mut Vec<Item>,
        cut: &Cut,
    ) -> Result<(), Torn> {
        let all = Edges::read(source, usize::from(cut.node))?;
        let mut edges = Edges::new();
        let mut written = Edges::new();
        for (&byte, &child) in all.bytes().iter().zip(all.children()) {
            if cut.holds(byte) {
                edges.push(byte, child);
                written.push(byte, PLACEHOLDER);
            }
        }
        let node = NodeType::fitting(edges.len());
        let at = self.take_node_units(node.units(), 0).map_err(|_| Torn)?;
        written.write(**self, usize::from(at), node, 0, 0);
        self.set_entry(0, at);
        let mut runs = Vec::new();
        push_runs(&mut runs, &edges, at, |_| true)?;
        while let Some(item) = runs.pop() {
            self.write_subtree(source, stack, item, None)?;
        }
        Ok(())
    }
}

/// Stacks the children of the edges that `wanted` names, the lowest on top, each run once.
fn push_runs(
    stack: &mut Vec<Item>,
    edges: &Edges,
    node: u16,
    wanted: impl Fn(u8) -> bool,
) -> Result<(), Torn> {
    let mut end = edges.len();
    while end > 0 {
        let child = edges.children()[end - 1];
        let run = edges.children()[..end].iter().rev().take_while(|&&other| other == child).count();
        let (low, high) = (edges.bytes()[end - run], edges.bytes()[end - 1]);
        if wanted(low) != wanted(high) {
            return Err(Torn);
        }
        if wanted(low) {
            stack.push(Item { from: child, to: Place::Run { node, low, high } });
        }
        end -= run;
    }
    Ok(())
}
