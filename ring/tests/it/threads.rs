//! Real threads over a ring that is far too small for them: everything arrives once, whole and in order.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use treering_ring::Ring;

const PRODUCERS: u16 = 4;
const RECORDS: u32 = 20_000;

/// A record: total length, producer, number, and bytes that follow from them.
fn record(producer: u16, number: u32) -> Vec<u8> {
    let body = (number.wrapping_mul(7919) % 120) as usize;
    let mut bytes = Vec::with_capacity(8 + body);
    bytes.extend_from_slice(&u16::try_from(8 + body).unwrap().to_le_bytes());
    bytes.extend_from_slice(&producer.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend((0..body).map(|i| (i as u64 * 31 + u64::from(number)).to_le_bytes()[0]));
    bytes
}

/// Drains until `done` is set and nothing is left; the whole stream.
fn drain_all(ring: &Ring, done: &AtomicBool) -> Vec<u8> {
    let mut stream = Vec::new();
    loop {
        // Looked at before the drain: whatever was published before `done` is then drained below.
        let last = done.load(Ordering::Acquire);
        let drained = ring
            .copy_committed_prefix(|addr, bytes| {
                assert_eq!(addr, stream.len() as u64);
                stream.extend_from_slice(bytes);
                Ok::<(), ()>(())
            })
            .unwrap();
        if drained.bytes() == 0 {
            if last {
                return stream;
            }
            ring.wait_for_committed_beyond(drained.to, None);
        }
    }
}

#[test]
fn every_record_of_every_thread_arrives_once_whole_and_in_its_threads_order() {
    let ring = Ring::with_capacity(512);
    let done = AtomicBool::new(false);
    let (stream, addresses) = thread::scope(|scope| {
        let drainer = scope.spawn(|| drain_all(&ring, &done));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let ring = &ring;
                scope.spawn(move || {
                    let append = |number| {
                        let bytes = record(producer, number);
                        let addr = ring.append(&bytes).unwrap();
                        if number % 64 == 0 {
                            ring.wait_committed(addr + bytes.len() as u64).unwrap();
                        }
                        addr
                    };
                    (0..RECORDS).map(append).collect::<Vec<u64>>()
                })
            })
            .collect();
        let addresses: Vec<Vec<u64>> = producers.into_iter().map(|it| it.join().unwrap()).collect();
        done.store(true, Ordering::Release);
        ring.wake_all();
        (drainer.join().unwrap(), addresses)
    });
    let mut next = [0u32; PRODUCERS as usize];
    let mut at = 0;
    while at < stream.len() {
        let producer = u16::from_le_bytes(stream[at + 2..at + 4].try_into().unwrap());
        let number = next[usize::from(producer)];
        let expected = record(producer, number);
        assert_eq!(stream[at..at + expected.len()], expected);
        assert_eq!(addresses[usize::from(producer)][number as usize], at as u64);
        next[usize::from(producer)] += 1;
        at += expected.len();
    }
    assert_eq!(next, [RECORDS; PRODUCERS as usize]);
    assert_eq!(ring.committed_records(), u64::from(RECORDS) * u64::from(PRODUCERS));
    assert_eq!((ring.tail(), ring.flush_cursor()), (stream.len() as u64, stream.len() as u64));
}

#[test]
fn tickets_dropped_by_many_threads_leave_filler_and_no_gap() {
    let ring = Ring::with_capacity(256).with_filler(Box::new(|_, _, bytes| bytes.fill(0xff)));
    let done = AtomicBool::new(false);
    let stream = thread::scope(|scope| {
        let drainer = scope.spawn(|| drain_all(&ring, &done));
        let producers: Vec<_> = (0..3u8)
            .map(|producer| {
                let ring = &ring;
                scope.spawn(move || {
                    for number in 0..6_000usize {
                        let ticket = ring.reserve(1 + number % 50).unwrap();
                        if number % 3 != usize::from(producer) {
                            let bytes = vec![producer; ticket.len()];
                            ticket.fill(&bytes).publish();
                        }
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        done.store(true, Ordering::Release);
        ring.wake_all();
        drainer.join().unwrap()
    });
    let lengths = || (0..6_000usize).map(|number| (number % 3, 1 + number % 50));
    let filler: usize = lengths().map(|(_, len)| len).sum();
    assert_eq!(stream.iter().filter(|&&byte| byte == 0xff).count(), filler, "one thread of three drops");
    for producer in 0..3u8 {
        let kept: usize =
            lengths().filter(|&(third, _)| third != usize::from(producer)).map(|(_, len)| len).sum();
        assert_eq!(stream.iter().filter(|&&byte| byte == producer).count(), kept);
    }
    assert_eq!(ring.committed_records(), 18_000);
}

#[test]
fn resets_beside_writers_return_no_address_and_lose_no_byte() {
    let ring = Ring::with_capacity(128);
    let done = AtomicBool::new(false);
    let (stream, resets) = thread::scope(|scope| {
        let drainer = scope.spawn(|| {
            let mut stream: Vec<u8> = Vec::new();
            let mut resets = 0u32;
            loop {
                let last = done.load(Ordering::Acquire);
                let drained = ring
                    .copy_committed_prefix(|addr, bytes| {
                        assert_eq!(addr, stream.len() as u64);
                        stream.extend_from_slice(bytes);
                        Ok::<(), ()>(())
                    })
                    .unwrap();
                resets += u32::from(ring.reset_after_drain().is_ok());
                if last && drained.bytes() == 0 {
                    return (stream, resets);
                }
                thread::yield_now();
            }
        });
        let producers: Vec<_> = (1..=2u8)
            .map(|producer| {
                let ring = &ring;
                scope.spawn(move || {
                    for number in 0..10_000usize {
                        ring.append(&vec![producer; 1 + number % 60]).unwrap();
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        done.store(true, Ordering::Release);
        drainer.join().unwrap()
    });
    let sent: usize = (0..10_000usize).map(|number| 1 + number % 60).sum();
    for producer in 1..=2u8 {
        assert_eq!(stream.iter().filter(|&&byte| byte == producer).count(), sent);
    }
    assert!(resets > 0, "the last drain leaves the ring empty, and a reset follows it");
    assert_eq!(ring.committed_records(), 20_000);
}
