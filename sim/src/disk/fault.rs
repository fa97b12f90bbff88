//! Faults by operation index: the n-th call of the seam fails, once or from then on.

use std::io;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device fails; a write may have happened in part, a sync forgets what it should have written.
    InputOutput,
    /// There is no space; a write may have happened in part. Only calls that can need space fail so: a write
    /// inside a file does not.
    NoSpace,
    /// A signal interrupted the call, which the back end did not try again. A write may have happened in part,
    /// a sync forgets what it should have written.
    Interrupted,
    /// A read finds fewer bytes than it should, a write gets only a first part done. Only these fail so.
    ShortCount,
    /// A sync fails, of a file or of the directory, and forgets what it should have written. Only syncs fail so.
    FailedSync,
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
    /// It reads bytes.
    Reads,
    /// It writes bytes where there is space.
    Writes,
    /// It writes bytes and needs space for them.
    Grows,
    /// It changes something, and needs no space.
    Changes,
    /// It makes something durable.
    Syncs,
}

impl Fault {
    /// Whether the operation of index `operation` fails by this fault.
    pub(super) fn hits(&self, operation: u64, call: Call) -> bool {
        let due = operation == self.operation || (self.lasting && operation > self.operation);
        due && match self.kind {
            FaultKind::InputOutput | FaultKind::Interrupted | FaultKind::PowerCut => true,
            FaultKind::NoSpace => matches!(call, Call::Takes | Call::Grows),
            FaultKind::ShortCount => matches!(call, Call::Reads | Call::Writes | Call::Grows),
            FaultKind::FailedSync => call == Call::Syncs,
        }
    }
}

impl FaultKind {
    pub(super) fn error(self, call: Call) -> io::Error {
        match self {
            // EIO, which has no kind of its own in the standard library.
            FaultKind::InputOutput | FaultKind::FailedSync => io::Error::from_raw_os_error(5),
            FaultKind::Interrupted => io::ErrorKind::Interrupted.into(),
            FaultKind::ShortCount if call == Call::Reads => io::ErrorKind::UnexpectedEof.into(),
            FaultKind::ShortCount => io::ErrorKind::WriteZero.into(),
            FaultKind::NoSpace => io::ErrorKind::StorageFull.into(),
            FaultKind::PowerCut => io::Error::other("the power is cut"),
        }
    }
}
