//! Proof that a frame is valid, from untrusted bytes: the validity rule of the format.
//!
//! A frame is valid if and only if all of these hold:
//! - **V1** Magic, format and size are those of a frame of this many words; unused bits are zero.
//! - **V2** header ≤ entry table ≤ node_top ≤ leaf_bottom ≤ units; there is at least one entry, and
//!   no more than the table holds. If there are several, the gap has a unit for the empty root of
//!   each (a frame with one entry starts anew when its last leaf goes).
//! - **V3** Each free list holds free blocks of exactly its size in the node region, once each; the
//!   header counts their units.
//! - **V4** What can be reached from the entries lies whole in its region, and nothing overlaps.
//! - **V5** Edges ascend strictly, agree with the count, and each leads to a node, leaf or crossing. Two
//!   edges share a child only if it is a GROUP crossing and they are neighbours; a GROUP
//!   crossing has at least two edges, an ordinary one exactly one. No crossing is an entry's root.
//! - **V6** A node has an edge or a terminal; a terminal is a leaf without suffix; only an entry's
//!   root is an empty root.
//! - **V7** No key is longer than the longest of a frame of this size; an inline value neither.
//! - **V8** A leaf's flags agree with each other and with its pointer.
//! - **V9** The header counts the live leaves exactly, those with a death time too, and as dead exactly the units of each region
//!   that are neither live nor free.
//!
//! The time is linear in the frame's size: a unit is claimed once (V4), and everything that is looked
//! at is claimed first.

use crate::alloc::node_units;
use crate::error::{Torn, VerifyError};
use crate::frame::BlobFrameRef;
use crate::layout::{
    CROSSING_GROUP, FREE_CLASSES, HEADER_UNITS, LEAF_DEATH, LEAF_POINTER, LEAF_STAGED, MORTAL_SHIFT,
    NodeType, UNIT, W_BOUNDS, W_COUNTS, W_DEAD, W_ENTRIES, W_FREE, W_MAGIC, flags_of, inline_bytes_max,
    key_bytes_max, kind, kind_of, u16_at, u32_at,
};
use crate::leaf::{LeafView, STAGING};
use crate::node::{Edges, is_group};
use crate::words::load;

/// What a valid frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameReport {
    /// Leaves.
    pub leaves: usize,
    /// Leaves with a death time.
    pub mortal_leaves: usize,
    /// Inner nodes.
    pub nodes: usize,
    /// Crossings to other frames.
    pub crossings: usize,
    /// Bytes in use.
    pub used_bytes: usize,
    /// Bytes dead or on free lists.
    pub dead_bytes: usize,
}

/// Proves every invariant of a frame from untrusted bytes.
///
/// # Errors
/// The first invariant found broken.
pub fn verify(frame: BlobFrameRef<'_>) -> Result<FrameReport, VerifyError> {
    header(frame)?;
    let mut proof = Proof {
        frame,
        claimed: vec![0; frame.units().div_ceil(64)],
        stack: Vec::new(),
        node_units: 0,
        leaf_units: 0,
        report: FrameReport::default(),
    };
    let free_units = proof.free_lists()?;
    for entry in 0..frame.entries() {
        let at = frame.entry_root(entry).map_err(|Torn| wrong(W_ENTRIES, "an entry is out of bounds"))?;
        proof.stack.push(Reach { at, depth: 0, root: true });
    }
    while let Some(reach) = proof.stack.pop() {
        proof.reach(reach)?;
    }
    proof.counts(free_units)
}

fn wrong(unit: usize, what: &'static str) -> VerifyError {
    VerifyError { offset: unit * UNIT, what }
}

