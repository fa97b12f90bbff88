//! One cycle of compaction: drop what is wholly dead, rewrite what is partly dead, within a budget of
//! bytes written. It starts no thread and keeps nothing between cycles: the catalogue says what is left.
//!
//! # Two ways to know what is alive
//! *With an index* ([`Liveness`]) the index alone says what exists; segments are mere payload, and no
//! record shadows another. *Alone*, the segments are the store: the highest LSN of a key wins, and a
//! tombstone or an expired record hides older versions of its key in other segments.
//!
//! # Algorithm
//! 1. Segments of which every record is past its death, or that nothing refers to, leave by one edit
//!    that carries the clock; then their files are unlinked. They are not read. (Alone, an expired
//!    segment's footer is read, as it may hide older versions; if it may, it is rewritten instead.)
//! 2. The segments with garbage of each cohort are merged into one new segment, cohort by cohort, until
//!    the budget is spent: write and sync the output; check its Merkle root against what is read back; have the
//!    index re-pointed; one edit adds the output and removes the inputs; unlink the inputs.
//!
//! # Invariants
//! - **K1** An output is durable before the edit that adds it, an input is unlinked after the edit that
//!   removes it is. A crash in between leaves an orphan, which [`remove_orphans`] takes at open.
//! - **K2** A pinned segment is neither removed nor rewritten.
//! - **K3** When the budget is spent, the record under way is finished and no other is begun. Inputs
//!   that were not read to their end stay; what was copied from them counts as dead in them, and as the
//!   copy has the same LSN in a younger segment, the next cycle finds it dead and resumes behind it.
//! - **K4** Alone, a tombstone (or an expired record, which becomes one) is left out only if every
//!   input is sure to go and no other segment holds an older version of its key. So a delete never
//!   resurrects and an old value never returns.
//! - **K5** If the edit fails, outputs stay: the index may point to them (PROTOCOL C6).

use std::collections::{BTreeMap, BTreeSet};

use treering_segment::error::Damage;
use treering_segment::sealed::{
    RecordIn, RecordPointer, SegmentError, SegmentReader, SegmentSummary, SegmentWriter, file_name, id_of,
};
use treering_segment::storage::Storage;

use crate::cohort::{CohortInfo, identify_cohorts};
use crate::error::{Error, Result};
use crate::manifest::{Edit, Manifest, NEVER, SegmentChange, SegmentMeta, State};
use crate::merge::{Merge, Version, Versions, is_expired};

/// An index that says which records exist and where; the engine's tree.
pub trait Liveness {
    /// Whether the index, or a snapshot, refers to the record of `key` at `lsn` in `segment`.
    fn is_live(&mut self, key: &[u8], lsn: u64, segment: u64) -> Result<bool>;

    /// Re-points the record of `key` at `lsn` from one place to another, if it is still at the first.
    /// False if it has moved on; then the copy is dead.
    fn relocate(
        &mut self,
        key: &[u8],
        lsn: u64,
        from: (u64, RecordPointer),
        to: (u64, RecordPointer),
    ) -> Result<bool>;
}

/// What a cycle works with.
pub struct Cycle<'a> {
    /// The store's directory.
    pub storage: &'a dyn Storage,
    /// The store.
    pub store_id: [u8; 16],
    /// The id of the next segment; a cycle takes ids from here and moves it on (PROTOCOL O6).
    pub next_segment: u64,
    /// The most bytes of values that one cycle writes, exceeded by at most one record.
    pub budget_bytes: u64,
    /// The index; `None` if the segments are all there is.
    pub liveness: Option<&'a mut dyn Liveness>,
}

/// What a cycle did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// Cohorts that went as a whole, or of which every segment with dead records was rewritten.
    pub cohorts_collected: u64,
    /// Segments that left the catalogue.
    pub segments_removed: u64,
    /// Segments that were written.
    pub segments_written: u64,
    /// Bytes of values that were written.
    pub bytes_written: u64,
    /// Records that were copied.
    pub live_records_relocated: u64,
}

impl SegmentMeta {
    /// What the catalogue says of a segment that has just been sealed, all alive.
    pub fn sealed(summary: &SegmentSummary) -> SegmentMeta {
        SegmentMeta {
            id: summary.id,
            file_bytes: summary.file_bytes,
            records: summary.records,
            value_bytes: summary.value_bytes,
            live_records: summary.records,
            live_bytes: summary.value_bytes,
            cohort: summary.cohort,
            min_death: summary.min_death.unwrap_or(NEVER),
            max_death: summary.max_death.unwrap_or(NEVER),
            root: summary.merkle_root,
        }
    }

    /// Whether any record is known to be dead.
    pub fn has_garbage(&self) -> bool {
        self.live_bytes < self.value_bytes || self.live_records < self.records
    }

