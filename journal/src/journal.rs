//! The running log: admission, appending, acknowledging, draining. How it begins is told in `start`; what
//! is in the log after a crash, in `recovery`.
//!
//! # Frontiers
//! `reserved >= published >= written >= durable`, all LSNs. The ring keeps the first two; `written` follows
//! each drain; `durable` follows each flush. The *promised* position lies at or beyond `reserved`:
//! it is the tail as it will be when every credit given out is used up.
//!
//! # Invariants
//! - J8 promised <= freed ring space + capacity, and promised <= the end of the files made ready. Both are
//!   checked where a credit is given, before the gate; so an append waits for nothing and the
//!   drainer always finds a file (PROTOCOL W1).
//! - J9 Ordinary credits leave `reserve` bytes of both alone, for deletes and cuts; these leave a quarter of
//!   it for marks and the close (F1).
//! - J10 Bytes are written to the log once, in stream order, after their checksums held (F2). After a failed
//!   write or sync nothing is written or synced again: the journal is poisoned.
//! - J11 A position is acknowledged only when everything before it is published (O1), and `Sync` only when
//!   a flush that began after that has returned.
//! - J15 Marks come again within every sector's length of records, so that damage to one sector does not take
//!   with it all that tells of it.

use std::sync::Arc;
use std::time::Duration;

use treering_ring::{DrainError, Ring};
use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::error::{Damage, IoFailure};
use treering_segment::storage::Storage;

use crate::admission::Credit;
use crate::check::StreamCheck;
use crate::commit::{Flush, GroupCommit};
use crate::error::{Error, Result};
use crate::files::{LogFiles, MakeError};
use crate::log_file::{BLOCK, LogHeader};
use crate::options::{Durability, JournalOptions};
use crate::poison::Poison;
use crate::record::{Draft, Lsn, Marks};
use crate::ring_file::RING_NAME;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Bytes of records after which one carries marks even though they have not moved: a sector.
const MARKS_APART: u64 = 512;

/// A running log. Shared by reference between threads; see the crate's introduction.
#[derive(Debug)]
pub struct Journal {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: JournalOptions,
    pub(crate) incarnation: u32,
    pub(crate) salt: u32,
    pub(crate) ring: Ring,
    /// Whether the ring's bytes outlive the process.
    pub(crate) shared_ring: bool,
    pub(crate) files: LogFiles,
    /// Held by the one drainer.
    pub(crate) drainer: Mutex<StreamCheck>,
    pub(crate) group: GroupCommit,
    pub(crate) poison: Poison,
    pub(crate) promised: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) low_water: AtomicU64,
    /// First LSN of this incarnation.
    pub(crate) base: Lsn,
    /// Addresses between the low-water mark at the start and `base` that no record has.
    pub(crate) void_bytes: u64,
    pub(crate) durable_edit: AtomicU64,
    /// Highest marks that some record of this incarnation carries.
    pub(crate) marked_lsn: AtomicU64,
    pub(crate) marked_edit: AtomicU64,
    /// About where the last record with marks begins.
    pub(crate) marked_at: AtomicU64,
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

impl Journal {
    /// The first LSN of a fresh store, so that 0 means "none".
    pub const FIRST_LSN: Lsn = 4096;

    pub(crate) fn make_ready(&self, until: Lsn) -> Result<()> {
        self.files.make_ready(until).map_err(|error| self.made(error))
    }

    /// What a failure around log files means: only a failed sync ends the journal.
    fn made(&self, error: MakeError) -> Error {
        match error {
            MakeError::Refused(failure) if failure.is_out_of_space() => Error::Full(failure),
            MakeError::Refused(failure) => Error::Io(failure),
            MakeError::Sync(failure) => self.fail(failure.into()),
        }
    }

    /// Appends `draft`, giving it the next LSN. It waits for nothing; on a poisoned journal the record goes
    /// nowhere, which its acknowledgement tells.
    ///
    /// # Panics
    /// If the record is longer than the credit admits.
    pub fn append(&self, mut credit: Credit<'_>, draft: &Draft<'_>) -> Appended {
        let prepared = draft.prepare(self.marks_for(draft), self.incarnation);
        let length = prepared.len() as u64;
        assert!(length <= credit.bytes, "a record of {length} bytes on a credit of {}", credit.bytes);
        let ticket =
            self.ring.reserve(prepared.len()).expect("a record fits the ring, which is never closed");
        let lsn = ticket.addr();
        // J8: the space is free, so filling does not wait.
        let end = prepared.with_parts(lsn, self.salt, |parts| ticket.fill_parts(parts)).publish();
        // The part that was used is the tail's now; the rest goes back with the credit.
        credit.bytes -= length;
        Appended { lsn, end }
    }

