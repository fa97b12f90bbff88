//! Waiting for a frontier to reach an address, without polling and without a cost to those who move it
//! while nobody waits.
//!
//! It does not hold the frontier; callers bring it as closures. A waiter files the lowest address that
//! anyone waits for in `wanted`, and sleeps; who moves the frontier looks at `wanted` and rings.
//!
//! No wake-up is lost (RG7): a waiter writes `wanted`, *fences*, looks at the frontier, sleeps; a mover
//! moves, *fences*, looks at `wanted`. The two fences are SeqCst and so stand in one order: if the waiter's
//! is first, the mover sees `wanted` and rings; if the mover's is first, the waiter sees the move and does
//! not sleep. Where several moves together reach an address, the last fence among them sees them all. The
//! bell is rung under the lock that the waiter holds from its look until it sleeps.

use std::time::Duration;

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, fence};

/// Nobody waits.
const NOBODY: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Bell {
    /// The lowest address waited for, or `NOBODY`. Written only under `state`; too low does no harm (one
    /// ring too many), too high never happens while a waiter sleeps.
    wanted: AtomicU64,
    state: Mutex<State>,
    rung: Condvar,
}

/// Guarded by `Bell::state`.
#[derive(Debug, Default)]
struct State {
    /// How often sleepers were told to come back whatever the frontier.
    interrupts: u64,
    /// An interrupt that no sleeper has taken yet: the next one returns at once, so that an interrupt
    /// between a caller's own check and its sleep is not lost.
    pending: bool,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { wanted: AtomicU64::new(NOBODY), state: Mutex::new(State::default()), rung: Condvar::default() }
    }

    /// Sleeps until `done`, which must come true no later than when the frontier has reached `target` or
    /// [`Bell::interrupt`] follows the change.
    pub(crate) fn wait(&self, target: u64, mut done: impl FnMut() -> bool) {
        let mut state = self.state.lock();
        loop {
            self.want(target);
            if done() {
                return;
            }
            state = self.rung.wait(state, None).0;
        }
    }

    /// Like [`Bell::wait`], but returns also when interrupted or when `limit` has passed. A wake-up that
    /// was meant for another waiter may start the limit again. The answer is the last of `done`.
    pub(crate) fn wait_interruptible(
        &self,
        target: u64,
        limit: Option<Duration>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        let mut state = self.state.lock();
        let seen = state.interrupts;
        loop {
            self.want(target);
            if done() {
                return true;
            }
            if state.pending || state.interrupts != seen {
                state.pending = false;
                return false;
            }
            let (guard, timed_out) = self.rung.wait(state, limit);
            state = guard;
            if timed_out {
                return done();
            }
        }
    }

    /// Files `target`. REQUIRES: the caller holds `state`.
    fn want(&self, target: u64) {
        // Relaxed: written only under the lock; movers are ordered by the fences.
        if target < self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(target, Ordering::Relaxed);
        }
        // Pairs with the fence in `moved`.
        fence(Ordering::SeqCst);
    }

    /// Rings if someone waits for what the frontier has reached. Called after every move of it.
    pub(crate) fn moved(&self, frontier: impl FnOnce() -> u64) {
        if !cfg!(ring_weaken = "wake_fence") {
            // Pairs with the fence in `want`.
            fence(Ordering::SeqCst);
        }
        // Relaxed: the fence orders it.
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted == NOBODY || frontier() < wanted {
            return;
        }
        let state = self.state.lock();
        self.wanted.store(NOBODY, Ordering::Relaxed);
        drop(state);
        self.rung.notify_all();
    }

    /// Wakes every sleeper; the interruptible ones return.
    pub(crate) fn interrupt(&self) {
        let mut state = self.state.lock();
        state.interrupts += 1;
        state.pending = true;
        self.wanted.store(NOBODY, Ordering::Relaxed);
        drop(state);
        self.rung.notify_all();
    }
}
