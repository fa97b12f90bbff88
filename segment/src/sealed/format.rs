//! The bytes of a sealed segment, version 1. The one place that defines them; the algorithms are in
//! `writer.rs`, `reader.rs` and `verify.rs`.
//!
//! # Terms
//! *Salt*: CRC-32C of store id and segment id, from which every checksum but the header's and the
//! values' goes on, so that bytes of another file never pass. *Section*: records, index, filter, bounds.
//!
//! # Layout
//! Little-endian, no padding, sections back to back:
//! ```text
//! 0              header                64 bytes
//! 64             records               strictly ascending keys
//! index_start    index                 entries, then a table of their positions
//! filter_start   filter                bits, see filter.rs
//! bounds_start   bounds                first key, last key
//! len - 256      footer                256 bytes
//! ```
//! Header:
//! ```text
//! 0 u32 magic "TRSG" | 4 u16 version | 6 u16 zero | 8 u64 segment id | 16 [u8;16] store id
//! 32 u64 cohort | 40 [u8;20] zero | 60 u32 CRC-32C of 0..60
//! ```
//! The place of magic, version and CRC is the same in all versions, so that a newer file and a
//! damaged one can be told apart.
//!
//! Record:
//! ```text
//! 0 u32 CRC-32C (salted, then the record's own offset as u64) of 4..40 and the key
//! 4 u16 key length | 6 u8 flags: 1 DEATH, 2 TOMBSTONE | 7 u8 zero | 8 u32 value length
//! 12 u32 CRC-32C of the value | 16 u64 LSN | 24 u64 time of writing, ms
//! 32 u64 death time, ms; zero without DEATH | 40 key | value; empty with TOMBSTONE
//! ```
//! Index: for the first record, and then for every record that starts at least 4096 bytes or 32 records
//! behind the one indexed last:
//! ```text
//! u64 offset of the record | u16 key length | key
//! ```
//! then for each entry, in order, u64 its position from the start of the section.
//!
//! Footer:
//! ```text
//! 0 u32 magic "TRSF" | 4 u16 version | 6 u16 zero | 8 u64 segment id | 16 [u8;16] store id
//! 32 u64 cohort | 40 u64 file length | 48 u64 records | 56 u64 tombstones | 64 u64 value bytes
//! 72 u64 index_start | 80 u64 index entries | 88 u64 filter_start | 96 u64 bounds_start
//! 104 u32 CRC of index | 108 u32 CRC of filter | 112 u32 CRC of bounds | 116 u32 length of first key
//! 120 u64 lowest LSN | 128 u64 highest LSN | 136 u64 first, 144 u64 last time of writing
//! 152 u64 min death | 160 u64 max death | 168 u32 flags: 1 some record dies, 2 every record dies
//! 172 u32 probes of the filter | 176 [u8;32] Merkle root, see merkle.rs | 208 [u8;44] zero
//! 252 u32 CRC-32C (salted) of 0..252
//! ```
//! Values that a segment does not have are zero, and a reader insists on every zero here.
//!
//! # Validity
//! A file is a sealed segment if and only if its header and its footer pass their checksums, name
//! the segment and store asked for, agree with each other, the length in the footer is the file's, and the
//! sections lie in order between header and footer and pass theirs. It is *undamaged* if and only if,
//! further, the records tile their section, each passes both its checksums, keys ascend strictly, and
//! the filter passes every key, and index, bounds, counts and root are those that a writer derives from
//! them. So every byte of the file is under some checksum.
//!
//! # After a crash
//! A file without a valid footer is one that nobody was told about: the footer is written last, and
//! `finish` returns only after file and directory are synced. The opener removes it as an orphan.

use std::path::Path;

use crate::error::Damage;
use crate::sealed::{SegmentError, SegmentSummary};

/// The longest key: its length is a `u16`.
pub const MAX_KEY_BYTES: usize = 65_535;

/// The longest value: 1 GiB.
pub const MAX_VALUE_BYTES: usize = 1 << 30;

pub(super) const VERSION: u16 = 1;
pub(super) const HEADER_BYTES: usize = 64;
pub(super) const RECORD_HEADER_BYTES: usize = 40;
pub(super) const FOOTER_BYTES: usize = 256;
pub(super) const INDEX_ENTRY_BYTES: usize = 10;
pub(super) const INDEX_EVERY_BYTES: u64 = 4096;
pub(super) const INDEX_EVERY_RECORDS: u32 = 32;

const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"TRSG");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"TRSF");
const HEADER_CRC_AT: usize = HEADER_BYTES - 4;
const FOOTER_CRC_AT: usize = FOOTER_BYTES - 4;
const FLAG_DEATH: u8 = 1;
const FLAG_TOMBSTONE: u8 = 2;
const FOOTER_SOME_DIE: u32 = 1;
const FOOTER_ALL_DIE: u32 = 2;

/// The name of segment `id`'s file.
pub fn file_name(id: u64) -> String {
    format!("segment-{id:016x}")
}

