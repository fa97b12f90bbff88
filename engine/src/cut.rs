//! The cut: makes the state of one moment durable outside the log, so that the log before it can go.
//! It is *not* incremental: every frame that changed since the last cut is written whole, used bytes only.
//!
//! # Terms
//! *Freeze*: the moment at which the staged prefix to destage is fixed; `lsnP` is the log's tail then.
//! *Bump*: the moment at which the epoch advances; `lsn0` is the log's tail then. *Edit*: one append to the
//! manifest. *Standing*: a segment's count of live records and bytes.
//!
//! # The steps, and the state after a crash behind each
//! 1. **Freeze** (gate closed for an instant): `lsnP`, end of the staged prefix. *Nothing on disk changed.*
//! 2. **Destage**: live staged values, sorted by key, into one sealed segment, synced; leaves re-pointed by
//!    compare-and-swap. *The segment is an orphan that the next writing open removes; the log still holds
//!    every staged byte.*
//! 3. **Bump** (gate closed for an instant): `lsn0`, standings, dirty frames, next epoch.
//! 4. **Capture**: each dirty frame as of the bump, into free space of the frames file. *Free space was
//!    overwritten; nothing durable refers to it.*
//! 5. **Sync**: frames file, then the log through `lsn0`.
//! 6. **Edit**: appended and synced. *Before: the old state with the old log. After: the new state; the log
//!    from `min(lsnP, lsn0)` on.*
//! 7. **Mark**: a record that says the edit is durable, synced. From here on a manifest that lost the edit
//!    is known to be damaged (PROTOCOL O4).
//! 8. **Release**: replaced extents, dead segments, staged prefix, log below the low-water mark. *Orphans at
//!    worst; the next writing open removes or reuses them.*
//!
//! # Invariants
//! - **C1–C4, C6, C7** of PROTOCOL. A cut that fails before step 6 puts its frames back among the dirty ones
//!   and its extents back into free space; segments already pointed at wait for the next edit.
//! - An edit whose append failed may or may not be on disk: the store is poisoned, nothing is released.

use std::sync::atomic::Ordering;
use std::time::Duration;

use treering_blobframe::{LeafPointer, STAGING};
use treering_compactor::manifest::{
    Edit, Extent, ExtentChange, ExtentKind, Manifest, NEVER, SegmentChange, SegmentMeta,
};
use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::sealed::{RecordIn, SegmentError, SegmentSummary, SegmentWriter, file_name};

use crate::error::{Error, ErrorKind, Result};
use crate::extents::{Extents, Space};
use crate::payload::Live;
use crate::staging::Staged;
use crate::state::EngineState;
use crate::store::{Store, Writing};
use crate::tree::{CutSet, LeafData};

/// What a cut owns: where the durable state is told, and where frames lie.
#[derive(Debug)]
pub(crate) struct CutSide {
    pub(crate) manifest: Manifest,
    pub(crate) extents: Extents,
    /// The engine's section of the newest durable edit.
    pub(crate) state: EngineState,
    /// What durable edits have replaced and no mark has told of yet.
    pub(crate) replaced: Vec<Space>,
    pub(crate) totals: CutTotals,
}

/// Sums over all cuts since the store was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CutTotals {
    pub(crate) cuts: u64,
    pub(crate) frame_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) last: CutStats,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutStats {
    /// The epoch whose end it is.
    pub epoch: u64,
    /// Frames written.
    pub frames_written: u64,
    /// Bytes of frame images written.
    pub frame_bytes: u64,
    /// Staged values written to a segment.
    pub values_destaged: u64,
    /// Bytes of segments written.
    pub segment_bytes: u64,
    /// Segments removed because nothing in them was live.
    pub segments_removed: u64,
    /// Bytes of log that recovery no longer needs.
    pub log_bytes_released: u64,
    /// How long it took, in whole milliseconds.
    pub elapsed: Duration,
}

/// What is fixed at the bump.
struct Bump {
    epoch: u64,
    lsn0: u64,
    set: CutSet,
    standings: Vec<Live>,
    next_frame: u64,
}

impl Store {
    /// Takes a cut now.
    pub(crate) fn cut(&self) -> Result<CutStats> {
        let writing = self.writing()?;
        let mut side = writing.cut.lock();
        // A close that held the side before this has said where the log ends.
        self.open()?;
        self.cut_holding(writing, &mut side)
    }

    /// Takes a cut; the caller holds the cutting side. One that lacks space is taken once more with the reserve's.
    pub(crate) fn cut_holding(&self, writing: &Writing, side: &mut CutSide) -> Result<CutStats> {
        match self.cut_once(writing, side) {
            Err(error) if error.kind() == ErrorKind::Full && writing.reserve.give_up()? => {
                self.cut_once(writing, side)
            }
            outcome => outcome,
        }
    }

