//! The log record: its layout, its checksum and its validity rule. It is the only place that knows
//! the bytes of a header; what operations mean is the reader's business.
//!
//! # Layout (little-endian; all records are multiples of 8 bytes and start at an 8-aligned LSN)
//! ```text
//!   0 u16 magic 0x5254        2 u8 version (1)      3 u8 kind
//!   4 u16 flags               6 u16 fragment index (0: records are whole)
//!   8 u32 length of the whole record, header and pad included
//!  12 u32 crc
//!  16 u64 LSN: the stream address of byte 0
//!  24 u32 incarnation        28 u32 tree id
//!  32 u64 epoch of the cut that the record belongs after
//!  40 u64 store time, milliseconds
//!  48 [MARKS]  u64 durable LSN, u64 newest durable manifest edit, as known to the writer
//!     [STAGED] u64 staging offset (of the first staged value, in a batch)
//!     [DEATH]  u64 death time, milliseconds of store time
//!     body, then 0 to 7 zero bytes of pad
//! ```
//! Flags: bit 0 MARKS, 1 STAGED, 2 DEATH, 3 FIRST fragment, 4 LAST fragment, 8..=10 the number of pad
//! bytes; the others are zero. Kinds and bodies:
//! ```text
//!   1 Put         u16 key length, key, value (the rest)
//!   2 PutPointer  u16 key length, key, pointer {u64 segment, u64 offset, u32 length, u32 crc}
//!   3 Delete      u16 key length, key
//!   4 Batch       u32 count, then count operations:
//!                 u8 kind (1..=3), u8 flags (bit 0 STAGED, 1 DEATH), u16 key length, u32 tree,
//!                 u32 value length (24 for a pointer, 0 for a delete), [DEATH] u64, key, value
//!   5 Mark        empty: only header, marks and time count
//!   6 Close       empty: the log was closed cleanly here
//!   7 Filler      void bytes that hold the place of a record that was never written
//!   8, 9          reserved for Rename and RemovePrefix
//! ```
//! Staged values of a batch lie one after another from the record's staging offset, in the order of
//! the operations, so that a body's bytes do not depend on where it is staged.
//!
//! # Validity
//! The bytes at stream address `L` are a record if and only if magic and version match, the length is a
//! multiple of 8 that holds the header and what the flags announce, the LSN is `L`, and `crc` is the
//! CRC-32C over the whole record, with the crc field as zero, continued from the CRC-32C of the store id.
//! LSN and incarnation are inside: an older lap, another life and another store never pass. A record
//! that is valid but whose body is not as above is *malformed*: it was written whole, so it is
//! damage or a defect, never a torn tail.

mod batch;
mod draft;
mod view;

use treering_segment::defects::{Defect, armed};

pub use batch::{BatchBody, MAX_BATCH_OPERATIONS};
pub use draft::Draft;
pub use view::{Change, Operation, Operations, Record};

pub(crate) use draft::filler_into;
pub(crate) use view::Reject;
#[cfg(test)]
mod tests;

/// A byte address in the log's stream.
pub type Lsn = u64;

/// First two bytes of every record.
pub const MAGIC: u16 = 0x5254;
/// The format that this code reads and writes.
pub const VERSION: u8 = 1;
/// Bytes of the fixed header.
pub const HEADER_BYTES: usize = 48;
/// Bytes that marks, staging offset and death time add at most.
pub const OPTIONAL_BYTES: usize = 32;
/// Records start and end at multiples of this.
pub const ALIGNMENT: u64 = 8;
/// Bytes of a payload pointer.
pub const POINTER_BYTES: usize = 24;

pub(crate) const FLAG_MARKS: u16 = 1;
pub(crate) const FLAG_STAGED: u16 = 1 << 1;
pub(crate) const FLAG_DEATH: u16 = 1 << 2;
pub(crate) const FLAG_FIRST: u16 = 1 << 3;
pub(crate) const FLAG_LAST: u16 = 1 << 4;
const PAD_SHIFT: u32 = 8;
const FLAGS_KNOWN: u16 = FLAG_MARKS | FLAG_STAGED | FLAG_DEATH | FLAG_FIRST | FLAG_LAST | (7 << PAD_SHIFT);

