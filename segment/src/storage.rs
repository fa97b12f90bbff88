//! The storage seam: everything the store asks of a file system, as object-safe traits.
//!
//! A [`Storage`] is one flat directory that belongs to one store. Back ends implement it over
//! pread/pwrite, over memory, and over the simulated disk; nothing above this seam makes a file
//! call of its own. It is *not* a general file-system interface: no seeking, no nested
//! directories, no metadata.
//!
//! # Contract of every back end
//! - Calls block until they are done. A batch returns when all of its operations are done, whole
//!   or failed; no buffer is in flight when control returns.
//! - `EINTR` and short counts are the back end's to retry; callers see all or an error.
//! - What is written is durable only after `sync_data` or `sync_all` of that file returned `Ok`, and
//!   a name created, renamed or removed only after `sync_directory` did. A failed sync says
//!   nothing about which bytes are durable, and is never retried (PROTOCOL F1).
//! - A file's bytes stay readable through handles and regions that are open when it is removed.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::IoFailure;

/// How an existing file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; writes fail.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// Who may hold a lock beside the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Other shared holders may.
    Shared,
    /// Nobody may.
    Exclusive,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody, in this process or another, holds it in a way that excludes the request.
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, where the operating system tells.
        holder: Option<u32>,
    },
    /// The lock file itself could not be used.
    Io(IoFailure),
}

/// A held lock; dropping it lets go. The lock is not inherited by forked children, and the kernel
/// lets go of it when the process ends in any way.
pub trait StorageLock: Debug + Send + Sync {}

/// Free and total bytes of the underlying device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes an unprivileged writer can still allocate.
    pub available: u64,
    /// All bytes.
    pub total: u64,
}

/// A flat directory of files that belongs to one store. File names hold no `/`.
pub trait Storage: Debug + Send + Sync + 'static {
    /// The back end's name for reports: `"pread"`, `"memory"`, `"simulated"`.
    fn back_end(&self) -> &'static str;

    /// The path under which `name` is known to people; used in messages only.
    fn path_of(&self, name: &str) -> PathBuf;

    /// Creates a file that must not exist yet, for reading and writing, private to its owner (0600).
    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, IoFailure>;

    /// Opens an existing regular file; symbolic links are refused.
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>, IoFailure>;

    /// Renames `from` to `to`, replacing `to` atomically if it is there.
    fn rename(&self, from: &str, to: &str) -> Result<(), IoFailure>;

    /// Removes a file.
    fn remove(&self, name: &str) -> Result<(), IoFailure>;

    /// The names of all files, sorted.
    fn list(&self) -> Result<Vec<String>, IoFailure>;

    /// Makes every create, rename and remove that has returned durable.
    fn sync_directory(&self) -> Result<(), IoFailure>;

    /// Takes the lock on file `name`, creating the file if need be (a read-only directory opens what
    /// is there), trying again for up to `patience` while somebody else holds it.
    fn lock(&self, name: &str, kind: LockKind, patience: Duration)
    -> Result<Box<dyn StorageLock>, LockError>;

    /// Space on the underlying device.
    fn space(&self) -> Result<Space, IoFailure>;

    /// Whether a file of this name is there.
    fn exists(&self, name: &str) -> Result<bool, IoFailure> {
        Ok(self.list()?.iter().any(|n| n == name))
    }
}

/// One positioned read: fills `buffer` wholly from `offset`.
#[derive(Debug)]
pub struct ReadOp<'a> {
    /// Byte offset in the file.
    pub offset: u64,
    /// Filled wholly, or the batch fails.
    pub buffer: &'a mut [u8],
}

/// One positioned write: the parts, one after another, from `offset`.
#[derive(Clone, Copy, Debug)]
pub struct WriteOp<'a> {
    /// Byte offset in the file.
    pub offset: u64,
    /// Written wholly, or the batch fails.
    pub bytes: &'a [u8],
}

/// How a file is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapAccess {
    /// Reads only; the mapping shows the file.
    Read,
    /// Reads and writes, shared with the file: what is stored is in the operating system's hands.
    ReadWrite,
}

/// An open file.
pub trait StorageFile: Debug + Send + Sync {
    /// The path in messages.
    fn path(&self) -> &Path;

    /// Length in bytes.
    fn len(&self) -> Result<u64, IoFailure>;

    /// Whether the file holds no byte.
    fn is_empty(&self) -> Result<bool, IoFailure> {
        Ok(self.len()? == 0)
    }

    /// Performs all reads; an end of file inside any of them is `UnexpectedEof`.
    fn read(&self, batch: &mut [ReadOp<'_>]) -> Result<(), IoFailure>;

    /// Performs all writes, extending the file as needed. After an error any of them may be whole,
    /// partial or missing.
    fn write(&self, batch: &[WriteOp<'_>]) -> Result<(), IoFailure>;

    /// Makes data written so far, and the size that reaching it needs, durable.
    fn sync_data(&self) -> Result<(), IoFailure>;

    /// Makes data and all metadata durable.
    fn sync_all(&self) -> Result<(), IoFailure>;

    /// Makes sure that `len` bytes from `offset` have space on the device, extending the size.
    fn allocate(&self, offset: u64, len: u64) -> Result<(), IoFailure>;

    /// Gives the space of `len` bytes from `offset` back to the device; they read as zeros. A back end
    /// that cannot does nothing.
    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoFailure>;

    /// Cuts or extends (with zeros) the file to `len` bytes.
    fn set_len(&self, len: u64) -> Result<(), IoFailure>;

    /// Maps `len` bytes from `offset` (a multiple of 4096). The range must lie inside the file.
    fn map(&self, offset: u64, len: usize, access: MapAccess) -> Result<Arc<dyn Region>, IoFailure>;

    /// Reads one range wholly.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), IoFailure> {
        self.read(&mut [ReadOp { offset, buffer }])
    }

    /// Writes one range wholly.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<(), IoFailure> {
        self.write(&[WriteOp { offset, bytes }])
    }
}

/// A mapped range of a file, or memory that stands for one.
///
/// # Safety
/// `as_ptr` is valid for reads (and, if mapped so, writes) of `len` bytes, at the same address,
/// for the whole life of the object. Other threads, and for a shared mapping other processes,
/// may write the bytes; no reference to them may be formed while one of them does.
#[expect(unsafe_code, reason = "implementors promise the validity of raw memory")]
pub unsafe trait Region: Debug + Send + Sync {
    /// The first byte.
    fn as_ptr(&self) -> *mut u8;

    /// Bytes in the region.
    fn len(&self) -> usize;

    /// Whether the region has no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Time, injected so that a simulation decides it.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Milliseconds since boot, suspend included; never goes back.
    fn boot_ms(&self) -> u64;

    /// Milliseconds since the Unix epoch, as the wall clock has it.
    fn wall_ms(&self) -> u64;
}

/// Randomness, injected so that a simulation decides it.
pub trait Entropy: Debug + Send + Sync + 'static {
    /// Fills `buffer` with bytes that no other store draws.
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()>;
}

/// What a store stands on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Files.
    pub storage: Arc<dyn Storage>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}
