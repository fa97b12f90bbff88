//! Values of every size, through staging, destaging, segments of their own, and out again.

use crate::support::{Dice, on_each_back_end, small};

fn value(n: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(31) + n) as u8).collect()
}

/// Around every limit of the small sizes: inline 512, direct 2048.
const LENGTHS: [usize; 11] = [0, 1, 511, 512, 513, 1024, 2047, 2048, 2049, 70_000, 1_000_000];

#[test]
fn values_of_every_size_survive_cut_kill_and_close() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        for (n, &length) in LENGTHS.iter().enumerate() {
            tree.put(format!("v{n}"), value(n, length)).unwrap();
        }
        let check = |engine: &treering::Engine| {
            let tree = engine.default_tree();
            for (n, &length) in LENGTHS.iter().enumerate() {
                assert!(tree.get(format!("v{n}")).unwrap().unwrap() == value(n, length), "length {length}");
            }
            assert_eq!(
                tree.prefix("v").map(|entry| entry.unwrap().value.len()).sum::<usize>(),
                LENGTHS.iter().sum()
            );
        };
        check(&engine);
        engine.abandon();
        let engine = place.open(small());
        check(&engine);
        engine.checkpoint().unwrap();
        check(&engine);
        engine.abandon();
        check(&place.open(small()));
        let engine = place.open(small());
        engine.close().unwrap();
        assert_eq!(place.verify().damages, []);
        check(&place.open(small().read_only(true)));
    });
}

#[test]
fn segments_whose_values_are_all_overwritten_are_removed() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        for round in 0..4 {
            for n in 0..20 {
                tree.put(format!("s{n}"), value(round, 1500)).unwrap();
            }
            tree.put("direct", value(round, 9000)).unwrap();
            engine.checkpoint().unwrap();
        }
        let stats = engine.stats().unwrap();
        assert_eq!(stats.segment_dead_bytes, 0, "{stats:?}");
        for n in 0..20 {
            tree.delete(format!("s{n}")).unwrap();
        }
        tree.delete("direct").unwrap();
        engine.checkpoint().unwrap();
        assert_eq!(engine.stats().unwrap().segments, 0);
        let files = place.storage().list().unwrap();
        assert!(!files.iter().any(|name| name.starts_with("segment-")), "{files:?}");
    });
}

#[test]
fn slices_stay_valid_while_their_segment_is_removed() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        tree.put("staged", value(1, 1800)).unwrap();
        let staged = tree.get("staged").unwrap().unwrap();
        engine.checkpoint().unwrap();
        let sealed = tree.get("staged").unwrap().unwrap();
        tree.put("staged", "small").unwrap();
        engine.checkpoint().unwrap();
        drop(tree);
        engine.close().unwrap();
        assert!(staged == value(1, 1800) && sealed == value(1, 1800));
    });
}

#[test]
fn staging_at_its_cap_forces_cuts_and_nothing_is_lost() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let mut dice = Dice::new(3);
        let lengths: Vec<usize> = (0..400).map(|_| dice.below(2000) as usize).collect();
        for (n, &length) in lengths.iter().enumerate() {
            tree.put(format!("k{n:04}"), value(n, length)).unwrap();
        }
        let stats = engine.stats().unwrap();
        assert!(stats.cuts > 2 && stats.staged_bytes <= 64 << 10, "{stats:?}");
        for (n, &length) in lengths.iter().enumerate() {
            assert!(tree.get(format!("k{n:04}")).unwrap().unwrap() == value(n, length));
        }
    });
}
