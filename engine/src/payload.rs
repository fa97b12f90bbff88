//! Payload segments as the engine sees them: open readers, and the exact count of live records and bytes
//! in each, kept at write time because the tree knows the old leaf at every overwrite and delete. It is
//! *not* the segment format (that is `treering-segment`'s).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use treering_blobframe::LeafPointer;
use treering_compactor::manifest::SegmentMeta;
use treering_segment::sealed::{SegmentReader, SegmentSummary};
use treering_segment::storage::Storage;

use crate::error::Result;

/// All payload segments that a leaf may point at.
#[derive(Debug)]
pub(crate) struct Payloads {
    readers: RwLock<BTreeMap<u64, Arc<SegmentReader>>>,
    live: Mutex<BTreeMap<u64, Live>>,
    /// Segments of direct values whose record is not applied yet: no cut knows of them.
    unclaimed: Mutex<BTreeMap<u64, SegmentMeta>>,
    store_id: [u8; 16],
}

/// A segment's standing.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// What the manifest says, or will say, of it; counts as of now.
    pub(crate) meta: SegmentMeta,
    /// Whether a durable edit knows the segment.
    pub(crate) in_manifest: bool,
}

impl Payloads {
    /// No segments yet.
    pub(crate) fn new(store_id: [u8; 16]) -> Self {
        Self {
            readers: RwLock::new(BTreeMap::new()),
            live: Mutex::new(BTreeMap::new()),
            unclaimed: Mutex::new(BTreeMap::new()),
            store_id,
        }
    }

    /// Opens a segment that is on disk; it is validated before this returns.
    pub(crate) fn open(&self, storage: &dyn Storage, id: u64) -> Result<SegmentSummary> {
        let reader = Arc::new(SegmentReader::open(storage, id, self.store_id)?);
        let summary = reader.summary().clone();
        self.readers.write().insert(id, reader);
        Ok(summary)
    }

    /// Counts a segment among the live ones.
    pub(crate) fn count_in(&self, meta: SegmentMeta, in_manifest: bool) {
        self.live.lock().insert(meta.id, Live { meta, in_manifest });
    }

    /// Whether the segment is known.
    pub(crate) fn knows(&self, id: u64) -> bool {
        self.live.lock().contains_key(&id)
    }

    /// Whether a durable edit knows the segment.
    pub(crate) fn is_in_manifest(&self, id: u64) -> bool {
        self.live.lock().get(&id).is_some_and(|live| live.in_manifest)
    }

    /// Keeps a new segment of one direct value apart until its record is applied.
    pub(crate) fn await_claim(&self, meta: SegmentMeta) {
        self.unclaimed.lock().insert(meta.id, meta);
    }

    /// The record of a direct value is being applied, inside the gate: its segment counts from now on.
    pub(crate) fn claim(&self, pointer: &LeafPointer) {
        if let Some(meta) = self.unclaimed.lock().remove(&pointer.segment) {
            self.count_in(meta, false);
        }
        self.gained(pointer);
    }

    /// Forgets a segment that was never claimed; says whether there was one.
    pub(crate) fn discard_unclaimed(&self, id: u64) -> bool {
        let found = self.unclaimed.lock().remove(&id).is_some();
        if found {
            self.readers.write().remove(&id);
        }
        found
    }

    /// One more leaf points at `pointer`.
    pub(crate) fn gained(&self, pointer: &LeafPointer) {
        if let Some(live) = self.live.lock().get_mut(&pointer.segment) {
            live.meta.live_records += 1;
            live.meta.live_bytes += u64::from(pointer.length);
        }
    }

    /// One leaf fewer points at `pointer`.
    pub(crate) fn lost(&self, pointer: &LeafPointer) {
        if let Some(live) = self.live.lock().get_mut(&pointer.segment) {
            live.meta.live_records = live.meta.live_records.saturating_sub(1);
            live.meta.live_bytes = live.meta.live_bytes.saturating_sub(u64::from(pointer.length));
        }
    }

    /// The value at `pointer`: `None` if the segment is gone, because the leaf was changed meanwhile.
    pub(crate) fn read(&self, pointer: &LeafPointer) -> Result<Option<Bytes>> {
        let Some(reader) = self.readers.read().get(&pointer.segment).cloned() else { return Ok(None) };
        Ok(Some(reader.read_payload(pointer.offset, pointer.length, pointer.crc)?))
    }

    /// A copy of all standings, as of now. Under the closed gate it is as of the bump (PROTOCOL C2).
    pub(crate) fn standings(&self) -> Vec<Live> {
        self.live.lock().values().cloned().collect()
    }

    /// Notes that a durable edit knows the segment.
    pub(crate) fn now_in_manifest(&self, id: u64) {
        if let Some(live) = self.live.lock().get_mut(&id) {
            live.in_manifest = true;
        }
    }

    /// Drops a segment that no leaf and no durable state needs. Slices handed out stay valid.
    pub(crate) fn forget(&self, id: u64) {
        self.readers.write().remove(&id);
        self.live.lock().remove(&id);
    }
}
