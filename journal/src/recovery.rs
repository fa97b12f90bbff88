//! Recovery.
use crate::error::Result;
use crate::options::JournalOptions;
use crate::record::{Lsn, Record};
use std::error::Error as StdError;
use treering_segment::storage::Environment;

/// Receives the records in LSN order.
pub type Visitor<'v> =
    dyn FnMut(&Record<'_>) -> std::result::Result<(), Box<dyn StdError + Send + Sync>> + 'v;

/// What the manifest knows about the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverFrom {
    /// Where to begin: an LSN at which a record starts, or the log's end.
    pub low_water: Lsn,
    /// `lsn0` of the newest cut, which the log was synced through: it must be reached, and no new LSN
    /// is below it.
    pub lsn0: Lsn,
    /// Sequence of the newest manifest edit that was found.
    pub durable_edit: u64,
    /// Where the log ended when the store was last closed cleanly, if the newest edit says so.
    pub clean_end: Option<Lsn>,
}

/// Whether the store will be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is changed; [`crate::Journal::start`] refuses the result.
    ReadOnly,
    /// The result may start a journal.
    Writing,
}

/// Bytes that were there beyond the end of the log, and were cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The end of the log.
    pub at: Lsn,
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The address after the last record.
    pub end_lsn: Lsn,
    /// Records visited.
    pub records: u64,
    /// Whether the last record says that the log was closed cleanly.
    pub clean: bool,
    /// Set if something lay beyond the end.
    pub torn_tail: Option<TornTail>,
    /// Highest epoch of all records; 0 if there were none.
    pub max_epoch: u64,
    /// Latest store time of all records.
    pub max_time_ms: u64,
    /// Highest durable LSN that a record tells of.
    pub max_durable_lsn: Lsn,
    /// Highest durable manifest edit that a record tells of.
    pub max_durable_edit: u64,
    /// Newest incarnation that the log knows.
    pub incarnation: u32,
    /// Bytes that came from the ring alone.
    pub from_ring: u64,
}

/// Reads the log from `from.low_water`, handing each record to `visitor` in LSN order.
pub fn recover(
    env: &Environment,
    options: &JournalOptions,
    from: RecoverFrom,
    mode: Mode,
    visitor: &mut Visitor<'_>,
) -> Result<Recovered> {
    let _ = (env, options, from, mode, visitor);
    todo!()
}
