//! Typed allocation: what it refuses, what it hands out again.

use treering_blobframe::{
    AllocError, BlobFrame, FrameError, FreeError, Leaf, LeafPointer, LeafShape, LeafValue, NodeType,
    SPILLOVER_RESERVATION, STAGING, Scratch, verify,
};

use crate::forest::{blank, id, inline};

#[test]
fn only_a_crossing_takes_the_reservation() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    let room = frame.room();
    assert_eq!(frame.alloc_extent(room + 1), Err(AllocError::OutOfSpace { need: room + 8, avail: room }));
    frame.alloc_extent(room).unwrap();
    assert_eq!(frame.room(), 0);
    assert_eq!(frame.alloc_node(NodeType::Node4), Err(AllocError::OutOfSpace { need: 24, avail: 0 }));
    for _ in 0..SPILLOVER_RESERVATION / NodeType::Crossing.bytes() {
        frame.alloc_node(NodeType::Crossing).unwrap();
    }
    assert_eq!(frame.alloc_node(NodeType::Crossing), Err(AllocError::OutOfSpace { need: 16, avail: 0 }));
}

#[test]
fn freed_nodes_of_one_size_come_back_last_in_first_out() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    let [one, two, three] = [0; 3].map(|_| frame.alloc_node(NodeType::Node4).unwrap());
    let with_prefix = frame.alloc_node_with_prefix(NodeType::Node4, b"longer").unwrap();
    frame.free_node(one).unwrap();
    frame.free_node(two).unwrap();
    assert_eq!(frame.free_node(two), Err(FreeError::NotANode));
    assert_eq!(frame.alloc_node(NodeType::Node4), Ok(two));
    assert_eq!(frame.alloc_node(NodeType::Node4), Ok(one));
    let room = frame.room();
    frame.free_node(with_prefix).unwrap();
    assert_eq!(frame.room(), room + 32, "the topmost node widens the gap");
    assert_eq!(frame.free_node(with_prefix), Err(FreeError::OutOfBounds));
    frame.free_node(three).unwrap();
}

#[test]
fn illegal_requests_are_told_from_full_frames() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    let invalid = Err(FrameError::Alloc(AllocError::InvalidRequest));
    assert_eq!(frame.insert(0, &[b'k'; 517], &inline(1, b"")), invalid);
    assert_eq!(frame.insert(0, b"k", &inline(1, &[0; 513])), invalid);
    assert_eq!(frame.insert(1, b"k", &inline(1, b"")), Err(FrameError::Torn), "there is no entry 1");
    assert_eq!(frame.alloc_extent(0), Err(AllocError::InvalidRequest));
    assert_eq!(frame.alloc_node_with_prefix(NodeType::Crossing, b"x"), Err(AllocError::InvalidRequest));
    assert_eq!(frame.live_leaves(), 0);
}

#[test]
fn a_failed_insert_changes_no_word() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    let snapshot = |words: &[std::sync::atomic::AtomicU64]| -> Vec<u64> {
        words.iter().map(|word| word.load(std::sync::atomic::Ordering::Relaxed)).collect()
    };
    let mut random = crate::random::Random(9);
    let mut refused = 0;
    for _ in 0..4000 {
        let key = random.clashing_key(12);
        let len = random.below(200);
        let value = random.bytes(len);
        let before = snapshot(&words);
        let bound = BlobFrame::insert_bound(key.len(), LeafShape { death: false, inline: Some(len) });
        let room = frame.room();
        if frame.insert(0, &key, &inline(1, &value)).is_err() {
            refused += 1;
            assert!(room < bound, "an insert within its bound is refused");
            // What a failed insert wrote into the gap is nobody's.
            let (top, bottom) = ((before[4] & 0xffff_ffff) as usize, (before[4] >> 32) as usize);
            let mut after = snapshot(&words);
            after[top..bottom].copy_from_slice(&before[top..bottom]);
            assert_eq!(after, before);
            frame.remove(0, &random.clashing_key(3)).unwrap();
        }
    }
    assert!(refused > 50, "{refused}");
    verify(frame.as_ref()).unwrap();
}

