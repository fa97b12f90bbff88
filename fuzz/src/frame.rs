//! `frame_verify`: hostile frames through every way to read one, and through `verify`.
//!
//! The first byte of an input chooses where its frame comes from: bytes as they are, a frame that was built by
//! operations and then damaged, or an image. Whatever `verify` accepts is then held to what it promises: it is walked
//! both ways, each key that the walk shows is found, and changes leave a frame that `verify` accepts again. Whatever
//! it refuses must still be read without a panic and without end.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use treering_blobframe::{
    BlobFrame, BlobFrameRef, Cursor, Direction, Found, FrameId, FrameReport, ImageExpect, Insert, Leaf,
    LeafPointer, LeafValue, Remove, STAGING, Scratch, Step, decode_image, encode_image, image_checksum,
    key_bytes_max, verify,
};

use crate::input::Input;

/// Sizes of frame that inputs choose from.
const FRAME_BYTES: [usize; 3] = [4 << 10, 8 << 10, 32 << 10];

/// Steps of a walk over a frame that `verify` refused: shared children can make such a walk longer than
/// anyone would wait, which is why nobody walks a refused frame to its end.
const HOSTILE_STEPS_MAX: usize = 2000;

/// Operations that build a frame.
const OPERATIONS_MAX: usize = 200;

pub(crate) const SALT: [u8; 16] = *b"a store's own id";
pub(crate) const ID: FrameId = FrameId { number: 7, store_tag: 0x7ee0 };
pub(crate) const EPOCH: u64 = 3;

/// Keys that the target put in and their versions.
pub(crate) type Model = BTreeMap<Vec<u8>, u64>;

/// Feeds one frame, made as the input says.
pub fn frame_verify(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 4 {
        0 => hostile_words(&mut input),
        1 | 2 => damaged_frame(&mut input),
        _ => hostile_image(&mut input),
    }
}

pub(crate) fn cleared(input: &mut Input<'_>) -> Vec<AtomicU64> {
    let frame_bytes = FRAME_BYTES[input.below(FRAME_BYTES.len())];
    (0..frame_bytes / 8).map(|_| AtomicU64::new(0)).collect()
}

fn put(words: &[AtomicU64], at: usize, word: u64) {
    words[at].store(word, Ordering::Relaxed); // No other thread exists.
}

fn get(words: &[AtomicU64], at: usize) -> u64 {
    words[at].load(Ordering::Relaxed) // No other thread exists.
}

/// A frame of the input's own words: half of them from the bottom, half to the top, once with the first word
/// as it is and once as that of a frame.
fn hostile_words(input: &mut Input<'_>) {
    let words = cleared(input);
    let mut probe = Input::new(input.bytes(64));
    let given = input.rest().len().div_ceil(8).min(words.len());
    let bottom = given.div_ceil(2);
    (0..bottom).for_each(|at| put(&words, at, input.u64()));
    (words.len() - (given - bottom)..words.len()).for_each(|at| put(&words, at, input.u64()));
    exercise(&words, &mut probe);
    let blank: Vec<AtomicU64> = words.iter().map(|_| AtomicU64::new(0)).collect();
    let _ = BlobFrame::init(&blank, &ID, EPOCH);
    put(&words, 0, get(&blank, 0));
    exercise(&words, &mut probe);
}

/// A frame that operations built, compared with a model; then a few of its words changed.
fn damaged_frame(input: &mut Input<'_>) {
    let words = cleared(input);
    let mut frame = BlobFrame::init(&words, &ID, EPOCH);
    let model = build(input, &mut frame);
    agrees(frame.as_ref(), &model);
    let mut probe = Input::new(input.bytes(64));
    // Damage near the ends, where nodes and leaves are, more often than in the gap.
    while !input.is_empty() {
        let choice = input.byte();
        let near = input.below(words.len());
        let at = match choice % 4 {
            0 => near,
            1 => words.len() - 1 - near % (words.len() / 8),
            _ => near % (words.len() / 8),
        };
        let changed = match choice / 4 % 3 {
            0 => get(&words, at) ^ (1 << (input.byte() % 64)),
            1 => get(&words, at) ^ (u64::from(input.u16()) << (16 * (input.byte() % 4))),
            _ => input.u64(),
        };
        put(&words, at, changed);
    }
    exercise(&words, &mut probe);
}

/// An image: the input's own bytes, and that of a built frame with bytes changed.
fn hostile_image(input: &mut Input<'_>) {
    let into = cleared(input);
    let raw = input.rest();
    let expect = ImageExpect { number: ID.number, epoch: EPOCH, checksum: image_checksum(raw) };
    if decode_image(raw, &SALT, &expect, &into).is_ok() {
        exercise(&into, &mut Input::new(&[]));
    }

    let words = cleared(input);
    let mut frame = BlobFrame::init(&words, &ID, EPOCH);
    let model = build(input, &mut frame);
    let image = encode_image(frame.as_ref(), &SALT);
    let expect = ImageExpect { number: ID.number, epoch: EPOCH, checksum: image_checksum(&image) };
    let back: Vec<AtomicU64> = words.iter().map(|_| AtomicU64::new(0)).collect();
    decode_image(&image, &SALT, &expect, &back).expect("an image comes back");
    agrees(BlobFrameRef::attach(&back), &model);

    let mut changed = image.clone();
    for _ in 0..input.below(4) {
        let at = usize::try_from(input.u64() % changed.len().max(1) as u64).unwrap_or(0);
        match input.byte() % 8 {
            0 => changed.truncate(at),
            1 => changed.extend_from_slice(input.bytes(4096)),
            bits => changed.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits),
        }
    }
    let decoded = decode_image(&changed, &SALT, &expect, &back);
    assert!(changed == image || decoded.is_err(), "an image of other bytes than were written is accepted");
}

