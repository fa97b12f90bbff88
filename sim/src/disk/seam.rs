//! The storage seam over the simulated disk: counts, fails, performs on the running view, and notes
//! what a crash may lose.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use treering_segment::error::IoFailure;
use treering_segment::storage::{
    Access, LockError, LockKind, MapAccess, ReadOp, Region, Space, Storage, StorageFile, StorageLock, WriteOp,
};

use super::audit::Event;
use super::fault::{Call, FaultKind};
use super::inode::{Inode, SECTOR_BYTES};
use super::{InodeId, NameChange, SimDisk, State};

const SECTOR: u64 = SECTOR_BYTES as u64;

impl SimDisk {
    /// Counts an operation on `name` and, if it goes ahead, holds the disk for it.
    fn begin(
        &self,
        operation: &'static str,
        name: &str,
        call: Call,
    ) -> Result<MutexGuard<'_, State>, IoFailure> {
        let mut state = self.state.lock();
        state.begin(call).map_err(|error| IoFailure::new(operation, self.path_of(name), error))?;
        Ok(state)
    }

    fn relabel<T>(&self, name: &str, result: Result<T, IoFailure>) -> Result<T, IoFailure> {
        result.map_err(|failure| IoFailure { path: self.path_of(name), ..failure })
    }

    /// Takes up a file that has just been made in the running view.
    fn adopt(&self, state: &mut State, name: &str, live: Arc<dyn StorageFile>) -> InodeId {
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::new(live));
        state.change_names(NameChange::Set { name: name.to_owned(), inode, moved_from: None });
        inode
    }

    fn file(&self, name: &str, inode: InodeId, live: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(SimFile { path: self.path_of(name), state: Arc::clone(&self.state), inode, live })
    }
}

