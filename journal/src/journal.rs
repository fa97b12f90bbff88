//! The journal.
use crate::error::{Error, Result};
use crate::options::{Durability, JournalOptions};
use crate::record::{Draft, Lsn};
use crate::recovery::Recovered;
use std::time::Duration;
use treering_segment::storage::Environment;

/// A running log. Shared by reference between threads.
#[derive(Debug)]
pub struct Journal {}

/// Leave to append one record of up to the admitted size without waiting. Dropping it gives it back.
#[derive(Debug)]
pub struct Credit<'j> {
    _journal: &'j Journal,
}

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record's LSN.
    pub lsn: Lsn,
    /// The address after its last byte: the position to acknowledge.
    pub end: Lsn,
}

/// How far the log has come; `reserved >= published >= written >= durable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontiers {
    /// Next LSN to be assigned.
    pub reserved: Lsn,
    /// End of the contiguous published prefix.
    pub published: Lsn,
    /// End of what was written to log files.
    pub written: Lsn,
    /// End of what is durable.
    pub durable: Lsn,
}

#[expect(missing_docs, unused_variables, reason = "signatures only")]
#[expect(clippy::unused_self, reason = "signatures only")]
impl Journal {
    /// The first LSN of a fresh store.
    pub const FIRST_LSN: Lsn = 4096;
    pub fn create(env: &Environment, options: &JournalOptions) -> Result<Self> {
        todo!()
    }
    pub fn start(env: &Environment, options: &JournalOptions, recovered: Recovered) -> Result<Self> {
        todo!()
    }
    pub fn admit(&self, bytes: usize) -> Result<Credit<'_>> {
        todo!()
    }
    /// As `admit`, but may use the bytes kept back for deletes, marks and cuts.
    pub fn admit_reserve(&self, bytes: usize) -> Result<Credit<'_>> {
        todo!()
    }
    pub fn append(&self, credit: Credit<'_>, draft: &Draft<'_>) -> Appended {
        todo!()
    }
    pub fn acknowledge(&self, end: Lsn, durability: Durability) -> Result<()> {
        todo!()
    }
    pub fn flush(&self) -> Result<Lsn> {
        todo!()
    }
    pub fn wait_durable(&self, lsn: Lsn) -> Result<()> {
        todo!()
    }
    pub fn drain_once(&self) -> Result<u64> {
        todo!()
    }
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        todo!()
    }
    pub fn wake(&self) {
        todo!()
    }
    pub fn set_durable_edit(&self, sequence: u64) {
        todo!()
    }
    /// Appends a Mark record and flushes; returns the durable frontier.
    pub fn write_mark(&self, epoch: u64, time_ms: u64) -> Result<Lsn> {
        todo!()
    }
    pub fn drop_below(&self, low_water: Lsn) -> Result<()> {
        todo!()
    }
    pub fn tail(&self) -> Lsn {
        todo!()
    }
    pub fn frontiers(&self) -> Frontiers {
        todo!()
    }
    pub fn log_bytes(&self) -> u64 {
        todo!()
    }
    pub fn over_cap(&self) -> bool {
        todo!()
    }
    pub fn max_record_bytes(&self) -> usize {
        todo!()
    }
    pub fn incarnation(&self) -> u32 {
        todo!()
    }
    pub fn is_poisoned(&self) -> bool {
        todo!()
    }
    pub fn poison(&self, error: Error) {
        todo!()
    }
    pub fn close_clean(&self, epoch: u64, time_ms: u64) -> Result<Lsn> {
        todo!()
    }
}