/// The segment whose file has this name; `None` for every other name.
pub fn id_of(name: &str) -> Option<u64> {
    let id = u64::from_str_radix(name.strip_prefix("segment-")?, 16).ok()?;
    (name == file_name(id)).then_some(id)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// The caller has checked that the bytes are there; what is not reads as zero.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Who a file belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: u64,
    pub(super) store_id: [u8; 16],
}

impl Identity {
    pub(super) fn salt(&self) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.store_id), &self.id.to_le_bytes())
    }
}

pub(super) fn encode_header(identity: &Identity, cohort: u64) -> [u8; HEADER_BYTES] {
    let mut block = [0; HEADER_BYTES];
    put(&mut block, 0, &HEADER_MAGIC.to_le_bytes());
    put(&mut block, 4, &VERSION.to_le_bytes());
    put(&mut block, 8, &identity.id.to_le_bytes());
    put(&mut block, 16, &identity.store_id);
    put(&mut block, 32, &cohort.to_le_bytes());
    let crc = crc32c::crc32c(&block[..HEADER_CRC_AT]);
    put(&mut block, HEADER_CRC_AT, &crc.to_le_bytes());
    block
}

/// Checks a header and returns its cohort.
pub(super) fn decode_header(block: &[u8], expect: &Identity, file: &Path) -> Result<u64, SegmentError> {
    let damaged = |what: &str| Err(Damage::new(what, file, 0).into());
    if block.len() < HEADER_BYTES || u32_at(block, 0) != HEADER_MAGIC {
        return damaged("not a sealed segment");
    }
    if crc32c::crc32c(&block[..HEADER_CRC_AT]) != u32_at(block, HEADER_CRC_AT) {
        return damaged("the header's checksum does not match");
    }
    let version = u16_at(block, 4);
    if version != VERSION {
        return Err(SegmentError::NewerFormat { file: file.to_path_buf(), version });
    }
    if u64_at(block, 8) != expect.id {
        return damaged("the header is that of another segment");
    }
    if array_at::<16>(block, 16) != expect.store_id {
        return damaged("the segment belongs to another store");
    }
    let cohort = u64_at(block, 32);
    if encode_header(expect, cohort) != block[..HEADER_BYTES] {
        return damaged("the header has bytes that this format does not know");
    }
    Ok(cohort)
}

/// What stands in front of a record's key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub(super) key_len: u16,
    pub(super) tombstone: bool,
    pub(super) value_len: u32,
    pub(super) value_crc: u32,
    pub(super) lsn: u64,
    pub(super) written_ms: u64,
    pub(super) death_ms: Option<u64>,
}

impl RecordHeader {
    pub(super) fn total_bytes(&self) -> u64 {
        RECORD_HEADER_BYTES as u64 + u64::from(self.key_len) + u64::from(self.value_len)
    }

    pub(super) fn encode(&self, salt: u32, offset: u64, key: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
        let mut block = [0; RECORD_HEADER_BYTES];
        put(&mut block, 4, &self.key_len.to_le_bytes());
        let death = if self.death_ms.is_some() { FLAG_DEATH } else { 0 };
        block[6] = death | if self.tombstone { FLAG_TOMBSTONE } else { 0 };
        put(&mut block, 8, &self.value_len.to_le_bytes());
        put(&mut block, 12, &self.value_crc.to_le_bytes());
        put(&mut block, 16, &self.lsn.to_le_bytes());
        put(&mut block, 24, &self.written_ms.to_le_bytes());
        put(&mut block, 32, &self.death_ms.unwrap_or(0).to_le_bytes());
        let crc = record_crc(salt, offset, &block, key);
        put(&mut block, 0, &crc.to_le_bytes());
        block
    }

    /// The record at the start of `rest`, which runs to the end of the records; what is wrong, else.
    pub(super) fn decode(salt: u32, offset: u64, rest: &[u8]) -> Result<Self, &'static str> {
        let Some((block, behind)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
            return Err("a record's header reaches past the records");
        };
        let header = Self {
            key_len: u16_at(block, 4),
            tombstone: block[6] & FLAG_TOMBSTONE != 0,
            value_len: u32_at(block, 8),
            value_crc: u32_at(block, 12),
            lsn: u64_at(block, 16),
            written_ms: u64_at(block, 24),
            death_ms: (block[6] & FLAG_DEATH != 0).then(|| u64_at(block, 32)),
        };
        let Some(key) = behind.get(..usize::from(header.key_len)) else {
            return Err("a record's key reaches past the records");
        };
        if record_crc(salt, offset, block, key) != u32_at(block, 0) {
            return Err("a record's checksum does not match");
        }
        if block[6] & !(FLAG_DEATH | FLAG_TOMBSTONE) != 0 || block[7] != 0 {
            return Err("a record has flags that this format does not know");
        }
        if header.death_ms.is_none() && u64_at(block, 32) != 0 {
            return Err("a record that never dies has a death time");
        }
        if header.tombstone && header.value_len != 0 {
            return Err("a tombstone has a value");
        }
        if header.total_bytes() > rest.len() as u64 || header.value_len as usize > MAX_VALUE_BYTES {
            return Err("a record's value reaches past the records");
        }
        Ok(header)
    }
}

