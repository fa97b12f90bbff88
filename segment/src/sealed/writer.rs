//! Writes one sealed segment, front to back, in large runs. It does not sort, and it never changes a
//! byte that it has written.
//!
//! Order, and the state after a crash at each step (the layout is in `format.rs`):
//! 1. The file is created: an empty orphan.
//! 2. Header and records are written: an orphan without a footer, not a sealed segment.
//! 3. Index, filter, bounds and footer are written: perhaps whole, perhaps not; still an orphan.
//! 4. The file is synced, then the directory: whole, and still an orphan until the caller's manifest
//!    names it, which is why nobody is told before.
//!
//! A failed write or sync is final: the rest of the calls are refused (`Unfinished`), and the caller
//! removes the file.

use bytes::Bytes;

use super::filter::{self, KeyHash};
use super::format::{
    self, FOOTER_BYTES, Footer, INDEX_EVERY_BYTES, INDEX_EVERY_RECORDS, Identity, MAX_KEY_BYTES,
    MAX_VALUE_BYTES, RecordHeader,
};
use super::merkle;
use super::{RecordIn, RecordPointer, SegmentError, SegmentSummary};
use crate::crash_point::{CrashPoint, reach};
use crate::defects::{Defect, armed};
use crate::storage::{Storage, StorageFile, WriteOp};
use crate::sync::Arc;

/// Bytes gathered before they are written.
const RUN_BYTES: usize = 256 << 10;

/// A segment that is being written. Dropping it leaves an orphan; see [`abandon`](Self::abandon).
#[derive(Debug)]
pub struct SegmentWriter<'a> {
    storage: &'a dyn Storage,
    file: Arc<dyn StorageFile>,
    identity: Identity,
    salt: u32,
    /// Bytes not written yet; they go to `written`.
    run: Vec<u8>,
    written: u64,
    failed: bool,
    /// Finished or abandoned: dropping it leaves the file alone.
    settled: bool,
    index: IndexBuilder,
    hashes: Vec<KeyHash>,
    tree: merkle::Tree,
    /// Filled as records come; the rest at the end.
    summary: SegmentSummary,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    latest_death: u64,
    /// Records without a death time.
    undying: u64,
}

#[derive(Debug, Default)]
struct IndexBuilder {
    entries: Vec<u8>,
    positions: Vec<u64>,
    last_offset: u64,
    records_since: u32,
}

impl IndexBuilder {
    fn see(&mut self, offset: u64, key_len: u16, key: &[u8]) {
        let due = self.positions.is_empty()
            || offset - self.last_offset >= INDEX_EVERY_BYTES
            || self.records_since >= INDEX_EVERY_RECORDS;
        if due {
            self.positions.push(self.entries.len() as u64);
            self.entries.extend_from_slice(&offset.to_le_bytes());
            self.entries.extend_from_slice(&key_len.to_le_bytes());
            self.entries.extend_from_slice(key);
            self.last_offset = offset;
            self.records_since = 0;
        }
        self.records_since += 1;
    }

    fn finish(self) -> (Vec<u8>, u64) {
        let mut section = self.entries;
        for position in &self.positions {
            section.extend_from_slice(&position.to_le_bytes());
        }
        (section, self.positions.len() as u64)
    }
}

impl<'a> SegmentWriter<'a> {
    /// Starts segment `id` of store `store_id` in a file that must not exist yet.
    pub fn create(
        storage: &'a dyn Storage,
        id: u64,
        store_id: [u8; 16],
        cohort: u64,
    ) -> Result<Self, SegmentError> {
        let file = storage.create(&format::file_name(id))?;
        let identity = Identity { id, store_id };
        let mut run = Vec::with_capacity(RUN_BYTES);
        run.extend_from_slice(&format::encode_header(&identity, cohort));
        Ok(Self {
            storage,
            file,
            identity,
            salt: identity.salt(),
            run,
            written: 0,
            failed: false,
            settled: false,
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            tree: merkle::Tree::default(),
            summary: SegmentSummary {
                id,
                store_id,
                cohort,
                file_bytes: 0,
                records: 0,
                tombstones: 0,
                value_bytes: 0,
                key_range: None,
                lsn_range: None,
                written_range: None,
                min_death: None,
                max_death: None,
                merkle_root: [0; 32],
            },
            first_key: Vec::new(),
            last_key: Vec::new(),
            latest_death: 0,
            undying: 0,
        })
    }

