//! Lives of a store: clean closes, kills, crashes in the middle of starting, and that no address is ever
//! assigned twice.

use treering_journal::{Draft, Durability, Error, Journal, Mode, RecoverFrom, recover};
use treering_segment::file::FileStorage;

use crate::fixture::*;

#[test]
fn a_clean_close_replays_everything_and_leaves_no_tail() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    assert_eq!(journal.tail(), Journal::FIRST_LSN);
    let puts = puts(&journal, 400);
    let end = journal.close_clean(3, 77).unwrap();
    drop(journal);
    let from = RecoverFrom { clean_end: Some(end), ..first() };
    let (recovered, seen) = replay(&env, from, Mode::ReadOnly).unwrap();
    assert_eq!(seen, puts);
    assert!(recovered.clean && recovered.torn_tail.is_none());
    assert_eq!((recovered.end_lsn, recovered.max_epoch, recovered.max_time_ms), (end, 3, 77));
    assert_eq!((recovered.records, recovered.from_ring), (401, 0));
}

fn kill_and_continue(env: &treering_segment::storage::Environment) {
    let journal = Journal::create(env, &options()).unwrap();
    let mut expected = puts(&journal, 100);
    journal.acknowledge(journal.tail(), Durability::Buffered).unwrap();
    assert!(journal.has_shared_ring());
    // A killed process runs no destructor.
    std::mem::forget(journal);
    for life in 2..6 {
        let (recovered, seen) = replay(env, first(), Mode::Writing).unwrap();
        assert_eq!(seen, expected, "life {life}");
        assert!(recovered.from_ring > 0, "the ring continues the log");
        let end = recovered.end_lsn;
        let journal = Journal::start(env, &options(), recovered).unwrap();
        assert_eq!(journal.incarnation(), life);
        assert!(journal.tail() >= end + (16 << 10));
        expected.extend(puts(&journal, 50 + life as usize));
        journal.acknowledge(journal.tail(), Durability::Buffered).unwrap();
        std::mem::forget(journal);
    }
}

#[test]
fn a_killed_store_continues_from_the_ring_in_memory() {
    kill_and_continue(&memory());
}

#[test]
fn a_killed_store_continues_from_the_ring_on_files() {
    let directory = tempfile::tempdir().unwrap();
    let storage = FileStorage::create(directory.path().join("store")).unwrap();
    kill_and_continue(&environment(std::sync::Arc::new(storage)));
}

#[test]
fn what_the_ring_continued_is_in_the_log_once_a_journal_has_started() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let expected = puts(&journal, 30);
    std::mem::forget(journal);
    let (journal, _) = reopen(&env);
    std::mem::forget(journal);
    env.storage.remove("ring").unwrap();
    let (recovered, seen) = read(&env);
    assert_eq!(seen, expected);
    assert_eq!(recovered.from_ring, 0);
}

#[test]
fn a_private_ring_is_written_before_a_buffered_acknowledgement() {
    let env = memory();
    let options = treering_journal::JournalOptions { shared_ring: false, ..options() };
    let journal = Journal::create(&env, &options).unwrap();
    let expected = puts(&journal, 10);
    journal.acknowledge(journal.tail(), Durability::Buffered).unwrap();
    assert!(!journal.has_shared_ring());
    std::mem::forget(journal);
    assert_eq!(read(&env).1, expected);
}

