//! A toy tree over many frames, as small as it can be: what the engine does with latches and
//! tables, this does with a map, to test frames through their crossings.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::atomic::AtomicU64;

use treering_blobframe::{
    BlobFrame, BlobFrameRef, Cursor, Direction, Found, FrameId, Insert, Leaf, LeafShape, LeafValue, Remove,
    Scratch, Step, verify,
};

pub(crate) fn blank(bytes: usize) -> Box<[AtomicU64]> {
    (0..bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

pub(crate) fn id(number: u64) -> FrameId {
    FrameId { number, store_tag: 0x5EED }
}

pub(crate) fn inline(version: u64, value: &[u8]) -> Leaf<'_> {
    Leaf { version, death: None, value: LeafValue::Inline(value) }
}

pub(crate) struct Forest {
    bytes: usize,
    pub(crate) frames: HashMap<u64, Box<[AtomicU64]>>,
    scratch: Scratch,
    pub(crate) groups: usize,
    pub(crate) splits: usize,
}

impl Forest {
    pub(crate) fn new(bytes: usize) -> Self {
        let words = blank(bytes);
        let _ = BlobFrame::init(&words, &id(1), 1);
        let frames = HashMap::from([(1, words)]);
        Self { bytes, frames, scratch: Scratch::default(), groups: 0, splits: 0 }
    }

    fn frame(&self, number: u64) -> BlobFrameRef<'_> {
        BlobFrameRef::attach(&self.frames[&number])
    }

    fn split(&mut self, number: u64) {
        let fresh = self.frames.len() as u64 + 1;
        let words = blank(self.bytes);
        let mut child = BlobFrame::init(&words, &id(fresh), 1);
        let mut frame = BlobFrame::attach(&self.frames[&number]);
        let used = frame.used_bytes();
        let leaves = frame.live_leaves();
        let outcome = frame.split_into(&mut child, &mut self.scratch).unwrap();
        assert!(frame.used_bytes() < used, "S1: a split takes something off the frame");
        assert_eq!(frame.live_leaves() + child.live_leaves(), leaves);
        assert_eq!(outcome.moved_leaves, child.live_leaves());
        verify(frame.as_ref()).unwrap();
        verify(child.as_ref()).unwrap();
        self.groups += usize::from(outcome.group);
        self.splits += 1;
        self.frames.insert(fresh, words);
    }

    pub(crate) fn put(&mut self, key: &[u8], leaf: &Leaf<'_>) -> Insert {
        let (mut number, mut entry, mut at) = (1, 0, 0);
        for _ in 0..4000 {
            let mut frame = BlobFrame::attach(&self.frames[&number]);
            if let Found::Crossing { child, entry: below, consumed } = frame.find(entry, &key[at..]).unwrap()
            {
                (number, entry, at) = (child, below, at + consumed);
                continue;
            }
            let bound = BlobFrame::insert_bound(key.len() - at, LeafShape::from(leaf));
            if frame.room() < bound {
                if frame.room_after_repack() >= bound && frame.dead_bytes() * 4 > self.bytes {
                    frame.repack(&mut self.scratch).unwrap();
                    verify(frame.as_ref()).unwrap();
                } else {
                    self.split(number);
                }
                continue;
            }
            match frame.insert(entry, &key[at..], leaf).unwrap() {
                Insert::Crossing { child, entry: below, consumed } => {
                    (number, entry, at) = (child, below, at + consumed);
                }
                done => return done,
            }
        }
        panic!("an insert does not end");
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (mut number, mut entry, mut at) = (1, 0, 0);
        loop {
            let frame = self.frame(number);
            match frame.find(entry, &key[at..]).unwrap() {
                Found::Absent => return None,
                Found::Crossing { child, entry: below, consumed } => {
                    (number, entry, at) = (child, below, at + consumed);
                }
                Found::Leaf(offset) => {
                    let leaf = frame.leaf(offset).unwrap();
                    let mut value = Vec::new();
                    leaf.value_inline_to(&mut value);
                    return Some((leaf.version(), value));
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> bool {
        let (mut number, mut entry, mut at) = (1, 0, 0);
        loop {
            let mut frame = BlobFrame::attach(&self.frames[&number]);
            match frame.remove(entry, &key[at..]).unwrap() {
                Remove::Absent => return false,
                Remove::Removed => return true,
                Remove::Crossing { child, entry: below, consumed } => {
                    (number, entry, at) = (child, below, at + consumed);
                }
            }
        }
    }

    /// Keys beyond `bound` in the direction's order.
    pub(crate) fn scan(&self, bound: Bound<&[u8]>, direction: Direction) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        self.scan_frame(1, 0, Vec::new(), bound, direction, &mut keys);
        keys
    }

    fn scan_frame(
        &self,
        number: u64,
        entry: u16,
        path: Vec<u8>,
        bound: Bound<&[u8]>,
        direction: Direction,
        keys: &mut Vec<Vec<u8>>,
    ) {
        let frame = self.frame(number);
        let mut cursor = Cursor::seek(frame, entry, path, bound, direction).unwrap();
        loop {
            match cursor.next(frame).unwrap() {
                Step::End => return,
                Step::Leaf(offset) => {
                    assert!(frame.leaf(offset).is_ok());
                    keys.push(cursor.key().to_vec());
                }
                Step::Crossing { child, entry } => {
                    self.scan_frame(child, entry, cursor.path().to_vec(), bound, direction, keys);
                }
            }
        }
    }

    pub(crate) fn verify(&self) {
        for words in self.frames.values() {
            verify(BlobFrameRef::attach(words)).unwrap();
        }
    }

    pub(crate) fn mean_fill(&self) -> f64 {
        let sum: f64 = self.frames.values().map(|words| BlobFrameRef::attach(words).fill()).sum();
        sum / f64::from(u32::try_from(self.frames.len()).unwrap())
    }
}
