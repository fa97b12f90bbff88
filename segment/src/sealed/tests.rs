//! Tests of sealed segments in memory: the golden file, answers against a model, every byte flipped.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;

use super::format::{FOOTER_BYTES, HEADER_BYTES};
use super::{
    RecordIn, RecordPointer, SegmentError, SegmentReader, SegmentSummary, SegmentWriter, file_name, id_of,
};
use crate::memory::MemoryStorage;
use crate::storage::{Access, Storage, StorageFile};

const STORE: [u8; 16] = *b"store identity!!";
const ID: u64 = 0x2A;
const GOLDEN: &str = include_str!("../../tests/golden/sealed-v1.hex");

fn record<'a>(key: &'a [u8], value: &'a [u8], lsn: u64, death_ms: Option<u64>) -> RecordIn<'a> {
    RecordIn { key, value, lsn, written_ms: lsn * 10, death_ms }
}

/// A small segment with one of everything.
fn small(storage: &dyn Storage) -> SegmentSummary {
    let mut writer = SegmentWriter::create(storage, ID, STORE, 7).unwrap();
    writer.append(&record(b"", b"the empty key", 5, None)).unwrap();
    writer.append(&record(b"a\0b", b"", 3, Some(900))).unwrap();
    writer.append_tombstone(b"dir/gone", 9, 90, None).unwrap();
    writer.append(&record(b"dir/name", &[0xAB; 40], 4, Some(500))).unwrap();
    writer.finish().unwrap()
}

/// Value, and where it was put, by key.
type Model = BTreeMap<Vec<u8>, (Vec<u8>, RecordPointer)>;

/// Keys with their values.
type Answers = Vec<(Vec<u8>, Vec<u8>)>;

fn many(storage: &dyn Storage, count: u32) -> (SegmentSummary, Model) {
    let mut writer = SegmentWriter::create(storage, ID, STORE, 0).unwrap();
    let mut model = BTreeMap::new();
    for i in 0..count {
        let key = format!("path/{:05}", i * 2).into_bytes();
        let value = vec![i.to_le_bytes()[0]; (i as usize * 37) % 500];
        let pointer = writer.append(&record(&key, &value, u64::from(i), Some(u64::from(i) + 1))).unwrap();
        model.insert(key, (value, pointer));
    }
    (writer.finish().unwrap(), model)
}

fn open(storage: &dyn Storage) -> Result<SegmentReader, SegmentError> {
    SegmentReader::open(storage, ID, STORE)
}

fn file(storage: &dyn Storage) -> Arc<dyn StorageFile> {
    storage.open(&file_name(ID), Access::ReadWrite).unwrap()
}

