//! What needs a look inside: gaps in the published prefix, and a ring whose bytes change under the
//! drainer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};

use treering_segment::clock::{OsEntropy, SystemClock};
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::Access;

use super::*;
use crate::recovery::{Mode, RecoverFrom, recover};
use treering_segment::storage::Environment;

fn environment() -> (Environment, JournalOptions) {
    let env = Environment {
        storage: Arc::new(MemoryStorage::new()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    let options = JournalOptions { ring_bytes: 4096, segment_bytes: 8192, ..JournalOptions::new([1; 16]) };
    (env, options)
}

fn append(journal: &Journal, value: &[u8]) -> Appended {
    let draft = Draft::put(1, b"key", value).unwrap();
    let credit = journal.admit(draft.encoded_len()).unwrap();
    journal.append(credit, &draft)
}

#[test]
fn nothing_is_acknowledged_behind_a_gap() {
    for durability in [Durability::Buffered, Durability::Sync] {
        let (env, options) = environment();
        let journal = Journal::create(&env, &options).unwrap();
        let mut credit = journal.admit(64).unwrap();
        let gap = journal.ring.reserve(64).unwrap();
        credit.bytes = 0;
        let end = append(&journal, b"value").end;
        let closed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                journal.acknowledge(end, durability).unwrap();
                assert!(closed.load(Ordering::SeqCst), "{durability:?} acknowledged behind a gap");
            });
            for _ in 0..1000 {
                std::thread::yield_now();
            }
            assert!(journal.frontiers().published < end);
            closed.store(true, Ordering::SeqCst);
            drop(gap);
            waiter.join().unwrap();
        });
    }
}

#[test]
fn an_abandoned_reservation_becomes_a_void_record_and_the_log_goes_on() {
    let (env, options) = environment();
    let journal = Journal::create(&env, &options).unwrap();
    let mut expected = Vec::new();
    for n in 0..200_usize {
        if n % 5 == 0 {
            let len = 48 + n % 40 * 8;
            let mut credit = journal.admit(len).unwrap();
            drop(journal.ring.reserve(len).unwrap());
            credit.bytes = 0;
        }
        expected.push(append(&journal, &[7; 40]).lsn);
    }
    journal.flush().unwrap();
    std::mem::forget(journal);
    let mut seen = Vec::new();
    let from = RecoverFrom { low_water: Journal::FIRST_LSN, ..RecoverFrom::default() };
    recover(&env, &options, from, Mode::ReadOnly, &mut |record| {
        seen.extend(record.ops().map(|_| record.lsn));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, expected);
}

#[test]
fn a_byte_that_changed_in_the_ring_never_reaches_the_log_as_good() {
    let (env, options) = environment();
    let journal = Journal::create(&env, &options).unwrap();
    let appended = append(&journal, b"some value");
    let ring = env.storage.open(RING_NAME, Access::ReadWrite).unwrap();
    let mut byte = [0];
    ring.read_exact_at(&mut byte, 4096 + 55).unwrap();
    ring.write_all_at(&[!byte[0]], 4096 + 55).unwrap();
    let Err(Error::Poisoned(poisoned)) = journal.drain_once() else { panic!("drained damage") };
    assert!(matches!(&*poisoned.cause, Error::Damage(damage) if damage.offset == 4096));
    assert!(journal.acknowledge(appended.end, Durability::Sync).is_err());
    assert_eq!(journal.frontiers().written, Journal::FIRST_LSN);
}

#[test]
fn the_newest_log_file_is_never_let_go() {
    let (env, options) = environment();
    let journal = Journal::create(&env, &options).unwrap();
    journal.files.make_ready(journal.tail() + 5 * options.segment_bytes).unwrap();
    let newest = env.storage.list().unwrap().into_iter().rfind(|name| name.starts_with("log-"));
    journal.files.let_go(|_| true).unwrap();
    let left: Vec<String> =
        env.storage.list().unwrap().into_iter().filter(|name| name.starts_with("log-")).collect();
    assert_eq!(left, Vec::from_iter(newest));
}
