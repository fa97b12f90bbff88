//! The bytes of the ring: who owns them, and the three accesses the ring makes to them.
//!
//! This file does not decide *when* an access is allowed; that is the protocol of the crate's
//! introduction (RG3, RG5), and every caller here names the rule it stands on. Under loom each
//! byte is shadowed by a tracked cell, so that an access the protocol does not order is found.
#![expect(unsafe_code, reason = "racing writers and the drainer share one memory by disjoint ranges")]

use crate::sync::AtomicU8;
#[cfg(loom)]
use crate::sync::UnsafeCell;

/// Memory that a ring may be built over: a private allocation, or a shared mapping of a file.
///
/// # Safety
/// For as long as the value lives:
/// - `as_ptr` and `len` always give the same answers, and the `len` bytes from `as_ptr` are valid
///   for reads and writes from any thread, also through a shared reference to `self`;
/// - nobody but the ring built over it writes to these bytes or holds a Rust reference to them. For a
///   mapped file this includes other processes: the owner keeps them out by a lock and file mode.
pub unsafe trait RingMemory: Send + Sync {
    /// The first byte.
    fn as_ptr(&self) -> *mut u8;
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// Whether there are none (such memory makes no ring).
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Zeroed memory of this process, every page touched.
#[derive(Debug)]
pub struct PrivateMemory(Box<[AtomicU8]>);

impl PrivateMemory {
    /// `len` zero bytes.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self((0..len).map(|_| AtomicU8::new(0)).collect())
    }
}

// SAFETY: the boxed slice neither moves nor changes its length; `AtomicU8` has the layout of `u8` and
// interior mutability, so the bytes may be written through a pointer derived from `&self`. The box
// is private and read by nothing else in this module.
unsafe impl RingMemory for PrivateMemory {
    fn as_ptr(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast::<u8>()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The ring's own view of its memory.
pub(crate) struct Bytes {
    memory: Box<dyn RingMemory>,
    capacity: usize,
    #[cfg(loom)]
    cells: Box<[UnsafeCell<()>]>,
}

impl Bytes {
    pub(crate) fn new(memory: Box<dyn RingMemory>) -> Self {
        let capacity = memory.len();
        Self {
            memory,
            capacity,
            #[cfg(loom)]
            cells: (0..capacity).map(|_| UnsafeCell::new(())).collect(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Copies `source` to the bytes at `offset`.
    ///
    /// # Safety
    /// The caller owns `offset..offset + source.len()`: it holds the ticket of these bytes, has found
    /// their space free (RG3) and has not published them.
    ///
    /// # Panics
    /// If the range leaves the ring.
    pub(crate) unsafe fn write(&self, offset: usize, source: &[u8]) {
        let end = offset.checked_add(source.len()).expect("a range of the ring does not overflow");
        assert!(end <= self.capacity, "a write of {offset}..{end} leaves the ring");
        self.track_write(offset, end);
        // SAFETY: `offset <= capacity`, so the result is inside the memory or one past its end.
        let target = unsafe { self.memory.as_ptr().add(offset) };
        // SAFETY: the target range is inside the memory (checked above) and valid by RingMemory's contract;
        // nobody else touches it, by this function's own contract; `source` is an ordinary slice and
        // nobody has one over the ring's unpublished bytes, so the two do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) };
    }

    /// Lends the bytes at `offset` to `look`.
    ///
    /// # Safety
    /// The range is committed and not freed, and stays so until `look` returns (RG5).
    ///
    /// # Panics
    /// If the range leaves the ring.
    pub(crate) unsafe fn read<R>(&self, offset: usize, len: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        let end = offset.checked_add(len).expect("a range of the ring does not overflow");
        assert!(end <= self.capacity, "a read of {offset}..{end} leaves the ring");
        self.track_read(offset, end);
        // SAFETY: `offset <= capacity`, so the result is inside the memory or one past its end.
        let start = unsafe { self.memory.as_ptr().add(offset).cast_const() };
        // SAFETY: the range is inside the memory (checked above), initialised (the memory is an allocation or a
        // mapping of whole bytes) and written by nobody while the slice lives, by this function's contract.
        let bytes = unsafe { std::slice::from_raw_parts(start, len) };
        let answer = look(bytes);
        self.track_read(offset, end);
        answer
    }

    #[cfg(loom)]
    fn track_write(&self, from: usize, to: usize) {
        for cell in &self.cells[from..to] {
            cell.with_mut(|_| ());
        }
    }

    #[cfg(loom)]
    fn track_read(&self, from: usize, to: usize) {
        for cell in &self.cells[from..to] {
            cell.with(|_| ());
        }
    }

    #[cfg(not(loom))]
    #[expect(clippy::unused_self, reason = "stands for the tracked cells of the model")]
    fn track_write(&self, _from: usize, _to: usize) {}

    #[cfg(not(loom))]
    #[expect(clippy::unused_self, reason = "stands for the tracked cells of the model")]
    fn track_read(&self, _from: usize, _to: usize) {}
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bytes").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
