//! The `STORE` file: what makes a directory a store, and the sizes fixed at its creation. It is *not*
//! the store's state (that is the manifest's).
//!
//! # Layout (one 512-byte sector, little-endian)
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `TREERING` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | state: 1 creating, 2 ready |
//! | 16 | 16 | store id, random |
//! | 32 | 8 | bytes of a frame |
//! | 40 | 8 | bytes of the ring |
//! | 48 | 8 | bytes of log in a log file |
//! | 56 | 8 | wall-clock milliseconds at creation |
//! | 64 | 444 | zeros |
//! | 508 | 4 | CRC32C over bytes 0..508 |
//!
//! The file is valid if and only if it is 512 bytes long, the magic and the CRC hold and the zeros are
//! zeros. A sector is old or new, never mixed (PROTOCOL F3), so the state changes in place.
//!
//! # Creation, and the state after a crash at each step
//! 1. `STORE` (creating) is written and synced, with the directory. Before: at most an empty, short or torn
//!    `STORE` and `LOCK`, which the next opener takes for nothing at all and writes again.
//! 2. Log, ring, frames and manifest are created. A crash leaves `creating`: nothing was ever
//!    acknowledged, and the next opener removes the pieces and starts over.
//! 3. `STORE` turns `ready`. From here on every file has its part, and one that lacks is damage.

use std::sync::Arc;

use treering_compactor::manifest::{MANIFEST, MANIFEST_NEW};
use treering_segment::sealed::id_of;
use treering_segment::storage::{Access, Environment, StorageFile};

use crate::error::{Error, ErrorKind, Result};
use crate::extents::FRAMES_FILE;
use crate::options::Shape;
use crate::reserve::RESERVE_FILE;

/// The file's name.
pub(crate) const STORE_FILE: &str = "STORE";
/// The lock's name.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// Whether a file of this name is a store's own. Whatever else lies in the directory is left alone.
pub(crate) fn is_own_file(name: &str) -> bool {
    matches!(name, STORE_FILE | LOCK_FILE | FRAMES_FILE | MANIFEST | MANIFEST_NEW | RESERVE_FILE | "ring")
        || name.starts_with("log-")
        || name.starts_with("spare-")
        || id_of(name).is_some()
}

const MAGIC: &[u8; 8] = b"TREERING";
const VERSION: u32 = 1;
/// Length of the file in bytes.
pub(crate) const STORE_BYTES: usize = 512;
const CRC_AT: usize = STORE_BYTES - 4;
const USED: usize = 64;

/// Whether the store is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Being created: nothing was acknowledged yet.
    Creating,
    /// Whole.
    Ready,
}

/// Who a store is, and its fixed sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) state: State,
    pub(crate) store_id: [u8; 16],
    pub(crate) shape: Shape,
    pub(crate) created_ms: u64,
}

impl Identity {
    /// The first half of the store id, which frames carry.
    pub(crate) fn store_tag(&self) -> u64 {
        let mut half = [0; 8];
        half.copy_from_slice(&self.store_id[..8]);
        u64::from_le_bytes(half)
    }

