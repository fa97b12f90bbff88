//! Proves every byte of a sealed segment: the second half of "Validity" in `format.rs`. Opening has
//! proved the first half, which is repeated here, since the file may have changed since. It repairs
//! nothing.

use super::filter::{self, KeyHash};
use super::format::{self, FOOTER_BYTES, Footer, HEADER_BYTES};
use super::merkle;
use super::reader::{Located, Open, SegmentReader};
use super::writer::widen;
use super::{SegmentError, SegmentSummary};

impl SegmentReader {
    /// Checks every byte of the file; the first damage found is the error. It reads the whole file and
    /// changes nothing.
    pub fn verify(&self) -> Result<(), SegmentError> {
        let open = &*self.open;
        open.check_length()?;
        check_frame(open)?;
        let mut walk = Walk::default();
        let mut at = HEADER_BYTES;
        while at < open.records_end() {
            let located = open.record_at(at)?;
            walk.see(open, at, &located)?;
            at = located.end;
        }
        walk.finish(open)
    }

    /// The Merkle root of what is in the file now; each value is checked on the way.
    pub fn recompute_root(&self) -> Result<[u8; 32], SegmentError> {
        let mut tree = merkle::Tree::default();
        for record in self {
            let record = record?;
            let value = record.value()?;
            tree.push(merkle::leaf(&record.key, (!record.tombstone).then_some(&value[..])));
        }
        Ok(tree.root())
    }
}

/// Header, footer, and the checksums of the sections between records and footer.
fn check_frame(open: &Open) -> Result<(), SegmentError> {
    let cohort = format::decode_header(&open.bytes, &open.identity, open.path())?;
    let footer_start = open.bytes.len() - FOOTER_BYTES;
    let footer = Footer::decode(&open.bytes[footer_start..], &open.identity)
        .map_err(|what| open.damage(what, footer_start))?;
    let known = SegmentSummary { key_range: None, ..open.footer.summary.clone() };
    if (Footer { summary: known, ..open.footer.clone() }) != footer || footer.summary.cohort != cohort {
        return Err(open.damage("the footer has changed since the file was opened", footer_start));
    }
    let index_start = open.records_end();
    let filter_start = index_start + open.index().len();
    let bounds_start = filter_start + open.filter().len();
    let checks = [
        (open.index(), footer.index_crc, index_start, "the index's checksum does not match"),
        (open.filter(), footer.filter_crc, filter_start, "the filter's checksum does not match"),
        (open.bounds(), footer.bounds_crc, bounds_start, "the key bounds' checksum does not match"),
    ];
    for (section, crc, offset, what) in checks {
        if crc32c::crc32c_append(open.salt, section) != crc {
            return Err(open.damage(what, offset));
        }
    }
    Ok(())
}

/// What a writer would have derived from the records seen so far.
#[derive(Default)]
struct Walk {
    records: u64,
    tombstones: u64,
    value_bytes: u64,
    undying: u64,
    lsn_range: Option<(u64, u64)>,
    written_range: Option<(u64, u64)>,
    death_range: Option<(u64, u64)>,
    tree: merkle::Tree,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    /// Index entries met.
    indexed: usize,
}

impl Walk {
    fn see(&mut self, open: &Open, at: usize, located: &Located) -> Result<(), SegmentError> {
        let header = &located.header;
        let key = open.key_of(located);
        let value = &open.bytes[located.value_start..located.end];
        if crc32c::crc32c(value) != header.value_crc {
            return Err(open.damage("a value's checksum does not match", located.value_start));
        }
        if self.records > 0 && key <= self.last_key.as_slice() {
            return Err(open.damage("keys do not ascend", at));
        }
        if self.indexed < open.index_entries() {
            let (offset, indexed_key) = open.index_entry(self.indexed)?;
            if offset == at && indexed_key == key {
                self.indexed += 1;
            } else if offset <= at {
                return Err(open.damage("the index names another record here", at));
            }
        }
        if self.indexed == 0 {
            return Err(open.damage("the index does not start with the first record", at));
        }
        if !filter::may_hold(open.filter(), open.footer.filter_probes, KeyHash::of(key)) {
            return Err(open.damage("the filter denies a key that is there", at));
        }
        if self.records == 0 {
            self.first_key = key.to_vec();
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.records += 1;
        self.tombstones += u64::from(header.tombstone);
        self.value_bytes += u64::from(header.value_len);
        self.lsn_range = Some(widen(self.lsn_range, header.lsn));
        self.written_range = Some(widen(self.written_range, header.written_ms));
        match header.death_ms {
            Some(death) => self.death_range = Some(widen(self.death_range, death)),
            None => self.undying += 1,
        }
        self.tree.push(merkle::leaf(key, (!header.tombstone).then_some(value)));
        Ok(())
    }

    fn finish(self, open: &Open) -> Result<(), SegmentError> {
        let summary = &open.footer.summary;
        if self.indexed != open.index_entries() {
            return Err(open.damage("the index names a record that is not there", open.records_end()));
        }
        let all_die = self.records > 0 && self.undying == 0;
        let derived = SegmentSummary {
            records: self.records,
            tombstones: self.tombstones,
            value_bytes: self.value_bytes,
            key_range: (self.records > 0).then(|| (self.first_key.into(), self.last_key.into())),
            lsn_range: self.lsn_range,
            written_range: self.written_range,
            min_death: self.death_range.map(|(min, _)| min),
            max_death: self.death_range.map(|(_, max)| max).filter(|_| all_die),
            merkle_root: self.tree.root(),
            ..summary.clone()
        };
        let footer_start = open.bytes.len() - FOOTER_BYTES;
        if derived.merkle_root != summary.merkle_root {
            return Err(open.damage("the Merkle root is not that of the records", footer_start));
        }
        if derived != *summary {
            return Err(open.damage("the footer does not describe the records", footer_start));
        }
        Ok(())
    }
}
