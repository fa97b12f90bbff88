//! The `frames` file: extents that hold frame images, and the allocator over them. It is *not* the
//! frame map: which frame lies where is the manifest's to say, and the allocator is rebuilt from it.
//!
//! # Invariants
//! - **E1** An extent is a multiple of 4 KiB at a multiple of 4 KiB; live extents do not overlap and lie
//!   inside the file.
//! - **E2** A live extent is never written (PROTOCOL C7): space goes back to the allocator only after the
//!   edit that releases it is durable, or if no edit ever named it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use treering_compactor::manifest::{Extent, ExtentKind};
use treering_segment::storage::{StorageFile, WriteOp};

use crate::error::{Error, Result};

/// The file's name.
pub(crate) const FRAMES_FILE: &str = "frames";
/// The unit of allocation, in bytes.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// A range of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl From<&Extent> for Space {
    fn from(extent: &Extent) -> Self {
        Self { offset: extent.offset, length: u64::from(extent.length) }
    }
}

/// The file with its free space.
#[derive(Debug)]
pub(crate) struct Extents {
    file: Arc<dyn StorageFile>,
    free: Mutex<FreeSpace>,
}

impl Extents {
    /// Takes over the file; `live` are the extents of the durable frame map.
    pub(crate) fn over<'a>(
        file: Arc<dyn StorageFile>,
        live: impl Iterator<Item = &'a Extent>,
    ) -> Result<Self> {
        let free = FreeSpace::around(live, file.len()?).map_err(|bad| {
            Error::damage(
                "the frame map names an extent that overlaps another or the file's end",
                file.path(),
                bad,
            )
        })?;
        Ok(Self { file, free: Mutex::new(free) })
    }

    /// Finds space for `length` bytes, extending the file if need be.
    pub(crate) fn allocate(&self, length: u64) -> Result<Space> {
        let length = length.next_multiple_of(BLOCK_BYTES);
        let mut free = self.free.lock();
        if let Some(space) = free.take(length) {
            return Ok(space);
        }
        let space = Space { offset: free.end, length };
        self.file.allocate(space.offset, length)?;
        free.end += length;
        Ok(space)
    }

    /// Writes an image into space that nothing live uses.
    pub(crate) fn write(&self, space: Space, image: &[u8]) -> Result<()> {
        Ok(self.file.write(&[WriteOp { offset: space.offset, bytes: image }])?)
    }

    /// Makes all written images durable.
    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }

    /// Gives space back, and a free tail of the file back to the device.
    pub(crate) fn release(&self, spaces: impl IntoIterator<Item = Space>) -> Result<()> {
        let mut free = self.free.lock();
        for space in spaces {
            free.give(space);
        }
        if let Some(end) = free.cut_tail() {
            self.file.set_len(end)?;
        }
        Ok(())
    }

    /// Bytes of the file, and how many of them are free.
    pub(crate) fn usage(&self) -> (u64, u64) {
        let free = self.free.lock();
        (free.end, free.by_offset.values().sum())
    }
}

/// Reads a whole extent of `file`; one that passes the file's end is damage.
pub(crate) fn read_extent(file: &dyn StorageFile, extent: &Extent) -> Result<Vec<u8>> {
    let length = u64::from(extent.length);
    if extent.kind != ExtentKind::Base {
        return Err(Error::damage(
            "the frame map names a delta, which this release does not read",
            file.path(),
            extent.offset,
        ));
    }
    if extent.offset.checked_add(length).is_none_or(|end| file.len().is_ok_and(|len| end > len)) {
        return Err(Error::damage("the file ends inside an extent", file.path(), extent.offset));
    }
    let mut bytes = vec![0; extent.length as usize];
    file.read_exact_at(&mut bytes, extent.offset)?;
    Ok(bytes)
}

/// Free ranges by offset, coalesced, below the file's end.
#[derive(Debug)]
struct FreeSpace {
    by_offset: BTreeMap<u64, u64>,
    end: u64,
}

impl FreeSpace {
    /// What `live` leaves of a file of `length` bytes. The error is the offset of a bad extent.
    fn around<'a>(live: impl Iterator<Item = &'a Extent>, length: u64) -> std::result::Result<Self, u64> {
        let mut spaces: Vec<Space> = live.map(Space::from).collect();
        spaces.sort_unstable_by_key(|space| space.offset);
        let mut free = Self { by_offset: BTreeMap::new(), end: 0 };
        for space in spaces {
            let aligned =
                space.offset.is_multiple_of(BLOCK_BYTES) && space.length.is_multiple_of(BLOCK_BYTES);
            let end = space.offset.checked_add(space.length).filter(|&end| aligned && end <= length);
            let (Some(end), true) = (end, space.offset >= free.end) else { return Err(space.offset) };
            if space.offset > free.end {
                free.by_offset.insert(free.end, space.offset - free.end);
            }
            free.end = end;
        }
        let whole = length - length % BLOCK_BYTES;
        if whole > free.end {
            free.give(Space { offset: free.end, length: whole - free.end });
            free.end = whole;
        }
        Ok(free)
    }

    /// The first range that is long enough.
    fn take(&mut self, length: u64) -> Option<Space> {
        let (&offset, &found) = self.by_offset.iter().find(|&(_, &found)| found >= length)?;
        self.by_offset.remove(&offset);
        if found > length {
            self.by_offset.insert(offset + length, found - length);
        }
        Some(Space { offset, length })
    }

    fn give(&mut self, space: Space) {
        let mut space = space;
        if let Some((&before, &length)) = self.by_offset.range(..space.offset).next_back()
            && before + length == space.offset
        {
            self.by_offset.remove(&before);
            space = Space { offset: before, length: length + space.length };
        }
        if let Some(length) = self.by_offset.remove(&(space.offset + space.length)) {
            space.length += length;
        }
        self.by_offset.insert(space.offset, space.length);
    }

    /// Removes a free range at the end; returns the new end if there was one.
    fn cut_tail(&mut self) -> Option<u64> {
        let (&offset, &length) = self.by_offset.last_key_value()?;
        if offset + length != self.end {
            return None;
        }
        self.by_offset.remove(&offset);
        self.end = offset;
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(offset: u64, length: u32) -> Extent {
        Extent { kind: ExtentKind::Base, offset, length, epoch: 1, checksum: 0 }
    }

    #[test]
    fn freed_neighbours_coalesce_and_a_free_tail_is_cut() {
        let live = [extent(0, 4096), extent(8192, 4096)];
        let mut free = FreeSpace::around(live.iter(), 16384).expect("no overlap");
        assert_eq!(free.by_offset, BTreeMap::from([(4096, 4096), (12288, 4096)]));
        free.give(Space { offset: 8192, length: 4096 });
        assert_eq!(free.by_offset, BTreeMap::from([(4096, 12288)]));
        assert_eq!(free.take(8192), Some(Space { offset: 4096, length: 8192 }));
        assert_eq!(free.cut_tail(), Some(12288));
    }

    #[test]
    fn overlapping_misaligned_and_outlying_extents_are_refused() {
        for live in [
            [extent(0, 8192), extent(4096, 4096)],
            [extent(0, 4096), extent(5000, 4096)],
            [extent(0, 4096), extent(8192, 4096)],
        ] {
            assert!(FreeSpace::around(live.iter(), 8192).is_err(), "{live:?}");
        }
    }
}
