//! Payloads in memory, addressed by an absolute offset that only grows: the store's staging area.
//! It is not durable, not a cache, and knows no keys.
//!
//! # Layout
//! ```text
//! offsets   base ............ gap ........... end
//! runs      [run 0][  run 1  ]     [  run 2   ]          ordered, disjoint; the last one grows
//! memory       chunk A   chunk A      chunk B            a run lies in one chunk
//! ```
//! A payload is never split over two chunks: one that does not fit in the tail chunk opens the
//! next, and the rest of the old chunk stays unused (never touched, so hardly ever backed by memory).
//! Offsets stay dense all the same, since a run maps offsets to a place in its chunk.
//!
//! # Invariants
//! - **H1** A chunk's memory never moves and lives as long as a run, the tail or a slice refers to it.
//! - **H2** A byte of a chunk is written at most once, by the holder of the append lock, before the end
//!   of a run passes it. Bytes of runs are immutable: references to them may be formed and handed out.
//! - **H3** Runs are ordered and disjoint, and none is empty. Only the last one grows, and only by what
//!   lies directly behind it both in offsets and in memory.
//! - **H4** Appends hold the append lock throughout, and the lock of `runs` (shared to let the last
//!   run grow, exclusively to push one) only after the copying: a read never waits for it. Evictions hold
//!   `runs` exclusively. Rebasing holds both. Order: append lock, then `runs`. So whoever holds `runs`
//!   exclusively sees base, ends and `live` at rest.
//! - **H5** `live` counts the payload bytes in `base..end`, gaps not. It is at most [`MAX_SEGMENT_BYTES`].
#![expect(unsafe_code, reason = "readers hold slices of a chunk while its unused rest is written")]

mod chunk;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock};
use chunk::{Chunk, Slice};

/// The most live bytes that one segment holds: 3 GiB.
pub const MAX_SEGMENT_BYTES: u64 = 3 << 30;

/// Chunks are this large unless a payload needs more, or the first was asked to be larger.
const CHUNK_BYTES: usize = 1 << 20;

/// Why an append was refused; the segment is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeapError {
    /// The live size would pass its bound.
    PayloadTooLarge {
        /// Bytes asked for.
        size: u64,
        /// Bytes that could have been taken.
        max: u64,
    },
    /// The host has no memory for the payload.
    OutOfMemory {
        /// Bytes asked for.
        size: u64,
    },
    /// A placement below the end: those offsets are taken.
    OffsetTaken {
        /// Offset asked for.
        offset: u64,
        /// The lowest offset that can be placed at.
        end: u64,
    },
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PayloadTooLarge { size, max } => {
                write!(f, "payload of {size} bytes does not fit, at most {max} bytes do")
            }
            Self::OutOfMemory { size } => write!(f, "no memory for a payload of {size} bytes"),
            Self::OffsetTaken { offset, end } => {
                write!(f, "offset {offset} lies below the segment's end {end}")
            }
        }
    }
}

impl std::error::Error for HeapError {}

/// Offsets `start..end`, held by a chunk from `position` on.
#[derive(Debug)]
struct Run {
    start: u64,
    end: AtomicU64,
    chunk: Arc<Chunk>,
    position: usize,
}

impl Run {
    /// Pairs with the `Release` in `publish`: whoever sees an end sees the bytes below it (H2).
    fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Where offset `at`, which lies in the run, is in the chunk.
    fn position_of(&self, at: u64) -> usize {
        let ahead = usize::try_from(at - self.start).expect("a run is no longer than a chunk");
        self.position + ahead
    }

    /// Whether what is put at `offset`, and in `chunk` at `position`, continues the run.
    fn is_continued_by(&self, offset: u64, chunk: &Arc<Chunk>, position: usize) -> bool {
        let end = self.end();
        end == offset && Arc::ptr_eq(&self.chunk, chunk) && self.position_of(end) == position
    }
}

/// Where the next payload goes.
#[derive(Debug, Default)]
struct Tail {
    chunk: Option<Arc<Chunk>>,
    /// Bytes of the chunk in use.
    position: usize,
}

impl Tail {
    /// The chunk that takes the next `size` bytes, at `position`.
    fn room_for(&mut self, size: usize) -> Result<Arc<Chunk>, HeapError> {
        if let Some(chunk) = &self.chunk
            && chunk.capacity() - self.position >= size
        {
            return Ok(Arc::clone(chunk));
        }
        let chunk = Chunk::with_capacity(size.max(CHUNK_BYTES));
        let chunk = chunk.ok_or(HeapError::OutOfMemory { size: size as u64 })?;
        self.chunk = Some(Arc::clone(&chunk));
        self.position = 0;
        Ok(chunk)
    }
}

