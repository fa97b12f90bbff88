//! Splitting a frame: which part goes to the child frame, and why repeated splits always make room.
//!
//! A *run* is a stretch of neighbouring edges of one node with the same child: one edge, or all edges
//! of a GROUP crossing. What can go is a whole run, or several neighbouring runs of one node; if
//! they are several edges, a GROUP crossing stays, else an ordinary one. Terminals, prefixes and
//! the node itself stay.
//!
//! Let U be the units of all subtrees of the frame. The choice:
//! 1. Of the inner nodes whose subtree has ¼ U to ¾ U and whose path ends in `/`, the one nearest
//!    to ½ U.
//! 2. Else walk from the heaviest entry's root down while a child has more than ¾ U, to a node n. Of
//!    n's neighbouring runs, those whose sum is nearest to ½ U and within ¼ U to ¾ U.
//! 3. Else, if n is not an entry's root, n itself, with more than ¾ U.
//! 4. Else all runs of n, unless that is a single crossing.
//!
//! **S1 (progress)** Each split takes at least a word off the frame, and repeated splits of a frame
//! with one entry make room for any legal insert; so do splits of the children in turn.
//! - If the runs of n sum up to ¼ U or more, case 2 finds a stretch: a run within the limits, or,
//!   all being smaller than ¼ U, the first sum that reaches ¼ U, which is below ½ U. So case 1 or 2
//!   takes ¼ U or more, until U is small, or else n's own node, prefix and terminal have more
//!   than ¾ U minus what lies beside n's path.
//! - In case 3 more than ¾ U goes, and n is the child's root. In case 4 the frame keeps a root with one
//!   crossing. That root's prefix and terminal are bounded by the longest key and inline value: at
//!   4 KiB, 65 + 65 units of node and prefix, 67 of terminal, 2 of crossing, so 199 of the 495
//!   behind the header and table; the reservation is 16, and the largest insert bound is 198. (A
//!   larger frame only has more to spare: keys and values grow with it, nodes do not.)
//! - A child gets at most ¾ U and at most 65 units of new node (cases 1 and 2), or n without what
//!   was above it (case 3), or less than ¼ U and 65 (case 4). The sequence u → ¾ u + 65 falls to
//!   260 units, from which a largest insert fits (260 + 198 + 16 ≤ 495): an insert that follows its
//!   key from child to child ends.
//!
//! `tests/it/split.rs` runs this at 4 KiB with the longest keys and values.

use crate::alloc::node_units;
use crate::build::{Cut, Item, Place, Scratch};
use crate::error::{SplitError, Torn};
use crate::frame::{BlobFrame, BlobFrameRef};
use crate::layout::{NodeType, UNIT, kind, kind_of, u16_at};
use crate::leaf::LeafView;
use crate::node::Edges;
use crate::words::{byte_at, load};

/// What a split moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitOutcome {
    /// Bytes of the nodes and leaves that left the frame.
    pub moved_bytes: usize,
    /// Leaves that left the frame.
    pub moved_leaves: usize,
    /// Whether several edges of one node went, behind a GROUP crossing.
    pub group: bool,
}

