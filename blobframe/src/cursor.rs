//! Walks over one entry's subtree in key order, either way. A walk over several frames is the
//! caller's: it keeps one cursor per frame and goes into the crossings that they step on.
//!
//! The things that hang on a node have positions: its terminal 0, the edge of byte b 1 + b. A level
//! of the walk remembers the border `at` between what is done and what is to come: forward, what
//! is at `at` and above is to come; backward, what is below it. A run of edges with one GROUP
//! crossing is one thing, at all of its positions.
//!
//! - **K1** A key that starts with another comes after it: forward the terminal comes before the
//!   children, backward after them.
//! - **K2** What a seek puts on the stack is exactly what lies beyond the bound, but for a crossing
//!   on the bound's own path, which may hold keys on either side and is stepped on first: its
//!   frame is sought with the same bound.
//! - **K3** Depth, path and the work of one call are bounded by what a valid frame can need (B3).

use std::cmp::Ordering;
use std::ops::Bound;

use crate::error::Torn;
use crate::frame::BlobFrameRef;
use crate::layout::{NodeType, key_bytes_max, kind, kind_of, u16_at};
use crate::leaf::{LeafOffset, LeafView};
use crate::node::{child_of, edge_below, edge_from, is_group};
use crate::words::{copy_out, load};

/// Position behind the last edge.
const BEHIND: u16 = 257;

/// Which way a cursor goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// What a cursor came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A leaf; [`Cursor::key`] is its full key.
    Leaf(LeafOffset),
    /// A crossing; [`Cursor::path`] holds the key bytes above the child's entry.
    Crossing {
        /// The other frame's number.
        child: u64,
        /// The entry of that frame to go on at.
        entry: u16,
    },
    /// No more keys in this subtree.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    node: u16,
    at: u16,
    path_len: usize,
}

/// A place in the walk over one entry's subtree.
#[derive(Clone, Debug)]
pub struct Cursor {
    direction: Direction,
    path: Vec<u8>,
    /// A leaf, node or crossing still to be entered; the path leads up to it.
    pending: Option<u16>,
    levels: Vec<Level>,
    /// No valid frame leads to a longer path (K3).
    path_len_max: usize,
}