    /// Marks for a record, if some have moved since a record last carried them (PROTOCOL O4), or that was a
    /// sector ago.
    fn marks_for(&self, draft: &Draft<'_>) -> Option<Marks> {
        // Acquire pairs with the Release in `set_durable_edit`: the edit was durable before it was told.
        let durable_edit = self.durable_edit.load(Ordering::Acquire);
        let told = if armed(Defect::MarkTellsOfWritten) { self.written() } else { self.group.durable() };
        let marks = Marks { durable_lsn: told, durable_edit };
        // Relaxed: two records that carry the same marks do no harm.
        let moved = marks.durable_lsn > self.marked_lsn.load(Ordering::Relaxed)
            || durable_edit > self.marked_edit.load(Ordering::Relaxed);
        // J15: the sector that holds the last record with marks may be the damaged one.
        let tail = self.ring.tail();
        let far = tail.saturating_sub(self.marked_at.load(Ordering::Relaxed)) >= MARKS_APART;
        if !moved && !far && !draft.always_marked() {
            return None;
        }
        self.marked_at.fetch_max(tail, Ordering::Relaxed);
        self.marked_lsn.fetch_max(marks.durable_lsn, Ordering::Relaxed);
        self.marked_edit.fetch_max(durable_edit, Ordering::Relaxed);
        Some(marks)
    }

    /// Waits until the record that ends at `end`, and all before it, is as safe as `durability` says. To
    /// be called outside every latch and gate.
    pub fn acknowledge(&self, end: Lsn, durability: Durability) -> Result<()> {
        self.poison.check()?;
        // J11. The ring is never closed: what is reserved gets published.
        let _ = self.ring.wait_committed(end);
        if durability == Durability::Sync && !armed(Defect::SyncAcknowledgedEarly) {
            return self.group.commit(end, self);
        }
        if !self.shared_ring && !armed(Defect::UnmappedRingNotDrained) {
            while self.written() < end {
                self.drain()?;
            }
        }
        // A poisoned ring holds bytes that no reopening is sure to find in front of what is lost.
        self.poison.check()
    }

    /// Makes everything appended before the call durable; the durable frontier.
    pub fn flush(&self) -> Result<Lsn> {
        self.wait_durable(self.ring.tail())?;
        Ok(self.group.durable())
    }

