//! Arbitrary sequences of calls by one thread: what comes out is byte for byte what went in.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;
use treering_ring::{DrainLimit, PrivateMemory, Ring, Ticket};

#[derive(Clone, Debug)]
enum Step {
    /// Reserve so many bytes.
    Reserve(usize),
    /// Fill and publish one of the outstanding tickets that has space; by which.
    Publish(usize),
    /// Drop one of the outstanding tickets.
    Drop(usize),
    /// Drain up to so many bytes.
    Drain(u64),
    Reset,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..100).prop_map(Step::Reserve),
        4 => any::<usize>().prop_map(Step::Publish),
        1 => any::<usize>().prop_map(Step::Drop),
        3 => (1u64..300).prop_map(Step::Drain),
        1 => Just(Step::Reset),
    ];
    vec(step, 1..200)
}

fn byte_at(addr: u64) -> u8 {
    // Not periodic in any capacity, so that a byte of another lap is recognised.
    (addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0]
}

fn content(ticket: &Ticket<'_>) -> Vec<u8> {
    (ticket.addr()..ticket.end()).map(byte_at).collect()
}

/// Drains, checks that the bytes continue the stream, and collects where the runs ended.
fn drain(ring: &Ring, max_bytes: u64, dropped: &[(u64, u64)]) -> (u64, u64) {
    let mut expected = ring.flush_cursor();
    let limit = DrainLimit { max_bytes, ..DrainLimit::default() };
    let done = ring
        .copy_committed_prefix_within(limit, |addr, bytes| {
            assert_eq!(addr, expected);
            for (at, byte) in (addr..).zip(bytes) {
                let filler = dropped.iter().any(|&(from, to)| from <= at && at < to);
                assert_eq!(*byte, if filler { 0xee } else { byte_at(at) }, "byte {at}");
            }
            expected += bytes.len() as u64;
            Ok::<(), ()>(())
        })
        .unwrap();
    assert_eq!(done.to, expected);
    (done.to, done.records)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_drained_stream_is_the_records_in_the_order_of_reservation(
        steps in steps(),
        base in 0u64..10_000,
        capacity in prop_oneof![Just(64usize), Just(128), Just(256)],
    ) {
        let filler = Box::new(|_, _, bytes: &mut [u8]| bytes.fill(0xee));
        let ring = Ring::over(Box::new(PrivateMemory::new(capacity)), base).unwrap().with_filler(filler);
        let mut tickets: Vec<Ticket<'_>> = Vec::new();
        let mut ends = Vec::new();
        let mut dropped = Vec::new();
        let mut records = 0;
        for step in steps {
            match step {
                Step::Reserve(len) => {
                    let at = ring.tail();
                    if let Ok(ticket) = ring.reserve(len) {
                        prop_assert_eq!(ticket.addr(), at);
                        ends.push(ticket.end());
                        tickets.push(ticket);
                    }
                }
                Step::Publish(which) if !tickets.is_empty() => {
                    let which = which % tickets.len();
                    if tickets[which].reserve_space_ready() {
                        let ticket = tickets.remove(which);
                        let bytes = content(&ticket);
                        ticket.fill_parts(&[&bytes[..1], &bytes[1..]]).publish();
                    }
                }
                Step::Drop(which) if !tickets.is_empty() => {
                    let ticket = tickets.remove(which % tickets.len());
                    dropped.push((ticket.addr(), ticket.end()));
                }
                Step::Drain(max_bytes) => {
                    let (to, more) = drain(&ring, max_bytes, &dropped);
                    records += more;
                    prop_assert!(to == base || ends.contains(&to), "a drain ends with a record");
                    prop_assert_eq!(records, ends.iter().filter(|&&end| end <= to).count() as u64);
                }
                Step::Reset => {
                    let empty = ring.flush_cursor() == ring.tail();
                    prop_assert_eq!(ring.reset_after_drain().is_ok(), empty);
                }
                Step::Publish(_) | Step::Drop(_) => {}
            }
            // The prefix ends with the first range that is still outstanding, or waits for space to become filler.
            let open = tickets.iter().map(Ticket::addr).min().unwrap_or(ring.tail());
            let waiting = dropped.iter().filter(|range| range.1 > ring.flush_cursor() + capacity as u64);
            let open = waiting.map(|range| range.0).min().unwrap_or(open).min(open);
            prop_assert_eq!(ring.committed_addr(), open);
            prop_assert_eq!(ring.committed_records(), ends.iter().filter(|&&end| end <= open).count() as u64);
        }
        // Whatever is left can be finished: oldest first, draining in between.
        for ticket in tickets {
            while !ticket.reserve_space_ready() {
                records += drain(&ring, u64::MAX, &dropped).1;
            }
            let bytes = content(&ticket);
            ticket.fill(&bytes).publish();
        }
        while ring.flush_cursor() < ring.tail() {
            records += drain(&ring, u64::MAX, &dropped).1;
        }
        prop_assert_eq!(records, ends.len() as u64);
    }
}