impl Cursor {
    /// A cursor over the subtree of `entry`, whose keys all start with `path` (the key bytes that
    /// lie above the entry). `bound` is a full key: forward the lower, backward the upper bound of
    /// what is to come.
    ///
    /// # Errors
    /// [`Torn`] if the bytes on the way are not those of a valid frame.
    pub fn seek(
        frame: BlobFrameRef<'_>,
        entry: u16,
        path: Vec<u8>,
        bound: Bound<&[u8]>,
        direction: Direction,
    ) -> Result<Self, Torn> {
        let root = offset(frame.entry_root(entry)?)?;
        let path_len_max = path.len() + key_bytes_max(frame.frame_bytes());
        let mut cursor = Self { direction, path, pending: None, levels: Vec::new(), path_len_max };
        let (key, inclusive) = match bound {
            Bound::Unbounded => {
                cursor.pending = Some(root);
                return Ok(cursor);
            }
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        match compare_prefix(&cursor.path, key) {
            Prefix::Whole(rest) => cursor.descend(frame, root, rest, inclusive)?,
            Prefix::Differs(order) => cursor.take_if_beyond(root, order),
        }
        Ok(cursor)
    }

    /// Takes a subtree whole if it is on the walk's side of the bound: `order` is how its keys
    /// compare with the bound.
    fn take_if_beyond(&mut self, root: u16, order: Ordering) {
        let beyond = match self.direction {
            Direction::Forward => Ordering::Greater,
            Direction::Backward => Ordering::Less,
        };
        if order == beyond {
            self.pending = Some(root);
        }
    }

    /// Stacks what lies beyond the bound below `at`; `rest` is the bound without the path.
    fn descend(
        &mut self,
        frame: BlobFrameRef<'_>,
        root: u16,
        bound: &[u8],
        inclusive: bool,
    ) -> Result<(), Torn> {
        let (mut at, mut rest) = (root, bound);
        // Bounded (K3): each turn but the last consumes the byte of an edge from `rest`.
        loop {
            let unit = usize::from(at);
            let word = load(frame.words, unit);
            let Some(node) = NodeType::inner(kind_of(word)) else {
                return self.descend_end(frame, at, word, rest, inclusive);
            };
            let mut prefix = Vec::new();
            copy_out(frame.words, unit + node.units(), 0, usize::from(u16_at(word, 32)), &mut prefix);
            match compare_prefix(&prefix, rest) {
                Prefix::Differs(order) => {
                    self.take_if_beyond(at, order);
                    return Ok(());
                }
                Prefix::Whole(below) => rest = below,
            }
            self.path.extend_from_slice(&prefix);
            let Some((&byte, below)) = rest.split_first() else {
                let border = match (self.direction, inclusive) {
                    (Direction::Forward, true) | (Direction::Backward, false) => 0,
                    (Direction::Forward, false) | (Direction::Backward, true) => 1,
                };
                return self.push(frame, at, border);
            };
            let child = child_of(frame, unit, node, word, byte);
            let group = child != 0 && is_group(frame, child);
            let (first, last) = if group { run_around(frame, unit, byte, child) } else { (byte, byte) };
            let border = match self.direction {
                Direction::Forward => u16::from(last) + 2,
                Direction::Backward => u16::from(first) + 1,
            };
            self.push(frame, at, border)?;
            if child == 0 || group {
                self.pending = (child != 0).then_some(child);
                return Ok(());
            }
            self.path.push(byte);
            rest = below;
            at = child;
        }
    }

    fn descend_end(
        &mut self,
        frame: BlobFrameRef<'_>,
        at: u16,
        word: u64,
        rest: &[u8],
        inclusive: bool,
    ) -> Result<(), Torn> {
        match kind_of(word) {
            kind::LEAF => {
                let mut suffix = Vec::new();
                LeafView::at(frame, usize::from(at))?.suffix_to(&mut suffix);
                match suffix.as_slice().cmp(rest) {
                    Ordering::Equal if inclusive => self.pending = Some(at),
                    order => self.take_if_beyond(at, order),
                }
                Ok(())
            }
            kind::CROSSING => {
                self.pending = Some(at);
                Ok(())
            }
            kind::EMPTY => Ok(()),
            _ => Err(Torn),
        }
    }

    fn push(&mut self, frame: BlobFrameRef<'_>, node: u16, at: u16) -> Result<(), Torn> {
        // Every level but the first consumes the byte of an edge.
        if self.path.len() > self.path_len_max || self.levels.len() > frame.units() {
            return Err(Torn);
        }
        self.levels.push(Level { node, at, path_len: self.path.len() });
        Ok(())
    }

    /// The next leaf or crossing. REQUIRES: the frame is as it was at the seek; whether it was, the
    /// caller's validation says.
    ///
    /// # Errors
    /// [`Torn`] if the bytes are not those of a valid frame.
    pub fn next(&mut self, frame: BlobFrameRef<'_>) -> Result<Step, Torn> {
        // K3: one call enters or leaves each node at most once, in at most three turns, and a node
        // has at least three units.
        for _ in 0..2 * frame.units() {
            if let Some(at) = self.pending.take() {
                if let Some(step) = self.enter(frame, at)? {
                    return Ok(step);
                }
                continue;
            }
            let Some(level) = self.levels.last().copied() else { return Ok(Step::End) };
            self.path.truncate(level.path_len);
            match self.advance(frame, level) {
                Some((border, leaf_or_child)) => {
                    if let Some(top) = self.levels.last_mut() {
                        top.at = border;
                    }
                    self.pending = leaf_or_child;
                }
                None => {
                    self.levels.pop();
                }
            }
        }
        Err(Torn)
    }

    /// The next thing on the level: the new border and the thing, if there is one at all. The
    /// path is extended by the edge's byte where the thing's keys do not bring it themselves.
    fn advance(&mut self, frame: BlobFrameRef<'_>, level: Level) -> Option<(u16, Option<u16>)> {
        let node = usize::from(level.node);
        let terminal = || Some(u16_at(load(frame.words, node), 48)).filter(|&leaf| leaf != 0);
        let edge = match self.direction {
            Direction::Forward if level.at == 0 => return Some((1, terminal())),
            Direction::Forward => edge_from(frame, node, usize::from(level.at) - 1),
            Direction::Backward if level.at == 0 => return None,
            Direction::Backward => match edge_below(frame, node, usize::from(level.at) - 1) {
                None => return Some((0, terminal())),
                edge => edge,
            },
        };
        let (byte, child) = edge?;
        let group = is_group(frame, child);
        if !group {
            self.path.push(byte);
        }
        let (first, last) = if group { run_around(frame, node, byte, child) } else { (byte, byte) };
        Some(match self.direction {
            Direction::Forward => (u16::from(last) + 2, Some(child)),
            Direction::Backward => (u16::from(first) + 1, Some(child)),
        })
    }

    /// Comes to what lies at `at`; `None` if it is a node (now on the stack) or an empty root.
    fn enter(&mut self, frame: BlobFrameRef<'_>, at: u16) -> Result<Option<Step>, Torn> {
        let unit = usize::from(at);
        let word = load(frame.words, unit);
        match kind_of(word) {
            kind::LEAF => {
                let leaf = LeafView::at(frame, unit)?;
                leaf.suffix_to(&mut self.path);
                Ok(Some(Step::Leaf(leaf.offset())))
            }
            kind::CROSSING => {
                Ok(Some(Step::Crossing { child: load(frame.words, unit + 1), entry: u16_at(word, 16) }))
            }
            kind::EMPTY => Ok(None),
            inner => {
                let node = NodeType::inner(inner).ok_or(Torn)?;
                copy_out(frame.words, unit + node.units(), 0, usize::from(u16_at(word, 32)), &mut self.path);
                self.push(frame, at, if self.direction == Direction::Forward { 0 } else { BEHIND })?;
                Ok(None)
            }
        }
    }

    /// The full key of the leaf last stepped on.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.path
    }

