//! Batches: atomic, last operation on a key wins.

use treering::{Condition, Engine, ErrorKind};

use crate::support::{on_each_back_end, small};

#[test]
fn a_batch_happens_as_one_with_one_version() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let (a, b) = (engine.default_tree(), engine.create_tree("b").unwrap());
        a.put("gone", "x").unwrap();
        let mut batch = engine.batch();
        for n in 0..60 {
            batch.put(&a, format!("dir/{n}"), vec![7; 40]);
        }
        batch.put(&b, "k", "first").put(&b, "k", "last").delete(&a, "gone");
        let version = batch.commit(None).unwrap();
        assert_eq!(b.entry("k").unwrap().unwrap().version, version);
        assert_eq!(b.get("k").unwrap().as_deref(), Some(&b"last"[..]));
        assert_eq!(a.prefix("dir/").count(), 60);
        assert!(!a.contains("gone").unwrap());
        engine.abandon();
        let engine = place.open(small());
        assert_eq!(engine.default_tree().prefix("dir/").count(), 60);
        assert!(!engine.default_tree().contains("gone").unwrap());
    });
}

#[test]
fn a_failed_condition_fails_the_whole_batch() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        tree.put("there", "1").unwrap();
        let mut batch = engine.batch();
        batch.put(&tree, "new", "2").put(&tree, "there", "2");
        batch.only_if(&tree, "there", Condition::Absent).unwrap();
        assert_eq!(batch.commit(None).unwrap_err().kind(), ErrorKind::Conflict);
        assert!(!tree.contains("new").unwrap());
        assert_eq!(tree.get("there").unwrap().as_deref(), Some(&b"1"[..]));
    });
}

#[test]
fn staged_and_direct_values_go_through_batches() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let mut batch = engine.batch();
        for n in 0..3u8 {
            batch.put(&tree, format!("staged/{n}"), vec![n; 900 + usize::from(n)]);
            batch.put(&tree, format!("direct/{n}"), vec![n; 5000 + usize::from(n)]);
        }
        batch.commit(None).unwrap();
        let check = |engine: &Engine| {
            for n in 0..3u8 {
                let tree = engine.default_tree();
                assert_eq!(tree.get(format!("staged/{n}")).unwrap().unwrap(), vec![n; 900 + usize::from(n)]);
                assert_eq!(tree.get(format!("direct/{n}")).unwrap().unwrap(), vec![n; 5000 + usize::from(n)]);
            }
        };
        check(&engine);
        engine.abandon();
        let engine = place.open(small());
        check(&engine);
        engine.checkpoint().unwrap();
        check(&engine);
        engine.close().unwrap();
        check(&place.open(small()));
    });
}

#[test]
fn empty_oversized_and_foreign_batches_are_refused() {
    let (engine, other) = (Engine::in_memory(small()).unwrap(), Engine::in_memory(small()).unwrap());
    let tree = engine.default_tree();
    assert_eq!(engine.batch().commit(None).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut large = engine.batch();
    for n in 0..100 {
        large.put(&tree, format!("{n}"), vec![0; 400]);
    }
    assert_eq!(large.commit(None).unwrap_err().kind(), ErrorKind::TooLarge);
    let mut foreign = engine.batch();
    foreign.put(&other.default_tree(), "k", "v");
    assert_eq!(foreign.commit(None).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(tree.prefix("").count(), 0);
}

#[test]
fn readers_see_all_of_a_batch_or_nothing() {
    let engine = Engine::in_memory(small().background(true)).unwrap();
    let tree = engine.default_tree();
    let keys: Vec<String> = (0..40).map(|n| format!("{n:02}/{}", "x".repeat(60))).collect();
    let write = |round: u32| {
        let mut batch = engine.batch();
        for key in &keys {
            batch.put(&tree, key, round.to_le_bytes());
        }
        batch.commit(None).unwrap();
    };
    write(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut seen, last) = (0, keys.len() - 1);
            while seen < 300 {
                // Read in the order in which a half-applied batch would show: a later key must not be older.
                let first = tree.get(&keys[0]).unwrap().unwrap();
                let second = tree.get(&keys[last]).unwrap().unwrap();
                let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
                assert!(number(&second) >= number(&first));
                seen = number(&first);
            }
        });
        for round in 1..=300 {
            write(round);
        }
        reader.join().unwrap();
    });
}
