//! The lock of a store's directory for [`FileStorage`](crate::file::FileStorage): a POSIX record
//! lock on a file, and a registry that closes the gaps which POSIX leaves. It is not a latch.
//!
//! A record lock (`fcntl`, `F_SETLK`) is what PROTOCOL F7 asks for: a forked child does not
//! inherit it, and the kernel lets go of it when the process ends in any way. It has two
//! weaknesses, which the process-wide [`REGISTRY`], keyed by the file's (device, inode), covers:
//!
//! - **L1** The kernel never refuses the process that already holds the lock. So a file in the registry
//!   is refused here, under whatever path it is reached.
//! - **L2** Closing *any* descriptor of the file drops the process's lock. So a descriptor of a
//!   registered file is never closed while the file is registered: one that was opened by mistake
//!   is parked in the entry ([`keep_if_locked`]).
//!
//! - **L3** An entry belongs to the process that made it. In a forked child it is void, and its
//!   descriptors may be closed: the child holds no lock that closing could drop.
#![expect(clippy::disallowed_methods, reason = "this file and file.rs are the home of raw file calls")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
// tidy: expect(clock, reason = "waiting for a lock is a kernel wait with a timeout")
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockOffsetType, FlockType};

use crate::error::IoFailure;
use crate::storage::{LockError, LockKind, StorageLock};
use crate::sync::Mutex;

/// Pause between two tries for a lock that somebody else holds.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A file, whatever its name: (device, inode).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileIdentity(u64, u64);

impl FileIdentity {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ among systems")]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self(stat.st_dev as u64, stat.st_ino as u64)
    }
}

#[derive(Debug)]
struct Registry {
    entries: BTreeMap<FileIdentity, Entry>,
    next_token: u64,
}

/// A file that this process has locked.
#[derive(Debug)]
struct Entry {
    kind: LockKind,
    /// Locks handed out on it; more than one only if shared.
    holders: usize,
    /// Tells this entry from an earlier one of the same file.
    token: u64,
    /// The process that made the entry (L3).
    process: u32,
    /// Open descriptors of the file: the one that took the lock first (L2).
    descriptors: Vec<OwnedFd>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { entries: BTreeMap::new(), next_token: 0 });

impl Registry {
    /// The live entry of a file; one that was inherited by fork is dropped (L3).
    fn entry(&mut self, identity: FileIdentity) -> Option<&mut Entry> {
        if self.entries.get(&identity).is_some_and(|e| e.process != std::process::id()) {
            self.entries.remove(&identity);
        }
        self.entries.get_mut(&identity)
    }

    /// One more holder of a file that this process has locked; `None` if the two exclude each other.
    fn join(&mut self, identity: FileIdentity, kind: LockKind) -> Option<FileLock> {
        let entry = self.entry(identity)?;
        if kind != LockKind::Shared || entry.kind != LockKind::Shared {
            return None;
        }
        entry.holders += 1;
        Some(FileLock { identity, token: entry.token })
    }

    fn insert(&mut self, identity: FileIdentity, kind: LockKind, descriptor: OwnedFd) -> FileLock {
        let token = self.next_token;
        self.next_token += 1;
        let process = std::process::id();
        let entry = Entry { kind, holders: 1, token, process, descriptors: vec![descriptor] };
        self.entries.insert(identity, entry);
        FileLock { identity, token }
    }
}

/// A held lock.
#[derive(Debug)]
pub(crate) struct FileLock {
    identity: FileIdentity,
    token: u64,
}

impl StorageLock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut registry = REGISTRY.lock();
        let Some(entry) = registry.entries.get_mut(&self.identity) else { return };
        if entry.token != self.token {
            return;
        }
        entry.holders -= 1;
        if entry.holders == 0 {
            // Closing the descriptors lets go of the kernel's lock, before anyone else of this
            // process can see the file unregistered.
            registry.entries.remove(&self.identity);
        }
    }
}

/// Parks `descriptor` if it is of a file that this process has locked (L2); else gives it back.
pub(crate) fn keep_if_locked(identity: FileIdentity, descriptor: OwnedFd) -> Option<OwnedFd> {
    let mut registry = REGISTRY.lock();
    match registry.entry(identity) {
        Some(entry) => {
            entry.descriptors.push(descriptor);
            None
        }
        None => Some(descriptor),
    }
}

