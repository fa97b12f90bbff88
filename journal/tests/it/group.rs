//! Many writers at once: every record is replayed exactly once, and acknowledgements keep their promise.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use treering_journal::{BatchBody, Draft, Durability, Journal, Mode};

use crate::fixture::*;

const WRITERS: usize = 4;
const EACH: usize = 400;

fn write_all(journal: &Journal, writer: usize, durability: impl Fn(usize) -> Durability) -> Vec<Seen> {
    (0..EACH)
        .map(|n| {
            let key = format!("{writer}/{n}").into_bytes();
            let value = vec![b'v'; (n * 31 + writer * 7) % 900];
            let appended = put(journal, &key, &value).unwrap();
            let durability = durability(n);
            journal.acknowledge(appended.end, durability).unwrap();
            let frontiers = journal.frontiers();
            assert!(frontiers.published >= appended.end);
            assert!(durability == Durability::Buffered || frontiers.durable >= appended.end);
            (appended.lsn, key, value)
        })
        .collect()
}

fn run(background: bool, durability: fn(usize) -> Durability) {
    let env = memory();
    let journal = Arc::new(Journal::create(&env, &options()).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let drainer = background.then(|| {
        let (journal, stop) = (Arc::clone(&journal), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                journal.wait_for_work(Duration::from_millis(50));
                journal.drain_once().unwrap();
            }
        })
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let journal = Arc::clone(&journal);
            thread::spawn(move || write_all(&journal, writer, durability))
        })
        .collect();
    let mut expected: Vec<Seen> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    stop.store(true, Ordering::Relaxed);
    journal.wake();
    if let Some(drainer) = drainer {
        drainer.join().unwrap();
    }
    std::mem::forget(journal);
    expected.sort();
    let distinct: BTreeSet<u64> = expected.iter().map(|(lsn, ..)| *lsn).collect();
    assert_eq!(distinct.len(), WRITERS * EACH);
    assert_eq!(read(&env).1, expected);
}

#[test]
fn concurrent_buffered_writers_with_a_drainer_replay_exactly_once() {
    run(true, |_| Durability::Buffered);
}

#[test]
fn concurrent_buffered_writers_without_a_drainer_replay_exactly_once() {
    run(false, |_| Durability::Buffered);
}

#[test]
fn concurrent_sync_writers_replay_exactly_once() {
    run(false, |_| Durability::Sync);
}

#[test]
fn writers_of_both_kinds_replay_exactly_once() {
    run(true, |n| if n % 3 == 0 { Durability::Sync } else { Durability::Buffered });
}

#[test]
fn draining_step_by_step_gives_the_bytes_that_draining_at_once_gives() {
    let log_bytes = |step: usize| {
        let env = memory();
        let journal = Journal::create(&env, &options()).unwrap();
        for n in 0..60_usize {
            put(&journal, b"key", &vec![b'x'; n * 11 % 300]).unwrap();
            if n % step == 0 {
                journal.drain_once().unwrap();
            }
        }
        journal.drain_once().unwrap();
        let (file, offset) = place(&env, Journal::FIRST_LSN);
        let mut bytes = vec![0; usize::try_from(journal.tail() - Journal::FIRST_LSN).unwrap()];
        file.read_exact_at(&mut bytes, offset).unwrap();
        bytes
    };
    assert_eq!(log_bytes(1), log_bytes(60));
    assert_eq!(log_bytes(7), log_bytes(60));
}

#[test]
fn a_credit_that_is_dropped_gives_its_space_back() {
    let journal = Journal::create(&memory(), &options()).unwrap();
    for _ in 0..1000 {
        drop(journal.admit(8192).unwrap());
    }
    assert_eq!(journal.tail(), Journal::FIRST_LSN);
    let draft = Draft::put(1, b"k", b"v").unwrap();
    for _ in 0..1000 {
        // Admitted for much more than is used.
        let credit = journal.admit(4096).unwrap();
        journal.append(credit, &draft);
    }
}

#[test]
fn a_batch_is_one_record_and_replays_whole_in_order() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let mut body = BatchBody::new();
    body.put(1, b"a", b"inline", false, None).unwrap();
    body.put(1, b"b", &[1; 100], true, Some(5)).unwrap();
    body.delete(2, b"").unwrap();
    body.put(1, b"c", &[2; 50], true, None).unwrap();
    let mut draft = Draft::batch(&body).unwrap();
    draft.staging = Some(1000);
    let credit = journal.admit(draft.encoded_len()).unwrap();
    let appended = journal.append(credit, &draft);
    journal.acknowledge(appended.end, Durability::Sync).unwrap();
    std::mem::forget(journal);
    let mut described = Vec::new();
    treering_journal::recover(&env, &options(), first(), Mode::ReadOnly, &mut |record| {
        assert_eq!(record.lsn, appended.lsn);
        described.extend(record.ops().map(|op| {
            let what = match op.change {
                treering_journal::Change::Put { value, staging } => {
                    format!("put {} {staging:?}", value.len())
                }
                other => format!("{other:?}"),
            };
            format!("{} {:?} {what} {:?}", op.tree, String::from_utf8_lossy(op.key), op.death)
        }));
        Ok(())
    })
    .unwrap();
    assert_eq!(
        described,
        [
            "1 \"a\" put 6 None None",
            "1 \"b\" put 100 Some(1000) Some(5)",
            "2 \"\" Delete None",
            "1 \"c\" put 50 Some(1100) None",
        ]
    );
}
