//! The file that the ring lives in: its header and how its memory is had. The ring's protocol is the
//! ring's business, and which of the bytes continue the log is recovery's.
//!
//! # Layout (little-endian)
//! ```text
//!    0 [u8; 4] magic "TRRG"      4 u32 version (1)       8 [u8; 16] store id
//!   24 u32 incarnation          28 u32 zero
//!   32 u64 capacity: ring bytes that follow, a power of two
//!   40 u64 base: stream address of the ring's first byte
//!   48 zeros up to 4092       4092 u32 CRC-32C of bytes 0..4092
//! 4096 the ring: stream address A lies at 4096 + (A - base) % capacity
//! ```
//! A block is a header if and only if magic, version, store id and checksum match and the capacity is a
//! power of two that the file holds. Anything else is *no ring*, not damage: the file is never synced,
//! so after a power cut it may hold anything. It is written in full once (so that stores through the mapping
//! never lack space) and never truncated.

use std::sync::Arc;

use treering_ring::{PrivateMemory, RingMemory};
use treering_segment::defects::{Defect, armed};
use treering_segment::error::IoFailure;
use treering_segment::storage::{Access, MapAccess, Region, Storage, StorageFile};

use crate::files::write_zeros;
use crate::log_file::{BLOCK, BLOCK_BYTES};
use crate::options::JournalOptions;
use crate::record::{HEADER_BYTES, Lsn, MAGIC as RECORD_MAGIC, RawHeader, u32_at, u64_at};
use mapping::MappedRing;

/// The ring file's name.
pub(crate) const RING_NAME: &str = "ring";
const CRC_AT: usize = BLOCK_BYTES - 4;
const MAGIC: &[u8; 4] = b"TRRG";
const VERSION: u32 = 1;
/// No ring is larger than this, whatever a file says.
const CAPACITY_MAX: u64 = 1 << 40;

/// The identity of a ring file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingHeader {
    pub(crate) store_id: [u8; 16],
    pub(crate) incarnation: u32,
    pub(crate) capacity: u64,
    pub(crate) base: Lsn,
}

impl RingHeader {
    pub(crate) fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[..4].copy_from_slice(MAGIC);
        block[4..8].copy_from_slice(&VERSION.to_le_bytes());
        block[8..24].copy_from_slice(&self.store_id);
        block[24..28].copy_from_slice(&self.incarnation.to_le_bytes());
        block[32..40].copy_from_slice(&self.capacity.to_le_bytes());
        block[40..48].copy_from_slice(&self.base.to_le_bytes());
        let crc = crc32c::crc32c(&block[..CRC_AT]);
        block[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    pub(crate) fn decode(block: &[u8; BLOCK_BYTES], store_id: &[u8; 16]) -> Option<Self> {
        let header = Self {
            store_id: *store_id,
            incarnation: u32_at(block, 24),
            capacity: u64_at(block, 32),
            base: u64_at(block, 40),
        };
        let sound = &block[..4] == MAGIC
            && u32_at(block, 4) == VERSION
            && block[8..24] == *store_id
            && u32_at(block, CRC_AT) == crc32c::crc32c(&block[..CRC_AT])
            && header.capacity.is_power_of_two()
            && (64..=CAPACITY_MAX).contains(&header.capacity)
            && header.base.is_multiple_of(BLOCK);
        sound.then_some(header)
    }
}

/// A copy of a ring file's bytes, for recovery.
#[derive(Debug)]
pub(crate) struct RingImage {
    pub(crate) header: RingHeader,
    bytes: Vec<u8>,
}

impl RingImage {
    /// The image of the store's ring file, if there is one that can be used.
    pub(crate) fn read(storage: &dyn Storage, store_id: &[u8; 16]) -> Result<Option<Self>, IoFailure> {
        if !storage.exists(RING_NAME)? {
            return Ok(None);
        }
        let file = storage.open(RING_NAME, Access::Read)?;
        let file_bytes = file.len()?;
        if file_bytes < BLOCK {
            return Ok(None);
        }
        let mut block = [0; BLOCK_BYTES];
        file.read_exact_at(&mut block, 0)?;
        let Some(header) = RingHeader::decode(&block, store_id) else { return Ok(None) };
        let Ok(capacity) = usize::try_from(header.capacity) else { return Ok(None) };
        if file_bytes < BLOCK + header.capacity {
            return Ok(None);
        }
        let mut bytes = vec![0; capacity];
        file.read_exact_at(&mut bytes, BLOCK)?;
        Ok(Some(Self { header, bytes }))
    }

    /// Ring bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Copies the bytes that stand at stream addresses `at..at + len` (if they are of this lap at all).
    pub(crate) fn copy(&self, at: Lsn, len: usize, into: &mut Vec<u8>) {
        into.clear();
        let start = self.index_of(at);
        let first = len.min(self.bytes.len() - start);
        into.extend_from_slice(&self.bytes[start..start + first]);
        into.extend_from_slice(&self.bytes[..(len - first).min(self.bytes.len())]);
    }