impl Storage for SimDisk {
    fn back_end(&self) -> &'static str {
        "simulated"
    }

    fn path_of(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("simulated:{name}"))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, IoFailure> {
        let mut state = self.begin("create", name, Call::Takes)?;
        let live = self.relabel(name, self.live.create(name))?;
        let inode = self.adopt(&mut state, name, Arc::clone(&live));
        state.tell(&Event::Created { name });
        Ok(self.file(name, inode, live))
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>, IoFailure> {
        let state = self.begin("open", name, Call::Looks)?;
        let live = self.relabel(name, self.live.open(name, access))?;
        let Some(inode) = state.names.get(name).copied() else {
            return Err(IoFailure::new("open", self.path_of(name), io::ErrorKind::NotFound.into()));
        };
        Ok(self.file(name, inode, live))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), IoFailure> {
        let mut state = self.begin("rename", from, Call::Changes)?;
        self.relabel(from, self.live.rename(from, to))?;
        if let Some(inode) = state.names.get(from).copied() {
            let moved_from = (from != to).then(|| from.to_owned());
            state.change_names(NameChange::Set { name: to.to_owned(), inode, moved_from });
        }
        state.tell(&Event::Renamed { from, to });
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<(), IoFailure> {
        let mut state = self.begin("remove", name, Call::Changes)?;
        self.relabel(name, self.live.remove(name))?;
        state.change_names(NameChange::Remove { name: name.to_owned() });
        state.tell(&Event::Removed { name });
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>, IoFailure> {
        let _state = self.begin("list", "", Call::Looks)?;
        self.relabel("", self.live.list())
    }

    fn sync_directory(&self) -> Result<(), IoFailure> {
        let mut state = self.begin("sync", "", Call::Syncs)?;
        state.sync_names();
        state.tell(&Event::DirectorySynced);
        Ok(())
    }

    fn lock(
        &self,
        name: &str,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Box<dyn StorageLock>, LockError> {
        let mut state = self.begin("lock", name, Call::Looks).map_err(LockError::Io)?;
        if !state.names.contains_key(name) {
            let made = self.relabel(name, self.live.create(name)).map_err(LockError::Io)?;
            self.adopt(&mut state, name, made);
        }
        // Whoever waits for a lock does not hold the disk.
        drop(state);
        self.live.lock(name, kind, patience).map_err(|error| match error {
            LockError::Held { holder, .. } => LockError::Held { path: self.path_of(name), holder },
            LockError::Io(failure) => LockError::Io(IoFailure { path: self.path_of(name), ..failure }),
        })
    }

    fn space(&self) -> Result<Space, IoFailure> {
        let state = self.begin("inspect", "", Call::Looks)?;
        let total = state.capacity.min(i64::MAX.unsigned_abs());
        let used = state.used();
        Ok(Space { available: total.saturating_sub(used), total })
    }

    fn exists(&self, name: &str) -> Result<bool, IoFailure> {
        let _state = self.begin("inspect", name, Call::Looks)?;
        self.relabel(name, self.live.exists(name))
    }
}

/// An open file; it goes on working when its name is gone.
#[derive(Debug)]
struct SimFile {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    inode: InodeId,
    live: Arc<dyn StorageFile>,
}

impl SimFile {
    fn fail(&self, operation: &'static str, error: io::Error) -> IoFailure {
        IoFailure::new(operation, &self.path, error)
    }

    fn relabel<T>(&self, result: Result<T, IoFailure>) -> Result<T, IoFailure> {
        result.map_err(|failure| IoFailure { path: self.path.clone(), ..failure })
    }

    fn begin(&self, operation: &'static str, call: Call) -> Result<MutexGuard<'_, State>, IoFailure> {
        let mut state = self.state.lock();
        state.begin(call).map_err(|error| self.fail(operation, error))?;
        Ok(state)
    }

    /// Has the file's inode note something, if a crash could still show it.
    fn note(
        &self,
        state: &mut State,
        note: impl FnOnce(&mut Inode) -> Result<(), IoFailure>,
    ) -> Result<(), IoFailure> {
        self.relabel(state.inodes.get_mut(&self.inode).map_or(Ok(()), note))
    }

    /// The file's name, if there is an auditor to whom it matters.
    fn audited<'a>(&self, state: &'a State) -> Option<&'a str> {
        state.auditor.as_ref().and_then(|_| state.name_of(self.inode))
    }

    /// Refuses what would not fit when the file grows to `end`.
    fn check_room(&self, state: &State, operation: &'static str, end: u64) -> Result<(), IoFailure> {
        let growth = end.saturating_sub(self.live.len()?);
        if growth > 0 && !state.has_room_for(growth) {
            return Err(self.fail(operation, FaultKind::NoSpace.error(Call::Grows)));
        }
        Ok(())
    }

    /// Performs as much of a failing batch as the disk's randomness has it.
    fn write_in_part(&self, state: &mut State, batch: &[WriteOp<'_>]) -> Result<(), IoFailure> {
        for op in batch {
            let written = match state.random.below(3) {
                0 => 0,
                1 => op.bytes.len(),
                _ => state.random.index(op.bytes.len()),
            };
            // A sector is old or new (PROTOCOL F3), in the page cache as well: the kernel goes page by page.
            let torn = if written < op.bytes.len() { (op.offset + written as u64) % SECTOR } else { 0 };
            let written = written.saturating_sub(usize::try_from(torn).unwrap_or(written));
            self.live.write_all_at(&op.bytes[..written], op.offset)?;
            self.note(state, |inode| inode.note_change(op.offset, written as u64))?;
        }
        Ok(())
    }
}

impl StorageFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64, IoFailure> {
        let _state = self.begin("inspect", Call::Looks)?;
        self.relabel(self.live.len())
    }

    fn read(&self, batch: &mut [ReadOp<'_>]) -> Result<(), IoFailure> {
        let _state = self.begin("read", Call::Reads)?;
        self.relabel(self.live.read(batch))
    }

    fn write(&self, batch: &[WriteOp<'_>]) -> Result<(), IoFailure> {
        let mut state = self.state.lock();
        let was_dead = state.dead;
        let end = batch.iter().map(|op| op.offset.saturating_add(op.bytes.len() as u64)).max().unwrap_or(0);
        let call = if end > self.live.len()? { Call::Grows } else { Call::Writes };
        if let Err(error) = state.begin(call) {
            if !was_dead {
                self.write_in_part(&mut state, batch)?;
            }
            return Err(self.fail("write", error));
        }
        self.check_room(&state, "write", end)?;
        self.relabel(self.live.write(batch))?;
        for op in batch {
            self.note(&mut state, |inode| inode.note_change(op.offset, op.bytes.len() as u64))?;
        }
        if let Some(name) = self.audited(&state) {
            for op in batch {
                let bytes = op.offset..op.offset + op.bytes.len() as u64;
                state.tell(&Event::Wrote { name, bytes });
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), IoFailure> {
        self.sync_all()
    }

    fn sync_all(&self) -> Result<(), IoFailure> {
        let mut state = self.state.lock();
        let was_dead = state.dead;
        match state.begin(Call::Syncs) {
            Ok(()) => {
                self.note(&mut state, Inode::sync)?;
                if let Some(name) = self.audited(&state) {
                    state.tell(&Event::Synced { name });
                }
                Ok(())
            }
            Err(error) => {
                // A power cut leaves everything pending, an error of the device makes it forgotten.
                if !was_dead && !state.dead {
                    self.note(&mut state, Inode::fail_sync)?;
                }
                Err(self.fail("sync", error))
            }
        }
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        let mut state = self.begin("allocate", Call::Takes)?;
        self.check_room(&state, "allocate", offset.saturating_add(len))?;
        self.relabel(self.live.allocate(offset, len))?;
        self.note(&mut state, Inode::note_len)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        let mut state = self.begin("punch a hole in", Call::Changes)?;
        self.relabel(self.live.punch_hole(offset, len))?;
        let inside = self.live.len()?.saturating_sub(offset).min(len);
        self.note(&mut state, |inode| inode.note_change(offset, inside))?;
        if let Some(name) = self.audited(&state) {
            state.tell(&Event::Wrote { name, bytes: offset..offset + inside });
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), IoFailure> {
        let mut state = self.begin("resize", Call::Changes)?;
        let old = self.live.len()?;
        self.check_room(&state, "resize", len)?;
        self.relabel(self.live.set_len(len))?;
        // What is cut off reads as zeros should the file grow again; what grows is zeros already.
        self.note(&mut state, |inode| inode.note_change(len, old.saturating_sub(len)))?;
        if let Some(name) = self.audited(&state) {
            state.tell(&Event::Resized { name, bytes: len });
        }
        Ok(())
    }

    fn map(&self, offset: u64, len: usize, access: MapAccess) -> Result<Arc<dyn Region>, IoFailure> {
        let mut state = self.begin("map", Call::Looks)?;
        let region = self.relabel(self.live.map(offset, len, access))?;
        if access == MapAccess::ReadWrite {
            self.note(&mut state, |inode| {
                inode.note_map(offset, len as u64);
                Ok(())
            })?;
        }
        Ok(region)
    }
}
