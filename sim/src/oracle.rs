//! What a store must answer: an ordered map that keeps its history by LSN. Nothing in it is fast or
//! clever, so that it can be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// The LSN of the operation that wrote it.
    pub version: u64,
    /// From when on it is absent, in ms of store time.
    pub death_ms: Option<u64>,
}

impl Entry {
    /// Whether it is there at `now_ms`.
    pub fn is_alive(&self, now_ms: u64) -> bool {
        self.death_ms.is_none_or(|death| now_ms < death)
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key gets a value.
    Put {
        /// The key.
        key: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
        /// From when on it is absent, in ms of store time.
        death_ms: Option<u64>,
    },
    /// The key is gone.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Change {
    /// The key that it changes.
    pub fn key(&self) -> &[u8] {
        match self {
            Change::Put { key, .. } | Change::Delete { key } => key,
        }
    }
}

/// One line of a listing with a delimiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A key without a delimiter behind the prefix.
    Key(Vec<u8>),
    /// What keys have in common up to, and including, the delimiter.
    Prefix(Vec<u8>),
}

/// The state of a store at one LSN.
pub type Contents = BTreeMap<Vec<u8>, Entry>;

/// A map with its history.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// For each key its versions in order; `None` where it was deleted.
    history: BTreeMap<Vec<u8>, Vec<(u64, Option<Entry>)>>,
    lsns: BTreeSet<u64>,
}

impl Oracle {
    /// No key, no history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the changes of one operation, which is one LSN; of several changes of a key the last counts.
    ///
    /// # Panics
    /// If `lsn` is not beyond all before it.
    pub fn apply(&mut self, lsn: u64, changes: &[Change]) {
        assert!(self.newest() < Some(lsn), "LSN {lsn} follows {:?}", self.newest());
        self.lsns.insert(lsn);
        for change in changes {
            let entry = match change {
                Change::Put { value, death_ms, .. } => {
                    Some(Entry { value: value.clone(), version: lsn, death_ms: *death_ms })
                }
                Change::Delete { .. } => None,
            };
            let versions = self.history.entry(change.key().to_vec()).or_default();
            if versions.last().is_some_and(|(last, _)| *last == lsn) {
                versions.pop();
            }
            versions.push((lsn, entry));
        }
    }

    /// Puts one key.
    pub fn put(&mut self, lsn: u64, key: &[u8], value: &[u8], death_ms: Option<u64>) {
        self.apply(lsn, &[Change::Put { key: key.to_vec(), value: value.to_vec(), death_ms }]);
    }

    /// Deletes one key.
    pub fn delete(&mut self, lsn: u64, key: &[u8]) {
        self.apply(lsn, &[Change::Delete { key: key.to_vec() }]);
    }

    /// The newest LSN.
    pub fn newest(&self) -> Option<u64> {
        self.lsns.last().copied()
    }

    /// The newest state.
    pub fn contents(&self) -> Contents {
        self.state_at(u64::MAX)
    }

    /// The state after the operation at `lsn` and all before it; the dead are included.
    pub fn state_at(&self, lsn: u64) -> Contents {
        let newest = |(key, versions): (&Vec<u8>, &Vec<(u64, Option<Entry>)>)| {
            let upto = versions.partition_point(|(version, _)| *version <= lsn);
            let entry = versions[..upto].last()?.1.clone()?;
            Some((key.clone(), entry))
        };
        self.history.iter().filter_map(newest).collect()
    }

    /// What a read of `key` finds at `lsn` and `now_ms`.
    pub fn get_at(&self, lsn: u64, key: &[u8], now_ms: u64) -> Option<&Entry> {
        let versions = self.history.get(key)?;
        let upto = versions.partition_point(|(version, _)| *version <= lsn);
        versions[..upto].last()?.1.as_ref().filter(|entry| entry.is_alive(now_ms))
    }

    /// The newest LSN from `oldest` to `newest` at which the store held exactly `observed`, as seen at `now_ms`:
    /// what a recovery may show when `oldest` was acknowledged and `newest` submitted.
    pub fn matching_lsn(&self, oldest: u64, newest: u64, observed: &Contents, now_ms: u64) -> Option<u64> {
        let later = self.lsns.range((Bound::Excluded(oldest), Bound::Included(newest)));
        let candidates = std::iter::once(&oldest).chain(later).rev();
        candidates.copied().find(|lsn| {
            let mut state = self.state_at(*lsn);
            state.retain(|_, entry| entry.is_alive(now_ms));
            state == *observed
        })
    }

    /// Forgets every operation beyond `lsn`: a crash has taken them.
    pub fn truncate_after(&mut self, lsn: u64) {
        self.lsns.retain(|known| *known <= lsn);
        self.history.retain(|_, versions| {
            versions.retain(|(version, _)| *version <= lsn);
            !versions.is_empty()
        });
    }

