//! What can go wrong in the log, as one small enum. Damage and I/O failures are the shared families
//! of the storage seam; the rest belongs to the log alone.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use treering_segment::error::{Damage, IoFailure};

/// Why a journal operation did not succeed.
#[derive(Debug)]
pub enum Error {
    /// Bytes of the log are not what a correct writer left.
    Damage(Damage),
    /// The storage refused.
    Io(IoFailure),
    /// An earlier log write or sync failed; every later operation repeats that cause until the store is
    /// opened anew. An operation that ends so is *unknown but atomic*: it may be found after reopening.
    Poisoned(Poisoned),
    /// A record, key or batch is larger than the journal can ever take; nothing was logged.
    TooLarge {
        /// What was asked for, in bytes (or operations, for a batch).
        size: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// There is no space for another log file. Nothing was logged and the journal goes on.
    Full(IoFailure),
    /// The options cannot describe a journal.
    Options(&'static str),
    /// The caller's visitor gave up during recovery.
    Visitor(Box<dyn StdError + Send + Sync>),
}

/// The failure that ended a journal's life, kept for all who come later.
#[derive(Clone, Debug)]
pub struct Poisoned {
    /// The first failure.
    pub cause: Arc<Error>,
}

/// The journal's results.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the cause is a lack of space.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Full(_) => true,
            Self::Io(failure) => failure.is_out_of_space(),
            _ => false,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl From<IoFailure> for Error {
    fn from(failure: IoFailure) -> Self {
        Self::Io(failure)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(damage) => damage.fmt(f),
            Self::Io(failure) => failure.fmt(f),
            Self::Poisoned(poisoned) => {
                write!(f, "the log has failed and takes no more writes: {}", poisoned.cause)
            }
            Self::TooLarge { size, max } => write!(f, "a record of {size} is too large, {max} is the most"),
            Self::Full(failure) => write!(f, "no space for another log file: {failure}"),
            Self::Options(what) => write!(f, "invalid journal options: {what}"),
            Self::Visitor(error) => write!(f, "replay was given up: {error}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Damage(damage) => Some(damage),
            Self::Io(failure) | Self::Full(failure) => Some(failure),
            Self::Poisoned(poisoned) => Some(&*poisoned.cause),
            Self::Visitor(error) => Some(&**error),
            Self::TooLarge { .. } | Self::Options(_) => None,
        }
    }
}
