//! Whether a key that is not in this frame belongs to another one all the same.
//!
//! A GROUP crossing owns its whole byte range, also the bytes that are no edges yet. To a search
//! such a key is absent; an insert adds the edge and then reports the crossing. A caller that must
//! know before it may change anything asks here. It changes nothing itself.

use crate::error::Torn;
use crate::frame::BlobFrameRef;
use crate::layout::{NodeType, kind_of, u16_at};
use crate::node::{child_of, edge_below, edge_from, is_group};
use crate::words::{eq_bytes, load};

impl BlobFrameRef<'_> {
    /// Whether inserting `key` (what is left of it below the crossings passed) under `entry` would give
    /// a GROUP crossing one more edge and go on in its child.
    ///
    /// # Errors
    /// [`Torn`] if the bytes on the way are not those of a valid frame.
    pub fn is_gap(self, entry: u16, key: &[u8]) -> Result<bool, Torn> {
        let mut at = self.entry_root(entry)?;
        let mut rest = key;
        // Bounded (B3): each turn but the last consumes the byte of an edge.
        loop {
            let word = load(self.words, at);
            let Some(node) = NodeType::inner(kind_of(word)) else { return Ok(false) };
            let Some((prefix, below)) = rest.split_at_checked(usize::from(u16_at(word, 32))) else {
                return Ok(false);
            };
            let Some((&byte, below)) = below.split_first() else { return Ok(false) };
            if !eq_bytes(self.words, at + node.units(), prefix) {
                return Ok(false);
            }
            let next = child_of(self, at, node, word, byte);
            if next == 0 {
                let low = edge_below(self, at, usize::from(byte));
                let high = edge_from(self, at, usize::from(byte));
                return Ok(match (low, high) {
                    (Some((_, low)), Some((_, high))) => low == high && is_group(self, low),
                    _ => false,
                });
            }
            rest = below;
            at = usize::from(next);
        }
    }
}
