//! Single writes and batches: from validated arguments to an acknowledged record. It is *not* the log
//! nor the tree; it is the order in which they are used.
//!
//! # One write, step by step
//! 1. Sizes are checked. A value above the direct limit gets a segment of its own, synced.
//! 2. Room is made: a cut if the log's or the staging area's cap is near, then ring and log credit. All
//!    waiting for space happens here, before the gate (PROTOCOL W1).
//! 3. The gate is entered, the leaf's frame latched and given room, the condition checked.
//! 4. The value is staged if it is too large for a frame, the record reserved, filled and published.
//!    Nothing fails from here on (W2); a panic poisons the store.
//! 5. The frame changes; latch and gate are left; then the writer waits for its acknowledgement (O1).
//!
//! A batch is the same with the gate closed, so that it is the only writer: all its latches are held from
//! before its record until its last frame is changed (W3), and readers see all of it or nothing.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use treering_blobframe::{Leaf, LeafPointer, LeafValue, STAGING};
use treering_journal::{Appended, BatchBody, Draft, Durability, PayloadPointer};
use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::sealed::{RecordIn, SegmentWriter, file_name};

use crate::catalog::TreeState;
use crate::cut::segment_meta;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Condition, MAX_BATCH_OPERATIONS, MAX_VALUE_BYTES, WriteOptions};
use crate::store::{Store, Writing};
use crate::tree::{LeafMeta, Writer};

/// Frames laid ready for splits before the gate: a split needs one, and seldom follows another at once.
const FRAMES_PRIMED: usize = 2;

/// Where a value goes.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// Into the leaf.
    Inline(&'a [u8]),
    /// Into log and staging.
    Staged(&'a [u8]),
    /// It is in a segment of its own already.
    Direct(LeafPointer),
}

/// One operation of a batch.
#[derive(Clone, Debug)]
pub(crate) struct BatchOperation {
    /// `None` deletes.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) death: Option<u64>,
    pub(crate) condition: Condition,
}

/// An operation with its value placed.
struct Placed<'a> {
    key: &'a [u8],
    place: Option<Place<'a>>,
    death: Option<u64>,
    condition: Condition,
}

