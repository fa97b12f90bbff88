//! The formats: golden files, round trips, and every bit of an image covered.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use treering_blobframe::{
    BlobFrame, BlobFrameRef, ImageExpect, Leaf, LeafPointer, LeafValue, STAGING, Scratch, decode_image,
    encode_image, image_checksum, verify,
};

use crate::forest::{blank, id, inline};
use crate::random::Random;

const SALT: [u8; 16] = *b"golden store id.";

/// A frame with every kind of leaf, an inner node of each small kind, free, dead and crossing.
fn sample() -> Box<[std::sync::atomic::AtomicU64]> {
    let (words, other) = (blank(4096), blank(4096));
    let mut frame = BlobFrame::init(&words, &id(0x0102_0304), 0x0A0B);
    let staged = LeafPointer { segment: STAGING, offset: 0x1122_3344_5566, length: 5000, crc: 0xC0FF_EE00 };
    let sealed = LeafPointer { segment: 3, ..staged };
    frame.insert(0, b"", &inline(1, b"the empty key")).unwrap();
    frame
        .insert(0, b"usr/bin/cc", &Leaf { version: 2, death: Some(99), value: LeafValue::Pointer(staged) })
        .unwrap();
    frame
        .insert(0, b"usr/bin/ld", &Leaf { version: 3, death: None, value: LeafValue::Pointer(sealed) })
        .unwrap();
    for byte in 0..20u8 {
        frame.insert(0, &[b'w', byte], &inline(4, &[byte])).unwrap();
        frame.insert(0, &[b'g', 2 * byte], &inline(4, &[byte; 50])).unwrap();
    }
    let mut child = BlobFrame::init(&other, &id(7), 0x0A0B);
    frame.split_into(&mut child, &mut Scratch::default()).unwrap();
    frame.remove(0, b"usr/bin/ld").unwrap();
    frame.remove(0, b"w\x05").unwrap();
    frame.insert(0, b"usr", &Leaf { version: 5, death: Some(7), value: LeafValue::Inline(b"dir") }).unwrap();
    words
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (line, chunk) in bytes.chunks(32).enumerate() {
        if chunk.iter().any(|&byte| byte != 0) {
            write!(out, "{:05x}", line * 32).unwrap();
            chunk.iter().for_each(|byte| write!(out, " {byte:02x}").unwrap());
            out.push('\n');
        }
    }
    out
}

#[test]
fn the_image_of_a_fixed_frame_is_the_golden_one() {
    let words = sample();
    verify(BlobFrameRef::attach(&words)).unwrap();
    let image = encode_image(BlobFrameRef::attach(&words), &SALT);
    let found = hex(&image);
    assert!(found == include_str!("../golden/frame.hex"), "the format has changed:\n{found}");
}

#[test]
fn an_image_comes_back_word_for_word() {
    for bytes in [4096, 64 << 10, 512 << 10] {
        let words = blank(bytes);
        let mut frame = BlobFrame::init(&words, &id(9), 1);
        let mut random = Random(bytes as u64);
        while frame.insert(0, &random.bytes(9), &inline(1, &[5; 80])).is_ok() {}
        frame.set_epoch(44);
        let image = encode_image(*frame, &SALT);
        assert!(image.len().is_multiple_of(4096) && image.len() <= bytes + 4096);
        let expect = ImageExpect { number: 9, epoch: 44, checksum: image_checksum(&image) };
        let back = blank(bytes);
        back.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        decode_image(&image, &SALT, &expect, &back).unwrap();
        assert_eq!(verify(BlobFrameRef::attach(&back)), verify(*frame));
        assert_eq!(encode_image(BlobFrameRef::attach(&back), &SALT), image);
    }
}

#[test]
fn every_flipped_bit_of_an_image_is_found() {
    let words = sample();
    let mut image = encode_image(BlobFrameRef::attach(&words), &SALT);
    let expect = ImageExpect { number: 0x0102_0304, epoch: 0x0A0B, checksum: image_checksum(&image) };
    let into = blank(4096);
    decode_image(&image, &SALT, &expect, &into).unwrap();
    let into = blank(4096);
    for bit in 0..image.len() * 8 {
        image[bit / 8] ^= 1 << (bit % 8);
        let error = decode_image(&image, &SALT, &expect, &into).unwrap_err();
        assert!(error.offset <= bit / 8, "bit {bit}: {error}");
        image[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(into.iter().all(|word| word.load(Ordering::Relaxed) == 0), "a refused image leaves no trace");
}

#[test]
fn an_image_of_another_store_frame_epoch_or_size_is_refused() {
    let words = sample();
    let image = encode_image(BlobFrameRef::attach(&words), &SALT);
    let right = ImageExpect { number: 0x0102_0304, epoch: 0x0A0B, checksum: image_checksum(&image) };
    let into = blank(4096);
    let refused = |salt, expect: &ImageExpect| decode_image(&image, salt, expect, &into).is_err();
    assert!(refused(b"another store id", &right));
    assert!(refused(&SALT, &ImageExpect { number: 1, ..right }));
    assert!(refused(&SALT, &ImageExpect { epoch: 1, ..right }));
    assert!(refused(&SALT, &ImageExpect { checksum: 1, ..right }));
    assert!(decode_image(&image, &SALT, &right, &blank(8192)).is_err());
    assert!(!refused(&SALT, &right));
}
