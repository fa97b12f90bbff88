//! Verification.
use crate::error::VerifyError;
use crate::frame::BlobFrameRef;

/// What a valid frame holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameReport {
    /// Leaves.
    pub leaves: usize,
    /// Inner nodes.
    pub nodes: usize,
    /// Crossings to other frames.
    pub crossings: usize,
    /// Bytes in use.
    pub used_bytes: usize,
    /// Bytes dead or on free lists.
    pub dead_bytes: usize,
}

/// Proves every invariant of a frame from untrusted bytes.
///
/// # Errors
/// The first invariant found broken.
pub fn verify(frame: BlobFrameRef<'_>) -> Result<FrameReport, VerifyError> {
    let _ = frame;
    todo!()
}