fn bytes_of(storage: &dyn Storage) -> Vec<u8> {
    let file = file(storage);
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn storage_with(bytes: &[u8]) -> MemoryStorage {
    let storage = MemoryStorage::new();
    storage.create(&file_name(ID)).unwrap().write_all_at(bytes, 0).unwrap();
    storage
}

fn is_damage(error: &SegmentError) -> bool {
    matches!(error, SegmentError::Damage(damage) if damage.file.to_string_lossy().ends_with(&file_name(ID)))
}

#[test]
fn names_and_ids_are_one_to_one() {
    assert_eq!(file_name(0x2A), "segment-000000000000002a");
    assert_eq!(id_of("segment-000000000000002a"), Some(0x2A));
    for name in ["segment-2a", "segment-000000000000002A", "segment-+00000000000002a", "log-000000000000002a"]
    {
        assert_eq!(id_of(name), None, "{name}");
    }
}

/// The format's bytes. If this fails, the format has changed: its version and the file must, too.
#[test]
fn golden_file_is_written_byte_for_byte() {
    let storage = MemoryStorage::new();
    small(&storage);
    let hex: Vec<String> =
        bytes_of(&storage).chunks(32).map(|line| line.iter().map(|b| format!("{b:02x}")).collect()).collect();
    assert_eq!(hex.join("\n").trim(), GOLDEN.trim());
}

#[test]
fn summary_says_what_was_written() {
    let storage = MemoryStorage::new();
    let summary = small(&storage);
    assert_eq!((summary.records, summary.tombstones, summary.value_bytes), (4, 1, 53));
    assert_eq!((summary.id, summary.cohort, summary.store_id), (ID, 7, STORE));
    assert_eq!(summary.lsn_range, Some((3, 9)));
    assert_eq!(summary.written_range, Some((30, 90)));
    assert_eq!((summary.min_death, summary.max_death), (Some(500), None));
    let (first, last) = summary.key_range.clone().unwrap();
    assert_eq!((&first[..], &last[..]), (&b""[..], &b"dir/name"[..]));
    assert_eq!(summary.file_bytes, bytes_of(&storage).len() as u64);
    let reader = open(&storage).unwrap();
    assert_eq!(reader.summary(), &summary);
    assert_eq!(reader.recompute_root().unwrap(), summary.merkle_root);
    reader.verify().unwrap();
}

#[test]
fn segment_without_records_is_whole() {
    let storage = MemoryStorage::new();
    let summary = SegmentWriter::create(&storage, ID, STORE, 0).unwrap().finish().unwrap();
    assert_eq!((summary.records, summary.key_range.clone(), summary.max_death), (0, None, None));
    let reader = open(&storage).unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.summary(), &summary);
    assert!(reader.get(b"").unwrap().is_none());
    assert_eq!(reader.iter().count(), 0);
}

#[test]
fn segment_is_dead_only_when_its_last_record_is() {
    let storage = MemoryStorage::new();
    let (summary, _) = many(&storage, 10);
    assert_eq!((summary.min_death, summary.max_death), (Some(1), Some(10)));
}

#[test]
fn every_key_is_found_and_no_other() {
    let storage = MemoryStorage::new();
    let (summary, model) = many(&storage, 2000);
    let reader = open(&storage).unwrap();
    assert_eq!(summary.records, 2000);
    for (key, (value, pointer)) in &model {
        let found = reader.get(key).unwrap().unwrap();
        assert_eq!((&found.key[..], &found.value().unwrap()[..]), (&key[..], &value[..]));
        assert_eq!(found.pointer, *pointer);
        let payload = reader.read_payload(pointer.offset, pointer.length, pointer.crc).unwrap();
        assert_eq!(payload, *value);
    }
    for i in 0..2000 {
        assert!(reader.get(format!("path/{:05}", i * 2 + 1).as_bytes()).unwrap().is_none());
    }
    reader.verify().unwrap();
}

#[test]
fn payloads_are_slices_of_one_mapping_and_outlive_the_file() {
    let storage = MemoryStorage::new();
    let (_, model) = many(&storage, 300);
    let reader = open(&storage).unwrap();
    let (_, pointer) = &model[&b"path/00100"[..]];
    let one = reader.read_payload(pointer.offset, pointer.length, pointer.crc).unwrap();
    let two = reader.get(b"path/00100").unwrap().unwrap().value().unwrap();
    assert_eq!(one.as_ptr(), two.as_ptr());
    storage.remove(&file_name(ID)).unwrap();
    drop(reader);
    assert_eq!(one, model[&b"path/00100"[..]].0);
}

#[test]
fn index_has_an_entry_for_every_32_records_and_every_4096_bytes() {
    for (value, entries) in [(&[][..], 2), (&[0; 1500], 22)] {
        let storage = MemoryStorage::new();
        let mut writer = SegmentWriter::create(&storage, ID, STORE, 0).unwrap();
        for i in 0..64_u8 {
            writer.append(&record(&[i], value, 1, None)).unwrap();
        }
        writer.finish().unwrap();
        assert_eq!(open(&storage).unwrap().open.index_entries(), entries);
    }
}

#[test]
fn tombstones_are_told_from_empty_values() {
    let storage = MemoryStorage::new();
    small(&storage);
    let reader = open(&storage).unwrap();
    assert!(reader.get(b"dir/gone").unwrap().unwrap().tombstone);
    let empty = reader.get(b"a\0b").unwrap().unwrap();
    assert_eq!((empty.tombstone, empty.value().unwrap().len(), empty.death_ms), (false, 0, Some(900)));
}

