//! Group commit: whoever needs durability and finds no flush under way leads one for everybody; the
//! others follow. What a flush does is the caller's; who leads, who waits and when is told here.
//!
//! # Algorithm
//! A committer that finds its position durable returns. Otherwise it tries to lead: the leader gathers
//! briefly, as long as fewer committers have come back than its predecessor's flush served, then
//! flushes and publishes the new durable frontier. A lone committer has a batch of one behind it and
//! never waits for company. Followers yield a few times, then park; they are woken after each flush,
//! and one whose position is still not durable leads the next.
//!
//! # Invariants
//! - J5 At most one flush is under way.
//! - J6 The durable frontier only grows, and only to what a flush has returned.
//! - J7 Whoever parks does so under the state's lock after it has found a leader and no failure; leaders
//!   and failures notify under that lock. So no wake-up is lost.

use crate::error::Result;
use crate::record::Lsn;
use crate::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, YIELDS, yield_now};

#[derive(Debug, Default)]
struct State {
    leading: bool,
    /// Committers that the last flush served.
    last_batch: usize,
}

/// The meeting point of committers.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    state: Mutex<State>,
    changed: Condvar,
    durable: AtomicU64,
    /// Committers that have come and not returned.
    waiting: AtomicUsize,
}

/// What a committer needs of the log.
pub(crate) trait Flush {
    /// Makes everything published so far durable; the frontier reached.
    fn flush(&self) -> Result<Lsn>;

    /// An error if the log has failed.
    fn check(&self) -> Result<()>;
}

impl GroupCommit {
    pub(crate) fn new(durable: Lsn) -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: Condvar::default(),
            durable: AtomicU64::new(durable),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The durable frontier.
    pub(crate) fn durable(&self) -> Lsn {
        // Acquire pairs with the Release in `Leader`'s drop.
        self.durable.load(Ordering::Acquire)
    }

    /// Waits until the log is durable up to `end`, flushing if nobody else does. REQUIRES: everything below
    /// `end` is published, so that a flush that begins now reaches it.
    pub(crate) fn commit(&self, end: Lsn, log: &impl Flush) -> Result<()> {
        if self.durable() >= end {
            return Ok(());
        }
        let _presence = Presence::of(self);
        let mut yields = 0;
        loop {
            log.check()?;
            let mut state = self.state.lock();
            if self.durable() >= end {
                return Ok(());
            }
            if !state.leading {
                state.leading = true;
                let expected = state.last_batch;
                drop(state);
                Leader { group: self, result: None }.lead(expected, log)?;
            } else if yields < YIELDS {
                drop(state);
                yields += 1;
                yield_now();
                if self.durable() >= end {
                    return Ok(());
                }
            } else {
                log.check()?;
                drop(self.changed.wait(state));
            }
        }
    }

    /// Wakes everybody to look again (J7).
    pub(crate) fn wake_all(&self) {
        let _state = self.state.lock();
        self.changed.notify_all();
    }
}

/// Counts a committer while it lives.
struct Presence<'g>(&'g GroupCommit);

impl<'g> Presence<'g> {
    fn of(group: &'g GroupCommit) -> Self {
        // Relaxed: a hint for gathering only.
        group.waiting.fetch_add(1, Ordering::Relaxed);
        Self(group)
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The leadership of one flush; given up on drop, so that a panic wedges nobody.
struct Leader<'g> {
    group: &'g GroupCommit,
    /// Frontier reached and committers served, if the flush succeeded.
    result: Option<(Lsn, usize)>,
}

impl Leader<'_> {
    fn lead(mut self, expected: usize, log: &impl Flush) -> Result<()> {
        for _ in 0..YIELDS {
            // Relaxed: a hint.
            if self.group.waiting.load(Ordering::Relaxed) >= expected {
                break;
            }
            yield_now();
        }
        let batch = self.group.waiting.load(Ordering::Relaxed);
        let durable = log.flush()?;
        self.result = Some((durable, batch));
        Ok(())
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut state = self.group.state.lock();
        state.leading = false;
        if let Some((durable, batch)) = self.result {
            state.last_batch = batch;
            // Release pairs with the Acquire in `GroupCommit::durable`. J6: one leader at a time.
            self.group.durable.fetch_max(durable, Ordering::Release);
        }
        self.group.changed.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::Error;

    /// A log whose flush reaches what was published when it began.
    #[derive(Default)]
    struct Log {
        published: AtomicU64,
        flushing: AtomicUsize,
        flushes: AtomicUsize,
        fails: bool,
    }

    impl Flush for Log {
        fn flush(&self) -> Result<Lsn> {
            assert_eq!(self.flushing.fetch_add(1, Ordering::SeqCst), 0, "J5");
            let reached = self.published.load(Ordering::SeqCst);
            yield_now();
            self.flushes.fetch_add(1, Ordering::SeqCst);
            self.flushing.fetch_sub(1, Ordering::SeqCst);
            if self.fails { Err(Error::Options("on command")) } else { Ok(reached) }
        }

        fn check(&self) -> Result<()> {
            if self.fails && self.flushes.load(Ordering::SeqCst) > 0 {
                return Err(Error::Options("failed before"));
            }
            Ok(())
        }
    }

    #[test]
    fn a_lone_committer_flushes_once_and_waits_for_nobody() {
        let (group, log) = (GroupCommit::new(0), Log::default());
        for end in 1..50 {
            log.published.store(end, Ordering::SeqCst);
            group.commit(end, &log).unwrap();
            assert_eq!(group.durable(), end);
            assert_eq!(log.flushes.load(Ordering::SeqCst) as u64, end);
        }
        group.commit(10, &log).unwrap();
        assert_eq!(log.flushes.load(Ordering::SeqCst), 49, "what is durable needs no flush");
    }

    #[test]
    fn many_committers_share_flushes_and_all_become_durable() {
        let (group, log) = (GroupCommit::new(0), Log::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let end = log.published.fetch_add(1, Ordering::SeqCst) + 1;
                        group.commit(end, &log).unwrap();
                        assert!(group.durable() >= end);
                    }
                });
            }
        });
        assert!(log.flushes.load(Ordering::SeqCst) <= 4000);
    }

    #[test]
    fn a_failed_flush_reaches_every_committer_and_moves_nothing() {
        let (group, log) = (GroupCommit::new(0), Log { fails: true, ..Log::default() });
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(group.commit(1, &log).is_err()));
            }
        });
        assert_eq!(group.durable(), 0);
    }
}
