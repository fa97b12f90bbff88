//! Criterion's benchmarks, a group a crate. They report and hold no bound: the gates are in `gates.rs`.

#![allow(missing_docs, reason = "criterion's macros make items that take no documentation")]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use treering::{Engine, ListOptions, Options};
use treering_blobframe::{BlobFrame, FrameId, Leaf, LeafValue};
use treering_ring::Ring;
use treering_segment::heap::HeapSegment;

/// Keys that look like paths, in no order.
fn paths(count: usize) -> Vec<Vec<u8>> {
    let scattered = |n: usize| n.wrapping_mul(0x9e37_79b9) % count;
    (0..count).map(scattered).map(|n| format!("usr/share/{:02}/file-{n:06}", n % 40).into_bytes()).collect()
}

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    let ring = Ring::with_capacity(1 << 20);
    let record = [7_u8; 128];
    group.throughput(Throughput::Bytes(record.len() as u64));
    group.bench_function("append 128 bytes, drained by the writer", |bencher| {
        bencher.iter(|| {
            if ring.free_bytes() < record.len() {
                let drained = ring.copy_committed_prefix(|_, bytes| {
                    black_box(bytes.len());
                    Ok::<(), Infallible>(())
                });
                drained.expect("nobody else drains");
            }
            ring.append(black_box(&record)).expect("the record fits")
        });
    });
    group.finish();
}

fn segment(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment");
    let payload = vec![7_u8; 4096];
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("heap: append 4 KiB, evicted in time", |bencher| {
        let heap = HeapSegment::new();
        bencher.iter(|| {
            let offset = heap.append(black_box(&payload)).expect("the segment has room");
            if heap.live_bytes() > 64 << 20 {
                heap.evict_prefix_to(offset);
            }
        });
    });
    group.bench_function("heap: read 4 KiB", |bencher| {
        let heap = HeapSegment::new();
        let offset = heap.append(&payload).expect("the segment has room");
        bencher.iter(|| heap.read(black_box(offset), payload.len()).expect("the range is live"));
    });
    group.finish();
}

fn blobframe(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blobframe");
    let words: Vec<AtomicU64> = (0..(512 << 10) / 8).map(|_| AtomicU64::new(0)).collect();
    let keys = paths(5000);
    let leaf = |version| Leaf { version, death: None, value: LeafValue::Inline(b"a small record of a file") };
    let fill = || {
        let mut frame = BlobFrame::init(&words, &FrameId { number: 1, store_tag: 1 }, 1);
        for (key, version) in keys.iter().zip(1..) {
            frame.insert(0, key, &leaf(version)).expect("five thousand keys fit into a frame");
        }
        frame
    };
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("insert 5000 paths into an empty frame", |bencher| {
        bencher.iter_batched(|| (), |()| black_box(fill().live_leaves()), BatchSize::PerIteration);
    });
    let frame = fill().as_ref();
    group.bench_function("find 5000 paths", |bencher| {
        bencher.iter(|| keys.iter().filter(|key| black_box(frame.find(0, key)).is_ok()).count());
    });
    group.finish();
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    let keys = paths(100_000);
    let engine = Engine::in_memory(Options::new()).expect("a store in memory opens");
    let tree = engine.default_tree();
    for chunk in keys.chunks(1000) {
        let mut batch = engine.batch();
        for key in chunk {
            batch.put(&tree, key, b"a small record of a file");
        }
        batch.commit(None).expect("the store takes a batch");
    }
    let mut turn = (0..keys.len()).cycle();
    group.bench_function("get", |bencher| {
        bencher.iter(|| tree.get(&keys[turn.next().unwrap_or(0)]).expect("the store reads"));
    });
    group.bench_function("put over a key that is there", |bencher| {
        bencher
            .iter(|| tree.put(&keys[turn.next().unwrap_or(0)], b"another record").expect("the store writes"));
    });
    let options = ListOptions { prefix: b"usr/share/".to_vec(), delimiter: Some(b'/'), ..Default::default() };
    group.bench_function("list 40 directories", |bencher| {
        bencher.iter(|| tree.list(&options).expect("the store lists").entries.len());
    });
    group.finish();
    engine.close().expect("the store closes");
}

criterion_group!(benches, ring, segment, blobframe, engine);
criterion_main!(benches);
