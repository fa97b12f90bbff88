//! Time and entropy that a test decides.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use treering_segment::storage::{Clock, Entropy};

use crate::random::Random;

#[derive(Clone, Copy, Debug)]
struct Now {
    boot_ms: u64,
    wall_ms: u64,
}

/// A clock that stands still until it is moved; clones share it.
#[derive(Clone, Debug)]
pub struct SimClock {
    now: Arc<Mutex<Now>>,
}

impl SimClock {
    /// A host that was booted a second ago, with its wall clock at `wall_ms`.
    pub fn new(wall_ms: u64) -> Self {
        Self { now: Arc::new(Mutex::new(Now { boot_ms: 1000, wall_ms })) }
    }

    /// Lets `ms` pass.
    pub fn advance(&self, ms: u64) {
        let mut now = self.now.lock();
        now.boot_ms = now.boot_ms.saturating_add(ms);
        now.wall_ms = now.wall_ms.saturating_add(ms);
    }

    /// Sets the wall clock without time passing.
    pub fn set_wall(&self, wall_ms: u64) {
        self.now.lock().wall_ms = wall_ms;
    }

    /// Boots the host anew: the boot clock starts again, the wall clock goes on.
    pub fn reboot(&self) {
        self.now.lock().boot_ms = 1000;
    }
}

impl Clock for SimClock {
    fn boot_ms(&self) -> u64 {
        self.now.lock().boot_ms
    }

    fn wall_ms(&self) -> u64 {
        self.now.lock().wall_ms
    }
}

/// Entropy from a seed.
#[derive(Debug)]
pub struct SimEntropy {
    random: Mutex<Random>,
}

impl SimEntropy {
    /// The bytes that belong to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { random: Mutex::new(Random::new(seed)) }
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, buffer: &mut [u8]) -> io::Result<()> {
        self.random.lock().fill(buffer);
        Ok(())
    }
}
