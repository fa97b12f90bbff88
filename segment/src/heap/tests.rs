//! Tests of the heap segment: a model, addresses that prove what is not copied, and threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;

use super::{CHUNK_BYTES, HeapError, HeapSegment, MAX_SEGMENT_BYTES};

/// Bytes that tell their offset.
fn bytes_at(offset: u64, len: usize) -> Vec<u8> {
    let mixed = |at: u64| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
    (offset..offset + len as u64).map(mixed).collect()
}

#[test]
fn offsets_are_dense_and_payloads_come_back() {
    let segment = HeapSegment::default();
    assert_eq!(segment.append(b"abc"), Ok(0));
    assert_eq!(segment.append_many(&[b"de", b"", b"f"]), Ok(3));
    assert_eq!(segment.append(b""), Ok(6));
    assert_eq!(segment.append_many(&[]), Ok(6));
    assert_eq!((segment.end_offset(), segment.live_bytes()), (6, 6));
    assert_eq!(&segment.read(0, 6).unwrap()[..], b"abcdef");
    assert_eq!(&segment.read(2, 3).unwrap()[..], b"cde");
    assert_eq!(segment.read(6, 0).unwrap().len(), 0);
    for (offset, len) in [(0, 7), (6, 1), (7, 0), (u64::MAX, 1), (3, usize::MAX)] {
        assert_eq!(segment.read(offset, len), None, "{len} bytes at {offset}");
    }
}

#[test]
fn reads_are_slices_of_the_segments_own_memory() {
    let segment = HeapSegment::with_capacity(1 << 16);
    let first = segment.append(&bytes_at(0, 1000)).unwrap();
    let second = segment.append(&bytes_at(1000, 1000)).unwrap();
    let (one, two) = (segment.read(first, 1000).unwrap(), segment.read(second, 1000).unwrap());
    assert_eq!(one.as_ptr().wrapping_add(1000), two.as_ptr());
    assert_eq!(segment.read(500, 1000).unwrap().as_ptr(), one.as_ptr().wrapping_add(500));
}

#[test]
fn appending_moves_nothing_whatever_slices_are_held() {
    let segment = HeapSegment::new();
    segment.append(&bytes_at(0, 5000)).unwrap();
    let held = segment.read(0, 5000).unwrap();
    for _ in 0..5 {
        let offset = segment.end_offset();
        segment.append(&bytes_at(offset, CHUNK_BYTES / 2 + 1)).unwrap();
    }
    assert_eq!(segment.read(0, 5000).unwrap().as_ptr(), held.as_ptr());
    assert_eq!(held, bytes_at(0, 5000));
}

#[test]
fn existing_bytes_are_taken_over_and_appendable() {
    let mut existing = Vec::with_capacity(100);
    existing.extend_from_slice(b"recovered");
    let address = existing.as_ptr();
    let segment = HeapSegment::from_existing_at(1000, existing);
    assert_eq!(segment.append(b" and more"), Ok(1009));
    let whole = segment.read(1000, 18).unwrap();
    assert_eq!((whole.as_ptr(), &whole[..]), (address, &b"recovered and more"[..]));
    assert_eq!(segment.base_offset(), 1000);
    assert_eq!(HeapSegment::from_existing(b"abc".to_vec()).end_offset(), 3);
    assert_eq!(HeapSegment::from_existing_at(7, Vec::new()).append(b"x"), Ok(7));
}

#[test]
fn only_a_read_across_two_chunks_copies() {
    let segment = HeapSegment::new();
    segment.append(&bytes_at(0, CHUNK_BYTES - 10)).unwrap();
    segment.append(&bytes_at(CHUNK_BYTES as u64 - 10, 100)).unwrap();
    let start = CHUNK_BYTES as u64 - 60;
    assert_eq!(segment.read(start, 120).unwrap(), bytes_at(start, 120));
    let inside = segment.read(start + 50, 100).unwrap();
    assert_eq!(inside.as_ptr(), segment.read(start + 50, 1).unwrap().as_ptr());
}