impl BlobFrame<'_> {
    /// Moves a part of this frame to entry 0 of `child` (a new, empty frame of the same size) and
    /// leaves a crossing. Both frames are packed afterwards.
    ///
    /// # Errors
    /// [`SplitError`]; this frame is then as before, and the child empty.
    pub fn split_into(
        &mut self,
        child: &mut BlobFrame<'_>,
        scratch: &mut Scratch,
    ) -> Result<SplitOutcome, SplitError> {
        let empty = child.live_leaves() == 0
            && child.entries() == 1
            && kind_of(load(child.words, child.entry_root(0)?)) == kind::EMPTY;
        if !empty || child.units() != self.units() {
            return Err(SplitError::ChildUnfit);
        }
        scratch.copy(**self);
        let Scratch { words, stack, order, sizes } = scratch;
        let source = BlobFrameRef { words };
        measure(source, order, sizes)?;
        let survey = Survey::new(source, order, sizes)?;
        let cut = survey.choose(child.number())?.ok_or(SplitError::NothingToMove)?;
        let moved_bytes = survey.cut_units(&cut)? * UNIT;
        if let Err(torn) =
            child.fill_from(source, stack, &cut).and_then(|()| self.rebuild(source, stack, Some(&cut)))
        {
            child.clear(1);
            child.plant_empty_roots(1);
            return Err(torn.into());
        }
        Ok(SplitOutcome { moved_bytes, moved_leaves: child.live_leaves(), group: cut.is_group() })
    }

    /// Writes what `cut` takes off `source` as this frame's only entry.
    fn fill_from(&mut self, source: BlobFrameRef<'_>, stack: &mut Vec<Item>, cut: &Cut) -> Result<(), Torn> {
        self.clear(1);
        if cut.is_group() {
            return self.write_group(source, stack, cut);
        }
        let edges = Edges::read(source, usize::from(cut.node))?;
        let from = edges.children()[edges.lower_bound(cut.low).min(edges.len() - 1)];
        self.write_subtree(source, stack, Item { from, to: Place::Entry(0) }, None)
    }
}

/// Lists everything in the frame, parents first, and adds the units up, children first.
fn measure(source: BlobFrameRef<'_>, order: &mut Vec<(u16, u16)>, sizes: &mut Vec<u32>) -> Result<(), Torn> {
    order.clear();
    sizes.clear();
    sizes.resize(source.units(), 0);
    for entry in 0..source.entries() {
        order.push((u16::try_from(source.entry_root(entry)?).map_err(|_| Torn)?, 0));
    }
    let mut next = 0;
    // Bounded (B3): whatever is met twice, as in a cycle, is torn.
    while let Some(&(at, _)) = order.get(next) {
        next += 1;
        let unit = usize::from(at);
        let word = load(source.words, unit);
        let own = match kind_of(word) {
            kind::LEAF => LeafView::at(source, unit)?.units(),
            _ => node_units(word).ok_or(Torn)?,
        };
        let size = sizes.get_mut(unit).filter(|size| **size == 0).ok_or(Torn)?;
        *size = u32::try_from(own).map_err(|_| Torn)?;
        if NodeType::inner(kind_of(word)).is_none() {
            continue;
        }
        let terminal = u16_at(word, 48);
        if terminal != 0 {
            order.push((terminal, at));
        }
        let edges = Edges::read(source, unit)?;
        let mut index = 0;
        while index < edges.len() {
            order.push((edges.children()[index], at));
            index = edges.run_end(index);
        }
    }
    for &(at, parent) in order.iter().rev() {
        if parent != 0 {
            let units = sizes[usize::from(at)];
            let sum = &mut sizes[usize::from(parent)];
            *sum = sum.saturating_add(units);
        }
    }
    Ok(())
}

/// A run of a node's edges.
#[derive(Clone, Copy)]
struct Run {
    low: u8,
    high: u8,
    child: u16,
    units: usize,
}

/// The measured frame.
struct Survey<'s> {
    source: BlobFrameRef<'s>,
    order: &'s [(u16, u16)],
    sizes: &'s [u32],
    /// U of the file's head.
    total: usize,
    heaviest: u16,
}

impl<'s> Survey<'s> {
    fn new(source: BlobFrameRef<'s>, order: &'s [(u16, u16)], sizes: &'s [u32]) -> Result<Self, Torn> {
        let size = |at: u16| sizes[usize::from(at)] as usize;
        let roots = || order.iter().take_while(|(_, parent)| *parent == 0).map(|(at, _)| *at);
        let heaviest = roots().max_by_key(|&at| size(at)).ok_or(Torn)?;
        Ok(Self { source, order, sizes, total: roots().map(size).sum(), heaviest })
    }

    fn size(&self, at: u16) -> usize {
        self.sizes[usize::from(at)] as usize
    }

    fn kind(&self, at: u16) -> u8 {
        kind_of(load(self.source.words, usize::from(at)))
    }

    /// Within ¼ U to ¾ U.
    fn balanced(&self, units: usize) -> bool {
        4 * units >= self.total && 4 * units <= 3 * self.total
    }