/// Takes the lock on file `name` of directory `directory`, trying for up to `patience`.
pub(crate) fn acquire(
    directory: &OwnedFd,
    name: &str,
    path: &Path,
    kind: LockKind,
    patience: Duration,
) -> Result<FileLock, LockError> {
    let started = Instant::now();
    loop {
        match try_acquire(directory, name, kind) {
            Ok(Attempt::Taken(lock)) => return Ok(lock),
            Ok(Attempt::Held(holder)) => {
                let left = patience.saturating_sub(started.elapsed());
                if left.is_zero() {
                    return Err(LockError::Held { path: path.to_path_buf(), holder });
                }
                thread::sleep(left.min(RETRY_INTERVAL));
            }
            Ok(Attempt::Replaced) => {}
            Err(error) => return Err(LockError::Io(IoFailure::new("lock", path, error))),
        }
    }
}

enum Attempt {
    Taken(FileLock),
    /// By whom, where the system tells.
    Held(Option<u32>),
    /// The name led to another file by the time the lock was taken.
    Replaced,
}

fn try_acquire(directory: &OwnedFd, name: &str, kind: LockKind) -> io::Result<Attempt> {
    // One thread at a time from the look at the registry until the entry is in it.
    let mut registry = REGISTRY.lock();
    // Looked at by name first, so that waiting for a lock of this very process opens nothing (L2).
    if let Some(identity) = identity_of(directory, name)?
        && registry.entry(identity).is_some()
    {
        let joined = registry.join(identity, kind);
        return Ok(joined.map_or(Attempt::Held(Some(std::process::id())), Attempt::Taken));
    }
    let descriptor = open_lock_file(directory, name, kind)?;
    let stat = rustix::fs::fstat(&descriptor)?;
    let identity = FileIdentity::of(&stat);
    if let Some(entry) = registry.entry(identity) {
        entry.descriptors.push(descriptor);
        return Ok(Attempt::Replaced);
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let operation = match kind {
        LockKind::Shared => FlockOperation::NonBlockingLockShared,
        LockKind::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::io::retry_on_intr(|| rustix::fs::fcntl_lock(&descriptor, operation)) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => return Ok(Attempt::Held(holder_of(&descriptor, kind))),
        Err(errno) => return Err(errno.into()),
    }
    if identity_of(directory, name)? != Some(identity) {
        return Ok(Attempt::Replaced);
    }
    Ok(Attempt::Taken(registry.insert(identity, kind, descriptor)))
}

fn identity_of(directory: &OwnedFd, name: &str) -> io::Result<Option<FileIdentity>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileIdentity::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens the lock file, creating it if need be. A shared lock is content with a descriptor that only
/// reads, so that a store on a read-only medium can be read.
fn open_lock_file(directory: &OwnedFd, name: &str, kind: LockKind) -> io::Result<OwnedFd> {
    let base = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = |flags: OFlags| {
        rustix::io::retry_on_intr(|| {
            rustix::fs::openat(directory, name, base | flags, Mode::RUSR | Mode::WUSR)
        })
    };
    loop {
        let opened = match open(OFlags::RDWR) {
            Err(Errno::NOENT) => match open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
                Ok(created) => {
                    rustix::fs::fchmod(&created, Mode::RUSR | Mode::WUSR)?;
                    Ok(created)
                }
                Err(Errno::EXIST) => continue,
                Err(errno) => Err(errno),
            },
            other => other,
        };
        return match opened {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) if kind == LockKind::Shared => {
                Ok(open(OFlags::RDONLY)?)
            }
            other => Ok(other?),
        };
    }
}

/// The process that keeps `kind` from being granted; 0 and an unknown process count as unknown.
fn holder_of(descriptor: &impl AsFd, kind: LockKind) -> Option<u32> {
    let typ = match kind {
        LockKind::Shared => FlockType::ReadLock,
        LockKind::Exclusive => FlockType::WriteLock,
    };
    let wanted = Flock { start: 0, length: 0, pid: None, typ, offset_type: FlockOffsetType::Set };
    let holder = rustix::process::fcntl_getlk(descriptor, &wanted).ok()??;
    u32::try_from(holder.pid?.as_raw_nonzero().get()).ok()
}