    /// Whether every record is past its death at `now_ms`.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.max_death != NEVER && self.max_death <= now_ms
    }
}

/// Runs one cycle over the catalogue at `now_ms`, sparing the segments in `pinned`.
pub fn compact_cycle(
    manifest: &mut Manifest,
    now_ms: u64,
    pinned: &BTreeSet<u64>,
    cycle: &mut Cycle<'_>,
) -> Result<CompactionStats> {
    let mut stats = CompactionStats::default();
    drop_the_dead(manifest, now_ms, pinned, cycle, &mut stats)?;
    // Wholly live segments of a cohort are left alone, the outputs of earlier cycles among them (K3).
    let inputs = manifest.state().segments.values().filter(|meta| !pinned.contains(&meta.id));
    let inputs = inputs.filter(|meta| meta.has_garbage() || meta.is_expired(now_ms));
    for cohort in &identify_cohorts(inputs, now_ms) {
        if stats.bytes_written >= cycle.budget_bytes {
            break;
        }
        rewrite_cohort(manifest, cohort, now_ms, cycle, &mut stats)?;
    }
    Ok(stats)
}

/// Removes the segment files that `state` does not name and `keep` does not claim, and says which. Only
/// for the exclusive opener.
pub fn remove_orphans(storage: &dyn Storage, state: &State, keep: &dyn Fn(u64) -> bool) -> Result<Vec<u64>> {
    let ids: Vec<u64> = storage.list()?.iter().filter_map(|name| id_of(name)).collect();
    let orphans: Vec<u64> =
        ids.into_iter().filter(|id| !state.segments.contains_key(id) && !keep(*id)).collect();
    for id in &orphans {
        storage.remove(&file_name(*id))?;
    }
    Ok(orphans)
}

/// Step 1: everything that can go without being read.
fn drop_the_dead(
    manifest: &mut Manifest,
    now_ms: u64,
    pinned: &BTreeSet<u64>,
    cycle: &Cycle<'_>,
    stats: &mut CompactionStats,
) -> Result<()> {
    let segments = &manifest.state().segments;
    let mut dead: Vec<u64> = Vec::new();
    for meta in segments.values().filter(|meta| !pinned.contains(&meta.id)) {
        let gone = meta.live_records == 0;
        if gone || (meta.is_expired(now_ms) && !may_hide_others(meta, segments, cycle)?) {
            dead.push(meta.id);
        }
    }
    if dead.is_empty() {
        return Ok(());
    }
    let touched: BTreeSet<u64> = dead.iter().filter_map(|id| segments.get(id)).map(|m| m.cohort).collect();
    let segments = dead.iter().map(|id| SegmentChange::Remove { id: *id }).collect();
    manifest.append(&Edit { segments, clock_ms: Some(now_ms), ..Edit::default() })?;
    let left = |cohort: &&u64| !manifest.state().segments.values().any(|meta| meta.cohort == **cohort);
    stats.cohorts_collected += touched.iter().filter(left).count() as u64;
    stats.segments_removed += dead.len() as u64;
    unlink(cycle.storage, &dead)
}