    fn cut_once(&self, writing: &Writing, side: &mut CutSide) -> Result<CutStats> {
        let begun_ms = self.env.clock.boot_ms();
        writing.check()?;
        let (lsn_p, staged_end) = {
            let _closed = self.gate.close();
            (writing.journal.tail(), self.staging.end())
        };
        let mut stats = CutStats::default();
        self.destage(writing, staged_end, &mut stats)?;
        let mut bump = self.bump(writing)?;
        stats.epoch = bump.epoch;
        reach(CrashPoint::EpochBumped);
        let written = match self.write_frames(writing, side, &bump, &mut stats) {
            Ok(written) => written,
            Err(error) => {
                self.tree.abort_cut(bump.set.lost_if(armed(Defect::FailedCutLosesFrames)));
                return Err(error);
            }
        };
        let state = EngineState {
            low_water: if armed(Defect::LowWaterIsTheBump) { bump.lsn0 } else { lsn_p.min(bump.lsn0) },
            lsn0: bump.lsn0,
            root: self.tree.root(),
            next_frame: bump.next_frame,
            next_segment: writing.next_segment.load(Ordering::Relaxed),
            staging_base: staged_end,
            clean_end: None,
        };
        if armed(Defect::StandingsAfterTheBump) {
            bump.standings = self.payloads.standings();
        }
        let (changes, dead) = segment_changes(&bump.standings);
        let edit = Edit {
            epoch: Some(bump.epoch),
            clock_ms: Some(self.clock.now_ms()),
            extents: written.iter().map(|&(frame, extent)| ExtentChange::Set { frame, extent }).collect(),
            segments: changes,
            engine: Some(state.encode().into()),
            ..Edit::default()
        };
        self.release_too_early(writing, &dead, state)?;
        let replaced: Vec<Space> = written.iter().filter_map(|(frame, _)| side.space_of(*frame)).collect();
        let sequence = match side.manifest.append(&edit) {
            Ok(sequence) => sequence,
            Err(error) => return Err(self.edit_failed(writing, side, bump.set, &written, error)),
        };
        reach(CrashPoint::EditDurable);
        self.tree.finish_cut(bump.set);
        for live in &bump.standings {
            self.payloads.now_in_manifest(live.meta.id);
        }
        // Whatever fails from here on: the next cut does not remove them once more.
        for meta in &dead {
            self.payloads.forget(meta.id);
        }
        side.replaced.extend(replaced);
        if !armed(Defect::EditNotMarked) {
            self.mark_edit(writing, sequence)?;
        }
        reach(CrashPoint::EditMarked);
        stats.segments_removed = dead.len() as u64;
        let log_before = writing.journal.log_bytes();
        self.release(writing, side, &dead, state)?;
        stats.log_bytes_released = log_before.saturating_sub(writing.journal.log_bytes());
        stats.elapsed = Duration::from_millis(self.env.clock.boot_ms().saturating_sub(begun_ms));
        side.totals.note(stats);
        reach(CrashPoint::CutReleased);
        Ok(stats)
    }

    /// Step 2.
    fn destage(&self, writing: &Writing, staged_end: u64, stats: &mut CutStats) -> Result<()> {
        let mut live: Vec<(Staged, LeafPointer, u64, Option<u64>)> = Vec::new();
        for staged in self.staging.before(staged_end) {
            let Some(leaf) = self.tree.get(&staged.key)? else { continue };
            let LeafData::Pointer(pointer) = leaf.value else { continue };
            let current = pointer.segment == STAGING && pointer.offset == staged.offset;
            if current && (self.is_alive(leaf.death) || !self.remove_expired(&staged)?) {
                live.push((staged, pointer, leaf.version, leaf.death));
            }
        }
        if live.is_empty() {
            return Ok(());
        }
        live.sort_by(|a, b| a.0.key.cmp(&b.0.key));
        let storage = &*self.env.storage;
        // The id only has to be new; no other memory is published with it.
        let id = writing.next_segment.fetch_add(1, Ordering::Relaxed);
        let mut segment = writing.sealing(SegmentWriter::create(storage, id, self.identity.store_id, 0))?;
        let mut moved = Vec::with_capacity(live.len());
        for (staged, from, version, death) in live {
            let value = self.staging.read(staged.offset, staged.length).ok_or_else(|| {
                Error::damage("a staged value is missing", storage.path_of("ring"), staged.offset)
            })?;
            let record = RecordIn {
                key: &staged.key,
                value: &value,
                lsn: version,
                written_ms: staged.written_ms,
                death_ms: death,
            };
            let at = segment.append(&record)?;
            let to = LeafPointer { segment: id, offset: at.offset, length: from.length, crc: at.crc };
            moved.push((staged.key, from, to));
        }
        let summary = writing.sealing(segment.finish())?;
        reach(CrashPoint::SegmentSealed);
        stats.values_destaged = moved.len() as u64;
        stats.segment_bytes = summary.file_bytes;
        self.payloads.open(storage, id)?;
        self.payloads.count_in(segment_meta(&summary), false);
        for (key, from, to) in moved {
            let pass = self.gate.enter();
            if self.tree.writer(pass.epoch()).repoint(&key, &from, &to)? {
                self.payloads.gained(&to);
            }
        }
        reach(CrashPoint::LeavesRepointed);
        Ok(())
    }

