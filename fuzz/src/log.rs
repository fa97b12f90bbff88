//! `log_headers` and `log_directory`: hostile logs through [`recover`], and on through [`Journal::start`].
//!
//! `log_headers` makes up the headers of a few log files and of the ring, checksums right, fields from a range in
//! which they meet. `log_directory` takes the files of a journal that really ran and damages them: bytes as they
//! are, headers and records with checksums mended, files gone, renamed or doubled.
//!
//! Recovery for reading changes no byte; recovery for writing shows the same. Records come in the order of
//! their LSNs, each whole. What a journal then starts from is what the next recovery shows first.

use std::sync::LazyLock;

use treering_journal::record::MAGIC;
use treering_journal::{
    BatchBody, Draft, Durability, Error, Journal, JournalOptions, Lsn, Mode, RecoverFrom, Recovered, recover,
};

use crate::damage::{damage, overwrite, word};
use crate::directory::Directory;
use crate::input::Input;
use crate::mend;
use crate::placed::Placed;

const STORE_ID: [u8; 16] = *b"fuzzed store id.";
const BLOCK: usize = 4096;
const RING: &str = "ring";
/// Changes to one directory.
const CHANGES_MAX: usize = 8;

fn options() -> JournalOptions {
    JournalOptions {
        ring_bytes: 4096,
        segment_bytes: 8192,
        cap_bytes: 64 << 10,
        ..JournalOptions::new(STORE_ID)
    }
}

/// A log to start from.
#[derive(Clone, Debug)]
struct Sample {
    directory: Directory,
    from: RecoverFrom,
    records: Vec<(Lsn, Placed)>,
}

/// Logs in every state in which a process leaves them.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| (0..4).map(sample).collect());

fn first() -> RecoverFrom {
    RecoverFrom { low_water: Journal::FIRST_LSN, lsn0: Journal::FIRST_LSN, ..RecoverFrom::default() }
}

fn sample(state: usize) -> Sample {
    let env = Directory::default().environment();
    let mut journal = Journal::create(&env, &options()).expect("a journal is created");
    let mut from = first();
    for life in 0..=state {
        write(&journal, 12 + 20 * life);
        if life < state {
            if life % 2 == 0 {
                journal.flush().expect("memory syncs");
            }
            drop(journal);
            let recovered =
                recover(&env, &options(), from, Mode::Writing, &mut |_| Ok(())).expect("a sound log");
            journal = Journal::start(&env, &options(), recovered).expect("a sound log");
        }
    }
    if state == 2 {
        from.clean_end = Some(journal.close_clean(9, 9000).expect("memory syncs"));
    }
    let directory = Directory::of(&*env.storage);
    drop(journal);
    let mut records = Vec::new();
    recover(&directory.environment(), &options(), from, Mode::ReadOnly, &mut |record| {
        records.push((record.lsn, usize::try_from(record.end() - record.lsn).expect("small")));
        Ok(())
    })
    .expect("a sound log");
    let records =
        records.into_iter().map(|(lsn, len)| (lsn, Placed::find(&directory, &STORE_ID, lsn, len))).collect();
    Sample { directory, from, records }
}

fn write(journal: &Journal, count: usize) {
    for n in 0..count {
        let (key, value) = (format!("key/{n}"), vec![n.to_le_bytes()[0]; n * 37 % 300]);
        let mut body = BatchBody::new();
        let draft = match n % 5 {
            0 => Draft::delete(7, key.as_bytes()),
            1 => {
                body.put(7, key.as_bytes(), &value, false, Some(5)).expect("small");
                body.delete(8, b"other").expect("small");
                Draft::batch(&body)
            }
            _ => Draft::put(7, key.as_bytes(), &value),
        }
        .expect("small");
        let credit = journal.admit(draft.encoded_len()).expect("there is room");
        let appended = journal.append(credit, &draft);
        let durability = if n % 8 == 7 { Durability::Sync } else { Durability::Buffered };
        journal.acknowledge(appended.end, durability).expect("memory syncs");
    }
}

