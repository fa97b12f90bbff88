//! Answers from one sealed segment. It caches nothing but the mapping, trusts no length or offset,
//! and allocates nothing whose size comes from the file.
//!
//! - **S3** Opening checks header, footer and the sections index, filter and bounds (see "Validity" in
//!   `format.rs`); a record is checked when it is looked at, its value when it is asked for.
//! - **S4** Before the mapping is looked at, the file's length is checked (S2 in `mapping.rs`).

use std::cmp::Ordering;
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;

use super::filter::{self, KeyHash};
use super::format::{
    self, FOOTER_BYTES, Footer, HEADER_BYTES, INDEX_ENTRY_BYTES, Identity, RECORD_HEADER_BYTES, RecordHeader,
    u16_at, u64_at,
};
use super::mapping;
use super::range::Range;
use super::{RecordPointer, SegmentError, SegmentSummary};
use crate::error::Damage;
use crate::storage::{Access, MapAccess, Storage, StorageFile};
use crate::sync::Arc;

/// An open sealed segment; clones share it.
#[derive(Clone, Debug)]
pub struct SegmentReader {
    pub(super) open: Arc<Open>,
}

/// What all clones, and the records they return, share.
#[derive(Debug)]
pub(super) struct Open {
    file: Arc<dyn StorageFile>,
    pub(super) bytes: Bytes,
    pub(super) identity: Identity,
    pub(super) salt: u32,
    pub(super) footer: Footer,
    index_start: usize,
    filter_start: usize,
    bounds_start: usize,
    footer_start: usize,
    index_table: usize,
}

/// One record of a segment. Its value is checked when it is asked for.
#[derive(Clone, Debug)]
pub struct Record {
    /// The key; a slice of the mapping.
    pub key: Bytes,
    /// The version: LSN of the log record that wrote it.
    pub lsn: u64,
    /// When it was written, in store time, ms.
    pub written_ms: u64,
    /// From when on it is absent, in store time, ms.
    pub death_ms: Option<u64>,
    /// Whether the record says that the key is absent.
    pub tombstone: bool,
    /// Where the value lies.
    pub pointer: RecordPointer,
    /// Byte offset of the record itself.
    pub offset: u64,
    open: Arc<Open>,
}

impl Record {
    pub(super) fn of(open: &Arc<Open>, located: &Located) -> Self {
        let header = &located.header;
        Self {
            key: open.bytes.slice(located.key_start..located.value_start),
            lsn: header.lsn,
            written_ms: header.written_ms,
            death_ms: header.death_ms,
            tombstone: header.tombstone,
            pointer: RecordPointer {
                offset: located.value_start as u64,
                length: header.value_len,
                crc: header.value_crc,
            },
            offset: located.offset as u64,
            open: Arc::clone(open),
        }
    }

    /// The value, a slice of the mapping; its checksum is verified first.
    pub fn value(&self) -> Result<Bytes, SegmentError> {
        self.open.payload(&self.pointer)
    }
}

/// A record's parts, as offsets in the file.
pub(super) struct Located {
    pub(super) header: RecordHeader,
    offset: usize,
    key_start: usize,
    pub(super) value_start: usize,
    pub(super) end: usize,
}

impl Open {
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    pub(super) fn damage(&self, what: &str, offset: usize) -> SegmentError {
        Damage::new(what, self.path(), offset as u64).into()
    }

    /// S4.
    pub(super) fn check_length(&self) -> Result<(), SegmentError> {
        let len = self.file.len()?;
        if len < self.footer.summary.file_bytes {
            return Err(Damage::new("the file was cut short", self.path(), len).into());
        }
        Ok(())
    }

    pub(super) fn index(&self) -> &[u8] {
        &self.bytes[self.index_start..self.filter_start]
    }

    pub(super) fn filter(&self) -> &[u8] {
        &self.bytes[self.filter_start..self.bounds_start]
    }

    pub(super) fn bounds(&self) -> &[u8] {
        &self.bytes[self.bounds_start..self.footer_start]
    }

    /// Where the records end.
    pub(super) fn records_end(&self) -> usize {
        self.index_start
    }

