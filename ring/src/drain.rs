//! Draining the published prefix, and resetting an empty ring.
//!
//! Both are the work of one thread at a time, which holds the `drain` lock; nobody ever waits for it.
#![expect(unsafe_code, reason = "the drainer lends committed bytes to its sink")]

use crate::error::{DrainError, ResetError};
use crate::ring::{Origin, RESETTING, Ring};
use crate::sync::Ordering;

/// What one drain has passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The address of the first byte.
    pub from: u64,
    /// The address after the last byte; `from` if there was nothing.
    pub to: u64,
    /// The records in between, fillers included.
    pub records: u64,
}

impl Drained {
    /// The bytes passed on.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.to - self.from
    }
}

/// How much one drain may pass on. The default is all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainLimit {
    /// At most so many bytes, in whole records; but one record if the first is longer.
    pub max_bytes: u64,
    /// Nothing that does not end at or before this address.
    pub up_to: u64,
}

impl Default for DrainLimit {
    fn default() -> Self {
        Self { max_bytes: u64::MAX, up_to: u64::MAX }
    }
}

impl Ring {
    /// Passes the published prefix that was not drained yet to `sink` as `(address, bytes)`, in at most two
    /// runs in ascending order, and frees its space if the sink took all of it. The runs end
    /// where the ring wraps, not necessarily with a record; the last one does.
    ///
    /// # Errors
    /// `Busy` if a drain or reset is under way, also from within `sink`. The sink's own error: then nothing is
    /// freed, and the next drain offers the same bytes again.
    pub fn copy_committed_prefix<E>(
        &self,
        sink: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Drained, DrainError<E>> {
        self.copy_committed_prefix_within(DrainLimit::default(), sink)
    }

    /// [`Ring::copy_committed_prefix`] within `limit`.
    ///
    /// # Errors
    /// As there.
    pub fn copy_committed_prefix_within<E>(
        &self,
        limit: DrainLimit,
        mut sink: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<Drained, DrainError<E>> {
        let guard = self.drain.try_lock().ok_or(DrainError::Busy)?;
        let drained = self.next_run(limit);
        if drained.bytes() > 0 {
            self.lend(drained, &mut sink).map_err(DrainError::Sink)?;
            // Release: pairs with the Acquire in `has_space`; the sink's reads come before the next lap's writes.
            self.flushed.0.store(drained.to, Ordering::Release);
        }
        drop(guard);
        if drained.bytes() > 0 {
            // Its fence also stands between the store above and the look at the abandoned ranges.
            self.flushed_bell.moved(|| drained.to);
            self.fill_abandoned();
        }
        Ok(drained)
    }

    /// The run to be drained next. REQUIRES: the drain lock.
    fn next_run(&self, limit: DrainLimit) -> Drained {
        let committed = self.advance();
        // Relaxed, both: written under the drain lock only.
        let from = self.flushed.0.load(Ordering::Relaxed);
        let origin = Origin(self.origin.load(Ordering::Relaxed));
        let within = committed.min(limit.up_to).saturating_sub(from);
        let position = origin.position(from, self.capacity_u64());
        let run = self.marks.scan(position, within, limit.max_bytes);
        Drained { from, to: from + run.len, records: run.records }
    }

    /// Shows the run to the sink. REQUIRES: the drain lock; the run is committed and not freed.
    fn lend<E>(&self, run: Drained, sink: &mut impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let origin = Origin(self.origin.load(Ordering::Relaxed));
        let offset = self.offset(origin, run.from);
        let len = usize::try_from(run.bytes()).expect("a run is no longer than the ring");
        let head = len.min(self.capacity() - offset);
        // SAFETY: the range is committed, and only the holder of the drain lock frees it (RG5).
        unsafe { self.bytes.read(offset, head, |bytes| sink(run.from, bytes)) }?;
        if head == len {
            return Ok(());
        }
        // SAFETY: as above.
        unsafe { self.bytes.read(0, len - head, |bytes| sink(run.from + head as u64, bytes)) }
    }

    /// Puts the next record at the ring's first byte again. The base moves to the tail; addresses and the record
    /// count go on, so that no address returns. Writers may reserve at the same time: they come
    /// before the reset, which then is refused, or after it.
    ///
    /// # Errors
    /// `Busy` if a drain or reset is under way; `NotDrained` unless everything reserved was drained.
    pub fn reset_after_drain(&self) -> Result<(), ResetError> {
        let _drain = self.drain.try_lock().ok_or(ResetError::Busy)?;
        let _gate = self.gate.lock();
        let at = self.flushed.0.load(Ordering::Relaxed);
        // Acquire: pairs with the reservations before it; Relaxed on failure: nothing follows from it.
        // Success: nothing is reserved beyond what was drained, and whoever reserves from here on waits for the
        // gate before it looks at the origin.
        self.tail
            .0
            .compare_exchange(at, at | RESETTING, Ordering::Acquire, Ordering::Relaxed)
            .map_err(|_| ResetError::NotDrained)?;
        let capacity = self.capacity_u64();
        let position = Origin(self.origin.load(Ordering::Relaxed)).position(at, capacity);
        let lap_end = position.next_multiple_of(capacity);
        let origin = Origin::new(at, (lap_end / capacity) % 2 == 1);
        // Relaxed, but before the marks: the Release of these carries it to a scan that sees one of them (RG8).
        self.origin.store(origin.0, Ordering::Relaxed);
        if lap_end > position {
            // The rest of the lap is passed over: it must look as if it had been published (RG4).
            self.marks.publish(position, lap_end - position, false);
        }
        // Release: pairs with the Acquire in `reserve`.
        self.tail.0.fetch_and(!RESETTING, Ordering::Release);
        Ok(())
    }
}
