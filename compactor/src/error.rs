//! What can go wrong in the manifest and in compaction, told apart by what the caller can do.

use std::fmt;
use std::path::PathBuf;

use treering_segment::error::{Damage, IoFailure};

/// The result of this crate's fallible operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is known about an edit whose append failed (PROTOCOL C6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The edit is certainly not on disk, now or after any crash; what it would have released is still owned.
    NotOnDisk,
    /// The edit may or may not be found after a reopen. Nothing that it releases may be reused, and
    /// nothing that it adds may be removed, until the store has been opened again.
    Unknown,
}

/// A failure of the manifest or of compaction.
#[derive(Debug)]
pub enum Error {
    /// Bytes that no correct writer left.
    Damage(Damage),
    /// The operating system refused, and nothing was changed that a reopen would see.
    Io(IoFailure),
    /// The file was written by a newer version of the format, or needs a feature unknown here.
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// What is unknown about it.
        what: String,
    },
    /// The file belongs to another store.
    ForeignStore {
        /// The file.
        path: PathBuf,
        /// The store id it carries.
        found: [u8; 16],
    },
    /// An edit contradicts the state it would change. Nothing was written.
    Inconsistent(String),
    /// An edit is larger than the format can hold. Nothing was written.
    TooLarge {
        /// Its encoded size in bytes.
        size: u64,
        /// The largest allowed.
        max: u64,
    },
    /// An append failed; `fate` says whether the edit may be found after a reopen.
    AppendFailed {
        /// What is known about the edit.
        fate: Fate,
        /// Whether the manifest takes further edits (out of space, undone) or must be reopened.
        poisoned: bool,
        /// The operation that failed.
        failure: IoFailure,
    },
    /// An earlier append left the end of the file unknown; only reopening clears it (PROTOCOL F1).
    Poisoned(IoFailure),
    /// The manifest was loaded for reading only.
    ReadOnly,
}

impl Error {
    /// Whether an edit may be found after a reopen although its append did not return `Ok`.
    pub fn may_be_on_disk(&self) -> bool {
        matches!(self, Error::AppendFailed { fate: Fate::Unknown, .. })
    }

    /// Whether the cause is a lack of space (PROTOCOL F1: never poisons).
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Error::Io(failure) => failure.is_out_of_space(),
            Error::AppendFailed { failure, poisoned, .. } => !poisoned && failure.is_out_of_space(),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Damage(damage) => damage.fmt(f),
            Error::Io(failure) => failure.fmt(f),
            Error::NewerFormat { path, what } => {
                write!(f, "{} has a newer format than this program knows: {what}", path.display())
            }
            Error::ForeignStore { path, found } => {
                write!(f, "{} belongs to another store (", path.display())?;
                found.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(")")
            }
            Error::Inconsistent(what) => write!(f, "the edit contradicts the manifest: {what}"),
            Error::TooLarge { size, max } => write!(f, "an edit of {size} bytes exceeds the largest, {max}"),
            Error::AppendFailed { fate: Fate::NotOnDisk, failure, .. } => {
                write!(f, "the edit was not written: {failure}")
            }
            Error::AppendFailed { fate: Fate::Unknown, failure, .. } => {
                write!(f, "the edit may or may not be on disk: {failure}")
            }
            Error::Poisoned(failure) => write!(f, "the manifest must be reopened after: {failure}"),
            Error::ReadOnly => f.write_str("the manifest is open for reading only"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Damage(damage) => Some(damage),
            Error::Io(failure) | Error::Poisoned(failure) | Error::AppendFailed { failure, .. } => {
                Some(failure)
            }
            _ => None,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Error::Damage(damage)
    }
}

impl From<IoFailure> for Error {
    fn from(failure: IoFailure) -> Self {
        Error::Io(failure)
    }
}