fn record_crc(salt: u32, offset: u64, block: &[u8; RECORD_HEADER_BYTES], key: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(salt, &offset.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &block[4..]), key)
}

/// The footer, and with it where the sections are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) summary: SegmentSummary,
    pub(super) index_start: u64,
    pub(super) index_entries: u64,
    pub(super) filter_start: u64,
    pub(super) bounds_start: u64,
    pub(super) index_crc: u32,
    pub(super) filter_crc: u32,
    pub(super) bounds_crc: u32,
    pub(super) first_key_len: u32,
    pub(super) filter_probes: u32,
}

impl Footer {
    pub(super) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let s = &self.summary;
        let mut block = [0; FOOTER_BYTES];
        put(&mut block, 0, &FOOTER_MAGIC.to_le_bytes());
        put(&mut block, 4, &VERSION.to_le_bytes());
        put(&mut block, 16, &s.store_id);
        let (min_lsn, max_lsn) = s.lsn_range.unwrap_or_default();
        let (min_written, max_written) = s.written_range.unwrap_or_default();
        let words = [
            (8, s.id),
            (32, s.cohort),
            (40, s.file_bytes),
            (48, s.records),
            (56, s.tombstones),
            (64, s.value_bytes),
            (72, self.index_start),
            (80, self.index_entries),
            (88, self.filter_start),
            (96, self.bounds_start),
            (120, min_lsn),
            (128, max_lsn),
            (136, min_written),
            (144, max_written),
            (152, s.min_death.unwrap_or(0)),
            (160, s.max_death.unwrap_or(0)),
        ];
        for (at, word) in words {
            put(&mut block, at, &word.to_le_bytes());
        }
        let some_die = if s.min_death.is_some() { FOOTER_SOME_DIE } else { 0 };
        let flags = some_die | if s.max_death.is_some() { FOOTER_ALL_DIE } else { 0 };
        let halves = [
            (104, self.index_crc),
            (108, self.filter_crc),
            (112, self.bounds_crc),
            (116, self.first_key_len),
            (168, flags),
            (172, self.filter_probes),
        ];
        for (at, half) in halves {
            put(&mut block, at, &half.to_le_bytes());
        }
        put(&mut block, 176, &s.merkle_root);
        let identity = Identity { id: s.id, store_id: s.store_id };
        let crc = crc32c::crc32c_append(identity.salt(), &block[..FOOTER_CRC_AT]);
        put(&mut block, FOOTER_CRC_AT, &crc.to_le_bytes());
        block
    }

    /// Checks a footer by itself; `key_range` is left empty. What is wrong, else.
    pub(super) fn decode(block: &[u8], expect: &Identity) -> Result<Self, &'static str> {
        if block.len() != FOOTER_BYTES || u32_at(block, 0) != FOOTER_MAGIC {
            return Err("the file does not end in a footer");
        }
        if crc32c::crc32c_append(expect.salt(), &block[..FOOTER_CRC_AT]) != u32_at(block, FOOTER_CRC_AT) {
            return Err("the footer's checksum does not match");
        }
        let identity = Identity { id: u64_at(block, 8), store_id: array_at(block, 16) };
        if identity != *expect || u16_at(block, 4) != VERSION {
            return Err("the footer is that of another segment");
        }
        let flags = u32_at(block, 168);
        let records = u64_at(block, 48);
        let pair = |at| (records > 0).then(|| (u64_at(block, at), u64_at(block, at + 8)));
        let footer = Self {
            summary: SegmentSummary {
                id: identity.id,
                store_id: identity.store_id,
                cohort: u64_at(block, 32),
                file_bytes: u64_at(block, 40),
                records,
                tombstones: u64_at(block, 56),
                value_bytes: u64_at(block, 64),
                key_range: None,
                lsn_range: pair(120),
                written_range: pair(136),
                min_death: (flags & FOOTER_SOME_DIE != 0).then(|| u64_at(block, 152)),
                max_death: (flags & FOOTER_ALL_DIE != 0).then(|| u64_at(block, 160)),
                merkle_root: array_at(block, 176),
            },
            index_start: u64_at(block, 72),
            index_entries: u64_at(block, 80),
            filter_start: u64_at(block, 88),
            bounds_start: u64_at(block, 96),
            index_crc: u32_at(block, 104),
            filter_crc: u32_at(block, 108),
            bounds_crc: u32_at(block, 112),
            first_key_len: u32_at(block, 116),
            filter_probes: u32_at(block, 172),
        };
        if footer.encode() != block {
            return Err("the footer has bytes that this format does not know");
        }
        Ok(footer)
    }
}