/// An internal key: the tree id in big-endian order, then the user's key.
pub(crate) fn internal_key(tree_id: u32, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + key.len());
    out.extend_from_slice(&tree_id.to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// The tree id at the front of an internal key.
fn tree_of(internal: &[u8]) -> u32 {
    let mut id = [0; 4];
    id.copy_from_slice(&internal[..4]);
    u32::from_be_bytes(id)
}

impl Store {
    /// Puts one value; returns its version.
    pub(crate) fn put(&self, tree: &TreeState, key: &[u8], value: &[u8], how: &WriteOptions) -> Result<u64> {
        let writing = self.writing()?;
        self.check_key(key)?;
        let death = how.ttl.map(|ttl| self.death_in(ttl)).transpose()?;
        let key = internal_key(tree.id, key);
        let place = self.place_value(writing, &key, value, death)?;
        let outcome = self.put_placed(writing, tree, &key, place, death, how.condition);
        self.discard_unclaimed(Some(place));
        self.acknowledge(writing, outcome?, how.durability)
    }

    fn put_placed(
        &self,
        writing: &Writing,
        tree: &TreeState,
        key: &[u8],
        place: Place<'_>,
        death: Option<u64>,
        condition: Condition,
    ) -> Result<Appended> {
        let mut draft = match place {
            Place::Inline(value) | Place::Staged(value) => Draft::put(tree.id, &key[4..], value)?,
            Place::Direct(pointer) => Draft::put_pointer(tree.id, &key[4..], &logged(pointer))?,
        };
        draft.death = death;
        let early = armed(Defect::StampBeforeTheGate).then(|| self.gate.enter().epoch());
        self.make_room(writing, draft.encoded_len(), place.staged_len())?;
        self.cover_cut(writing, 1, draft.encoded_len(), place.staged_len())?;
        let credit = writing.journal.admit(draft.encoded_len())?;
        let pass = self.enter_gate()?;
        tree.check_live()?;
        let mut writer = self.tree.writer(pass.epoch());
        writer.prepare_put(key, &Leaf { version: 0, death, value: place.leaf_value(Some(0)) })?;
        let old = writer.find(key)?;
        self.check_condition(key, old.as_ref(), condition)?;
        draft.epoch = early.unwrap_or(pass.epoch());
        draft.time_ms = self.clock.now_ms();
        draft.staging = self.stage(place, key, draft.time_ms)?;
        let whole = WholeOrPoisoned::new(writing);
        let done = writing.journal.append(credit, &draft);
        reach(CrashPoint::RecordPublished);
        let leaf = Leaf { version: done.lsn, death, value: place.leaf_value(draft.staging) };
        self.apply_put(&mut writer, key, &leaf, old.as_ref())?;
        whole.achieved();
        Ok(done)
    }

    /// Deletes one key; `None` if it was absent, else the version of the delete.
    pub(crate) fn delete(&self, tree: &TreeState, key: &[u8], how: &WriteOptions) -> Result<Option<u64>> {
        let writing = self.writing()?;
        self.check_key(key)?;
        let key = internal_key(tree.id, key);
        let mut draft = Draft::delete(tree.id, &key[4..])?;
        self.make_room(writing, draft.encoded_len(), 0)?;
        let credit = writing.journal.admit_reserve(draft.encoded_len())?;
        let done = {
            let pass = self.enter_gate()?;
            tree.check_live()?;
            let mut writer = self.tree.writer(pass.epoch());
            let old = writer.find(&key)?;
            self.check_condition(&key, old.as_ref(), how.condition)?;
            if !old.is_some_and(|leaf| self.is_alive(leaf.death)) {
                return Ok(None);
            }
            draft.epoch = pass.epoch();
            draft.time_ms = self.clock.now_ms();
            let whole = WholeOrPoisoned::new(writing);
            let done = writing.journal.append(credit, &draft);
            reach(CrashPoint::RecordPublished);
            self.apply_remove(&mut writer, &key, old.as_ref())?;
            whole.achieved();
            done
        };
        self.acknowledge(writing, done, how.durability).map(Some)
    }

    /// Commits a batch of operations by internal key; returns its version. One record, all or nothing.
    pub(crate) fn commit(
        &self,
        operations: &BTreeMap<Vec<u8>, BatchOperation>,
        trees: &[&TreeState],
        durability: Option<Durability>,
    ) -> Result<u64> {
        let writing = self.writing()?;
        if operations.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "the batch is empty; add an operation to it"));
        }
        if operations.len() > MAX_BATCH_OPERATIONS {
            return Err(too_large("batch", operations.len(), MAX_BATCH_OPERATIONS, "operations"));
        }
        if armed(Defect::BatchInTwoRecords)
            && let Some(middle) = operations.keys().nth(operations.len() / 2).filter(|_| operations.len() > 1)
        {
            let mut first = operations.clone();
            let second = first.split_off(middle);
            self.commit(&first, trees, durability)?;
            return self.commit(&second, trees, durability);
        }
        let mut placed = Vec::with_capacity(operations.len());
        let outcome = self.commit_placing(writing, operations, trees, &mut placed);
        for operation in &placed {
            self.discard_unclaimed(operation.place);
        }
        self.acknowledge(writing, outcome?, durability)
    }

    fn commit_placing<'a>(
        &self,
        writing: &Writing,
        operations: &'a BTreeMap<Vec<u8>, BatchOperation>,
        trees: &[&TreeState],
        placed: &mut Vec<Placed<'a>>,
    ) -> Result<Appended> {
        let mut body = BatchBody::new();
        for (key, operation) in operations {
            self.check_key(&key[4..])?;
            let death = operation.death;
            let place = match &operation.value {
                Some(value) => Some(self.place_value(writing, key, value, death)?),
                None => None,
            };
            placed.push(Placed { key, place, death, condition: operation.condition });
            let (tree, user_key) = (tree_of(key), &key[4..]);
            match place {
                Some(Place::Inline(value)) => body.put(tree, user_key, value, false, death)?,
                Some(Place::Staged(value)) => body.put(tree, user_key, value, true, death)?,
                Some(Place::Direct(pointer)) => body.put_pointer(tree, user_key, &logged(pointer), death)?,
                None => body.delete(tree, user_key)?,
            }
            if body.byte_len() > self.record_limit() {
                return Err(too_large("batch", body.byte_len(), self.record_limit(), "bytes"));
            }
        }
        self.commit_placed(writing, placed, trees, &body)
    }

    fn commit_placed(
        &self,
        writing: &Writing,
        operations: &[Placed<'_>],
        trees: &[&TreeState],
        body: &BatchBody,
    ) -> Result<Appended> {
        let mut draft = Draft::batch(body)?;
        let staged_len = operations.iter().filter_map(|op| op.place).map(|place| place.staged_len()).sum();
        self.make_room(writing, draft.encoded_len(), staged_len)?;
        let puts = operations.iter().filter(|operation| operation.place.is_some()).count();
        if puts > 0 {
            self.cover_cut(writing, puts, draft.encoded_len(), staged_len)?;
        }
        let credit = writing.journal.admit(draft.encoded_len())?;
        let closed = self.gate.close();
        self.open()?;
        for tree in trees {
            tree.check_live()?;
        }
        let mut writer = self.tree.writer(closed.epoch());
        for operation in operations {
            let old = writer.find(operation.key)?;
            self.check_condition(operation.key, old.as_ref(), operation.condition)?;
        }
        draft.epoch = closed.epoch();
        draft.time_ms = self.clock.now_ms();
        // The gate is closed, so staged values follow one another without a gap: the record names the first.
        let mut staged_at = Vec::with_capacity(operations.len());
        for operation in operations {
            let at =
                operation.place.map_or(Ok(None), |place| self.stage(place, operation.key, draft.time_ms))?;
            draft.staging = draft.staging.or(at);
            staged_at.push(at);
        }
        let whole = WholeOrPoisoned::new(writing);
        let done = writing.journal.append(credit, &draft);
        reach(CrashPoint::RecordPublished);
        for (operation, at) in operations.iter().zip(staged_at) {
            let old = writer.find(operation.key)?;
            match operation.place {
                Some(place) => {
                    let leaf =
                        Leaf { version: done.lsn, death: operation.death, value: place.leaf_value(at) };
                    self.apply_put(&mut writer, operation.key, &leaf, old.as_ref())?;
                }
                None => self.apply_remove(&mut writer, operation.key, old.as_ref())?,
            }
        }
        whole.achieved();
        Ok(done)
    }

    /// Sets the leaf under its latch and keeps the count of live payload bytes.
    fn apply_put(
        &self,
        writer: &mut Writer<'_>,
        key: &[u8],
        leaf: &Leaf<'_>,
        old: Option<&LeafMeta>,
    ) -> Result<()> {
        if let LeafValue::Pointer(pointer) = leaf.value
            && pointer.segment != STAGING
        {
            self.payloads.claim(&pointer);
        }
        writer.put(key, leaf)?;
        self.let_go(old);
        Ok(())
    }

    /// Removes the leaf, if there is one, under its latch and keeps the count of live payload bytes.
    fn apply_remove(&self, writer: &mut Writer<'_>, key: &[u8], old: Option<&LeafMeta>) -> Result<()> {
        writer.remove(key)?;
        self.let_go(old);
        Ok(())
    }

    /// Takes the payload of a leaf that was overwritten or removed off its segment's count.
    pub(crate) fn let_go(&self, old: Option<&LeafMeta>) {
        if let Some(pointer) = old.and_then(|leaf| leaf.pointer)
            && pointer.segment != STAGING
        {
            self.payloads.lost(&pointer);
        }
    }

    /// Waits, outside gate and latches, until the record's acknowledgement means what was asked for (O1).
    fn acknowledge(&self, writing: &Writing, done: Appended, durability: Option<Durability>) -> Result<u64> {
        writing.journal.acknowledge(done.end, durability.unwrap_or(self.options.durability))?;
        Ok(done.lsn)
    }

    fn stage(&self, place: Place<'_>, key: &[u8], now: u64) -> Result<Option<u64>> {
        let Place::Staged(value) = place else { return Ok(None) };
        let offset = self.staging.append(key, value, now).map_err(|full| {
            Error::new(ErrorKind::Full, format!("the staging area is full: {full}; checkpoint first"))
        })?;
        Ok(Some(offset))
    }

    /// Decides where a value goes, and writes it there if that is a segment of its own. Nothing but the
    /// returned place knows that segment until the record that points at it is applied.
    fn place_value<'a>(
        &self,
        writing: &Writing,
        key: &[u8],
        value: &'a [u8],
        death: Option<u64>,
    ) -> Result<Place<'a>> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(too_large("value", value.len(), MAX_VALUE_BYTES, "bytes"));
        }
        if value.len() <= self.inline_limit() {
            return Ok(Place::Inline(value));
        }
        if value.len() <= self.direct_limit() {
            return Ok(Place::Staged(value));
        }
        // The segment id only has to be new; no other memory is published with it.
        let id = writing.next_segment.fetch_add(1, Ordering::Relaxed);
        let storage = &*self.env.storage;
        let mut segment = writing.sealing(SegmentWriter::create(storage, id, self.identity.store_id, 0))?;
        let record = RecordIn {
            key,
            value,
            lsn: writing.journal.tail(),
            written_ms: self.clock.now_ms(),
            death_ms: death,
        };
        let at = segment.append(&record)?;
        writing.sealing(segment.finish())?;
        reach(CrashPoint::DirectSegmentSealed);
        let summary = self.payloads.open(storage, id)?;
        self.payloads.await_claim(segment_meta(&summary));
        Ok(Place::Direct(LeafPointer { segment: id, offset: at.offset, length: at.length, crc: at.crc }))
    }

    /// Removes the segment of a direct value whose write came to nothing. Its file is an orphan at worst.
    fn discard_unclaimed(&self, place: Option<Place<'_>>) {
        if let Some(Place::Direct(pointer)) = place
            && self.payloads.discard_unclaimed(pointer.segment)
        {
            drop(self.env.storage.remove(&file_name(pointer.segment)));
        }
    }

    /// The store time at which a TTL that begins now is over.
    pub(crate) fn death_in(&self, ttl: std::time::Duration) -> Result<u64> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        if ttl_ms == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a TTL must be at least a millisecond"));
        }
        Ok(self.clock.now_ms().saturating_add(ttl_ms))
    }

    /// Whether a record with this death time is there now.
    pub(crate) fn is_alive(&self, death: Option<u64>) -> bool {
        death.is_none_or(|death| self.clock.now_ms() < death)
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        let max = self.identity.shape.max_key_bytes();
        if key.len() > max {
            return Err(too_large("key", key.len(), max, "bytes"));
        }
        Ok(())
    }

    fn check_condition(&self, key: &[u8], old: Option<&LeafMeta>, condition: Condition) -> Result<()> {
        let old = old.filter(|leaf| self.is_alive(leaf.death));
        let holds = match condition {
            Condition::None => true,
            Condition::Absent => old.is_none(),
            Condition::Version(version) => old.is_some_and(|leaf| leaf.version == version),
        };
        if holds {
            return Ok(());
        }
        let found = old.map_or_else(|| "absent".to_string(), |leaf| format!("at version {}", leaf.version));
        let key = String::from_utf8_lossy(&key[4..]);
        Err(Error::new(ErrorKind::Conflict, format!("the condition does not hold: {key:?} is {found}")))
    }

    /// Keeps the space that the next cut needs, with `puts` more changes in a record of `record_bytes` (PROTOCOL
    /// F1). Deletes go on without.
    fn cover_cut(&self, writing: &Writing, puts: usize, record_bytes: usize, staged: usize) -> Result<()> {
        let frame_bytes = self.identity.shape.frame_bytes as u64;
        // A put changes one frame and may split it; all of them together change no more than there will be.
        let changed = self.tree.dirty_frames() + 2 * puts as u64;
        let all = self.tree.next_frame_number() + 2 + 2 * record_bytes as u64 / frame_bytes;
        writing.reserve.cover(changed.min(all) * frame_bytes, self.staging.live_bytes() + staged as u64)
    }

    /// Forces a cut while the log or the staging area is at its cap. The cut runs on this thread; others
    /// that need it wait for the same one.
    fn make_room(&self, writing: &Writing, record_bytes: usize, staged_bytes: usize) -> Result<()> {
        let at_cap = |used: u64, more: usize, cap: u64| used > 0 && used + more as u64 > cap;
        let full = || {
            at_cap(writing.journal.log_bytes(), record_bytes, self.options.log_cap_bytes)
                || at_cap(self.staging.live_bytes(), staged_bytes, self.options.staging_limit)
        };
        self.tree.prime(FRAMES_PRIMED);
        if !full() {
            return Ok(());
        }
        let mut side = writing.cut.lock();
        self.open()?;
        if full() {
            self.cut_holding(writing, &mut side)?;
        }
        Ok(())
    }
}