    /// A fresh identity from the environment's randomness and wall clock.
    pub(crate) fn fresh(env: &Environment, shape: Shape) -> Result<Self> {
        let mut store_id = [0; 16];
        env.entropy
            .fill(&mut store_id)
            .map_err(|e| Error::new(ErrorKind::Io, format!("cannot draw a store id: {e}")))?;
        Ok(Self { state: State::Creating, store_id, shape, created_ms: env.clock.wall_ms() })
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> [u8; STORE_BYTES] {
        let mut out = [0; STORE_BYTES];
        let state: u32 = match self.state {
            State::Creating => 1,
            State::Ready => 2,
        };
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&state.to_le_bytes());
        out[16..32].copy_from_slice(&self.store_id);
        out[32..40].copy_from_slice(&(self.shape.frame_bytes as u64).to_le_bytes());
        out[40..48].copy_from_slice(&(self.shape.ring_bytes as u64).to_le_bytes());
        out[48..56].copy_from_slice(&self.shape.log_segment_bytes.to_le_bytes());
        out[56..64].copy_from_slice(&self.created_ms.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the file's bytes; the error is what is wrong, in words, and whether a newer release wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> std::result::Result<Self, Refusal> {
        let bytes: &[u8; STORE_BYTES] =
            bytes.try_into().map_err(|_| Refusal::Damaged("it is not 512 bytes long"))?;
        if &bytes[..8] != MAGIC {
            return Err(Refusal::Damaged("it does not begin with the magic number"));
        }
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if crc32c::crc32c(&bytes[..CRC_AT]) != u32_at(CRC_AT) {
            return Err(Refusal::Damaged("its checksum does not match"));
        }
        if u32_at(8) != VERSION {
            return Err(Refusal::NewerFormat(u32_at(8)));
        }
        let state = match u32_at(12) {
            1 => State::Creating,
            2 => State::Ready,
            _ => return Err(Refusal::Damaged("its state is unknown")),
        };
        if bytes[USED..CRC_AT].iter().any(|&b| b != 0) {
            return Err(Refusal::Damaged("its reserved bytes are not zero"));
        }
        let size =
            |at: usize| usize::try_from(u64_at(at)).map_err(|_| Refusal::Damaged("a size is out of bounds"));
        let shape = Shape { frame_bytes: size(32)?, ring_bytes: size(40)?, log_segment_bytes: u64_at(48) };
        if shape.check().is_err() {
            return Err(Refusal::Damaged("a size is out of bounds"));
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(&bytes[16..32]);
        Ok(Self { state, store_id, shape, created_ms: u64_at(56) })
    }

    /// Writes the file in its current state and makes it durable; creates it if `new`.
    pub(crate) fn write(&self, env: &Environment, new: bool) -> Result<()> {
        let storage = &env.storage;
        let file =
            if new { storage.create(STORE_FILE)? } else { storage.open(STORE_FILE, Access::ReadWrite)? };
        file.write_all_at(&self.encode(), 0)?;
        file.set_len(STORE_BYTES as u64)?;
        file.sync_all()?;
        storage.sync_directory()?;
        Ok(())
    }

    /// Reads and checks the `STORE` file.
    pub(crate) fn read(env: &Environment) -> Result<Self> {
        let file: Arc<dyn StorageFile> = env.storage.open(STORE_FILE, Access::Read)?;
        let length = file.len()?;
        if length != STORE_BYTES as u64 {
            return Err(Error::damage(format!("it is {length} bytes long, not 512"), file.path(), 0));
        }
        let mut bytes = [0; STORE_BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        Self::decode(&bytes).map_err(|refusal| match refusal {
            Refusal::Damaged(what) => Error::damage(what, file.path(), 0),
            Refusal::NewerFormat(version) => Error::at(
                ErrorKind::NewerFormat,
                file.path(),
                format!("format version {version} is not version {VERSION}, which this release reads; upgrade treering"),
            ),
        })
    }
}

/// Why bytes are not an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// They are damaged, in this way.
    Damaged(&'static str),
    /// They are of this other version.
    NewerFormat(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Identity {
        Identity {
            state: State::Ready,
            store_id: *b"0123456789abcdef",
            shape: Options::DEFAULT_SHAPE,
            created_ms: 1_700_000_000_000,
        }
    }
    use crate::options::Options;

    #[test]
    fn round_trips() {
        assert_eq!(Identity::decode(&example().encode()), Ok(example()));
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let good = example().encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Identity::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn layout_is_golden() {
        let bytes = example().encode();
        assert_eq!(&bytes[..16], b"TREERING\x01\0\0\0\x02\0\0\0");
        assert_eq!(&bytes[16..32], b"0123456789abcdef");
        assert_eq!(bytes[32..40], (512u64 << 10).to_le_bytes());
        assert_eq!(bytes[40..48], (8u64 << 20).to_le_bytes());
        assert_eq!(bytes[48..56], (64u64 << 20).to_le_bytes());
        assert_eq!(bytes[508..], crc32c::crc32c(&bytes[..508]).to_le_bytes());
    }
}
