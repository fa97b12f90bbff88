//! The engine's one error type: opaque, with a kind that says what the caller can do, and the path
//! and offset where it is about a place on disk. It is *not* an enumeration of everything that can go
//! wrong inside; callers decide on [`ErrorKind`], people read the message.

use std::fmt;
use std::path::{Path, PathBuf};

use treering_segment::error::{Damage, IoFailure};
use treering_segment::storage::LockError;

use crate::tree::TreeError;

/// What the caller of a failed operation can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A condition of the write did not hold; nothing was changed. Read again and decide.
    Conflict,
    /// A key, value or batch exceeds a limit; nothing was logged. Make it smaller.
    TooLarge,
    /// An argument or option makes no sense; the message says which and what to do.
    InvalidArgument,
    /// Another opener holds the store. Close it, or wait for it to end.
    Locked,
    /// The directory is not a store, or is not there.
    NotAStore,
    /// A newer release wrote the store. Upgrade.
    NewerFormat,
    /// Bytes at rest are not what was written. `verify` lists the damage.
    Damage,
    /// The operating system refused an operation.
    Io,
    /// The device is full. Nothing is lost; deletes and reads go on; free space and write again.
    Full,
    /// An earlier write or sync failed; what was in flight is unknown but atomic. Reopen the store.
    Poisoned,
    /// The store was opened for reading only.
    ReadOnly,
    /// The engine was closed, or the tree was dropped.
    Closed,
}

/// The error of every operation on a store.
pub struct Error {
    repr: Box<Repr>,
}

enum Repr {
    Damage(Damage),
    Io(IoFailure),
    Plain { kind: ErrorKind, message: String, path: Option<PathBuf> },
}

/// The result of every operation on a store.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { repr: Box::new(Repr::Plain { kind, message: message.into(), path: None }) }
    }

    pub(crate) fn at(kind: ErrorKind, path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        let path = Some(path.as_ref().to_path_buf());
        Self { repr: Box::new(Repr::Plain { kind, message: message.into(), path }) }
    }

    pub(crate) fn damage(what: impl Into<String>, file: impl Into<PathBuf>, offset: u64) -> Self {
        Damage::new(what, file, offset).into()
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match &*self.repr {
            Repr::Damage(_) => ErrorKind::Damage,
            Repr::Io(failure) if failure.is_out_of_space() => ErrorKind::Full,
            Repr::Io(_) => ErrorKind::Io,
            Repr::Plain { kind, .. } => *kind,
        }
    }

    /// The file or directory it is about, if it is about one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &*self.repr {
            Repr::Damage(damage) => Some(&damage.file),
            Repr::Io(failure) => Some(&failure.path),
            Repr::Plain { path, .. } => path.as_deref(),
        }
    }

    /// The byte offset in [`Error::path`] at which damage starts.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match &*self.repr {
            Repr::Damage(damage) => Some(damage.offset),
            _ => None,
        }
    }

    /// The damage itself, for [`ErrorKind::Damage`] with a place.
    pub(crate) fn as_damage(&self) -> Option<&Damage> {
        match &*self.repr {
            Repr::Damage(damage) => Some(damage),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.repr {
            Repr::Damage(damage) => write!(f, "{damage}"),
            Repr::Io(failure) => write!(f, "{failure}"),
            Repr::Plain { message, path: Some(path), .. } => write!(f, "{}: {message}", path.display()),
            Repr::Plain { message, path: None, .. } => f.write_str(message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.kind())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.repr {
            Repr::Io(failure) => failure.source(),
            _ => None,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self { repr: Box::new(Repr::Damage(damage)) }
    }
}

impl From<IoFailure> for Error {
    fn from(failure: IoFailure) -> Self {
        Self { repr: Box::new(Repr::Io(failure)) }
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { path, holder } => {
                let who = holder.map_or_else(|| "somebody else".to_string(), |pid| format!("process {pid}"));
                Self::at(
                    ErrorKind::Locked,
                    path,
                    format!("the store is open elsewhere (held by {who}); close it there first"),
                )
            }
            LockError::Io(failure) => failure.into(),
        }
    }
}

impl From<treering_journal::Error> for Error {
    fn from(error: treering_journal::Error) -> Self {
        use treering_journal::Error as Log;
        match error {
            Log::Damage(damage) => damage.into(),
            Log::Io(failure) | Log::Full(failure) => failure.into(),
            Log::Poisoned(poisoned) => Self::new(
                ErrorKind::Poisoned,
                format!(
                    "an earlier write failed ({}); what was in flight is unknown but atomic: reopen the store",
                    poisoned.cause
                ),
            ),
            Log::TooLarge { .. } => Self::new(ErrorKind::TooLarge, error.to_string()),
            Log::Options(_) => Self::new(ErrorKind::InvalidArgument, error.to_string()),
            Log::Visitor(_) => Self::new(ErrorKind::Damage, error.to_string()),
        }
    }
}

impl From<treering_compactor::Error> for Error {
    fn from(error: treering_compactor::Error) -> Self {
        use treering_compactor::Error as Catalogue;
        match error {
            Catalogue::Damage(damage) => damage.into(),
            Catalogue::Io(failure) => failure.into(),
            Catalogue::AppendFailed { failure, poisoned: false, .. } => failure.into(),
            Catalogue::NewerFormat { ref path, .. } => {
                Self::at(ErrorKind::NewerFormat, path.clone(), format!("{error}; upgrade treering"))
            }
            Catalogue::ForeignStore { ref path, .. } => {
                Self::at(ErrorKind::Damage, path.clone(), error.to_string())
            }
            Catalogue::AppendFailed { .. } | Catalogue::Poisoned(_) => {
                Self::new(ErrorKind::Poisoned, error.to_string())
            }
            Catalogue::TooLarge { .. } => Self::new(ErrorKind::TooLarge, error.to_string()),
            Catalogue::ReadOnly => Self::new(ErrorKind::ReadOnly, error.to_string()),
            Catalogue::Inconsistent(_) => Self::new(ErrorKind::Damage, error.to_string()),
        }
    }
}

impl From<treering_segment::sealed::SegmentError> for Error {
    fn from(error: treering_segment::sealed::SegmentError) -> Self {
        use treering_segment::sealed::SegmentError as Sealed;
        match error {
            Sealed::Damage(damage) => damage.into(),
            Sealed::Io(failure) => failure.into(),
            Sealed::NewerFormat { ref file, .. } => {
                Self::at(ErrorKind::NewerFormat, file.clone(), format!("{error}; upgrade treering"))
            }
            _ => Self::new(ErrorKind::TooLarge, error.to_string()),
        }
    }
}

impl From<TreeError> for Error {
    fn from(error: TreeError) -> Self {
        let kind = match error {
            TreeError::Damage { .. } => ErrorKind::Damage,
            TreeError::TooLarge { .. } => ErrorKind::TooLarge,
        };
        Self::new(kind, error.to_string())
    }
}
