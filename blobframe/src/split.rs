//! Splitting.
use crate::build::Scratch;
use crate::error::SplitError;
use crate::frame::BlobFrame;

/// What a split moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitOutcome {
    /// Bytes that left the frame.
    pub moved_bytes: usize,
    /// Leaves that left the frame.
    pub moved_leaves: usize,
    /// Whether several edges of one node went, behind a GROUP crossing.
    pub group: bool,
}

impl BlobFrame<'_> {
    /// Moves a part of this frame to entry 0 of `child` (a new, empty frame of the same size) and
    /// leaves a crossing. Both frames are packed afterwards.
    ///
    /// # Errors
    /// [`SplitError`]; both frames are then as before.
    pub fn split_into(
        &mut self,
        child: &mut BlobFrame<'_>,
        scratch: &mut Scratch,
    ) -> Result<SplitOutcome, SplitError> {
        let _ = (child, scratch);
        todo!()
    }
}
