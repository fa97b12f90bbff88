//! The marks of publication: two bits for each byte of the ring.
//!
//! It knows positions and bits only, not who may set them when (see the crate's introduction, RG4).
//!
//! ```text
//! word w covers the ring's bytes 32 w .. 32 w + 32
//!   bit  0..32   bit i: byte i is published in the lap whose sense the bit shows
//!   bit 32..64   bit 32 + i: a record ends with byte i
//! ```
//!
//! A *position* counts bytes for ever; `position % capacity` is the place in the ring and
//! `position / capacity` the lap. The first lap publishes by ones, the second by zeros, and so on: what one
//! lap published is the next lap's "not yet", and nothing has to be cleared in between. This holds if
//! and only if every byte is published exactly once in each lap, which is what RG3 ensures.

use crate::sync::{AtomicU64, Ordering};

/// Bytes of the ring covered by one word.
const SPAN: u64 = 32;

/// The published run at a position, cut to whole records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    /// Bytes from the position to the end of the run's last record.
    pub(crate) len: u64,
    /// Records that end within them.
    pub(crate) records: u64,
}

/// The bitmap.
#[derive(Debug)]
pub(crate) struct Marks {
    words: Box<[AtomicU64]>,
    /// log2 of the number of words.
    lap_shift: u32,
}

/// The order of a publication: Release, paired with the Acquire load in [`Marks::scan`], so that who
/// sees the mark sees the bytes.
const PUBLISH: Ordering =
    if cfg!(ring_weaken = "publish_order") { Ordering::Relaxed } else { Ordering::Release };

impl Marks {
    /// Marks for a ring of `capacity` bytes, a power of two of at least 64; nothing is published.
    pub(crate) fn new(capacity: usize) -> Self {
        let words: Box<[AtomicU64]> = (0..capacity / 32).map(|_| AtomicU64::new(0)).collect();
        let lap_shift = words.len().trailing_zeros();
        Self { words, lap_shift }
    }

    fn word(&self, number: u64) -> &AtomicU64 {
        let mask = self.words.len() as u64 - 1;
        #[expect(clippy::cast_possible_truncation, reason = "masked to the number of words, a usize")]
        let index = (number & mask) as usize;
        &self.words[index]
    }

    /// All ones where this word's lap publishes by ones, else zero.
    fn sense(&self, number: u64) -> u32 {
        if (number >> self.lap_shift) & 1 == 0 { u32::MAX } else { 0 }
    }

    /// Marks `len` bytes from `position` as published, and the last one as a record's end if `ends`.
    ///
    /// The caller owns these bytes in this lap (RG3). So their bits, in the words that it shares with
    /// its neighbours, change under nobody else's hand between the load and the exchange; words that it
    /// owns whole are simply stored.
    pub(crate) fn publish(&self, position: u64, len: u64, ends: bool) {
        let last = position + len - 1;
        for number in position / SPAN..=last / SPAN {
            let low = if number == position / SPAN { position % SPAN } else { 0 };
            let high = if number == last / SPAN { last % SPAN } else { SPAN - 1 };
            let own = first_bits(high + 1) & !first_bits(low);
            let end = if ends && number == last / SPAN { 1u64 << (SPAN + high) } else { 0 };
            let marks = u64::from(own & self.sense(number)) | end;
            let word = self.word(number);
            if own == u32::MAX {
                word.store(marks, PUBLISH);
            } else {
                // Relaxed: only the caller's own bits are used, and they were last written by the owner of the lap
                // before, whose drain this caller has acquired through the flush cursor.
                let before = word.load(Ordering::Relaxed);
                let mine = u64::from(own) | u64::from(own) << SPAN;
                word.fetch_xor((before ^ marks) & mine, PUBLISH);
            }
        }
    }

    /// The run of published bytes at `position`, looking at no more than `limit` bytes, cut to the whole
    /// records that fit `most` bytes, but at least one record if there is one.
    ///
    /// The words are read one after the other, so the answer holds only if the position is still not passed
    /// by the committed frontier when the caller makes use of it.
    pub(crate) fn scan(&self, position: u64, limit: u64, most: u64) -> Run {
        let mut run = Run::default();
        let mut walked = 0;
        while walked < limit {
            let number = (position + walked) / SPAN;
            let low = (position + walked) % SPAN;
            // Acquire: pairs with the Release in `publish`.
            let word = self.word(number).load(Ordering::Acquire);
            let published = !(lower_half(word) ^ self.sense(number)) >> low;
            let width = (SPAN - low).min(limit - walked);
            let got = u64::from(published.trailing_ones()).min(width);
            let ends = (lower_half(word >> SPAN) >> low) & first_bits(got);
            let fitting = ends & first_bits(most.saturating_sub(walked).min(SPAN));
            if fitting != 0 {
                run.records += u64::from(fitting.count_ones());
                run.len = walked + SPAN - u64::from(fitting.leading_zeros());
            }
            if fitting != ends {
                if run.records == 0 {
                    run = Run { len: walked + u64::from(ends.trailing_zeros()) + 1, records: 1 };
                }
                return run;
            }
            walked += got;
            if cfg!(ring_weaken = "run_end") {
                run.len = walked;
            }
            if got < width {
                break;
            }
        }
        run
    }
}

/// A mask of the lowest `count` of 32 bits.
fn first_bits(count: u64) -> u32 {
    if count >= SPAN { u32::MAX } else { (1u32 << count) - 1 }
}

/// The lower 32 bits.
fn lower_half(word: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the cut is meant")]
    let half = word as u32;
    half
}
