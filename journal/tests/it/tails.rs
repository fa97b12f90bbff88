//! The end of the log: torn tails of every kind are cut, damage in front of what is known durable is
//! corruption with file and offset.

use std::sync::Arc;

use treering_journal::{Durability, Error, Journal, Mode, RecoverFrom, check_log_lengths, record::salt};
use treering_segment::storage::{Access, Environment, StorageFile};

use crate::fixture::*;

/// A log of a few records in its first file, nothing in the ring, and no mark that bars a cut.
struct Tail {
    env: Environment,
    file: Arc<dyn StorageFile>,
    records: Vec<Seen>,
    /// The file's stream bytes.
    bytes: Vec<u8>,
    end: usize,
}

fn tail() -> Tail {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let records = puts(&journal, 8);
    let end = usize::try_from(journal.flush().unwrap() - Journal::FIRST_LSN).unwrap();
    drop(journal);
    env.storage.remove("ring").unwrap();
    let (file, offset) = place(&env, Journal::FIRST_LSN);
    let mut bytes = vec![0; 64 << 10];
    file.read_exact_at(&mut bytes, offset).unwrap();
    Tail { env, file, records, bytes, end }
}

impl Tail {
    /// Puts `changed` in the file's place and expects the log to end before the first record that differs.
    fn expect_cut(&self, changed: &[u8], what: &str) {
        self.file.write_all_at(changed, 4096).unwrap();
        let bounds: Vec<usize> = self
            .records
            .iter()
            .map(|(lsn, ..)| usize::try_from(lsn - Journal::FIRST_LSN).unwrap())
            .chain([self.end])
            .collect();
        let whole = |n: &usize| self.bytes[bounds[*n]..bounds[n + 1]] == changed[bounds[*n]..bounds[n + 1]];
        let kept = (0..self.records.len()).take_while(whole).count();
        let (recovered, seen) = read(&self.env);
        assert_eq!(seen, self.records[..kept], "{what}");
        assert_eq!(recovered.end_lsn, Journal::FIRST_LSN + bounds[kept] as u64, "{what}");
        if let Some(torn) = recovered.torn_tail {
            assert_eq!(torn.at, recovered.end_lsn, "{what}");
        }
    }
}

#[test]
fn a_zero_filled_tail_is_cut_wherever_it_begins() {
    let tail = tail();
    for at in 0..=tail.end {
        let mut changed = tail.bytes.clone();
        changed[at..].fill(0);
        tail.expect_cut(&changed, &format!("zeros from {at}"));
    }
}

#[test]
fn a_garbled_tail_is_cut_wherever_it_begins() {
    let tail = tail();
    for at in 0..=tail.end {
        let mut changed = tail.bytes.clone();
        changed[at..tail.end].iter_mut().for_each(|byte| *byte = !*byte);
        tail.expect_cut(&changed, &format!("garbage from {at}"));
    }
}

#[test]
fn a_single_bad_byte_cuts_the_log_at_its_record() {
    let tail = tail();
    for at in 0..tail.end {
        for flip in [1, 0x80, 0xff] {
            let mut changed = tail.bytes.clone();
            changed[at] ^= flip;
            tail.expect_cut(&changed, &format!("byte {at} ^ {flip}"));
        }
    }
}

#[test]
fn a_short_file_is_a_tail_wherever_it_ends() {
    let tail = tail();
    for at in (0..=tail.end).rev() {
        tail.file.set_len(4096 + at as u64).unwrap();
        let (recovered, seen) = read(&tail.env);
        assert!(tail.records.starts_with(&seen));
        assert!(recovered.end_lsn <= Journal::FIRST_LSN + at as u64 + 7);
    }
}

#[test]
fn a_file_that_lost_its_end_is_damage_to_who_asks_for_lengths() {
    let tail = tail();
    check_log_lengths(&tail.env, &options()).unwrap();
    let whole = tail.file.len().unwrap();
    tail.file.set_len(whole - 1).unwrap();
    let refused = check_log_lengths(&tail.env, &options());
    assert!(matches!(&refused, Err(Error::Damage(damage)) if damage.offset == whole - 1), "{refused:?}");
}

#[test]
fn a_missing_sector_in_the_middle_cuts_the_log_though_later_records_survive() {
    let tail = tail();
    for sector in 0..tail.end / 512 {
        let mut changed = tail.bytes.clone();
        changed[sector * 512..(sector + 1) * 512].fill(0);
        tail.expect_cut(&changed, &format!("sector {sector}"));
    }
}

