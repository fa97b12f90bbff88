//! A user of one store on a simulated disk: does things, notes in the ledger what was acknowledged, and
//! checks every answer. What it holds against the store are *violations*; errors alone are none.

use std::time::Duration;

use treering::segment::storage::Environment;
use treering::{Condition, DEFAULT_TREE_NAME, Durability, Engine, Error, ErrorKind, Options, WriteOptions};
use treering_sim::{SimClock, SimDisk, environment};

use super::ledger::{Change, Ledger, Place, read_everything};

/// Small sizes, no threads, so that a scenario touches everything and decides what happens when.
pub(super) fn options() -> Options {
    Options::new()
        .frame_bytes(4 << 10)
        .ring_bytes(16 << 10)
        .log_segment_bytes(16 << 10)
        .log_cap_bytes(64 << 10)
        .staging_limit(16 << 10)
        .background(false)
}

/// What a store on `disk` stands on.
pub(super) fn environment_of(disk: &SimDisk) -> Environment {
    environment(disk, &SimClock::new(1_700_000_000_000), 7)
}

/// `len` bytes that no other step writes.
fn value_of(number: u64, len: usize) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(len.max(8), u8::try_from(number % 251).unwrap_or(0));
    value
}

fn place(tree: &str, key: &str) -> Place {
    (tree.to_owned(), Some(key.as_bytes().to_vec()))
}

/// A user and the store.
pub(super) struct Session {
    disk: SimDisk,
    environment: Environment,
    pub(super) engine: Option<Engine>,
    pub(super) ledger: Ledger,
    /// What the store did wrong.
    pub(super) violations: Vec<String>,
    /// Operations that failed.
    pub(super) errors: u64,
    /// Whether the engine is, or was last, open for writing.
    writes: bool,
    /// Faults that had hit before the engine was opened.
    faults_before: u64,
    values: u64,
}

impl Session {
    /// With a store on `disk`, of which `ledger` tells, not open yet.
    pub(super) fn new(disk: &SimDisk, ledger: Ledger) -> Self {
        Self {
            disk: disk.clone(),
            environment: environment_of(disk),
            engine: None,
            ledger,
            violations: Vec::new(),
            errors: 0,
            writes: false,
            faults_before: 0,
            values: 1000,
        }
    }

    /// Holds it against the store.
    fn violated(&mut self, what: String) {
        self.violations.push(what);
    }

    /// An I/O error has to come back as one, or as what it did to the store.
    fn failed(&mut self, doing: &str, error: &Error) {
        self.errors += 1;
        if !matches!(error.kind(), ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned) {
            self.violated(format!("{doing} failed as {:?}: {error}", error.kind()));
        }
    }

    fn answered<T>(&mut self, doing: &str, answer: treering::Result<T>) -> Option<T> {
        answer.inspect_err(|error| self.failed(doing, error)).ok()
    }

    /// Opens for writing, which makes durable whatever the log holds (PROTOCOL O3).
    pub(super) fn open(&mut self) {
        self.writes = true;
        self.open_with("open", options());
        if self.engine.is_some() {
            self.ledger.note_durable();
        }
    }

    pub(super) fn open_for_reading(&mut self) {
        self.writes = false;
        self.open_with("open for reading", options().read_only(true));
    }

    fn open_with(&mut self, doing: &str, options: Options) {
        self.faults_before = self.disk.faults_hit();
        let answer = Engine::open_in(self.environment.clone(), options);
        self.engine = self.answered(doing, answer);
    }

    /// Whether a fault has hit the engine that is open, or its opening.
    pub(super) fn was_hit(&self) -> bool {
        self.disk.faults_hit() > self.faults_before
    }

    /// Does something with the open store; nothing if it did not open.
    fn with<T>(&mut self, doing: &str, act: impl FnOnce(&Engine) -> treering::Result<T>) -> Option<T> {
        let engine = self.engine.clone()?;
        let answer = act(&engine);
        drop(engine);
        self.answered(doing, answer)
    }

    /// As [`Session::with`], for a change.
    fn change<T>(
        &mut self,
        doing: &str,
        durability: Durability,
        changes: Vec<Change>,
        act: impl FnOnce(&Engine) -> treering::Result<T>,
    ) -> bool {
        if self.engine.is_none() {
            return false;
        }
        let done = self.with(doing, act).is_some();
        self.ledger.note(changes, durability, done);
        done
    }

    pub(super) fn put(&mut self, key: &str, len: usize, durability: Durability) -> bool {
        self.put_into(
            DEFAULT_TREE_NAME,
            key,
            len,
            WriteOptions { durability: Some(durability), ..WriteOptions::default() },
        )
    }

