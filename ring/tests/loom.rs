//! The ring's models under loom: every interleaving, and every value that weak memory allows, within a bound on
//! preemptions. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p treering-ring --release --test loom`.
//!
//! A model checks three things by itself: loom finds each byte of the ring that is read or written without
//! being ordered after the last access (torn or gap bytes), each deadlock (a lost wake-up leaves
//! a thread asleep for ever), and each assertion below.
//!
//! That the models can fail is shown by weakenings: with `--cfg ring_weaken="<name>"` added to the flags,
//! one rule of the protocol is broken, and the models named here fail.
//!
//! | weakening | breaks | caught by, for one |
//! |---|---|---|
//! | `publish_order` | RG4: marks are set without Release | `two_producers_and_a_racing_drainer` |
//! | `run_end` | RG6: the frontier moves to any published byte | `a_record_over_two_words_is_never_seen_in_part` |
//! | `blind_advance` | RG6: the frontier is set without a look at where it stands | `a_stale_advance_does_not_mix_laps` |
//! | `space_check` | RG3: a writer takes 8 bytes too early | `space_is_reused_only_after_it_was_drained` |
//! | `wake_fence` | RG7: the mover does not fence before it looks for waiters | `a_writer_parks_and_is_woken` |
//! | `reset_recheck` | RG8: a scan does not look at the origin again | `a_reset_between_records` |
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;

use loom::sync::Arc;
use loom::thread;
use treering_ring::Ring;

/// Runs `body` in every interleaving with at most three preemptions, or what LOOM_MAX_PREEMPTIONS says.
fn model(body: impl Fn() + Sync + Send + 'static) {
    model_within(3, body);
}

/// The same with another bound, for models whose states are too many for three.
fn model_within(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(body);
}

/// One drain; appends what came, and checks that it continues `stream`.
fn drain_into(ring: &Ring, stream: &mut Vec<u8>) {
    let base = ring.base();
    let drained = ring.copy_committed_prefix(|addr, bytes| {
        // Only a model that does not reset compares addresses with the stream's length.
        assert!(addr >= base);
        stream.extend_from_slice(bytes);
        Ok::<(), Infallible>(())
    });
    assert!(drained.is_ok(), "there is one drainer");
}

/// Checks that the stream is `(fill, len)` records, each whole, in some order; how many.
fn check_whole(stream: &[u8], len_of: impl Fn(u8) -> usize) -> usize {
    let mut at = 0;
    let mut records = 0;
    while at < stream.len() {
        let fill = stream[at];
        let end = at + len_of(fill);
        assert!(end <= stream.len(), "a part of a record was drained");
        assert!(stream[at..end].iter().all(|&byte| byte == fill), "a torn record was drained");
        at = end;
        records += 1;
    }
    records
}

fn two_lengths(fill: u8) -> usize {
    [0, 5, 3, 2][usize::from(fill)]
}

#[test]
fn two_producers_and_a_racing_drainer() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        let producers = [1u8, 2].map(|fill| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&vec![fill; two_lengths(fill)]).unwrap())
        });
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        check_whole(&stream, two_lengths);
        drain_into(&ring, &mut stream);
        check_whole(&stream, two_lengths);
        let addrs = producers.map(|producer| producer.join().unwrap());
        drain_into(&ring, &mut stream);
        assert_eq!(check_whole(&stream, two_lengths), 2);
        for (fill, addr) in [1u8, 2].into_iter().zip(addrs) {
            assert_eq!(stream[usize::try_from(addr).unwrap()], fill, "the order is that of reservation");
        }
        assert_eq!((ring.committed_addr(), ring.committed_records()), (8, 2));
    });
}

#[test]
fn three_producers_and_a_racing_drainer() {
    model_within(2, || {
        let ring = Arc::new(Ring::with_capacity(64));
        let producers = [1u8, 2, 3].map(|fill| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&vec![fill; two_lengths(fill)]).unwrap())
        });
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        check_whole(&stream, two_lengths);
        for producer in producers {
            producer.join().unwrap();
        }
        drain_into(&ring, &mut stream);
        assert_eq!(check_whole(&stream, two_lengths), 3);
        assert_eq!(ring.committed_records(), 3);
    });
}

#[test]
fn a_record_over_two_words_is_never_seen_in_part() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        let len_of = |fill: u8| if fill == 1 { 40 } else { 2 };
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&[1; 40]).unwrap())
        };
        let other = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&[2; 2]).unwrap())
        };
        let mut stream = Vec::new();
        for _ in 0..2 {
            drain_into(&ring, &mut stream);
            check_whole(&stream, len_of);
        }
        producer.join().unwrap();
        other.join().unwrap();
        drain_into(&ring, &mut stream);
        assert_eq!(check_whole(&stream, len_of), 2);
    });
}

#[test]
fn a_late_publication_folds_the_later_ones_in() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        let first = ring.reserve(3).unwrap();
        let later = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let ticket = ring.reserve(2).unwrap();
                let end = ticket.fill(&[2; 2]).publish();
                ring.wait_committed(end).unwrap();
                // Whoever learns of the prefix may use it, the other's bytes included.
                let mut stream = Vec::new();
                drain_into(&ring, &mut stream);
                assert_eq!(stream, [1, 1, 1, 2, 2]);
            })
        };
        first.fill(&[1; 3]).publish();
        later.join().unwrap();
        assert_eq!(ring.committed_records(), 2);
    });
}

