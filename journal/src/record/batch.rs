//! Building a batch's body: operations in the order given, checked for size. Which operation on a key
//! wins is decided before, by the caller.

use super::{POINTER_BYTES, PayloadPointer};
use crate::error::{Error, Result};

/// The most operations one batch holds.
pub const MAX_BATCH_OPERATIONS: u32 = 65_536;

pub(super) const OP_STAGED: u8 = 1;
pub(super) const OP_DEATH: u8 = 2;
/// Bytes of an operation before death time, key and value.
pub(super) const OP_HEADER_BYTES: usize = 12;

/// The encoded operations of one batch.
#[derive(Clone, Debug)]
pub struct BatchBody {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for BatchBody {
    fn default() -> Self {
        Self { bytes: vec![0; 4], count: 0 }
    }
}

impl BatchBody {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of operations.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the body.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a put. With `staged`, the value takes the next `value.len()` bytes from the record's staging
    /// offset on.
    pub fn put(
        &mut self,
        tree: u32,
        key: &[u8],
        value: &[u8],
        staged: bool,
        death: Option<u64>,
    ) -> Result<()> {
        self.push(super::Kind::Put, tree, key, &[value], staged, death)
    }

    /// Adds a put of a value that lies in a segment already.
    pub fn put_pointer(
        &mut self,
        tree: u32,
        key: &[u8],
        pointer: &PayloadPointer,
        death: Option<u64>,
    ) -> Result<()> {
        self.push(super::Kind::PutPointer, tree, key, &[&pointer.bytes()], false, death)
    }

    /// Adds a delete.
    pub fn delete(&mut self, tree: u32, key: &[u8]) -> Result<()> {
        self.push(super::Kind::Delete, tree, key, &[], false, None)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn push(
        &mut self,
        kind: super::Kind,
        tree: u32,
        key: &[u8],
        value: &[&[u8]],
        staged: bool,
        death: Option<u64>,
    ) -> Result<()> {
        if self.count >= MAX_BATCH_OPERATIONS {
            let max = u64::from(MAX_BATCH_OPERATIONS);
            return Err(Error::TooLarge { size: max + 1, max });
        }
        let key_len = key_length(key)?;
        let value_bytes: usize = value.iter().map(|part| part.len()).sum();
        let value_len = u32::try_from(value_bytes)
            .map_err(|_| Error::TooLarge { size: value_bytes as u64, max: u64::from(u32::MAX) })?;
        let flags = if staged { OP_STAGED } else { 0 } | if death.is_some() { OP_DEATH } else { 0 };
        self.bytes.extend_from_slice(&[kind.code(), flags]);
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&tree.to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        if let Some(death) = death {
            self.bytes.extend_from_slice(&death.to_le_bytes());
        }
        self.bytes.extend_from_slice(key);
        for part in value {
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
        self.bytes[..4].copy_from_slice(&self.count.to_le_bytes());
        Ok(())
    }
}

impl PayloadPointer {
    /// The pointer's 24 bytes.
    pub(super) fn bytes(&self) -> [u8; POINTER_BYTES] {
        let mut out = [0; POINTER_BYTES];
        out[..8].copy_from_slice(&self.segment.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..20].copy_from_slice(&self.length.to_le_bytes());
        out[20..].copy_from_slice(&self.crc.to_le_bytes());
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != POINTER_BYTES {
            return None;
        }
        Some(Self {
            segment: super::u64_at(bytes, 0),
            offset: super::u64_at(bytes, 8),
            length: super::u32_at(bytes, 16),
            crc: super::u32_at(bytes, 20),
        })
    }
}

/// The key's length for the wire.
pub(super) fn key_length(key: &[u8]) -> Result<u16> {
    u16::try_from(key.len()).map_err(|_| Error::TooLarge { size: key.len() as u64, max: u64::from(u16::MAX) })
}
