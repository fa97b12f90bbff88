//! The storage seam over the operating system's files: pread, pwrite, fsync, mmap. With `lock.rs`
//! it is the only home of raw file calls in this crate. It is not asynchronous and caches nothing.
//!
//! - **D1** Every call is relative to one open directory, so that a store stays itself when somebody
//!   renames a directory above it.
//! - **D2** Files are created 0600 and the directory 0700 under any umask; symbolic links are not
//!   followed as the last component, and only regular files are opened, never waiting for a peer
//!   as opening a FIFO does.
//! - **D3** A sync that failed is never tried again, `EINTR` included: after it the kernel may have
//!   forgotten which bytes it lost (PROTOCOL F1).
//! - **D4** A writable mapping is not inherited by forked children (PROTOCOL F7).
#![expect(clippy::disallowed_methods, reason = "this file and lock.rs are the home of raw file calls")]

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::error::IoFailure;
use crate::lock::{self, FileIdentity};
use crate::storage::{
    Access, LockError, LockKind, MapAccess, ReadOp, Region, Space, Storage, StorageFile, StorageLock, WriteOp,
};

/// Maps start at a multiple of this.
const MAP_ALIGNMENT: u64 = 4096;

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// A directory of the host's file system.
#[derive(Debug)]
pub struct FileStorage {
    path: PathBuf,
    directory: OwnedFd,
}

impl FileStorage {
    /// Opens the directory `path`, creating it (0700, whatever the umask) if it is not there; its
    /// entry in the directory above is durable before this returns.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, IoFailure> {
        let path = plain(path.as_ref());
        let created = match rustix::fs::mkdir(&path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(failure("create directory", &path)(errno)),
        };
        if created {
            // By name, because a hostile umask may have made it impossible to open.
            rustix::fs::chmod(&path, Mode::RWXU).map_err(failure("set permissions of", &path))?;
        }
        let storage = Self::open(&path)?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(parent, flags, Mode::empty()) {
            Ok(parent_directory) => {
                rustix::fs::fsync(&parent_directory).map_err(failure("sync directory", parent))?;
            }
            // A directory that was there needs no more than the permission to pass through the one above.
            Err(Errno::ACCESS | Errno::PERM) if !created => {}
            Err(errno) => return Err(failure("open directory", parent)(errno)),
        }
        Ok(storage)
    }

    /// Opens the directory `path`, which must be there and must not be a symbolic link (directories
    /// above it may be).
    pub fn open(path: impl AsRef<Path>) -> Result<Self, IoFailure> {
        let path = plain(path.as_ref());
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if path.file_name().is_some() {
            flags |= OFlags::NOFOLLOW;
        }
        match retry_on_intr(|| rustix::fs::open(&path, flags, Mode::empty())) {
            Ok(directory) => Ok(Self { path, directory }),
            Err(Errno::LOOP | Errno::NOTDIR) if path.is_symlink() => {
                Err(refusal("open directory", &path, io::ErrorKind::InvalidInput, "is a symbolic link"))
            }
            Err(errno) => Err(failure("open directory", &path)(errno)),
        }
    }

    /// The directory, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn checked_name(&self, operation: &'static str, name: &str) -> Result<PathBuf, IoFailure> {
        let path = self.path.join(name);
        let mut components = Path::new(name).components();
        let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
        if !plain || name.contains(['/', '\0']) {
            return Err(refusal(operation, &path, io::ErrorKind::InvalidInput, "not a plain file name"));
        }
        Ok(path)
    }
}

/// `path` without slashes at its end, behind which a symbolic link would be followed after all.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

fn failure(operation: &'static str, path: &Path) -> impl Fn(Errno) -> IoFailure {
    move |errno| IoFailure::new(operation, path, errno.into())
}

fn refusal(operation: &'static str, path: &Path, kind: io::ErrorKind, why: &'static str) -> IoFailure {
    IoFailure::new(operation, path, io::Error::new(kind, why))
}

