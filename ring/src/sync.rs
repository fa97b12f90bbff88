//! The one home of atomics and locks in this crate, so that loom can swap them.
//!
//! It is not an abstraction for others: it holds exactly what the ring uses. Mutexes do not poison; a
//! panic while one is held leaves data that the next holder may use (every critical section here is
//! a handful of plain assignments).

use std::time::Duration;

/// A byte that a pointer may write. Never used as an atomic, so loom need not know it.
pub(crate) use std::sync::atomic::AtomicU8;

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// How often a waiter looks again before it yields, and how often it yields before it parks. Under loom
/// both are zero: parking is what is to be proved, and polling only multiplies the states.
#[cfg(not(loom))]
pub(crate) const SPINS: u32 = 32;
#[cfg(loom)]
pub(crate) const SPINS: u32 = 0;
#[cfg(not(loom))]
pub(crate) const YIELDS: u32 = 20;
#[cfg(loom)]
pub(crate) const YIELDS: u32 = 0;

/// Looks at `ready` a bounded number of times, first spinning, then yielding; whether it came true.
pub(crate) fn poll_briefly(mut ready: impl FnMut() -> bool) -> bool {
    for _ in 0..SPINS {
        std::hint::spin_loop();
        if ready() {
            return true;
        }
    }
    for _ in 0..YIELDS {
        std::thread::yield_now();
        if ready() {
            return true;
        }
    }
    false
}

/// A condition variable with an optional limit to the sleep.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

#[cfg(not(loom))]
impl Condvar {
    /// Sleeps; gives the guard back and whether the time was up.
    pub(crate) fn wait<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Option<Duration>,
    ) -> (MutexGuard<'a, T>, bool) {
        let timed_out = match limit {
            None => {
                self.0.wait(&mut guard);
                false
            }
            Some(limit) => self.0.wait_for(&mut guard, limit).timed_out(),
        };
        (guard, timed_out)
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(loom)]
pub(crate) use model::{AtomicU64, Condvar, Mutex};

#[cfg(loom)]
mod model {
    //! loom's atomics, lock and condition variable in the shape used here.
    use super::{Duration, Ordering};

    use loom::sync::MutexGuard;

    /// A word whose loads loom cannot overlook.
    ///
    /// loom leaves out interleavings that cannot differ, and to find those that can it remembers one last
    /// access for each atomic. Where a thread loads a word and then stores to it, its own load
    /// has taken the place of another thread's earlier one, and "the store first" is never tried: a
    /// drainer that never meets an early publication proves nothing. So each load first touches a
    /// shadow word by a relaxed exchange, which conflicts with every other load's; it orders no memory.
    #[derive(Debug)]
    pub(crate) struct AtomicU64 {
        word: loom::sync::atomic::AtomicU64,
        shadow: loom::sync::atomic::AtomicU64,
    }

    impl AtomicU64 {
        pub(crate) fn new(value: u64) -> Self {
            Self {
                word: loom::sync::atomic::AtomicU64::new(value),
                shadow: loom::sync::atomic::AtomicU64::new(0),
            }
        }

        pub(crate) fn load(&self, order: Ordering) -> u64 {
            self.shadow.fetch_or(0, Ordering::Relaxed);
            self.word.load(order)
        }

        pub(crate) fn store(&self, value: u64, order: Ordering) {
            self.word.store(value, order);
        }

        pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.word.fetch_add(value, order)
        }

        pub(crate) fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
            self.word.fetch_and(value, order)
        }

        pub(crate) fn fetch_xor(&self, value: u64, order: Ordering) -> u64 {
            self.word.fetch_xor(value, order)
        }

        pub(crate) fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.word.compare_exchange(current, new, success, failure)
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no model panics while it holds a lock")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        /// As the real one, but a limited sleep never ends by time: a model must not lean on it.
        pub(crate) fn wait<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            _limit: Option<Duration>,
        ) -> (MutexGuard<'a, T>, bool) {
            (self.0.wait(guard).expect("no model panics while it holds a lock"), false)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
