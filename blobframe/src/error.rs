//! What can go wrong in a frame: no room, bytes that no valid frame holds, nothing to split.

use std::fmt;

/// The bytes read are not what a valid frame holds: the frame changed under an unvalidated read,
/// or it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn;

/// An allocation that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// The gap between nodes and leaves is too small for it. Bytes.
    OutOfSpace {
        /// Bytes asked for.
        need: usize,
        /// Bytes that such an allocation could have had.
        avail: usize,
    },
    /// A size, key or value that no frame of this size takes.
    InvalidRequest,
}

/// A release that was refused: the frame is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The offset is outside the node region.
    OutOfBounds,
    /// No node starts there, or it was freed before.
    NotANode,
}

/// Why a change of a frame failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No room: re-pack or split the frame, then try again.
    Alloc(AllocError),
    /// The frame is damaged.
    Torn,
}

/// Why a split moved nothing; both frames are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitError {
    /// Every entry's root holds nothing but one crossing, its prefix and its terminal.
    NothingToMove,
    /// The child frame has another size, or already holds something.
    ChildUnfit,
    /// The frame is damaged.
    Torn,
}

/// The first invariant that a frame breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// Byte offset in the frame of the structure that is wrong.
    pub offset: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl From<AllocError> for FrameError {
    fn from(error: AllocError) -> Self {
        Self::Alloc(error)
    }
}

impl From<Torn> for FrameError {
    fn from(_: Torn) -> Self {
        Self::Torn
    }
}

impl From<Torn> for SplitError {
    fn from(_: Torn) -> Self {
        Self::Torn
    }
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the frame holds bytes that no valid frame holds")
    }
}

impl fmt::Display for AllocError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfSpace { need, avail } => write!(f, "the frame has {avail} of {need} bytes needed"),
            Self::InvalidRequest => f.write_str("no frame of this size takes that"),
        }
    }
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfBounds => "the offset is outside the node region",
            Self::NotANode => "no node starts at the offset",
        })
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alloc(error) => error.fmt(f),
            Self::Torn => Torn.fmt(f),
        }
    }
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToMove => f.write_str("the frame holds nothing that a split could move"),
            Self::ChildUnfit => f.write_str("the child frame is not an empty frame of the same size"),
            Self::Torn => Torn.fmt(f),
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the frame", self.what, self.offset)
    }
}

impl std::error::Error for Torn {}
impl std::error::Error for AllocError {}
impl std::error::Error for FreeError {}
impl std::error::Error for FrameError {}
impl std::error::Error for SplitError {}
impl std::error::Error for VerifyError {}
