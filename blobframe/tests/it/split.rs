//! S1: splits end, at the smallest frame with the longest keys and values, and leave what they
//! promise.

use proptest::prelude::*;
use treering_blobframe::{
    BlobFrame, Direction, Insert, LeafShape, Scratch, SplitError, inline_bytes_max, key_bytes_max, verify,
};

use crate::forest::{Forest, blank, id, inline};
use crate::random::Random;

const BYTES: usize = 4096;
const KEY_MAX: usize = key_bytes_max(BYTES);
const VALUE_MAX: usize = inline_bytes_max(BYTES);

/// Puts and finds all of it; `put` fails the test if an insert does not end.
fn holds(keys: &[Vec<u8>], value_len: impl Fn(usize) -> usize) -> Forest {
    let mut forest = Forest::new(BYTES);
    for (version, key) in keys.iter().enumerate() {
        forest.put(key, &inline(version as u64, &vec![version.to_le_bytes()[0]; value_len(version)]));
    }
    forest.verify();
    for (version, key) in keys.iter().enumerate() {
        let (found, value) = forest.get(key).unwrap();
        assert_eq!((found, value.len()), (version as u64, value_len(version)));
    }
    let mut sorted = keys.to_vec();
    sorted.sort();
    assert_eq!(forest.scan(std::ops::Bound::Unbounded, Direction::Forward), sorted);
    sorted.reverse();
    assert_eq!(forest.scan(std::ops::Bound::Unbounded, Direction::Backward), sorted);
    forest
}

#[test]
fn longest_keys_and_values_fit_in_the_smallest_frames() {
    let mut random = Random(5);
    let keys: Vec<_> = (0..400).map(|_| random.bytes(KEY_MAX)).collect();
    holds(&keys, |_| VALUE_MAX);
}

#[test]
fn a_wide_node_under_the_longest_prefix_splits_by_groups() {
    // Every byte, in a shuffled order, behind a prefix of all but one byte; and the prefix itself.
    let mut keys = vec![vec![b'p'; KEY_MAX - 1]];
    for byte in 0..=255u8 {
        let mut key = vec![b'p'; KEY_MAX - 1];
        key.push(byte.wrapping_mul(167));
        keys.push(key);
    }
    let forest = holds(&keys, |version| if version % 3 == 0 { VALUE_MAX } else { 3 });
    assert!(forest.groups > 0);
}

#[test]
fn a_key_for_every_prefix_of_the_longest_splits() {
    let keys: Vec<_> = (0..=KEY_MAX).map(|len| vec![b'/'; len]).collect();
    holds(&keys, |_| VALUE_MAX);
}

#[test]
fn ascending_and_descending_keys_split() {
    let keys: Vec<_> =
        (0..3000u32).map(|number| format!("dir{}/f{number:06}", number / 100).into_bytes()).collect();
    let forest = holds(&keys, |_| 20);
    assert!(forest.mean_fill() > 0.3, "{}", forest.mean_fill());
    let mut back = keys;
    back.reverse();
    holds(&back, |_| 20);
}

#[test]
fn a_split_leaves_both_frames_between_a_quarter_and_three_quarters() {
    for seed in 0..50 {
        let (words, other) = (blank(BYTES), blank(BYTES));
        let mut frame = BlobFrame::init(&words, &id(1), 1);
        let mut random = Random(seed);
        loop {
            let key = if seed % 2 == 0 { random.path() } else { random.bytes(6) };
            if frame.insert(0, &key, &inline(1, b"value")).is_err() {
                break;
            }
        }
        let fixed = 17 * 8;
        let used = frame.used_bytes() - fixed;
        let mut child = BlobFrame::init(&other, &id(2), 1);
        let outcome = frame.split_into(&mut child, &mut Scratch::default()).unwrap();
        assert!(4 * outcome.moved_bytes >= used && 4 * outcome.moved_bytes <= 3 * used);
        let stays = frame.used_bytes() - fixed;
        assert!(4 * (stays + 16) >= used && 4 * (stays - 16) <= 3 * used, "{stays} of {used}");
        assert_eq!(frame.dead_bytes() + child.dead_bytes(), 0);
    }
}