    /// The record at `offset`, which may be anything.
    pub(super) fn record_at(&self, offset: usize) -> Result<Located, SegmentError> {
        let rest = self.bytes.get(offset..self.records_end()).filter(|_| offset >= HEADER_BYTES);
        let rest = rest.ok_or_else(|| self.damage("an offset points outside the records", offset))?;
        let header =
            RecordHeader::decode(self.salt, offset as u64, rest).map_err(|what| self.damage(what, offset))?;
        // Inside the mapping, as `decode` has checked.
        let key_start = offset + RECORD_HEADER_BYTES;
        let value_start = key_start + usize::from(header.key_len);
        let end = value_start + header.value_len as usize;
        Ok(Located { header, offset, key_start, value_start, end })
    }

    pub(super) fn key_of(&self, located: &Located) -> &[u8] {
        &self.bytes[located.key_start..located.value_start]
    }

    /// Entry `n` of the index: the record's offset, and its key.
    pub(super) fn index_entry(&self, n: usize) -> Result<(usize, &[u8]), SegmentError> {
        let index = self.index();
        let damaged = || self.damage("an index entry reaches outside the index", self.index_start);
        let table = index.get(self.index_table..).unwrap_or_default();
        let slot = table.get(n * 8..n * 8 + 8).ok_or_else(damaged)?;
        let position = usize::try_from(u64_at(slot, 0)).map_err(|_| damaged())?;
        let entries = &index[..self.index_table];
        let rest =
            entries.get(position..).filter(|rest| rest.len() >= INDEX_ENTRY_BYTES).ok_or_else(damaged)?;
        let key_end = INDEX_ENTRY_BYTES + usize::from(u16_at(rest, 8));
        let key = rest.get(INDEX_ENTRY_BYTES..key_end).ok_or_else(damaged)?;
        let offset = usize::try_from(u64_at(rest, 0)).map_err(|_| damaged())?;
        Ok((offset, key))
    }

    pub(super) fn index_entries(&self) -> usize {
        (self.index().len() - self.index_table) / 8
    }

