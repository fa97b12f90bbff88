//! The two error families that every layer shares: *damage* (bytes that are not what a correct
//! writer left) and *I/O failures* (the operating system refused). Expected outcomes, such as
//! "not found" or "too large", belong to the crate that gives them a meaning.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes at rest that do not satisfy their format's validity rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong, in words that follow "damaged: ".
    pub what: String,
    /// The file that holds the damage.
    pub file: PathBuf,
    /// Byte offset in that file at which the damaged structure starts.
    pub offset: u64,
}

impl Damage {
    /// Damage of `file` at byte `offset`.
    pub fn new(what: impl Into<String>, file: impl Into<PathBuf>, offset: u64) -> Self {
        Self { what: what.into(), file: file.into(), offset }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.file.display(), self.offset, self.what)
    }
}

impl std::error::Error for Damage {}

/// An operation that the operating system, or the simulated disk, refused.
#[derive(Debug)]
pub struct IoFailure {
    /// The operation, as a verb: "write", "sync", "open".
    pub operation: &'static str,
    /// The file or directory it was for.
    pub path: PathBuf,
    /// The operating system's own error.
    pub source: io::Error,
}

impl IoFailure {
    /// The failure of `operation` on `path`.
    pub fn new(operation: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self { operation, path: path.as_ref().to_path_buf(), source }
    }

    /// Whether the cause is a lack of space or quota, which never poisons a store (PROTOCOL F1).
    pub fn is_out_of_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether it was a sync: what is durable is no longer known (PROTOCOL F1).
    pub fn is_of_sync(&self) -> bool {
        self.operation.starts_with("sync")
    }

    /// Whether the file or directory was not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// A copy for another waiter: same operation, path and error kind; `io::Error` itself is not `Clone`.
    pub fn duplicate(&self) -> Self {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        Self { operation: self.operation, path: self.path.clone(), source }
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.operation, self.path.display(), self.source)
    }
}

impl std::error::Error for IoFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
