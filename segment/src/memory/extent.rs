//! The bytes of one file in memory: zeroed, page-aligned extents that tile it, and regions that
//! share them.
//!
//! - **M1** Extents tile `0..capacity` without gap or overlap; starts and lengths are multiples of
//!   4096; the file's length is at most the capacity; bytes past the length are zero.
//! - **M2** An extent never moves, and lives as long as the contents or a region refer to it.
//! - **M3** Extents are replaced (by one larger) only while no region refers to them.
//! - **M4** The contents are read under a shared lock and changed under an exclusive one. What a
//!   writable region's owner does is beside that lock: such an extent is from then on accessed byte
//!   by byte, as atomics.
#![expect(unsafe_code, reason = "regions hand out raw memory that the file goes on using")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::{self, NonNull};

use crate::storage::{MapAccess, Region};
use crate::sync::{Arc, AtomicBool, AtomicU8, Ordering};

const PAGE: usize = 4096;

/// Growth is geometric up to this much at a time.
const LARGEST_STEP: u64 = 4 << 20;

#[derive(Debug)]
struct Extent {
    start: NonNull<u8>,
    len: usize,
    /// Whether a writable region was ever made of it (M4).
    shared: AtomicBool,
}

// SAFETY: the pointer is to memory that the extent owns; access to it follows M4.
unsafe impl Send for Extent {}
// SAFETY: as above.
unsafe impl Sync for Extent {}

