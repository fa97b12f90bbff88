//! A storage that fails on command and keeps a diary: what poisons, what does not, and in which order
//! things are made durable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use treering_journal::{Draft, Durability, Error, Journal, JournalOptions, Mode};
use treering_segment::error::IoFailure;
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::{
    Access, LockError, LockKind, MapAccess, ReadOp, Region, Space, Storage, StorageFile, StorageLock, WriteOp,
};

use crate::fixture::*;

#[derive(Debug, Default)]
struct Fault {
    /// Operations whose diary entry starts so fail.
    armed: Mutex<Option<(&'static str, io::ErrorKind)>>,
    diary: Mutex<Vec<String>>,
    failures: AtomicU64,
}

impl Fault {
    fn pass(&self, entry: &str, path: &Path) -> Result<(), IoFailure> {
        self.diary.lock().unwrap().push(entry.to_owned());
        match *self.armed.lock().unwrap() {
            Some((prefix, kind)) if entry.starts_with(prefix) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                Err(IoFailure::new("fail", path, io::Error::new(kind, "on command")))
            }
            _ => Ok(()),
        }
    }

    fn arm(&self, prefix: &'static str, kind: io::ErrorKind) {
        *self.armed.lock().unwrap() = Some((prefix, kind));
    }

    fn disarm(&self) {
        *self.armed.lock().unwrap() = None;
    }

    fn take_diary(&self) -> Vec<String> {
        std::mem::take(&mut *self.diary.lock().unwrap())
    }
}

#[derive(Clone, Debug)]
struct Faulty {
    inner: MemoryStorage,
    fault: Arc<Fault>,
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn StorageFile>,
    fault: Arc<Fault>,
    name: String,
}

impl Faulty {
    fn wrap(&self, name: &str, inner: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(FaultyFile { inner, fault: Arc::clone(&self.fault), name: name.to_owned() })
    }
}

impl Storage for Faulty {
    fn back_end(&self) -> &'static str {
        "faulty"
    }
    fn path_of(&self, name: &str) -> PathBuf {
        self.inner.path_of(name)
    }
    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, IoFailure> {
        self.fault.pass(&format!("create {name}"), &self.path_of(name))?;
        Ok(self.wrap(name, self.inner.create(name)?))
    }
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>, IoFailure> {
        Ok(self.wrap(name, self.inner.open(name, access)?))
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), IoFailure> {
        self.fault.pass(&format!("rename {from} {to}"), &self.path_of(from))?;
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> Result<(), IoFailure> {
        self.fault.pass(&format!("remove {name}"), &self.path_of(name))?;
        self.inner.remove(name)
    }
    fn list(&self) -> Result<Vec<String>, IoFailure> {
        self.inner.list()
    }
    fn sync_directory(&self) -> Result<(), IoFailure> {
        self.fault.pass("sync directory", &self.path_of(""))
    }
    fn lock(&self, name: &str, kind: LockKind, wait: Duration) -> Result<Box<dyn StorageLock>, LockError> {
        self.inner.lock(name, kind, wait)
    }
    fn space(&self) -> Result<Space, IoFailure> {
        self.inner.space()
    }
}

impl StorageFile for FaultyFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn len(&self) -> Result<u64, IoFailure> {
        self.inner.len()
    }
    fn read(&self, batch: &mut [ReadOp<'_>]) -> Result<(), IoFailure> {
        self.inner.read(batch)
    }
    fn write(&self, batch: &[WriteOp<'_>]) -> Result<(), IoFailure> {
        let header = if batch.iter().any(|op| op.offset == 0) { "head" } else { "body" };
        self.fault.pass(&format!("write {} {header}", self.name), self.path())?;
        self.inner.write(batch)
    }
    fn sync_data(&self) -> Result<(), IoFailure> {
        self.fault.pass(&format!("sync {}", self.name), self.path())?;
        self.inner.sync_data()
    }
    fn sync_all(&self) -> Result<(), IoFailure> {
        self.fault.pass(&format!("sync {}", self.name), self.path())?;
        self.inner.sync_all()
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        self.fault.pass(&format!("allocate {}", self.name), self.path())?;
        self.inner.allocate(offset, len)
    }
    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        self.inner.punch_hole(offset, len)
    }
    fn set_len(&self, len: u64) -> Result<(), IoFailure> {
        self.inner.set_len(len)
    }
    fn map(&self, offset: u64, len: usize, access: MapAccess) -> Result<Arc<dyn Region>, IoFailure> {
        self.fault.pass(&format!("map {}", self.name), self.path())?;
        self.inner.map(offset, len, access)
    }
}

fn faulty() -> (treering_segment::storage::Environment, Arc<Fault>) {
    let fault = Arc::new(Fault::default());
    let storage = Faulty { inner: MemoryStorage::new(), fault: Arc::clone(&fault) };
    (environment(Arc::new(storage)), fault)
}

