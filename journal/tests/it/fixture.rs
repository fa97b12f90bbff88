//! What the tests share: stores, a history that remembers what was appended, and reopening.

use std::sync::Arc;

use treering_journal::{
    Appended, Draft, Error, Journal, JournalOptions, Kind, Lsn, Mode, RecoverFrom, Recovered, Result, recover,
};
use treering_segment::clock::{OsEntropy, SystemClock};
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::{Access, Environment, Storage, StorageFile};

pub(crate) const STORE: [u8; 16] = *b"a store for test";

pub(crate) fn options() -> JournalOptions {
    JournalOptions { ring_bytes: 16 << 10, segment_bytes: 64 << 10, ..JournalOptions::new(STORE) }
}

pub(crate) fn environment(storage: Arc<dyn Storage>) -> Environment {
    Environment { storage, clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) }
}

pub(crate) fn memory() -> Environment {
    environment(Arc::new(MemoryStorage::new()))
}

/// Everything that makes a put recognizable.
pub(crate) type Seen = (Lsn, Vec<u8>, Vec<u8>);

pub(crate) fn put(journal: &Journal, key: &[u8], value: &[u8]) -> Result<Appended> {
    let draft = Draft::put(7, key, value)?;
    let credit = journal.admit(draft.encoded_len())?;
    Ok(journal.append(credit, &draft))
}

/// Appends `count` puts of varied length; what replay must show.
pub(crate) fn puts(journal: &Journal, count: usize) -> Vec<Seen> {
    (0..count)
        .map(|n| {
            let key = format!("key/{n}").into_bytes();
            let value = vec![u8::try_from(n % 251).unwrap(); n * 37 % 700];
            let appended = put(journal, &key, &value).unwrap();
            (appended.lsn, key, value)
        })
        .collect()
}

pub(crate) fn first() -> RecoverFrom {
    RecoverFrom { low_water: Journal::FIRST_LSN, ..RecoverFrom::default() }
}

/// Recovers and collects the puts.
pub(crate) fn replay(env: &Environment, from: RecoverFrom, mode: Mode) -> Result<(Recovered, Vec<Seen>)> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut previous = 0;
    let recovered = recover(env, &options(), from, mode, &mut |record| {
        assert!(record.lsn > previous, "records come in order");
        previous = record.lsn;
        if record.kind == Kind::Put {
            for op in record.ops() {
                let treering_journal::Change::Put { value, .. } = op.change else { panic!("{op:?}") };
                seen.push((record.lsn, op.key.to_vec(), value.to_vec()));
            }
        }
        Ok(())
    })?;
    Ok((recovered, seen))
}

pub(crate) fn read(env: &Environment) -> (Recovered, Vec<Seen>) {
    replay(env, first(), Mode::ReadOnly).unwrap()
}

pub(crate) fn reopen(env: &Environment) -> (Journal, Vec<Seen>) {
    let (recovered, seen) = replay(env, first(), Mode::Writing).unwrap();
    (Journal::start(env, &options(), recovered).unwrap(), seen)
}

pub(crate) fn damage(error: &Error) -> &treering_segment::error::Damage {
    match error {
        Error::Damage(damage) => damage,
        other => panic!("not damage: {other}"),
    }
}

/// The log file that holds stream address `at`, and its offset there.
pub(crate) fn place(env: &Environment, at: Lsn) -> (Arc<dyn StorageFile>, u64) {
    let names = env.storage.list().unwrap();
    let first = |name: &String| u64::from_str_radix(name.strip_prefix("log-")?, 16).ok();
    let lsn = names.iter().filter_map(first).filter(|lsn| *lsn <= at).max().unwrap();
    let file = env.storage.open(&format!("log-{lsn:016x}"), Access::ReadWrite).unwrap();
    (file, 4096 + (at - lsn))
}

pub(crate) fn poke(env: &Environment, at: Lsn, change: impl Fn(u8) -> u8) {
    let (file, offset) = place(env, at);
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[change(byte[0])], offset).unwrap();
}
