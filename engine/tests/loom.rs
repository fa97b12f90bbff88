//! The latch's models under loom: every interleaving, and every value that weak memory allows, within a
//! bound on preemptions. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p treering --release --test loom`.
//!
//! The latch's own files are compiled in, so that the models reach what the crate keeps to itself. A frame
//! is modelled as two words that every writer makes equal. loom finds deadlocks by itself; the
//! assertions check L1 to L3. What races is in spawned threads, never in the model's own: loom explores
//! few orders of that one. Each fence and ordering that `latch.rs` names in pairs A–B and C–D is
//! needed: with A, B or C taken out, `a_validated_read_is_whole` fails.
#![cfg(loom)]
#![expect(dead_code, reason = "the latch has more than the models use")]

#[path = "../src/tree/latch.rs"]
mod latch;
#[path = "../src/tree/sync.rs"]
mod sync;

use latch::{Exclusive, Latch};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// A frame of two words under a latch.
struct Frame {
    latch: Latch<u64>,
    words: [AtomicU64; 2],
}

impl Frame {
    fn new() -> Arc<Self> {
        Arc::new(Self { latch: Latch::new(0), words: [AtomicU64::new(0), AtomicU64::new(0)] })
    }

    fn read(&self) -> (u64, u64) {
        (self.words[0].load(Ordering::Relaxed), self.words[1].load(Ordering::Relaxed))
    }

    fn increment(&self) {
        let mut guard = self.latch.exclusive();
        self.increment_held(&mut guard);
    }

    fn increment_held(&self, guard: &mut Exclusive<'_, u64>) {
        let (first, second) = self.read();
        assert_eq!(first, second, "writers exclude each other");
        guard.begin_change();
        self.words[0].store(first + 1, Ordering::Relaxed);
        self.words[1].store(first + 1, Ordering::Relaxed);
        **guard += 1;
    }
}

/// Runs `body` in every interleaving with at most three preemptions, or what LOOM_MAX_PREEMPTIONS says.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(3);
    }
    builder.check(body);
}

/// One optimistic read; its value if it validated.
fn read_whole(frame: &Frame) -> Option<u64> {
    let version = frame.latch.read_version();
    assert!(version.is_multiple_of(2), "L1");
    let (first, second) = frame.read();
    frame.latch.validate(version).then(|| {
        assert_eq!((first, second), (version / 2, version / 2), "L3: it is what that version holds");
        first
    })
}

#[test]
fn a_validated_read_is_whole() {
    model(|| {
        let frame = Frame::new();
        let writer = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || {
                frame.increment();
                frame.increment();
            })
        };
        let reader = thread::spawn(move || {
            let mut newest = 0;
            for _ in 0..2 {
                if let Some(value) = read_whole(&frame) {
                    assert!(value >= newest, "a reader goes not back in time");
                    newest = value;
                }
            }
        });
        reader.join().unwrap();
        writer.join().unwrap();
    });
}

#[test]
fn writers_exclude_each_other_and_their_changes_add_up() {
    model(|| {
        let frame = Frame::new();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let frame = Arc::clone(&frame);
                thread::spawn(move || frame.increment())
            })
            .collect();
        let reader = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || read_whole(&frame))
        };
        reader.join().unwrap();
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!(frame.read(), (2, 2));
        assert_eq!(*frame.latch.shared(), 2);
    });
}

#[test]
fn a_shared_holder_sees_a_frame_at_rest() {
    model(|| {
        let frame = Frame::new();
        let writer = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || frame.increment())
        };
        {
            let guard = frame.latch.shared();
            let (first, second) = frame.read();
            assert_eq!((first, second), (*guard, *guard));
            assert_eq!(guard.version(), 2 * *guard, "L1");
            assert!(frame.latch.validate(guard.version()));
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_writer_that_changes_nothing_invalidates_no_read() {
    model(|| {
        let frame = Frame::new();
        let writer = {
            let frame = Arc::clone(&frame);
            thread::spawn(move || drop(frame.latch.exclusive()))
        };
        let reader = thread::spawn(move || assert_eq!(read_whole(&frame), Some(0)));
        reader.join().unwrap();
        writer.join().unwrap();
    });
}
