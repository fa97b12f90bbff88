//! `frame_image`: hostile frame images behind right checksums.
//!
//! The image of a frame that operations built is changed and mended, so that it is decoded, and the frame that
//! comes of it is held against `verify` like any other. Whatever decodes is, as an image, what it was.

use treering_blobframe::{
    BlobFrame, BlobFrameRef, ImageExpect, decode_image, encode_image, image_checksum, verify,
};

use crate::damage::{damage, overwrite};
use crate::frame::{EPOCH, ID, Model, SALT, agrees, build, cleared, exercise};
use crate::input::Input;
use crate::mend;

const CHANGES_MAX: usize = 8;
/// Where an image's words start, while it has one block.
const WORDS_AT: usize = 72;

/// Feeds one image.
pub fn frame_image(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let words = cleared(&mut input);
    let back = words.iter().map(|_| std::sync::atomic::AtomicU64::new(0)).collect::<Vec<_>>();
    let mut image = if input.byte().is_multiple_of(8) {
        input.bytes(3 * 4096).to_vec()
    } else {
        let mut frame = BlobFrame::init(&words, &ID, EPOCH);
        let model = build(&mut input, &mut frame);
        let image = encode_image(frame.as_ref(), &SALT);
        round_trip(&image, &back, &model);
        image
    };
    let mut probe = Input::new(input.bytes(64));
    for _ in 0..input.below(CHANGES_MAX) {
        match input.byte() % 4 {
            0 => damage(&mut input, &mut image),
            1 => overwrite(&mut input, &mut image[..WORDS_AT]),
            // The frame's own header and its first nodes.
            2 => {
                let end = image.len().min(WORDS_AT + 512);
                overwrite(&mut input, &mut image[WORDS_AT.min(end)..end]);
            }
            _ => overwrite(&mut input, &mut image),
        }
        image.resize(image.len().max(WORDS_AT), 0);
    }
    let raw = ImageExpect { number: ID.number, epoch: EPOCH, checksum: image_checksum(&image) };
    let _ = decode_image(&image, &SALT, &raw, &back);
    let checksum = mend::image(&mut image, &SALT, ID.number, EPOCH);
    let expect = ImageExpect { checksum, ..raw };
    if decode_image(&image, &SALT, &expect, &back).is_ok() {
        let frame = BlobFrameRef::attach(&back);
        if verify(frame).is_ok() {
            assert!(encode_image(frame, &SALT) == image, "a sound frame has two images");
        }
        exercise(&back, &mut probe);
    }
}

fn round_trip(image: &[u8], back: &[std::sync::atomic::AtomicU64], model: &Model) {
    let expect = ImageExpect { number: ID.number, epoch: EPOCH, checksum: image_checksum(image) };
    decode_image(image, &SALT, &expect, back).expect("an image comes back");
    agrees(BlobFrameRef::attach(back), model);
    let mut mended = image.to_vec();
    assert_eq!(mend::image(&mut mended, &SALT, ID.number, EPOCH), expect.checksum);
    assert!(mended == image, "mending changes a sound image");
}