impl Place<'_> {
    fn leaf_value(&self, staged_at: Option<u64>) -> LeafValue<'_> {
        match *self {
            Place::Inline(value) => LeafValue::Inline(value),
            Place::Direct(pointer) => LeafValue::Pointer(pointer),
            Place::Staged(value) => LeafValue::Pointer(staging_pointer(value, staged_at.unwrap_or(0))),
        }
    }

    fn staged_len(&self) -> usize {
        match self {
            Place::Staged(value) => value.len(),
            Place::Inline(_) | Place::Direct(_) => 0,
        }
    }
}

/// The pointer to a staged value.
pub(crate) fn staging_pointer(value: &[u8], offset: u64) -> LeafPointer {
    LeafPointer {
        segment: STAGING,
        offset,
        length: u32::try_from(value.len()).unwrap_or(u32::MAX),
        crc: crc32c::crc32c(value),
    }
}

/// A leaf's pointer as the log carries it.
fn logged(pointer: LeafPointer) -> PayloadPointer {
    let LeafPointer { segment, offset, length, crc } = pointer;
    PayloadPointer { segment, offset, length, crc }
}

fn too_large(what: &str, size: usize, max: usize, unit: &str) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the {what} has {size} {unit}; at most {max} are allowed"))
}

/// Stands between a record and the frames it changes: dropped before both are done, by an error or a
/// panic, it poisons the store (PROTOCOL W2).
struct WholeOrPoisoned<'a>(Option<&'a Writing>);

impl<'a> WholeOrPoisoned<'a> {
    fn new(writing: &'a Writing) -> Self {
        Self(Some(writing))
    }

    fn achieved(mut self) {
        self.0 = None;
    }
}

impl Drop for WholeOrPoisoned<'_> {
    fn drop(&mut self) {
        if let Some(writing) = self.0 {
            writing.poison("a record was logged whose frames could not be changed");
        }
    }
}
