//! `segment_read`: hostile sealed segments through every way to read one.
//!
//! A segment is damaged and read twice: as it is, and with checksums and Merkle root mended. One that verifies
//! is held to what that means: its records ascend, each is found by its key, each value is there, and the
//! summary tells of them. One that does not must still be read without a panic and without end.

use std::ops::Bound;
use std::sync::{Arc, LazyLock};

use treering_segment::memory::MemoryStorage;
use treering_segment::sealed::{Record, RecordIn, SegmentError, SegmentReader, SegmentWriter, file_name};
use treering_segment::storage::Storage;

use crate::damage::damage;
use crate::directory::Directory;
use crate::input::Input;
use crate::mend;

const STORE_ID: [u8; 16] = *b"fuzzed store id.";
const ID: u64 = 7;
const CHANGES_MAX: usize = 6;

/// Segments to start from: none, one and many records.
static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| [0, 1, 5, 150].map(sample).to_vec());

fn sample(records: u64) -> Vec<u8> {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let mut writer = SegmentWriter::create(&*storage, ID, STORE_ID, 3).expect("a segment is created");
    for n in 0..records {
        let key = format!("directory/{n:04}").into_bytes();
        if n % 7 == 3 {
            writer.append_tombstone(&key, n + 1, 1000, None).expect("a tombstone is written");
            continue;
        }
        let value = vec![n.to_le_bytes()[0]; usize::try_from(n * 13 % 90).expect("small")];
        let death_ms = (n % 3 == 1).then_some(5000 + n);
        writer
            .append(&RecordIn { key: &key, value: &value, lsn: n + 1, written_ms: 1000 + n, death_ms })
            .expect("a record is written");
    }
    writer.finish().expect("a segment is finished");
    Directory::of(&*storage).file(&file_name(ID)).clone()
}

/// Feeds one segment.
pub fn segment_read(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sample = &SAMPLES[usize::from(input.byte()) % SAMPLES.len()];
    let probe = input.bytes(24);
    let mut segment = match input.byte() % 8 {
        0 => input.rest().to_vec(),
        _ => {
            let mut segment = sample.clone();
            for _ in 0..input.below(CHANGES_MAX) + 1 {
                // Header, footer and bounds are a small part of the bytes and a large part of what is checked.
                match input.byte() % 3 {
                    0 => {
                        let tail = segment.len().saturating_sub(256);
                        crate::damage::overwrite(&mut input, &mut segment[tail..]);
                    }
                    _ => damage(&mut input, &mut segment),
                }
            }
            segment
        }
    };
    let changed = one_byte_differs(sample, &segment);
    read(&segment, probe, changed);
    mend::segment(&mut segment, ID, &STORE_ID);
    read(&segment, probe, false);
}

/// Whether one byte, and one only, is not the sample's: such damage no checksum lets pass.
fn one_byte_differs(sample: &[u8], segment: &[u8]) -> bool {
    sample.len() == segment.len() && sample.iter().zip(segment).filter(|(a, b)| a != b).count() == 1
}

fn read(bytes: &[u8], probe: &[u8], damaged: bool) {
    let mut directory = Directory::default();
    directory.file(&file_name(ID)).extend_from_slice(bytes);
    let storage = directory.storage();
    let reader = match SegmentReader::open(&*storage, ID, STORE_ID) {
        Ok(reader) => reader,
        Err(error) => return refused(&error),
    };
    let verdict = reader.verify();
    if let Err(error) = &verdict {
        refused(error);
    }
    assert!(!(damaged && verdict.is_ok()), "a changed byte is under no checksum");
    let _ = (reader.get(probe), reader.recompute_root());
    let number = |at: usize| probe.get(at..at + 8).map_or(0, |b| u64::from(b[0]) << (b[1] % 64));
    let length = u32::try_from(number(8) & u64::from(u32::MAX)).unwrap_or(0);
    let _ = reader.read_payload(number(0), length, 0);
    let halves = (probe.get(..8).unwrap_or_default(), probe);
    for (from, to) in [
        (Bound::Included(halves.0), Bound::Excluded(halves.1)),
        (Bound::Excluded(halves.1), Bound::Unbounded),
    ] {
        let mut keys = Vec::new();
        for record in reader.range(from, to).map_while(Result::ok) {
            keys.push(record.key);
            assert!(keys.len() <= bytes.len(), "more records than bytes");
        }
        assert!(verdict.is_err() || keys.is_sorted(), "a range is out of order");
    }
    if verdict.is_ok() {
        sound(&reader);
    }
}

/// What `verify` promises.
fn sound(reader: &SegmentReader) {
    let records: Vec<Record> = reader.iter().collect::<Result<_, _>>().expect("a sound segment is iterated");
    let summary = reader.summary();
    assert_eq!(records.len() as u64, summary.records);
    assert!(records.is_sorted_by(|a, b| a.key < b.key), "a sound segment's keys are out of order");
    let mut value_bytes = 0;
    for record in &records {
        let value = record.value().expect("a sound segment's value is readable");
        value_bytes += value.len() as u64;
        let found =
            reader.get(&record.key).expect("a sound segment is searched").expect("what is shown is found");
        assert_eq!((found.offset, found.lsn, found.tombstone), (record.offset, record.lsn, record.tombstone));
        let pointer = record.pointer;
        assert_eq!(
            reader.read_payload(pointer.offset, pointer.length, pointer.crc).expect("a pointer"),
            value
        );
        let lsns = summary.lsn_range.expect("there are records");
        assert!((lsns.0..=lsns.1).contains(&record.lsn), "the summary leaves out an LSN");
        assert!(summary.min_death.is_none_or(|min| record.death_ms.is_none_or(|death| min <= death)));
        assert!(summary.max_death.is_none_or(|max| record.death_ms.is_some_and(|death| death <= max)));
    }
    assert_eq!(value_bytes, summary.value_bytes);
    let ends = records.first().map(|first| (first.key.clone(), records[records.len() - 1].key.clone()));
    assert_eq!(ends, summary.key_range);
    assert_eq!(reader.recompute_root().expect("a sound segment is walked"), summary.merkle_root);
}

fn refused(error: &SegmentError) {
    match error {
        SegmentError::Damage(damage) => assert!(damage.file.to_string_lossy().ends_with(&file_name(ID))),
        SegmentError::NewerFormat { .. } => {}
        other => panic!("hostile bytes are damage, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mending_a_sample_changes_nothing_and_makes_a_changed_one_verify() {
        for sample in SAMPLES.iter() {
            let mut mended = sample.clone();
            mend::segment(&mut mended, ID, &STORE_ID);
            assert_eq!(mended, *sample);
        }
        let verifies = |bytes: &[u8]| {
            let mut directory = Directory::default();
            directory.file(&file_name(ID)).extend_from_slice(bytes);
            SegmentReader::open(&*directory.storage(), ID, STORE_ID)
                .and_then(|reader| reader.verify())
                .is_ok()
        };
        let mut changed = SAMPLES[3].clone();
        // A byte of the second record's value: header, key, then one record more.
        let at = 64 + 40 + 14 + 40 + 14 + 5;
        changed[at] ^= 1;
        assert!(!verifies(&changed));
        mend::segment(&mut changed, ID, &STORE_ID);
        assert!(verifies(&changed));
    }
}
