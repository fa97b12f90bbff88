//! Ordered walks.
use std::ops::Bound;

use crate::error::Torn;
use crate::frame::BlobFrameRef;
use crate::leaf::LeafOffset;

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

/// A place in the walk over one entry's subtree.
#[derive(Clone, Debug)]
pub struct Cursor {
    path: Vec<u8>,
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
        let _ = (frame, entry, bound, direction);
        let _ = path;
        todo!()
    }

    /// The next leaf or crossing. REQUIRES: the frame is as it was at the seek (the caller validates).
    ///
    /// # Errors
    /// [`Torn`] if the bytes are not those of a valid frame.
    pub fn next(&mut self, frame: BlobFrameRef<'_>) -> Result<Step, Torn> {
        let _ = frame;
        todo!()
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
    /// the full key), so that the walk goes on behind all keys with the current first `path_len` bytes.
    pub fn skip_to_depth(&mut self, path_len: usize) {
        let _ = path_len;
        todo!()
    }
}
