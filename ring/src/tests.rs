//! What one thread can see of the ring: addresses, limits, drops, resets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;

use crate::{BuildError, DrainError, DrainLimit, PrivateMemory, ReserveError, ResetError, Ring};

/// Drains all there is; the bytes, and the number of runs.
fn drained(ring: &Ring) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut runs = 0;
    ring.copy_committed_prefix(|_, run| {
        bytes.extend_from_slice(run);
        runs += 1;
        Ok::<(), ()>(())
    })
    .unwrap();
    (bytes, runs)
}

#[test]
fn capacity_is_rounded_up_to_a_power_of_two_of_at_least_64() {
    for (asked, got) in [(0, 64), (1, 64), (64, 64), (65, 128), (1000, 1024)] {
        assert_eq!(Ring::with_capacity(asked).capacity(), got);
    }
}

#[test]
fn memory_that_is_no_power_of_two_is_refused() {
    for len in [0, 32, 63, 65, 96] {
        let refused = Ring::over(Box::new(PrivateMemory::new(len)), 0).unwrap_err();
        assert_eq!(refused, BuildError::Capacity { len });
    }
    let base = crate::MAX_BASE + 1;
    assert_eq!(Ring::over(Box::new(PrivateMemory::new(64)), base).unwrap_err(), BuildError::Base { base });
}

#[test]
fn empty_and_oversized_reservations_are_refused_and_take_nothing() {
    let ring = Ring::with_capacity(64);
    assert_eq!(ring.reserve(0).unwrap_err(), ReserveError::Empty);
    assert_eq!(ring.reserve(65).unwrap_err(), ReserveError::TooLong { len: 65, capacity: 64 });
    assert_eq!(ring.tail(), 0);
    assert_eq!(ring.append(&[7; 64]), Ok(0));
    assert_eq!(ring.committed_addr(), 64);
}

#[test]
fn reservations_tile_the_stream_from_the_base_without_padding() {
    let ring = Ring::over(Box::new(PrivateMemory::new(64)), 4097).unwrap();
    let mut expected = 4097;
    for len in [1usize, 7, 13, 40] {
        let ticket = ring.reserve(len).unwrap();
        assert_eq!((ticket.addr(), ticket.len(), ticket.end()), (expected, len, expected + len as u64));
        expected += len as u64;
    }
    assert_eq!(ring.tail(), expected);
    assert_eq!(ring.base(), 4097);
}

#[test]
fn a_missing_publication_holds_the_prefix_and_later_ones_fold_in() {
    let ring = Ring::with_capacity(256);
    let first = ring.reserve(40).unwrap();
    let second = ring.reserve(5).unwrap();
    let third = ring.reserve(70).unwrap();
    assert_eq!(third.fill(&[3; 70]).publish(), 115);
    assert_eq!(second.fill(&[2; 5]).publish(), 45);
    assert_eq!((ring.committed_addr(), ring.committed_records()), (0, 0));
    assert!(!ring.try_committed(1));
    first.fill(&[1; 40]).publish();
    assert_eq!((ring.committed_addr(), ring.committed_records()), (115, 3));
    let expected: Vec<u8> = [vec![1; 40], vec![2; 5], vec![3; 70]].concat();
    assert_eq!(drained(&ring), (expected, 1));
    assert_eq!(ring.flush_cursor(), 115);
}

#[test]
fn a_record_over_the_wrap_is_drained_as_two_runs() {
    let ring = Ring::with_capacity(64);
    ring.append(&[1; 50]).unwrap();
    drained(&ring);
    let record: Vec<u8> = (0..30).collect();
    let ticket = ring.reserve(30).unwrap();
    ticket.fill_parts(&[&record[..3], &[], &record[3..20], &record[20..]]).publish();
    assert_eq!(drained(&ring), (record, 2));
}

#[test]
fn every_length_survives_many_laps() {
    let ring = Ring::with_capacity(64);
    for lap in 0..4u64 {
        for len in 1..=64usize {
            let record: Vec<u8> = (0..len).map(|i| u8::try_from(i).unwrap() ^ lap.to_le_bytes()[0]).collect();
            ring.append(&record).unwrap();
            assert_eq!(drained(&ring).0, record);
        }
    }
    assert_eq!(ring.committed_records(), 4 * 64);
    assert_eq!(ring.tail(), 4 * 64 * 65 / 2);
}

#[test]
fn space_is_ready_only_after_the_bytes_a_lap_before_were_drained() {
    let ring = Ring::with_capacity(64);
    ring.append(&[1; 60]).unwrap();
    let ticket = ring.reserve(5).unwrap();
    assert!(!ticket.reserve_space_ready());
    assert_eq!(ring.free_bytes(), 0);
    drained(&ring);
    assert!(ticket.reserve_space_ready());
    assert_eq!(ring.free_bytes(), 59);
    ticket.fill(&[2; 5]).publish();
    assert_eq!(drained(&ring).0, [2; 5]);
}

#[test]
fn a_failing_sink_frees_nothing_and_the_same_bytes_come_again() {
    let ring = Ring::with_capacity(64);
    ring.append(&[1; 60]).unwrap();
    drained(&ring);
    ring.append(&[9; 20]).unwrap();
    let seen = RefCell::new(0);
    // The second run fails: the first one is not freed either.
    let failed = ring.copy_committed_prefix(|_, _| {
        *seen.borrow_mut() += 1;
        if *seen.borrow() == 2 { Err("no") } else { Ok(()) }
    });
    assert_eq!(failed, Err(DrainError::Sink("no")));
    assert_eq!(ring.flush_cursor(), 60);
    assert_eq!(drained(&ring).0, [9; 20]);
}