/// Whether an expired segment could hide an older version of one of its keys: alone, if another segment
/// has older records and keys in its range.
fn may_hide_others(meta: &SegmentMeta, all: &BTreeMap<u64, SegmentMeta>, cycle: &Cycle<'_>) -> Result<bool> {
    if cycle.liveness.is_some() {
        return Ok(false);
    }
    let own = SegmentReader::open(cycle.storage, meta.id, cycle.store_id)?.summary().clone();
    for other in all.keys().filter(|id| **id != meta.id) {
        let other = SegmentReader::open(cycle.storage, *other, cycle.store_id)?;
        if overlaps(&own, other.summary()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `other` has keys in the range of `own` and anything older than its newest.
fn overlaps(own: &SegmentSummary, other: &SegmentSummary) -> bool {
    let keys = match (&own.key_range, &other.key_range) {
        (Some((first, last)), Some((other_first, other_last))) => first <= other_last && other_first <= last,
        _ => false,
    };
    let older = match (own.lsn_range, other.lsn_range) {
        (Some((_, newest)), Some((oldest, _))) => oldest < newest,
        _ => false,
    };
    keys && older
}

/// A record that was copied.
struct Move {
    key: bytes::Bytes,
    lsn: u64,
    from: (u64, RecordPointer),
    to: RecordPointer,
}

/// A rewrite under way.
struct Rewrite<'c> {
    now_ms: u64,
    /// Whether the budget is sure to last, so that every input goes (K4).
    whole: bool,
    budget_bytes: u64,
    bytes_written: u64,
    writer: Option<SegmentWriter<'c>>,
    moves: Vec<Move>,
    /// Records taken from each input, and their bytes: tombstones too.
    copied: BTreeMap<u64, (u64, u64)>,
    /// Alone: the segments that are not inputs.
    others: Vec<(u64, SegmentReader)>,
}

/// What becomes of a key.
enum Verdict {
    Leave,
    Copy(Version),
    Tombstone(Version),
}

impl Rewrite<'_> {
    fn judge(&self, key: Versions, liveness: &mut Option<&mut dyn Liveness>) -> Result<Verdict> {
        let Some(index) = liveness else { return self.judge_alone(key) };
        for version in key.versions {
            let record = &version.record;
            let there = !record.tombstone && !is_expired(record, self.now_ms);
            if there && index.is_live(&record.key, record.lsn, version.segment)? {
                return Ok(Verdict::Copy(version));
            }
        }
        Ok(Verdict::Leave)
    }

    fn judge_alone(&self, key: Versions) -> Result<Verdict> {
        let Some(newest) = key.versions.into_iter().next() else { return Ok(Verdict::Leave) };
        let mut older_elsewhere = false;
        for (segment, reader) in &self.others {
            let Some(other) = reader.get(&newest.record.key)? else { continue };
            if (other.lsn, *segment) > (newest.record.lsn, newest.segment) {
                return Ok(Verdict::Leave);
            }
            older_elsewhere = true;
        }
        let there = !newest.record.tombstone && !is_expired(&newest.record, self.now_ms);
        Ok(match (there, self.whole && !older_elsewhere) {
            (true, _) => Verdict::Copy(newest),
            (false, true) => Verdict::Leave,
            (false, false) => Verdict::Tombstone(newest),
        })
    }

    /// Writes what `verdict` says, to the output, which is made when it is first needed.
    fn carry_out<'c>(
        writer: &mut Option<SegmentWriter<'c>>,
        verdict: &Verdict,
        make: impl FnOnce() -> Result<SegmentWriter<'c>, SegmentError>,
    ) -> Result<Option<RecordPointer>> {
        let (Verdict::Copy(version) | Verdict::Tombstone(version)) = verdict else { return Ok(None) };
        if writer.is_none() {
            *writer = Some(make()?);
        }
        let Some(output) = writer.as_mut() else { return Ok(None) };
        let record = &version.record;
        let pointer = match verdict {
            Verdict::Tombstone(_) => {
                output.append_tombstone(&record.key, record.lsn, record.written_ms, None)?;
                None
            }
            _ => {
                let value = record.value()?;
                let (key, value) = (&record.key[..], &value[..]);
                let (lsn, written_ms, death_ms) = (record.lsn, record.written_ms, record.death_ms);
                Some(output.append(&RecordIn { key, value, lsn, written_ms, death_ms })?)
            }
        };
        Ok(pointer)
    }

    fn note(&mut self, verdict: Verdict, pointer: Option<RecordPointer>) {
        let (Verdict::Copy(version) | Verdict::Tombstone(version)) = verdict else { return };
        let bytes = pointer.map_or(0, |pointer| u64::from(pointer.length));
        let copied = self.copied.entry(version.segment).or_default();
        *copied = (copied.0 + 1, copied.1 + bytes);
        self.bytes_written += bytes;
        if let Some(to) = pointer {
            let from = (version.segment, version.record.pointer);
            self.moves.push(Move { key: version.record.key, lsn: version.record.lsn, from, to });
        }
    }

    fn budget_is_spent(&self) -> bool {
        self.bytes_written >= self.budget_bytes
    }
}

/// Step 2, for one cohort.
fn rewrite_cohort(
    manifest: &mut Manifest,
    cohort: &CohortInfo,
    now_ms: u64,
    cycle: &mut Cycle<'_>,
    stats: &mut CompactionStats,
) -> Result<()> {
    let (storage, store_id) = (cycle.storage, cycle.store_id);
    let open = |id: &u64| Ok::<_, SegmentError>((*id, SegmentReader::open(storage, *id, store_id)?));
    let inputs: Vec<(u64, SegmentReader)> = cohort.segments.iter().map(open).collect::<Result<_, _>>()?;
    let others = match cycle.liveness {
        Some(_) => Vec::new(),
        None => {
            let all = manifest.state().segments.keys();
            all.filter(|id| !cohort.segments.contains(id)).map(open).collect::<Result<_, _>>()?
        }
    };
    let budget_bytes = cycle.budget_bytes.saturating_sub(stats.bytes_written);
    let mut rewrite = Rewrite {
        now_ms,
        whole: cohort.value_bytes < budget_bytes,
        budget_bytes,
        bytes_written: 0,
        writer: None,
        moves: Vec::new(),
        copied: BTreeMap::new(),
        others,
    };
    let mut merge = Merge::new(inputs.iter().map(|(id, reader)| (*id, reader.iter())).collect());
    if let Err(error) = copy(&mut rewrite, &mut merge, cohort.cohort, cycle) {
        // Best effort: what stays is an orphan, and its id is not used again.
        if let Some(writer) = rewrite.writer.take() {
            let _ = writer.abandon();
        }
        return Err(error);
    }
    let finished: Vec<u64> = cohort.segments.iter().copied().filter(|id| merge.is_exhausted(*id)).collect();
    let output = rewrite.writer.take().map(|writer| seal(writer, cycle)).transpose()?;
    conclude(manifest, cohort, &rewrite, output, &finished, cycle, stats)
}

