//! Making a node where there was none, and making one larger: the structural half of an insert.
//!
//! **G1** Each function here takes all the space it needs before it changes what a reader can
//! reach, and gives it back if the second of two requests fails (B4).

use crate::edit::Slot;
use crate::error::{AllocError, FrameError, Torn};
use crate::frame::BlobFrame;
use crate::layout::{NodeType, kind_of, node_word, u16_at, units_for};
use crate::leaf::{Leaf, LeafView};
use crate::node::{Edges, set_child};
use crate::words::{byte_at, copy_out, copy_words, load, store, write_parts};

impl BlobFrame<'_> {
    pub(crate) fn set_slot(&mut self, slot: Slot, at: u16) -> Result<(), Torn> {
        match slot {
            Slot::Entry(entry) => {
                self.set_entry(entry, at);
                Ok(())
            }
            Slot::Edge { node, byte } => set_child(**self, node, byte, at),
        }
    }

    pub(crate) fn set_terminal(&mut self, at: usize, leaf: u16) {
        let word = load(self.words, at) & 0x0000_ffff_ffff_ffff;
        store(self.words, at, word | (u64::from(leaf) << 48));
    }

    /// A leaf and a Node4 with `prefix`, or neither.
    fn leaf_and_node4(
        &mut self,
        prefix: usize,
        suffix: &[u8],
        leaf: &Leaf<'_>,
    ) -> Result<(u16, u16), AllocError> {
        let node = self.take_node(NodeType::Node4, prefix)?;
        match self.new_leaf(suffix, leaf) {
            Ok(new) => Ok((node, new)),
            Err(error) => {
                self.give_node_units(usize::from(node), NodeType::Node4.units() + units_for(prefix));
                Err(error)
            }
        }
    }

    /// Puts a Node4 between `slot` and the leaf at `at`, of whose suffix and `rest` the first
    /// `common` bytes are equal but which are not equal as a whole.
    pub(crate) fn split_leaf(
        &mut self,
        slot: Slot,
        at: usize,
        common: usize,
        rest: &[u8],
        leaf: &Leaf<'_>,
    ) -> Result<(), FrameError> {
        let old_at = u16::try_from(at).map_err(|_| Torn)?;
        let (prefix, below) = rest.split_at(common);
        let (node, new) = self.leaf_and_node4(common, below.get(1..).unwrap_or(&[]), leaf)?;
        let old = LeafView::at(**self, at)?;
        let old_byte = (old.suffix_len() > common).then(|| old.suffix_byte(common));
        let freed = old.trim_suffix(common + usize::from(old_byte.is_some()));
        if freed > 0 {
            let kept = LeafView::at(**self, at)?.units();
            self.give_leaf_units(at + kept, freed);
        }
        self.fork(node, prefix, (old_byte, old_at), (below.first().copied(), new));
        Ok(self.set_slot(slot, node)?)
    }

    /// Puts a Node4 between `slot` and the inner node at `at`, of whose prefix only the first
    /// `common` bytes are those of `rest`.
    pub(crate) fn split_prefix(
        &mut self,
        slot: Slot,
        at: usize,
        common: usize,
        rest: &[u8],
        leaf: &Leaf<'_>,
    ) -> Result<(), FrameError> {
        let old_at = u16::try_from(at).map_err(|_| Torn)?;
        let (prefix, below) = rest.split_at(common);
        let (fork, new) = self.leaf_and_node4(common, below.get(1..).unwrap_or(&[]), leaf)?;
        let word = load(self.words, at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let old_byte = byte_at(self.words, at + node.units(), common);
        self.trim_prefix(at, word, node, common + 1);
        self.fork(fork, prefix, (Some(old_byte), old_at), (below.first().copied(), new));
        Ok(self.set_slot(slot, fork)?)
    }

    /// Rewrites the node's prefix in place without its first `drop` bytes.
    fn trim_prefix(&mut self, at: usize, word: u64, node: NodeType, drop: usize) {
        let prefix_len = usize::from(u16_at(word, 32));
        let kept = prefix_len - drop;
        let mut prefix = Vec::new();
        copy_out(self.words, at + node.units(), drop, kept, &mut prefix);
        write_parts(self.words, at + node.units(), &[&prefix]);
        store(self.words, at, node_word(node.kind(), usize::from(u16_at(word, 16)), kept, u16_at(word, 48)));
        let units = node.units() + units_for(kept);
        self.give_node_units(at + units, units_for(prefix_len) - units_for(kept));
    }

    /// Writes the Node4 at `at` over two children, of which one may be the terminal (no byte).
    fn fork(&mut self, at: u16, prefix: &[u8], one: (Option<u8>, u16), other: (Option<u8>, u16)) {
        let mut edges = Edges::new();
        let mut terminal = 0;
        for (byte, child) in [one, other] {
            match byte {
                Some(byte) => edges.insert(byte, child),
                None => terminal = child,
            }
        }
        let at = usize::from(at);
        edges.write(**self, at, NodeType::Node4, prefix.len(), terminal);
        write_parts(self.words, at + NodeType::Node4.units(), &[prefix]);
    }

    /// Hangs a new leaf on a new edge `byte` of the node at `at`, which `slot` names.
    pub(crate) fn insert_edge(
        &mut self,
        slot: Slot,
        at: usize,
        byte: u8,
        suffix: &[u8],
        leaf: &Leaf<'_>,
    ) -> Result<(), FrameError> {
        let new = self.new_leaf(suffix, leaf)?;
        let added = self.add_edge(slot, at, byte, new);
        if matches!(added, Err(FrameError::Alloc(_))) {
            // It is the lowest leaf: the gap gets all of it back.
            self.drop_leaf(usize::from(new))?;
        }
        added
    }

    /// Adds the edge `byte`, which the node at `at` does not have; the node moves if it must grow.
    pub(crate) fn add_edge(&mut self, slot: Slot, at: usize, byte: u8, child: u16) -> Result<(), FrameError> {
        let word = load(self.words, at);
        let node = NodeType::inner(kind_of(word)).ok_or(Torn)?;
        let (prefix, terminal) = (usize::from(u16_at(word, 32)), u16_at(word, 48));
        if node == NodeType::Node256 {
            set_child(**self, at, byte, child)?;
            store(self.words, at, word.wrapping_add(1 << 16));
            return Ok(());
        }
        let mut edges = Edges::read(**self, at)?;
        edges.insert(byte, child);
        if edges.len() <= node.capacity() {
            edges.write(**self, at, node, prefix, terminal);
            return Ok(());
        }
        let larger = NodeType::fitting(edges.len());
        let new = self.take_node(larger, prefix)?;
        edges.write(**self, usize::from(new), larger, prefix, terminal);
        copy_words(self.words, at + node.units(), self.words, usize::from(new) + larger.units(), prefix);
        self.set_slot(slot, new)?;
        self.give_node_units(at, node.units() + units_for(prefix));
        Ok(())
    }
}
