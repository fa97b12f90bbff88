//! Store time (PROTOCOL F6): a persisted high-water mark plus what the boot-time clock has gone since
//! the store was opened. It is *not* the wall clock: a jump of that expires nothing until it has held.
//!
//! # Invariants
//! - **T1** Store time never goes back, across restarts either: recovery starts from the highest time it
//!   found in manifest and log.
//! - **T2** A wall clock ahead of store time is adopted only after it was ahead for an hour of boot time
//!   without a break.

use std::sync::Arc;

use parking_lot::Mutex;
use treering_segment::storage::Clock;

/// How long a wall clock must have been ahead before it is believed.
const ADOPTION_DELAY_MS: u64 = 60 * 60 * 1000;

/// The clock that gives times to records and decides expiry. Milliseconds throughout.
#[derive(Debug)]
pub(crate) struct StoreClock {
    source: Arc<dyn Clock>,
    state: Mutex<Anchor>,
}

#[derive(Debug)]
struct Anchor {
    store_ms: u64,
    boot_ms: u64,
    ahead_since_boot_ms: Option<u64>,
}

impl StoreClock {
    /// A clock that goes on from `high_water_ms`.
    pub(crate) fn from_high_water(source: Arc<dyn Clock>, high_water_ms: u64) -> Self {
        let boot_ms = source.boot_ms();
        Self {
            source,
            state: Mutex::new(Anchor { store_ms: high_water_ms, boot_ms, ahead_since_boot_ms: None }),
        }
    }

    /// Store time now.
    pub(crate) fn now_ms(&self) -> u64 {
        let anchor = self.state.lock();
        anchor.store_ms + self.source.boot_ms().saturating_sub(anchor.boot_ms)
    }

    /// Looks at the wall clock and adopts it if it has been ahead for long enough. Called now and then by
    /// background work.
    pub(crate) fn observe_wall(&self) {
        let boot = self.source.boot_ms();
        let wall = self.source.wall_ms();
        let mut anchor = self.state.lock();
        let now = anchor.store_ms + boot.saturating_sub(anchor.boot_ms);
        if wall <= now {
            anchor.ahead_since_boot_ms = None;
            return;
        }
        let since = *anchor.ahead_since_boot_ms.get_or_insert(boot);
        if boot.saturating_sub(since) >= ADOPTION_DELAY_MS {
            *anchor = Anchor { store_ms: wall, boot_ms: boot, ahead_since_boot_ms: None };
        }
    }

    /// The wall-clock time at which store time reaches `store_ms`, for people.
    pub(crate) fn to_wall_ms(&self, store_ms: u64) -> u64 {
        let now = self.now_ms();
        let wall = self.source.wall_ms();
        if store_ms >= now {
            wall.saturating_add(store_ms - now)
        } else {
            wall.saturating_sub(now - store_ms)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[derive(Debug, Default)]
    struct Fake {
        boot: AtomicU64,
        wall: AtomicU64,
    }

    impl Clock for Fake {
        fn boot_ms(&self) -> u64 {
            self.boot.load(Relaxed)
        }
        fn wall_ms(&self) -> u64 {
            self.wall.load(Relaxed)
        }
    }

    #[test]
    fn a_wall_clock_that_jumps_ahead_counts_only_after_an_hour() {
        let fake = Arc::new(Fake::default());
        let clock = StoreClock::from_high_water(fake.clone(), 1_000);
        fake.wall.store(1 << 40, Relaxed);
        clock.observe_wall();
        assert_eq!(clock.now_ms(), 1_000);
        fake.boot.store(ADOPTION_DELAY_MS - 1, Relaxed);
        clock.observe_wall();
        assert_eq!(clock.now_ms(), 1_000 + ADOPTION_DELAY_MS - 1);
        fake.boot.store(ADOPTION_DELAY_MS, Relaxed);
        clock.observe_wall();
        assert_eq!(clock.now_ms(), 1 << 40);
    }

    #[test]
    fn a_wall_clock_that_falls_back_takes_the_hour_back() {
        let fake = Arc::new(Fake::default());
        let clock = StoreClock::from_high_water(fake.clone(), 1_000);
        fake.wall.store(1 << 40, Relaxed);
        clock.observe_wall();
        fake.wall.store(0, Relaxed);
        clock.observe_wall();
        fake.wall.store(1 << 40, Relaxed);
        fake.boot.store(ADOPTION_DELAY_MS, Relaxed);
        clock.observe_wall();
        assert_eq!(clock.now_ms(), 1_000 + ADOPTION_DELAY_MS);
    }
}
