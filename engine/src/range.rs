//! Ordered iteration over a range of keys. A [`Range`] owns what it needs and reads ahead in small
//! runs; it is *not* a snapshot: each run is atomic, the whole is not (PROTOCOL R3).

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::TreeState;
use crate::engine::Shared;
use crate::error::Result;
use crate::store::Store;
use treering_blobframe::Direction;

use crate::tree::{OwnedLeaf, Resume, ScanItem, ScanRequest};
use crate::write::internal_key;

/// How many entries the first and the longest run read.
const FIRST_RUN: usize = 16;
const LONGEST_RUN: usize = 512;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value; empty if only keys were asked for.
    pub value: Bytes,
    /// Bytes of the value.
    pub size: u64,
    /// The version: the LSN of the record that wrote it.
    pub version: u64,
    /// When it expires, in wall-clock milliseconds since the Unix epoch.
    pub expires_at_ms: Option<u64>,
}

/// An iterator over a range of a tree's keys, in byte order or against it.
#[derive(Debug)]
pub struct Range {
    shared: Arc<Shared>,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    direction: Direction,
    keys_only: bool,
    buffered: VecDeque<Entry>,
    run: usize,
    exhausted: bool,
}

impl Range {
    pub(crate) fn new(
        shared: Arc<Shared>,
        tree: &TreeState,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
    ) -> Self {
        let lower = match lower {
            Bound::Included(key) => Bound::Included(internal_key(tree.id, key)),
            Bound::Excluded(key) => Bound::Excluded(internal_key(tree.id, key)),
            Bound::Unbounded => Bound::Included(internal_key(tree.id, b"")),
        };
        let upper = match upper {
            Bound::Included(key) => Bound::Included(internal_key(tree.id, key)),
            Bound::Excluded(key) => Bound::Excluded(internal_key(tree.id, key)),
            Bound::Unbounded => Bound::Excluded(internal_key(tree.id + 1, b"")),
        };
        Self {
            shared,
            lower,
            upper,
            direction: Direction::Forward,
            keys_only: false,
            buffered: VecDeque::new(),
            run: FIRST_RUN,
            exhausted: false,
        }
    }

    /// Goes from the last key to the first. To be called before the first `next`.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.direction = Direction::Backward;
        self
    }

    /// Leaves the values out, which saves reading those that are not in the tree itself.
    #[must_use]
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// Reads the next run into the buffer.
    fn refill(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let store = &shared.store;
        store.open()?;
        let request = ScanRequest {
            lower: as_ref(&self.lower),
            upper: as_ref(&self.upper),
            direction: self.direction,
            limit: self.run,
            skip: None,
            keys_only: self.keys_only,
        };
        let mut items = Vec::with_capacity(self.run);
        let resume = store.scan(&request, &mut items)?;
        self.run = (self.run * 2).min(LONGEST_RUN);
        for item in items {
            let ScanItem::Leaf { key, leaf } = item else { continue };
            if let Some(entry) = store.entry_of(&key, leaf, self.keys_only)? {
                self.buffered.push_back(entry);
            }
        }
        match (resume, self.direction) {
            (Some(bound), Direction::Forward) => self.lower = bound,
            (Some(bound), Direction::Backward) => self.upper = bound,
            (None, _) => self.exhausted = true,
        }
        Ok(())
    }
}

impl Iterator for Range {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.buffered.is_empty() && !self.exhausted {
            if let Err(error) = self.refill() {
                self.exhausted = true;
                return Some(Err(error));
            }
        }
        self.buffered.pop_front().map(Ok)
    }
}

/// The exclusive upper bound of all keys that begin with `prefix`; `None` if there is none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut out = prefix[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

fn as_ref(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

impl Store {
    /// One run of a scan over live records, appended to `items`; says where to go on, if there may be more.
    pub(crate) fn scan(
        &self,
        request: &ScanRequest<'_>,
        items: &mut Vec<ScanItem>,
    ) -> Result<Option<Resume>> {
        let now = self.clock.now_ms();
        Ok(self.tree.collect(request, items, &|leaf| leaf.death.is_none_or(|death| now < death))?)
    }

    /// The user's view of a leaf; `None` if it went away while its value was being looked up.
    pub(crate) fn entry_of(&self, key: &[u8], leaf: OwnedLeaf, keys_only: bool) -> Result<Option<Entry>> {
        let (leaf, value) = if keys_only {
            (leaf, None)
        } else {
            let Some((leaf, value)) = self.with_value(key, leaf)? else { return Ok(None) };
            (leaf, Some(value))
        };
        Ok(Some(Entry {
            key: Bytes::copy_from_slice(&key[4..]),
            value: value.unwrap_or_default(),
            size: leaf.value_len,
            version: leaf.version,
            expires_at_ms: leaf.death.map(|death| self.clock.to_wall_ms(death)),
        }))
    }

    /// Up to `limit` internal keys of a tree, expired ones included.
    pub(crate) fn raw_keys(&self, tree_id: u32, limit: usize) -> Result<Vec<Vec<u8>>> {
        self.keys_between(&internal_key(tree_id, b""), &internal_key(tree_id + 1, b""), limit)
    }

    /// All keys of the catalogue from `from` on, without the tree id.
    pub(crate) fn catalog_keys(&self, from: &[u8]) -> Result<Vec<Vec<u8>>> {
        let lower = internal_key(crate::catalog::CATALOG_TREE, from);
        let upper = internal_key(crate::catalog::CATALOG_TREE + 1, b"");
        let keys = self.keys_between(&lower, &upper, usize::MAX)?;
        Ok(keys.into_iter().map(|key| key[4..].to_vec()).collect())
    }

    fn keys_between(&self, lower: &[u8], upper: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let mut items = Vec::new();
        let mut lower = Bound::Included(lower.to_vec());
        while items.len() < limit {
            let request = ScanRequest {
                lower: as_ref(&lower),
                upper: Bound::Excluded(upper),
                direction: Direction::Forward,
                limit: LONGEST_RUN.min(limit - items.len()),
                skip: None,
                keys_only: true,
            };
            match self.tree.collect(&request, &mut items, &|_| true)? {
                Some(resume) => lower = resume,
                None => break,
            }
        }
        Ok(items
            .into_iter()
            .map(|item| match item {
                ScanItem::Leaf { key, .. } | ScanItem::CommonPrefix(key) => key,
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn the_successor_of_a_prefix_is_just_past_all_its_keys() {
        assert_eq!(successor(b"a/"), Some(b"a0".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