#[test]
fn a_cut_tail_never_comes_back_behind_later_appends() {
    let tail = tail();
    let mut changed = tail.bytes.clone();
    changed[200] ^= 1;
    tail.expect_cut(&changed, "torn");
    let (journal, mut expected) = reopen(&tail.env);
    expected.extend(puts(&journal, 5));
    std::mem::forget(journal);
    // The bytes that were torn are whole again: nobody asks for them any more.
    tail.file.write_all_at(&tail.bytes, 4096).unwrap();
    assert_eq!(read(&tail.env).1, expected);
}

#[test]
fn the_ring_fills_a_hole_in_the_log() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let mut expected = puts(&journal, 5);
    journal.drain_once().unwrap();
    expected.extend(puts(&journal, 5));
    std::mem::forget(journal);
    poke(&env, expected[3].0 + 20, |byte| !byte);
    let (recovered, seen) = read(&env);
    assert_eq!(seen, expected);
    assert!(recovered.from_ring > expected[4].0 - expected[3].0);
    std::mem::forget(reopen(&env).0);
    env.storage.remove("ring").unwrap();
    assert_eq!(read(&env).1, expected, "starting has mended the log");
}

/// A log in which a later record tells that the first ones were durable.
fn marked(drained: bool) -> (Environment, Vec<Seen>) {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let mut records = puts(&journal, 40);
    journal.flush().unwrap();
    records.extend(puts(&journal, 2));
    if drained {
        journal.drain_once().unwrap();
    }
    std::mem::forget(journal);
    (env, records)
}

fn expect_damage_at(env: &Environment, at: u64, from: RecoverFrom) {
    let error = replay(env, from, Mode::ReadOnly).unwrap_err();
    let (file, offset) = place(env, at);
    assert_eq!((damage(&error).file.as_path(), damage(&error).offset), (file.path(), offset), "{error}");
}

#[test]
fn damage_before_a_durable_mark_in_the_log_is_corruption() {
    let (env, records) = marked(true);
    // Whatever the ring still holds would mend it.
    env.storage.remove("ring").unwrap();
    assert_eq!(read(&env).1, records);
    for hurt in [0, 7, 39] {
        poke(&env, records[hurt].0 + 9, |byte| byte ^ 4);
        expect_damage_at(&env, records[hurt].0, first());
        poke(&env, records[hurt].0 + 9, |byte| byte ^ 4);
    }
    // The record that carries the mark does not vouch for itself.
    poke(&env, records[40].0 + 9, |byte| byte ^ 4);
    assert_eq!(read(&env).1, records[..40]);
}

#[test]
fn damage_before_a_durable_mark_in_the_ring_is_corruption() {
    let (env, records) = marked(false);
    let hurt = &records[3];
    for at in [hurt.0, hurt.0 + 60] {
        poke(&env, at, |byte| byte ^ 4);
        let ring = env.storage.open("ring", Access::ReadWrite).unwrap();
        let offset = 4096 + (at - Journal::FIRST_LSN) % (16 << 10);
        let mut byte = [0];
        ring.read_exact_at(&mut byte, offset).unwrap();
        ring.write_all_at(&[byte[0] ^ 4], offset).unwrap();
        expect_damage_at(&env, hurt.0, first());
        poke(&env, at, |byte| byte ^ 4);
        ring.write_all_at(&byte, offset).unwrap();
    }
}

#[test]
fn a_log_that_ends_before_what_the_manifest_knows_is_corruption() {
    let tail = tail();
    let end = Journal::FIRST_LSN + tail.end as u64;
    let hurt = tail.records[7].0;
    let clean = RecoverFrom { clean_end: Some(end), ..first() };
    let cut = RecoverFrom { lsn0: end, ..first() };
    for from in [clean, cut] {
        assert_eq!(replay(&tail.env, from, Mode::ReadOnly).unwrap().1, tail.records);
        poke(&tail.env, hurt, |byte| byte ^ 1);
        expect_damage_at(&tail.env, hurt, from);
        poke(&tail.env, hurt, |byte| byte ^ 1);
    }
}

#[test]
fn a_manifest_behind_what_the_log_tells_is_corruption() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    journal.set_durable_edit(12);
    let end = journal.write_mark(1, 5).unwrap();
    drop(journal);
    let known = RecoverFrom { durable_edit: 12, ..first() };
    let (recovered, _) = replay(&env, known, Mode::ReadOnly).unwrap();
    assert_eq!((recovered.max_durable_edit, recovered.end_lsn, recovered.max_time_ms), (12, end, 5));
    expect_damage_at(&env, end, RecoverFrom { durable_edit: 11, ..first() });
}