fn header(frame: BlobFrameRef<'_>) -> Result<(), VerifyError> {
    if !frame.is_formatted() {
        return Err(wrong(W_MAGIC, "magic, format or size is not that of a frame"));
    }
    let table = load(frame.words, W_ENTRIES);
    let (at, capacity) = (usize::from(u16_at(table, 0)), usize::from(u16_at(table, 16)));
    let entries = frame.entries();
    let table_fits = at == HEADER_UNITS && capacity % 4 == 0;
    if !table_fits || entries == 0 || usize::from(entries) > capacity {
        return Err(wrong(W_ENTRIES, "the entry table is out of bounds"));
    }
    let (top, bottom) = (frame.node_top(), frame.leaf_bottom());
    let roots = if entries > 1 { usize::from(entries) } else { 0 };
    if at + capacity / 4 > top || top + roots > bottom || bottom > frame.units() {
        return Err(wrong(W_BOUNDS, "the regions overlap or leave the frame"));
    }
    Ok(())
}

/// Something to look at: where, how many key bytes lead to it, and whether an entry does.
struct Reach {
    at: usize,
    depth: usize,
    root: bool,
}

struct Proof<'a> {
    frame: BlobFrameRef<'a>,
    claimed: Vec<u64>,
    stack: Vec<Reach>,
    node_units: usize,
    leaf_units: usize,
    report: FrameReport,
}

