//! What tests stand on: a simulated disk that loses, tears and reorders what was not synced, an
//! oracle that knows what a store must answer at any LSN, and workloads. All of it is decided by
//! seeds: the same seed gives the same run.
//!
//! - [`disk`]: [`SimDisk`], a [`Storage`](treering_segment::storage::Storage).
//! - [`oracle`]: [`Oracle`], an ordered map with its history.
//! - [`workload`]: operations drawn from a seed.
//! - [`time`]: a clock that tests move, and entropy from a seed.
//!
//! It is not the campaigns: those drive the engine, and live in `xtask`.

#![forbid(unsafe_code)]

pub mod disk;
pub mod oracle;
pub mod random;
pub mod time;
pub mod workload;

use std::sync::Arc;

use treering_segment::storage::Environment;

pub use disk::{Fault, FaultKind, SimDisk};
pub use oracle::Oracle;
pub use random::Random;
pub use time::{SimClock, SimEntropy};
pub use workload::{KeyStyle, Operation, Workload, WorkloadOptions};

/// What a store stands on in a simulation.
pub fn environment(disk: &SimDisk, clock: &SimClock, entropy_seed: u64) -> Environment {
    Environment {
        storage: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(SimEntropy::new(entropy_seed)),
    }
}