#[test]
fn a_failed_sync_poisons_for_ever_and_is_never_repeated() {
    let (env, fault) = faulty();
    let journal = Journal::create(&env, &options()).unwrap();
    let kept = puts(&journal, 5);
    journal.flush().unwrap();
    let appended = put(&journal, b"k", b"v").unwrap();
    fault.arm("sync", io::ErrorKind::Other);
    assert!(matches!(journal.acknowledge(appended.end, Durability::Sync), Err(Error::Poisoned(_))));
    fault.disarm();
    fault.take_diary();
    assert!(journal.is_poisoned());
    assert!(matches!(journal.acknowledge(appended.end, Durability::Sync), Err(Error::Poisoned(_))));
    assert!(matches!(journal.acknowledge(appended.end, Durability::Buffered), Err(Error::Poisoned(_))));
    assert!(matches!(journal.admit(100), Err(Error::Poisoned(_))));
    assert!(matches!(journal.flush(), Err(Error::Poisoned(_))));
    assert!(matches!(journal.drain_once(), Err(Error::Poisoned(_))));
    assert!(matches!(journal.drop_below(kept[1].0), Err(Error::Poisoned(_))));
    assert!(matches!(journal.close_clean(0, 0), Err(Error::Poisoned(_))));
    assert_eq!(fault.take_diary(), Vec::<String>::new(), "nothing is tried again");
    assert!(journal.frontiers().durable < appended.end);
    drop(journal);
    let (journal, seen) = reopen(&env);
    assert!(seen.starts_with(&kept));
    puts(&journal, 3);
    journal.flush().unwrap();
}

#[test]
fn a_failed_log_write_poisons() {
    let (env, fault) = faulty();
    let journal = Journal::create(&env, &options()).unwrap();
    let appended = put(&journal, b"k", b"v").unwrap();
    // The handle of a log file keeps the name that it was made ready under.
    fault.arm("write spare-", io::ErrorKind::StorageFull);
    assert!(matches!(journal.acknowledge(appended.end, Durability::Sync), Err(Error::Poisoned(_))));
    assert!(journal.is_poisoned());
}

#[test]
fn a_failed_sync_wakes_every_waiter_with_the_error() {
    let (env, fault) = faulty();
    let journal = Arc::new(Journal::create(&env, &options()).unwrap());
    fault.arm("sync", io::ErrorKind::Other);
    let waiters: Vec<_> = (0..6)
        .map(|n: u8| {
            let journal = Arc::clone(&journal);
            std::thread::spawn(move || {
                let Ok(appended) = put(&journal, &[n], b"value") else { return true };
                matches!(journal.acknowledge(appended.end, Durability::Sync), Err(Error::Poisoned(_)))
            })
        })
        .collect();
    assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
    assert_eq!(fault.failures.load(Ordering::Relaxed), 1);
}

#[test]
fn being_out_of_space_for_a_new_log_file_does_not_poison() {
    for place in ["create spare-", "allocate", "write spare-", "sync spare-"] {
        let (env, fault) = faulty();
        let journal = Journal::create(&env, &options()).unwrap();
        fault.arm(place, io::ErrorKind::StorageFull);
        let mut written = 0;
        let refused = loop {
            // Written to the log by nobody but admission, which needs only ring space until then.
            match journal.admit(1024) {
                Ok(credit) => {
                    let value = vec![b'v'; 900];
                    let appended = journal.append(credit, &Draft::put(1, b"key", &value).unwrap());
                    fault.disarm();
                    journal.acknowledge(appended.end, Durability::Sync).unwrap();
                    fault.arm(place, io::ErrorKind::StorageFull);
                    written += 1;
                }
                Err(error) => break error,
            }
            assert!(written < 1000, "{place} never fails");
        };
        assert!(matches!(refused, Error::Full(_)), "{place}: {refused}");
        assert!(written > 40, "{place}");
        assert!(!journal.is_poisoned());
        // Deletes and cuts go on, and so does everything once there is space.
        let draft = Draft::delete(1, b"key").unwrap();
        let credit = journal.admit_reserve(draft.encoded_len()).unwrap();
        journal.append(credit, &draft);
        fault.disarm();
        fault.arm("create spare-", io::ErrorKind::StorageFull);
        journal.write_mark(0, 0).unwrap();
        fault.disarm();
        let expected = puts(&journal, 100);
        journal.close_clean(0, 0).unwrap();
        drop(journal);
        assert!(read(&env).1.ends_with(&expected), "{place}");
        let spares = env.storage.list().unwrap();
        assert!(spares.iter().filter(|name| name.starts_with("spare-")).count() <= 2, "{spares:?}");
    }
}

