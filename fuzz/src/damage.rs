//! Damage and substitutions that an input asks for, in bytes that were sound.

use crate::input::Input;

/// Words that bounds checks get wrong.
const AWKWARD: [u64; 12] =
    [0, 1, 7, 4095, 4096, 0xffff, 1 << 20, u32::MAX as u64, 1 << 40, (1 << 62) + 4096, !4095, u64::MAX];

/// A place among `len`, which is at least 1.
pub(crate) fn place(input: &mut Input<'_>, len: usize) -> usize {
    let choice = usize::from(input.u16());
    // Sixteen bits reach everywhere in what is short, and evenly into what is long.
    if len <= 1 << 16 { choice % len } else { choice * len / (1 << 16) }
}

/// One of the awkward words, or one near a given one, or any.
pub(crate) fn word(input: &mut Input<'_>, near: u64) -> u64 {
    match input.byte() % 4 {
        0 => AWKWARD[input.below(AWKWARD.len())],
        1 => near.wrapping_add(u64::from(input.byte())).wrapping_sub(128),
        2 => near ^ (1 << (input.byte() % 64)),
        _ => input.u64(),
    }
}

/// Changes bytes, a field or a range of `bytes` in place; its length stays.
pub(crate) fn overwrite(input: &mut Input<'_>, bytes: &mut [u8]) {
    if bytes.is_empty() {
        return;
    }
    let choice = input.byte();
    let at = place(input, bytes.len());
    let rest = &mut bytes[at..];
    match choice % 8 {
        0 => rest[0] ^= 1 << (input.byte() % 8),
        1 => rest[0] = input.byte(),
        2 => {
            let given = usize::from(input.byte() % 32);
            let given = input.bytes(given);
            let len = given.len().min(rest.len());
            rest[..len].copy_from_slice(&given[..len]);
        }
        3 => {
            let len = usize::from(input.byte()).min(rest.len());
            rest[..len].fill(0);
        }
        width => {
            // An aligned field of two, four or eight bytes.
            let width = [2, 4, 8, 8][usize::from(width % 4)];
            let start = at / width * width;
            let Some(field) = bytes.get_mut(start..start + width) else { return };
            let mut old = [0; 8];
            old[..width].copy_from_slice(field);
            let new = word(input, u64::from_le_bytes(old)).to_le_bytes();
            field.copy_from_slice(&new[..width]);
        }
    }
}

/// As [`overwrite`], and sometimes cuts, extends, moves or doubles.
pub(crate) fn damage(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    if bytes.is_empty() || !input.byte().is_multiple_of(4) {
        return overwrite(input, bytes);
    }
    let at = place(input, bytes.len());
    let len = usize::from(input.u16() % 600).min(bytes.len() - at);
    match input.byte() % 5 {
        0 => bytes.truncate(at),
        1 => bytes.extend(std::iter::repeat_n(input.byte(), len)),
        2 => drop(bytes.drain(at..at + len)),
        3 => {
            let piece = bytes[at..at + len].to_vec();
            let to = place(input, bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => {
            let piece = bytes[at..at + len].to_vec();
            let to = place(input, bytes.len());
            let end = (to + len).min(bytes.len());
            bytes[to..end].copy_from_slice(&piece[..end - to]);
        }
    }
}
