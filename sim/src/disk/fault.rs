//! Faults by operation index: the n-th call of the seam fails, once or from then on.

use std::io;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device fails; a write may have happened in part, a sync forgets what it should have written.
    InputOutput,
    /// There is no space; a write may have happened in part. Only calls that can need space fail so.
    NoSpace,
    /// The power is cut during the operation: it and all later ones fail, a write may have happened in part.
    PowerCut,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The index of the operation that fails; see [`SimDisk::operations`](super::SimDisk::operations).
    pub operation: u64,
    /// How.
    pub kind: FaultKind,
    /// Whether all operations after it fail, too.
    pub lasting: bool,
}

/// What an operation is, as far as faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// It reads, or looks.
    Looks,
    /// It changes something, and may need space.
    Takes,
    /// It changes something, and needs no space.
    Changes,
}

impl Fault {
    /// Whether the operation of index `operation` fails by this fault.
    pub(super) fn hits(&self, operation: u64, call: Call) -> bool {
        let due = operation == self.operation || (self.lasting && operation > self.operation);
        due && (self.kind != FaultKind::NoSpace || call == Call::Takes)
    }
}

impl FaultKind {
    pub(super) fn error(self) -> io::Error {
        match self {
            // EIO, which has no kind of its own in the standard library.
            FaultKind::InputOutput => io::Error::from_raw_os_error(5),
            FaultKind::NoSpace => io::ErrorKind::StorageFull.into(),
            FaultKind::PowerCut => io::Error::other("the power is cut"),
        }
    }
}
