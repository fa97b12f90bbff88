//! Re-packing.
use crate::error::Torn;
use crate::frame::BlobFrame;
use std::sync::atomic::AtomicU64;

/// Memory that a re-pack or split works in: keep one per writer and use it again.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) words: Vec<AtomicU64>,
}

impl BlobFrame<'_> {
    /// Writes the frame anew without dead or free units, nodes in depth-first and leaves in key order.
    ///
    /// # Errors
    /// [`Torn`] if the frame is damaged; it is then unchanged.
    pub fn repack(&mut self, scratch: &mut Scratch) -> Result<(), Torn> {
        let _ = scratch;
        todo!()
    }
}
