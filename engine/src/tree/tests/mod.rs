//! Tests of the tree as a whole; those of one file's own matter lie in that file.

mod captures;
mod model;
mod scans;
mod stress;
mod writers;

use super::{LeafData, LeafMeta, OwnedLeaf, ScanItem, ScanRequest, Skip, Tree, TreeOptions};
use std::collections::BTreeMap;
use std::ops::Bound;
use treering_blobframe::{Direction, Leaf, LeafPointer, LeafValue};

pub(super) const FRAME: usize = 4096;
pub(super) const TAG: u64 = 0x5eed;

/// Tells the other threads of a test to stop when its own part ends, be it by a panic.
pub(super) struct StopOnDrop<'a>(pub(super) &'a std::sync::atomic::AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// An owned description of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) version: u64,
    pub(super) death: Option<u64>,
    pub(super) data: Result<Vec<u8>, LeafPointer>,
}

impl Value {
    pub(super) fn leaf(&self) -> Leaf<'_> {
        let value = match &self.data {
            Ok(bytes) => LeafValue::Inline(bytes),
            Err(pointer) => LeafValue::Pointer(*pointer),
        };
        Leaf { version: self.version, death: self.death, value }
    }
}

impl From<OwnedLeaf> for Value {
    fn from(leaf: OwnedLeaf) -> Self {
        let data = match leaf.value {
            LeafData::Inline(bytes) => {
                assert_eq!(bytes.len() as u64, leaf.value_len);
                Ok(bytes.to_vec())
            }
            LeafData::Pointer(pointer) => Err(pointer),
        };
        Self { version: leaf.version, death: leaf.death, data }
    }
}

pub(super) type Model = BTreeMap<Vec<u8>, Value>;

/// A small generator: the same numbers for the same seed, everywhere.
#[derive(Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// A key like a path, of a space small enough for overwrites.
    pub(super) fn path(&mut self) -> Vec<u8> {
        let depth = 1 + self.below(4);
        let mut key = b"\0\0\0\x01".to_vec();
        for level in 0..depth {
            let name = match level {
                0 => format!("dir{}", self.below(6)),
                1 => format!("{:03}", self.below(20)),
                _ => format!("f{}", self.below(30)),
            };
            key.extend_from_slice(name.as_bytes());
            if level + 1 < depth || self.below(8) == 0 {
                key.push(b'/');
            }
        }
        key
    }

    /// Any bytes, with long shared runs and zeros.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        let len = match self.below(20) {
            0 => 0,
            1 => self.below(500),
            _ => self.below(8),
        };
        let alphabet = [0, 1, b'/', b'a', 0xfe, 0xff];
        let few = self.below(3) > 0;
        (0..len)
            .map(|_| if few { alphabet[self.below(6)] } else { u8::try_from(self.below(256)).unwrap() })
            .collect()
    }

    pub(super) fn value(&mut self, version: u64) -> Value {
        let death = (self.below(4) == 0).then(|| self.next());
        let data = match self.below(10) {
            0 => Err(LeafPointer {
                segment: self.next() % 9,
                offset: self.next(),
                length: u32::try_from(self.below(1 << 20)).unwrap(),
                crc: 7,
            }),
            1 => Ok(vec![0x5a; self.below(FRAME / 8 + 1)]),
            _ => Ok(version.to_le_bytes()[..self.below(9)].to_vec()),
        };
        Value { version, death, data }
    }
}

pub(super) fn options(next_frame: u64, epoch: u64) -> TreeOptions {
    TreeOptions { frame_bytes: FRAME, store_tag: TAG, root: 1, next_frame, epoch }
}

pub(super) fn new_tree() -> Tree {
    let tree = Tree::new(&options(1, 1));
    tree.create_root(1).unwrap();
    tree
}

pub(super) fn everything(direction: Direction) -> ScanRequest<'static> {
    ScanRequest {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        direction,
        limit: usize::MAX,
        skip: None,
        keys_only: false,
    }
}

pub(super) fn all_alive(_: &LeafMeta) -> bool {
    true
}

/// Every leaf, by a scan.
pub(super) fn contents(tree: &Tree, direction: Direction) -> Vec<(Vec<u8>, Value)> {
    let mut items = Vec::new();
    assert_eq!(tree.collect(&everything(direction), &mut items, &all_alive), Ok(None));
    items
        .into_iter()
        .map(|item| match item {
            ScanItem::Leaf { key, leaf } => (key, leaf.into()),
            ScanItem::CommonPrefix(prefix) => panic!("a common prefix {prefix:?} without a delimiter"),
        })
        .collect()
}

/// Compares everything that can be asked with the model.
pub(super) fn assert_equals(tree: &Tree, model: &Model) {
    tree.verify_frames().unwrap();
    let expected: Vec<_> = model.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut found = contents(tree, Direction::Forward);
    assert!(found == expected, "forward scan: {} of {}", found.len(), expected.len());
    found = contents(tree, Direction::Backward);
    found.reverse();
    assert!(found == expected, "backward scan: {} of {}", found.len(), expected.len());
    for (key, value) in model {
        assert_eq!(tree.get(key).unwrap().map(Value::from).as_ref(), Some(value), "{key:?}");
    }
    assert_eq!(tree.stats().leaves, model.len() as u64);
}