impl Proof<'_> {
    /// Claims units in `low..high`; each can be claimed once (V4).
    fn claim(&mut self, at: usize, units: usize, low: usize, high: usize) -> Result<(), VerifyError> {
        if at < low || at + units > high {
            return Err(wrong(at, "a node or leaf is not whole in its region"));
        }
        for unit in at..at + units {
            let bit = 1u64 << (unit % 64);
            let word = &mut self.claimed[unit / 64];
            if *word & bit != 0 {
                return Err(wrong(unit, "two nodes or leaves overlap"));
            }
            *word |= bit;
        }
        Ok(())
    }

    fn claim_node(&mut self, at: usize, units: usize) -> Result<(), VerifyError> {
        self.claim(at, units, self.frame.nodes_start(), self.frame.node_top())?;
        self.node_units += units;
        Ok(())
    }

    /// V3; gives the units on the lists.
    fn free_lists(&mut self) -> Result<usize, VerifyError> {
        for class in 0..FREE_CLASSES {
            let shift = 16 * u32::try_from(class % 4).unwrap_or(0);
            let mut at = usize::from(u16_at(load(self.frame.words, W_FREE + class / 4), shift));
            while at != 0 {
                let word = load(self.frame.words, at);
                if kind_of(word) != kind::FREE || usize::from(u16_at(word, 16)) != class + 1 {
                    return Err(wrong(at, "a free list holds what is not a free block of its size"));
                }
                self.claim_node(at, class + 1)?;
                at = usize::from(u16_at(word, 32));
            }
        }
        let free = std::mem::take(&mut self.node_units);
        if free != u32_at(load(self.frame.words, W_COUNTS), 32) as usize {
            return Err(wrong(W_COUNTS, "the count of free units is wrong"));
        }
        Ok(free)
    }

    fn reach(&mut self, reach: Reach) -> Result<(), VerifyError> {
        let at = reach.at;
        if at >= self.frame.units() {
            return Err(wrong(at, "an offset leaves the frame"));
        }
        let word = load(self.frame.words, at);
        match kind_of(word) {
            kind::LEAF => self.leaf(&reach, word),
            kind::CROSSING if reach.root => Err(wrong(at, "a crossing is an entry's root")),
            kind::CROSSING => {
                self.report.crossings += 1;
                if load(self.frame.words, at + 1) == 0 || flags_of(word) > CROSSING_GROUP || word >> 32 != 0 {
                    return Err(wrong(at, "a crossing leads nowhere"));
                }
                self.claim_node(at, NodeType::Crossing.units())
            }
            kind::EMPTY if !reach.root => Err(wrong(at, "an empty root is not an entry's root")),
            kind::EMPTY if word != u64::from(kind::EMPTY) => {
                Err(wrong(at, "an empty root has unknown flags"))
            }
            kind::EMPTY => self.claim_node(at, NodeType::EmptyRoot.units()),
            _ => self.inner(&reach, word),
        }
    }

    /// V7, V8.
    fn leaf(&mut self, reach: &Reach, word: u64) -> Result<(), VerifyError> {
        let at = reach.at;
        let leaf = LeafView::at(self.frame, at).map_err(|Torn| wrong(at, "a leaf leaves the frame"))?;
        self.claim(at, leaf.units(), self.frame.leaf_bottom(), self.frame.units())?;
        self.leaf_units += leaf.units();
        self.report.leaves += 1;
        let flags = flags_of(word);
        self.report.mortal_leaves += usize::from(flags & LEAF_DEATH != 0);
        if flags & !(LEAF_DEATH | LEAF_POINTER | LEAF_STAGED) != 0 {
            return Err(wrong(at, "a leaf has unknown flags"));
        }
        let agrees = match leaf.pointer() {
            None => !leaf.is_staged() && leaf.value_len() <= inline_bytes_max(self.frame.frame_bytes()),
            Some(pointer) => {
                leaf.is_staged() == (pointer.segment == STAGING)
                    && pointer.length as usize == leaf.value_len()
            }
        };
        if !agrees {
            return Err(wrong(at, "a leaf disagrees with itself about its value"));
        }
        self.key_fits(at, reach.depth + leaf.suffix_len())
    }

    fn key_fits(&self, at: usize, length: usize) -> Result<(), VerifyError> {
        if length > key_bytes_max(self.frame.frame_bytes()) {
            return Err(wrong(at, "a key is too long"));
        }
        Ok(())
    }

    /// V5, V6.
    fn inner(&mut self, reach: &Reach, word: u64) -> Result<(), VerifyError> {
        let at = reach.at;
        let units = node_units(word).ok_or(wrong(at, "an unknown kind of node"))?;
        self.claim_node(at, units)?;
        self.report.nodes += 1;
        let depth = reach.depth + usize::from(u16_at(word, 32));
        self.key_fits(at, depth)?;
        let edges =
            Edges::read(self.frame, at).map_err(|Torn| wrong(at, "a node's edges are out of order"))?;
        let terminal = u16_at(word, 48);
        if flags_of(word) != 0 || (edges.len() == 0 && terminal == 0) {
            return Err(wrong(at, "a node has no key below it, or unknown flags"));
        }
        if terminal != 0 {
            let leaf = LeafView::at(self.frame, usize::from(terminal));
            if !leaf.is_ok_and(|leaf| leaf.suffix_len() == 0 && leaf.offset().0 == terminal) {
                return Err(wrong(at, "a node's terminal is not a leaf without suffix"));
            }
            self.stack.push(Reach { at: usize::from(terminal), depth, root: false });
        }
        let mut index = 0;
        while index < edges.len() {
            let end = edges.run_end(index);
            let child = edges.children()[index];
            if is_group(self.frame, child) != (end - index > 1) {
                return Err(wrong(at, "several edges share a child, or a group has but one edge"));
            }
            self.stack.push(Reach { at: usize::from(child), depth: depth + 1, root: false });
            index = end;
        }
        Ok(())
    }

    /// V9.
    fn counts(self, free_units: usize) -> Result<FrameReport, VerifyError> {
        let frame = self.frame;
        let dead = load(frame.words, W_DEAD);
        let dead_nodes = frame.node_top() - frame.nodes_start() - self.node_units - free_units;
        let dead_leaves = frame.units() - frame.leaf_bottom() - self.leaf_units;
        if u32_at(dead, 0) as usize != dead_nodes || u32_at(dead, 32) as usize != dead_leaves {
            return Err(wrong(W_DEAD, "the count of dead units is wrong"));
        }
        if frame.live_leaves() != self.report.leaves {
            return Err(wrong(W_COUNTS, "the count of leaves is wrong"));
        }
        if usize::from(u16_at(load(frame.words, W_ENTRIES), MORTAL_SHIFT)) != self.report.mortal_leaves {
            return Err(wrong(W_ENTRIES, "the count of leaves with a death time is wrong"));
        }
        Ok(FrameReport { used_bytes: frame.used_bytes(), dead_bytes: frame.dead_bytes(), ..self.report })
    }
}