#[test]
fn what_is_too_large_is_refused_and_changes_nothing() {
    let segment = HeapSegment::new();
    segment.append(b"abc").unwrap();
    let block = vec![0; 1 << 20];
    let batch = vec![&block[..]; 3 << 10];
    let refused = HeapError::PayloadTooLarge { size: MAX_SEGMENT_BYTES, max: MAX_SEGMENT_BYTES - 3 };
    assert_eq!(segment.append_many(&batch), Err(refused));
    assert_eq!((segment.end_offset(), segment.live_bytes()), (3, 3));
    assert_eq!(segment.append(b"d"), Ok(3));
    assert_eq!(&segment.read(0, 4).unwrap()[..], b"abcd");
    let last = HeapSegment::from_existing_at(u64::MAX - 1, vec![1]);
    assert_eq!(last.append(b"x"), Err(HeapError::PayloadTooLarge { size: 1, max: 0 }));
}

#[test]
fn eviction_clamps_counts_and_leaves_slices_alone() {
    let segment = HeapSegment::from_existing_at(100, bytes_at(100, 50));
    let held = segment.read(100, 50).unwrap();
    assert_eq!(segment.evict_prefix_to(100), 0);
    assert_eq!(segment.evict_prefix_to(3), 0);
    assert_eq!(segment.evict_prefix_to(120), 20);
    assert_eq!(segment.read(119, 2), None);
    assert_eq!(segment.read(120, 30).unwrap().as_ptr(), held.as_ptr().wrapping_add(20));
    assert_eq!((segment.base_offset(), segment.live_bytes()), (120, 30));
    assert_eq!(segment.evict_prefix_to(u64::MAX), 30);
    assert_eq!((segment.base_offset(), segment.end_offset(), segment.live_bytes()), (150, 150, 0));
    assert_eq!(segment.append(b"next"), Ok(150));
    assert_eq!(&segment.read(150, 4).unwrap()[..], b"next");
    assert_eq!(held, bytes_at(100, 50));
}

#[test]
fn placement_leaves_gaps_that_read_as_none() {
    let segment = HeapSegment::new();
    segment.place_at(10, b"ab").unwrap();
    segment.place_at(12, b"cd").unwrap();
    segment.place_at(20, b"ef").unwrap();
    assert_eq!(segment.place_at(21, b"x"), Err(HeapError::OffsetTaken { offset: 21, end: 22 }));
    assert_eq!(&segment.read(10, 4).unwrap()[..], b"abcd");
    for (offset, len) in [(0, 1), (9, 2), (13, 2), (13, 8), (14, 6), (19, 2)] {
        assert_eq!(segment.read(offset, len), None, "{len} bytes at {offset}");
    }
    assert_eq!((segment.base_offset(), segment.live_bytes()), (0, 6));
    assert_eq!(segment.evict_prefix_to(21), 5);
    assert_eq!(segment.append(b"gh"), Ok(22));
    assert_eq!(&segment.read(21, 3).unwrap()[..], b"fgh");
}

#[test]
fn rebasing_shifts_offsets_and_moves_no_byte() {
    let segment = HeapSegment::from_existing_at(1000, bytes_at(0, 300));
    segment.place_at(1400, b"behind a gap").unwrap();
    segment.evict_prefix_to(1100);
    let before = segment.read(1100, 200).unwrap();
    segment.rebase_to_zero();
    assert_eq!(segment.read(0, 200).unwrap().as_ptr(), before.as_ptr());
    assert_eq!((segment.base_offset(), segment.end_offset(), segment.live_bytes()), (0, 312, 212));
    assert_eq!(&segment.read(300, 12).unwrap()[..], b"behind a gap");
    assert_eq!(segment.read(250, 1), None);
    assert_eq!(segment.append(b"!"), Ok(312));
    assert_eq!(&segment.read(310, 3).unwrap()[..], b"ap!");
}

#[test]
fn an_outsized_chunk_goes_when_all_of_it_is_evicted() {
    let segment = HeapSegment::new();
    segment.append(&vec![1; CHUNK_BYTES * 4]).unwrap();
    segment.evict_prefix_to(u64::MAX);
    assert!(segment.tail.lock().chunk.is_none());
}

