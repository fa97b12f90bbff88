//! Staged payloads: values too large for a frame, in memory, between their record in the log and the
//! cut that destages them. It is *not* durable by itself; the log holds every staged byte until then.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use treering_segment::heap::{HeapError, HeapSegment};

/// What destaging must know about a staged payload beside its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Staged {
    /// The key of the only leaf that may point at it, tree id included.
    pub(crate) key: Vec<u8>,
    /// Absolute staging offset.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) length: u32,
    /// Store time of the write, in milliseconds.
    pub(crate) written_ms: u64,
}

/// The staging heap with an index by offset.
#[derive(Debug)]
pub(crate) struct Staging {
    heap: HeapSegment,
    index: Mutex<VecDeque<Staged>>,
}

impl Staging {
    /// An empty staging area whose next offset is `base`.
    pub(crate) fn new(base: u64) -> Self {
        Self { heap: HeapSegment::from_existing_at(base, Vec::new()), index: Mutex::new(VecDeque::new()) }
    }

    /// Stages a value and returns its offset. Called inside the gate only (PROTOCOL C1).
    pub(crate) fn append(&self, key: &[u8], value: &[u8], written_ms: u64) -> Result<u64, HeapError> {
        let length = u32::try_from(value.len())
            .map_err(|_| HeapError::PayloadTooLarge { size: value.len() as u64, max: u64::from(u32::MAX) })?;
        let mut index = self.index.lock();
        let offset = self.heap.append(value)?;
        index.push_back(Staged { key: key.to_vec(), offset, length, written_ms });
        Ok(offset)
    }

    /// Puts back a payload at the offset that its record names; offsets come in ascending order.
    pub(crate) fn place(&self, staged: Staged, value: &[u8]) -> Result<(), HeapError> {
        let mut index = self.index.lock();
        self.heap.place_at(staged.offset, value)?;
        index.push_back(staged);
        Ok(())
    }

    /// The payload at `offset`, if it is still staged. Shares memory with the staging area.
    pub(crate) fn read(&self, offset: u64, length: u32) -> Option<Bytes> {
        self.heap.read(offset, length as usize)
    }

    /// The offset that the next payload gets.
    pub(crate) fn end(&self) -> u64 {
        self.heap.end_offset()
    }

    /// Bytes staged.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.heap.live_bytes()
    }

    /// All payloads staged before offset `end`.
    pub(crate) fn before(&self, end: u64) -> Vec<Staged> {
        self.index.lock().iter().take_while(|staged| staged.offset < end).cloned().collect()
    }

    /// Forgets everything before offset `end`, once an edit that needs none of it is durable.
    pub(crate) fn evict_to(&self, end: u64) {
        let mut index = self.index.lock();
        while index.front().is_some_and(|staged| staged.offset < end) {
            index.pop_front();
        }
        self.heap.evict_prefix_to(end);
    }
}
