//! Models of group commit: every interleaving of two and three committers, of a failing flush and of a
//! poison from outside. They prove J5 (one flush at a time), J6 (the frontier is what a flush reached) and
//! J7 (no wake-up is lost: a lost one is a deadlock, which loom reports). The file under test is compiled
//! into this crate, over loom's primitives; its surroundings are stood in for.
#![cfg(loom)]

#[path = "../src/commit.rs"]
mod commit;
#[path = "../src/sync.rs"]
mod sync;

mod error {
    //! The one failure there is.
    pub(crate) type Result<T> = std::result::Result<T, Failed>;

    #[derive(Debug, PartialEq, Eq)]
    pub(crate) struct Failed;
}

mod record {
    //! Only addresses.
    pub(crate) type Lsn = u64;
}

use commit::{Flush, GroupCommit};
use error::{Failed, Result};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

struct World {
    group: GroupCommit,
    log: Log,
}

struct Log {
    published: AtomicU64,
    /// What a crash would find; changed by flushes only.
    durable: AtomicU64,
    flushing: AtomicBool,
    poisoned: AtomicBool,
    fails: bool,
}

impl Flush for Log {
    fn flush(&self) -> Result<u64> {
        assert!(!self.flushing.swap(true, Ordering::SeqCst), "J5: one flush at a time");
        let reached = self.published.load(Ordering::SeqCst);
        if self.fails {
            self.poisoned.store(true, Ordering::SeqCst);
        } else {
            self.durable.store(reached, Ordering::SeqCst);
        }
        self.flushing.store(false, Ordering::SeqCst);
        if self.fails { Err(Failed) } else { Ok(reached) }
    }

    fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::SeqCst) { Err(Failed) } else { Ok(()) }
    }
}

fn world(fails: bool) -> Arc<World> {
    let log = Log {
        published: AtomicU64::new(0),
        durable: AtomicU64::new(0),
        flushing: AtomicBool::new(false),
        poisoned: AtomicBool::new(false),
        fails,
    };
    Arc::new(World { group: GroupCommit::new(0), log })
}

fn commit_one(world: &World) -> Result<()> {
    let end = world.log.published.fetch_add(1, Ordering::SeqCst) + 1;
    world.group.commit(end, &world.log)?;
    assert!(world.log.durable.load(Ordering::SeqCst) >= end, "acknowledged before it was durable");
    assert!(world.group.durable() >= end, "J6");
    Ok(())
}

fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(preemptions));
    builder.check(body);
}

fn committers(count: usize, fails: bool) {
    // A third thread multiplies the states by a hundred.
    model(if count == 2 { 3 } else { 2 }, move || {
        let world = world(fails);
        let others: Vec<_> = (1..count)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || commit_one(&world))
            })
            .collect();
        let mut results = vec![commit_one(&world)];
        results.extend(others.into_iter().map(|other| other.join().expect("no committer panics")));
        assert!(results.iter().all(|result| result.is_err() == fails));
        assert!(!fails || world.group.durable() == 0, "a failed flush moves nothing");
    });
}

#[test]
fn two_committers_become_durable() {
    committers(2, false);
}

#[test]
fn three_committers_become_durable() {
    committers(3, false);
}

#[test]
fn a_failed_flush_reaches_two_committers() {
    committers(2, true);
}

#[test]
fn a_failed_flush_reaches_three_committers() {
    committers(3, true);
}

#[test]
fn a_poison_from_outside_wakes_who_is_parked() {
    model(3, || {
        let world = world(false);
        let committer = {
            let world = Arc::clone(&world);
            thread::spawn(move || commit_one(&world))
        };
        let second = {
            let world = Arc::clone(&world);
            thread::spawn(move || commit_one(&world))
        };
        world.log.poisoned.store(true, Ordering::SeqCst);
        world.group.wake_all();
        // Each ends, with an answer that depends on who came first.
        let _ = committer.join().expect("no committer panics");
        let _ = second.join().expect("no committer panics");
    });
}