    /// The living entries between the bounds at `lsn`, in key order.
    pub fn range_at(
        &self,
        lsn: u64,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        now_ms: u64,
    ) -> Vec<(Vec<u8>, Entry)> {
        let inside = |key: &[u8]| {
            let above = match lower {
                Bound::Included(bound) => key >= bound,
                Bound::Excluded(bound) => key > bound,
                Bound::Unbounded => true,
            };
            above
                && match upper {
                    Bound::Included(bound) => key <= bound,
                    Bound::Excluded(bound) => key < bound,
                    Bound::Unbounded => true,
                }
        };
        let state = self.state_at(lsn);
        state.into_iter().filter(|(key, entry)| inside(key) && entry.is_alive(now_ms)).collect()
    }

    /// Everything that a listing of `prefix` at `lsn` shows, in order, behind `after`.
    pub fn list_at(
        &self,
        lsn: u64,
        prefix: &[u8],
        delimiter: Option<u8>,
        after: Option<&[u8]>,
        now_ms: u64,
    ) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        for (key, entry) in self.state_at(lsn) {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            if !entry.is_alive(now_ms) {
                continue;
            }
            let cut = delimiter.and_then(|byte| rest.iter().position(|b| *b == byte));
            let line = match cut {
                Some(at) => Listed::Prefix(key[..prefix.len() + at + 1].to_vec()),
                None => Listed::Key(key),
            };
            let (Listed::Key(name) | Listed::Prefix(name)) = &line;
            if after.is_none_or(|after| name.as_slice() > after) && listed.last() != Some(&line) {
                listed.push(line);
            }
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Oracle {
        let mut oracle = Oracle::new();
        oracle.put(10, b"a/1", b"one", None);
        oracle.put(20, b"a/2", b"two", Some(500));
        oracle.put(30, b"a/1", b"uno", None);
        oracle.delete(40, b"a/1");
        oracle.put(50, b"b", b"", None);
        oracle
    }

    #[test]
    fn a_read_finds_the_newest_version_up_to_the_lsn() {
        let oracle = sample();
        let value = |lsn, key: &[u8], now| oracle.get_at(lsn, key, now).map(|e| (e.value.clone(), e.version));
        assert_eq!(value(9, b"a/1", 0), None);
        assert_eq!(value(29, b"a/1", 0), Some((b"one".to_vec(), 10)));
        assert_eq!(value(30, b"a/1", 0), Some((b"uno".to_vec(), 30)));
        assert_eq!(value(40, b"a/1", 0), None);
        assert_eq!(value(40, b"a/2", 499), Some((b"two".to_vec(), 20)));
        assert_eq!(value(40, b"a/2", 500), None);
        assert_eq!(oracle.state_at(35).len(), 2);
        assert_eq!(oracle.contents().keys().collect::<Vec<_>>(), [&b"a/2"[..], b"b"]);
    }

    #[test]
    fn the_last_change_of_a_key_in_one_operation_counts() {
        let mut oracle = Oracle::new();
        let put = |value: &[u8]| Change::Put { key: b"k".to_vec(), value: value.to_vec(), death_ms: None };
        oracle.apply(1, &[put(b"x"), Change::Delete { key: b"k".to_vec() }, put(b"y")]);
        assert_eq!(oracle.contents()[&b"k"[..]].value, b"y");
        oracle.apply(2, &[put(b"z"), Change::Delete { key: b"k".to_vec() }]);
        assert!(oracle.contents().is_empty());
    }

    #[test]
    fn a_recovered_state_is_placed_at_its_lsn_and_a_mixture_nowhere() {
        let oracle = sample();
        for lsn in [20, 30, 40, 50] {
            assert_eq!(oracle.matching_lsn(20, 50, &oracle.state_at(lsn), 0), Some(lsn));
        }
        assert_eq!(oracle.matching_lsn(20, 50, &oracle.state_at(10), 0), None);
        let mut mixture = oracle.state_at(20);
        mixture.extend(oracle.state_at(50));
        assert_eq!(oracle.matching_lsn(20, 50, &mixture, 0), None);
    }

    #[test]
    fn what_a_crash_took_is_forgotten() {
        let mut oracle = sample();
        oracle.truncate_after(30);
        assert_eq!(oracle.newest(), Some(30));
        assert_eq!(oracle.contents(), sample().state_at(30));
        oracle.put(31, b"a/1", b"eins", None);
        assert_eq!(oracle.contents()[&b"a/1"[..]].version, 31);
    }

    #[test]
    fn a_listing_shows_each_common_prefix_once_and_no_dead_key() {
        let oracle = sample();
        let list = |prefix: &[u8], after, now| oracle.list_at(35, prefix, Some(b'/'), after, now);
        assert_eq!(list(b"", None, 0), [Listed::Prefix(b"a/".to_vec())]);
        assert_eq!(list(b"a/", None, 0), [Listed::Key(b"a/1".to_vec()), Listed::Key(b"a/2".to_vec())]);
        assert_eq!(list(b"a/", Some(b"a/1"), 0), [Listed::Key(b"a/2".to_vec())]);
        assert_eq!(list(b"a/", None, 500), [Listed::Key(b"a/1".to_vec())]);
        let range = oracle.range_at(35, Bound::Excluded(b"a/1"), Bound::Unbounded, 0);
        assert_eq!(range.len(), 1);
    }
}
