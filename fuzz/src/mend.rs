//! Checksums made to match again, format by format, so that a target reaches the code behind them. What a
//! checksum covers is told in the format's own file; this follows it and changes nothing else.

use std::sync::Arc;

use treering_segment::memory::MemoryStorage;
use treering_segment::sealed::{SegmentReader, file_name};
use treering_segment::storage::Storage;

fn word32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn word64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn set32(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

/// A block whose last four bytes are the checksum of those before.
fn block(bytes: &mut [u8], length: usize) {
    if let Some(block) = bytes.get_mut(..length) {
        let crc = crc32c::crc32c(&block[..length - 4]);
        set32(block, length - 4, crc);
    }
}

/// The `STORE` file.
pub(crate) fn identity(bytes: &mut [u8]) {
    block(bytes, 512);
}

/// The header block of a log file or of the ring.
pub(crate) fn log_header(bytes: &mut [u8]) {
    block(bytes, 4096);
}

/// One log record, whole.
pub(crate) fn log_record(record: &mut [u8], store_id: &[u8; 16]) {
    if record.len() >= 48 {
        set32(record, 12, 0);
        let crc = crc32c::crc32c_append(crc32c::crc32c(store_id), record);
        set32(record, 12, crc);
    }
}

/// A manifest: its header, then frame by frame as their lengths say, as far as they fit. Sequences are put
/// in order too where `ordered`.
pub(crate) fn manifest(bytes: &mut [u8], store_id: &[u8; 16], ordered: bool) {
    let Some(header) = bytes.get_mut(..64) else { return };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..12]), &header[16..]);
    set32(header, 12, crc);
    let mut sequence = word64(header, 32);
    let mut at = 64;
    while bytes.len() - at >= 32 {
        let body = word32(bytes, at + 16) as usize;
        let end = at + 32 + body.min(bytes.len() - at - 32);
        let frame = &mut bytes[at..end];
        if ordered {
            frame[8..16].copy_from_slice(&sequence.to_le_bytes());
        }
        let seed = crc32c::crc32c_append(crc32c::crc32c(store_id), &frame[8..16]);
        let salt = crc32c::crc32c_append(seed, &(at as u64).to_le_bytes());
        set32(frame, 24, crc32c::crc32c_append(salt, &frame[32..]));
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt, &frame[..4]), &frame[8..32]);
        set32(frame, 4, crc);
        sequence = sequence.wrapping_add(1);
        at = end;
    }
}

/// A frame's image: its length and its blocks, and returns the checksum by which a manifest would name it.
pub(crate) fn image(bytes: &mut Vec<u8>, salt: &[u8; 16], number: u64, epoch: u64) -> u32 {
    let blocks = bytes.len().div_ceil(4096).clamp(1, 200);
    bytes.resize(blocks * 4096, 0);
    for index in (0..blocks).rev() {
        let mut sum = crc32c::crc32c(salt);
        for value in [number, epoch, index as u64] {
            sum = crc32c::crc32c_append(sum, &value.to_le_bytes());
        }
        let field = 64 + 4 * index;
        if index == 0 {
            set32(bytes, field, 0);
        }
        let sum = crc32c::crc32c_append(sum, &bytes[index * 4096..(index + 1) * 4096]);
        set32(bytes, field, sum);
    }
    word32(bytes, 64)
}

/// A sealed segment: header, records as their lengths say, the sections where the footer has them, the
/// footer; and, where the file then opens and can be walked, its Merkle root.
pub(crate) fn segment(bytes: &mut [u8], id: u64, store_id: &[u8; 16]) {
    const FOOTER: usize = 256;
    block(bytes, 64);
    let Some(footer_at) = bytes.len().checked_sub(FOOTER).filter(|at| *at >= 64) else { return };
    let salt = crc32c::crc32c_append(crc32c::crc32c(store_id), &id.to_le_bytes());
    let start =
        |at: usize| usize::try_from(word64(bytes, footer_at + at)).unwrap_or(usize::MAX).min(footer_at);
    let (index, filter, bounds) = (start(72), start(88), start(96));
    segment_records(&mut bytes[..index], salt);
    for (from, to, field) in [(index, filter, 104), (filter, bounds, 108), (bounds, footer_at, 112)] {
        let crc = bytes.get(from..to).map_or(0, |section| crc32c::crc32c_append(salt, section));
        set32(bytes, footer_at + field, crc);
    }
    let footer = |bytes: &mut [u8]| {
        let crc = crc32c::crc32c_append(salt, &bytes[footer_at..footer_at + FOOTER - 4]);
        set32(bytes, footer_at + FOOTER - 4, crc);
    };
    footer(bytes);
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let file = storage.create(&file_name(id)).expect("memory creates");
    file.write_all_at(bytes, 0).expect("memory writes");
    if let Ok(root) = SegmentReader::open(&*storage, id, *store_id).and_then(|r| r.recompute_root()) {
        bytes[footer_at + 176..footer_at + 208].copy_from_slice(&root);
        footer(bytes);
    }
}

fn segment_records(bytes: &mut [u8], salt: u32) {
    const HEADER: usize = 40;
    let mut at = 64;
    while bytes.len().saturating_sub(at) >= HEADER {
        let rest = &mut bytes[at..];
        let key_end = HEADER + usize::from(u16::from_le_bytes([rest[4], rest[5]]));
        let end = key_end + word32(rest, 8) as usize;
        if key_end > rest.len() {
            return;
        }
        if let Some(value) = rest.get(key_end..end) {
            let crc = crc32c::crc32c(value);
            set32(rest, 12, crc);
        }
        let seed = crc32c::crc32c_append(salt, &(at as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &rest[4..key_end]);
        set32(rest, 0, crc);
        at += end;
    }
}