impl Storage for FileStorage {
    fn back_end(&self) -> &'static str {
        "pread"
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn create(&self, name: &str) -> Result<Arc<dyn StorageFile>, IoFailure> {
        let path = self.checked_name("create", name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = retry_on_intr(|| rustix::fs::openat(&self.directory, name, flags, OWNER_ONLY))
            .map_err(failure("create", &path))?;
        rustix::fs::fchmod(&descriptor, OWNER_ONLY).map_err(failure("set permissions of", &path))?;
        Ok(Arc::new(OpenFile { path, file: File::from(descriptor) }))
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>, IoFailure> {
        let path = self.checked_name("open", name)?;
        let refuse = |kind, why| Err(refusal("open", &path, kind, why));
        let mode = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
        };
        let flags = mode | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = retry_on_intr(|| rustix::fs::openat(&self.directory, name, flags, Mode::empty()));
        let descriptor = match opened {
            Ok(descriptor) => descriptor,
            Err(Errno::LOOP) => return refuse(io::ErrorKind::InvalidInput, "is a symbolic link"),
            Err(errno) => return Err(failure("open", &path)(errno)),
        };
        let stat = rustix::fs::fstat(&descriptor).map_err(failure("inspect", &path))?;
        let Some(descriptor) = lock::keep_if_locked(FileIdentity::of(&stat), descriptor) else {
            return refuse(io::ErrorKind::ResourceBusy, "is a lock that this process holds");
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return refuse(io::ErrorKind::InvalidInput, "not a regular file");
        }
        Ok(Arc::new(OpenFile { path, file: File::from(descriptor) }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), IoFailure> {
        let path = self.checked_name("rename", from)?;
        self.checked_name("rename", to)?;
        rustix::fs::renameat(&self.directory, from, &self.directory, to).map_err(failure("rename", &path))
    }

    fn remove(&self, name: &str) -> Result<(), IoFailure> {
        let path = self.checked_name("remove", name)?;
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()).map_err(failure("remove", &path))
    }

    fn list(&self) -> Result<Vec<String>, IoFailure> {
        let failed = failure("list directory", &self.path);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            // No file of a store has a name that is not UTF-8; what has one is none of ours.
            let Ok(name) = entry.file_name().to_str() else { continue };
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind_of(name)?,
                known => Some(known),
            };
            if kind.is_some_and(|kind| kind != FileType::Directory) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_directory(&self) -> Result<(), IoFailure> {
        // Not retried, D3.
        rustix::fs::fsync(&self.directory).map_err(failure("sync directory", &self.path))
    }

    fn lock(
        &self,
        name: &str,
        kind: LockKind,
        patience: Duration,
    ) -> Result<Box<dyn StorageLock>, LockError> {
        let path = self.checked_name("lock", name).map_err(LockError::Io)?;
        let lock = lock::acquire(&self.directory, name, &path, kind, patience)?;
        Ok(Box::new(lock))
    }

    fn space(&self) -> Result<Space, IoFailure> {
        let stat = rustix::fs::fstatvfs(&self.directory).map_err(failure("measure", &self.path))?;
        Ok(Space {
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn exists(&self, name: &str) -> Result<bool, IoFailure> {
        self.checked_name("inspect", name)?;
        Ok(self.kind_of(name)?.is_some_and(|kind| kind != FileType::Directory))
    }
}

impl FileStorage {
    /// What `name` is, symbolic links as such; `None` if nothing has the name.
    fn kind_of(&self, name: &str) -> Result<Option<FileType>, IoFailure> {
        match rustix::fs::statat(&self.directory, OsStr::new(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failure("inspect", &self.path.join(name))(errno)),
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    path: PathBuf,
    file: File,
}

impl OpenFile {
    fn fail(&self, operation: &'static str) -> impl Fn(io::Error) -> IoFailure {
        move |error| IoFailure::new(operation, &self.path, error)
    }

    /// `allocate` where the file system has no such call: what lies past the end is written with zeros,
    /// what lies before it is written with itself. Nobody else may write the range meanwhile.
    fn allocate_by_writing(&self, offset: u64, len: u64) -> io::Result<()> {
        const STEP: usize = 64 << 10;
        let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        let size = self.file.metadata()?.len();
        let mut buffer = vec![0; STEP];
        let mut at = offset.min(size);
        while at < end {
            let step = usize::try_from(end - at).map_or(STEP, |left| left.min(STEP));
            let piece = &mut buffer[..step];
            let inside = usize::try_from(size.saturating_sub(at)).map_or(step, |left| left.min(step));
            piece[inside..].fill(0);
            self.file.read_exact_at(&mut piece[..inside], at)?;
            self.file.write_all_at(piece, at)?;
            at += step as u64;
        }
        Ok(())
    }
}

impl StorageFile for OpenFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn len(&self) -> Result<u64, IoFailure> {
        self.file.metadata().map(|m| m.len()).map_err(self.fail("inspect"))
    }

    fn read(&self, batch: &mut [ReadOp<'_>]) -> Result<(), IoFailure> {
        for op in batch {
            self.file.read_exact_at(op.buffer, op.offset).map_err(self.fail("read"))?;
        }
        Ok(())
    }

    fn write(&self, batch: &[WriteOp<'_>]) -> Result<(), IoFailure> {
        for op in batch {
            self.file.write_all_at(op.bytes, op.offset).map_err(self.fail("write"))?;
        }
        Ok(())
    }

    #[cfg(not(target_vendor = "apple"))]
    fn sync_data(&self) -> Result<(), IoFailure> {
        // Not retried, D3.
        rustix::fs::fdatasync(&self.file).map_err(failure("sync", &self.path))
    }

    #[cfg(target_vendor = "apple")]
    fn sync_data(&self) -> Result<(), IoFailure> {
        self.sync_all()
    }

    #[cfg(not(target_vendor = "apple"))]
    fn sync_all(&self) -> Result<(), IoFailure> {
        // Not retried, D3.
        rustix::fs::fsync(&self.file).map_err(failure("sync", &self.path))
    }

    #[cfg(target_vendor = "apple")]
    fn sync_all(&self) -> Result<(), IoFailure> {
        // A plain fsync leaves the bytes in the drive's cache here.
        rustix::fs::fcntl_fullfsync(&self.file).map_err(failure("sync", &self.path))
    }

    fn allocate(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        if len == 0 {
            return Ok(());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            match retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), offset, len)) {
                Ok(()) => return Ok(()),
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(failure("allocate", &self.path)(errno)),
            }
        }
        self.allocate_by_writing(offset, len).map_err(self.fail("allocate"))
    }

    fn punch_hole(&self, offset: u64, len: u64) -> Result<(), IoFailure> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if len != 0 {
            use rustix::fs::{FallocateFlags, fallocate};
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match retry_on_intr(|| fallocate(&self.file, flags, offset, len)) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(failure("punch a hole in", &self.path)(errno)),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), IoFailure> {
        retry_on_intr(|| rustix::fs::ftruncate(&self.file, len)).map_err(failure("resize", &self.path))
    }

    fn map(&self, offset: u64, len: usize, access: MapAccess) -> Result<Arc<dyn Region>, IoFailure> {
        let refuse = |why| Err(refusal("map", &self.path, io::ErrorKind::InvalidInput, why));
        if !offset.is_multiple_of(MAP_ALIGNMENT) {
            return refuse("the offset is no multiple of 4096");
        }
        // A page past the end of the file would fault the process when it is touched.
        let size = self.len()?;
        if offset.checked_add(len as u64).is_none_or(|end| end > size) {
            return refuse("the range reaches past the end of the file");
        }
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let mapping = match access {
            MapAccess::Read => options.map_raw_read_only(&self.file),
            MapAccess::ReadWrite => options.map_raw(&self.file),
        }
        .map_err(self.fail("map"))?;
        #[cfg(target_os = "linux")]
        if access == MapAccess::ReadWrite && len != 0 {
            // D4.
            mapping.advise(memmap2::Advice::DontFork).map_err(self.fail("map"))?;
        }
        Ok(Arc::new(Mapping { mapping, len }))
    }
}

/// A mapped range; unmapped when dropped.
#[derive(Debug)]
struct Mapping {
    mapping: MmapRaw,
    /// As asked for; an empty range maps a page that is never touched.
    len: usize,
}

#[expect(unsafe_code, reason = "promises the validity of a mapping that it owns")]
// SAFETY: the mapping lives, unmoved, as long as `self`, and `map` has checked that its range
// lies inside the file.
unsafe impl Region for Mapping {
    fn as_ptr(&self) -> *mut u8 {
        self.mapping.as_mut_ptr()
    }

    fn len(&self) -> usize {
        self.len
    }
}
