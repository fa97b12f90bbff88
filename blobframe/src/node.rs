//! Inner nodes: search for an edge, the edges in order, and writing them back. The layout of the
//! four kinds is in [`layout`](crate::layout); allocation and growth are elsewhere.

use crate::error::Torn;
use crate::frame::BlobFrameRef;
use crate::layout::{CROSSING_GROUP, NodeType, flags_of, kind, kind_of, node_word, u16_at};
use crate::words::{load, store};

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Number of the lowest byte of `word` that equals `byte`; 8 if none does.
#[inline]
fn position(word: u64, byte: u8) -> usize {
    let differing = word ^ (LOW_BITS * u64::from(byte));
    let zeros = differing.wrapping_sub(LOW_BITS) & !differing & HIGH_BITS;
    zeros.trailing_zeros() as usize / 8
}

/// The `rank`-th 16-bit child from word `at` on.
#[inline]
fn child_by_rank(frame: BlobFrameRef<'_>, at: usize, rank: usize) -> u16 {
    let shift = 16 * u32::try_from(rank % 4).unwrap_or(0);
    u16_at(load(frame.words, at + rank / 4), shift)
}

/// Child of the edge `byte` of the node at `at`, 0 if it has none. `word` is the node's word 0.
#[inline]
pub(crate) fn child_of(frame: BlobFrameRef<'_>, at: usize, node: NodeType, word: u64, byte: u8) -> u16 {
    let count = usize::from(u16_at(word, 16));
    match node {
        NodeType::Node4 => {
            let rank = position(load(frame.words, at + 1), byte);
            if rank < count.min(4) { child_by_rank(frame, at + 2, rank) } else { 0 }
        }
        NodeType::Node16 => {
            let mut rank = position(load(frame.words, at + 1), byte);
            if rank == 8 {
                rank += position(load(frame.words, at + 2), byte);
            }
            if rank < count.min(16) { child_by_rank(frame, at + 3, rank) } else { 0 }
        }
        NodeType::Node48 => match rank_in_map(frame, at, byte) {
            Some(rank) if rank < 48 => child_by_rank(frame, at + 5, rank),
            _ => 0,
        },
        NodeType::Node256 => child_by_rank(frame, at + 1, usize::from(byte)),
        NodeType::Crossing | NodeType::EmptyRoot => 0,
    }
}

/// Rank of `byte` among the edges of the Node48 at `at`, if it is one.
fn rank_in_map(frame: BlobFrameRef<'_>, at: usize, byte: u8) -> Option<usize> {
    let index = usize::from(byte / 64);
    let map = load(frame.words, at + 1 + index);
    let bit = 1u64 << (byte % 64);
    if map & bit == 0 {
        return None;
    }
    let below: u32 = (0..index).map(|i| load(frame.words, at + 1 + i).count_ones()).sum();
    Some((below + (map & (bit - 1)).count_ones()) as usize)
}

/// Whether a GROUP crossing lies at unit `at`.
pub(crate) fn is_group(frame: BlobFrameRef<'_>, at: u16) -> bool {
    let word = load(frame.words, usize::from(at));
    kind_of(word) == kind::CROSSING && flags_of(word) & CROSSING_GROUP != 0
}

/// The edges of a node in ascending order of their bytes.
#[derive(Clone, Debug)]
pub(crate) struct Edges {
    bytes: [u8; 256],
    children: [u16; 256],
    len: usize,
}

