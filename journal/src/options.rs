//! What a journal is told when it is made or opened. Sizes are run-time parameters: small in tests.

use crate::error::{Error, Result};
use crate::log_file::BLOCK;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Durability {
    /// The record, and all that precedes it, is in the operating system's hands: it survives the
    /// death of the process, not a power cut.
    #[default]
    Buffered,
    /// The record, and all that precedes it, survives power loss.
    Sync,
}

/// A journal's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// The store's identity; salts every checksum.
    pub store_id: [u8; 16],
    /// Bytes in the ring: a power of two, at least 4096. Half of it bounds a record.
    pub ring_bytes: usize,
    /// Stream bytes in a log file: a multiple of 4096, at least 4096.
    pub segment_bytes: u64,
    /// Live log bytes above which [`crate::Journal::over_cap`] asks for a cut.
    pub cap_bytes: u64,
    /// Whether the ring lives in a shared mapping of the `ring` file, where that can be had.
    pub shared_ring: bool,
}

impl JournalOptions {
    /// Ordinary sizes for the store `store_id`: a ring of 16 MiB, log files of 64 MiB, a cap of 1 GiB.
    pub fn new(store_id: [u8; 16]) -> Self {
        Self {
            store_id,
            ring_bytes: 16 << 20,
            segment_bytes: 64 << 20,
            cap_bytes: 1 << 30,
            shared_ring: true,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if !self.ring_bytes.is_power_of_two() || self.ring_bytes < 4096 {
            return Err(Error::Options("ring_bytes is a power of two of at least 4096"));
        }
        if self.segment_bytes == 0 || !self.segment_bytes.is_multiple_of(BLOCK) {
            return Err(Error::Options("segment_bytes is a multiple of 4096"));
        }
        if self.segment_bytes > 1 << 40 {
            return Err(Error::Options("segment_bytes is at most 1 TiB"));
        }
        Ok(())
    }

    /// The largest record: half the ring, so that two always fit.
    pub(crate) fn max_record(&self) -> u64 {
        self.ring_bytes as u64 / 2
    }

    /// Stream bytes of the log file that a journal begins with where one of the usual size finds no space:
    /// enough for deletes, a cut's mark and the close.
    #[must_use]
    pub fn small_segment_bytes(&self) -> u64 {
        (2 * self.reserve()).next_multiple_of(BLOCK).min(self.segment_bytes)
    }

    /// Bytes at the end of ring and log that only reserve admissions take (PROTOCOL F1).
    pub(crate) fn reserve(&self) -> u64 {
        (self.ring_bytes as u64 / 8).min(self.segment_bytes / 8)
    }
}
