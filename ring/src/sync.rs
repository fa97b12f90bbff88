//! The one home of atomics and locks in this crate, so that loom can swap them.
//!
//! It is not an abstraction for others: it holds exactly what the ring uses. Mutexes do not poison; a
//! panic while one is held leaves data that the next holder may use (every critical section here is
//! a handful of plain assignments).

use std::time::Duration;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
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
pub(crate) use model::{Condvar, Mutex, MutexGuard};

#[cfg(loom)]
mod model {
    //! loom's lock and condition variable in the shape used here.
    use super::Duration;

    pub(crate) use loom::sync::MutexGuard;

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