    pub(super) fn put_if_absent(&mut self, key: &str, len: usize, ttl: Duration) -> bool {
        let how =
            WriteOptions { durability: Some(Durability::Sync), condition: Condition::Absent, ttl: Some(ttl) };
        self.put_into(DEFAULT_TREE_NAME, key, len, how)
    }

    pub(super) fn put_into(&mut self, tree: &str, key: &str, len: usize, how: WriteOptions) -> bool {
        self.values += 1;
        let value = value_of(self.values, len);
        let changes = vec![Change::Put(place(tree, key), value.clone())];
        let durability = how.durability.unwrap_or(Durability::Buffered);
        let missing = self.with("look for a tree", |engine| engine.tree(tree)).flatten();
        let Some(handle) = missing else { return false };
        self.change(&format!("put {key}"), durability, changes, |_| handle.put_with(key, value, &how))
    }

    pub(super) fn delete(&mut self, key: &str, durability: Durability) -> bool {
        let how = WriteOptions { durability: Some(durability), ..WriteOptions::default() };
        let changes = vec![Change::Delete(place(DEFAULT_TREE_NAME, key))];
        self.change(&format!("delete {key}"), durability, changes, |engine| {
            engine.default_tree().delete_with(key, &how)
        })
    }

    /// Puts of these sizes and a delete, as one.
    pub(super) fn batch(&mut self, puts: &[(&str, usize)], delete: &str, durability: Durability) -> bool {
        let mut values = Vec::new();
        for (key, len) in puts {
            self.values += 1;
            values.push((*key, value_of(self.values, *len)));
        }
        let put = |(key, value): &(&str, Vec<u8>)| Change::Put(place(DEFAULT_TREE_NAME, key), value.clone());
        let mut changes: Vec<Change> = values.iter().map(put).collect();
        changes.push(Change::Delete(place(DEFAULT_TREE_NAME, delete)));
        self.change("commit a batch", durability, changes, |engine| {
            let tree = engine.default_tree();
            let mut batch = engine.batch();
            for (key, value) in values {
                batch.put(&tree, key, value);
            }
            batch.delete(&tree, delete);
            batch.commit(Some(durability))
        })
    }

    pub(super) fn create_tree(&mut self, name: &str) -> bool {
        let changes = vec![Change::Put((name.to_owned(), None), Vec::new())];
        self.change("create a tree", Durability::Buffered, changes, |engine| engine.create_tree(name))
    }

    pub(super) fn drop_tree(&mut self, name: &str) -> bool {
        let changes = vec![Change::DropTree(name.to_owned())];
        self.change("drop a tree", Durability::Buffered, changes, |engine| engine.drop_tree(name))
    }

    pub(super) fn checkpoint(&mut self) -> bool {
        self.change("checkpoint", Durability::Sync, Vec::new(), Engine::checkpoint)
    }

    pub(super) fn flush(&mut self) -> bool {
        self.change("flush", Durability::Sync, Vec::new(), Engine::flush)
    }

    /// Background work until there is none, or it fails.
    pub(super) fn steps(&mut self) {
        for _ in 0..20 {
            if self.with("step", Engine::step) != Some(true) {
                return;
            }
        }
    }

    /// One piece of background work.
    pub(super) fn step_once(&mut self) {
        self.with("step", Engine::step);
    }

    /// Reads everything; what comes back must be what was acknowledged.
    pub(super) fn read(&mut self) {
        if let Some(contents) = self.with("read", read_everything)
            && let Err(difference) = self.ledger.check_after_kill(&contents)
        {
            self.violated(format!("a read shows what was not written: {difference}"));
        }
    }

    /// Closes; the store is not open afterwards, whatever comes of it.
    pub(super) fn close(&mut self) -> bool {
        let Some(engine) = self.engine.take() else { return false };
        let answer = engine.close();
        drop(engine);
        let closed = self.answered("close", answer).is_some();
        if closed && self.writes {
            self.ledger.note_durable();
        }
        closed
    }

    /// Lets go of the store as a killed process would.
    pub(super) fn abandon(&mut self) {
        if let Some(engine) = self.engine.take() {
            engine.abandon();
        }
    }

    /// Verifies the closed store; the only damage it may report is that it could not read.
    pub(super) fn verify(&mut self) {
        let answer = treering::verify_in(self.environment.clone(), Options::new());
        let Some(report) = self.answered("verify", answer) else { return };
        for damage in report.damages {
            self.errors += 1;
            if !damage.what.starts_with("cannot ") {
                self.violated(format!("verify finds damage in {}: {}", damage.file.display(), damage.what));
            }
        }
    }
}