/// An in-memory payload store. Appends, reads and evictions run beside one another.
///
/// ```
/// use treering_segment::heap::HeapSegment;
///
/// let segment = HeapSegment::new();
/// let offset = segment.append(b"payload")?;
/// let slice = segment.read(offset, 7).expect("it is live");
/// assert_eq!(segment.evict_prefix_to(segment.end_offset()), 7);
/// assert_eq!(segment.read(offset, 7), None);
/// assert_eq!(slice, &b"payload"[..]); // Slices stay valid.
/// # Ok::<(), treering_segment::heap::HeapError>(())
/// ```
#[derive(Debug)]
pub struct HeapSegment {
    tail: Mutex<Tail>,
    runs: RwLock<VecDeque<Run>>,
    base: AtomicU64,
    end: AtomicU64,
    live: AtomicU64,
}

impl Default for HeapSegment {
    fn default() -> Self {
        Self::new()
    }
}

impl HeapSegment {
    /// An empty segment from offset 0; it takes memory with the first payload.
    pub fn new() -> Self {
        Self::starting_at(0, Tail::default())
    }

    /// An empty segment from offset 0 whose first `capacity` bytes need no further memory; a capacity that
    /// the host does not have is not an error here.
    pub fn with_capacity(capacity: usize) -> Self {
        let chunk = Chunk::with_capacity(capacity).filter(|_| capacity > 0);
        Self::starting_at(0, Tail { chunk, position: 0 })
    }

    /// Takes `bytes` over, without copying, as the live region from offset 0.
    pub fn from_existing(bytes: Vec<u8>) -> Self {
        Self::from_existing_at(0, bytes)
    }

    /// Takes `bytes` over, without copying, as the live region from offset `base`.
    pub fn from_existing_at(base: u64, bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        if len == 0 {
            return Self::starting_at(base, Tail::default());
        }
        let chunk = Chunk::from_vec(bytes);
        let end = base.checked_add(len as u64).expect("offsets fit in 64 bits");
        let segment = Self::starting_at(base, Tail { chunk: Some(Arc::clone(&chunk)), position: len });
        segment.publish(base, end, chunk, 0);
        segment
    }

    fn starting_at(base: u64, tail: Tail) -> Self {
        Self {
            tail: Mutex::new(tail),
            runs: RwLock::new(VecDeque::new()),
            base: AtomicU64::new(base),
            end: AtomicU64::new(base),
            live: AtomicU64::new(0),
        }
    }

    /// Appends one payload and returns its offset.
    pub fn append(&self, payload: &[u8]) -> Result<u64, HeapError> {
        self.append_many(&[payload])
    }

    /// Appends payloads one behind another, all or none, and returns the first one's offset, which for no
    /// payloads is the end.
    pub fn append_many(&self, payloads: &[&[u8]]) -> Result<u64, HeapError> {
        let mut tail = self.tail.lock();
        // Relaxed: `end` changes under the append lock only (H4).
        let offset = self.end.load(Ordering::Relaxed);
        self.place(&mut tail, offset, payloads)?;
        Ok(offset)
    }

    /// Places a payload at `offset`, at or beyond the end; what lies between is a gap, which reads as
    /// `None`. Recovery uses it.
    pub fn place_at(&self, offset: u64, payload: &[u8]) -> Result<(), HeapError> {
        let mut tail = self.tail.lock();
        // Relaxed: as in `append_many`.
        let end = self.end.load(Ordering::Relaxed);
        if offset < end {
            return Err(HeapError::OffsetTaken { offset, end });
        }
        self.place(&mut tail, offset, &[payload])
    }

    /// Puts payloads at `offset`, which is at or beyond the end.
    fn place(&self, tail: &mut Tail, offset: u64, payloads: &[&[u8]]) -> Result<(), HeapError> {
        let total = payloads.iter().fold(0_u64, |sum, p| sum.saturating_add(p.len() as u64));
        // Relaxed: additions to `live` are under the append lock; an eviction beside it only lowers it.
        let max = MAX_SEGMENT_BYTES.saturating_sub(self.live.load(Ordering::Relaxed));
        let max = max.min(u64::MAX - offset);
        let size = match usize::try_from(total) {
            Ok(size) if total <= max => size,
            _ => return Err(HeapError::PayloadTooLarge { size: total, max }),
        };
        if size == 0 {
            // Pairs with `Acquire` in `end_offset`; there is no byte to publish.
            self.end.store(offset, Ordering::Release);
            return Ok(());
        }
        let chunk = tail.room_for(size)?;
        let position = tail.position;
        for payload in payloads {
            // SAFETY: the append lock is held, and from `tail.position` on the chunk is unused: no run
            // has come this far (H2).
            unsafe { chunk.write(tail.position, payload) };
            tail.position += payload.len();
        }
        self.publish(offset, offset + total, chunk, position);
        Ok(())
    }