    /// The key bytes above the child entry of the crossing last stepped on.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Leaves every level whose path is at least `path_len` bytes long (counted from the start of
    /// the full key), so that the walk goes on behind all keys that share the first `path_len`
    /// bytes of the key or path last stepped on.
    ///
    /// A GROUP crossing's path can be shorter than that while keys of its child are longer: what
    /// of it is to be skipped is then in the child's walk, not in this one.
    pub fn skip_to_depth(&mut self, path_len: usize) {
        while self.levels.last().is_some_and(|level| level.path_len >= path_len) {
            self.levels.pop();
        }
        self.pending = None;
    }
}

/// First and last byte of the run of edges around `byte` that lead to `child`.
fn run_around(frame: BlobFrameRef<'_>, node: usize, byte: u8, child: u16) -> (u8, u8) {
    let (mut first, mut last) = (byte, byte);
    while let Some((edge, other)) = edge_below(frame, node, usize::from(first))
        && other == child
        && edge < first
    {
        first = edge;
    }
    while let Some((edge, other)) = edge_from(frame, node, usize::from(last) + 1)
        && other == child
        && edge > last
    {
        last = edge;
    }
    (first, last)
}

enum Prefix<'a> {
    /// The key starts with the prefix; what is left of the key.
    Whole(&'a [u8]),
    /// How keys under the prefix compare with the key.
    Differs(Ordering),
}

fn compare_prefix<'a>(prefix: &[u8], key: &'a [u8]) -> Prefix<'a> {
    match key.strip_prefix(prefix) {
        Some(rest) => Prefix::Whole(rest),
        None => Prefix::Differs(prefix.cmp(key)),
    }
}

fn offset(at: usize) -> Result<u16, Torn> {
    u16::try_from(at).map_err(|_| Torn)
}
