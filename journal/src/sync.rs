//! The one place where this crate takes its atomics and locks from, so that a model checker can stand in
//! for them. It holds exactly what the crate uses. Mutexes do not poison.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::thread::yield_now;

/// How often a committer yields before it parks, or before it leads without company. Under loom never:
/// parking is what is to be proved, and polling only multiplies the states.
#[cfg(not(loom))]
pub(crate) const YIELDS: usize = 20;
#[cfg(loom)]
pub(crate) const YIELDS: usize = 0;

/// A condition variable.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

#[cfg(not(loom))]
impl Condvar {
    /// Sleeps until notified; gives the guard back.
    pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(loom)]
pub(crate) use model::{Condvar, Mutex, yield_now};

#[cfg(loom)]
mod model {
    //! loom's lock and condition variable in the shape used here.
    pub(crate) use loom::thread::yield_now;

    use loom::sync::MutexGuard;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no model panics while it holds a lock")
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).expect("no model panics while it holds a lock")
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