#[test]
fn appends_reads_and_evictions_run_beside_one_another() {
    const PAYLOADS: usize = 3000;
    let segment = HeapSegment::new();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (1..=2_u8)
            .map(|writer| {
                let segment = &segment;
                scope.spawn(move || {
                    for i in 0..PAYLOADS {
                        let payload = vec![writer; 1 + i % 4000];
                        let offset = segment.append(&payload).unwrap();
                        // It may be evicted already; if it is there, it is whole.
                        if let Some(back) = segment.read(offset, payload.len()) {
                            assert_eq!(back, payload);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                let (base, end) = (segment.base_offset(), segment.end_offset());
                if let Some(all) = segment.read(base, usize::try_from(end - base).unwrap().min(100_000)) {
                    assert!(all.iter().all(|b| [1, 2].contains(b)));
                }
                segment.evict_prefix_to(base + (end - base) / 2);
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    let total: usize = (0..PAYLOADS).map(|i| 1 + i % 4000).sum();
    assert_eq!(segment.end_offset(), 2 * total as u64);
    assert_eq!(segment.live_bytes(), segment.end_offset() - segment.base_offset());
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    AppendMany(Vec<usize>),
    Place { gap: u64, len: usize },
    Evict(u64),
    Rebase,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![4 => 0..200_usize, 1 => CHUNK_BYTES / 3..CHUNK_BYTES * 3 / 2];
    prop_oneof![
        4 => len.clone().prop_map(Step::Append),
        2 => prop::collection::vec(0..300_usize, 0..4).prop_map(Step::AppendMany),
        2 => (0..50_u64, 0..100_usize).prop_map(|(gap, len)| Step::Place { gap, len }),
        2 => (0..1000_u64).prop_map(Step::Evict),
        1 => Just(Step::Rebase),
    ]
}

/// What a segment should hold: a byte or a gap for each offset from the base on.
#[derive(Default)]
struct Model {
    base: u64,
    bytes: Vec<Option<u8>>,
}

impl Model {
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let start = usize::try_from(offset.checked_sub(self.base)?).unwrap();
        self.bytes.get(start..start + len)?.iter().copied().collect()
    }

    fn apply(&mut self, step: &Step, segment: &HeapSegment, seed: &mut u8) {
        let mut payload = |len| {
            *seed = seed.wrapping_add(1);
            vec![*seed; len]
        };
        let put = |model: &mut Self, bytes: &[u8]| model.bytes.extend(bytes.iter().copied().map(Some));
        match step {
            Step::Append(len) => {
                let bytes = payload(*len);
                assert_eq!(segment.append(&bytes), Ok(self.end()));
                put(self, &bytes);
            }
            Step::AppendMany(lens) => {
                let payloads: Vec<_> = lens.iter().map(|len| payload(*len)).collect();
                let parts: Vec<_> = payloads.iter().map(|p| &p[..]).collect();
                assert_eq!(segment.append_many(&parts), Ok(self.end()));
                payloads.iter().for_each(|bytes| put(self, bytes));
            }
            Step::Place { gap, len } => {
                let bytes = payload(*len);
                segment.place_at(self.end() + gap, &bytes).unwrap();
                self.bytes.extend((0..*gap).map(|_| None));
                put(self, &bytes);
            }
            Step::Evict(ahead) => {
                let count = usize::try_from(*ahead).unwrap().min(self.bytes.len());
                let payload_bytes = self.bytes.drain(..count).flatten().count() as u64;
                assert_eq!(segment.evict_prefix_to(self.base + ahead), payload_bytes);
                self.base += count as u64;
            }
            Step::Rebase => {
                segment.rebase_to_zero();
                self.base = 0;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_plain_array_with_gaps(
        steps in prop::collection::vec(step(), 1..24),
        probes in prop::collection::vec((any::<prop::sample::Index>(), 0..2000_usize), 12),
    ) {
        let segment = HeapSegment::new();
        let mut model = Model::default();
        let mut seed = 0;
        for step in &steps {
            model.apply(step, &segment, &mut seed);
            prop_assert_eq!(segment.base_offset(), model.base);
            prop_assert_eq!(segment.end_offset(), model.end());
            prop_assert_eq!(segment.live_bytes(), model.bytes.iter().flatten().count() as u64);
            for (at, len) in &probes {
                let offset = (model.base + at.index(model.bytes.len() + 20) as u64).saturating_sub(10);
                let expected = model.read(offset, *len).filter(|_| *len > 0);
                let actual = segment.read(offset, *len).filter(|_| *len > 0);
                prop_assert_eq!(actual.map(|b| b.to_vec()), expected, "{} bytes at {}", len, offset);
            }
        }
    }
}
