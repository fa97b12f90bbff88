//! One file's bytes in the simulation: what the device surely holds, and what it may hold.
//!
//! A sector of 512 bytes is old or new, never mixed (PROTOCOL F3). Between two syncs a sector may be
//! written several times; the device may have taken any of these versions, or none.
//!
//! - **N1** What a crash leaves of a sector is its durable version or one written since.
//! - **N2** A successful sync makes the newest version of what was written since the last sync durable.
//! - **N3** A failed sync makes those versions *forgotten*: they may be on the device or not, and no
//!   later sync brings them there unless they are written again. (Linux marks the pages clean, and may
//!   evict them: then they read as what the device has.)

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use treering_segment::error::IoFailure;
use treering_segment::storage::StorageFile;

use crate::random::Random;

/// Bytes that the device writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;
const SECTOR: u64 = SECTOR_BYTES as u64;
/// Versions of a sector kept between two syncs; older ones are not offered to a crash.
const VERSIONS_MAX: usize = 4;

type Sector = Arc<[u8; SECTOR_BYTES]>;
type Versions = BTreeMap<u64, Vec<Sector>>;

/// A sector that was never written.
const ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];

/// What a crash does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    All,
    None,
    /// Each sector or name by itself is kept with this likelihood, in percent.
    EachByItself(u64),
}

impl Loss {
    pub(super) fn draw(random: &mut Random) -> Loss {
        match random.below(8) {
            0 | 1 => Loss::All,
            2 | 3 => Loss::None,
            4 => Loss::EachByItself(10),
            5 => Loss::EachByItself(90),
            _ => Loss::EachByItself(50),
        }
    }

    /// Whether a change is kept.
    pub(super) fn keeps(self, random: &mut Random) -> bool {
        match self {
            Loss::All => false,
            Loss::None => true,
            Loss::EachByItself(percent) => random.percent(percent),
        }
    }
}

/// A file, named or not.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// What a running process sees.
    pub(super) live: Arc<dyn StorageFile>,
    durable: BTreeMap<u64, Sector>,
    durable_len: u64,
    forgotten: Versions,
    forgotten_len: Vec<u64>,
    pending: Versions,
    pending_len: Vec<u64>,
    /// Ranges of sectors that a process may write through a mapping.
    mapped: Vec<(u64, u64)>,
    /// The bytes of a mapped file as they were when the disk died.
    pub(super) frozen: Option<Vec<u8>>,
}

impl Inode {
    /// An empty file, durably so once its name is.
    pub(super) fn new(live: Arc<dyn StorageFile>) -> Self {
        Self {
            live,
            durable: BTreeMap::new(),
            durable_len: 0,
            forgotten: BTreeMap::new(),
            forgotten_len: Vec::new(),
            pending: BTreeMap::new(),
            pending_len: Vec::new(),
            mapped: Vec::new(),
            frozen: None,
        }
    }

    /// The same standing for a running view that shows the same bytes.
    pub(super) fn with_live(&self, live: Arc<dyn StorageFile>) -> Self {
        Self { live, mapped: Vec::new(), frozen: None, ..self.clone() }
    }

    /// Notes that `offset..offset + len` has new bytes, and perhaps the file a new length.
    pub(super) fn note_change(&mut self, offset: u64, len: u64) -> Result<(), IoFailure> {
        if len > 0 {
            let (start, end) = (offset / SECTOR, offset.saturating_add(len).div_ceil(SECTOR));
            let bytes = self.live_sectors(start, end)?;
            for (index, sector) in (start..end).zip(bytes.chunks_exact(SECTOR_BYTES)) {
                self.push(index, sector);
            }
        }
        self.note_len()
    }

    /// Notes the file's length, if it is new.
    pub(super) fn note_len(&mut self) -> Result<(), IoFailure> {
        let len = self.live.len()?;
        let newest =
            self.pending_len.last().or(self.forgotten_len.last()).copied().unwrap_or(self.durable_len);
        if newest != len {
            self.pending_len.push(len);
        }
        Ok(())
    }

    pub(super) fn note_map(&mut self, offset: u64, len: u64) {
        self.mapped.push((offset / SECTOR, (offset + len).div_ceil(SECTOR)));
    }

    /// Takes up what was written through mappings.
    pub(super) fn absorb_mapped(&mut self) -> Result<(), IoFailure> {
        for (start, end) in self.mapped.clone() {
            let bytes = self.live_sectors(start, end)?;
            for (index, sector) in (start..end).zip(bytes.chunks_exact(SECTOR_BYTES)) {
                if self.newest(index).map_or(&ZEROS[..], |newest| &newest[..]) != sector {
                    self.push(index, sector);
                }
            }
        }
        Ok(())
    }

    /// Takes up what was written through mappings so far, and nothing of it any more.
    pub(super) fn freeze(&mut self) -> Result<(), IoFailure> {
        if !self.mapped.is_empty() {
            self.absorb_mapped()?;
            self.mapped.clear();
            let mut bytes = vec![0; usize::try_from(self.live.len()?).unwrap_or(0)];
            self.live.read_exact_at(&mut bytes, 0)?;
            self.frozen = Some(bytes);
        }
        Ok(())
    }

    /// A sync that succeeds (N2).
    pub(super) fn sync(&mut self) -> Result<(), IoFailure> {
        self.absorb_mapped()?;
        for (index, versions) in std::mem::take(&mut self.pending) {
            self.forgotten.remove(&index);
            if let Some(newest) = versions.last() {
                self.durable.insert(index, Arc::clone(newest));
            }
        }
        self.durable_len = self.live.len()?;
        self.pending_len.clear();
        self.forgotten_len.clear();
        self.durable.split_off(&self.durable_len.div_ceil(SECTOR));
        Ok(())
    }

