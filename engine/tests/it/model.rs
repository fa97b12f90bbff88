//! The whole store against a `BTreeMap`: random operations with cuts, kills and reopening.

use std::collections::BTreeMap;
use std::ops::Bound;

use treering::{Engine, Options};

use crate::support::{Dice, Place, on_each_back_end, small};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn compare(engine: &Engine, model: &Model) {
    let tree = engine.default_tree();
    let forward: Vec<(Vec<u8>, Vec<u8>)> =
        tree.prefix("").map(|e| e.unwrap()).map(|e| (e.key.to_vec(), e.value.to_vec())).collect();
    assert!(forward.iter().map(|(k, v)| (k, v)).eq(model.iter()));
    let backward = tree.prefix("").reversed().keys_only().map(|e| e.unwrap().key.to_vec());
    assert!(backward.eq(model.keys().rev().cloned()));
}

fn compare_ranges(engine: &Engine, model: &Model, dice: &mut Dice) {
    let tree = engine.default_tree();
    for _ in 0..20 {
        let (mut a, mut b) = (dice.awkward(512), Dice::path(dice.below(500)));
        if a > b {
            std::mem::swap(&mut a, &mut b);
        }
        let bounds = match dice.below(3) {
            0 => (Bound::Included(a.as_slice()), Bound::Excluded(b.as_slice())),
            1 => (Bound::Excluded(a.as_slice()), Bound::Included(b.as_slice())),
            _ => (Bound::Unbounded, Bound::Included(b.as_slice())),
        };
        if a == b {
            continue;
        }
        let found = tree.range(bounds.0, bounds.1).map(|e| e.unwrap().key.to_vec());
        assert!(found.eq(model.range::<[u8], _>(bounds).map(|(key, _)| key.clone())), "{bounds:?}");
        let found = tree.range(bounds.0, bounds.1).reversed().map(|e| e.unwrap().key.to_vec());
        assert!(found.eq(model.range::<[u8], _>(bounds).rev().map(|(key, _)| key.clone())), "{bounds:?}");
    }
}

fn random_operation(engine: &Engine, model: &mut Model, dice: &mut Dice) {
    let tree = engine.default_tree();
    let key = if dice.below(3) == 0 { dice.awkward(512) } else { Dice::path(dice.below(500)) };
    match dice.below(10) {
        0..6 => {
            let length = [10, 100, 500, 900, 2100][dice.below(5) as usize] + dice.below(50) as usize;
            let value = vec![dice.next() as u8; length];
            tree.put(&key, &value).unwrap();
            model.insert(key, value);
        }
        6 => {
            let mut batch = engine.batch();
            for _ in 0..dice.below(8) + 1 {
                let key = Dice::path(dice.below(500));
                if dice.below(3) == 0 {
                    batch.delete(&tree, &key);
                    model.remove(&key);
                } else {
                    let value = vec![dice.next() as u8; dice.below(700) as usize];
                    batch.put(&tree, &key, value.clone());
                    model.insert(key, value);
                }
            }
            batch.commit(None).unwrap();
        }
        _ => assert_eq!(tree.delete(&key).unwrap(), model.remove(&key).is_some()),
    }
}

#[test]
fn random_operations_with_cuts_kills_and_reopening_equal_the_model() {
    on_each_back_end(|place| {
        let mut dice = Dice::new(42);
        let mut model = Model::new();
        let mut engine = place.open(small());
        for step in 0..6000 {
            random_operation(&engine, &mut model, &mut dice);
            match dice.below(400) {
                0 => {
                    engine.abandon();
                    assert_eq!(place.verify().damages, [], "step {step}");
                    engine = place.open(small());
                    compare(&engine, &model);
                }
                1 => {
                    engine.close().unwrap();
                    assert_eq!(place.verify().damages, [], "step {step}");
                    engine = place.open(small());
                    compare(&engine, &model);
                }
                2..5 => drop(engine.checkpoint().unwrap()),
                5..20 => drop(engine.step().unwrap()),
                _ => {}
            }
        }
        compare(&engine, &model);
        compare_ranges(&engine, &model, &mut dice);
    });
}

/// Keys of `count` entries, awkward ones among them, in a shuffled order without repeats.
fn keys(count: u64) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(7);
    let mut keys: std::collections::BTreeSet<Vec<u8>> = (0..count).map(Dice::path).collect();
    for n in 0..count / 100 {
        keys.insert(dice.awkward(512));
        keys.insert(vec![b'p'; (n % 513) as usize]);
    }
    keys.insert(Vec::new());
    keys.insert(vec![0]);
    let mut keys: Vec<_> = keys.into_iter().collect();
    for at in (1..keys.len()).rev() {
        keys.swap(at, dice.below(at as u64 + 1) as usize);
    }
    keys
}

const KEYS: u64 = 1_000_000;

#[test]
fn small_and_large_frames_scan_alike() {
    let keys = keys(KEYS);
    let model: BTreeMap<&[u8], u32> =
        keys.iter().enumerate().map(|(n, key)| (key.as_slice(), n as u32)).collect();
    let options = Options::new().log_segment_bytes(4 << 20).log_cap_bytes(64 << 20);
    for frame_bytes in [4 << 10, 512 << 10] {
        let place = Place::memory();
        let engine = place.open(options.clone().frame_bytes(frame_bytes));
        let tree = engine.default_tree();
        for (n, key) in keys.iter().enumerate() {
            tree.put(key, (n as u32).to_le_bytes()).unwrap();
        }
        let check = |engine: &Engine| {
            let tree = engine.default_tree();
            let read = |entry: treering::Result<treering::Entry>| {
                let entry = entry.unwrap();
                (entry.key.to_vec(), u32::from_le_bytes(entry.value[..].try_into().unwrap()))
            };
            let expected = || model.iter().map(|(&key, &n)| (key.to_vec(), n));
            assert!(tree.prefix("").map(read).eq(expected()), "forward, frames of {frame_bytes}");
            assert!(
                tree.prefix("").reversed().map(read).eq(expected().rev()),
                "back, frames of {frame_bytes}"
            );
        };
        check(&engine);
        engine.close().unwrap();
        drop(tree);
        drop(engine);
        check(&place.open(options.clone()));
    }
}
