//! What a writer holds, what it lets readers see, and when.

use super::super::{TreeError, read};
use super::*;

fn small(version: u64) -> Value {
    Value { version, death: None, data: Ok(version.to_le_bytes().to_vec()) }
}

#[test]
fn a_writer_that_changes_nothing_does_not_disturb_readers_nor_dirty_frames() {
    let tree = new_tree();
    tree.writer(1).put(b"key", &small(1).leaf()).unwrap();
    let set = tree.open_cut(2);
    for &number in set.frames() {
        tree.capture(&set, number, &[0; 16]).unwrap();
    }
    tree.finish_cut(set);
    let version = tree.root_slot().unwrap().latch.read_version();
    let mut writer = tree.writer(2);
    assert!(writer.find(b"key").unwrap().is_some());
    writer.prepare_put(b"key", &small(2).leaf()).unwrap();
    assert_eq!(writer.remove(b"other"), Ok(false));
    // A reader beside the held latch neither waits nor fails.
    assert!(tree.root_slot().unwrap().latch.validate(version));
    assert_eq!(tree.get(b"key").unwrap().map(Value::from), Some(small(1)));
    drop(writer);
    assert!(tree.root_slot().unwrap().latch.validate(version));
    assert_eq!(tree.dirty_frames(), 0);
}

#[test]
fn a_prepared_put_splits_nothing() {
    let tree = new_tree();
    let mut rng = Rng::new(5);
    for version in 1..5_000 {
        let (key, value) = (rng.bytes(), rng.value(version));
        let mut writer = tree.writer(1);
        writer.prepare_put(&key, &value.leaf()).unwrap();
        let frames = tree.next_frame_number();
        writer.put(&key, &value.leaf()).unwrap();
        assert_eq!(tree.next_frame_number(), frames);
    }
}

#[test]
fn a_batch_of_many_frames_becomes_visible_with_its_last_change() {
    let tree = new_tree();
    let mut model = Model::new();
    let mut rng = Rng::new(21);
    for version in 1..40 {
        let mut batch: Vec<_> = (0..200).map(|_| rng.path()).collect();
        batch.sort();
        batch.dedup();
        let mut writer = tree.writer(1);
        for key in batch {
            if rng.below(4) == 0 {
                assert_eq!(writer.remove(&key), Ok(model.remove(&key).is_some()));
                assert!(writer.find(&key).unwrap().is_none());
            } else {
                assert_eq!(
                    writer.put(&key, &small(version).leaf()),
                    Ok(model.insert(key.clone(), small(version)).is_some())
                );
                assert_eq!(writer.find(&key).unwrap().map(|leaf| leaf.version), Some(version));
            }
        }
        drop(writer);
        assert_equals(&tree, &model);
    }
    assert!(tree.stats().frames > 8, "more frames than a writer searches in line");
}

#[test]
fn a_panic_in_a_change_leaves_the_frame_unusable_and_nobody_waiting() {
    let tree = new_tree();
    let mut deep = Vec::new();
    for index in 0..2_000u64 {
        deep = format!("a/{index:05}").into_bytes();
        tree.writer(1).put(&deep, &small(index + 1).leaf()).unwrap();
    }
    assert!(tree.stats().frames > 3, "the root leads to other frames");
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let mut writer = tree.writer(1);
                // No key begins so: it goes into the root frame.
                writer.put(b"zzz", &small(2).leaf()).unwrap();
                std::panic::resume_unwind(Box::new("while the frame is being changed"));
            })
            .join()
    });
    assert!(panicked.is_err());
    let broken = TreeError::Damage { frame: 1, what: read::BROKEN };
    for key in [b"zzz".as_slice(), &deep] {
        // What an unfit frame says is not even followed.
        assert_eq!(tree.get(key), Err(broken.clone()));
        assert_eq!(tree.writer(1).find(key), Err(broken.clone()));
    }
    let mut items = Vec::new();
    assert_eq!(tree.collect(&everything(Direction::Forward), &mut items, &all_alive), Err(broken.clone()));
    assert!(items.is_empty());
    let set = tree.open_cut(2);
    assert_eq!(tree.capture(&set, 1, &[0; 16]).err(), Some(broken));
}

#[test]
fn primed_memory_is_used_for_new_frames() {
    let tree = new_tree();
    tree.prime(3);
    let number = tree.next_frame_number();
    let slot = tree.make_frame(tree.table.allocate_number(), 1).unwrap();
    assert_eq!((slot.number, slot.words.len()), (number, FRAME / 8));
}

#[test]
fn a_read_that_a_writer_disturbs_is_done_again() {
    let tree = new_tree();
    tree.writer(1).put(b"key", &small(1).leaf()).unwrap();
    let mut seen = Vec::new();
    let found = tree.read(b"key", &mut |frame, leaf| {
        let version = frame.leaf(leaf)?.version();
        seen.push(version);
        if seen.len() < 3 {
            tree.writer(1).put(b"key", &small(version + 1).leaf()).unwrap();
        }
        Ok(version)
    });
    assert_eq!((found, seen), (Ok(Some(3)), vec![1, 2, 3]));
}

#[test]
fn a_read_that_is_disturbed_too_often_takes_the_latch() {
    let tree = new_tree();
    tree.writer(1).put(b"key", &small(1).leaf()).unwrap();
    let mut calls = 0;
    let found = tree.read(b"key", &mut |frame, leaf| {
        calls += 1;
        if calls <= read::ATTEMPTS {
            tree.writer(1).put(b"other", &small(u64::from(calls)).leaf()).unwrap();
        }
        Ok(frame.leaf(leaf)?.version())
    });
    assert_eq!((found, calls), (Ok(Some(1)), read::ATTEMPTS + 1));
}

#[test]
fn a_writer_that_waited_for_its_frame_follows_its_key_below_a_new_crossing() {
    for round in 0..10u64 {
        let tree = new_tree();
        for index in 0..40u64 {
            tree.writer(1).put(format!("k/{index:04}").as_bytes(), &small(index + 1).leaf()).unwrap();
        }
        let started = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut splitter = tree.writer(1);
            splitter.find(b"k/0000").unwrap();
            scope.spawn(|| {
                started.store(true, std::sync::atomic::Ordering::Release);
                let mut waiter = tree.writer(1);
                assert!(waiter.find(b"k/0020").unwrap().is_some());
                assert_eq!(waiter.put(b"k/0020", &small(1_000).leaf()), Ok(true));
            });
            while !started.load(std::sync::atomic::Ordering::Acquire) {
                std::thread::yield_now();
            }
            // Gives the other thread time to search the frame and park. Without it, it proves less.
            for _ in 0..2_000 * round {
                std::thread::yield_now();
            }
            for index in 40..400 {
                splitter.put(format!("k/{index:04}").as_bytes(), &small(index + 1).leaf()).unwrap();
            }
        });
        assert_eq!(tree.get(b"k/0020").unwrap().map(Value::from), Some(small(1_000)));
        tree.verify_frames().unwrap();
    }
}
