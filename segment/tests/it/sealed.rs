//! Sealed segments on real files: the mapping, a file cut short under it, a writer that died.

use std::ops::Bound;

use treering_segment::error::Damage;
use treering_segment::file::FileStorage;
use treering_segment::sealed::{self, RecordIn, SegmentError, SegmentReader, SegmentSummary, SegmentWriter};
use treering_segment::storage::{Access, Storage};

const STORE: [u8; 16] = [3; 16];

fn write(storage: &FileStorage, id: u64, records: u32) -> SegmentSummary {
    let mut writer = SegmentWriter::create(storage, id, STORE, 1).unwrap();
    for i in 0..records {
        let key = format!("objects/{i:06}");
        let value = vec![i.to_le_bytes()[0]; 3000];
        let record = RecordIn {
            key: key.as_bytes(),
            value: &value,
            lsn: u64::from(i) + 1,
            written_ms: 10,
            death_ms: None,
        };
        writer.append(&record).unwrap();
    }
    writer.finish().unwrap()
}

fn damage<T>(result: Result<T, SegmentError>) -> Damage {
    match result {
        Err(SegmentError::Damage(damage)) => damage,
        Err(other) => panic!("expected damage, not {other}"),
        Ok(_) => panic!("expected damage"),
    }
}

#[test]
fn file_written_is_the_file_read() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let summary = write(&storage, 9, 1000);
    let reader = SegmentReader::open(&storage, 9, STORE).unwrap();
    reader.verify().unwrap();
    assert_eq!(reader.summary(), &summary);
    assert_eq!(reader.recompute_root().unwrap(), summary.merkle_root);
    let some = reader.range(Bound::Included(b"objects/000500"), Bound::Excluded(b"objects/000510"));
    assert_eq!(some.count(), 10);
    let value = reader.get(b"objects/000999").unwrap().unwrap().value().unwrap();
    storage.remove(&sealed::file_name(9)).unwrap();
    drop(reader);
    assert_eq!(value, vec![231; 3000]);
}

#[test]
fn file_cut_short_under_its_reader_is_damage_and_no_fault() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let summary = write(&storage, 9, 1000);
    let reader = SegmentReader::open(&storage, 9, STORE).unwrap();
    let record = reader.get(b"objects/000999").unwrap().unwrap();
    let mut iteration = reader.iter();
    iteration.next().unwrap().unwrap();
    let file = storage.open(&sealed::file_name(9), Access::ReadWrite).unwrap();
    for len in [summary.file_bytes - 1, 8192, 0] {
        file.set_len(len).unwrap();
        let cut = damage(reader.get(b"objects/000999"));
        assert_eq!((cut.file, cut.offset), (storage.path_of(&sealed::file_name(9)), len));
        damage(record.value());
        damage(reader.read_payload(record.pointer.offset, record.pointer.length, record.pointer.crc));
        damage(reader.verify());
        damage(reader.recompute_root());
        damage(SegmentReader::open(&storage, 9, STORE));
    }
    damage(iteration.next().unwrap());
    assert!(iteration.next().is_none(), "an iterator ends after its first error");
}

#[test]
fn bytes_that_change_under_an_open_reader_are_found_by_verify() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let summary = write(&storage, 9, 2);
    let reader = SegmentReader::open(&storage, 9, STORE).unwrap();
    let file = storage.open(&sealed::file_name(9), Access::ReadWrite).unwrap();
    for at in (0..summary.file_bytes).filter(|at| !(200..6000).contains(at)) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        assert!(damage(reader.verify()).offset <= at, "byte {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    reader.verify().unwrap();
}

#[test]
fn writer_that_died_leaves_no_segment() {
    let home = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(home.path()).unwrap();
    let mut writer = SegmentWriter::create(&storage, 9, STORE, 1).unwrap();
    let value = vec![1; 1 << 20];
    let record = RecordIn { key: b"k", value: &value, lsn: 1, written_ms: 1, death_ms: None };
    writer.append(&record).unwrap();
    // A process that dies drops nothing; a writer that is dropped unfinished takes its file along.
    std::mem::forget(writer);
    let torn = damage(SegmentReader::open(&storage, 9, STORE));
    assert!(torn.to_string().contains("segment-0000000000000009"), "{torn}");
    drop(SegmentWriter::create(&storage, 10, STORE, 1).unwrap());
    assert!(!storage.exists(&sealed::file_name(10)).unwrap());
}