#[test]
fn writer_refuses_order_and_size_and_goes_on() {
    let storage = MemoryStorage::new();
    let mut writer = SegmentWriter::create(&storage, ID, STORE, 0).unwrap();
    writer.append(&record(b"b", b"1", 1, None)).unwrap();
    for key in [&b"b"[..], b"a", b""] {
        assert!(matches!(writer.append(&record(key, b"", 2, None)), Err(SegmentError::KeyOutOfOrder)));
    }
    let long = vec![b'z'; super::MAX_KEY_BYTES + 1];
    let refused = writer.append(&record(&long, b"", 2, None));
    assert!(matches!(refused, Err(SegmentError::KeyTooLarge { size: 65_536, max: 65_535 })));
    // Zeroed and never touched, so that it takes no memory: its length alone is looked at.
    let huge = vec![0; super::MAX_VALUE_BYTES + 1];
    let refused = writer.append(&record(b"c", &huge, 2, None));
    assert!(matches!(refused, Err(SegmentError::ValueTooLarge { max: super::MAX_VALUE_BYTES, .. })));
    writer.append(&record(&long[1..], b"2", 2, None)).unwrap();
    assert_eq!(writer.finish().unwrap().records, 2);
    let reader = open(&storage).unwrap();
    assert_eq!(reader.get(&long[1..]).unwrap().unwrap().value().unwrap(), &b"2"[..]);
    assert!(SegmentWriter::create(&storage, ID, STORE, 0).is_err(), "ids are not reused");
}

#[test]
fn abandoned_segment_leaves_no_file() {
    let storage = MemoryStorage::new();
    let writer = SegmentWriter::create(&storage, ID, STORE, 0).unwrap();
    writer.abandon().unwrap();
    assert!(storage.list().unwrap().is_empty());
}

#[test]
fn dropped_unfinished_segment_leaves_no_file_and_a_finished_one_stays() {
    let storage = MemoryStorage::new();
    drop(SegmentWriter::create(&storage, ID, STORE, 0).unwrap());
    assert!(storage.list().unwrap().is_empty());
    SegmentWriter::create(&storage, ID, STORE, 0).unwrap().finish().unwrap();
    assert_eq!(storage.list().unwrap().len(), 1);
}

#[test]
fn values_larger_than_a_run_are_written_whole() {
    let storage = MemoryStorage::new();
    let mut writer = SegmentWriter::create(&storage, ID, STORE, 0).unwrap();
    let value: Vec<u8> = (0..1_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    for (lsn, key) in [b"a", b"b", b"c"].into_iter().enumerate() {
        writer.append(&record(key, &value[..lsn * 400_000], lsn as u64, None)).unwrap();
    }
    writer.finish().unwrap();
    let reader = open(&storage).unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.get(b"c").unwrap().unwrap().value().unwrap(), value[..800_000]);
}

#[test]
fn value_of_many_write_buffers_comes_back() {
    let storage = MemoryStorage::new();
    let mut writer = SegmentWriter::create(&storage, ID, STORE, 0).unwrap();
    let value = vec![0x5A; (32 << 20) + 3];
    writer.append(&record(b"k", &value, 1, None)).unwrap();
    writer.append(&record(b"l", b"behind it", 2, None)).unwrap();
    writer.finish().unwrap();
    let reader = open(&storage).unwrap();
    assert!(reader.get(b"k").unwrap().unwrap().value().unwrap() == value);
    assert_eq!(reader.get(b"l").unwrap().unwrap().value().unwrap(), &b"behind it"[..]);
}

/// Opens and exercises everything; the answers, or the first error.
fn exercise(storage: &dyn Storage) -> Result<Answers, SegmentError> {
    let reader = open(storage)?;
    let mut all = Vec::new();
    for record in &reader {
        let record = record?;
        all.push((record.key.to_vec(), record.value()?.to_vec()));
    }
    for key in [&b""[..], b"a\0b", b"dir/name"] {
        let found = reader.get(key)?.expect("a key that was written, or an error");
        found.value()?;
    }
    reader.recompute_root()?;
    Ok(all)
}