#[test]
fn a_split_prefers_a_whole_directory() {
    let (words, other) = (blank(BYTES), blank(BYTES));
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    for number in 0..20 {
        for directory in ["alpha/", "alphabet", "beta/"] {
            frame.insert(0, format!("{directory}{number}").as_bytes(), &inline(1, b"v")).unwrap();
        }
    }
    let mut child = BlobFrame::init(&other, &id(2), 1);
    let outcome = frame.split_into(&mut child, &mut Scratch::default()).unwrap();
    assert_eq!((outcome.moved_leaves, outcome.group), (20, false));
    let crossed = |directory: &str| {
        let gone = |number: &u32| {
            let found = frame.find(0, format!("{directory}{number}").as_bytes());
            matches!(found, Ok(treering_blobframe::Found::Crossing { child: 2, .. }))
        };
        (0..20).filter(gone).count()
    };
    assert_eq!(crossed("alphabet"), 0);
    assert_eq!(crossed("alpha/").max(crossed("beta/")), 20);
}

#[test]
fn what_cannot_be_split_is_said_and_left() {
    let (words, other) = (blank(BYTES), blank(BYTES));
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    let mut child = BlobFrame::init(&other, &id(2), 1);
    let mut scratch = Scratch::default();
    assert_eq!(frame.split_into(&mut child, &mut scratch), Err(SplitError::NothingToMove));
    frame.insert(0, b"only", &inline(1, b"")).unwrap();
    assert_eq!(frame.split_into(&mut child, &mut scratch), Err(SplitError::NothingToMove));
    child.insert(0, b"taken", &inline(1, b"")).unwrap();
    frame.insert(0, b"other", &inline(1, b"")).unwrap();
    assert_eq!(frame.split_into(&mut child, &mut scratch), Err(SplitError::ChildUnfit));
    assert_eq!(frame.live_leaves(), 2);
    verify(frame.as_ref()).unwrap();
    verify(child.as_ref()).unwrap();
}

#[test]
fn repeated_splits_make_room_for_the_largest_insert() {
    let need = BlobFrame::insert_bound(KEY_MAX, LeafShape { death: true, inline: Some(VALUE_MAX) });
    let words = blank(BYTES);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    // The worst frame: longest prefix, 256 edges, the largest terminal.
    let prefix = vec![b'p'; KEY_MAX - 1];
    frame.insert(0, &prefix, &inline(1, &[1; VALUE_MAX])).unwrap();
    for byte in 0..=255 {
        let mut key = prefix.clone();
        key.push(byte);
        let _ = frame.insert(0, &key, &inline(1, b""));
        if frame.room() < 600 {
            break;
        }
    }
    let mut scratch = Scratch::default();
    let mut splits = 0;
    while frame.room() < need {
        let other = blank(BYTES);
        let mut child = BlobFrame::init(&other, &id(2 + splits), 1);
        frame.split_into(&mut child, &mut scratch).unwrap();
        splits += 1;
        assert!(splits < 20);
    }
}

#[test]
fn a_key_in_a_groups_gap_goes_to_its_child() {
    let mut forest = Forest::new(BYTES);
    for byte in (0..=254u8).step_by(2) {
        forest.put(&[byte], &inline(1, &[0; 40]));
    }
    assert!(forest.groups > 0);
    for byte in (1..=255u8).step_by(2) {
        assert_eq!(forest.get(&[byte]), None);
        assert_eq!(forest.put(&[byte], &inline(2, b"odd")), Insert::Inserted);
    }
    forest.verify();
    let keys: Vec<_> = (0..=255u8).map(|byte| vec![byte]).collect();
    assert_eq!(forest.scan(std::ops::Bound::Unbounded, Direction::Forward), keys);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn splits_always_make_progress(
        stem in 0..KEY_MAX,
        pieces in prop::collection::vec((0usize..4, any::<u8>(), 0..KEY_MAX, 0..=VALUE_MAX), 1..150),
    ) {
        // Keys that share long stems and differ late, with values up to the largest.
        let mut forest = Forest::new(BYTES);
        let mut last = Vec::new();
        for (version, (shape, byte, len, value)) in pieces.into_iter().enumerate() {
            let mut key = match shape {
                0 => vec![b'/'; stem],
                1 => vec![b'/'; len],
                2 => last,
                _ => vec![byte; len],
            };
            key.truncate(KEY_MAX - 1);
            key.push(byte);
            forest.put(&key, &inline(version as u64, &vec![1; value]));
            let found = forest.get(&key);
            prop_assert_eq!(found, Some((version as u64, vec![1; value])));
            last = key;
        }
        forest.verify();
    }
}