    /// A sync that fails (N3).
    pub(super) fn fail_sync(&mut self) -> Result<(), IoFailure> {
        self.absorb_mapped()?;
        for (index, versions) in std::mem::take(&mut self.pending) {
            self.forgotten.entry(index).or_default().extend(versions);
        }
        self.forgotten_len.append(&mut self.pending_len);
        Ok(())
    }

    /// Whether a failed sync has left something behind.
    pub(super) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// The page cache drops clean pages: of forgotten sectors some are read anew, as the device has them.
    pub(super) fn evict(&mut self, random: &mut Random) -> Result<(), IoFailure> {
        for (index, mut versions) in std::mem::take(&mut self.forgotten) {
            if self.pending.contains_key(&index) || random.percent(50) {
                self.forgotten.insert(index, versions);
                continue;
            }
            versions.push(self.durable_sector(index));
            let found = versions.swap_remove(random.index(versions.len()));
            let start = index * SECTOR;
            let inside = usize::try_from(self.live.len()?.saturating_sub(start).min(SECTOR)).unwrap_or(0);
            if inside > 0 {
                self.live.write_all_at(&found[..inside], start)?;
            }
            self.durable.insert(index, found);
        }
        Ok(())
    }

    /// The bytes that a crash leaves (N1).
    pub(super) fn after_crash(&self, loss: Loss, random: &mut Random) -> Vec<u8> {
        let lens: Vec<u64> =
            [self.durable_len].iter().chain(&self.forgotten_len).chain(&self.pending_len).copied().collect();
        let len = pick(&lens, loss, random);
        let mut bytes = vec![0u8; usize::try_from(len).unwrap_or(0)];
        let mut indexes: Vec<u64> = self.durable.keys().copied().collect();
        indexes.extend(self.forgotten.keys().chain(self.pending.keys()));
        indexes.sort_unstable();
        indexes.dedup();
        for index in indexes {
            let mut choices = vec![self.durable_sector(index)];
            choices.extend(self.forgotten.get(&index).into_iter().flatten().cloned());
            choices.extend(self.pending.get(&index).into_iter().flatten().cloned());
            let sector = pick(&choices, loss, random);
            let start = usize::try_from(index * SECTOR).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(SECTOR_BYTES).min(bytes.len());
            bytes[start..end].copy_from_slice(&sector[..end - start]);
        }
        bytes
    }

    /// The bytes that the device surely holds.
    pub(super) fn durable_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; usize::try_from(self.durable_len).unwrap_or(0)];
        for (index, sector) in &self.durable {
            let start = usize::try_from(index * SECTOR).unwrap_or(usize::MAX).min(bytes.len());
            let end = start.saturating_add(SECTOR_BYTES).min(bytes.len());
            bytes[start..end].copy_from_slice(&sector[..end - start]);
        }
        bytes
    }

    /// Whether a crash leaves `bytes` as they are.
    pub(super) fn is_range_durable(&self, bytes: Range<u64>) -> bool {
        let sectors = || bytes.start / SECTOR..bytes.end.div_ceil(SECTOR);
        let untouched = |versions: &Versions| versions.range(sectors()).next().is_none();
        let lens = [self.durable_len].into_iter();
        let lens = lens.chain(self.forgotten_len.iter().copied()).chain(self.pending_len.iter().copied());
        bytes.is_empty()
            || (untouched(&self.pending)
                && untouched(&self.forgotten)
                && lens.min().is_some_and(|shortest| shortest >= bytes.end))
    }

    /// Whether a crash could leave anything but what a sync left.
    pub(super) fn is_durable(&self) -> bool {
        self.pending.is_empty()
            && self.forgotten.is_empty()
            && self.pending_len.is_empty()
            && self.forgotten_len.is_empty()
    }

    fn push(&mut self, index: u64, bytes: &[u8]) {
        let mut sector = [0; SECTOR_BYTES];
        sector.copy_from_slice(bytes);
        let versions = self.pending.entry(index).or_default();
        if versions.len() == VERSIONS_MAX {
            versions.remove(0);
        }
        versions.push(Arc::new(sector));
    }

    /// The newest version that is known; none stands for zeros.
    fn newest(&self, index: u64) -> Option<&Sector> {
        let pending = self.pending.get(&index).and_then(|versions| versions.last());
        let forgotten = || self.forgotten.get(&index).and_then(|versions| versions.last());
        pending.or_else(forgotten).or_else(|| self.durable.get(&index))
    }

    fn durable_sector(&self, index: u64) -> Sector {
        self.durable.get(&index).cloned().unwrap_or_else(|| Arc::new([0; SECTOR_BYTES]))
    }

    /// Sectors as a process sees them; zeros beyond the end.
    fn live_sectors(&self, start: u64, end: u64) -> Result<Vec<u8>, IoFailure> {
        let bytes = |sectors: u64| usize::try_from(sectors.saturating_mul(SECTOR)).unwrap_or(usize::MAX);
        let mut sectors = vec![0u8; bytes(end - start)];
        let inside = self.live.len()?.saturating_sub(start * SECTOR);
        let inside = usize::try_from(inside).unwrap_or(usize::MAX).min(sectors.len());
        if inside > 0 {
            self.live.read_exact_at(&mut sectors[..inside], start * SECTOR)?;
        }
        Ok(sectors)
    }
}

/// One of `choices`, oldest first, as `loss` has it.
fn pick<T: Clone>(choices: &[T], loss: Loss, random: &mut Random) -> T {
    let newest = choices.len() - 1;
    let index = if !loss.keeps(random) {
        0
    } else if loss == Loss::None || random.percent(70) {
        newest
    } else {
        random.index(newest).max(newest.min(1))
    };
    choices[index].clone()
}
