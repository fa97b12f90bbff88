//! Merging several sealed segments: in key order, all versions of a key together, the newest first.
//! The last writer, that is the highest LSN, wins. It decides nothing about what is alive beyond that.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bytes::Bytes;
use treering_segment::sealed::{Range, Record, SegmentError};

/// A record and the segment that it was read from.
#[derive(Clone, Debug)]
pub struct Version {
    /// The segment.
    pub segment: u64,
    /// The record.
    pub record: Record,
}

/// All versions of one key, the newest first; of one LSN that is in several segments (a copy that
/// relocation made) the youngest segment's comes first.
#[derive(Clone, Debug)]
pub struct Versions {
    /// The key.
    pub key: Bytes,
    /// At least one.
    pub versions: Vec<Version>,
}

/// What the heap holds of a segment: its next record.
struct Head {
    version: Version,
    source: usize,
}

impl Ord for Head {
    /// The heap's greatest comes first: smallest key, then highest LSN, then youngest segment.
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.version, &other.version);
        b.record.key.cmp(&a.record.key).then(a.record.lsn.cmp(&b.record.lsn)).then(a.segment.cmp(&b.segment))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

/// The versions of every key of several segments, in key order. Ends after the first error.
pub struct Merge {
    sources: Vec<(u64, Range)>,
    heads: BinaryHeap<Head>,
    started: bool,
    failed: bool,
}

impl Merge {
    /// Merges the ranges of the segments of these ids.
    pub fn new(sources: Vec<(u64, Range)>) -> Self {
        Self { sources, heads: BinaryHeap::new(), started: false, failed: false }
    }

    /// Whether every record of `segment` has been returned.
    pub fn is_exhausted(&self, segment: u64) -> bool {
        self.started && !self.heads.iter().any(|head| head.version.segment == segment)
    }

    /// The newest version of each key that is there at `now_ms`: neither deleted nor past its death.
    pub fn living(self, now_ms: u64) -> impl Iterator<Item = Result<Version, SegmentError>> {
        self.filter_map(move |next| match next {
            Ok(key) => {
                let newest = key.versions.into_iter().next()?;
                let there = !newest.record.tombstone && !is_expired(&newest.record, now_ms);
                there.then_some(Ok(newest))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn advance(&mut self, source: usize) -> Result<(), SegmentError> {
        let (segment, range) = &mut self.sources[source];
        if let Some(record) = range.next() {
            self.heads.push(Head { version: Version { segment: *segment, record: record? }, source });
        }
        Ok(())
    }

    fn next_versions(&mut self) -> Result<Option<Versions>, SegmentError> {
        if !self.started {
            self.started = true;
            (0..self.sources.len()).try_for_each(|source| self.advance(source))?;
        }
        let mut versions: Vec<Version> = Vec::new();
        while let Some(head) = self.heads.peek() {
            if versions.first().is_some_and(|first| first.record.key != head.version.record.key) {
                break;
            }
            let Some(head) = self.heads.pop() else { break };
            versions.push(head.version);
            self.advance(head.source)?;
        }
        Ok(versions.first().map(|first| first.record.key.clone()).map(|key| Versions { key, versions }))
    }
}

impl Iterator for Merge {
    type Item = Result<Versions, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_versions();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// Whether `record` is past its death.
pub fn is_expired(record: &Record, now_ms: u64) -> bool {
    record.death_ms.is_some_and(|death| death <= now_ms)
}
