//! The ring itself: its cursors, reservation, the committed frontier and the waits for it.
//!
//! The protocol and its rules (RG1…) are in the crate's introduction. Tickets are in `ticket`, draining
//! and resetting in `drain`.

use std::fmt;
use std::time::Duration;

use crate::bell::Bell;
use crate::error::{BuildError, Closed, ReserveError};
use crate::marks::Marks;
use crate::memory::{Bytes, PrivateMemory, RingMemory};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, poll_briefly};
use crate::ticket::{Claim, Ticket};

/// The smallest ring, in bytes.
pub const MIN_CAPACITY: usize = 64;

/// The highest address at which a ring may begin. Nobody reaches what is left beyond it.
pub const MAX_BASE: u64 = 1 << 62;

/// Set in the tail while a reset moves the origin.
pub(crate) const RESETTING: u64 = 1 << 63;

/// Makes the bytes of a record that was reserved but never written: `(address, length, bytes)`, the bytes
/// being zeros of that length. It must not panic and must not use the ring.
pub type Filler = Box<dyn Fn(u64, usize, &mut [u8]) + Send + Sync>;

/// A value on cache lines of its own (two, as processors fetch them in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// Where addresses lie in the ring: the address at the ring's first byte, and the parity of its lap in the
/// top bit. One word, so that it is read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin(pub(crate) u64);

impl Origin {
    pub(crate) fn new(address: u64, odd_lap: bool) -> Self {
        Self(address | u64::from(odd_lap) << 63)
    }

    pub(crate) fn address(self) -> u64 {
        self.0 & !(1 << 63)
    }

    fn odd_lap(self) -> bool {
        self.0 >> 63 != 0
    }

    /// The position of `address` (see `marks`). Wraps for an address that lies before the origin, which only
    /// a scan that is about to be thrown away can ask for.
    pub(crate) fn position(self, address: u64, capacity: u64) -> u64 {
        let lap = if self.odd_lap() { capacity } else { 0 };
        // Half the range is left free, so that walking on from it does not overflow.
        (address.wrapping_sub(self.address()).wrapping_add(lap)) & (u64::MAX >> 1)
    }
}

/// Many writers, one ordered stream of bytes, one drainer. See the crate's introduction.
pub struct Ring {
    pub(crate) bytes: Bytes,
    pub(crate) marks: Marks,
    /// The next address to be reserved, and `RESETTING`. Written by every writer.
    pub(crate) tail: Line<AtomicU64>,
    /// Everything before it is published; a record's end.
    pub(crate) committed: Line<AtomicU64>,
    /// Records before `committed`. Follows it at once, not with it.
    pub(crate) records: AtomicU64,
    /// Everything before it was drained and its space is free. Written under `drain`.
    pub(crate) flushed: Line<AtomicU64>,
    /// An [`Origin`]. Written by a reset only, while nothing is reserved.
    pub(crate) origin: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// Rung when `committed` moves.
    pub(crate) committed_bell: Bell,
    /// Rung when `flushed` moves.
    pub(crate) flushed_bell: Bell,
    /// Held by the one drainer or the one resetter.
    pub(crate) drain: Mutex<()>,
    /// Held by a reset while `RESETTING` is set.
    pub(crate) gate: Mutex<()>,
    /// Ranges whose tickets were dropped before there was space to fill them.
    pub(crate) abandoned: Mutex<Vec<Claim>>,
    /// How many ranges `abandoned` has. Written under its lock.
    pub(crate) abandoned_count: AtomicU64,
    pub(crate) filler: Filler,
}