/// Feeds headers.
pub fn log_headers(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut directory = Directory::default();
    let small = |input: &mut Input<'_>| match input.byte() {
        255 => word(input, 4096),
        blocks => u64::from(blocks % 16) * BLOCK as u64,
    };
    for _ in 0..input.below(5) {
        let mut block = vec![0; BLOCK];
        block[..4].copy_from_slice(b"TRLG");
        block[4] = 1;
        block[8..24].copy_from_slice(&STORE_ID);
        block[24] = input.byte() % 4;
        let words = [small(&mut input), small(&mut input), small(&mut input), small(&mut input)];
        for (at, word) in [32, 40, 48, 56].into_iter().zip(words) {
            block[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        if input.byte().is_multiple_of(8) {
            overwrite(&mut input, &mut block[..64]);
        }
        mend::log_header(&mut block);
        let stream = if words[1] <= 16 * BLOCK as u64 { words[1] } else { BLOCK as u64 };
        block.resize(BLOCK + usize::try_from(stream).expect("small"), 0);
        put_record(&mut input, &mut block, words[0]);
        let name = if input.byte().is_multiple_of(8) { input.u64() } else { words[0] };
        directory.files.insert(format!("log-{name:016x}"), block);
    }
    if input.byte().is_multiple_of(2) {
        let mut ring = vec![0; BLOCK];
        ring[..4].copy_from_slice(b"TRRG");
        ring[4] = 1;
        ring[8..24].copy_from_slice(&STORE_ID);
        ring[24] = input.byte() % 4;
        let capacity =
            if input.byte().is_multiple_of(8) { word(&mut input, 4096) } else { 1 << (input.byte() % 14) };
        ring[32..40].copy_from_slice(&capacity.to_le_bytes());
        let base = small(&mut input);
        ring[40..48].copy_from_slice(&base.to_le_bytes());
        mend::log_header(&mut ring);
        ring.resize(BLOCK + usize::try_from(capacity.min(8192)).expect("small"), 0);
        put_record(&mut input, &mut ring, base);
        directory.files.insert(RING.to_owned(), ring);
    }
    let from = RecoverFrom {
        low_water: small(&mut input),
        lsn0: small(&mut input),
        durable_edit: u64::from(input.byte()),
        clean_end: (input.byte().is_multiple_of(4)).then(|| small(&mut input)),
    };
    check(&directory, from);
}

/// A mark at the start of the stream or the ring, whose first address is `lsn`.
fn put_record(input: &mut Input<'_>, file: &mut [u8], lsn: u64) {
    let choice = input.byte();
    let Some(record) = file.get_mut(BLOCK..BLOCK + 64).filter(|_| choice % 2 == 1) else { return };
    record[..2].copy_from_slice(&0x5254_u16.to_le_bytes());
    record[2..5].copy_from_slice(&[1, 5 + choice / 2 % 2, 0b11001]);
    record[8] = 64;
    record[16..24].copy_from_slice(&lsn.to_le_bytes());
    record[24] = input.byte() % 4;
    for at in [48, 56] {
        record[at..at + 8].copy_from_slice(&(u64::from(input.byte()) * 1024).to_le_bytes());
    }
    mend::log_record(record, &STORE_ID);
}

/// Feeds a directory.
pub fn log_directory(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut sample = SAMPLES[usize::from(input.byte()) % SAMPLES.len()].clone();
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        change(&mut input, &mut sample);
    }
    check(&sample.directory, sample.from);
}

fn change(input: &mut Input<'_>, sample: &mut Sample) {
    let choice = input.byte();
    let Some(name) = sample.directory.name(input.byte()) else { return };
    let directory = &mut sample.directory;
    let records = sample.records.len();
    match choice % 9 {
        0..=2 => {
            let (_, placed) = &sample.records[input.below(records)];
            let mut record = placed.read(directory);
            overwrite(input, &mut record);
            mend::log_record(&mut record, &STORE_ID);
            placed.write(directory, &record);
        }
        3 => {
            let block = directory.file(&name);
            let end = block.len().min(64);
            overwrite(input, &mut block[..end]);
            mend::log_header(block);
        }
        4 => damage(input, directory.file(&name)),
        5 => drop(directory.files.remove(&name)),
        6 => {
            let bytes = directory.file(&name).clone();
            let prefix = ["log-", "spare-"][usize::from(choice / 9 % 2)];
            directory.files.insert(format!("{prefix}{:016x}", input.u16()), bytes);
        }
        7 => {
            // One record in the place of another, with its address right.
            let record = sample.records[input.below(records)].1.read(directory);
            let (lsn, to) = &sample.records[input.below(records)];
            let mut moved = record;
            if let Some(address) = moved.get_mut(16..24) {
                address.copy_from_slice(&lsn.to_le_bytes());
            }
            mend::log_record(&mut moved, &STORE_ID);
            to.write(directory, &moved);
        }
        _ => {
            let near = sample.records[input.below(records)].0;
            let address = if input.byte().is_multiple_of(2) { near } else { word(input, near) };
            match choice / 9 % 4 {
                0 => sample.from.low_water = address,
                1 => sample.from.lsn0 = address,
                2 => sample.from.durable_edit = address,
                _ => sample.from.clean_end = Some(address),
            }
        }
    }
}

/// What one recovery shows: address, end and bytes of keys of each record.
type Shown = Vec<(Lsn, Lsn, usize)>;

