//! The memory of a heap segment: a fixed allocation that is filled once from the front, and slices
//! of what is filled. It knows no offsets and no locks; who may write where is H2 of the segment.
#![expect(unsafe_code, reason = "filled bytes are read while the rest is written")]

use std::mem::ManuallyDrop;
use std::ptr;

use bytes::Bytes;

use crate::sync::Arc;

#[derive(Debug)]
pub(super) struct Chunk {
    start: *mut u8,
    capacity: usize,
}

// SAFETY: the chunk owns its memory; filled bytes are immutable and unfilled ones have one writer (H2).
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// An empty chunk, or `None` if the host has not that much memory.
    pub(super) fn with_capacity(capacity: usize) -> Option<Arc<Self>> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(capacity).ok()?;
        Some(Self::from_vec(memory))
    }

    /// Takes `memory` over; its bytes count as filled, its spare capacity does not.
    pub(super) fn from_vec(memory: Vec<u8>) -> Arc<Self> {
        let mut memory = ManuallyDrop::new(memory);
        Arc::new(Self { start: memory.as_mut_ptr(), capacity: memory.capacity() })
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The address of `len` bytes at `position`.
    fn at(&self, position: usize, len: usize) -> *mut u8 {
        let inside = position.checked_add(len).is_some_and(|end| end <= self.capacity);
        assert!(inside, "a range lies inside its chunk");
        self.start.wrapping_add(position)
    }

    /// Fills `bytes.len()` bytes from `position`.
    ///
    /// # Safety
    /// No slice of that range exists, none is made before this returns, and nobody else writes it.
    pub(super) unsafe fn write(&self, position: usize, bytes: &[u8]) {
        let to = self.at(position, bytes.len());
        // SAFETY: the range lies inside the chunk, and is the caller's alone; `bytes` is a live
        // reference, so it is not part of it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: pointer and capacity are those of the vector that `from_vec` took apart; bytes need
        // no drop, so the length does not matter.
        drop(unsafe { Vec::from_raw_parts(self.start, 0, self.capacity) });
    }
}

/// Filled bytes of a chunk, which it keeps alive.
#[derive(Debug)]
pub(super) struct Slice {
    chunk: Arc<Chunk>,
    position: usize,
    len: usize,
}

impl Slice {
    /// `len` bytes at `position` without a copy. They are filled: the caller found them in a run.
    pub(super) fn bytes(chunk: &Arc<Chunk>, position: usize, len: usize) -> Bytes {
        Bytes::from_owner(Self { chunk: Arc::clone(chunk), position, len })
    }
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        let from = self.chunk.at(self.position, self.len);
        // SAFETY: the range is part of a run: filled, immutable (H2), and alive with the chunk (H1).
        unsafe { std::slice::from_raw_parts(from, self.len) }
    }
}
