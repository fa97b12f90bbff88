//! Payload at rest: immutable, checksummed files of records sorted by key. `format.rs` defines the
//! bytes, `writer.rs` makes a file, `reader.rs` answers from one. A sealed file is never changed; it
//! is removed whole, with `storage.remove(&sealed::file_name(id))`.

mod filter;
mod format;
mod mapping;
mod merkle;
mod range;
mod reader;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::error::{Damage, IoFailure};

pub use format::{MAX_KEY_BYTES, MAX_VALUE_BYTES, file_name, id_of};
pub use range::Range;
pub use reader::{Record, SegmentReader};
pub use writer::SegmentWriter;

/// One record, as a writer is given it.
#[derive(Clone, Copy, Debug)]
pub struct RecordIn<'a> {
    /// The key; keys of one segment ascend strictly.
    pub key: &'a [u8],
    /// The value, up to [`MAX_VALUE_BYTES`].
    pub value: &'a [u8],
    /// The version: LSN of the log record that wrote it.
    pub lsn: u64,
    /// When it was written, in store time, ms.
    pub written_ms: u64,
    /// From when on it is absent, in store time, ms.
    pub death_ms: Option<u64>,
}

/// Where a value lies in its segment, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordPointer {
    /// Byte offset of the value in the file.
    pub offset: u64,
    /// Bytes of the value.
    pub length: u32,
    /// CRC-32C of the value.
    pub crc: u32,
}

/// What a segment holds, as its footer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// The segment's number.
    pub id: u64,
    /// The store that it belongs to.
    pub store_id: [u8; 16],
    /// The deathtime cohort that it was written for.
    pub cohort: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Records, tombstones included.
    pub records: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Bytes of all values.
    pub value_bytes: u64,
    /// First and last key; `None` if there is no record.
    pub key_range: Option<(Bytes, Bytes)>,
    /// Lowest and highest LSN.
    pub lsn_range: Option<(u64, u64)>,
    /// Earliest and latest time of writing, ms.
    pub written_range: Option<(u64, u64)>,
    /// The earliest death time; `None` if no record ever dies.
    pub min_death: Option<u64>,
    /// The time from which on *every* record is dead; `None` if some record never dies, or there is none.
    pub max_death: Option<u64>,
    /// Root of the BLAKE3 Merkle tree over (key, value) in key order.
    pub merkle_root: [u8; 32],
}

/// Why a sealed segment was not written or not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum SegmentError {
    /// The file's bytes are not those of a whole segment.
    Damage(Damage),
    /// The operating system refused.
    Io(IoFailure),
    /// The file is of a format that this program does not know.
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Its format's version.
        version: u16,
    },
    /// A record's key does not come after the one before it.
    KeyOutOfOrder,
    /// A key is too long.
    KeyTooLarge {
        /// Its bytes.
        size: usize,
        /// The most that a key may have.
        max: usize,
    },
    /// A value is too long.
    ValueTooLarge {
        /// Its bytes.
        size: usize,
        /// The most that a value may have.
        max: usize,
    },
    /// An earlier write to this file failed; what it holds is unknown.
    Unfinished {
        /// The file.
        file: PathBuf,
    },
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(damage) => damage.fmt(f),
            Self::Io(failure) => failure.fmt(f),
            Self::NewerFormat { file, version } => {
                write!(f, "{} has segment format {version}, which this program does not know", file.display())
            }
            Self::KeyOutOfOrder => f.write_str("keys of a sealed segment ascend strictly"),
            Self::KeyTooLarge { size, max } => write!(f, "key of {size} bytes, at most {max} are possible"),
            Self::ValueTooLarge { size, max } => {
                write!(f, "value of {size} bytes, at most {max} are possible")
            }
            Self::Unfinished { file } => {
                write!(f, "{} cannot be finished: an earlier write to it failed", file.display())
            }
        }
    }
}

impl std::error::Error for SegmentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Damage(damage) => Some(damage),
            Self::Io(failure) => Some(failure),
            _ => None,
        }
    }
}

impl From<Damage> for SegmentError {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<IoFailure> for SegmentError {
    fn from(failure: IoFailure) -> Self {
        Self::Io(failure)
    }
}
