//! A frame at rest: this file is the format; what an image's frame means is in
//! [`layout`](crate::layout).
//!
//! An image is a multiple of 4096 bytes, little-endian, and holds the used words only:
//!
//! | byte | what |
//! |---|---|
//! | 0 | magic `TRFI` |
//! | 4 | u16 format (1), u16 log2 of the frame's bytes |
//! | 8 | u64 frame number |
//! | 16 | u64 epoch |
//! | 24 | u32 head words h: the frame's words 0..h (header, entry table, nodes) |
//! | 28 | u32 tail words t: the frame's last t words (leaves) |
//! | 32 | u32 blocks n of 4096 bytes |
//! | 36 | 28 zero bytes |
//! | 64 | n × u32: checksum of each block |
//! | 64 + 4n, up to a multiple of 8 | the h + t words, then zeros to the end of the last block |
//!
//! The checksum of block i is CRC32C over salt, frame number, epoch, i, and the block's 4096 bytes,
//! where block 0 counts its own checksum as zero. So block 0's checksum covers the header and all
//! other checksums, and through them every byte of the image; it is the image's checksum in the
//! manifest. The table always ends in block 0.
//!
//! An image is valid if and only if its length is 4096 n, its header is that of the expected frame
//! and agrees with n, all checksums match, and the bytes that are not words are zero. Whether the words
//! make a valid frame, [`verify`](crate::verify) says.

use std::fmt;
use std::sync::atomic::AtomicU64;

use crate::frame::BlobFrameRef;
use crate::layout::{FRAME_BYTES_MAX, HEADER_UNITS, UNIT, W_BOUNDS, W_EPOCH, W_NUMBER, u32_at};
use crate::words::{load, store};

const BLOCK: usize = 4096;
const MAGIC: [u8; 4] = *b"TRFI";
const FORMAT: u16 = 1;
const TABLE_AT: usize = 64;

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
    /// Epoch in the frame.
    pub epoch: u64,
    /// [`image_checksum`] of the image.
    pub checksum: u32,
}

/// Bytes of an image with `words` words, its blocks, and where the words start.
struct Extent {
    blocks: usize,
    words_at: usize,
}

impl Extent {
    fn of(words: usize) -> Self {
        let mut blocks = 1;
        loop {
            let words_at = (TABLE_AT + 4 * blocks).next_multiple_of(UNIT);
            let need = (words_at + words * UNIT).div_ceil(BLOCK);
            if need <= blocks {
                return Self { blocks, words_at };
            }
            blocks = need;
        }
    }
}

/// The frame at rest. REQUIRES: the frame is valid and nobody changes it meanwhile.
#[must_use]
pub fn encode_image(frame: BlobFrameRef<'_>, salt: &[u8; 16]) -> Vec<u8> {
    let units = frame.units();
    let head = frame.node_top().min(units);
    let tail = units - frame.leaf_bottom().clamp(head, units);
    let extent = Extent::of(head + tail);
    let mut image = Vec::with_capacity(extent.blocks * BLOCK);
    image.extend_from_slice(&MAGIC);
    image.extend_from_slice(&FORMAT.to_le_bytes());
    let log2 = u16::try_from(frame.frame_bytes().trailing_zeros()).unwrap_or(0);
    image.extend_from_slice(&log2.to_le_bytes());
    image.extend_from_slice(&frame.number().to_le_bytes());
    image.extend_from_slice(&frame.epoch().to_le_bytes());
    for count in [head, tail, extent.blocks] {
        image.extend_from_slice(&u32::try_from(count).unwrap_or(0).to_le_bytes());
    }
    image.resize(extent.words_at, 0);
    for unit in (0..head).chain(units - tail..units) {
        image.extend_from_slice(&load(frame.words, unit).to_le_bytes());
    }
    image.resize(extent.blocks * BLOCK, 0);
    let seed = Seed { salt, number: frame.number(), epoch: frame.epoch() };
    for block in (0..extent.blocks).rev() {
        let sum = seed.checksum(block, &image[block * BLOCK..(block + 1) * BLOCK]);
        image[TABLE_AT + 4 * block..][..4].copy_from_slice(&sum.to_le_bytes());
    }
    image
}

/// What the blocks' checksums are salted with.
struct Seed<'a> {
    salt: &'a [u8; 16],
    number: u64,
    epoch: u64,
}