const _: () = assert!(HEADER_BYTES.is_multiple_of(8) && OPTIONAL_BYTES.is_multiple_of(8));

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A key gets a value that the record carries.
    Put,
    /// A key gets a value that was written to a segment before.
    PutPointer,
    /// A key goes.
    Delete,
    /// Several operations, one version.
    Batch,
    /// Only marks and time.
    Mark,
    /// The log was closed cleanly.
    Close,
    /// Void.
    Filler,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Put, Self::PutPointer, Self::Delete, Self::Batch, Self::Mark, Self::Close, Self::Filler];

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::PutPointer => 2,
            Self::Delete => 3,
            Self::Batch => 4,
            Self::Mark => 5,
            Self::Close => 6,
            Self::Filler => 7,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What a writer knew to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The log is durable below this.
    pub durable_lsn: Lsn,
    /// The manifest is durable up to this edit.
    pub durable_edit: u64,
}

/// Where a value lies that the record does not carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadPointer {
    /// Segment id.
    pub segment: u64,
    /// Byte offset of the value in the segment's file.
    pub offset: u64,
    /// Bytes of the value.
    pub length: u32,
    /// CRC-32C of the value.
    pub crc: u32,
}

/// The seed of all checksums of one store.
pub fn salt(store_id: &[u8; 16]) -> u32 {
    crc32c::crc32c(store_id)
}

/// The fixed part of a header, as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawHeader {
    pub(crate) kind: u8,
    pub(crate) flags: u16,
    pub(crate) fragment: u16,
    pub(crate) length: u32,
    pub(crate) crc: u32,
    pub(crate) lsn: Lsn,
    pub(crate) incarnation: u32,
    pub(crate) tree: u32,
    pub(crate) epoch: u64,
    pub(crate) time_ms: u64,
}

impl RawHeader {
    /// The header at the front of `bytes`, if it can be one of a record at `lsn`: everything in the
    /// validity rule but the checksum and the presence of `length` bytes.
    pub(crate) fn parse(bytes: &[u8], lsn: Lsn) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        if u16_at(bytes, 0) != MAGIC || bytes[2] != VERSION {
            return None;
        }
        let mut header = Self {
            kind: bytes[3],
            flags: u16_at(bytes, 4),
            fragment: u16_at(bytes, 6),
            length: u32_at(bytes, 8),
            crc: u32_at(bytes, 12),
            lsn: u64_at(bytes, 16),
            incarnation: u32_at(bytes, 24),
            tree: u32_at(bytes, 28),
            epoch: u64_at(bytes, 32),
            time_ms: u64_at(bytes, 40),
        };
        let fits = header.length as usize >= header.body_start() + header.pad()
            && lsn.checked_add(u64::from(header.length)).is_some();
        if armed(Defect::OldLapPasses) {
            header.lsn = lsn;
        }
        (header.lsn == lsn && header.length.is_multiple_of(8) && fits).then_some(header)
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn pad(&self) -> usize {
        usize::from((self.flags >> PAD_SHIFT) & 7)
    }

    /// Offset of the body.
    pub(crate) fn body_start(&self) -> usize {
        HEADER_BYTES
            + if self.has(FLAG_MARKS) { 16 } else { 0 }
            + if self.has(FLAG_STAGED) { 8 } else { 0 }
            + if self.has(FLAG_DEATH) { 8 } else { 0 }
    }

    /// The header's bytes with `crc` in its field.
    pub(crate) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..2].copy_from_slice(&MAGIC.to_le_bytes());
        out[2] = VERSION;
        out[3] = self.kind;
        out[4..6].copy_from_slice(&self.flags.to_le_bytes());
        out[6..8].copy_from_slice(&self.fragment.to_le_bytes());
        out[8..12].copy_from_slice(&self.length.to_le_bytes());
        out[12..16].copy_from_slice(&self.crc.to_le_bytes());
        out[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        out[24..28].copy_from_slice(&self.incarnation.to_le_bytes());
        out[28..32].copy_from_slice(&self.tree.to_le_bytes());
        out[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        out[40..48].copy_from_slice(&self.time_ms.to_le_bytes());
        out
    }
}

/// The checksum of a record's first `HEADER_BYTES` with the crc field as zero.
pub(crate) fn header_crc(salt: u32, header: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(salt, &header[..12]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &header[16..HEADER_BYTES])
}

/// The checksum of a whole record. `record` holds at least a header.
pub(crate) fn record_crc(salt: u32, record: &[u8]) -> u32 {
    crc32c::crc32c_append(header_crc(salt, record), &record[HEADER_BYTES..])
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut buffer = [0; 2];
    buffer.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(buffer)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut buffer = [0; 4];
    buffer.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(buffer)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut buffer = [0; 8];
    buffer.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(buffer)
}
