//! The hybrid latch of one frame: readers check a version, writers hold a lock.
//!
//! It is not a logical lock: it protects words in memory for the length of one operation and
//! knows nothing of keys, epochs or captures.
//!
//! # Algorithm
//!
//! A latch is a 64-bit *version* and a lock around `T` (what the holder must know of the frame).
//! The version is even while the words are at rest and odd while they change.
//!
//! * An optimistic reader takes the version (`read_version`), reads words, and calls `validate`.
//!   Only if that says yes may it use what it read.
//! * A writer takes the lock (`exclusive`). This alone keeps other writers and shared readers
//!   out and leaves optimistic readers undisturbed, so that a writer that settles conditions,
//!   logs its record or finds nothing to do costs readers nothing. Before the first word changes
//!   it calls `Exclusive::begin_change`: the version goes odd and stays so until the guard drops,
//!   which makes it even again, two higher.
//! * A reader that meets an odd version spins briefly, yields, and then parks on the lock until
//!   the writer has left. Nobody spins for ever.
//! * A writer that panics between its first change and its last leaves the version `BROKEN` for ever:
//!   nothing validates any more, and the lock's next holder learns that the frame is unfit.
//! * `shared` keeps writers out. It is for readers whose validation failed too often and for the
//!   checkpointer.
//!
//! # Invariants
//!
//! * **L1** The version changes only under the exclusive lock and only grows; it is never reset.
//!   Whoever holds the lock, shared or exclusive without `begin_change`, sees it even or `BROKEN`.
//! * **L2** A word of the frame changes only while the version is odd.
//! * **L3** If `validate(v)` says yes for an even `v` that `read_version` returned, then every word
//!   read in between has the value it had throughout that time: no writer's store was seen in part.
//! * **L4** No one waits for a latch while holding one, save a writer that goes from root to leaf and
//!   then in key order. In particular a reader holds at most one and holds none when it parks.
//!
//! # Why the orderings suffice (L3)
//!
//! Words are stored and loaded relaxed. `begin_change` stores the odd version and then issues a
//! release fence (A); the reader loads words and then issues an acquire fence (B). A reader that
//! saw any store after A therefore sees the odd version, or a later one, in its check after B, and
//! the check fails. The guard's drop stores the even version with release (C); `read_version` loads
//! it with acquire (D), so that a reader that starts from it sees every word of that change.

use super::sync::{
    AtomicU64, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard, SPINS, YIELDS, fence, spin, yield_now,
};
use std::ops::{Deref, DerefMut};

/// The version of a frame whose writer panicked half-way. Odd, so nothing validates against it.
const BROKEN: u64 = u64::MAX;

/// A version and a lock around what the holder must know of the frame.
#[derive(Debug)]
pub(crate) struct Latch<T> {
    version: AtomicU64,
    state: RwLock<T>,
}

impl<T> Latch<T> {
    /// A free latch.
    pub(crate) fn new(state: T) -> Self {
        Self { version: AtomicU64::new(0), state: RwLock::new(state) }
    }

    /// The version to read under, waiting while a change is under way. Even, or else the frame is
    /// broken and nothing read under it validates.
    ///
    /// REQUIRES: the caller holds no latch (L4).
    pub(crate) fn read_version(&self) -> u64 {
        for turn in 0..SPINS + YIELDS {
            // Acquire pairs with the release store in `Exclusive::drop` (C, D).
            let version = self.version.load(Ordering::Acquire);
            if version & 1 == 0 {
                return version;
            }
            if turn < SPINS { spin() } else { yield_now() }
        }
        let parked = self.state.read();
        // Under the shared lock no change is under way (L1).
        let version = self.version.load(Ordering::Acquire);
        drop(parked);
        version
    }

    /// Whether nothing has changed since `read_version` returned `version` (L3).
    #[must_use]
    pub(crate) fn validate(&self, version: u64) -> bool {
        // Acquire fence (B) pairs with the release fence in `begin_change` (A).
        fence(Ordering::Acquire);
        version & 1 == 0 && self.version.load(Ordering::Relaxed) == version
    }

    /// Keeps other writers and shared readers out, waiting for them to leave.
    pub(crate) fn exclusive(&self) -> Exclusive<'_, T> {
        Exclusive { state: self.state.write(), version: &self.version, changing: false }
    }

    /// Keeps writers out, waiting for them to leave.
    pub(crate) fn shared(&self) -> Shared<'_, T> {
        let state = self.state.read();
        // Relaxed: the lock orders it after the last change, and L1 keeps it still.
        let version = self.version.load(Ordering::Relaxed);
        Shared { state, version }
    }
}

/// A held shared latch.
#[derive(Debug)]
pub(crate) struct Shared<'a, T> {
    state: RwLockReadGuard<'a, T>,
    version: u64,
}

impl<T> Shared<'_, T> {
    /// The version, which cannot change while this guard lives (L1).
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether a writer panicked half-way through a change.
    pub(crate) fn broken(&self) -> bool {
        self.version == BROKEN
    }
}

impl<T> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

/// A held exclusive latch.
#[derive(Debug)]
pub(crate) struct Exclusive<'a, T> {
    state: RwLockWriteGuard<'a, T>,
    version: &'a AtomicU64,
    changing: bool,
}

impl<T> Exclusive<'_, T> {
    /// The version under the lock: as long as no change has begun, what a reader may have seen.
    pub(crate) fn version(&self) -> u64 {
        // Relaxed: the lock orders it, and only its holder stores it (L1).
        self.version.load(Ordering::Relaxed)
    }

    /// Whether a writer panicked half-way through a change.
    pub(crate) fn broken(&self) -> bool {
        self.version() == BROKEN
    }

    /// Announces that words are about to change (L2). Further calls do nothing.
    pub(crate) fn begin_change(&mut self) {
        if self.changing || self.broken() {
            return;
        }
        // Relaxed load: only a holder of this lock stores it (L1).
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Release fence (A) pairs with the acquire fence in `validate` (B): it comes before every
        // store to the frame, so that who sees such a store sees the odd version.
        fence(Ordering::Release);
        self.changing = true;
    }

    /// Whether `begin_change` was called.
    pub(crate) fn changing(&self) -> bool {
        self.changing
    }
}

impl<T> Deref for Exclusive<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for Exclusive<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T> Drop for Exclusive<'_, T> {
    fn drop(&mut self) {
        if self.changing {
            let version = self.version.load(Ordering::Relaxed);
            // Release (C) pairs with the acquire load in `read_version` (D). The lock is released
            // after this, when the fields drop, so L1 holds.
            let next = if std::thread::panicking() { BROKEN } else { version + 1 };
            self.version.store(next, Ordering::Release);
        }
    }
}