impl Edges {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; 256], children: [0; 256], len: 0 }
    }

    /// The edges of the inner node at `at`.
    ///
    /// Torn unless bytes ascend strictly, children are there and the counts agree.
    pub(crate) fn read(frame: BlobFrameRef<'_>, at: usize) -> Result<Self, Torn> {
        let word = load(frame.words, at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let mut edges = Self::new();
        let count = usize::from(u16_at(word, 16));
        if count > node.capacity() {
            return Err(Torn);
        }
        match node {
            NodeType::Node4 => edges.read_listed(frame, at + 1, at + 2, count),
            NodeType::Node16 => edges.read_listed(frame, at + 1, at + 3, count),
            NodeType::Node48 => {
                for index in 0..4 {
                    let mut map = load(frame.words, at + 1 + index);
                    while map != 0 && edges.len < 48 {
                        let byte = index * 64 + map.trailing_zeros() as usize;
                        edges.put_last(byte, child_by_rank(frame, at + 5, edges.len));
                        map &= map - 1;
                    }
                    if map != 0 {
                        return Err(Torn);
                    }
                }
            }
            _ => {
                for byte in 0..256 {
                    let child = child_by_rank(frame, at + 1, byte);
                    if child != 0 {
                        edges.put_last(byte, child);
                    }
                }
            }
        }
        let ascending = edges.bytes().windows(2).all(|pair| pair[0] < pair[1]);
        if edges.len != count || !ascending || edges.children().contains(&0) {
            return Err(Torn);
        }
        Ok(edges)
    }

    fn read_listed(&mut self, frame: BlobFrameRef<'_>, bytes_at: usize, children_at: usize, count: usize) {
        for rank in 0..count {
            let byte = load(frame.words, bytes_at + rank / 8).to_le_bytes()[rank % 8];
            self.put_last(usize::from(byte), child_by_rank(frame, children_at, rank));
        }
    }

    fn put_last(&mut self, byte: usize, child: u16) {
        self.bytes[self.len] = u8::try_from(byte).unwrap_or(u8::MAX);
        self.children[self.len] = child;
        self.len += 1;
    }

    /// Adds an edge behind all others; REQUIRES: `byte` is above theirs.
    pub(crate) fn push(&mut self, byte: u8, child: u16) {
        self.put_last(usize::from(byte), child);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(crate) fn children(&self) -> &[u16] {
        &self.children[..self.len]
    }

    pub(crate) fn set_child(&mut self, index: usize, child: u16) {
        self.children[index] = child;
    }

    /// First index whose byte is not below `byte`.
    pub(crate) fn lower_bound(&self, byte: u8) -> usize {
        self.bytes().partition_point(|&edge| edge < byte)
    }

    /// Adds an edge in its place; REQUIRES: it is not there yet.
    pub(crate) fn insert(&mut self, byte: u8, child: u16) {
        let at = self.lower_bound(byte);
        self.bytes.copy_within(at..self.len, at + 1);
        self.children.copy_within(at..self.len, at + 1);
        self.bytes[at] = byte;
        self.children[at] = child;
        self.len += 1;
    }

    /// Takes the edge `byte` away, if it is there.
    pub(crate) fn remove(&mut self, byte: u8) {
        let at = self.lower_bound(byte);
        if self.bytes().get(at) == Some(&byte) {
            self.bytes.copy_within(at + 1..self.len, at);
            self.children.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    /// Index behind the run of equal children that starts at `index`.
    pub(crate) fn run_end(&self, index: usize) -> usize {
        let child = self.children[index];
        index + self.children()[index..].iter().take_while(|&&other| other == child).count()
    }

    /// Writes word 0 and the body of a node of type `node` at `at`; the prefix behind it is left.
    pub(crate) fn write(
        &self,
        frame: BlobFrameRef<'_>,
        at: usize,
        node: NodeType,
        prefix: usize,
        terminal: u16,
    ) {
        let words = frame.words;
        store(words, at, node_word(node.kind(), self.len, prefix, terminal));
        match node {
            NodeType::Node4 => {
                self.write_bytes(frame, at + 1, 1);
                self.write_children(frame, at + 2, 1);
            }
            NodeType::Node16 => {
                self.write_bytes(frame, at + 1, 2);
                self.write_children(frame, at + 3, 4);
            }
            NodeType::Node48 => {
                let mut map = [0u64; 4];
                for &byte in self.bytes() {
                    map[usize::from(byte / 64)] |= 1 << (byte % 64);
                }
                for (index, bits) in map.into_iter().enumerate() {
                    store(words, at + 1 + index, bits);
                }
                self.write_children(frame, at + 5, 12);
            }
            _ => {
                let mut all = [0u16; 256];
                for (&byte, &child) in self.bytes().iter().zip(self.children()) {
                    all[usize::from(byte)] = child;
                }
                for (index, four) in all.chunks(4).enumerate() {
                    store(words, at + 1 + index, pack(four));
                }
            }
        }
    }

    fn write_bytes(&self, frame: BlobFrameRef<'_>, at: usize, words: usize) {
        for index in 0..words {
            let word = self.bytes().iter().skip(8 * index).take(8).rev();
            store(frame.words, at + index, word.fold(0, |word, &byte| (word << 8) | u64::from(byte)));
        }
    }

    fn write_children(&self, frame: BlobFrameRef<'_>, at: usize, words: usize) {
        for index in 0..words {
            let low = (4 * index).min(self.len);
            let high = (4 * index + 4).min(self.len);
            store(frame.words, at + index, pack(&self.children[low..high]));
        }
    }
}

/// Up to four offsets in one word, the first lowest.
fn pack(offsets: &[u16]) -> u64 {
    offsets.iter().rev().fold(0, |word, &offset| (word << 16) | u64::from(offset))
}

/// Lets the edge `byte` of the node at `at` lead to `child`; torn if it has no such edge.
pub(crate) fn set_child(frame: BlobFrameRef<'_>, at: usize, byte: u8, child: u16) -> Result<(), Torn> {
    let word = load(frame.words, at);
    let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
    let (base, rank) = match node {
        NodeType::Node4 => (at + 2, position(load(frame.words, at + 1), byte)),
        NodeType::Node16 => {
            let low = position(load(frame.words, at + 1), byte);
            let rank = if low < 8 { low } else { 8 + position(load(frame.words, at + 2), byte) };
            (at + 3, rank)
        }
        NodeType::Node48 => (at + 5, rank_in_map(frame, at, byte).ok_or(Torn)?),
        _ => (at + 1, usize::from(byte)),
    };
    let count = if node == NodeType::Node256 { 256 } else { usize::from(u16_at(word, 16)) };
    if rank >= count.min(node.capacity()) {
        return Err(Torn);
    }
    set_rank(frame, base, rank, child);
    Ok(())
}

/// Sets the `rank`-th 16-bit offset from word `at` on.
pub(crate) fn set_rank(frame: BlobFrameRef<'_>, at: usize, rank: usize, offset: u16) {
    let shift = 16 * (rank % 4);
    let old = load(frame.words, at + rank / 4);
    store(frame.words, at + rank / 4, (old & !(0xffff << shift)) | (u64::from(offset) << shift));
}

/// The lowest edge of the node at `at` whose byte is at least `from`.
pub(crate) fn edge_from(frame: BlobFrameRef<'_>, at: usize, from: usize) -> Option<(u8, u16)> {
    let word = load(frame.words, at);
    let node = NodeType::inner(kind_of(word))?;
    let count = usize::from(u16_at(word, 16)).min(node.capacity());
    match node {
        NodeType::Node4 => {
            (0..count).map(|rank| listed(frame, at + 1, at + 2, rank)).find(|e| usize::from(e.0) >= from)
        }
        NodeType::Node16 => {
            (0..count).map(|rank| listed(frame, at + 1, at + 3, rank)).find(|e| usize::from(e.0) >= from)
        }
        NodeType::Node48 => {
            let byte = (from / 64..4).find_map(|index| {
                let map = load(frame.words, at + 1 + index);
                let map = if index == from / 64 { map & (u64::MAX << (from % 64)) } else { map };
                (map != 0).then(|| index * 64 + map.trailing_zeros() as usize)
            })?;
            edge_at(frame, at, node, word, byte)
        }
        _ => (from..256).find_map(|byte| edge_at(frame, at, node, word, byte)),
    }
}

/// The highest edge of the node at `at` whose byte is below `to`.
pub(crate) fn edge_below(frame: BlobFrameRef<'_>, at: usize, to: usize) -> Option<(u8, u16)> {
    let word = load(frame.words, at);
    let node = NodeType::inner(kind_of(word))?;
    let count = usize::from(u16_at(word, 16)).min(node.capacity());
    match node {
        NodeType::Node4 => {
            (0..count).rev().map(|rank| listed(frame, at + 1, at + 2, rank)).find(|e| usize::from(e.0) < to)
        }
        NodeType::Node16 => {
            (0..count).rev().map(|rank| listed(frame, at + 1, at + 3, rank)).find(|e| usize::from(e.0) < to)
        }
        NodeType::Node48 => {
            let byte = (0..to.div_ceil(64)).rev().find_map(|index| {
                let map = load(frame.words, at + 1 + index);
                let map = if index == to / 64 { map & ((1 << (to % 64)) - 1) } else { map };
                (map != 0).then(|| index * 64 + 63 - map.leading_zeros() as usize)
            })?;
            edge_at(frame, at, node, word, byte)
        }
        _ => (0..to.min(256)).rev().find_map(|byte| edge_at(frame, at, node, word, byte)),
    }
}

fn edge_at(frame: BlobFrameRef<'_>, at: usize, node: NodeType, word: u64, byte: usize) -> Option<(u8, u16)> {
    let byte = u8::try_from(byte).ok()?;
    let child = child_of(frame, at, node, word, byte);
    (child != 0).then_some((byte, child))
}

fn listed(frame: BlobFrameRef<'_>, bytes_at: usize, children_at: usize, rank: usize) -> (u8, u16) {
    let byte = load(frame.words, bytes_at + rank / 8).to_le_bytes()[rank % 8];
    (byte, child_by_rank(frame, children_at, rank))
}
