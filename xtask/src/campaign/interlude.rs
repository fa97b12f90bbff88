//! Writers in the middle of a cut, without threads: storage over the simulated disk that, once, before an
//! operation of a running cut, has somebody else write. So rounds reach what lies between freeze and bump, and
//! between bump and edit, and are still decided by their seed.
//!
//! Only operations on segments, frames and the manifest count: around them a cut holds nothing that a writer
//! waits for. (At log files and the directory the journal holds locks of its own.) It can also refuse to map
//! files, as a file system without shared mappings would.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use treering::segment::error::IoFailure;
use treering::segment::storage::{
    Access, LockError, LockKind, MapAccess, ReadOp, Region, Space, Storage, StorageFile, StorageLock, WriteOp,
};
use treering_sim::SimDisk;

/// What is to happen in the middle.
type Act = Box<dyn FnOnce() + Send>;

/// When what is to happen.
#[derive(Clone, Default)]
pub(crate) struct Interlude {
    planned: Arc<Mutex<Option<(u64, Act)>>>,
}

impl fmt::Debug for Interlude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interlude")
    }
}

impl Interlude {
    /// Has `act` happen before the `after`-th operation that counts.
    pub(crate) fn plan(&self, after: u64, act: Act) {
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = Some((after, act));
    }

    /// Nothing is to happen any more.
    pub(crate) fn cancel(&self) {
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// An operation on the file `name` is about to happen.
    fn before(&self, name: &str) {
        if !(name.starts_with("segment-") || name == "frames" || name.starts_with("MANIFEST")) {
            return;
        }
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        let due = match planned.as_mut() {
            None => return,
            Some((0, _)) => planned.take(),
            Some((after, _)) => {
                *after -= 1;
                None
            }
        };
        drop(planned);
        if let Some((_, act)) = due {
            act();
        }
    }
}

/// The simulated disk with interludes.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) disk: SimDisk,
    pub(crate) interlude: Interlude,
    /// Whether files can be mapped for writing.
    pub(crate) maps: bool,
}

impl Stage {
    fn file(&self, name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(StageFile { name: name.to_owned(), stage: self.clone(), file })
    }
}

impl Storage for Stage {
    fn back_end(&self) -> &'static str {
        self.disk.back_end()
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.disk.path_of(name)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, IoFailure> {
        self.interlude.before(name);
        Ok(self.file(name, self.disk.create(name)?))
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>, IoFailure> {
        self.interlude.before(name);
        Ok(self.file(name, self.disk.open(name, access)?))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), IoFailure> {
        self.interlude.before(from);
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> Result<(), IoFailure> {
        self.interlude.before(name);
        self.disk.remove(name)
    }

    fn list(&self) -> Result<Vec<String>, IoFailure> {
        self.disk.list()
    }

    fn sync_directory(&self) -> Result<(), IoFailure> {
        self.disk.sync_directory()
    }

    fn lock(
        &self,
        name: &str,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Box<dyn StorageLock>, LockError> {
        self.disk.lock(name, kind, patience)
    }

    fn space(&self) -> Result<Space, IoFailure> {
        self.disk.space()
    }

    fn exists(&self, name: &str) -> Result<bool, IoFailure> {
        self.disk.exists(name)
    }
}

#[derive(Debug)]
struct StageFile {
    name: String,
    stage: Stage,
    file: Arc<dyn StorageFile>,
}

impl StageFile {
    fn before(&self) -> &dyn StorageFile {
        self.stage.interlude.before(&self.name);
        &*self.file
    }
}

impl StorageFile for StageFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn len(&self) -> Result<u64, IoFailure> {
        self.before().len()
    }

    fn read(&self, batch: &mut [ReadOp<'_>]) -> Result<(), IoFailure> {
        self.before().read(batch)
    }

    fn write(&self, batch: &[WriteOp<'_>]) -> Result<(), IoFailure> {
        self.before().write(batch)
    }

    fn sync_data(&self) -> Result<(), IoFailure> {
        self.before().sync_data()
    }

    fn sync_all(&self) -> Result<(), IoFailure> {
        self.before().sync_all()
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        self.before().allocate(offset, len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        self.before().punch_hole(offset, len)
    }

    fn set_len(&self, len: u64) -> Result<(), IoFailure> {
        self.before().set_len(len)
    }

    fn map(&self, offset: u64, len: usize, access: MapAccess) -> Result<Arc<dyn Region>, IoFailure> {
        if access == MapAccess::ReadWrite && !self.stage.maps {
            return Err(IoFailure::new("map", self.path(), std::io::ErrorKind::Unsupported.into()));
        }
        self.before().map(offset, len, access)
    }
}
