//! Frames against a `BTreeMap`: any sequence of puts and removals leaves the same keys, values and
//! orders, in one frame and in many.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;
use treering_blobframe::{Direction, Insert};

use crate::forest::{Forest, inline};
use crate::random::Random;

type Model = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;

fn compare(forest: &Forest, model: &Model, bounds: &[Vec<u8>]) {
    forest.verify();
    let up: Vec<Vec<u8>> = model.keys().cloned().collect();
    let down: Vec<Vec<u8>> = model.keys().rev().cloned().collect();
    assert_eq!(forest.scan(Bound::Unbounded, Direction::Forward), up);
    assert_eq!(forest.scan(Bound::Unbounded, Direction::Backward), down);
    for (key, entry) in model {
        assert_eq!(forest.get(key).as_ref(), Some(entry), "{key:?}");
    }
    for bound in bounds {
        let key = bound.as_slice();
        for (lower, upper) in
            [(Bound::Included(key), Bound::Excluded(key)), (Bound::Excluded(key), Bound::Included(key))]
        {
            let above = model.range::<[u8], _>((lower, Bound::Unbounded)).map(|(key, _)| key.clone());
            assert_eq!(forest.scan(lower, Direction::Forward), above.collect::<Vec<_>>(), "from {lower:?}");
            let below = model.range::<[u8], _>((Bound::Unbounded, upper)).rev().map(|(key, _)| key.clone());
            assert_eq!(forest.scan(upper, Direction::Backward), below.collect::<Vec<_>>(), "to {upper:?}");
        }
        if !model.contains_key(bound) {
            assert_eq!(forest.get(bound), None);
        }
    }
}

fn put(forest: &mut Forest, model: &mut Model, key: Vec<u8>, version: u64, value: Vec<u8>) {
    let done = forest.put(&key, &inline(version, &value));
    let old = model.insert(key, (version, value));
    assert_eq!(done, if old.is_some() { Insert::Replaced } else { Insert::Inserted });
}

fn churn(
    seed: u64,
    bytes: usize,
    rounds: u64,
    key_of: impl Fn(&mut Random) -> Vec<u8>,
    value_max: usize,
) -> Forest {
    let mut random = Random(seed);
    let (mut forest, mut model) = (Forest::new(bytes), Model::new());
    for round in 1..=rounds {
        let key = key_of(&mut random);
        // Grow for a while, then wither.
        let puts = if (round / (rounds / 4).max(1)).is_multiple_of(2) { 7 } else { 3 };
        if random.below(10) < puts {
            let len = random.below(value_max + 1);
            let value = random.bytes(len);
            put(&mut forest, &mut model, key, round, value);
        } else {
            assert_eq!(forest.remove(&key), model.remove(&key).is_some(), "{key:?}");
        }
        if round % (rounds / 8).max(1) == 0 {
            let bounds: Vec<_> = (0..20).map(|_| key_of(&mut random)).collect();
            compare(&forest, &model, &bounds);
        }
    }
    for key in model.keys().cloned().collect::<Vec<_>>() {
        assert!(forest.remove(&key));
        assert!(!forest.remove(&key));
    }
    compare(&forest, &Model::new(), &[]);
    forest
}

#[test]
fn clashing_keys_behave_as_in_a_map() {
    let forest = churn(1, 4096, 40_000, |random| random.clashing_key(9), 40);
    assert!(forest.splits > 20 && forest.groups > 0, "{} {}", forest.splits, forest.groups);
}

#[test]
fn wide_nodes_grow_shrink_and_group() {
    let forest = churn(
        2,
        4096,
        40_000,
        |random| {
            let len = random.below(3);
            random.bytes(len)
        },
        30,
    );
    assert!(forest.groups > 10, "{}", forest.groups);
}

#[test]
fn paths_behave_as_in_a_map() {
    churn(3, 8192, 40_000, Random::path, 60);
}

#[test]
fn one_large_frame_behaves_as_a_map() {
    let forest = churn(4, 512 << 10, 20_000, |random| random.clashing_key(14), 20);
    assert_eq!(forest.splits, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_keys_behave_as_in_a_map(
        steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0u8..4, 0..6), 0usize..300), 1..120),
    ) {
        let (mut forest, mut model) = (Forest::new(4096), Model::new());
        for (round, (is_put, key, len)) in steps.into_iter().enumerate() {
            if is_put {
                put(&mut forest, &mut model, key, round as u64, vec![7; len]);
            } else {
                prop_assert_eq!(forest.remove(&key), model.remove(&key).is_some());
            }
        }
        let bounds: Vec<_> = model.keys().take(5).cloned().chain([vec![], vec![1, 2]]).collect();
        compare(&forest, &model, &bounds);
    }
}