    /// Where to start reading to meet every record whose key is at least `key`.
    pub(super) fn seek(&self, key: &[u8]) -> Result<usize, SegmentError> {
        let (mut low, mut high) = (0, self.index_entries());
        let mut start = HEADER_BYTES;
        while low < high {
            let middle = low + (high - low) / 2;
            let (offset, found) = self.index_entry(middle)?;
            if found <= key {
                start = offset;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(start)
    }

    fn payload(&self, pointer: &RecordPointer) -> Result<Bytes, SegmentError> {
        let outside =
            || Damage::new("a pointer leads outside the records", self.path(), pointer.offset).into();
        let start = usize::try_from(pointer.offset).map_err(|_| outside())?;
        let end = start.checked_add(pointer.length as usize).ok_or_else(outside)?;
        if start < HEADER_BYTES || end > self.records_end() {
            return Err(outside());
        }
        self.check_length()?;
        let value = self.bytes.slice(start..end);
        if crc32c::crc32c(&value) != pointer.crc {
            return Err(self.damage("a value's checksum does not match", start));
        }
        Ok(value)
    }
}

impl SegmentReader {
    /// Opens segment `id` of store `store_id` and validates everything but its records.
    pub fn open(storage: &dyn Storage, id: u64, store_id: [u8; 16]) -> Result<Self, SegmentError> {
        let file = storage.open(&format::file_name(id), Access::Read)?;
        let path = file.path().to_path_buf();
        let damaged = |what: &str, offset: u64| SegmentError::from(Damage::new(what, &path, offset));
        let len = file.len()?;
        let too_short = || damaged("too short for a sealed segment", 0);
        let size = usize::try_from(len).map_err(|_| too_short())?;
        if size < HEADER_BYTES + FOOTER_BYTES {
            return Err(too_short());
        }
        let bytes = mapping::bytes_over(file.map(0, size, MapAccess::Read)?);
        let identity = Identity { id, store_id };
        let cohort = format::decode_header(&bytes, &identity, &path)?;
        let footer_start = size - FOOTER_BYTES;
        let mut footer = Footer::decode(&bytes[footer_start..], &identity)
            .map_err(|what| damaged(what, footer_start as u64))?;
        let sections = Sections::of(&footer, footer_start)
            .filter(|_| footer.summary.cohort == cohort && footer.summary.file_bytes == len)
            .ok_or_else(|| damaged("the footer does not fit the file", footer_start as u64))?;
        let salt = identity.salt();
        let Sections { index_start, filter_start, bounds_start, index_table } = sections;
        let checks = [
            (index_start, filter_start, footer.index_crc, "the index's checksum does not match"),
            (filter_start, bounds_start, footer.filter_crc, "the filter's checksum does not match"),
            (bounds_start, footer_start, footer.bounds_crc, "the key bounds' checksum does not match"),
        ];
        for (start, end, crc, what) in checks {
            if crc32c::crc32c_append(salt, &bytes[start..end]) != crc {
                return Err(damaged(what, start as u64));
            }
        }
        if footer.summary.records > 0 {
            let bounds = bytes.slice(bounds_start..footer_start);
            let split = footer.first_key_len as usize;
            // Copies, so that a summary outlives the mapping.
            let copy = |range: &[u8]| Bytes::copy_from_slice(range);
            footer.summary.key_range = Some((copy(&bounds[..split]), copy(&bounds[split..])));
        }
        let open = Open {
            file,
            bytes,
            identity,
            salt,
            footer,
            index_start,
            filter_start,
            bounds_start,
            footer_start,
            index_table,
        };
        Ok(Self { open: Arc::new(open) })
    }

    /// What the footer says.
    pub fn summary(&self) -> &SegmentSummary {
        &self.open.footer.summary
    }

    /// The record of `key`, tombstones included.
    pub fn get(&self, key: &[u8]) -> Result<Option<Record>, SegmentError> {
        self.open.check_length()?;
        let probes = self.open.footer.filter_probes;
        if !filter::may_hold(self.open.filter(), probes, KeyHash::of(key)) {
            return Ok(None);
        }
        let mut at = self.open.seek(key)?;
        while at < self.open.records_end() {
            let located = self.open.record_at(at)?;
            match self.open.key_of(&located).cmp(key) {
                Ordering::Less => at = located.end,
                Ordering::Equal => return Ok(Some(Record::of(&self.open, &located))),
                Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// The records between two bounds, in key order, tombstones included. The iterator ends after
    /// its first error.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
        Range::new(Arc::clone(&self.open), from, to)
    }

    /// All records, in key order.
    pub fn iter(&self) -> Range {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// The value that a pointer names, a slice of the mapping, once it passes `crc`. A pointer that
    /// leads elsewhere than to such bytes is damage.
    pub fn read_payload(&self, offset: u64, len: u32, crc: u32) -> Result<Bytes, SegmentError> {
        self.open.payload(&RecordPointer { offset, length: len, crc })
    }
}

impl IntoIterator for &SegmentReader {
    type Item = Result<Record, SegmentError>;
    type IntoIter = Range;

    fn into_iter(self) -> Range {
        self.iter()
    }
}

/// Section starts, checked to lie in order in the file.
struct Sections {
    index_start: usize,
    filter_start: usize,
    bounds_start: usize,
    /// Where, in the index, the table of positions starts.
    index_table: usize,
}

impl Sections {
    fn of(footer: &Footer, footer_start: usize) -> Option<Self> {
        let index_start = usize::try_from(footer.index_start).ok()?;
        let filter_start = usize::try_from(footer.filter_start).ok()?;
        let bounds_start = usize::try_from(footer.bounds_start).ok()?;
        let in_order = HEADER_BYTES <= index_start
            && index_start <= filter_start
            && filter_start <= bounds_start
            && bounds_start <= footer_start;
        if !in_order || footer.first_key_len as usize > footer_start - bounds_start {
            return None;
        }
        let table_bytes = usize::try_from(footer.index_entries).ok()?.checked_mul(8)?;
        let index_table = (filter_start - index_start).checked_sub(table_bytes)?;
        let probes_are_sane = footer.filter_probes <= filter::MAX_PROBES;
        probes_are_sane.then_some(Self { index_start, filter_start, bounds_start, index_table })
    }
}