/// Applies the input's operations to a frame and returns what it must hold then.
pub(crate) fn build(input: &mut Input<'_>, frame: &mut BlobFrame<'_>) -> Model {
    let mut model = Model::new();
    let mut scratch = Scratch::default();
    let frame_bytes = frame.frame_bytes();
    for version in 1..=input.below(OPERATIONS_MAX) as u64 {
        match input.byte() % 32 {
            0 => frame.repack(&mut scratch).expect("a frame that we built is sound"),
            1 => split(frame, &mut scratch, &mut model),
            2..=8 => {
                let key = key(input, frame_bytes);
                match frame.remove(0, &key).expect("a frame that we built is sound") {
                    Remove::Removed => {
                        assert!(model.remove(&key).is_some(), "removed a key that was not there")
                    }
                    Remove::Absent => assert!(!model.contains_key(&key), "did not see a key that was there"),
                    Remove::Crossing { .. } => {}
                }
            }
            _ => {
                let key = key(input, frame_bytes);
                insert(input, frame, &key, version, &mut model);
            }
        }
    }
    model
}

fn insert(input: &mut Input<'_>, frame: &mut BlobFrame<'_>, key: &[u8], version: u64, model: &mut Model) {
    let shape = input.byte();
    let length = input.below(if shape & 8 == 0 { 16 } else { frame.frame_bytes() / 8 });
    let value = vec![shape; length];
    let segment = if shape & 2 == 0 { STAGING } else { u64::from(shape) };
    let pointer = LeafPointer { segment, offset: version, length: 1 << 20, crc: 5 };
    let leaf = Leaf {
        version,
        death: (shape & 4 != 0).then_some(version + 1),
        value: if shape & 1 == 0 { LeafValue::Inline(&value) } else { LeafValue::Pointer(pointer) },
    };
    match frame.insert(0, key, &leaf) {
        Ok(Insert::Inserted) => assert!(model.insert(key.to_vec(), version).is_none(), "a key was not seen"),
        Ok(Insert::Replaced) => assert!(model.insert(key.to_vec(), version).is_some(), "a key was imagined"),
        // Another frame's matter; or no room, and the frame is as it was.
        Ok(Insert::Crossing { .. }) | Err(treering_blobframe::FrameError::Alloc(_)) => {}
        Err(error) => panic!("a frame that we built is sound: {error}"),
    }
}

/// Splits and forgets the half that went.
fn split(frame: &mut BlobFrame<'_>, scratch: &mut Scratch, model: &mut Model) {
    let words: Vec<AtomicU64> = (0..frame.frame_bytes() / 8).map(|_| AtomicU64::new(0)).collect();
    let mut child = BlobFrame::init(&words, &FrameId { number: ID.number + 1, ..ID }, EPOCH);
    let before = frame.live_leaves();
    if let Ok(outcome) = frame.split_into(&mut child, scratch) {
        assert_eq!(before, frame.live_leaves() + child.live_leaves(), "a split loses leaves");
        assert_eq!(outcome.moved_leaves, child.live_leaves());
        verify(child.as_ref()).expect("a split leaves a sound child");
    }
    model.retain(|key, _| match frame.find(0, key).expect("a split leaves a sound frame") {
        Found::Leaf(_) => true,
        Found::Absent => panic!("a split loses {key:?}"),
        Found::Crossing { child, entry, consumed } => {
            let found = BlobFrameRef::attach(&words).find(entry, &key[consumed..]);
            assert!(
                child != ID.number + 1 || matches!(found, Ok(Found::Leaf(_))),
                "{key:?} is not in the child"
            );
            false
        }
    });
}

/// A key: often of few letters, so that keys share prefixes, sometimes of any bytes, sometimes the longest.
pub(crate) fn key(input: &mut Input<'_>, frame_bytes: usize) -> Vec<u8> {
    let shape = input.byte();
    let length = match shape % 16 {
        0 => key_bytes_max(frame_bytes),
        1..=3 => input.below(40),
        _ => input.below(6),
    };
    let mut key = if shape & 0x10 == 0 {
        input.bytes(length).iter().map(|byte| b"/ab\0"[usize::from(byte % 4)]).collect()
    } else {
        input.bytes(length).to_vec()
    };
    key.resize(length, shape);
    key
}