impl Extent {
    /// `len` zeros; a multiple of the page, and not none.
    fn zeroed(len: u64) -> io::Result<Arc<Self>> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let layout = Self::layout(len)?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arc::new(Self { start, len, shared: AtomicBool::new(false) }))
    }

    fn layout(len: usize) -> io::Result<Layout> {
        assert!(len > 0 && len.is_multiple_of(PAGE), "an extent is whole pages (M1)");
        Layout::from_size_align(len, PAGE).map_err(|_| io::ErrorKind::OutOfMemory.into())
    }

    /// The address of byte `at`.
    fn at(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "inside the extent");
        self.start.as_ptr().wrapping_add(at)
    }

    /// The bytes as atomics, for an extent that a region's owner may be writing.
    fn atomics(&self, at: usize, len: usize) -> &[AtomicU8] {
        let start = self.at(at, len).cast::<AtomicU8>();
        // SAFETY: the range lies inside the extent, which outlives the borrow (M2), and is accessed
        // as atomics by everybody here while it is shared (M4).
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Relaxed everywhere: the lock of the contents orders this file's own accesses, and a region's
    /// owner brings its own ordering.
    fn load(&self, at: usize, into: &mut [u8]) {
        if self.shared.load(Ordering::Relaxed) {
            let atomics = self.atomics(at, into.len());
            for (byte, atomic) in into.iter_mut().zip(atomics) {
                *byte = atomic.load(Ordering::Relaxed);
            }
        } else {
            let from = self.at(at, into.len());
            // SAFETY: inside the extent; no writer runs beside the shared lock (M4); `into` is
            // borrowed exclusively, so the two do not overlap.
            unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
        }
    }

    /// Relaxed as in `load`.
    fn store(&self, at: usize, bytes: &[u8]) {
        if self.shared.load(Ordering::Relaxed) {
            for (atomic, byte) in self.atomics(at, bytes.len()).iter().zip(bytes) {
                atomic.store(*byte, Ordering::Relaxed);
            }
        } else {
            let to = self.at(at, bytes.len());
            // SAFETY: inside the extent; the exclusive lock is held (M4); a caller's slice does not
            // overlap bytes that its own write replaces while they are borrowed.
            unsafe { ptr::copy(bytes.as_ptr(), to, bytes.len()) }
        }
    }

    fn zero(&self, at: usize, len: usize) {
        if self.shared.load(Ordering::Relaxed) {
            self.atomics(at, len).iter().for_each(|atomic| atomic.store(0, Ordering::Relaxed));
        } else {
            let to = self.at(at, len);
            // SAFETY: inside the extent, under the exclusive lock (M4).
            unsafe { ptr::write_bytes(to, 0, len) }
        }
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        if let Ok(layout) = Self::layout(self.len) {
            // SAFETY: allocated in `zeroed` with this layout, and nobody refers to it any more (M2).
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

#[derive(Debug)]
struct Placed {
    start: u64,
    extent: Arc<Extent>,
}

impl Placed {
    fn end(&self) -> u64 {
        self.start + self.extent.len as u64
    }
}

/// The bytes of one file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    len: u64,
    extents: Vec<Placed>,
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if end > self.len && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = buffer;
        self.pieces(offset, rest.len() as u64, |extent, at, len| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len);
            extent.load(at, now);
            rest = later;
        });
        Ok(())
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.reserve(end)?;
        let mut rest = bytes;
        self.pieces(offset, bytes.len() as u64, |extent, at, len| {
            let (now, later) = rest.split_at(len);
            extent.store(at, now);
            rest = later;
        });
        self.len = self.len.max(end);
        Ok(())
    }

    pub(super) fn allocate(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        if len > 0 {
            self.reserve(end)?;
            self.len = self.len.max(end);
        }
        Ok(())
    }

    /// Zeros what of the range lies inside the file.
    pub(super) fn zero(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.len);
        self.pieces(offset, end.saturating_sub(offset), Extent::zero);
    }

    pub(super) fn set_len(&mut self, len: u64) -> io::Result<()> {
        if len > self.len {
            self.reserve(len)?;
        } else {
            self.zero(len, self.len - len);
            while self.extents.last().is_some_and(|p| p.start >= len && Arc::strong_count(&p.extent) == 1) {
                self.extents.pop();
            }
        }
        self.len = len;
        Ok(())
    }

    pub(super) fn map(&mut self, offset: u64, len: usize, access: MapAccess) -> io::Result<MemoryRegion> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        if !offset.is_multiple_of(PAGE as u64) {
            return Err(invalid("the offset is no multiple of 4096"));
        }
        let end = offset.checked_add(len as u64).filter(|&end| end <= self.len);
        let end = end.ok_or_else(|| invalid("the range reaches past the end of the file"))?;
        if len == 0 {
            return Ok(MemoryRegion { extent: Extent::zeroed(PAGE as u64)?, at: 0, len: 0 });
        }
        let index = self.unite(offset, end)?;
        let placed = &self.extents[index];
        if access == MapAccess::ReadWrite {
            // Relaxed: stored under the exclusive lock, read under the shared one.
            placed.extent.shared.store(true, Ordering::Relaxed);
        }
        let at = usize::try_from(offset - placed.start).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(MemoryRegion { extent: Arc::clone(&placed.extent), at, len })
    }

    fn capacity(&self) -> u64 {
        self.extents.last().map_or(0, Placed::end)
    }

    /// Adds zeros until the capacity is at least `end`.
    fn reserve(&mut self, end: u64) -> io::Result<()> {
        let capacity = self.capacity();
        if end <= capacity {
            return Ok(());
        }
        let step = (end - capacity).max(capacity.min(LARGEST_STEP));
        let step = step.checked_next_multiple_of(PAGE as u64).ok_or(io::ErrorKind::InvalidInput)?;
        capacity.checked_add(step).ok_or(io::ErrorKind::InvalidInput)?;
        let extent = Extent::zeroed(step)?;
        self.extents.push(Placed { start: capacity, extent });
        Ok(())
    }

    /// Makes one extent hold all of `offset..end`, which lies inside the file and is not empty.
    fn unite(&mut self, offset: u64, end: u64) -> io::Result<usize> {
        let first = self.extents.partition_point(|p| p.end() <= offset);
        let behind = self.extents.partition_point(|p| p.start < end);
        let parts = &self.extents[first..behind];
        if parts.len() == 1 {
            return Ok(first);
        }
        if parts.iter().any(|p| Arc::strong_count(&p.extent) > 1) {
            let why = "part of the range is mapped already, in another cut";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let start = parts[0].start;
        let united = Extent::zeroed(parts[parts.len() - 1].end() - start)?;
        let mut at = 0;
        for part in parts {
            let from = part.extent.at(0, part.extent.len);
            let to = united.at(at, part.extent.len);
            // SAFETY: both ranges lie inside their extents, which are two; nobody else refers to
            // either (M3).
            unsafe { ptr::copy_nonoverlapping(from, to, part.extent.len) };
            at += part.extent.len;
        }
        self.extents.splice(first..behind, [Placed { start, extent: united }]);
        Ok(first)
    }

    /// Calls `visit(extent, position in it, length)` for the parts of a range inside the capacity.
    fn pieces(&self, offset: u64, len: u64, mut visit: impl FnMut(&Extent, usize, usize)) {
        let end = offset.saturating_add(len);
        let first = self.extents.partition_point(|p| p.end() <= offset);
        for placed in &self.extents[first..] {
            let from = offset.max(placed.start);
            let to = end.min(placed.end());
            if from >= to {
                break;
            }
            let bounds = (usize::try_from(from - placed.start), usize::try_from(to - from));
            if let (Ok(at), Ok(len)) = bounds {
                visit(&placed.extent, at, len);
            }
        }
    }
}