fn recovery(directory: &Directory, from: RecoverFrom, mode: Mode) -> (Result<Recovered, Error>, Shown) {
    let env = directory.environment();
    replay(&env, from, mode)
}

fn replay(
    env: &treering_segment::storage::Environment,
    from: RecoverFrom,
    mode: Mode,
) -> (Result<Recovered, Error>, Shown) {
    let mut shown: Shown = Vec::new();
    let recovered = recover(env, &options(), from, mode, &mut |record| {
        let after = shown.last().map_or(from.low_water, |last| last.1);
        assert!(record.lsn >= after && record.end() > record.lsn, "a record at {} after {after}", record.lsn);
        shown.push((record.lsn, record.end(), record.ops().map(|op| op.key.len()).sum()));
        Ok(())
    });
    (recovered, shown)
}

fn check(directory: &Directory, from: RecoverFrom) {
    let (read, shown) = recovery(directory, from, Mode::ReadOnly);
    let env = directory.environment();
    let (written, again) = replay(&env, from, Mode::Writing);
    assert!(Directory::of(&*env.storage) == *directory, "recovery changes a byte");
    assert_eq!(shown, again, "recovery for writing shows other records");
    let recovered = match (read, written) {
        (Ok(read), Ok(written)) => {
            assert_eq!((read.end_lsn, read.records), (written.end_lsn, written.records));
            written
        }
        (Err(read), Err(_)) => return refused(&read),
        (read, written) => panic!("recovery for reading {read:?}, for writing {written:?}"),
    };
    assert_eq!(recovered.records, shown.len() as u64);
    assert!(shown.last().is_none_or(|last| recovered.end_lsn >= last.1));
    if !holds_later_life(directory, recovered.incarnation) {
        start(&env, from, recovered, &shown);
    }
}

/// Whether some file has what looks like a record of a later incarnation than recovery knows of. The next one takes
/// its number and perhaps its addresses, and then nothing tells such records from its own: the directory is that
/// of a store set back, which is not promised to be noticed.
fn holds_later_life(directory: &Directory, incarnation: u32) -> bool {
    let later = |header: &[u8]| {
        let number = [header[24], header[25], header[26], header[27]];
        header.starts_with(&MAGIC.to_le_bytes()) && u32::from_le_bytes(number) > incarnation
    };
    directory.files.values().any(|file| {
        file.chunks_exact(8).enumerate().any(|(word, _)| file.get(word * 8..word * 8 + 28).is_some_and(later))
    })
}

/// A journal that goes on from what was recovered, and what the next recovery shows.
fn start(
    env: &treering_segment::storage::Environment,
    from: RecoverFrom,
    recovered: Recovered,
    shown: &Shown,
) {
    let end = recovered.end_lsn;
    let journal = match Journal::start(env, &options(), recovered) {
        Ok(journal) => journal,
        Err(error) => return refused(&error),
    };
    let draft = Draft::put(7, b"key", b"value").expect("small");
    let credit = journal.admit(draft.encoded_len()).expect("a new journal has room");
    let appended = journal.append(credit, &draft);
    assert!(appended.lsn >= end, "an LSN is given twice");
    journal.acknowledge(appended.end, Durability::Sync).expect("memory syncs");
    drop(journal);
    let (after, again) = replay(env, from, Mode::Writing);
    after.expect("a journal that started is recovered");
    assert_eq!(again.len(), shown.len() + 1, "{again:?} after {shown:?}");
    assert_eq!((&again[..shown.len()], again[shown.len()].0), (&shown[..], appended.lsn));
}

fn refused(error: &Error) {
    assert!(matches!(error, Error::Damage(_)), "hostile bytes are damage, not {error:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_recover_whole_and_a_mended_record_is_shown_changed() {
        for (state, sample) in SAMPLES.iter().enumerate() {
            let (recovered, shown) = recovery(&sample.directory, sample.from, Mode::ReadOnly);
            recovered.expect("a sound log");
            assert!(shown.len() >= 12 * (state + 1), "{} records of sample {state}", shown.len());
            let mut changed = sample.clone();
            let (at, placed) = &sample.records[2];
            let mut record = placed.read(&changed.directory);
            let keys = shown[2].2;
            // The first byte of the time.
            record[40] ^= 1;
            placed.write(&mut changed.directory, &record);
            let lost = recovery(&changed.directory, sample.from, Mode::ReadOnly).1;
            assert!(lost.len() <= 2, "a damaged record is shown");
            mend::log_record(&mut record, &STORE_ID);
            placed.write(&mut changed.directory, &record);
            let again = recovery(&changed.directory, sample.from, Mode::ReadOnly).1;
            assert_eq!((again.len(), again[2].0, again[2].2), (shown.len(), *at, keys));
        }
    }
}
