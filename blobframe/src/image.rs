//! Images.
use std::fmt;
use std::sync::atomic::AtomicU64;

use crate::frame::BlobFrameRef;

/// An image that is not the one expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageError {
    /// Byte offset in the image of what is wrong.
    pub offset: usize,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of the frame image", self.what, self.offset)
    }
}

impl std::error::Error for ImageError {}

/// What the image must be, as its extent in the manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageExpect {
    /// Frame number.
    pub number: u64,
    /// Epoch of the cut that wrote it.
    pub epoch: u64,
    /// [`image_checksum`] of the image.
    pub checksum: u32,
}

/// The frame at rest: a multiple of 4096 bytes.
#[must_use]
pub fn encode_image(frame: BlobFrameRef<'_>, salt: &[u8; 16]) -> Vec<u8> {
    let _ = (frame, salt);
    todo!()
}

/// The checksum by which an extent names its image; 0 if `image` is too short to be one.
#[must_use]
pub fn image_checksum(image: &[u8]) -> u32 {
    let _ = image;
    todo!()
}

/// Brings an image back into `into`, which has the frame's size; untouched on error.
///
/// # Errors
/// [`ImageError`].
pub fn decode_image(
    image: &[u8],
    salt: &[u8; 16],
    expect: &ImageExpect,
    into: &[AtomicU64],
) -> Result<(), ImageError> {
    let _ = (image, salt, expect, into);
    todo!()
}