/// Holds a frame against the model of what was put into it.
pub(crate) fn agrees(frame: BlobFrameRef<'_>, model: &Model) {
    let report = verify(frame).expect("a frame that we built is sound");
    assert_eq!(report.leaves, model.len());
    assert_eq!(frame.live_leaves(), model.len());
    for (key, version) in model {
        let Ok(Found::Leaf(offset)) = frame.find(0, key) else { panic!("{key:?} is not found") };
        assert_eq!(frame.leaf(offset).expect("a found leaf is readable").version(), *version);
    }
    let (mut forward, ended) = walk(frame, 0, Bound::Unbounded, Direction::Forward, usize::MAX);
    assert!(ended && forward.iter().eq(model.keys()), "a walk forward shows other keys");
    let (backward, ended) = walk(frame, 0, Bound::Unbounded, Direction::Backward, usize::MAX);
    forward.reverse();
    assert!(ended && backward == forward, "a walk backward shows other keys");
}

/// Reads a frame in every way, and changes it if `verify` accepts it.
pub(crate) fn exercise(words: &[AtomicU64], probe: &mut Input<'_>) {
    let frame = BlobFrameRef::attach(words);
    let verdict = verify(frame);
    let _ = (frame.number(), frame.epoch(), frame.live_leaves(), frame.used_bytes(), frame.dead_bytes());
    let _ = (frame.fill(), frame.room(), frame.room_after_repack(), frame.is_formatted());
    for _ in 0..8 {
        let key = key(probe, frame.frame_bytes());
        let entry = u16::from(probe.byte() % 3);
        let found = frame.find(entry, &key);
        if let Ok(Found::Leaf(offset)) = found {
            read_leaf(frame, offset);
        }
        assert!(verdict.is_err() || entry >= frame.entries() || found.is_ok(), "a sound frame reads as torn");
        for direction in [Direction::Forward, Direction::Backward] {
            let steps = if verdict.is_ok() { usize::MAX } else { HOSTILE_STEPS_MAX };
            walk(frame, entry, Bound::Included(&key), direction, steps);
            walk(frame, entry, Bound::Excluded(&key), direction, steps);
        }
    }
    if let Ok(report) = verdict {
        sound(words, &report, probe);
    }
}

fn read_leaf(frame: BlobFrameRef<'_>, offset: treering_blobframe::LeafOffset) {
    let Ok(leaf) = frame.leaf(offset) else { return };
    let mut bytes = Vec::new();
    leaf.value_inline_to(&mut bytes);
    leaf.suffix_to(&mut bytes);
    assert!(bytes.len() <= frame.frame_bytes() * 2, "a leaf larger than its frame");
    let _ = (leaf.version(), leaf.death(), leaf.value_len(), leaf.pointer(), leaf.is_staged());
}

/// Walks an entry's subtree; returns the leaves' keys and whether the walk came to its end.
fn walk(
    frame: BlobFrameRef<'_>,
    entry: u16,
    bound: Bound<&[u8]>,
    direction: Direction,
    steps_max: usize,
) -> (Vec<Vec<u8>>, bool) {
    let mut keys = Vec::new();
    let Ok(mut cursor) = Cursor::seek(frame, entry, Vec::new(), bound, direction) else {
        return (keys, false);
    };
    for _ in 0..steps_max {
        match cursor.next(frame) {
            Ok(Step::Leaf(offset)) => {
                read_leaf(frame, offset);
                keys.push(cursor.key().to_vec());
            }
            Ok(Step::Crossing { .. }) => {
                let depth = cursor.path().len();
                assert!(depth <= frame.frame_bytes(), "a path longer than its frame");
            }
            Ok(Step::End) => return (keys, true),
            Err(_) => return (keys, false),
        }
    }
    (keys, false)
}

/// What `verify` promises of a frame that it accepts.
fn sound(words: &[AtomicU64], report: &FrameReport, probe: &mut Input<'_>) {
    let frame = BlobFrameRef::attach(words);
    let mut leaves = 0;
    for entry in 0..frame.entries() {
        let (keys, ended) = walk(frame, entry, Bound::Unbounded, Direction::Forward, usize::MAX);
        assert!(ended, "a walk over a sound frame does not end");
        assert!(keys.is_sorted_by(|a, b| a < b), "a sound frame's keys are out of order");
        leaves += keys.len();
        for key in &keys {
            assert!(matches!(frame.find(entry, key), Ok(Found::Leaf(_))), "{key:?} is shown and not found");
        }
    }
    assert_eq!(leaves, report.leaves);
    let mut frame = BlobFrame::attach(words);
    let mut scratch = Scratch::default();
    for version in 1..=8 {
        let key = key(probe, frame.frame_bytes());
        let leaf = Leaf { version, death: None, value: LeafValue::Inline(b"changed") };
        match probe.byte() % 4 {
            0 => frame.repack(&mut scratch).expect("a sound frame re-packs"),
            1 => drop(frame.remove(0, &key).expect("a sound frame takes a removal")),
            _ => {
                let torn = matches!(frame.insert(0, &key, &leaf), Err(treering_blobframe::FrameError::Torn));
                assert!(!torn, "a sound frame takes an insert");
            }
        }
        verify(frame.as_ref()).expect("a change leaves a sound frame sound");
    }
}
