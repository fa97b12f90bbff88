//! Log files that are gone or claim more than they hold: named as damage, or read no further than there are bytes.

use treering_journal::{Journal, Mode, recover};
use treering_segment::storage::Access;

use crate::fixture::*;

/// Names of the log files, in stream order.
fn log_files(env: &treering_segment::storage::Environment) -> Vec<String> {
    let names = env.storage.list().unwrap();
    names.into_iter().filter(|name| name.starts_with("log-")).collect()
}

#[test]
fn a_record_in_the_ring_whose_log_file_is_missing_is_damage() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    // More than one file's worth, the rest of which stays in the ring.
    while journal.tail() < Journal::FIRST_LSN + (64 << 10) + 2000 {
        puts(&journal, 1);
    }
    std::mem::forget(journal);
    let (recovered, _) = read(&env);
    assert!(recovered.from_ring > 0, "nothing is in the ring alone");
    let newest = log_files(&env).pop().unwrap();
    env.storage.remove(&newest).unwrap();
    let error = replay(&env, first(), Mode::ReadOnly).unwrap_err();
    assert!(damage(&error).what.contains("missing"), "{error}");
}

#[test]
fn an_incarnation_without_its_first_file_is_damage() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    puts(&journal, 10);
    let end = journal.flush().unwrap();
    drop(journal);
    let (journal, _) = reopen(&env);
    while journal.tail() < end + (300 << 10) {
        puts(&journal, 20);
        journal.flush().unwrap();
    }
    drop(journal);
    let files = log_files(&env);
    assert!(files.len() > 3, "{files:?}");
    let from = treering_journal::RecoverFrom { low_water: end, ..first() };
    assert!(recover(&env, &options(), from, Mode::ReadOnly, &mut |_| Ok(())).unwrap().records > 100);
    // A cut has freed the first incarnation's file, and the first of the second one is lost.
    env.storage.remove(&files[0]).unwrap();
    assert!(recover(&env, &options(), from, Mode::ReadOnly, &mut |_| Ok(())).unwrap().records > 100);
    env.storage.remove(&files[1]).unwrap();
    let error = recover(&env, &options(), from, Mode::ReadOnly, &mut |_| Ok(())).unwrap_err();
    assert!(damage(&error).what.contains("missing"), "{error}");
}

/// The work and the memory that a log file can ask for are bounded by its bytes.
#[test]
fn a_header_that_claims_exabytes_is_read_as_far_as_its_file_goes() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let written = puts(&journal, 20);
    journal.flush().unwrap();
    std::mem::forget(journal);
    env.storage.remove("ring").unwrap();
    let name = log_files(&env).pop().unwrap();
    let file = env.storage.open(&name, Access::ReadWrite).unwrap();
    let mut header = [0; 4096];
    file.read_exact_at(&mut header, 0).unwrap();
    header[40..48].copy_from_slice(&(1_u64 << 61).to_le_bytes());
    let crc = crc32c::crc32c(&header[..4092]);
    header[4092..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    let (recovered, seen) = replay(&env, first(), Mode::ReadOnly).unwrap();
    assert_eq!(seen, written);
    // What looks like a record of four gigabytes is not one.
    let mut record = [0; 48];
    file.read_exact_at(&mut record, 4096).unwrap();
    record[8..12].copy_from_slice(&0xffff_fff8_u32.to_le_bytes());
    record[16..24].copy_from_slice(&recovered.end_lsn.to_le_bytes());
    file.write_all_at(&record, 4096 + recovered.end_lsn - Journal::FIRST_LSN).unwrap();
    let (recovered, seen) = replay(&env, first(), Mode::ReadOnly).unwrap();
    assert_eq!(seen, written);
    assert!(recovered.torn_tail.is_some());
}
