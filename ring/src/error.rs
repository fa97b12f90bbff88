//! What the ring's calls can answer besides success. There is no I/O here and no damage.

use std::fmt;

/// The ring was poisoned: what was waited for will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is closed")
    }
}

impl std::error::Error for Closed {}

/// Why no range was reserved. Nothing changed in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// A record holds at least one byte.
    Empty,
    /// The record is larger than the ring, in bytes.
    TooLong {
        /// What was asked for.
        len: usize,
        /// What the ring holds.
        capacity: usize,
    },
    /// The ring was poisoned.
    Closed,
}

impl From<Closed> for ReserveError {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl fmt::Display for ReserveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a record of no bytes cannot be reserved"),
            Self::TooLong { len, capacity } => {
                write!(f, "a record of {len} bytes does not fit a ring of {capacity} bytes")
            }
            Self::Closed => fmt::Display::fmt(&Closed, f),
        }
    }
}

impl std::error::Error for ReserveError {}

/// Why a ring could not be built over the memory given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The memory's length is not a power of two of at least [`crate::MIN_CAPACITY`] bytes.
    Capacity {
        /// The memory's length in bytes.
        len: usize,
    },
    /// The base address leaves no room to count on ([`crate::MAX_BASE`]).
    Base {
        /// The base that was asked for.
        base: u64,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity { len } => {
                write!(f, "{len} bytes is not a ring's capacity: a power of two of at least 64 is")
            }
            Self::Base { base } => write!(f, "the base address {base:#x} is too high"),
        }
    }
}

impl std::error::Error for BuildError {}

/// Why nothing was drained. The prefix stays as it was and is offered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainError<E> {
    /// Another drain, or a reset, is under way.
    Busy,
    /// The sink failed.
    Sink(E),
}

impl<E: fmt::Display> fmt::Display for DrainError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the ring is being drained by someone else"),
            Self::Sink(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for DrainError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Busy => None,
            Self::Sink(error) => Some(error),
        }
    }
}

/// Why the ring was not reset. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetError {
    /// A drain, or another reset, is under way.
    Busy,
    /// Something is reserved that was not drained yet.
    NotDrained,
}

impl fmt::Display for ResetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the ring is being drained by someone else",
            Self::NotDrained => "the ring holds what was not drained yet",
        })
    }
}

impl std::error::Error for ResetError {}
