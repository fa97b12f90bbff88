//! The frame table: frame number to resident slot, found without a lock.
//!
//! It is not a cache: a slot once made stays, with its words at the same address, for as long as
//! the table lives. A reader that follows a torn frame number therefore finds either nothing or
//! valid memory with another frame in it, and its validation tells (R1).
//!
//! # Layout
//!
//! Frame numbers start at 1, are handed out densely and are never reused (O6). Chunk `c` holds
//! `64 << c` cells, those of the numbers from `(64 << c) - 63` on; it is made when the first of its
//! numbers is installed. So a lookup is two dependent loads, and growing moves nothing.
//!
//! # Invariants
//!
//! * **T1** A pair (frame number, entry) stands for the same key prefix as long as the table lives:
//!   frames are never freed, and a split moves what lies *below* an entry, never the entry. A
//!   writer or reader that has reached a frame may therefore start again from that frame.
//! * **T2** A cell is written once. Whoever sees a slot sees it whole (`OnceLock`).

use super::latch::Latch;
use super::sync::{AtomicU64, Mutex, OnceLock, Ordering};
use std::sync::atomic::AtomicU64 as Word;

/// Numbers in the first chunk, a power of two.
const FIRST_CHUNK: u64 = 64;
/// Chunks: enough for `FIRST_CHUNK << CHUNKS` frames, beyond any memory.
const CHUNKS: usize = 34;

/// What the holder of a frame's latch must know and may change.
#[derive(Debug, Default)]
pub(crate) struct SlotState {
    /// The epoch in which the frame was first changed since it was last captured; `None` if it
    /// equals its newest capture.
    pub(crate) dirty: Option<u64>,
    /// The frame as it was at the open cut, saved by a writer that came before the checkpointer.
    pub(crate) frozen: Option<Box<[Word]>>,
}

/// One resident frame.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The frame number.
    pub(crate) number: u64,
    /// Orders access to `words`.
    pub(crate) latch: Latch<SlotState>,
    /// The frame.
    pub(crate) words: Box<[Word]>,
}

type Cell = OnceLock<Box<Slot>>;

/// Frame number to slot.
#[derive(Debug)]
pub(crate) struct FrameTable {
    chunks: [OnceLock<Box<[Cell]>>; CHUNKS],
    /// The next number to hand out.
    next: AtomicU64,
    frame_words: usize,
    /// Touched memory for new frames, so that a split needs no page faults.
    spares: Mutex<Vec<Box<[Word]>>>,
}

/// The chunk and the cell in it, or `None` for a number that no table can hold.
fn locate(number: u64) -> Option<(usize, usize)> {
    let position = number.checked_sub(1)?.checked_add(FIRST_CHUNK)?;
    let chunk = position.ilog2() - FIRST_CHUNK.ilog2();
    let chunk_index = usize::try_from(chunk).ok().filter(|&index| index < CHUNKS)?;
    let cell = usize::try_from(position - (FIRST_CHUNK << chunk)).ok()?;
    Some((chunk_index, cell))
}

impl FrameTable {
    /// An empty table of frames of `frame_bytes`, whose next number is `next_frame`.
    pub(crate) fn new(frame_bytes: usize, next_frame: u64) -> Self {
        Self {
            chunks: std::array::from_fn(|_| OnceLock::new()),
            next: AtomicU64::new(next_frame.max(1)),
            frame_words: frame_bytes / 8,
            spares: Mutex::new(Vec::new()),
        }
    }

    /// The slot of a frame, if it is resident.
    pub(crate) fn get(&self, number: u64) -> Option<&Slot> {
        let (chunk, cell) = locate(number)?;
        self.chunks[chunk].get()?.get(cell)?.get().map(Box::as_ref)
    }

    /// Puts a frame under a number; `None` if the number is taken or impossible.
    pub(crate) fn install(&self, number: u64, words: Box<[Word]>, state: SlotState) -> Option<&Slot> {
        let (chunk, cell) = locate(number)?;
        let cells = self.chunks[chunk].get_or_init(|| {
            let len = usize::try_from(FIRST_CHUNK).unwrap_or(usize::MAX) << chunk;
            (0..len).map(|_| OnceLock::new()).collect()
        });
        let cell = cells.get(cell)?;
        cell.set(Box::new(Slot { number, latch: Latch::new(state), words })).ok()?;
        cell.get().map(Box::as_ref)
    }

    /// A number that was never handed out before.
    pub(crate) fn allocate_number(&self) -> u64 {
        // Relaxed: only uniqueness matters; the slot is published by its cell.
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The number that the next new frame gets.
    pub(crate) fn next_number(&self) -> u64 {
        // Relaxed: callers that need it exact hold the gate closed, which orders it.
        self.next.load(Ordering::Relaxed)
    }

    /// Zeroed memory for one frame.
    pub(crate) fn blank(&self) -> Box<[Word]> {
        if let Some(words) = self.spares.lock().pop() {
            return words;
        }
        zeroed(self.frame_words)
    }

    /// Makes sure that at least `count` frames' worth of memory lies ready.
    pub(crate) fn prime(&self, count: usize) {
        loop {
            if self.spares.lock().len() >= count {
                return;
            }
            let words = zeroed(self.frame_words);
            self.spares.lock().push(words);
        }
    }

    /// Words in a frame.
    pub(crate) fn frame_words(&self) -> usize {
        self.frame_words
    }

    /// Every resident frame, in ascending order of number.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.chunks
            .iter()
            .filter_map(OnceLock::get)
            .flat_map(|cells| cells.iter())
            .filter_map(OnceLock::get)
            .map(Box::as_ref)
    }
}

/// Zeroed words.
pub(crate) fn zeroed(len: usize) -> Box<[Word]> {
    (0..len).map(|_| Word::new(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_cell_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 1..10_000 {
            let place = locate(number).expect("a place");
            assert!(place.1 < 64 << place.0, "{number} lies in its chunk");
            assert!(seen.insert(place), "{number} has a cell of its own");
        }
    }

    #[test]
    fn impossible_numbers_find_nothing() {
        let table = FrameTable::new(4096, 1);
        for number in [0, 1, 63, 64, 65, 1 << 40, u64::MAX - 1, u64::MAX] {
            assert!(table.get(number).is_none());
        }
        assert!(table.install(0, zeroed(512), SlotState::default()).is_none());
        assert!(table.install(u64::MAX, zeroed(512), SlotState::default()).is_none());
    }

    #[test]
    fn a_number_is_installed_once_and_stays_where_it_is() {
        let table = FrameTable::new(4096, 1);
        let mut addresses = Vec::new();
        for _ in 0..300 {
            let number = table.allocate_number();
            let slot = table.install(number, table.blank(), SlotState::default()).expect("free");
            addresses.push((number, slot.words.as_ptr()));
        }
        assert!(table.install(7, table.blank(), SlotState::default()).is_none());
        for (number, address) in addresses {
            let slot = table.get(number).expect("resident");
            assert_eq!(slot.number, number);
            assert_eq!(slot.words.as_ptr(), address);
        }
        assert_eq!(table.next_number(), 301);
        assert_eq!(table.slots().count(), 300);
    }
}