#[test]
fn addresses_are_never_assigned_twice_across_kills_cuts_and_empty_lives() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let mut low_water = Journal::FIRST_LSN;
    let mut highest = 0;
    let mut lives = 1;
    let mut running = journal;
    for round in 0..20_usize {
        assert!(running.tail() >= highest, "round {round}");
        let appended = puts(&running, round * 13 % 90);
        highest = running.tail();
        if round % 3 == 0 {
            running.flush().unwrap();
            low_water = running.tail();
            running.drop_below(low_water).unwrap();
        }
        if round % 4 == 1 {
            // What a reader saw of these may never get anywhere.
            let ring = env.storage.open("ring", treering_segment::storage::Access::ReadWrite).unwrap();
            ring.write_all_at(&vec![0; 16 << 10], 4096).unwrap();
        }
        std::mem::forget(running);
        let from = RecoverFrom { low_water, ..first() };
        let (recovered, seen) = replay(&env, from, Mode::Writing).unwrap();
        if round % 4 != 1 && round % 3 != 0 {
            assert!(seen.ends_with(&appended), "round {round}");
        }
        running = Journal::start(&env, &options(), recovered).unwrap();
        lives += 1;
        assert_eq!(running.incarnation(), lives);
    }
}

#[test]
fn recovery_is_idempotent_and_changes_no_byte() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    puts(&journal, 200);
    std::mem::forget(journal);
    let before = contents(&env);
    let (one, seen_once) = read(&env);
    let (two, seen_twice) = read(&env);
    assert_eq!(seen_once, seen_twice);
    assert_eq!(one.end_lsn, two.end_lsn);
    assert_eq!(contents(&env), before);
    assert!(matches!(Journal::start(&env, &options(), two), Err(Error::Options(_))));
}

#[test]
fn a_fresh_log_refuses_a_directory_that_has_one() {
    let env = memory();
    drop(Journal::create(&env, &options()).unwrap());
    assert!(matches!(Journal::create(&env, &options()), Err(Error::Io(_))));
}

#[test]
fn another_store_s_log_is_refused() {
    let env = memory();
    drop(Journal::create(&env, &options()).unwrap());
    let other = treering_journal::JournalOptions { store_id: [9; 16], ..options() };
    let error = recover(&env, &other, first(), Mode::ReadOnly, &mut |_| Ok(())).unwrap_err();
    assert!(damage(&error).what.contains("another store"));
}

#[test]
fn log_files_below_the_low_water_mark_are_recycled_and_their_records_never_return() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let mut low_water = Journal::FIRST_LSN;
    for _ in 0..30 {
        puts(&journal, 100);
        journal.drain_once().unwrap();
        low_water = journal.flush().unwrap();
        journal.drop_below(low_water).unwrap();
        assert_eq!(journal.log_bytes(), 0);
        let names = env.storage.list().unwrap();
        assert!(names.len() <= 6, "{names:?}");
    }
    let last = puts(&journal, 5);
    assert!(journal.tail() > 1_000_000, "the log went round many times");
    std::mem::forget(journal);
    let (_, seen) = replay(&env, RecoverFrom { low_water, ..first() }, Mode::ReadOnly).unwrap();
    assert_eq!(seen, last);
}

#[test]
fn records_straddle_files_and_the_ring_s_end() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let mut expected = Vec::new();
    for n in 0..100_u8 {
        let value = vec![n; 8000 - 48 - 2 - 3 - 8];
        let appended = put(&journal, b"big", &value).unwrap();
        expected.push((appended.lsn, b"big".to_vec(), value));
    }
    std::mem::forget(journal);
    assert_eq!(read(&env).1, expected);
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_logged() {
    let journal = Journal::create(&memory(), &options()).unwrap();
    let value = vec![0; 9000];
    let draft = Draft::put(1, b"k", &value).unwrap();
    let refused = journal.admit(draft.encoded_len());
    assert!(matches!(refused, Err(Error::TooLarge { max: 8192, .. })));
    assert_eq!(journal.tail(), Journal::FIRST_LSN);
    assert!(matches!(Draft::delete(1, &vec![0; 70_000]), Err(Error::TooLarge { max: 65_535, .. })));
}

fn contents(env: &treering_segment::storage::Environment) -> Vec<(String, Vec<u8>)> {
    let storage = &env.storage;
    let read = |name: String| {
        let file = storage.open(&name, treering_segment::storage::Access::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    storage.list().unwrap().into_iter().map(read).collect()
}