#[test]
fn damage_in_an_earlier_incarnation_is_corruption() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let records = puts(&journal, 10);
    std::mem::forget(journal);
    std::mem::forget(reopen(&env).0);
    assert_eq!(read(&env).1, records);
    poke(&env, records[9].0 + 50, |byte| byte ^ 1);
    expect_damage_at(&env, records[9].0, first());
}

#[test]
fn missing_log_files_are_noticed() {
    let build = || {
        let env = memory();
        let journal = Journal::create(&env, &options()).unwrap();
        puts(&journal, 1200);
        journal.flush().unwrap();
        std::mem::forget(journal);
        std::mem::forget(reopen(&env).0);
        env
    };
    let names: Vec<String> = build().storage.list().unwrap();
    let logs: Vec<&String> = names.iter().filter(|name| name.starts_with("log-")).collect();
    assert!(logs.len() > 4);
    for name in logs {
        let env = build();
        env.storage.remove(name).unwrap();
        let error = replay(&env, first(), Mode::ReadOnly).unwrap_err();
        damage(&error);
    }
}

#[test]
fn any_flipped_byte_of_a_log_header_is_named() {
    let tail = tail();
    for at in 0..4096 {
        let mut byte = [0];
        tail.file.read_exact_at(&mut byte, at).unwrap();
        tail.file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        let error = replay(&tail.env, first(), Mode::ReadOnly).unwrap_err();
        assert_eq!(damage(&error).file, tail.file.path(), "byte {at}");
        tail.file.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn a_ring_that_makes_no_sense_is_no_ring() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let expected = puts(&journal, 3);
    journal.flush().unwrap();
    puts(&journal, 3);
    std::mem::forget(journal);
    let ring = env.storage.open("ring", Access::ReadWrite).unwrap();
    for at in 0..4096 {
        let mut byte = [0];
        ring.read_exact_at(&mut byte, at).unwrap();
        ring.write_all_at(&[!byte[0]], at).unwrap();
        let (_, seen) = read(&env);
        assert!(seen.starts_with(&expected), "byte {at}");
        ring.write_all_at(&byte, at).unwrap();
    }
    for short in [0, 100, 4096, 5000] {
        ring.set_len(short).unwrap();
        assert_eq!(read(&env).1, expected);
    }
}

#[test]
fn a_whole_record_that_no_writer_makes_is_corruption() {
    let tail = tail();
    for (at, value) in [(3, 99), (3, 9), (6, 1), (4, 0)] {
        let mut changed = tail.bytes.clone();
        let start = usize::try_from(tail.records[2].0 - Journal::FIRST_LSN).unwrap();
        let end = usize::try_from(tail.records[3].0 - Journal::FIRST_LSN).unwrap();
        let record = &mut changed[start..end];
        record[at] = value;
        record[12..16].fill(0);
        let crc = crc32c::crc32c_append(salt(&STORE), record);
        record[12..16].copy_from_slice(&crc.to_le_bytes());
        tail.file.write_all_at(&changed, 4096).unwrap();
        expect_damage_at(&tail.env, tail.records[2].0, first());
    }
}

#[test]
fn a_buffered_tail_that_never_reached_the_log_is_whole_or_absent_record_by_record() {
    let env = memory();
    let journal = Journal::create(&env, &options()).unwrap();
    let expected = puts(&journal, 12);
    journal.acknowledge(journal.tail(), Durability::Buffered).unwrap();
    let end = journal.tail();
    std::mem::forget(journal);
    let ring = env.storage.open("ring", Access::ReadWrite).unwrap();
    for at in Journal::FIRST_LSN..end {
        let mut byte = [0];
        let offset = at - Journal::FIRST_LSN + 4096;
        ring.read_exact_at(&mut byte, offset).unwrap();
        ring.write_all_at(&[byte[0] ^ 0x20], offset).unwrap();
        let kept = expected.iter().filter(|(lsn, ..)| *lsn <= at).count() - 1;
        assert_eq!(read(&env).1, expected[..kept], "byte {at}");
        ring.write_all_at(&byte, offset).unwrap();
    }
}

#[test]
fn a_record_of_another_incarnation_ends_the_log() {
    let tail = tail();
    let mut changed = tail.bytes.clone();
    let start = usize::try_from(tail.records[4].0 - Journal::FIRST_LSN).unwrap();
    let end = usize::try_from(tail.records[5].0 - Journal::FIRST_LSN).unwrap();
    let record = &mut changed[start..end];
    record[24] += 1;
    record[12..16].fill(0);
    let crc = crc32c::crc32c_append(salt(&STORE), record);
    record[12..16].copy_from_slice(&crc.to_le_bytes());
    tail.expect_cut(&changed, "a record of another life");
}