    /// Waits until everything below `lsn` is durable, flushing if nobody else does. REQUIRES: `lsn` is at
    /// most the tail.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<()> {
        self.acknowledge(lsn.min(self.ring.tail()), Durability::Sync)
    }

    /// One step of background work: writes what is published to the log files and, ahead of need, makes the
    /// next file ready. Returns bytes written; 0 when there was nothing to write.
    pub fn drain_once(&self) -> Result<u64> {
        let bytes = self.drain()?;
        // Relaxed: how early the next file is made is a matter of taste.
        let ahead = self.options.reserve() + self.options.segment_bytes / 2;
        let wanted = self.promised.load(Ordering::Relaxed) + ahead;
        if wanted > self.files.ready_end() {
            match self.make_ready(wanted) {
                // Admission tells those who need the space.
                Ok(()) | Err(Error::Full(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    /// Writes the published prefix to the log files.
    pub(crate) fn drain(&self) -> Result<u64> {
        let mut check = self.drainer.lock();
        self.poison.check()?;
        let drained = self.ring.copy_committed_prefix(|at, run| {
            check.feed(at, run).map_err(|bad| self.bad_record(bad.0))?;
            self.files.write(at, run).map_err(Error::from)
        });
        match drained {
            Ok(drained) => {
                if drained.to > drained.from {
                    reach(CrashPoint::LogWritten);
                }
                check.pause().map_err(|bad| self.fail(self.bad_record(bad.0)))?;
                // Release pairs with the Acquire in `written`: the bytes are in the files.
                self.written.fetch_max(drained.to, Ordering::Release);
                Ok(drained.bytes())
            }
            Err(DrainError::Sink(error)) => Err(self.fail(error)),
            // The drainer's lock keeps everybody else out.
            Err(DrainError::Busy) => Ok(0),
        }
    }

    fn bad_record(&self, at: Lsn) -> Error {
        let offset = BLOCK + ((at - self.ring.base()) & (self.ring.capacity() as u64 - 1));
        Damage::new(
            "a record in the ring changed before it was written",
            self.storage.path_of(RING_NAME),
            offset,
        )
        .into()
    }

    /// Parks the background thread until a good part of the ring waits to be drained, `timeout` has passed
    /// or [`Self::wake`] is called; whether there is much to drain.
    pub fn wait_for_work(&self, timeout: Duration) -> bool {
        let much = self.ring.capacity() as u64 / 8;
        self.ring.wait_for_committed_beyond(self.ring.flush_cursor() + much, Some(timeout))
    }

    /// Ends [`Self::wait_for_work`], or the next one.
    pub fn wake(&self) {
        self.ring.wake_all();
    }

    /// Tells that the manifest is durable up to edit `sequence`; the records to come carry it.
    pub fn set_durable_edit(&self, sequence: u64) {
        // Release pairs with the Acquire in `marks_for`.
        self.durable_edit.fetch_max(sequence, Ordering::Release);
    }

    /// Appends a record of marks and time and makes it durable, so that what the newest manifest edit
    /// released may be freed (PROTOCOL O4). Returns the durable frontier.
    pub fn write_mark(&self, epoch: u64, time_ms: u64) -> Result<Lsn> {
        self.append_durably(&Draft::mark(epoch, time_ms))
    }

    /// Appends the clean-close marker and makes it durable; the log's end. REQUIRES: no append runs or
    /// comes after it.
    pub fn close_clean(&self, epoch: u64, time_ms: u64) -> Result<Lsn> {
        self.append_durably(&Draft::close(epoch, time_ms))
    }

    fn append_durably(&self, draft: &Draft<'_>) -> Result<Lsn> {
        let credit = self.admit_beyond(draft.encoded_len(), 0)?;
        let appended = self.append(credit, draft);
        self.acknowledge(appended.end, Durability::Sync)?;
        Ok(self.group.durable())
    }

    /// Lets go of log files that lie wholly below `low_water`. REQUIRES: the manifest edit that says so is
    /// durable, and a mark that tells of it.
    pub fn drop_below(&self, low_water: Lsn) -> Result<()> {
        self.poison.check()?;
        let low_water = low_water.min(self.group.durable());
        // Relaxed: a figure for `log_bytes`.
        self.low_water.fetch_max(low_water, Ordering::Relaxed);
        let end_of = |header: &LogHeader| {
            if armed(Defect::LogFileLetGoEarly) { header.first_lsn } else { header.end() }
        };
        self.files.let_go(|header| end_of(header) <= low_water).map_err(|error| self.made(error))
    }

    /// The next LSN to be assigned.
    pub fn tail(&self) -> Lsn {
        self.ring.tail()
    }

    /// How far the log has come.
    pub fn frontiers(&self) -> Frontiers {
        // Each is read before the one it is bounded by, which only grows.
        let durable = self.group.durable();
        let written = self.written();
        let published = self.ring.committed_addr();
        let frontiers = Frontiers { reserved: self.ring.tail(), published, written, durable };
        assert!(
            frontiers.reserved >= published && published >= written && written >= durable,
            "frontiers out of order: {frontiers:?}"
        );
        frontiers
    }

    fn written(&self) -> Lsn {
        // Acquire pairs with the Release in `drain`.
        self.written.load(Ordering::Acquire)
    }

    /// Bytes of records from the low-water mark to the tail.
    pub fn log_bytes(&self) -> u64 {
        // Relaxed: a figure.
        let low_water = self.low_water.load(Ordering::Relaxed);
        let void = if low_water < self.base { self.void_bytes } else { 0 };
        self.tail().saturating_sub(low_water).saturating_sub(void)
    }

    /// Whether the log has outgrown its cap, so that a cut is due.
    pub fn over_cap(&self) -> bool {
        self.log_bytes() > self.options.cap_bytes
    }

    /// The largest record that can be admitted.
    pub fn max_record_bytes(&self) -> u64 {
        self.options.max_record()
    }

    /// The number of this life of the store's log.
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Whether `Buffered` acknowledgements rest on a shared mapping; otherwise each follows a write.
    pub fn has_shared_ring(&self) -> bool {
        self.shared_ring
    }

    /// Whether the journal has failed.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Ends the journal's life with `error` as the cause: everything waiting and everything later gets it.
    pub fn poison(&self, error: Error) {
        self.poison.set(error);
        self.group.wake_all();
        self.ring.wake_all();
    }

    /// Poisons, and returns the error that everybody gets.
    fn fail(&self, error: Error) -> Error {
        self.poison(error);
        self.poison.told().expect("the poison was just set")
    }
}

impl Flush for Journal {
    /// O3: every file from the durable frontier on is synced, in stream order.
    fn flush(&self) -> Result<Lsn> {
        let published = self.ring.committed_addr();
        while self.written() < published {
            self.drain()?;
        }
        let (from, to) = (self.group.durable(), self.written());
        if from < to {
            self.poison.check()?;
            let mut synced = self.files.sync(from, to);
            if armed(Defect::FailedSyncIsRetried) {
                synced = synced.or_else(|_| self.files.sync(from, to));
            }
            synced.map_err(|failure: IoFailure| self.fail(failure.into()))?;
            reach(CrashPoint::LogSynced);
        }
        // J10: a failure elsewhere in the meantime leaves this flush's own answer true.
        Ok(to)
    }

    fn check(&self) -> Result<()> {
        self.poison.check()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