#[test]
fn space_is_reused_only_after_it_was_drained() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        let mut stream = Vec::new();
        ring.append(&[1; 60]).unwrap();
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                // Wraps: four bytes at the end, four at the beginning, of the next lap.
                ring.append(&[2; 8]).unwrap();
                ring.append(&[3; 3]).unwrap();
            })
        };
        drain_into(&ring, &mut stream);
        drain_into(&ring, &mut stream);
        producer.join().unwrap();
        drain_into(&ring, &mut stream);
        let expected = [vec![1; 60], vec![2; 8], vec![3; 3]].concat();
        assert_eq!(stream, expected);
        assert_eq!(ring.committed_records(), 3);
    });
}

#[test]
fn a_stale_advance_does_not_mix_laps() {
    model_within(2, || {
        let ring = Arc::new(Ring::with_capacity(64));
        let laps = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                // Three laps: the marks of the third look like those of the first.
                let mut stream = Vec::new();
                for fill in 1..=3u8 {
                    ring.append(&[fill; 64]).unwrap();
                    drain_into(&ring, &mut stream);
                    assert_eq!(stream.len(), 64 * usize::from(fill));
                }
            })
        };
        // Spread over the laps by preemption.
        let seen = ring.advance();
        assert!(seen % 64 == 0 && seen <= 192);
        laps.join().unwrap();
        assert_eq!((ring.advance(), ring.committed_records()), (192, 3));
    });
}

#[test]
fn a_writer_parks_and_is_woken() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        ring.append(&[1; 64]).unwrap();
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&[2; 4]).unwrap())
        };
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        // No further drain before the join: the one above must have woken the writer.
        assert_eq!(writer.join().unwrap(), 64);
        drain_into(&ring, &mut stream);
        assert_eq!(stream.len(), 68);
    });
}

#[test]
fn a_drainer_parks_and_is_woken() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        let drainer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut stream = Vec::new();
                while ring.wait_for_committed_beyond(stream.len() as u64, None) {
                    drain_into(&ring, &mut stream);
                }
                drain_into(&ring, &mut stream);
                stream
            })
        };
        ring.append(&[1; 5]).unwrap();
        ring.wake_all();
        let mut stream = drainer.join().unwrap();
        drain_into(&ring, &mut stream);
        assert_eq!(stream, [1; 5]);
    });
}

#[test]
fn a_writer_and_a_waiter_park_together_and_both_are_woken() {
    model_within(2, || {
        let ring = Arc::new(Ring::with_capacity(64));
        ring.append(&[1; 62]).unwrap();
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&[2; 4]).unwrap())
        };
        let waiter = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.wait_committed(66).unwrap())
        };
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        writer.join().unwrap();
        waiter.join().unwrap();
    });
}

#[test]
fn poison_wakes_a_parked_writer_and_a_parked_waiter() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        ring.append(&[1; 64]).unwrap();
        let writer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&[2; 4]).is_err())
        };
        let waiter = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.wait_committed(66).is_err())
        };
        ring.poison();
        assert!(writer.join().unwrap());
        assert!(waiter.join().unwrap());
    });
}

#[test]
fn a_reset_between_records() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        ring.append(&[1; 6]).unwrap();
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        let producer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.append(&[2; 4]).unwrap())
        };
        let observer = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let seen = ring.advance();
                assert!(seen == 6 || seen == 10, "nothing but a record's end is committed: {seen}");
            })
        };
        // Comes before the record, or after its reservation and then is refused.
        let reset = ring.reset_after_drain().is_ok();
        assert_eq!(producer.join().unwrap(), 6, "addresses go on");
        observer.join().unwrap();
        assert_eq!(ring.base(), if reset { 6 } else { 0 });
        drain_into(&ring, &mut stream);
        assert_eq!(stream, [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(ring.committed_records(), 2);
    });
}

#[test]
fn a_ticket_dropped_with_space_becomes_filler() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        let quitter = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || drop(ring.reserve(3).unwrap()))
        };
        let end = ring.append(&[2; 2]).unwrap() + 2;
        ring.wait_committed(end).unwrap();
        quitter.join().unwrap();
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        assert!(stream == [0, 0, 0, 2, 2] || stream == [2, 2, 0, 0, 0]);
    });
}

#[test]
fn a_ticket_dropped_without_space_is_filled_when_there_is_some() {
    model(|| {
        let ring = Arc::new(Ring::with_capacity(64));
        ring.append(&[1; 62]).unwrap();
        let quitter = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || drop(ring.reserve(4).unwrap()))
        };
        let mut stream = Vec::new();
        drain_into(&ring, &mut stream);
        quitter.join().unwrap();
        // Either the drain or the drop has filled it: nobody else comes.
        ring.wait_committed(66).unwrap();
        drain_into(&ring, &mut stream);
        assert_eq!(stream[62..], [0; 4]);
        assert_eq!(ring.committed_records(), 2);
    });
}
