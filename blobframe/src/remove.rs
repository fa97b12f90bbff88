//! Removal of a key, and the tidying after it.
use crate::error::Torn;
use crate::frame::BlobFrame;

/// What a removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remove {
    /// The key was here and is gone.
    Removed,
    /// The key is nowhere in the store.
    Absent,
    /// The key, if it exists, is in another frame.
    Crossing {
        /// That frame's number.
        child: u64,
        /// The entry of that frame to go on at.
        entry: u16,
        /// Bytes of the key that lie above the child's entry.
        consumed: usize,
    },
}

impl BlobFrame<'_> {
    /// Removes `key` (what is left of it below the crossings passed) from the subtree of `entry`.
    ///
    /// # Errors
    /// [`Torn`] if the frame is damaged.
    pub fn remove(&mut self, entry: u16, key: &[u8]) -> Result<Remove, Torn> {
        let _ = (entry, key);
        todo!()
    }
}
