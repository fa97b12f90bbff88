//! Bytes in and out of atomic words: the only code that loads or stores a frame's words (B1).
//! It knows nothing of nodes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::layout::{UNIT, units_for};

/// The word at `index`, masked to the frame.
///
/// Relaxed: pairs with nothing by itself. The caller's latch orders it (acquire of the version
/// before, acquire fence and re-check after; see B1).
#[inline]
pub(crate) fn load(words: &[AtomicU64], index: usize) -> u64 {
    words[index & (words.len() - 1)].load(Ordering::Relaxed)
}

/// Stores the word at `index`, masked to the frame. Relaxed as in [`load`]: the latch's release of
/// the version publishes it.
#[inline]
pub(crate) fn store(words: &[AtomicU64], index: usize, value: u64) {
    words[index & (words.len() - 1)].store(value, Ordering::Relaxed);
}

/// Whether the bytes from the start of word `index` on equal `bytes`.
#[inline]
pub(crate) fn eq_bytes(words: &[AtomicU64], index: usize, bytes: &[u8]) -> bool {
    let (chunks, tail) = bytes.as_chunks::<UNIT>();
    for (i, chunk) in chunks.iter().enumerate() {
        if load(words, index + i) != u64::from_le_bytes(*chunk) {
            return false;
        }
    }
    tail.is_empty() || {
        let mask = (1u64 << (8 * tail.len())) - 1;
        load(words, index + chunks.len()) & mask == partial(tail)
    }
}

/// Up to 7 bytes as the low bytes of a word.
#[inline]
fn partial(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

/// Length of the common prefix of `bytes` and the `len` bytes from word `index` on.
pub(crate) fn common_len(words: &[AtomicU64], index: usize, len: usize, bytes: &[u8]) -> usize {
    let max = len.min(bytes.len());
    let mut done = 0;
    while done < max {
        let here = load(words, index + done / UNIT).to_le_bytes();
        let n = (max - done).min(UNIT);
        let same = here[..n].iter().zip(&bytes[done..done + n]).take_while(|(a, b)| a == b).count();
        done += same;
        if same < n {
            break;
        }
    }
    done
}

/// The byte number `at` counted from the start of word `index`.
pub(crate) fn byte_at(words: &[AtomicU64], index: usize, at: usize) -> u8 {
    load(words, index + at / UNIT).to_le_bytes()[at % UNIT]
}

/// Appends `len` bytes to `out`, from byte `skip` counted from the start of word `index`.
pub(crate) fn copy_out(words: &[AtomicU64], index: usize, skip: usize, len: usize, out: &mut Vec<u8>) {
    out.reserve(len);
    let mut at = skip;
    let end = skip + len;
    while at < end {
        let word = load(words, index + at / UNIT).to_le_bytes();
        let from = at % UNIT;
        let to = UNIT.min(from + (end - at));
        out.extend_from_slice(&word[from..to]);
        at += to - from;
    }
}

/// Writes byte slices one after another from the start of word `index`, zero-padding the last word.
pub(crate) fn write_parts(words: &[AtomicU64], index: usize, parts: &[&[u8]]) {
    let (mut acc, mut have, mut at) = (0u64, 0usize, index);
    for part in parts {
        let mut rest: &[u8] = part;
        while !rest.is_empty() {
            if have == 0
                && let Some((chunk, after)) = rest.split_first_chunk::<UNIT>()
            {
                store(words, at, u64::from_le_bytes(*chunk));
                at += 1;
                rest = after;
                continue;
            }
            let n = rest.len().min(UNIT - have);
            acc |= partial(&rest[..n]) << (8 * have);
            have += n;
            rest = &rest[n..];
            if have == UNIT {
                store(words, at, acc);
                (acc, have, at) = (0, 0, at + 1);
            }
        }
    }
    if have > 0 {
        store(words, at, acc);
    }
}

/// Copies the words that hold `bytes` bytes from word `from` of `source` to word `to` of `target`.
pub(crate) fn copy_words(source: &[AtomicU64], from: usize, target: &[AtomicU64], to: usize, bytes: usize) {
    for i in 0..units_for(bytes) {
        store(target, to + i, load(source, from + i));
    }
}