    /// Removes the leaf of an expired staged value; says whether it is gone. Absent and expired are the
    /// same to every reader, so nothing is logged.
    fn remove_expired(&self, staged: &Staged) -> Result<bool> {
        let pass = self.gate.enter();
        let mut writer = self.tree.writer(pass.epoch());
        let pointer = writer.find(&staged.key)?.and_then(|leaf| leaf.pointer);
        if !pointer.is_some_and(|p| p.segment == STAGING && p.offset == staged.offset) {
            return Ok(false);
        }
        Ok(writer.remove(&staged.key)?)
    }

    /// Step 3.
    fn bump(&self, writing: &Writing) -> Result<Bump> {
        let mut closed = self.gate.close();
        let lsn0 = writing.journal.tail();
        let standings = self.payloads.standings();
        let epoch = closed.epoch();
        let set = self.tree.open_cut(closed.advance());
        Ok(Bump { epoch, lsn0, set, standings, next_frame: self.tree.next_frame_number() })
    }

    /// Steps 4 and 5. On failure the extents are free again and no edit names them.
    fn write_frames(
        &self,
        writing: &Writing,
        side: &CutSide,
        bump: &Bump,
        stats: &mut CutStats,
    ) -> Result<Vec<(u64, Extent)>> {
        let mut placed: Vec<(u64, Extent)> = Vec::new();
        let outcome = (|| -> Result<()> {
            for &number in bump.set.frames() {
                let image = self.tree.capture(&bump.set, number, &self.identity.store_id)?;
                let space = side.extents.allocate(image.bytes.len() as u64)?;
                if armed(Defect::ExtentsFreedAtCapture) {
                    side.extents.release(side.space_of(number))?;
                }
                placed.push((
                    number,
                    Extent {
                        kind: ExtentKind::Base,
                        offset: space.offset,
                        length: u32::try_from(image.bytes.len()).unwrap_or(u32::MAX),
                        epoch: image.epoch,
                        checksum: image.checksum,
                    },
                ));
                side.extents.write(space, &image.bytes)?;
                reach(CrashPoint::FrameWritten);
                stats.frames_written += 1;
                stats.frame_bytes += image.bytes.len() as u64;
            }
            if !armed(Defect::FramesNotSynced) {
                side.extents.sync().inspect_err(|error| writing.poison(&error.to_string()))?;
            }
            reach(CrashPoint::FramesSynced);
            if !armed(Defect::LogNotFlushedBeforeEdit) {
                writing.journal.flush()?;
            }
            reach(CrashPoint::CutLogFlushed);
            Ok(())
        })();
        match outcome {
            Ok(()) => Ok(placed),
            Err(error) => {
                side.extents.release(placed.iter().map(|(_, extent)| Space::from(extent)))?;
                Err(error)
            }
        }
    }

    /// A failed step 6. If the edit is certainly not on disk, everything is put back; if it may be, nothing
    /// that it releases or names can be touched again, and the store is poisoned.
    fn edit_failed(
        &self,
        writing: &Writing,
        side: &CutSide,
        set: CutSet,
        written: &[(u64, Extent)],
        error: treering_compactor::Error,
    ) -> Error {
        self.tree.abort_cut(set);
        if error.may_be_on_disk() || side.manifest.is_poisoned() {
            writing.poison(&error.to_string());
            if !armed(Defect::ExtentsFreedByDoubtfulEdit) {
                return error.into();
            }
        }
        match side.extents.release(written.iter().map(|(_, extent)| Space::from(extent))) {
            Ok(()) => error.into(),
            Err(second) => second,
        }
    }

    /// Step 7.
    fn mark_edit(&self, writing: &Writing, sequence: u64) -> Result<()> {
        writing.journal.set_durable_edit(sequence);
        // Only a cut changes the epoch, and this is the cut: the stamp is right without the gate (W4).
        let epoch = self.gate.enter().epoch();
        writing.journal.write_mark(epoch, self.clock.now_ms())?;
        Ok(())
    }

