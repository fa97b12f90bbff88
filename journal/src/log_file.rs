//! One file of the log: its header block, which is its identity, and where its stream bytes lie. Which
//! files make up a log is told in `files`; what the stream bytes mean, in `record`.
//!
//! # Layout (little-endian)
//! ```text
//!    0 [u8; 4] magic "TRLG"
//!    4 u32  version (1)
//!    8 [u8; 16] store id
//!   24 u32  incarnation
//!   28 u32  zero
//!   32 u64  first LSN: the stream address of byte 4096
//!   40 u64  segment bytes: stream bytes that the file holds, a multiple of 4096
//!   48 u64  incarnation base: the first LSN of this incarnation
//!   56 u64  previous cut: the LSN at which the incarnation before was cut (0: there was none)
//!   64 zeros up to 4092
//! 4092 u32  CRC-32C of bytes 0..4092
//! 4096 stream bytes; those never written are zeros or what an earlier use of the file left
//! ```
//!
//! # Validity
//! A block is a header if and only if magic, version and checksum match, the zeros are zeros, the
//! addresses are multiples of 4096 that do not overflow, and the incarnation base lies not beyond the
//! first LSN. All that says something lies in the first 512 bytes, a sector, so a crash leaves the old
//! header or the new one (PROTOCOL F3).
//!
//! The name is only a hint: `log-` and the first LSN in sixteen hexadecimal digits. A file is made ready
//! under a `spare-` name and renamed when its header is durable, so a `log-` file without a valid header
//! is damage, never an unfinished creation.

use std::path::Path;

use treering_segment::error::Damage;

use crate::record::{Lsn, u32_at, u64_at};

/// Bytes of a header block, and the granularity of sizes.
pub(crate) const BLOCK: u64 = 4096;
/// `BLOCK` in memory.
pub(crate) const BLOCK_BYTES: usize = 4096;
const CRC_AT: usize = BLOCK_BYTES - 4;
const USED: usize = 64;
const MAGIC: &[u8; 4] = b"TRLG";
const VERSION: u32 = 1;

/// Prefix of the names of log files in use.
pub(crate) const LOG_PREFIX: &str = "log-";
/// Prefix of the names of files that hold nothing.
pub(crate) const SPARE_PREFIX: &str = "spare-";

/// A header block.
pub(crate) type HeaderBlock = [u8; BLOCK_BYTES];

/// The identity of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) incarnation: u32,
    pub(crate) first_lsn: Lsn,
    pub(crate) segment_bytes: u64,
    pub(crate) incarnation_base: Lsn,
    pub(crate) previous_cut: Lsn,
}

impl LogHeader {
    /// The stream address after the file's last byte.
    pub(crate) fn end(&self) -> Lsn {
        self.first_lsn + self.segment_bytes
    }

    pub(crate) fn encode(&self) -> HeaderBlock {
        let mut block = [0; BLOCK_BYTES];
        block[..4].copy_from_slice(MAGIC);
        block[4..8].copy_from_slice(&VERSION.to_le_bytes());
        block[8..24].copy_from_slice(&self.store_id);
        block[24..28].copy_from_slice(&self.incarnation.to_le_bytes());
        block[32..40].copy_from_slice(&self.first_lsn.to_le_bytes());
        block[40..48].copy_from_slice(&self.segment_bytes.to_le_bytes());
        block[48..56].copy_from_slice(&self.incarnation_base.to_le_bytes());
        block[56..64].copy_from_slice(&self.previous_cut.to_le_bytes());
        let crc = crc32c::crc32c(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Decodes a block of `file`, which belongs to `store_id`.
    pub(crate) fn decode(block: &HeaderBlock, store_id: &[u8; 16], file: &Path) -> Result<Self, Damage> {
        let damage = |what: &str, at: u64| Err(Damage::new(what, file, at));
        if &block[..4] != MAGIC {
            return damage("not a log file", 0);
        }
        if u32_at(block, 4) != VERSION {
            return damage("a log file of another format version", 4);
        }
        if u32_at(block, CRC_AT) != crc32c::crc32c(&block[..CRC_AT]) {
            return damage("the log file's header does not match its checksum", 0);
        }
        let mut store = [0; 16];
        store.copy_from_slice(&block[8..24]);
        let header = Self {
            store_id: store,
            incarnation: u32_at(block, 24),
            first_lsn: u64_at(block, 32),
            segment_bytes: u64_at(block, 40),
            incarnation_base: u64_at(block, 48),
            previous_cut: u64_at(block, 56),
        };
        if header.store_id != *store_id {
            return damage("a log file of another store", 8);
        }
        let aligned = [header.first_lsn, header.segment_bytes, header.incarnation_base];
        let sound = aligned.iter().all(|at| at.is_multiple_of(BLOCK))
            && header.segment_bytes > 0
            && header.first_lsn.checked_add(header.segment_bytes).is_some_and(|end| end < u64::MAX / 2)
            && header.incarnation_base <= header.first_lsn
            && header.previous_cut <= header.incarnation_base
            && header.incarnation > 0
            && block[28..32].iter().chain(&block[USED..CRC_AT]).all(|byte| *byte == 0);
        if sound { Ok(header) } else { damage("the log file's header contradicts itself", 24) }
    }
}

/// The name of the log file that starts at `first_lsn`.
pub(crate) fn log_name(first_lsn: Lsn) -> String {
    format!("{LOG_PREFIX}{first_lsn:016x}")
}

/// The name of a spare that once held `first_lsn`, or is being made ready for it.
pub(crate) fn spare_name(first_lsn: Lsn) -> String {
    format!("{SPARE_PREFIX}{first_lsn:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> LogHeader {
        LogHeader {
            store_id: *b"0123456789abcdef",
            incarnation: 3,
            first_lsn: 0x20000,
            segment_bytes: 0x10000,
            incarnation_base: 0x10000,
            previous_cut: 0x5008,
        }
    }

    #[test]
    fn a_header_has_the_documented_bytes_and_comes_back() {
        let block = header().encode();
        let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let shown = format!("{}\n{}", line(&block[..USED]), line(&block[CRC_AT..]));
        assert_eq!(shown, include_str!("../tests/golden/log_header.hex").trim_end());
        assert!(block[USED..CRC_AT].iter().all(|byte| *byte == 0));
        assert_eq!(LogHeader::decode(&block, b"0123456789abcdef", Path::new("f")), Ok(header()));
    }

    #[test]
    fn contradictions_are_refused_though_the_checksum_holds() {
        let contradictions = [
            LogHeader { first_lsn: 0x20008, ..header() },
            LogHeader { segment_bytes: 0, ..header() },
            LogHeader { segment_bytes: 100, ..header() },
            LogHeader { first_lsn: !4095, ..header() },
            LogHeader { incarnation_base: 0x30000, ..header() },
            LogHeader { previous_cut: 0x11000, ..header() },
            LogHeader { incarnation: 0, ..header() },
        ];
        for wrong in contradictions {
            assert!(
                LogHeader::decode(&wrong.encode(), &wrong.store_id, Path::new("f")).is_err(),
                "{wrong:?}"
            );
        }
    }
}