impl Ring {
    /// A ring in private memory whose first byte has address 0. The capacity is rounded up to a power of two
    /// of at least [`MIN_CAPACITY`] bytes.
    ///
    /// # Panics
    /// If no power of two of at least `capacity` exists, or the allocation fails.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let memory = PrivateMemory::new(capacity.max(MIN_CAPACITY).next_power_of_two());
        Self::over(Box::new(memory), 0).expect("a power of two is a capacity")
    }

    /// A ring over the caller's memory, all of which it uses and none of which it clears. `base` is the address
    /// of the first byte: the byte with address `a` lies at `(a - base) % capacity`.
    ///
    /// # Errors
    /// The memory's length is no capacity, or `base` exceeds [`MAX_BASE`].
    pub fn over(memory: Box<dyn RingMemory>, base: u64) -> Result<Self, BuildError> {
        let bytes = Bytes::new(memory);
        let len = bytes.capacity();
        if !len.is_power_of_two() || len < MIN_CAPACITY {
            return Err(BuildError::Capacity { len });
        }
        if base > MAX_BASE {
            return Err(BuildError::Base { base });
        }
        Ok(Self {
            marks: Marks::new(len),
            bytes,
            tail: Line(AtomicU64::new(base)),
            committed: Line(AtomicU64::new(base)),
            records: AtomicU64::new(0),
            flushed: Line(AtomicU64::new(base)),
            origin: AtomicU64::new(Origin::new(base, false).0),
            closed: AtomicBool::new(false),
            committed_bell: Bell::new(),
            flushed_bell: Bell::new(),
            drain: Mutex::new(()),
            gate: Mutex::new(()),
            abandoned: Mutex::new(Vec::new()),
            abandoned_count: AtomicU64::new(0),
            filler: Box::new(|_, _, _| {}),
        })
    }

    /// The same ring, which fills abandoned reservations by `filler` instead of zeros.
    #[must_use]
    pub fn with_filler(mut self, filler: Filler) -> Self {
        self.filler = filler;
        self
    }

    /// How many bytes the ring holds.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(crate) fn capacity_u64(&self) -> u64 {
        self.capacity() as u64
    }

    /// The address of the ring's first byte; moved by [`Ring::reset_after_drain`] only.
    #[must_use]
    pub fn base(&self) -> u64 {
        // Acquire: whoever knows a base knows the cursors it came from.
        Origin(self.origin.load(Ordering::Acquire)).address()
    }

    /// The next address to be reserved.
    #[must_use]
    pub fn tail(&self) -> u64 {
        // Acquire: pairs with the AcqRel of `reserve`, so that the tail bounds what its reader saw before.
        self.tail.0.load(Ordering::Acquire) & !RESETTING
    }

    /// Everything before this address has been drained; its space is free.
    #[must_use]
    pub fn flush_cursor(&self) -> u64 {
        // Acquire: pairs with the Release in `free`.
        self.flushed.0.load(Ordering::Acquire)
    }

    /// Bytes not reserved at the moment. Zero while reservations exceed what is free.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        // The cursor first: a tail read later can only make less seem free.
        let flushed = self.flush_cursor();
        let held = usize::try_from(self.tail() - flushed).unwrap_or(usize::MAX);
        self.capacity().saturating_sub(held)
    }

    /// Takes the next `len` bytes of the stream by one `fetch_add`. It does not wait for space:
    /// [`Ticket::fill`] does. Filling or dropping the ticket is owed: everything behind it waits for it.
    ///
    /// # Errors
    /// `len` is zero or exceeds the capacity, or the ring is poisoned. Nothing is taken then.
    pub fn reserve(&self, len: usize) -> Result<Ticket<'_>, ReserveError> {
        if len == 0 {
            return Err(ReserveError::Empty);
        }
        if len > self.capacity() {
            return Err(ReserveError::TooLong { len, capacity: self.capacity() });
        }
        if self.is_poisoned() {
            return Err(ReserveError::Closed);
        }
        // AcqRel: Acquire pairs with the Release that ends a reset (RG8), Release with the Acquire in `tail`.
        let taken = self.tail.0.fetch_add(len as u64, Ordering::AcqRel);
        if taken & RESETTING != 0 {
            // The range is taken, but where it lies is known only when the reset has ended; it holds the
            // gate until then. It is short: the marks of less than a lap.
            drop(self.gate.lock());
        }
        // Relaxed: ordered by the tail, or by the gate; constant while this ticket lives (RG8).
        let origin = Origin(self.origin.load(Ordering::Relaxed));
        Ok(Ticket::new(self, Claim { addr: taken & !RESETTING, len, origin }))
    }

    /// Reserves, fills and publishes one record, waiting for space if need be; its address.
    ///
    /// # Errors
    /// As [`Ring::reserve`]; `Closed` also if the ring was poisoned while it waited.
    pub fn append(&self, record: &[u8]) -> Result<u64, ReserveError> {
        let ticket = self.reserve(record.len())?;
        ticket.wait_for_space()?;
        let addr = ticket.addr();
        ticket.fill(record).publish();
        Ok(addr)
    }

    /// Moves the committed frontier over everything published without a gap; where it is then.
    ///
    /// Anyone may call it at any time; nobody waits for anybody in it (RG6).
    pub fn advance(&self) -> u64 {
        let capacity = self.capacity_u64();
        loop {
            // Relaxed: the second look below decides.
            let origin = Origin(self.origin.load(Ordering::Relaxed));
            // Acquire: pairs with the Release of the exchange below; who learns of a prefix from the frontier
            // alone sees its bytes, too.
            let from = self.committed.0.load(Ordering::Acquire);
            let run = self.marks.scan(origin.position(from, capacity), capacity, capacity);
            // A mark set by a reset, or after one, was acquired together with the origin it moved (RG8); so a scan
            // by an old origin that saw one is thrown away here. Relaxed: that acquisition orders it.
            let moved = self.origin.load(Ordering::Relaxed) != origin.0;
            if moved && !cfg!(ring_weaken = "reset_recheck") {
                continue;
            }
            if run.len == 0 {
                // A frontier that has moved on meanwhile explains an empty run: look again.
                if self.committed.0.load(Ordering::Acquire) == from {
                    return from;
                }
                continue;
            }
            let to = from + run.len;
            // Release: pairs with every Acquire load of the frontier. Success proves that the frontier stood at
            // `from` all along, as it only grows, so that the bytes scanned could not be drained, let alone
            // reused: the run is of one lap (RG6). Relaxed on failure: the loop loads it again.
            let won = if cfg!(ring_weaken = "blind_advance") {
                self.committed.0.store(to, Ordering::Release);
                Ok(from)
            } else {
                self.committed.0.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed)
            };
            if won.is_ok() {
                // Relaxed: a count, exact once the movers have come to rest.
                self.records.fetch_add(run.records, Ordering::Relaxed);
                return to;
            }
        }
    }

    /// The end of the published prefix, which ends with a record.
    #[must_use]
    pub fn committed_addr(&self) -> u64 {
        self.advance()
    }

    /// How many records the published prefix has had since the ring was made, fillers included. While other
    /// threads move the frontier it may for an instant miss what they have just moved it over.
    #[must_use]
    pub fn committed_records(&self) -> u64 {
        self.advance();
        // Relaxed: a count.
        self.records.load(Ordering::Relaxed)
    }

    /// Whether everything before `addr` is published.
    #[must_use]
    pub fn try_committed(&self, addr: u64) -> bool {
        // Acquire: pairs with the Release in `advance`.
        self.committed.0.load(Ordering::Acquire) >= addr || self.advance() >= addr
    }

    /// Waits until everything before `addr` is published: looks, spins briefly, yields, then parks.
    ///
    /// # Errors
    /// The ring was poisoned before that.
    pub fn wait_committed(&self, addr: u64) -> Result<(), Closed> {
        if self.try_committed(addr) || poll_briefly(|| self.is_poisoned() || self.try_committed(addr)) {
            // Fall through: a poisoned ring may still have reached the address.
        } else {
            self.committed_bell.wait(addr, || self.try_committed(addr) || self.is_poisoned());
        }
        if self.try_committed(addr) { Ok(()) } else { Err(Closed) }
    }

    /// Parks until something beyond `addr` is published; whether it is. It is meant for one background
    /// drainer. It returns `false` when `timeout` has passed without a wake-up, after [`Ring::wake_all`], which
    /// is remembered if nobody waits at that moment, and when the ring is poisoned.
    pub fn wait_for_committed_beyond(&self, addr: u64, timeout: Option<Duration>) -> bool {
        let beyond = || self.try_committed(addr + 1);
        if beyond() {
            return true;
        }
        self.committed_bell.wait_interruptible(addr + 1, timeout, || beyond() || self.is_poisoned());
        beyond()
    }

    /// Parks until everything before `addr` has been drained; whether it has (see
    /// [`Ring::wait_for_committed_beyond`] about `timeout`; [`Ring::wake_all`] ends this wait as well).
    ///
    /// # Errors
    /// The ring was poisoned before that.
    pub fn wait_flushed(&self, addr: u64, timeout: Option<Duration>) -> Result<bool, Closed> {
        let reached = || self.flush_cursor() >= addr;
        if reached() || poll_briefly(|| self.is_poisoned() || reached()) {
            return if reached() { Ok(true) } else { Err(Closed) };
        }
        self.flushed_bell.wait_interruptible(addr, timeout, || reached() || self.is_poisoned());
        match (reached(), self.is_poisoned()) {
            (true, _) => Ok(true),
            (false, false) => Ok(false),
            (false, true) => Err(Closed),
        }
    }

    /// Makes everyone who waits with a timeout return. If nobody does, the next such wait returns at once.
    pub fn wake_all(&self) {
        self.committed_bell.interrupt();
        self.flushed_bell.interrupt();
    }

    /// Closes the ring for ever: reservations are refused, and whoever waits, or would, gets [`Closed`], unless
    /// what it waits for is there. Tickets without space are void: filling them does nothing. What is
    /// published can still be drained.
    pub fn poison(&self) {
        // Release: pairs with the Acquire in `is_poisoned`. Sleepers see it through the bell's lock.
        self.closed.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether [`Ring::poison`] was called.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        // Acquire: pairs with the Release in `poison`, so that the reason stored before it is seen.
        self.closed.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("capacity", &self.capacity())
            .field("base", &self.base())
            .field("flushed", &self.flush_cursor())
            .field("tail", &self.tail())
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}