    /// The record that may start at `at`, whole by its own length, unchecked otherwise.
    pub(crate) fn candidate(&self, at: Lsn, into: &mut Vec<u8>) -> bool {
        if at < self.header.base {
            return false;
        }
        self.copy(at, HEADER_BYTES, into);
        let Some(header) = RawHeader::parse(into, at) else { return false };
        let length = header.length as usize;
        if length > self.bytes.len() {
            return false;
        }
        self.copy(at, length, into);
        true
    }

    /// Stream addresses above `after` that some place in the ring claims to hold.
    pub(crate) fn claimed_addresses(&self, after: Lsn) -> Vec<Lsn> {
        let mut header = Vec::new();
        let mut claimed = Vec::new();
        let magic = RECORD_MAGIC.to_le_bytes();
        for index in (0..self.bytes.len()).step_by(8) {
            if !self.bytes[index..].starts_with(&magic) {
                continue;
            }
            self.copy_index(index, HEADER_BYTES, &mut header);
            let at = u64_at(&header, 16);
            let here = at > after && at >= self.header.base && self.index_of(at) == index;
            if here && RawHeader::parse(&header, at).is_some() {
                claimed.push(at);
            }
        }
        claimed
    }

    fn copy_index(&self, index: usize, len: usize, into: &mut Vec<u8>) {
        self.copy(self.header.base + index as u64, len, into);
    }

    fn index_of(&self, at: Lsn) -> usize {
        // The capacity is a power of two in memory, so the masked value fits.
        usize::try_from((at.wrapping_sub(self.header.base)) & (self.bytes.len() as u64 - 1)).unwrap_or(0)
    }
}

/// Ring memory, and whether the operating system keeps it when the process dies.
pub(crate) struct Memory {
    pub(crate) memory: Box<dyn RingMemory>,
    pub(crate) shared: bool,
}

/// Memory for the ring of incarnation `incarnation` that starts at `base`: the ring file's mapping, or, where
/// that is not to be had, private memory. REQUIRES: nothing in the ring file is needed any more.
pub(crate) fn memory(storage: &dyn Storage, options: &JournalOptions, incarnation: u32, base: Lsn) -> Memory {
    let header =
        RingHeader { store_id: options.store_id, incarnation, capacity: options.ring_bytes as u64, base };
    if options.shared_ring
        && let Ok(region) = mapped(storage, &header, options.ring_bytes)
    {
        return Memory { memory: Box::new(MappedRing { region }), shared: true };
    }
    Memory { memory: Box::new(PrivateMemory::new(options.ring_bytes)), shared: false }
}

fn mapped(
    storage: &dyn Storage,
    header: &RingHeader,
    ring_bytes: usize,
) -> Result<Arc<dyn Region>, IoFailure> {
    let file = match reusable(storage, header.capacity)? {
        Some(file) if armed(Defect::RingHeaderStale) => {
            return file.map(BLOCK, ring_bytes, MapAccess::ReadWrite);
        }
        Some(file) => file,
        None => {
            let file = storage.create(RING_NAME)?;
            if let Err(failure) = write_zeros(&*file, 0, BLOCK + header.capacity) {
                // A ring without its space must not be mapped; the log does without.
                let _ = storage.remove(RING_NAME);
                return Err(failure);
            }
            file
        }
    };
    file.write_all_at(&header.encode(), 0)?;
    file.map(BLOCK, ring_bytes, MapAccess::ReadWrite)
}

/// The ring file that is there, if it has the right size; another one is removed.
fn reusable(storage: &dyn Storage, capacity: u64) -> Result<Option<Arc<dyn StorageFile>>, IoFailure> {
    if !storage.exists(RING_NAME)? {
        return Ok(None);
    }
    let file = storage.open(RING_NAME, Access::ReadWrite)?;
    if file.len()? == BLOCK + capacity {
        return Ok(Some(file));
    }
    storage.remove(RING_NAME)?;
    Ok(None)
}

mod mapping {
    //! A mapped region as ring memory.
    #![expect(unsafe_code, reason = "one promise of raw memory rests on another")]

    use super::{Arc, Region, RingMemory};

    /// The ring part of a mapped ring file.
    #[derive(Debug)]
    pub(crate) struct MappedRing {
        pub(crate) region: Arc<dyn Region>,
    }

    // SAFETY: `Region` promises an address and length that stay valid for reads and writes (the region is
    // mapped ReadWrite) while the region lives, which it does as long as `self`. The store's lock keeps
    // other processes out, and this one maps the ring file only here.
    unsafe impl RingMemory for MappedRing {
        fn as_ptr(&self) -> *mut u8 {
            self.region.as_ptr()
        }

        fn len(&self) -> usize {
            self.region.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_the_documented_bytes_and_comes_back() {
        let store_id = *b"0123456789abcdef";
        let header = RingHeader { store_id, incarnation: 3, capacity: 0x4000, base: 0x10000 };
        let block = header.encode();
        let line = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let shown = format!("{}\n{}", line(&block[..48]), line(&block[CRC_AT..]));
        assert_eq!(shown, include_str!("../tests/golden/ring_header.hex").trim_end());
        assert_eq!(RingHeader::decode(&block, &store_id), Some(header));
        assert_eq!(RingHeader::decode(&block, &[0; 16]), None);
        let odd = RingHeader { capacity: 0x4001, ..header };
        assert_eq!(RingHeader::decode(&odd.encode(), &store_id), None);
    }
}