    fn distance_from_half(&self, units: usize) -> usize {
        (2 * units).abs_diff(self.total)
    }

    fn runs(&self, at: u16) -> Result<Vec<Run>, Torn> {
        let edges = Edges::read(self.source, usize::from(at))?;
        let mut runs = Vec::new();
        let mut index = 0;
        while index < edges.len() {
            let end = edges.run_end(index);
            let child = edges.children()[index];
            let (low, high) = (edges.bytes()[index], edges.bytes()[end - 1]);
            runs.push(Run { low, high, child, units: self.size(child) });
            index = end;
        }
        Ok(runs)
    }

    fn choose(&self, child: u64) -> Result<Option<Cut>, Torn> {
        let cut = |node, low, high| Cut { node, low, high, child };
        if let Some((node, edge)) = self.best_directory()? {
            return Ok(Some(cut(node, edge, edge)));
        }
        let (mut at, mut above) = (self.heaviest, None);
        // Bounded (B3): sizes fall on the way down, for `measure` met nothing twice.
        let runs = loop {
            if NodeType::inner(self.kind(at)).is_none() {
                break Vec::new();
            }
            let runs = self.runs(at)?;
            let heavy = runs.iter().find(|run| 4 * run.units > 3 * self.total);
            match heavy {
                Some(run) if self.kind(run.child) != kind::CROSSING => {
                    above = Some((at, run.low));
                    at = run.child;
                }
                _ => break runs,
            }
        };
        if let Some((low, high)) = self.best_stretch(&runs) {
            return Ok(Some(cut(at, low, high)));
        }
        if let Some((node, edge)) = above {
            return Ok(Some(cut(node, edge, edge)));
        }
        Ok(match runs.as_slice() {
            [] => None,
            [only] if self.kind(only.child) == kind::CROSSING => None,
            [first, .., last] => Some(cut(at, first.low, last.high)),
            [only] => Some(cut(at, only.low, only.high)),
        })
    }

    /// Case 1: the parent and edge of the balanced directory nearest to half.
    fn best_directory(&self) -> Result<Option<(u16, u8)>, Torn> {
        let mut best: Option<(usize, u16, u8)> = None;
        for &(at, parent) in self.order {
            let units = self.size(at);
            let far = self.distance_from_half(units);
            if parent == 0 || !self.balanced(units) || best.is_some_and(|(least, ..)| least <= far) {
                continue;
            }
            let word = load(self.source.words, usize::from(at));
            let Some(node) = NodeType::inner(kind_of(word)) else { continue };
            let edges = Edges::read(self.source, usize::from(parent))?;
            let index = edges.children().iter().position(|&child| child == at).ok_or(Torn)?;
            let edge = edges.bytes()[index];
            let prefix = usize::from(u16_at(word, 32));
            let last = match prefix.checked_sub(1) {
                Some(last) => byte_at(self.source.words, usize::from(at) + node.units(), last),
                None => edge,
            };
            if last == b'/' {
                best = Some((far, parent, edge));
            }
        }
        Ok(best.map(|(_, parent, edge)| (parent, edge)))
    }

    /// Case 2: the balanced stretch of neighbouring runs nearest to half.
    fn best_stretch(&self, runs: &[Run]) -> Option<(u8, u8)> {
        let mut best: Option<(usize, u8, u8)> = None;
        for (index, first) in runs.iter().enumerate() {
            let mut sum = 0;
            for (length, last) in runs[index..].iter().enumerate() {
                sum += last.units;
                let lone_crossing = length == 0 && self.kind(first.child) == kind::CROSSING;
                let far = self.distance_from_half(sum);
                if self.balanced(sum) && !lone_crossing && best.is_none_or(|(least, ..)| far < least) {
                    best = Some((far, first.low, last.high));
                }
                if 4 * sum > 3 * self.total {
                    break;
                }
            }
        }
        best.map(|(_, low, high)| (low, high))
    }

    fn cut_units(&self, cut: &Cut) -> Result<usize, Torn> {
        Ok(self.runs(cut.node)?.iter().filter(|run| cut.holds(run.low)).map(|run| run.units).sum())
    }
}