#[test]
fn every_flipped_byte_is_found_by_verify_and_never_gives_wrong_answers() {
    let storage = MemoryStorage::new();
    small(&storage);
    let intact = bytes_of(&storage);
    let answers = exercise(&storage).unwrap();
    for at in 0..intact.len() {
        for change in [0x01, 0x80, 0xFF, intact[at]] {
            if change == 0 {
                continue;
            }
            let mut bytes = intact.clone();
            bytes[at] ^= change;
            let storage = storage_with(&bytes);
            let verified = open(&storage).and_then(|reader| reader.verify());
            match verified.unwrap_err() {
                SegmentError::Damage(damage) => assert!(damage.offset <= at as u64, "byte {at}: {damage}"),
                other => panic!("byte {at} changed by {change:#x}: {other}"),
            }
            match exercise(&storage) {
                Ok(same) => assert_eq!(same, answers, "byte {at} changed by {change:#x}"),
                Err(error) => assert!(is_damage(&error), "byte {at}: {error}"),
            }
        }
    }
}

#[test]
fn file_of_any_other_length_is_refused() {
    let storage = MemoryStorage::new();
    small(&storage);
    let intact = bytes_of(&storage);
    for len in 0..intact.len() {
        assert!(is_damage(&open(&storage_with(&intact[..len])).unwrap_err()), "{len} bytes");
    }
    let mut longer = intact.clone();
    longer.push(0);
    assert!(is_damage(&open(&storage_with(&longer)).unwrap_err()));
    longer.extend_from_slice(&intact[..FOOTER_BYTES - 1]);
    longer.extend_from_slice(&intact[intact.len() - FOOTER_BYTES..]);
    assert!(is_damage(&open(&storage_with(&longer)).unwrap_err()));
}

#[test]
fn file_of_another_store_or_number_is_refused() {
    let storage = MemoryStorage::new();
    small(&storage);
    assert!(is_damage(&SegmentReader::open(&storage, ID, [0; 16]).unwrap_err()));
    storage.rename(&file_name(ID), &file_name(ID + 1)).unwrap();
    let error = SegmentReader::open(&storage, ID + 1, STORE).unwrap_err();
    assert!(error.to_string().contains("another segment"), "{error}");
}

#[test]
fn newer_format_is_told_from_damage() {
    let storage = MemoryStorage::new();
    small(&storage);
    let mut bytes = bytes_of(&storage);
    bytes[4] = 2;
    let crc = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let error = open(&storage_with(&bytes)).unwrap_err();
    assert!(matches!(error, SegmentError::NewerFormat { version: 2, .. }), "{error}");
}

