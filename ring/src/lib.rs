//! The write-ahead ring: many writers, one ordered stream of bytes, one drainer.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("treering counts bytes in usize: 64-bit targets only");

mod bell;
mod drain;
mod error;
mod marks;
mod memory;
mod ring;
mod sync;
mod ticket;

pub use drain::{DrainLimit, Drained};
pub use error::{BuildError, Closed, DrainError, ReserveError, ResetError};
pub use memory::{PrivateMemory, RingMemory};
pub use ring::{Filler, MAX_BASE, MIN_CAPACITY, Ring};
pub use ticket::{Filled, Ticket};

#[cfg(all(test, not(loom)))]
mod tests;
