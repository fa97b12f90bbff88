//! Frames whose checksums are right and whose content is not: what only a newer version, a mistake
//! of ours or an enemy can write.

use super::*;

const STORE: [u8; 16] = [3; 16];
const AT: u64 = 640;

fn sample() -> Edit {
    let extent = Extent { kind: ExtentKind::Delta(2), offset: 1, length: 2, epoch: 3, checksum: 4 };
    let meta = SegmentMeta {
        id: 1,
        file_bytes: 2,
        records: 3,
        value_bytes: 4,
        live_records: 3,
        live_bytes: 4,
        cohort: 5,
        min_death: 6,
        max_death: 7,
        root: [8; 32],
    };
    Edit {
        epoch: Some(9),
        extents: vec![ExtentChange::Remove { frame: 5 }, ExtentChange::Set { frame: 6, extent }],
        segments: vec![
            SegmentChange::Add(meta),
            SegmentChange::Remove { id: 4 },
            SegmentChange::Live { id: 1, live_records: 1, live_bytes: 1 },
        ],
        pins: vec![
            PinChange::Remove { id: 2 },
            PinChange::Add(Pin { id: 1, name: Bytes::from_static(b"p"), epoch: 2 }),
        ],
        detached: vec![DetachedChange::Remove { frame: 1, entry: 2 }],
        clock_ms: Some(11),
        engine: Some(Bytes::from_static(b"opaque")),
    }
}

/// Makes the checksums of a frame right, whatever it holds.
fn reseal(frame: &mut [u8], sequence: u64) {
    let salt = salt(&STORE, sequence, AT);
    let body_crc = crc32c::crc32c_append(salt, &frame[FRAME_HEAD_BYTES..]);
    frame[24..28].copy_from_slice(&body_crc.to_le_bytes());
    let head_crc = around(salt, &frame[..FRAME_HEAD_BYTES], 4);
    frame[4..8].copy_from_slice(&head_crc.to_le_bytes());
}

fn decode(frame: &[u8]) -> Result<Edit, Refusal> {
    let (head, body) = frame.split_at(FRAME_HEAD_BYTES);
    let head = FrameHead::decode(head.try_into().unwrap(), &STORE, AT).expect("the head is sealed");
    assert!(head.covers(body));
    head.decode_body(body)
}

fn sealed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Edit, Refusal> {
    let mut frame = encode_frame(&sample(), false, 7, &STORE, AT).unwrap();
    change(&mut frame);
    reseal(&mut frame, 7);
    decode(&frame)
}

#[test]
fn what_is_encoded_is_decoded_the_same() {
    assert_eq!(sealed(|_| ()), Ok(sample()));
    let empty = encode_frame(&Edit::default(), true, 1, &STORE, AT).unwrap();
    assert_eq!((empty.len(), decode(&empty)), (FRAME_HEAD_BYTES, Ok(Edit::default())));
}

#[test]
fn a_head_is_bound_to_its_store_its_sequence_and_its_place() {
    let frame = encode_frame(&sample(), false, 7, &STORE, AT).unwrap();
    let mut head: [u8; FRAME_HEAD_BYTES] = frame[..FRAME_HEAD_BYTES].try_into().unwrap();
    assert!(FrameHead::decode(&head, &STORE, AT).is_some());
    assert!(FrameHead::decode(&head, &STORE, AT + 8).is_none());
    assert!(FrameHead::decode(&head, &[4; 16], AT).is_none());
    head[8] = 8;
    assert!(FrameHead::decode(&head, &STORE, AT).is_none());
}

#[test]
fn unknown_sections_flags_and_versions_are_newer_and_not_skipped() {
    let newer = |outcome| matches!(outcome, Err(Refusal::Newer(_)));
    assert!(newer(sealed(|frame| frame[FRAME_HEAD_BYTES] = 8)));
    assert!(newer(sealed(|frame| frame[FRAME_HEAD_BYTES + 1] = 0xff)));
    assert!(newer(sealed(|frame| frame[20] |= 2)));
    let mut header = encode_header(&STORE, 1);
    header[8] = 2;
    let crc = around(0, &header, 12);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(decode_header(&header, &STORE), Err(Refusal::Newer(_))));
}

#[test]
fn sections_that_repeat_overrun_or_leave_bytes_are_damage() {
    let damaged = |outcome| matches!(outcome, Err(Refusal::Damaged(_)));
    // The second section of the sample gets the tag of the first, with a content that fits neither.
    assert!(damaged(sealed(|frame| frame[FRAME_HEAD_BYTES + 16] = TAG_EPOCH.to_le_bytes()[0])));
    assert!(damaged(sealed(|frame| frame[FRAME_HEAD_BYTES + 4..][..4].fill(0xff))));
    assert!(damaged(sealed(|frame| frame[FRAME_HEAD_BYTES + 2] = 1)));
    assert!(damaged(sealed(|frame| frame.extend_from_slice(&[0; 8]))));
    assert!(damaged(sealed(|frame| *frame.last_mut().unwrap() = 1)));
    let twice = |frame: &mut Vec<u8>| {
        let epoch: Vec<u8> = frame[FRAME_HEAD_BYTES..][..16].to_vec();
        frame.truncate(FRAME_HEAD_BYTES);
        frame.extend_from_slice(&epoch.repeat(2));
        frame[22..24].copy_from_slice(&2u16.to_le_bytes());
    };
    assert!(damaged(sealed(twice)));
}

#[test]
fn no_content_under_a_right_checksum_panics() {
    let length = encode_frame(&sample(), false, 7, &STORE, AT).unwrap().len();
    for at in 20..length {
        for byte in [0, 1, 2, 3, 7, 0x7f, 0x80, 0xff] {
            let _ = sealed(|frame| frame[at] = byte);
            let _ = sealed(|frame| {
                frame[at] = byte;
                frame.truncate(at.max(FRAME_HEAD_BYTES));
            });
        }
    }
}
