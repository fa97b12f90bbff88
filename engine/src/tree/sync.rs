//! The tree's only door to atomics and locks, so that the models can swap them.
//!
//! It is not a place for algorithms. Frame words do not come through here: a frame is
//! `core` atomics accessed whole and relaxed, and the models check the latch, not the frame.

#[cfg(not(loom))]
pub(crate) use plain::*;

#[cfg(loom)]
pub(crate) use model::*;

#[cfg(not(loom))]
mod plain {
    pub(crate) use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
    pub(crate) use std::sync::OnceLock;
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

    /// Looks at an odd version so often before yielding.
    pub(crate) const SPINS: u32 = 32;
    /// Yields so often before parking.
    pub(crate) const YIELDS: u32 = 8;

    /// One turn of a short wait.
    pub(crate) fn spin() {
        std::hint::spin_loop();
    }

    /// Lets another thread run.
    pub(crate) fn yield_now() {
        std::thread::yield_now();
    }
}

#[cfg(loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{RwLockReadGuard, RwLockWriteGuard};

    /// One look, then park: parking is what is to be proved, and polling only multiplies the states.
    pub(crate) const SPINS: u32 = 1;
    pub(crate) const YIELDS: u32 = 0;

    /// loom's lock under the interface that the plain one has.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("a model thread panicked")
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("a model thread panicked")
        }
    }

    pub(crate) fn spin() {
        loom::thread::yield_now();
    }

    pub(crate) fn yield_now() {
        loom::thread::yield_now();
    }
}
