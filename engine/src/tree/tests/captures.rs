//! What a cut captures is the tree as it was when the gate was closed, whatever writers do meanwhile.

use super::super::capture::FrameImage;
use super::*;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use treering_blobframe::{ImageExpect, decode_image};

const SALT: [u8; 16] = *b"the store's salt";

/// The newest durable image of each frame, as the manifest would map them.
type Disk = HashMap<u64, FrameImage>;

/// A tree made of images alone.
fn reopened(disk: &Disk, next_frame: u64, epoch: u64) -> Tree {
    let tree = Tree::new(&options(next_frame, epoch));
    for (&number, image) in disk {
        let expect = ImageExpect { number, epoch: image.epoch, checksum: image.checksum };
        let installed = tree.install(number, |words| decode_image(&image.bytes, &SALT, &expect, words));
        assert_eq!(installed, Ok(true));
    }
    tree
}

fn change(tree: &Tree, model: &mut Model, rng: &mut Rng, version: u64, epoch: u64) {
    let key = rng.path();
    let mut writer = tree.writer(epoch);
    if rng.below(4) == 0 {
        assert_eq!(writer.remove(&key), Ok(model.remove(&key).is_some()));
    } else {
        let value = rng.value(version);
        writer.put(&key, &value.leaf()).unwrap();
        model.insert(key, value);
    }
}

#[test]
fn images_equal_the_state_at_the_cut_though_changes_go_on() {
    let (tree, mut model, mut rng) = (new_tree(), Model::new(), Rng::new(31));
    let (mut disk, mut version) = (Disk::new(), 0);
    for epoch in 2..30 {
        for _ in 0..200 {
            version += 1;
            change(&tree, &mut model, &mut rng, version, epoch - 1);
        }
        let set = tree.open_cut(epoch);
        let (at_cut, next_frame) = (model.clone(), tree.next_frame_number());
        let mut images = Vec::new();
        for &number in set.frames() {
            for _ in 0..3 {
                version += 1;
                change(&tree, &mut model, &mut rng, version, epoch);
            }
            images.push((number, tree.capture(&set, number, &SALT).unwrap()));
        }
        if epoch % 5 == 0 {
            // The edit failed: nothing of this cut reaches the disk, and the next one has it all.
            tree.abort_cut(set);
            continue;
        }
        disk.extend(images);
        tree.finish_cut(set);
        let reopened = reopened(&disk, next_frame, epoch);
        assert!(disk.keys().all(|&number| number < next_frame));
        assert_equals(&reopened, &at_cut);
        assert_eq!(reopened.dirty_frames(), 0);
    }
    assert_equals(&tree, &model);
}

#[test]
fn a_cut_aborted_half_way_is_made_up_for_by_the_next() {
    let (tree, mut model, mut rng) = (new_tree(), Model::new(), Rng::new(32));
    for version in 1..2_000 {
        change(&tree, &mut model, &mut rng, version, 1);
    }
    let set = tree.open_cut(2);
    let half = set.frames().len() / 2;
    for &number in &set.frames()[..half] {
        tree.capture(&set, number, &SALT).unwrap();
    }
    for version in 2_000..2_010 {
        change(&tree, &mut model, &mut rng, version, 2);
    }
    tree.abort_cut(set);
    let set = tree.open_cut(3);
    let all = usize::try_from(tree.stats().frames).unwrap();
    assert_eq!(set.frames().len(), all, "each frame once");
    let disk: Disk =
        set.frames().iter().map(|&number| (number, tree.capture(&set, number, &SALT).unwrap())).collect();
    tree.finish_cut(set);
    assert_equals(&reopened(&disk, tree.next_frame_number(), 3), &model);
}

#[test]
fn an_idle_cut_captures_nothing() {
    let tree = new_tree();
    let set = tree.open_cut(2);
    assert_eq!(set.frames(), [1]);
    let image = tree.capture(&set, 1, &SALT).unwrap();
    assert_eq!(image.epoch, 1);
    tree.finish_cut(set);
    let set = tree.open_cut(3);
    assert_eq!(set.epoch(), 3);
    assert!(set.frames().is_empty());
    tree.finish_cut(set);
}

#[test]
fn concurrent_writers_do_not_reach_into_a_cut() {
    const WRITERS: u64 = 3;
    let tree = new_tree();
    let gate = RwLock::new(1u64);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for id in 0..WRITERS {
            let (tree, gate, stop) = (&tree, &gate, &stop);
            scope.spawn(move || {
                // Each writes its counter to its keys in turn: a cut sees round n of keys up to some
                // key and round n - 1 behind it.
                for round in 1.. {
                    for slot in 0..150u64 {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let key = format!("shared/{slot:04}/{id}").into_bytes();
                        let value = Value { version: round, death: None, data: Ok(vec![3; 40]) };
                        let epoch = gate.read();
                        tree.writer(*epoch).put(&key, &value.leaf()).unwrap();
                    }
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let mut disk = Disk::new();
        for cut in 0..60 {
            std::thread::yield_now();
            let mut closed = gate.write();
            *closed += 1;
            let (epoch, set) = (*closed, tree.open_cut(*closed));
            let now = contents(&tree, Direction::Forward);
            let next_frame = tree.next_frame_number();
            drop(closed);
            let images: Vec<_> = set
                .frames()
                .iter()
                .map(|&number| (number, tree.capture(&set, number, &SALT).unwrap()))
                .collect();
            if cut % 7 == 3 {
                tree.abort_cut(set);
                continue;
            }
            disk.extend(images);
            tree.finish_cut(set);
            let reopened = reopened(&disk, next_frame, epoch);
            reopened.verify_frames().unwrap();
            assert!(contents(&reopened, Direction::Forward) == now, "cut {cut} equals its moment");
        }
    });
    tree.verify_frames().unwrap();
}

#[test]
#[should_panic(expected = "C1")]
fn a_second_cut_is_refused_while_one_is_open() {
    let tree = new_tree();
    let _set = tree.open_cut(2);
    let _ = tree.open_cut(3);
}

#[test]
#[should_panic(expected = "C3")]
fn a_frame_is_captured_once() {
    let tree = new_tree();
    let set = tree.open_cut(2);
    tree.capture(&set, 1, &SALT).unwrap();
    let _ = tree.capture(&set, 1, &SALT);
}
