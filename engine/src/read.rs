//! Point reads: from a key to a value, wherever its bytes are. It is *not* the descent (that is
//! `tree/`): here a leaf that was found is turned into what the user asked for.

use bytes::Bytes;
use treering_blobframe::{LeafPointer, STAGING};

use crate::error::{Error, Result};
use crate::store::Store;
use crate::tree::{LeafData, OwnedLeaf};

/// How often a pointer that leads nowhere is looked up again before it counts as damage. Each round means
/// that a writer or a cut moved the value between two steps of this reader.
const POINTER_ROUNDS_MAX: usize = 64;

impl Store {
    /// The live leaf of `key` with its value (PROTOCOL R2).
    pub(crate) fn lookup(&self, key: &[u8]) -> Result<Option<(OwnedLeaf, Bytes)>> {
        self.open()?;
        let Some(leaf) = self.tree.get(key)? else { return Ok(None) };
        if !self.is_alive(leaf.death) {
            return Ok(None);
        }
        self.with_value(key, leaf)
    }

    /// Whether `key` has a live leaf.
    pub(crate) fn holds(&self, key: &[u8]) -> Result<bool> {
        self.open()?;
        Ok(self.tree.meta(key)?.is_some_and(|leaf| self.is_alive(leaf.death)))
    }

    /// Resolves a leaf's value. If what it points at moved meanwhile, the leaf is read again; `None` if
    /// the key is gone by then.
    pub(crate) fn with_value(&self, key: &[u8], leaf: OwnedLeaf) -> Result<Option<(OwnedLeaf, Bytes)>> {
        let mut leaf = leaf;
        for _ in 0..POINTER_ROUNDS_MAX {
            let pointer = match &leaf.value {
                LeafData::Inline(value) => {
                    let value = value.clone();
                    return Ok(Some((leaf, value)));
                }
                LeafData::Pointer(pointer) => *pointer,
            };
            if let Some(value) = self.payload(&pointer)? {
                return Ok(Some((leaf, value)));
            }
            match self.tree.get(key)? {
                Some(again) if self.is_alive(again.death) => leaf = again,
                _ => return Ok(None),
            }
        }
        Err(self.dangling(key, &leaf))
    }

    /// The bytes at `pointer`, or `None` if its home is gone.
    fn payload(&self, pointer: &LeafPointer) -> Result<Option<Bytes>> {
        if pointer.segment == STAGING {
            return Ok(self.staging.read(pointer.offset, pointer.length));
        }
        self.payloads.read(pointer)
    }

    fn dangling(&self, key: &[u8], leaf: &OwnedLeaf) -> Error {
        let LeafData::Pointer(pointer) = &leaf.value else {
            return Error::damage("a leaf changed without end", self.env.storage.path_of(""), 0);
        };
        let file = treering_segment::sealed::file_name(pointer.segment);
        let key = String::from_utf8_lossy(&key[4..]).into_owned();
        Error::damage(
            format!("the value of key {key:?} (version {}) is not there", leaf.version),
            self.env.storage.path_of(&file),
            pointer.offset,
        )
    }
}