#[test]
fn without_space_for_the_ring_file_the_log_does_without() {
    for place in ["create ring", "write ring", "map ring"] {
        let (env, fault) = faulty();
        fault.arm(place, io::ErrorKind::StorageFull);
        let journal = Journal::create(&env, &options()).unwrap();
        assert!(!journal.has_shared_ring());
        let expected = puts(&journal, 20);
        journal.acknowledge(journal.tail(), Durability::Buffered).unwrap();
        std::mem::forget(journal);
        assert_eq!(read(&env).1, expected);
    }
}

#[test]
fn a_flush_syncs_every_file_from_the_durable_frontier_on_in_order() {
    let (env, fault) = faulty();
    let journal = Journal::create(&env, &options()).unwrap();
    puts(&journal, 600);
    journal.drain_once().unwrap();
    fault.take_diary();
    journal.flush().unwrap();
    let syncs: Vec<String> =
        fault.take_diary().into_iter().filter(|entry| entry.starts_with("sync")).collect();
    assert!(syncs.len() >= 3, "{syncs:?}");
    assert!(syncs.is_sorted(), "{syncs:?}");
    journal.flush().unwrap();
    assert!(fault.take_diary().iter().all(|entry| !entry.starts_with("sync")), "nothing is left to sync");
}

#[test]
fn starting_makes_durable_what_recovery_relied_on_before_anything_new() {
    let (env, fault) = faulty();
    let journal = Journal::create(&env, &options()).unwrap();
    puts(&journal, 300);
    std::mem::forget(journal);
    let (recovered, _) = replay(&env, first(), Mode::Writing).unwrap();
    assert!(recovered.from_ring > 0);
    fault.take_diary();
    drop(Journal::start(&env, &options(), recovered).unwrap());
    let diary = fault.take_diary();
    let at = |prefix: &str| diary.iter().position(|entry| entry.starts_with(prefix)).unwrap();
    let last = |prefix: &str| diary.iter().rposition(|entry| entry.starts_with(prefix)).unwrap();
    assert!(last("write log-") < at("sync log-"), "{diary:?}");
    assert!(last("sync log-") < at("sync directory"), "{diary:?}");
    assert!(at("sync directory") < at("create spare-"), "{diary:?}");
    assert!(last("write spare-") < at("sync spare-"), "{diary:?}");
    let renamed =
        diary.iter().position(|entry| entry.contains(" log-") && entry.starts_with("rename")).unwrap();
    assert!(at("sync spare-") < renamed, "{diary:?}");
    assert!(diary[renamed + 1] == "sync directory" && renamed + 1 < at("write ring"), "{diary:?}");
}

#[test]
fn a_start_that_fails_anywhere_loses_nothing() {
    let options = JournalOptions { segment_bytes: 8 << 10, ..options() };
    let mut fails = 0;
    for prefix in
        ["write log-", "sync log-", "sync directory", "create", "write spare-", "sync spare-", "rename"]
    {
        let (env, fault) = faulty();
        let journal = Journal::create(&env, &options).unwrap();
        let expected = puts(&journal, 100);
        std::mem::forget(journal);
        for _ in 0..3 {
            let (recovered, seen) = replay(&env, first(), Mode::Writing).unwrap();
            assert_eq!(seen, expected, "{prefix}");
            fault.arm(prefix, io::ErrorKind::Other);
            fails += u32::from(Journal::start(&env, &options, recovered).is_err());
            fault.disarm();
        }
        let (recovered, _) = replay(&env, first(), Mode::Writing).unwrap();
        let journal = Journal::start(&env, &options, recovered).unwrap();
        let more = puts(&journal, 10);
        std::mem::forget(journal);
        assert_eq!(read(&env).1, [expected, more].concat(), "{prefix}");
    }
    assert!(fails >= 18, "{fails}");
}

#[test]
fn starting_writes_again_what_is_not_proven_durable_and_nothing_else() {
    let (env, fault) = faulty();
    let journal = Journal::create(&env, &options()).unwrap();
    puts(&journal, 20);
    journal.drain_once().unwrap();
    std::mem::forget(journal);
    let (recovered, _) = replay(&env, first(), Mode::Writing).unwrap();
    assert_eq!(recovered.from_ring, 0);
    fault.take_diary();
    let journal = Journal::start(&env, &options(), recovered).unwrap();
    assert!(fault.take_diary().iter().any(|entry| entry.starts_with("write log-")));
    // A mark proves what lies before it.
    puts(&journal, 20);
    let end = journal.flush().unwrap();
    std::mem::forget(journal);
    let from = treering_journal::RecoverFrom { lsn0: end, ..first() };
    let (recovered, _) = replay(&env, from, Mode::Writing).unwrap();
    fault.take_diary();
    std::mem::forget(Journal::start(&env, &options(), recovered).unwrap());
    assert!(fault.take_diary().iter().all(|entry| !entry.starts_with("write log-")));
}
