//! The storage seam over memory: for stores that live no longer than their process, and for tests.
//! Nothing here survives anything; every sync is a formality.
//!
//! Clones share one directory, as two openings of a path do. A file's bytes live as long as a
//! name, a handle or a region refers to them.

mod extent;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
// tidy: expect(clock, reason = "waiting for a lock is a wait with a timeout")
use std::time::{Duration, Instant};

use crate::error::IoFailure;
use crate::storage::{
    Access, LockError, LockKind, MapAccess, ReadOp, Region, Space, Storage, StorageFile, StorageLock, WriteOp,
};
use crate::sync::{Arc, Condvar, Mutex, RwLock};

use extent::Contents;

/// What stands for a directory's path in messages.
const LABEL: &str = "memory:";

/// A directory in memory; clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<BTreeMap<String, Arc<RwLock<Contents>>>>,
    /// Held locks by name: how, and by how many.
    locks: Mutex<BTreeMap<String, (LockKind, usize)>>,
    /// Told whenever a lock is let go.
    lock_freed: Condvar,
}

impl MemoryStorage {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    fn checked_name(&self, operation: &'static str, name: &str) -> Result<PathBuf, IoFailure> {
        let path = self.path_of(name);
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(refusal(operation, &path, io::ErrorKind::InvalidInput, "not a plain file name"));
        }
        Ok(path)
    }
}

fn refusal(operation: &'static str, path: &Path, kind: io::ErrorKind, why: &'static str) -> IoFailure {
    IoFailure::new(operation, path, io::Error::new(kind, why))
}

fn missing(operation: &'static str, path: &Path) -> IoFailure {
    refusal(operation, path, io::ErrorKind::NotFound, "no such file")
}

impl Storage for MemoryStorage {
    fn back_end(&self) -> &'static str {
        "memory"
    }

    fn path_of(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{LABEL}{name}"))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, IoFailure> {
        let path = self.checked_name("create", name)?;
        let mut files = self.shared.files.lock();
        if files.contains_key(name) {
            return Err(refusal("create", &path, io::ErrorKind::AlreadyExists, "the file exists"));
        }
        let contents = Arc::new(RwLock::new(Contents::default()));
        files.insert(name.to_owned(), Arc::clone(&contents));
        Ok(Arc::new(MemoryFile { path, contents, access: Access::ReadWrite }))
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>, IoFailure> {
        let path = self.checked_name("open", name)?;
        let files = self.shared.files.lock();
        let contents = files.get(name).ok_or_else(|| missing("open", &path))?;
        Ok(Arc::new(MemoryFile { path, contents: Arc::clone(contents), access }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), IoFailure> {
        let path = self.checked_name("rename", from)?;
        self.checked_name("rename", to)?;
        let mut files = self.shared.files.lock();
        let contents = files.remove(from).ok_or_else(|| missing("rename", &path))?;
        files.insert(to.to_owned(), contents);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), IoFailure> {
        let path = self.checked_name("remove", name)?;
        match self.shared.files.lock().remove(name) {
            Some(_) => Ok(()),
            None => Err(missing("remove", &path)),
        }
    }

    fn list(&self) -> Result<Vec<String>, IoFailure> {
        Ok(self.shared.files.lock().keys().cloned().collect())
    }

    fn sync_directory(&self) -> Result<(), IoFailure> {
        Ok(())
    }

    fn lock(
        &self,
        name: &str,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Box<dyn StorageLock>, LockError> {
        let path = self.checked_name("lock", name).map_err(LockError::Io)?;
        self.shared.files.lock().entry(name.to_owned()).or_default();
        #[expect(clippy::disallowed_methods, reason = "a bounded wait measures itself")]
        let deadline = Instant::now().checked_add(patience);
        let mut locks = self.shared.locks.lock();
        loop {
            match locks.get_mut(name) {
                None => {
                    locks.insert(name.to_owned(), (kind, 1));
                    break;
                }
                Some((LockKind::Shared, holders)) if kind == LockKind::Shared => {
                    *holders += 1;
                    break;
                }
                Some(_) => {}
            }
            match deadline {
                Some(deadline) => {
                    if self.shared.lock_freed.wait_until(&mut locks, deadline).timed_out() {
                        return Err(LockError::Held { path, holder: Some(std::process::id()) });
                    }
                }
                None => self.shared.lock_freed.wait(&mut locks),
            }
        }
        Ok(Box::new(MemoryLock { shared: Arc::clone(&self.shared), name: name.to_owned() }))
    }

    fn space(&self) -> Result<Space, IoFailure> {
        let bound = i64::MAX.unsigned_abs();
        Ok(Space { available: bound, total: bound })
    }

    fn exists(&self, name: &str) -> Result<bool, IoFailure> {
        self.checked_name("inspect", name)?;
        Ok(self.shared.files.lock().contains_key(name))
    }
}

#[derive(Debug)]
struct MemoryLock {
    shared: Arc<Shared>,
    name: String,
}

impl StorageLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut locks = self.shared.locks.lock();
        if let Some((_, holders)) = locks.get_mut(&self.name) {
            *holders -= 1;
            if *holders == 0 {
                locks.remove(&self.name);
            }
        }
        self.shared.lock_freed.notify_all();
    }
}

#[derive(Debug)]
struct MemoryFile {
    path: PathBuf,
    contents: Arc<RwLock<Contents>>,
    access: Access,
}

impl MemoryFile {
    fn fail(&self, operation: &'static str) -> impl Fn(io::Error) -> IoFailure {
        move |error| IoFailure::new(operation, &self.path, error)
    }

    /// Runs `change` on the contents, if this handle may write.
    fn change(
        &self,
        operation: &'static str,
        change: impl FnOnce(&mut Contents) -> io::Result<()>,
    ) -> Result<(), IoFailure> {
        if self.access != Access::ReadWrite {
            let kind = io::ErrorKind::PermissionDenied;
            return Err(refusal(operation, &self.path, kind, "opened for reading only"));
        }
        change(&mut self.contents.write()).map_err(self.fail(operation))
    }
}

impl StorageFile for MemoryFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64, IoFailure> {
        Ok(self.contents.read().len())
    }

    fn read(&self, batch: &mut [ReadOp<'_>]) -> Result<(), IoFailure> {
        let contents = self.contents.read();
        for op in batch {
            contents.read(op.offset, op.buffer).map_err(self.fail("read"))?;
        }
        Ok(())
    }

    fn write(&self, batch: &[WriteOp<'_>]) -> Result<(), IoFailure> {
        self.change("write", |contents| batch.iter().try_for_each(|op| contents.write(op.offset, op.bytes)))
    }

    fn sync_data(&self) -> Result<(), IoFailure> {
        Ok(())
    }

    fn sync_all(&self) -> Result<(), IoFailure> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        self.change("allocate", |contents| contents.allocate(offset, len))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        self.change("punch a hole in", |contents| {
            contents.zero(offset, len);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), IoFailure> {
        self.change("resize", |contents| contents.set_len(len))
    }

    fn map(&self, offset: u64, len: usize, access: MapAccess) -> Result<Arc<dyn Region>, IoFailure> {
        if access == MapAccess::ReadWrite && self.access != Access::ReadWrite {
            let kind = io::ErrorKind::PermissionDenied;
            return Err(refusal("map", &self.path, kind, "opened for reading only"));
        }
        let region = self.contents.write().map(offset, len, access).map_err(self.fail("map"))?;
        Ok(Arc::new(region))
    }
}