/// A range of an extent.
#[derive(Debug)]
pub(super) struct MemoryRegion {
    extent: Arc<Extent>,
    at: usize,
    len: usize,
}

// SAFETY: the range lies inside an extent that the region keeps alive and that never moves (M2, M3).
unsafe impl Region for MemoryRegion {
    fn as_ptr(&self) -> *mut u8 {
        self.extent.at(self.at, self.len)
    }

    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(len: usize) -> (Contents, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut contents = Contents::default();
        for (i, piece) in bytes.chunks(1000).enumerate() {
            contents.write(i as u64 * 1000, piece).unwrap();
        }
        (contents, bytes)
    }

    #[test]
    fn extents_tile_the_file_and_give_back_what_was_written() {
        let (contents, bytes) = written(100_000);
        assert!(contents.extents.len() > 1);
        let mut end = 0;
        for placed in &contents.extents {
            assert_eq!(placed.start, end);
            end = placed.end();
        }
        let mut back = vec![0; 70_000];
        contents.read(11_111, &mut back).unwrap();
        assert_eq!(back, bytes[11_111..81_111]);
    }

    #[test]
    fn a_map_unites_extents_and_later_growth_keeps_it_in_place() {
        let (mut contents, bytes) = written(100_000);
        let region = contents.map(4096, 90_000, MapAccess::ReadWrite).unwrap();
        // SAFETY: the region is alive, and nobody writes it now.
        let first = unsafe { std::slice::from_raw_parts(region.as_ptr(), region.len()) }.to_vec();
        assert_eq!(first, bytes[4096..94_096]);
        contents.write(100_000, &vec![7; 1_000_000]).unwrap();
        contents.write(4096, &[9]).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { *region.as_ptr() }, 9);
        let across = contents.map(0, 1_000_000, MapAccess::Read).unwrap_err();
        assert_eq!(across.kind(), io::ErrorKind::Unsupported);
        drop(region);
        contents.map(0, 1_000_000, MapAccess::Read).unwrap();
    }

    #[test]
    fn a_region_still_shows_the_file_after_it_was_cut_and_grown_again() {
        let (mut contents, _) = written(100_000);
        let last = contents.extents.last().unwrap().start;
        let region = contents.map(last, 10, MapAccess::Read).unwrap();
        contents.set_len(0).unwrap();
        // SAFETY: the region is alive, and nobody writes it now.
        assert_eq!(unsafe { *region.as_ptr() }, 0);
        contents.write(last, &[8]).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { *region.as_ptr() }, 8);
    }

    #[test]
    fn what_was_cut_off_reads_as_zeros_when_the_file_grows_again() {
        let (mut contents, _) = written(20_000);
        contents.set_len(5000).unwrap();
        contents.set_len(20_000).unwrap();
        let mut back = vec![1; 15_000];
        contents.read(5000, &mut back).unwrap();
        assert!(back.iter().all(|&b| b == 0));
    }
}