#[test]
fn a_drain_within_a_drain_is_refused() {
    let ring = Ring::with_capacity(64);
    ring.append(&[1; 6]).unwrap();
    ring.copy_committed_prefix(|_, _| {
        let inner = ring.copy_committed_prefix(|_, _| Ok::<(), ()>(()));
        assert_eq!(inner, Err(DrainError::Busy));
        assert_eq!(ring.reset_after_drain(), Err(ResetError::Busy));
        Ok::<(), ()>(())
    })
    .unwrap();
}

#[test]
fn a_limited_drain_ends_with_a_record_and_takes_at_least_one() {
    let ring = Ring::with_capacity(256);
    for len in [40, 10, 30, 64] {
        ring.append(&vec![1; len]).unwrap();
    }
    let drain = |max_bytes, up_to| {
        let limit = DrainLimit { max_bytes, up_to };
        let done = ring.copy_committed_prefix_within(limit, |_, _| Ok::<(), ()>(())).unwrap();
        (done.bytes(), done.records)
    };
    assert_eq!(drain(u64::MAX, 39), (0, 0));
    assert_eq!(drain(7, u64::MAX), (40, 1));
    assert_eq!(drain(45, 79), (10, 1));
    assert_eq!(drain(u64::MAX, 143), (30, 1));
    assert_eq!(drain(64, 144), (64, 1));
    assert_eq!(drain(64, 144), (0, 0));
}

#[test]
fn a_dropped_ticket_and_a_dropped_filled_range_become_filler() {
    let ring = Ring::with_capacity(64)
        .with_filler(Box::new(|addr, len, bytes| bytes.fill(u8::try_from(addr + len as u64).unwrap())));
    drop(ring.reserve(3).unwrap());
    drop(ring.reserve(4).unwrap().fill(&[1; 4]));
    ring.append(&[5; 2]).unwrap();
    assert_eq!(ring.committed_records(), 3);
    assert_eq!(drained(&ring).0, [3, 3, 3, 7, 7, 7, 7, 5, 5]);
}

#[test]
fn a_ticket_dropped_before_it_has_space_neither_blocks_nor_wedges_the_ring() {
    let ring = Ring::with_capacity(64);
    ring.append(&[1; 60]).unwrap();
    drop(ring.reserve(9).unwrap());
    let behind = ring.reserve(2).unwrap();
    assert_eq!(drained(&ring).0, [1; 60]);
    behind.fill(&[2; 2]).publish();
    assert_eq!(drained(&ring).0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2]);
}

#[test]
fn a_panic_between_reserve_and_publish_does_not_wedge_the_ring() {
    let ring = Ring::with_capacity(64);
    let wrong_length = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ring.reserve(4).unwrap().fill(&[1; 5]).publish();
    }));
    assert!(wrong_length.is_err());
    ring.append(&[2; 2]).unwrap();
    assert_eq!(drained(&ring).0, [0, 0, 0, 0, 2, 2]);
}

#[test]
fn a_reset_begins_at_the_first_byte_and_returns_no_address() {
    let ring = Ring::over(Box::new(PrivateMemory::new(64)), 1000).unwrap();
    let mut expected = 1000;
    for round in 0..200usize {
        // All offsets and both parities of the lap come by.
        for len in [1 + round % 64, 1 + (round * 7) % 40] {
            assert_eq!(ring.append(&vec![3; len]), Ok(expected));
            expected += len as u64;
            let (bytes, _) = drained(&ring);
            assert_eq!(bytes, vec![3; len]);
        }
        assert_eq!(ring.reset_after_drain(), Ok(()));
        assert_eq!((ring.base(), ring.tail(), ring.flush_cursor()), (expected, expected, expected));
        assert_eq!(ring.committed_addr(), expected);
        // The whole ring is one run, so the cursor is at its first byte.
        ring.append(&[4; 64]).unwrap();
        expected += 64;
        assert_eq!(drained(&ring), (vec![4; 64], 1));
    }
    assert_eq!(ring.committed_records(), 600);
}

#[test]
fn a_reset_is_refused_while_anything_is_not_drained() {
    let ring = Ring::with_capacity(64);
    let ticket = ring.reserve(4).unwrap();
    assert_eq!(ring.reset_after_drain(), Err(ResetError::NotDrained));
    ticket.fill(&[1; 4]).publish();
    assert_eq!(ring.reset_after_drain(), Err(ResetError::NotDrained));
    drained(&ring);
    assert_eq!(ring.reset_after_drain(), Ok(()));
}

#[test]
fn a_poisoned_ring_refuses_reservations_and_ends_waits_with_an_error() {
    let ring = Ring::with_capacity(64);
    ring.append(&[1; 60]).unwrap();
    let ticket = ring.reserve(10).unwrap();
    let end = ticket.end();
    ring.poison();
    assert_eq!(ring.reserve(1).unwrap_err(), ReserveError::Closed);
    assert!(ticket.wait_for_space().is_err());
    assert_eq!(ticket.fill(&[2; 10]).publish(), end);
    assert_eq!(ring.wait_committed(60), Ok(()));
    assert!(ring.wait_committed(end).is_err());
    assert!(ring.wait_flushed(1, None).is_err());
    assert!(!ring.wait_for_committed_beyond(60, None));
    assert_eq!(drained(&ring).0, [1; 60]);
}

#[test]
fn a_wake_up_that_comes_before_the_wait_is_not_lost() {
    let ring = Ring::with_capacity(64);
    ring.wake_all();
    assert!(!ring.wait_for_committed_beyond(0, None));
    ring.append(&[1]).unwrap();
    assert!(ring.wait_for_committed_beyond(0, None));
}
