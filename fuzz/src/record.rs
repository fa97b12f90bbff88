//! `record_decode`: hostile log bytes through the record decoder.
//!
//! Every input is read twice at each 8-aligned address that a reader would come to: as it is, and
//! with the header and checksum mended, so that the code behind the checksum is reached. A record
//! that decodes must lie within the bytes, and its operations within it, in order and bounded in number.

use treering_journal::record::{ALIGNMENT, HEADER_BYTES, MAGIC, Record, VERSION, salt};
use treering_journal::{Change, Kind, MAX_BATCH_OPERATIONS};

use crate::input::Input;

/// The store whose log this pretends to be.
const STORE_ID: [u8; 16] = *b"fuzzed store id.";

/// Feeds the bytes of a log, from an address that the first eight bytes choose.
pub fn record_decode(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let first_lsn = input.u64() / ALIGNMENT * ALIGNMENT;
    let salt = salt(&STORE_ID);
    walk(input.rest(), first_lsn, salt);
    let mut mended = input.rest().to_vec();
    mend(&mut mended, first_lsn, salt);
    walk(&mended, first_lsn, salt);
}

/// Reads record after record, as recovery does, until one does not decode.
fn walk(log: &[u8], first_lsn: u64, salt: u32) -> usize {
    let mut records = 0;
    let mut at = 0;
    while at < log.len() {
        let Some(lsn) = first_lsn.checked_add(at as u64) else { break };
        let rest = &log[at..];
        let Some(record) = Record::decode(rest, lsn, salt) else { break };
        check(&record, rest, lsn);
        records += 1;
        at += usize::try_from(record.end() - lsn).expect("a record lies in memory");
    }
    records
}

/// What holds of every record that decodes.
fn check(record: &Record<'_>, bytes: &[u8], lsn: u64) {
    assert_eq!(record.lsn, lsn, "a record decodes only at its own address");
    let length = record.end() - lsn;
    assert!(length >= HEADER_BYTES as u64 && length.is_multiple_of(ALIGNMENT), "length {length}");
    assert!(length <= bytes.len() as u64, "a record of {length} bytes in {}", bytes.len());
    let mut operations = 0_usize;
    let mut operation_bytes = 0_u64;
    for operation in record.ops() {
        operations += 1;
        operation_bytes += operation.key.len() as u64;
        if let Change::Put { value, .. } = operation.change {
            operation_bytes += value.len() as u64;
        }
        assert!(operation_bytes <= length, "operations of {operation_bytes} bytes in a record of {length}");
    }
    match record.kind {
        Kind::Put | Kind::PutPointer | Kind::Delete => assert_eq!(operations, 1),
        Kind::Batch => assert!(operations <= bytes.len() / 8),
        Kind::Mark | Kind::Close | Kind::Filler => assert_eq!(operations, 0),
    }
    let _ = MAX_BATCH_OPERATIONS;
}

/// Mends what a random header cannot get right, record after record: magic, version, fragment flags, a
/// length that fits, the address and the checksum. Kinds, other flags and bodies stay hostile.
fn mend(log: &mut [u8], first_lsn: u64, salt: u32) {
    let mut at = 0;
    while log.len() - at >= HEADER_BYTES {
        let Some(lsn) = first_lsn.checked_add(at as u64) else { return };
        let record = &mut log[at..];
        let length = mended_length(record);
        let record = &mut record[..length];
        record[0..2].copy_from_slice(&MAGIC.to_le_bytes());
        record[2] = VERSION;
        record[3] = record[3] % 8 + 1;
        // FIRST and LAST set, no unknown flag.
        record[4] = record[4] & 0b0000_0111 | 0b0001_1000;
        record[5] &= 0b0000_0111;
        record[6..8].fill(0);
        record[8..12].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        record[12..16].fill(0);
        record[16..24].copy_from_slice(&lsn.to_le_bytes());
        let checksum = crc32c::crc32c_append(salt, record);
        record[12..16].copy_from_slice(&checksum.to_le_bytes());
        at += length;
    }
}

/// The header's length if it fits, otherwise one that does.
fn mended_length(record: &[u8]) -> usize {
    let claimed = usize::from(u16::from_le_bytes([record[8], record[9]])) / 8 * 8;
    let available = record.len() / 8 * 8;
    if (HEADER_BYTES..=available).contains(&claimed) { claimed } else { available }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mended_log_decodes_past_the_checksum() {
        // A filler with a body of any bytes, then a mark without one.
        let mut log = vec![0xa5; HEADER_BYTES + 16 + HEADER_BYTES];
        for (at, kind, length) in [(0, 6_u8, HEADER_BYTES + 16), (HEADER_BYTES + 16, 4, HEADER_BYTES)] {
            log[at + 3] = kind;
            log[at + 4..at + 6].fill(0);
            log[at + 8..at + 10].copy_from_slice(&u16::try_from(length).unwrap_or(0).to_le_bytes());
        }
        let salt = salt(&STORE_ID);
        assert_eq!(walk(&log, 4096, salt), 0);
        mend(&mut log, 4096, salt);
        assert_eq!(walk(&log, 4096, salt), 2);
        log[HEADER_BYTES] ^= 1;
        assert_eq!(walk(&log, 4096, salt), 0);
    }
}
