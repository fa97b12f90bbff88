//! `frame_operations`: operations on one frame against an ordered map.
//!
//! What every operation answers is held against the map at once, the whole frame now and then and at the end.
//! A split takes the keys that went out of the map; whatever crosses into the other frame is not this frame's.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::AtomicU64;

use treering_blobframe::{
    BlobFrame, BlobFrameRef, Cursor, Direction, Found, FrameError, FrameId, Insert, Leaf, LeafPointer,
    LeafShape, LeafValue, Remove, STAGING, Scratch, Step, verify,
};

use crate::frame::{EPOCH, ID, cleared, key};
use crate::input::Input;

const OPERATIONS_MAX: u64 = 1500;
/// Operations between two looks at the whole frame.
const CHECK_EVERY: u64 = 64;

/// What a leaf holds.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    version: u64,
    death: Option<u64>,
    value: Value,
}

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Inline(Vec<u8>),
    Pointer(LeafPointer),
}

impl Held {
    fn drawn(input: &mut Input<'_>, version: u64, frame_bytes: usize) -> Self {
        let shape = input.byte();
        let value = if shape & 1 == 0 {
            Value::Inline(vec![shape; input.below(if shape & 8 == 0 { 40 } else { frame_bytes / 8 + 1 })])
        } else {
            let segment = if shape & 2 == 0 { STAGING } else { u64::from(shape) };
            Value::Pointer(LeafPointer { segment, offset: version, length: u32::from(input.u16()), crc: 5 })
        };
        Self { version, death: (shape & 4 != 0).then_some(version + 1), value }
    }

    fn leaf(&self) -> Leaf<'_> {
        let value = match &self.value {
            Value::Inline(bytes) => LeafValue::Inline(bytes),
            Value::Pointer(pointer) => LeafValue::Pointer(*pointer),
        };
        Leaf { version: self.version, death: self.death, value }
    }

    fn shape(&self) -> LeafShape {
        let inline = match &self.value {
            Value::Inline(bytes) => Some(bytes.len()),
            Value::Pointer(_) => None,
        };
        LeafShape { death: self.death.is_some(), inline }
    }

    fn read(frame: BlobFrameRef<'_>, at: treering_blobframe::LeafOffset) -> Self {
        let leaf = frame.leaf(at).expect("a leaf that was found is readable");
        let value = match leaf.pointer() {
            Some(pointer) => Value::Pointer(pointer),
            None => {
                let mut bytes = Vec::new();
                leaf.value_inline_to(&mut bytes);
                Value::Inline(bytes)
            }
        };
        Self { version: leaf.version(), death: leaf.death(), value }
    }
}

/// Feeds one sequence of operations.
pub fn frame_operations(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let words = cleared(&mut input);
    let mut run = Run {
        frame: BlobFrame::init(&words, &ID, EPOCH),
        model: BTreeMap::new(),
        scratch: Scratch::default(),
        children: 0,
    };
    for version in 1..=OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        run.operation(&mut input, version);
        if version.is_multiple_of(CHECK_EVERY) {
            run.whole();
        }
    }
    run.whole();
    run.frame.repack(&mut run.scratch).expect("a sound frame re-packs");
    run.whole();
}

struct Run<'f> {
    frame: BlobFrame<'f>,
    model: BTreeMap<Vec<u8>, Held>,
    scratch: Scratch,
    children: u64,
}

