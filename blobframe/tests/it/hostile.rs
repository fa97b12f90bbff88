//! Bytes of any kind through every way to read a frame, and through every change that a verified
//! frame takes: no panic, an end, and no lie that `verify` lets pass.

use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use treering_blobframe::{
    BlobFrame, BlobFrameRef, Cursor, Direction, Found, Scratch, Step, decode_image, encode_image, verify,
};

use crate::forest::{blank, id, inline};
use crate::random::Random;

fn read_everything(frame: BlobFrameRef<'_>, random: &mut Random) {
    for _ in 0..20 {
        let key = random.clashing_key(8);
        let entry = u16::try_from(random.below(2)).unwrap();
        if let Ok(Found::Leaf(at)) = frame.find(entry, &key)
            && let Ok(leaf) = frame.leaf(at)
        {
            let mut out = Vec::new();
            leaf.value_inline_to(&mut out);
            leaf.suffix_to(&mut out);
            let _ = (leaf.death(), leaf.pointer(), leaf.version());
        }
        let _ = frame.is_gap(entry, &key);
        for direction in [Direction::Forward, Direction::Backward] {
            let Ok(mut cursor) = Cursor::seek(frame, entry, Vec::new(), Bound::Included(&key), direction)
            else {
                continue;
            };
            for _ in 0..200 {
                match cursor.next(frame) {
                    Ok(Step::End) | Err(_) => break,
                    Ok(_) => {
                        assert!(cursor.path().len() <= frame.frame_bytes(), "a path longer than its frame");
                        cursor.skip_to_depth(usize::MAX - random.below(2));
                    }
                }
            }
        }
    }
    let _ = (frame.used_bytes(), frame.dead_bytes(), frame.fill(), frame.room(), frame.room_after_repack());
    let _ = encode_image(frame, &[0; 16]);
}

/// Changes may fail on a damaged frame; they neither panic nor go on for ever.
fn change_everything(words: &[AtomicU64], random: &mut Random) {
    let mut frame = BlobFrame::attach(words);
    let mut scratch = Scratch::default();
    for _ in 0..10 {
        let key = random.clashing_key(8);
        match random.below(4) {
            0 => drop(frame.remove(0, &key)),
            1 => drop(frame.repack(&mut scratch)),
            2 => {
                let other = blank(words.len() * 8);
                let mut child = BlobFrame::init(&other, &id(2), 1);
                let _ = frame.split_into(&mut child, &mut scratch);
                verify(child.as_ref()).ok();
            }
            _ => drop(frame.insert(0, &key, &inline(1, b"value"))),
        }
    }
}

fn full_frame(random: &mut Random) -> Box<[AtomicU64]> {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    while frame.insert(0, &random.clashing_key(7), &inline(1, b"some value")).is_ok() {}
    for _ in 0..10 {
        frame.remove(0, &random.clashing_key(4)).unwrap();
    }
    let other = blank(4096);
    let mut child = BlobFrame::init(&other, &id(2), 1);
    frame.split_into(&mut child, &mut Scratch::default()).unwrap();
    for _ in 0..5 {
        frame.remove(0, &random.clashing_key(4)).unwrap();
    }
    words
}

fn copy(words: &[AtomicU64]) -> Vec<AtomicU64> {
    words.iter().map(|word| AtomicU64::new(word.load(Ordering::Relaxed))).collect()
}

#[test]
fn words_of_noise_are_read_and_changed_without_a_panic() {
    let mut random = Random(11);
    for round in 0..300 {
        let words = blank(4096);
        if round % 2 == 0 {
            let _ = BlobFrame::init(&words, &id(1), 1);
        }
        for word in words.iter().skip(if round % 2 == 0 { 17 } else { 0 }) {
            // Small numbers make plausible kinds, counts and offsets.
            let noise = random.next() & random.next() & 0x01ff_01ff_01ff_0307;
            word.store(noise, Ordering::Relaxed);
        }
        // Noise that happens to be an empty root makes a valid, empty frame.
        assert!(
            verify(BlobFrameRef::attach(&words)).is_ok_and(|report| report.leaves == 0)
                == (words[17].load(Ordering::Relaxed) == 7 && round % 2 == 0)
        );
        read_everything(BlobFrameRef::attach(&words), &mut random);
        change_everything(&words, &mut random);
    }
}

#[test]
fn a_damaged_frame_is_refused_or_still_behaves() {
    let mut random = Random(12);
    let (mut refused, mut accepted) = (0, 0);
    for _ in 0..60 {
        let whole = full_frame(&mut random);
        verify(BlobFrameRef::attach(&whole)).unwrap();
        for _ in 0..60 {
            let words = copy(&whole);
            for _ in 0..1 + random.below(2) {
                let at = random.below(words.len());
                let old = words[at].load(Ordering::Relaxed);
                words[at].store(old ^ (1 << random.below(64)), Ordering::Relaxed);
            }
            let frame = BlobFrameRef::attach(&words);
            let verdict = verify(frame);
            read_everything(frame, &mut random);
            if verdict.is_err() {
                refused += 1;
                change_everything(&words, &mut random);
                continue;
            }
            accepted += 1;
            let mut frame = BlobFrame::attach(&words);
            for _ in 0..20 {
                let key = random.clashing_key(6);
                frame.remove(0, &key).unwrap();
                let inserted = frame.insert(0, &key, &inline(2, b"new"));
                assert!(!matches!(inserted, Err(treering_blobframe::FrameError::Torn)));
            }
            frame.repack(&mut Scratch::default()).unwrap();
            verify(frame.as_ref()).unwrap();
        }
    }
    assert!(refused > 300 && accepted > 300, "{refused} {accepted}");
}

#[test]
fn a_failed_repack_or_split_of_damage_leaves_the_words() {
    let mut random = Random(13);
    let whole = full_frame(&mut random);
    for at in 16..512 {
        let words = copy(&whole);
        words[at].store(words[at].load(Ordering::Relaxed) ^ 0x0101_0101_0101_0101, Ordering::Relaxed);
        let before: Vec<u64> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let mut frame = BlobFrame::attach(&words);
        if frame.repack(&mut Scratch::default()).is_err() {
            let after: Vec<u64> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
            assert_eq!(before, after);
        }
    }
}

#[test]
fn images_of_noise_are_refused() {
    let mut random = Random(14);
    let into = blank(4096);
    for len in [0, 1, 4095, 4096, 8192, 8193, 1 << 21] {
        let image = random.bytes(len);
        let checksum = treering_blobframe::image_checksum(&image);
        let expect = treering_blobframe::ImageExpect { number: 1, epoch: 1, checksum };
        assert!(decode_image(&image, &[0; 16], &expect, &into).is_err());
    }
}