impl Seed<'_> {
    fn checksum(&self, index: usize, block: &[u8]) -> u32 {
        let mut sum = crc32c::crc32c(self.salt);
        for value in [self.number, self.epoch, index as u64] {
            sum = crc32c::crc32c_append(sum, &value.to_le_bytes());
        }
        if index > 0 {
            return crc32c::crc32c_append(sum, block);
        }
        sum = crc32c::crc32c_append(sum, &block[..TABLE_AT]);
        sum = crc32c::crc32c_append(sum, &[0; 4]);
        crc32c::crc32c_append(sum, &block[TABLE_AT + 4..])
    }
}

/// The checksum by which an extent names its image; 0 if `image` is too short to be one.
#[must_use]
pub fn image_checksum(image: &[u8]) -> u32 {
    if image.len() < BLOCK { 0 } else { u32_from(image, TABLE_AT) }
}

fn u32_from(image: &[u8], at: usize) -> u32 {
    image.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_from(image: &[u8], at: usize) -> u64 {
    image.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Brings an image back into `into`, which has the frame's size; untouched on error. The frame it
/// makes is formatted and has the expected number, epoch and regions; run
/// [`verify`](crate::verify) where the writer is not trusted.
///
/// # Errors
/// [`ImageError`] at the first byte range that makes the image invalid.
pub fn decode_image(
    image: &[u8],
    salt: &[u8; 16],
    expect: &ImageExpect,
    into: &[AtomicU64],
) -> Result<(), ImageError> {
    let (head, tail, words_at) = check_image(image, salt, expect, into.len())?;
    let words = &image[words_at..words_at + (head + tail) * UNIT];
    let (chunks, _) = words.as_chunks::<UNIT>();
    let gap = into.len() - tail;
    for (unit, chunk) in (0..head).chain(gap..into.len()).zip(chunks) {
        store(into, unit, u64::from_le_bytes(*chunk));
    }
    for unit in head..gap {
        store(into, unit, 0);
    }
    Ok(())
}

/// Head words, tail words and where they start, of a valid image.
fn check_image(
    image: &[u8],
    salt: &[u8; 16],
    expect: &ImageExpect,
    units: usize,
) -> Result<(usize, usize, usize), ImageError> {
    let wrong = |offset, what| Err(ImageError { offset, what });
    if image.len() < BLOCK || !image.len().is_multiple_of(BLOCK) || image.len() > 2 * FRAME_BYTES_MAX {
        return wrong(0, "no frame image has this length");
    }
    let blocks = image.len() / BLOCK;
    let seed = Seed { salt, number: expect.number, epoch: expect.epoch };
    if u32_from(image, TABLE_AT) != expect.checksum {
        return wrong(TABLE_AT, "the image is not the one that the manifest names");
    }
    for index in 0..blocks {
        let sum = seed.checksum(index, &image[index * BLOCK..(index + 1) * BLOCK]);
        if sum != u32_from(image, TABLE_AT + 4 * index) {
            return wrong(index * BLOCK, "a block's checksum does not match");
        }
    }
    let log2 = u16::try_from((units * UNIT).trailing_zeros()).unwrap_or(0);
    let format = [&MAGIC[..], &FORMAT.to_le_bytes(), &log2.to_le_bytes()].concat();
    if image[..8] != format || u64_from(image, 8) != expect.number || u64_from(image, 16) != expect.epoch {
        return wrong(0, "the header is not that of this frame");
    }
    let (head, tail) = (u32_from(image, 24) as usize, u32_from(image, 28) as usize);
    let extent = Extent::of(head + tail);
    let agrees = head >= HEADER_UNITS && head + tail <= units && extent.blocks == blocks;
    if !agrees || u32_from(image, 32) as usize != blocks {
        return wrong(24, "the lengths do not agree");
    }
    let end = extent.words_at + (head + tail) * UNIT;
    let (spare, pad) = (&image[36..TABLE_AT], &image[end..]);
    if spare.iter().chain(pad).any(|&byte| byte != 0) {
        return wrong(36, "bytes that must be zero are not");
    }
    let word = |unit: usize| u64_from(image, extent.words_at + unit * UNIT);
    let bounds = word(W_BOUNDS);
    let regions = u32_at(bounds, 0) as usize == head && u32_at(bounds, 32) as usize == units - tail;
    let named = word(W_NUMBER) == expect.number && word(W_EPOCH) == expect.epoch;
    if !regions || !named || word(0) != crate::frame::magic_word(units) {
        return wrong(extent.words_at, "the frame's header does not agree with the image's");
    }
    Ok((head, tail, extent.words_at))
}

const _: () = assert!(TABLE_AT + 4 * (2 * FRAME_BYTES_MAX / BLOCK) < BLOCK, "the table ends in block 0");
