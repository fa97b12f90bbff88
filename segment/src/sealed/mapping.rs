//! A sealed file's mapping as `Bytes`. It is the one place here that forms references to mapped
//! memory.
//!
//! **S1** The bytes of a sealed file do not change once its footer is durable: the writer is gone, no
//! code of the store opens such a file for writing, the file is its owner's alone (0600), and the
//! store's lock keeps a second store away. That is what lets `&[u8]` be formed over the mapping; an
//! attacker with the store's own rights is outside the contract (as for every mapping of a file).
//!
//! **S2** A mapping that reaches past the end of its file faults the process. The range is checked against
//! the file's length when it is mapped, and again before every look at it, so that a file cut
//! short is reported as damage. What cannot be checked is a slice handed out earlier.
#![expect(unsafe_code, reason = "hands out slices of a region")]

use bytes::Bytes;

use crate::storage::Region;
use crate::sync::Arc;

#[derive(Debug)]
struct Mapped(Arc<dyn Region>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        if self.0.is_empty() {
            return &[];
        }
        // SAFETY: the region is valid for its length as long as it lives, by its trait's contract;
        // the bytes do not change (S1).
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.0.len()) }
    }
}

/// The whole region; slices of it keep it mapped.
pub(super) fn bytes_over(region: Arc<dyn Region>) -> Bytes {
    Bytes::from_owner(Mapped(region))
}