    /// Makes `start..end`, whole in `chunk` from `position`, readable (H3, H4).
    fn publish(&self, start: u64, end: u64, chunk: Arc<Chunk>, position: usize) {
        let advance = || {
            // Pairs with `Acquire` in `end_offset`.
            self.end.store(end, Ordering::Release);
            // Relaxed: read under `runs`, or only as a bound.
            self.live.fetch_add(end - start, Ordering::Relaxed);
        };
        let runs = self.runs.read();
        if let Some(last) = runs.back()
            && last.is_continued_by(start, &chunk, position)
        {
            // Pairs with `Acquire` in `Run::end`.
            last.end.store(end, Ordering::Release);
            advance();
            return;
        }
        drop(runs);
        // Nobody else can push meanwhile: the append lock is held.
        let mut runs = self.runs.write();
        runs.push_back(Run { start, end: AtomicU64::new(end), chunk, position });
        advance();
    }

    /// The `len` bytes at `offset`, or `None` unless all of them are live. They are a slice of the
    /// segment's own memory, and stay as they are through appends and evictions; only a range that lies
    /// in two chunks is copied. A slice keeps its whole chunk in memory.
    pub fn read(&self, offset: u64, len: usize) -> Option<Bytes> {
        let end = offset.checked_add(len as u64)?;
        let runs = self.runs.read();
        // Relaxed: `base` changes under `runs` held exclusively.
        if offset < self.base.load(Ordering::Relaxed) || end > self.end_offset() {
            return None;
        }
        if len == 0 {
            return Some(Bytes::new());
        }
        let first = runs.partition_point(|run| run.end() <= offset);
        let run = runs.get(first).filter(|run| run.start <= offset)?;
        if end <= run.end() {
            return Some(Slice::bytes(&run.chunk, run.position_of(offset), len));
        }
        // First see that there is no gap: nothing is set aside for a range that is not there.
        let mut covered = offset;
        for run in runs.range(first..) {
            if run.start > covered || covered >= end {
                break;
            }
            covered = run.end();
        }
        if covered < end {
            return None;
        }
        let mut copy = BytesMut::with_capacity(len);
        let mut at = offset;
        for run in runs.range(first..) {
            let step = usize::try_from(run.end().min(end) - at).expect("no more than the range");
            copy.extend_from_slice(&Slice::bytes(&run.chunk, run.position_of(at), step));
            at += step as u64;
            if at == end {
                break;
            }
        }
        Some(copy.freeze())
    }

    /// Gives up everything below `new_base`, clamped to the end, and returns how many payload bytes
    /// that were; 0 at or below the base. Slices handed out stay valid; nothing is copied. Memory goes
    /// back chunk by chunk, when no slice needs it.
    pub fn evict_prefix_to(&self, new_base: u64) -> u64 {
        let mut runs = self.runs.write();
        // Relaxed, all of them: `runs` is held exclusively (H4).
        let old_base = self.base.load(Ordering::Relaxed);
        let new_base = new_base.min(self.end.load(Ordering::Relaxed));
        if new_base <= old_base {
            return 0;
        }
        let mut evicted = 0;
        let mut released = Vec::new();
        while let Some(run) = runs.front().filter(|run| run.start < new_base) {
            let end = run.end();
            evicted += end.min(new_base) - run.start.max(old_base);
            if end > new_base {
                break;
            }
            released.extend(runs.pop_front());
        }
        self.base.store(new_base, Ordering::Release);
        self.live.fetch_sub(evicted, Ordering::Relaxed);
        let all_gone = runs.is_empty();
        drop(runs);
        // Freeing memory takes time; readers do not wait for it.
        drop(released);
        if all_gone && let Some(mut tail) = self.tail.try_lock() {
            // One outsized payload must not keep its chunk for ever.
            tail.chunk.take_if(|chunk| chunk.capacity() > CHUNK_BYTES);
        }
        evicted
    }

    /// The lowest live offset.
    pub fn base_offset(&self) -> u64 {
        // Pairs with the `Release` in `evict_prefix_to`.
        self.base.load(Ordering::Acquire)
    }

    /// The offset that the next append gets.
    pub fn end_offset(&self) -> u64 {
        // Pairs with the `Release` in `publish`.
        self.end.load(Ordering::Acquire)
    }

    /// Payload bytes between base and end, not counting gaps.
    pub fn live_bytes(&self) -> u64 {
        // Relaxed: a figure that orders nothing.
        self.live.load(Ordering::Relaxed)
    }

    /// Shifts all offsets so that the base is 0: what was at `base_offset() + n` is at `n`. The caller
    /// sees to it that nobody still holds an offset of before.
    pub fn rebase_to_zero(&self) {
        let _appends = self.tail.lock();
        let mut runs = self.runs.write();
        // Relaxed, all of them: both locks are held (H4), and readers look under `runs`.
        let base = self.base.load(Ordering::Relaxed);
        for run in runs.iter_mut() {
            let end = run.end();
            let start = run.start.max(base);
            run.position = run.position_of(start);
            run.start = start - base;
            run.end.store(end - base, Ordering::Release);
        }
        self.base.store(0, Ordering::Release);
        self.end.fetch_sub(base, Ordering::Release);
    }
}
