//! The record's bytes: golden examples, round trips, and what is refused.

use proptest::prelude::*;

use super::*;

const STORE: [u8; 16] = *b"0123456789abcdef";

fn encode(draft: &Draft<'_>, lsn: Lsn, marks: Option<Marks>) -> Vec<u8> {
    let prepared = draft.prepare(marks, 2);
    let expected = prepared.len();
    let bytes = prepared.with_parts(lsn, salt(&STORE), |parts| parts.concat());
    assert_eq!(bytes.len(), expected);
    assert!(expected <= draft.encoded_len());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_put_has_the_documented_bytes() {
    let mut draft = Draft::put(7, b"key", b"value").unwrap();
    (draft.epoch, draft.time_ms, draft.staging, draft.death) = (3, 0x11, Some(0x22), Some(0x33));
    let marks = Marks { durable_lsn: 0x44, durable_edit: 0x55 };
    assert_eq!(
        hex(&encode(&draft, 0x1000, Some(marks))),
        include_str!("../../tests/golden/put.hex").trim_end()
    );
}

#[test]
fn a_batch_has_the_documented_bytes() {
    let mut body = BatchBody::new();
    body.put(1, b"a", b"xyz", true, Some(9)).unwrap();
    body.put_pointer(2, b"b", &PayloadPointer { segment: 1, offset: 2, length: 3, crc: 4 }, None).unwrap();
    body.delete(3, b"").unwrap();
    let mut draft = Draft::batch(&body).unwrap();
    draft.staging = Some(64);
    assert_eq!(hex(&encode(&draft, 0x2000, None)), include_str!("../../tests/golden/batch.hex").trim_end());
}

#[test]
fn a_long_body_checksummed_ahead_gives_the_same_bytes_as_one_pass() {
    for len in [4000, 4096, 4099, 10_000, 100_003] {
        let value = vec![0xa5; len];
        let draft = Draft::put(1, b"k", &value).unwrap();
        let bytes = encode(&draft, 8192, None);
        assert_eq!(record_crc(salt(&STORE), &bytes), u32_at(&bytes, 12), "{len}");
    }
}

#[test]
fn filler_is_a_valid_void_record() {
    for len in [48, 56, 4096] {
        let mut bytes = vec![0xff; len];
        filler_into(&mut bytes, 800, 2, salt(&STORE));
        let record = Record::decode(&bytes, 800, salt(&STORE)).unwrap();
        assert_eq!((record.kind, record.end(), record.ops().count()), (Kind::Filler, 800 + len as u64, 0));
    }
    filler_into(&mut [0xff; 8], 800, 2, 1);
}

#[test]
fn another_address_or_store_is_refused() {
    let bytes = encode(&Draft::put(1, b"k", b"v").unwrap(), 8192, None);
    assert!(Record::decode(&bytes, 8192, salt(&STORE)).is_some());
    assert!(Record::decode(&bytes, 8200, salt(&STORE)).is_none());
    assert!(Record::decode(&bytes, 8192, salt(&[0; 16])).is_none());
}

#[test]
fn every_prefix_and_every_flip_is_refused() {
    let mut bytes = encode(&Draft::put(1, b"key", b"some value").unwrap(), 8192, None);
    for len in 0..bytes.len() {
        assert!(Record::decode(&bytes[..len], 8192, salt(&STORE)).is_none(), "{len}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(Record::decode(&bytes, 8192, salt(&STORE)).is_none(), "byte {at} bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_batch_takes_so_many_operations_and_no_more() {
    let mut body = BatchBody::new();
    for _ in 0..MAX_BATCH_OPERATIONS {
        body.delete(1, b"").unwrap();
    }
    assert!(body.delete(1, b"").is_err());
    assert_eq!(body.len(), MAX_BATCH_OPERATIONS);
}

/// Puts a right checksum into whatever claims to be a record, so that the decoder has to look at the rest.
fn repair(bytes: &mut [u8], lsn: Lsn) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let len = u32::try_from(bytes.len() & !7).unwrap();
    bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[2] = VERSION;
    bytes[8..12].copy_from_slice(&len.to_le_bytes());
    bytes[16..24].copy_from_slice(&lsn.to_le_bytes());
    let crc = record_crc(salt(&STORE), &bytes[..len as usize]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #[test]
    fn puts_come_back_as_they_went(
        key in prop::collection::vec(any::<u8>(), 0..40),
        value in prop::collection::vec(any::<u8>(), 0..6000),
        staging in any::<Option<u64>>(),
        death in any::<Option<u64>>(),
        marked in any::<bool>(),
        (tree, epoch, time_ms) in any::<(u32, u64, u64)>(),
    ) {
        let mut draft = Draft::put(tree, &key, &value).unwrap();
        (draft.epoch, draft.time_ms, draft.staging, draft.death) = (epoch, time_ms, staging, death);
        let marks = marked.then_some(Marks { durable_lsn: 5, durable_edit: 6 });
        let bytes = encode(&draft, 4096, marks);
        let record = Record::decode(&bytes, 4096, salt(&STORE)).unwrap();
        prop_assert_eq!((record.epoch, record.time_ms, record.marks), (epoch, time_ms, marks));
        let ops: Vec<_> = record.ops().collect();
        let change = Change::Put { value: &value, staging };
        prop_assert_eq!(ops, vec![Operation { tree, key: &key, change, death }]);
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_run_for_ever(
        mut bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0..9_u8,
        flags in any::<u8>(),
    ) {
        if bytes.len() > HEADER_BYTES {
            bytes[3] = kind;
            bytes[4] = flags | 0x18;
            bytes[5] &= 7;
            bytes[6..8].fill(0);
        }
        repair(&mut bytes, 4096);
        if let Some(record) = Record::decode(&bytes, 4096, salt(&STORE)) {
            prop_assert!(record.ops().count() <= bytes.len());
            prop_assert!(record.end() <= 4096 + bytes.len() as u64);
        }
    }
}