    /// Adds a record and says where its value is. A refused record (order, size) leaves the segment
    /// as it was.
    pub fn append(&mut self, record: &RecordIn<'_>) -> Result<RecordPointer, SegmentError> {
        self.add(record, false)
    }

    /// Adds a tombstone: the key is absent as of `lsn`, whatever older segments hold.
    pub fn append_tombstone(
        &mut self,
        key: &[u8],
        lsn: u64,
        written_ms: u64,
        death_ms: Option<u64>,
    ) -> Result<(), SegmentError> {
        self.add(&RecordIn { key, value: &[], lsn, written_ms, death_ms }, true)?;
        Ok(())
    }

    /// Bytes of the file so far, without what `finish` adds.
    pub fn bytes_so_far(&self) -> u64 {
        self.written + self.run.len() as u64
    }

    /// Records so far.
    pub fn records_so_far(&self) -> u64 {
        self.summary.records
    }

    fn add(&mut self, record: &RecordIn<'_>, tombstone: bool) -> Result<RecordPointer, SegmentError> {
        self.refuse_if_failed()?;
        let (key, value) = (record.key, record.value);
        let key_len = u16::try_from(key.len())
            .map_err(|_| SegmentError::KeyTooLarge { size: key.len(), max: MAX_KEY_BYTES })?;
        let too_large = SegmentError::ValueTooLarge { size: value.len(), max: MAX_VALUE_BYTES };
        let value_len = match u32::try_from(value.len()) {
            Ok(len) if value.len() <= MAX_VALUE_BYTES => len,
            _ => return Err(too_large),
        };
        if self.summary.records > 0 && key <= self.last_key.as_slice() {
            return Err(SegmentError::KeyOutOfOrder);
        }
        let header = RecordHeader {
            key_len,
            tombstone,
            value_len,
            value_crc: crc32c::crc32c(value),
            lsn: record.lsn,
            written_ms: record.written_ms,
            death_ms: record.death_ms,
        };
        let offset = self.bytes_so_far();
        self.run.extend_from_slice(&header.encode(self.salt, offset, key));
        self.run.extend_from_slice(key);
        let pointer = RecordPointer { offset: self.bytes_so_far(), length: value_len, crc: header.value_crc };
        self.put_value(value)?;
        self.index.see(offset, key_len, key);
        self.hashes.push(KeyHash::of(key));
        self.tree.push(merkle::leaf(key, (!tombstone).then_some(value)));
        self.count(&header, key);
        Ok(pointer)
    }

