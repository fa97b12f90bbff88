//! Readers and scans beside writers that split frames under them.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const WRITERS: usize = 3;
const KEYS: usize = 400;

/// The value of round `round` of a key: whoever reads it can tell whether it is whole.
fn whole(key: &[u8], round: u64) -> Value {
    let len = 8 + usize::try_from(round % 60).unwrap();
    let mut bytes = round.to_le_bytes().to_vec();
    bytes.extend(key.iter().cycle().take(len));
    Value { version: round, death: Some(round ^ 0xdead), data: Ok(bytes) }
}

fn key_of(writer: usize, index: usize) -> Vec<u8> {
    format!("dir{}/{index:04}/{writer}", index % 7).into_bytes()
}

/// Keys that no writer touches: every scan must list each of them exactly once.
fn fixed_key(index: usize) -> Vec<u8> {
    format!("dir{}/{index:04}/fixed", index % 7).into_bytes()
}

fn write_rounds(tree: &Tree, writer: usize, progress: &[AtomicU64], rounds: u64) {
    let mut rng = Rng::new(writer as u64 + 50);
    for round in 1..=rounds {
        for index in 0..KEYS {
            let key = key_of(writer, index);
            // Removal and re-insertion make and shrink nodes; odd rounds end with the key there.
            if round % 2 == 0 && rng.below(3) == 0 {
                tree.writer(1).remove(&key).unwrap();
            }
            tree.writer(1).put(&key, &whole(&key, round).leaf()).unwrap();
            // Release pairs with the reader's acquire: it must not read an older round after this.
            progress[writer * KEYS + index].store(round, Ordering::Release);
        }
    }
}

fn read_randomly(tree: &Tree, seed: u64, progress: &[AtomicU64], stop: &AtomicBool) -> u64 {
    let (mut rng, mut reads) = (Rng::new(seed), 0);
    while !stop.load(Ordering::Relaxed) {
        let (writer, index) = (rng.below(WRITERS), rng.below(KEYS));
        let key = key_of(writer, index);
        let known = progress[writer * KEYS + index].load(Ordering::Acquire);
        match tree.get(&key).unwrap().map(Value::from) {
            Some(value) => {
                assert_eq!(value, whole(&key, value.version), "no torn value is returned");
                assert!(value.version >= known, "a read goes not back in time");
            }
            // Only even rounds remove, and put again: one must have been under way.
            None => {
                let after = progress[writer * KEYS + index].load(Ordering::Acquire);
                let removing = (known + 1..=after + 1).any(|round| round.is_multiple_of(2));
                assert!(known == 0 || removing, "a key is lost");
            }
        }
        let fixed = fixed_key(rng.below(KEYS));
        assert_eq!(tree.get(&fixed).unwrap().map(Value::from), Some(whole(&fixed, 1)));
        reads += 1;
    }
    reads
}

fn scan_randomly(tree: &Tree, seed: u64, stop: &AtomicBool) -> u64 {
    let (mut rng, mut scans) = (Rng::new(seed), 0);
    while !stop.load(Ordering::Relaxed) {
        let direction = if rng.below(2) == 0 { Direction::Forward } else { Direction::Backward };
        let limit = [3, 50, usize::MAX][rng.below(3)];
        let mut keys = Vec::new();
        let mut resume = Bound::Unbounded;
        loop {
            let mut request = ScanRequest { limit, ..everything(direction) };
            match direction {
                Direction::Forward => request.lower = resume.as_ref().map(Vec::as_slice),
                Direction::Backward => request.upper = resume.as_ref().map(Vec::as_slice),
            }
            let mut items = Vec::new();
            let next = tree.collect(&request, &mut items, &all_alive).unwrap();
            for item in items {
                let ScanItem::Leaf { key, leaf } = item else { panic!("no delimiter was given") };
                assert_eq!(Value::from(leaf.clone()), whole(&key, leaf.version), "no torn value is listed");
                keys.push(key);
            }
            match next {
                Some(bound) => resume = bound,
                None => break,
            }
        }
        if direction == Direction::Backward {
            keys.reverse();
        }
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys ascend strictly");
        let fixed = keys.iter().filter(|key| key.ends_with(b"/fixed")).count();
        assert_eq!(fixed, KEYS, "each key that is there all the time is listed once");
        scans += 1;
    }
    scans
}