    /// Step 8. What cannot be let go is an orphan, and keeps nothing else from being let go.
    fn release(
        &self,
        writing: &Writing,
        side: &mut CutSide,
        dead: &[SegmentMeta],
        state: EngineState,
    ) -> Result<()> {
        let replaced = std::mem::take(&mut side.replaced);
        let trimmed = side.extents.release(replaced);
        let whole = armed(Defect::StagedPrefixDroppedWhole);
        self.staging.evict_to(if whole { self.staging.end() } else { state.staging_base });
        side.state = state;
        let unlinked = if armed(Defect::SegmentUnlinkedBeforeEdit) { Ok(()) } else { self.unlink(dead) };
        writing.journal.drop_below(state.low_water)?;
        trimmed.and(unlinked)
    }

    /// What two seeded defects do before the edit: the last part of step 8.
    fn release_too_early(&self, writing: &Writing, dead: &[SegmentMeta], state: EngineState) -> Result<()> {
        if armed(Defect::SegmentUnlinkedBeforeEdit) {
            self.unlink(dead)?;
        }
        if armed(Defect::LogReleasedBeforeEdit) {
            writing.journal.drop_below(state.low_water)?;
        }
        Ok(())
    }

    /// Removes the files of segments in which nothing lives, all that it can; the first failure.
    fn unlink(&self, dead: &[SegmentMeta]) -> Result<()> {
        let mut outcome = Ok(());
        for meta in dead {
            let removed = self.env.storage.remove(&file_name(meta.id)).map_err(Error::from);
            reach(CrashPoint::DeadSegmentUnlinked);
            outcome = outcome.and(removed);
        }
        outcome
    }

    /// A clean close: cut, close marker, and an edit that says where the log ends.
    pub(crate) fn cut_and_mark_clean(&self, writing: &Writing) -> Result<()> {
        let mut side = writing.cut.lock();
        self.cut_holding(writing, &mut side)?;
        // Nothing waits for a cut any more.
        writing.reserve.give_up()?;
        let epoch = self.gate.enter().epoch();
        let now = self.clock.now_ms();
        let end = writing.journal.close_clean(epoch, now)?;
        reach(CrashPoint::CloseMarked);
        let state = EngineState { clean_end: Some(end), ..side.state };
        let edit = Edit { clock_ms: Some(now), engine: Some(state.encode().into()), ..Edit::default() };
        side.manifest.append(&edit)?;
        reach(CrashPoint::CloseEdited);
        side.manifest.seal()?;
        reach(CrashPoint::CloseSealed);
        side.state = state;
        Ok(())
    }
}

impl Writing {
    /// The outcome of writing a segment: a failed sync ends the store's life, whatever it was for (F1). A lack of
    /// space that shows only then, where the device allocates late, does not.
    pub(crate) fn sealing<T>(&self, outcome: std::result::Result<T, SegmentError>) -> Result<T> {
        if let Err(SegmentError::Io(failure)) = &outcome
            && failure.is_of_sync()
            && !failure.is_out_of_space()
        {
            self.poison(&failure.to_string());
        }
        Ok(outcome?)
    }
}

impl CutSide {
    /// Where the durable image of a frame lies.
    fn space_of(&self, frame: u64) -> Option<Space> {
        self.manifest.state().extents.get(&frame)?.first().map(Space::from)
    }
}

impl CutTotals {
    fn note(&mut self, stats: CutStats) {
        self.cuts += 1;
        self.frame_bytes += stats.frame_bytes;
        self.segment_bytes += stats.segment_bytes;
        self.last = stats;
    }
}

/// What an edit says of the segments, and which of them nothing points at as of the bump.
fn segment_changes(standings: &[Live]) -> (Vec<SegmentChange>, Vec<SegmentMeta>) {
    let mut changes = Vec::new();
    let mut dead = Vec::new();
    for Live { meta, in_manifest } in standings {
        let lives = meta.live_records > 0;
        match (lives, in_manifest) {
            (true, false) if armed(Defect::SegmentNotInEdit) => {}
            (true, false) => changes.push(SegmentChange::Add(meta.clone())),
            (true, true) => changes.push(SegmentChange::Live {
                id: meta.id,
                live_records: meta.live_records,
                live_bytes: meta.live_bytes,
            }),
            (false, true) => changes.push(SegmentChange::Remove { id: meta.id }),
            (false, false) => {}
        }
        if !lives {
            dead.push(meta.clone());
        }
    }
    (changes, dead)
}

/// What the manifest keeps of a sealed segment; nothing points at it yet.
pub(crate) fn segment_meta(summary: &SegmentSummary) -> SegmentMeta {
    SegmentMeta {
        id: summary.id,
        file_bytes: summary.file_bytes,
        records: summary.records,
        value_bytes: summary.value_bytes,
        live_records: 0,
        live_bytes: 0,
        cohort: summary.cohort,
        min_death: summary.min_death.unwrap_or(NEVER),
        max_death: summary.max_death.unwrap_or(NEVER),
        root: summary.merkle_root,
    }
}