    fn count(&mut self, header: &RecordHeader, key: &[u8]) {
        let summary = &mut self.summary;
        if summary.records == 0 {
            self.first_key = key.to_vec();
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        summary.records += 1;
        summary.tombstones += u64::from(header.tombstone);
        summary.value_bytes += u64::from(header.value_len);
        summary.lsn_range = Some(widen(summary.lsn_range, header.lsn));
        summary.written_range = Some(widen(summary.written_range, header.written_ms));
        match header.death_ms {
            Some(death) => {
                summary.min_death = Some(summary.min_death.map_or(death, |min| min.min(death)));
                self.latest_death = self.latest_death.max(death);
            }
            None => self.undying += 1,
        }
    }

    /// Completes the file; when this returns, file and name are durable.
    pub fn finish(mut self) -> Result<SegmentSummary, SegmentError> {
        self.refuse_if_failed()?;
        let index_start = self.bytes_so_far();
        let (index, index_entries) = std::mem::take(&mut self.index).finish();
        let filter = filter::build(&self.hashes);
        let mut bounds = self.first_key.clone();
        bounds.extend_from_slice(&self.last_key);
        let filter_start = index_start + index.len() as u64;
        let bounds_start = filter_start + filter.len() as u64;

        let mut summary = self.summary.clone();
        summary.file_bytes = bounds_start + (bounds.len() + FOOTER_BYTES) as u64;
        if summary.records > 0 && self.undying == 0 {
            summary.max_death = Some(self.latest_death);
        }
        summary.merkle_root = std::mem::take(&mut self.tree).root();
        let footer = Footer {
            index_start,
            index_entries,
            filter_start,
            bounds_start,
            index_crc: crc32c::crc32c_append(self.salt, &index),
            filter_crc: crc32c::crc32c_append(self.salt, &filter),
            bounds_crc: crc32c::crc32c_append(self.salt, &bounds),
            first_key_len: u32::try_from(self.first_key.len()).unwrap_or(u32::MAX),
            filter_probes: filter::PROBES,
            summary: summary.clone(),
        };
        for section in [&index[..], &filter, &bounds, &footer.encode()] {
            self.put_value(section)?;
        }
        self.write_run(&[])?;
        debug_assert_eq!(self.written, summary.file_bytes, "the footer knows the file's length");
        reach(CrashPoint::SegmentWritten);
        if !armed(Defect::SegmentNotSynced) {
            self.file.sync_all()?;
        }
        if !armed(Defect::SegmentNameNotSynced) {
            self.storage.sync_directory()?;
        }
        if summary.records > 0 {
            let first = std::mem::take(&mut self.first_key);
            summary.key_range = Some((Bytes::from(first), Bytes::from(std::mem::take(&mut self.last_key))));
        }
        self.settled = true;
        Ok(summary)
    }

    /// Removes the unfinished file. Its name may come back after a crash; so may any orphan's.
    pub fn abandon(mut self) -> Result<(), SegmentError> {
        self.settled = true;
        self.storage.remove(&format::file_name(self.identity.id))?;
        Ok(())
    }

    fn refuse_if_failed(&self) -> Result<(), SegmentError> {
        match self.failed {
            true => Err(SegmentError::Unfinished { file: self.file.path().to_path_buf() }),
            false => Ok(()),
        }
    }

    /// Adds bytes behind all others: gathered if they are few, written as they are if many.
    fn put_value(&mut self, bytes: &[u8]) -> Result<(), SegmentError> {
        if bytes.len() >= RUN_BYTES {
            return self.write_run(bytes);
        }
        self.run.extend_from_slice(bytes);
        if self.run.len() >= RUN_BYTES { self.write_run(&[]) } else { Ok(()) }
    }

    /// Writes what is gathered, and `more` behind it.
    fn write_run(&mut self, more: &[u8]) -> Result<(), SegmentError> {
        let gathered = self.run.len() as u64;
        let batch = [
            WriteOp { offset: self.written, bytes: &self.run },
            WriteOp { offset: self.written + gathered, bytes: more },
        ];
        // Set until it is known better: after an error nothing about the file is certain.
        self.failed = true;
        self.file.write(if more.is_empty() { &batch[..1] } else { &batch })?;
        self.failed = false;
        self.written += gathered + more.len() as u64;
        self.run.clear();
        Ok(())
    }
}

/// An unfinished file is of no use, and on a full disk in the way.
impl Drop for SegmentWriter<'_> {
    fn drop(&mut self) {
        if !self.settled {
            // Best effort: the next writing open removes what is left. Its name may come back after a crash.
            let _ = self.storage.remove(&format::file_name(self.identity.id));
        }
    }
}

pub(super) fn widen(range: Option<(u64, u64)>, value: u64) -> (u64, u64) {
    range.map_or((value, value), |(low, high)| (low.min(value), high.max(value)))
}