fn list_randomly(tree: &Tree, stop: &AtomicBool) -> u64 {
    let mut lists = 0;
    while !stop.load(Ordering::Relaxed) {
        for direction in [Direction::Forward, Direction::Backward] {
            let mut items = Vec::new();
            let skip = Some(Skip { prefix_len: 0, delimiter: b'/' });
            let request = ScanRequest { skip, ..everything(direction) };
            tree.collect(&request, &mut items, &all_alive).unwrap();
            if direction == Direction::Backward {
                items.reverse();
            }
            let expected: Vec<_> =
                (0..7).map(|dir| ScanItem::CommonPrefix(format!("dir{dir}/").into_bytes())).collect();
            assert_eq!(items, expected);
        }
        lists += 1;
    }
    lists
}

#[test]
fn readers_and_scans_see_whole_values_while_writers_split_frames() {
    let tree = new_tree();
    for index in 0..KEYS {
        let key = fixed_key(index);
        tree.writer(1).put(&key, &whole(&key, 1).leaf()).unwrap();
    }
    let progress: Vec<_> = (0..WRITERS * KEYS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (tree, progress) = (&tree, &progress);
                scope.spawn(move || write_rounds(tree, writer, progress, 31))
            })
            .collect();
        let readers = [
            scope.spawn(|| read_randomly(&tree, 91, &progress, &stop)),
            scope.spawn(|| read_randomly(&tree, 92, &progress, &stop)),
            scope.spawn(|| scan_randomly(&tree, 93, &stop)),
            scope.spawn(|| list_randomly(&tree, &stop)),
        ];
        let stopping = StopOnDrop(&stop);
        for writer in writers {
            writer.join().unwrap();
        }
        drop(stopping);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    let mut model = Model::new();
    for index in 0..KEYS {
        model.insert(fixed_key(index), whole(&fixed_key(index), 1));
        for writer in 0..WRITERS {
            let key = key_of(writer, index);
            let value = whole(&key, 31);
            model.insert(key, value);
        }
    }
    assert_equals(&tree, &model);
}

#[test]
fn a_batch_is_seen_whole_or_not_at_all_by_one_reader_at_a_time() {
    let tree = new_tree();
    let keys: Vec<_> = (0..300).map(|index| format!("batch/{index:05}").into_bytes()).collect();
    let put_all = |round: u64| {
        let mut writer = tree.writer(1);
        for key in &keys {
            writer.put(key, &whole(key, round).leaf()).unwrap();
        }
    };
    put_all(1);
    assert!(tree.stats().frames > 3);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (tree, keys, stop) = (&tree, &keys, &stop);
            scope.spawn(move || {
                let (mut rng, mut newest) = (Rng::new(seed + 7), 0);
                while !stop.load(Ordering::Relaxed) {
                    let key = &keys[rng.below(keys.len())];
                    let value = Value::from(tree.get(key).unwrap().unwrap());
                    assert_eq!(value, whole(key, value.version));
                    assert!(value.version >= newest, "once a batch is seen, all of it is seen");
                    newest = value.version;
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        for round in 2..200 {
            put_all(round);
        }
    });
}

#[test]
fn writers_that_meet_in_frames_under_split_lose_no_key() {
    const EACH: u64 = 6_000;
    let tree = new_tree();
    // All threads put the same stretch of keys at the same time, so that they meet in its frames.
    let key_of = |writer: u64, index: u64| {
        let spread = (index / 64) << 40 | (index.wrapping_mul(0x9e37_79b9) % 64) << 8 | writer;
        [b"\0\0\0\x01k/", &spread.to_be_bytes()[..]].concat()
    };
    let done: Vec<_> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (tree, done, stop) = (&tree, &done, &stop);
            scope.spawn(move || {
                let mut rng = Rng::new(seed + 70);
                while !stop.load(Ordering::Relaxed) {
                    let writer = rng.below(WRITERS);
                    // Acquire pairs with the writer's release: what it has put, a read finds.
                    let put = done[writer].load(Ordering::Acquire);
                    let index = put.saturating_sub(1 + rng.below(200) as u64);
                    if index < put {
                        let key = key_of(writer as u64, index);
                        assert_eq!(tree.get(&key).unwrap().map(Value::from), Some(whole(&key, index + 1)));
                    }
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (tree, done) = (&tree, &done[writer]);
                scope.spawn(move || {
                    for index in 0..EACH {
                        let key = key_of(writer as u64, index);
                        assert_eq!(tree.writer(1).put(&key, &whole(&key, index + 1).leaf()), Ok(false));
                        done.store(index + 1, Ordering::Release);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
    });
    let keys = (0..WRITERS as u64).flat_map(|writer| (0..EACH).map(move |index| (writer, index)));
    let model = keys.map(|(writer, index)| (key_of(writer, index), whole(&key_of(writer, index), index + 1)));
    assert_equals(&tree, &model.collect());
}