/// Damage that only checksums made to fit would hide from the checksums.
#[test]
fn footer_that_does_not_describe_the_records_is_found() {
    let storage = MemoryStorage::new();
    small(&storage);
    let intact = bytes_of(&storage);
    let footer = intact.len() - FOOTER_BYTES;
    let salt = super::format::Identity { id: ID, store_id: STORE }.salt();
    // All but the number of probes: a filter that passes every key is as good with fewer.
    for at in (0..172).chain(173..FOOTER_BYTES - 4) {
        let mut bytes = intact.clone();
        bytes[footer + at] ^= 1;
        let crc = crc32c::crc32c_append(salt, &bytes[footer..footer + FOOTER_BYTES - 4]);
        bytes[footer + FOOTER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let result = open(&storage_with(&bytes)).and_then(|reader| reader.verify());
        assert!(result.is_err_and(|e| is_damage(&e)), "footer byte {at}");
    }
}

#[test]
fn index_that_does_not_lead_to_the_records_is_found() {
    let storage = MemoryStorage::new();
    many(&storage, 70);
    let intact = bytes_of(&storage);
    let footer = intact.len() - FOOTER_BYTES;
    let salt = super::format::Identity { id: ID, store_id: STORE }.salt();
    let section = |at| usize::try_from(super::format::u64_at(&intact, footer + at)).unwrap();
    let (index, filter) = (section(72), section(88));
    for at in index..filter {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        let crc = crc32c::crc32c_append(salt, &bytes[index..filter]);
        bytes[footer + 104..footer + 108].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32c::crc32c_append(salt, &bytes[footer..footer + FOOTER_BYTES - 4]);
        bytes[footer + FOOTER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let storage = storage_with(&bytes);
        let reader = open(&storage).unwrap();
        assert!(reader.verify().is_err_and(|e| is_damage(&e)), "index byte {}", at - index);
        // Lookups through it may miss, but never fault or answer wrongly.
        for i in 0..70 {
            let key = format!("path/{:05}", i * 2);
            if let Ok(Some(found)) = reader.get(key.as_bytes()) {
                assert_eq!(found.key, key.as_bytes());
            }
        }
    }
}

#[test]
fn pointers_that_lead_astray_are_damage() {
    let storage = MemoryStorage::new();
    let (_, model) = many(&storage, 50);
    let reader = open(&storage).unwrap();
    let pointer = model[&b"path/00020"[..]].1;
    let size = reader.summary().file_bytes;
    let astray = [
        (pointer.offset + 1, pointer.length, pointer.crc),
        (pointer.offset, pointer.length - 1, pointer.crc),
        (pointer.offset, pointer.length, pointer.crc ^ 1),
        (0, 4, 0),
        (size - 8, 4, 0),
        (size, 4, 0),
        (u64::MAX, u32::MAX, 0),
        (100, u32::MAX, 0),
    ];
    for (offset, len, crc) in astray {
        assert!(is_damage(&reader.read_payload(offset, len, crc).unwrap_err()), "{len} at {offset}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn ranges_are_those_of_a_sorted_map(
        model in prop::collection::btree_map(
            prop::collection::vec(prop_oneof![Just(0), Just(b'/'), Just(b'a'), any::<u8>()], 0..6),
            prop::collection::vec(any::<u8>(), 0..600),
            0..120,
        ),
        bounds in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..4), 0..3_u8), 12),
    ) {
        let storage = MemoryStorage::new();
        let mut writer = SegmentWriter::create(&storage, ID, STORE, 0).unwrap();
        for (lsn, (key, value)) in model.iter().enumerate() {
            writer.append(&record(key, value, lsn as u64, None)).unwrap();
        }
        let summary = writer.finish().unwrap();
        let reader = open(&storage).unwrap();
        reader.verify().unwrap();
        prop_assert_eq!(reader.recompute_root().unwrap(), summary.merkle_root);
        let bound = |(key, kind): &(Vec<u8>, u8)| match kind {
            0 => Bound::Included(key.clone()),
            1 => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        };
        for pair in bounds.chunks(2) {
            let (from, to) = (bound(&pair[0]), bound(&pair[1]));
            let within = |key: &[u8]| {
                (match &from {
                    Bound::Included(b) => key >= b.as_slice(),
                    Bound::Excluded(b) => key > b.as_slice(),
                    Bound::Unbounded => true,
                }) && (match &to {
                    Bound::Included(b) => key <= b.as_slice(),
                    Bound::Excluded(b) => key < b.as_slice(),
                    Bound::Unbounded => true,
                })
            };
            let expected: Vec<_> = model.iter().filter(|(key, _)| within(key)).collect();
            let found: Vec<_> =
                reader.range(from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice))
                    .map(|r| r.unwrap())
                    .collect();
            prop_assert_eq!(found.len(), expected.len());
            for (record, (key, value)) in found.iter().zip(expected) {
                prop_assert_eq!(&record.key[..], &key[..]);
                prop_assert_eq!(&record.value().unwrap()[..], &value[..]);
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_answered_with_an_error(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let storage = storage_with(&bytes);
        prop_assert!(is_damage(&open(&storage).unwrap_err()));
    }
}