impl Run<'_> {
    fn operation(&mut self, input: &mut Input<'_>, version: u64) {
        let choice = input.byte();
        if choice.is_multiple_of(64) {
            return self.split();
        }
        if choice % 64 == 1 {
            return self.frame.repack(&mut self.scratch).expect("a sound frame re-packs");
        }
        let key = key(input, self.frame.frame_bytes());
        match choice % 8 {
            0..=1 => self.remove(&key),
            2 => self.seek(input, &key),
            _ => self.insert(input, &key, version),
        }
        self.find(&key);
    }

    fn insert(&mut self, input: &mut Input<'_>, key: &[u8], version: u64) {
        let held = Held::drawn(input, version, self.frame.frame_bytes());
        let bound = BlobFrame::insert_bound(key.len(), held.shape());
        let fits = self.frame.as_ref().room() >= bound;
        match self.frame.insert(0, key, &held.leaf()) {
            Ok(Insert::Inserted) => {
                assert!(self.model.insert(key.to_vec(), held).is_none(), "an insert did not see {key:?}");
            }
            Ok(Insert::Replaced) => {
                assert!(self.model.insert(key.to_vec(), held).is_some(), "an insert imagined {key:?}");
            }
            Ok(Insert::Crossing { .. }) => {
                assert!(self.children > 0 && !self.model.contains_key(key), "{key:?} is this frame's")
            }
            // Without room the frame is as it was, which `find` and `whole` see.
            Err(FrameError::Alloc(error)) => {
                let sizes_are_legal = !matches!(error, treering_blobframe::AllocError::InvalidRequest);
                assert!(!(fits && sizes_are_legal), "no room where there is as much as the bound: {error}");
            }
            Err(error) => panic!("a sound frame: {error}"),
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let was = self.model.remove(key).is_some();
        match self.frame.remove(0, key).expect("a sound frame") {
            Remove::Removed => assert!(was, "removed {key:?}, which was not there"),
            Remove::Absent => assert!(!was, "did not see {key:?}"),
            Remove::Crossing { .. } => assert!(!was && self.children > 0, "{key:?} is this frame's"),
        }
    }

    fn find(&self, key: &[u8]) {
        let frame = self.frame.as_ref();
        match frame.find(0, key).expect("a sound frame") {
            Found::Leaf(at) => assert_eq!(Some(&Held::read(frame, at)), self.model.get(key), "{key:?}"),
            Found::Absent => assert!(!self.model.contains_key(key), "{key:?} is not found"),
            Found::Crossing { .. } => {
                assert!(self.children > 0 && !self.model.contains_key(key), "{key:?} is this frame's")
            }
        }
    }

    /// The next leaves from a bound on, in both directions.
    fn seek(&self, input: &mut Input<'_>, key: &[u8]) {
        let excluded = input.byte().is_multiple_of(2);
        let bound = if excluded { Bound::Excluded(key) } else { Bound::Included(key) };
        let above = self.model.range::<[u8], _>((bound, Bound::Unbounded)).map(|(key, _)| key);
        self.same_keys(bound, Direction::Forward, above.take(5));
        let below = self.model.range::<[u8], _>((Bound::Unbounded, bound)).map(|(key, _)| key);
        self.same_keys(bound, Direction::Backward, below.rev().take(5));
    }

    fn same_keys<'k>(
        &self,
        bound: Bound<&[u8]>,
        direction: Direction,
        expected: impl Iterator<Item = &'k Vec<u8>>,
    ) {
        let frame = self.frame.as_ref();
        let mut cursor = Cursor::seek(frame, 0, Vec::new(), bound, direction).expect("a sound frame");
        for key in expected {
            loop {
                match cursor.next(frame).expect("a sound frame") {
                    Step::Leaf(_) => break assert_eq!(cursor.key(), key, "from {bound:?} {direction:?}"),
                    Step::Crossing { .. } => {}
                    Step::End => panic!("{key:?} is not shown from {bound:?} {direction:?}"),
                }
            }
        }
    }

    fn whole(&self) {
        let frame = self.frame.as_ref();
        let report = verify(frame).expect("operations leave a sound frame");
        assert_eq!((report.leaves, frame.live_leaves()), (self.model.len(), self.model.len()));
        let mut cursor =
            Cursor::seek(frame, 0, Vec::new(), Bound::Unbounded, Direction::Forward).expect("a sound frame");
        let mut expected = self.model.iter();
        loop {
            match cursor.next(frame).expect("a sound frame") {
                Step::Leaf(at) => {
                    let shown = (cursor.key().to_vec(), Held::read(frame, at));
                    assert_eq!(Some((&shown.0, &shown.1)), expected.next());
                }
                Step::Crossing { .. } => {}
                Step::End => break assert_eq!(expected.next(), None),
            }
        }
    }

    /// Splits, follows every key that went into the child, and forgets it.
    fn split(&mut self) {
        let words: Vec<AtomicU64> = (0..self.frame.frame_bytes() / 8).map(|_| AtomicU64::new(0)).collect();
        let number = ID.number + 1 + self.children;
        let mut child = BlobFrame::init(&words, &FrameId { number, ..ID }, EPOCH);
        let Ok(outcome) = self.frame.split_into(&mut child, &mut self.scratch) else { return };
        self.children += 1;
        let child = child.as_ref();
        verify(child).expect("a split leaves a sound child");
        assert_eq!(outcome.moved_leaves, child.live_leaves());
        let frame = self.frame.as_ref();
        self.model.retain(|key, held| match frame.find(0, key).expect("a split leaves a sound frame") {
            Found::Leaf(_) => true,
            Found::Absent => panic!("a split loses {key:?}"),
            Found::Crossing { child: to, entry, consumed } => {
                assert_eq!(to, number, "{key:?} has gone elsewhere");
                let found = child.find(entry, &key[consumed..]).expect("a sound child");
                let Found::Leaf(at) = found else { panic!("{key:?} is not in the child") };
                assert_eq!(Held::read(child, at), *held);
                false
            }
        });
        self.whole();
    }
}
