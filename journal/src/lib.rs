//! A write-ahead log: records, group commit, recovery.
//!
//! Writers append records to a ring in shared memory; a record's address in the stream is its LSN. A
//! *drainer* writes the published prefix to pre-written log files; *group commit* syncs them. After a
//! crash, [`recover`] reads the log files in order, then what in the ring continues them without a gap,
//! and [`Journal::start`] makes durable what recovery relied on and begins a new incarnation.
//!
//! The crate starts no thread, reads no clock and makes no file call of its own: storage and ring are
//! passed in or built on the storage seam, and background work is a step function
//! ([`Journal::drain_once`]). It does not know what trees, frames or cuts are.

mod admission;
mod check;
mod commit;
mod error;
mod files;
mod journal;
mod log_file;
mod options;
mod poison;
pub mod record;
mod recovery;
mod ring_file;
mod start;
mod sync;

pub use admission::Credit;
pub use error::{Error, Poisoned, Result};
pub use journal::{Appended, Frontiers, Journal};
pub use options::{Durability, JournalOptions};
pub use record::{
    BatchBody, Change, Draft, Kind, Lsn, MAX_BATCH_OPERATIONS, Marks, Operation, Operations, PayloadPointer,
    Record,
};
pub use recovery::{Mode, RecoverFrom, Recovered, TornTail, Visitor, check_log_lengths, recover};
