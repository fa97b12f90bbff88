//! Random operations against a map, in frames so small that everything splits.

use super::*;

/// One random operation on both; a fresh writer for each, as the engine does it.
fn step(tree: &Tree, model: &mut Model, rng: &mut Rng, version: u64, key: Vec<u8>) {
    let mut writer = tree.writer(1);
    let old = model.get(&key).cloned();
    match rng.below(10) {
        0..=5 => {
            let value = rng.value(version);
            if rng.below(2) == 0 {
                let seen = writer.find(&key).unwrap();
                assert_eq!(seen.map(|leaf| leaf.version), old.as_ref().map(|old| old.version));
                writer.prepare_put(&key, &value.leaf()).unwrap();
            }
            assert_eq!(writer.put(&key, &value.leaf()), Ok(old.is_some()));
            model.insert(key, value);
        }
        6..=8 => {
            assert_eq!(writer.remove(&key), Ok(old.is_some()), "{key:?}");
            model.remove(&key);
        }
        _ => {
            let new = LeafPointer { segment: 77, offset: version, length: 5, crc: 9 };
            let pointer = old.as_ref().and_then(|old| old.data.as_ref().err().copied());
            let expect = pointer.unwrap_or(new);
            assert_eq!(writer.repoint(&key, &expect, &new), Ok(pointer.is_some()));
            let wrong = LeafPointer { offset: version + 1, ..new };
            assert_eq!(writer.repoint(&key, &wrong, &expect), Ok(false));
            if let (Some(mut value), Some(_)) = (old, pointer) {
                value.data = Err(new);
                model.insert(key, value);
            }
        }
    }
}

fn run(seed: u64, steps: u64, check_every: u64, make_key: fn(&mut Rng) -> Vec<u8>) -> Tree {
    let (tree, mut model, mut rng) = (new_tree(), Model::new(), Rng::new(seed));
    for version in 1..=steps {
        let key = make_key(&mut rng);
        step(&tree, &mut model, &mut rng, version, key);
        let absent = make_key(&mut rng);
        let expected = model.get(&absent).cloned();
        assert_eq!(tree.get(&absent).unwrap().map(Value::from), expected);
        assert_eq!(tree.meta(&absent).unwrap().map(|leaf| leaf.version), expected.map(|value| value.version));
        if version % check_every == 0 {
            assert_equals(&tree, &model);
        }
    }
    assert_equals(&tree, &model);
    tree
}

#[test]
fn a_tree_of_paths_does_what_a_map_does() {
    for seed in 1..4 {
        let tree = run(seed, 20_000, 2_000, Rng::path);
        assert!(tree.stats().frames > 20, "it has split: {:?}", tree.stats());
    }
}

#[test]
fn a_tree_of_any_bytes_does_what_a_map_does() {
    for seed in 1..6 {
        let tree = run(seed, 10_000, 1_000, Rng::bytes);
        assert!(tree.stats().frames > 10, "it has split: {:?}", tree.stats());
    }
}

#[test]
fn the_longest_keys_and_values_fit() {
    let (tree, mut model, mut rng) = (new_tree(), Model::new(), Rng::new(3));
    for version in 1..800 {
        let mut key = vec![b'k'; FRAME / 8 + 4];
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(key.len());
            key[at] = u8::try_from(rng.below(256)).unwrap();
        }
        let value = Value { version, death: Some(1), data: Ok(vec![9; FRAME / 8]) };
        tree.writer(1).put(&key, &value.leaf()).unwrap();
        model.insert(key, value);
    }
    assert_equals(&tree, &model);
}

#[test]
fn an_entry_beyond_the_limits_is_refused_and_changes_nothing() {
    let tree = new_tree();
    let before = tree.stats();
    let long = vec![1; FRAME / 8 + 5];
    let value = Value { version: 1, death: None, data: Ok(Vec::new()) };
    assert!(matches!(
        tree.writer(1).put(&long, &value.leaf()),
        Err(super::super::TreeError::TooLarge { .. })
    ));
    let value = Value { version: 1, death: None, data: Ok(vec![0; FRAME / 8 + 1]) };
    assert!(matches!(tree.writer(1).put(b"k", &value.leaf()), Err(super::super::TreeError::TooLarge { .. })));
    assert_eq!(tree.stats(), before);
}

#[test]
fn ascending_descending_and_dense_keys_fill_frames() {
    let orders: [fn(u32) -> u32; 3] = [|i| i, |i| u32::MAX - i, |i| i.wrapping_mul(0x9e37_79b1)];
    for order in orders {
        let (tree, mut model) = (new_tree(), Model::new());
        for i in 0..6_000u32 {
            let key = order(i).to_be_bytes().to_vec();
            let value = Value { version: u64::from(i) + 1, death: None, data: Ok(vec![1, 2, 3]) };
            assert_eq!(tree.writer(1).put(&key, &value.leaf()), Ok(false));
            model.insert(key, value);
        }
        assert_equals(&tree, &model);
        for key in model.keys() {
            assert_eq!(tree.writer(1).remove(key), Ok(true));
        }
        assert_equals(&tree, &Model::new());
        for (key, value) in &model {
            assert_eq!(tree.writer(1).put(key, &value.leaf()), Ok(false));
        }
        assert_equals(&tree, &model);
    }
}