#[test]
fn a_leaf_gives_back_all_that_was_put_in_through_every_move() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    let staged = LeafPointer { segment: STAGING, offset: 1 << 40, length: 70_000, crc: 0xDEAD_BEEF };
    let sealed = LeafPointer { segment: 9, offset: 4096, length: 70_000, crc: 0xDEAD_BEEF };
    let with_death = Leaf { version: 5, death: Some(77), value: LeafValue::Pointer(staged) };
    frame.insert(0, b"some/long/path", &with_death).unwrap();
    frame.insert(0, b"some/long/other", &inline(6, b"value")).unwrap();
    assert_eq!(frame.update_pointer(0, b"some/long/path", &sealed, &staged), Ok(false));
    assert_eq!(frame.update_pointer(0, b"some/long/path", &staged, &sealed), Ok(true));
    assert_eq!(frame.update_pointer(0, b"some/long/other", &staged, &sealed), Ok(false));
    frame.remove(0, b"some/long/other").unwrap();
    frame.repack(&mut Scratch::default()).unwrap();
    let treering_blobframe::Found::Leaf(at) = frame.find(0, b"some/long/path").unwrap() else { panic!() };
    let leaf = frame.leaf(at).unwrap();
    assert_eq!((leaf.version(), leaf.death(), leaf.pointer()), (5, Some(77), Some(sealed)));
    assert_eq!((leaf.value_len(), leaf.is_inline(), leaf.is_staged()), (70_000, false, false));
    verify(frame.as_ref()).unwrap();
}

#[test]
fn whether_a_key_falls_into_a_groups_gap_is_told_before_anything_changes() {
    let (words, other) = (blank(4096), blank(4096));
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    for byte in (0..=254u8).step_by(2) {
        if frame.room() > 200 {
            frame.insert(0, &[b'x', byte], &inline(1, &[0; 20])).unwrap();
        }
    }
    let mut child = BlobFrame::init(&other, &id(2), 1);
    assert!(frame.split_into(&mut child, &mut Scratch::default()).unwrap().group);
    let mut gaps = 0;
    for byte in 0..=255u8 {
        let key = [b'x', byte];
        let found = frame.find(0, &key).unwrap();
        let gap = frame.is_gap(0, &key).unwrap();
        assert!(!gap || found == treering_blobframe::Found::Absent);
        gaps += usize::from(gap);
        if found == treering_blobframe::Found::Absent && frame.room() > 200 {
            let done = frame.insert(0, &key, &inline(2, b"")).unwrap();
            assert_eq!(matches!(done, treering_blobframe::Insert::Crossing { .. }), gap);
        }
    }
    assert!(gaps > 5 && !frame.is_gap(0, b"y").unwrap() && !frame.is_gap(0, b"").unwrap());
}

/// Leaves exactly `bytes` bytes of room.
fn fill_up_to(frame: &mut BlobFrame<'_>, bytes: usize) {
    frame.alloc_extent(frame.room() - bytes).unwrap();
    assert_eq!(frame.room(), bytes);
}

#[test]
fn an_insert_that_has_room_for_the_leaf_but_not_for_the_larger_node_leaves_no_leaf() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    for byte in b"abcd" {
        frame.insert(0, &[*byte], &inline(1, b"")).unwrap();
    }
    fill_up_to(&mut frame, 24);
    assert!(matches!(frame.insert(0, b"e", &inline(1, b"")), Err(FrameError::Alloc(_))));
    assert_eq!((frame.live_leaves(), frame.room()), (4, 24), "the leaf's room is given back");
    assert!(matches!(frame.insert(0, b"ax", &inline(1, b"")), Err(FrameError::Alloc(_))));
    assert_eq!((frame.live_leaves(), frame.room()), (4, 24), "the node's room is given back");
}

#[test]
fn removal_needs_no_room_and_leaves_no_hollow_node() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    // Nodes above nodes that cannot be joined with what is left below them, for lack of room.
    let keys = ["long/stem/of/a", "long/stem/of/b", "long/stem/of", "long/stem", "long"];
    for key in keys {
        frame.insert(0, key.as_bytes(), &inline(1, b"")).unwrap();
    }
    fill_up_to(&mut frame, 0);
    frame.insert(0, b"other", &inline(1, b"")).unwrap_err();
    for (done, index) in [4, 3, 2, 0, 1].into_iter().enumerate() {
        assert_eq!(frame.remove(0, keys[index].as_bytes()), Ok(treering_blobframe::Remove::Removed));
        let found =
            |key: &&str| matches!(frame.find(0, key.as_bytes()), Ok(treering_blobframe::Found::Leaf(_)));
        assert_eq!(keys.iter().filter(|key| found(key)).count(), 4 - done);
    }
    assert_eq!((frame.live_leaves(), frame.dead_bytes()), (0, 0));
    let report = verify(frame.as_ref()).unwrap();
    assert_eq!((report.nodes, report.used_bytes), (0, 18 * 8));
}