/// Copies what is alive to the output, key by key, until there are no more or the budget is spent.
fn copy<'c>(rewrite: &mut Rewrite<'c>, merge: &mut Merge, cohort: u64, cycle: &mut Cycle<'c>) -> Result<()> {
    let (storage, store_id) = (cycle.storage, cycle.store_id);
    while !rewrite.budget_is_spent() {
        let Some(key) = merge.next() else { break };
        let verdict = rewrite.judge(key?, &mut cycle.liveness)?;
        let next_segment = &mut cycle.next_segment;
        let make = || {
            let id = *next_segment;
            *next_segment += 1;
            SegmentWriter::create(storage, id, store_id, cohort)
        };
        let pointer = Rewrite::carry_out(&mut rewrite.writer, &verdict, make)?;
        rewrite.note(verdict, pointer);
    }
    Ok(())
}

/// Seals an output and checks that its root is that of what is read back.
fn seal(writer: SegmentWriter<'_>, cycle: &Cycle<'_>) -> Result<SegmentMeta> {
    let summary = writer.finish()?;
    let root = SegmentReader::open(cycle.storage, summary.id, cycle.store_id)?.recompute_root()?;
    if root != summary.merkle_root {
        let path = cycle.storage.path_of(&file_name(summary.id));
        return Err(Damage::new("the Merkle root is not that of the records read back", path, 0).into());
    }
    Ok(SegmentMeta::sealed(&summary))
}

/// Re-points the index, makes the transition true, and unlinks the inputs that are done with.
fn conclude(
    manifest: &mut Manifest,
    cohort: &CohortInfo,
    rewrite: &Rewrite<'_>,
    mut output: Option<SegmentMeta>,
    finished: &[u64],
    cycle: &mut Cycle<'_>,
    stats: &mut CompactionStats,
) -> Result<()> {
    if let (Some(output), Some(index)) = (&mut output, &mut cycle.liveness) {
        for moved in &rewrite.moves {
            let to = (output.id, moved.to);
            if !index.relocate(&moved.key, moved.lsn, moved.from, to)? {
                output.live_records = output.live_records.saturating_sub(1);
                output.live_bytes = output.live_bytes.saturating_sub(u64::from(moved.to.length));
            }
        }
    }
    let mut edit = Edit { clock_ms: Some(rewrite.now_ms), ..Edit::default() };
    stats.segments_written += u64::from(output.is_some());
    edit.segments.extend(output.map(SegmentChange::Add));
    edit.segments.extend(finished.iter().map(|id| SegmentChange::Remove { id: *id }));
    let unfinished = cohort.segments.iter().filter(|id| !finished.contains(id));
    for meta in unfinished.filter_map(|id| manifest.state().segments.get(id)) {
        let (records, bytes) = rewrite.copied.get(&meta.id).copied().unwrap_or_default();
        edit.segments.push(SegmentChange::Live {
            id: meta.id,
            live_records: meta.live_records.saturating_sub(records),
            live_bytes: meta.live_bytes.saturating_sub(bytes),
        });
    }
    manifest.append(&edit)?;
    stats.cohorts_collected += u64::from(finished.len() == cohort.segments.len());
    stats.segments_removed += finished.len() as u64;
    stats.bytes_written += rewrite.bytes_written;
    stats.live_records_relocated += rewrite.moves.len() as u64;
    unlink(cycle.storage, finished)
}

/// Unlinks segments that have left the catalogue. A crash may bring the names back, as orphans.
fn unlink(storage: &dyn Storage, ids: &[u64]) -> Result<()> {
    for id in ids {
        match storage.remove(&file_name(*id)) {
            Err(failure) if !failure.is_not_found() => return Err(failure.into()),
            _ => {}
        }
    }
    Ok(())
}

impl From<SegmentError> for Error {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Damage(damage) => Error::Damage(damage),
            SegmentError::Io(failure) => Error::Io(failure),
            SegmentError::NewerFormat { file, version } => {
                Error::NewerFormat { path: file, what: format!("segment format {version}") }
            }
            other => Error::Inconsistent(other.to_string()),
        }
    }
}
