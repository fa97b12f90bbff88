//! A reserved range on its way to publication: `Ticket` (reserved), `Filled` (written).
//!
//! The types make misuse unrepresentable: a range is filled at most once, published only when filled, and
//! always ends up published, since dropping either type publishes filler in its place (RG2).
#![expect(unsafe_code, reason = "a ticket is the proof by which its bytes may be written")]

use std::mem;

use crate::error::Closed;
use crate::ring::{Origin, Ring};
use crate::sync::{Ordering, fence, poll_briefly};

/// A range of the stream and where it lies. Whoever holds it owns the range (RG1); it is never copied.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) addr: u64,
    pub(crate) len: usize,
    pub(crate) origin: Origin,
}

impl Claim {
    fn end(&self) -> u64 {
        self.addr + self.len as u64
    }
}

/// A reserved range of the stream. Dropping it unfilled publishes filler of the same length, at once if there is
/// space and else when the drainer has made it; it never blocks.
#[derive(Debug)]
#[must_use = "everything reserved later waits for this range"]
pub struct Ticket<'ring> {
    ring: &'ring Ring,
    /// `None` once the range was passed on.
    claim: Option<Claim>,
    addr: u64,
    len: usize,
}

impl<'ring> Ticket<'ring> {
    pub(crate) fn new(ring: &'ring Ring, claim: Claim) -> Self {
        let (addr, len) = (claim.addr, claim.len);
        Self { ring, claim: Some(claim), addr, len }
    }

    /// The address of the range's first byte.
    #[must_use]
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// The range's length in bytes, at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address after the range's last byte.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.addr + self.len as u64
    }

    /// Whether the range's space is free, so that filling it does not wait. Once true it stays true.
    #[must_use]
    pub fn reserve_space_ready(&self) -> bool {
        self.ring.has_space(self.end())
    }

    /// Waits until the range's space is free: looks, spins briefly, yields, then parks.
    ///
    /// # Errors
    /// The ring was poisoned before that. The ticket is void then.
    pub fn wait_for_space(&self) -> Result<(), Closed> {
        let (ring, end) = (self.ring, self.end());
        if !ring.has_space(end) && !poll_briefly(|| ring.has_space(end) || ring.is_poisoned()) {
            let target = end.saturating_sub(ring.capacity_u64());
            ring.flushed_bell.wait(target, || ring.has_space(end) || ring.is_poisoned());
        }
        if ring.has_space(end) { Ok(()) } else { Err(Closed) }
    }

    /// Copies `bytes` to the range, waiting for space if need be. On a ring that was poisoned before there was
    /// space it copies nothing.
    ///
    /// # Panics
    /// If `bytes` has not exactly the reserved length; the range becomes filler then.
    pub fn fill(self, bytes: &[u8]) -> Filled<'ring> {
        self.fill_parts(&[bytes])
    }

    /// Like [`Ticket::fill`], from several pieces, one behind the other.
    ///
    /// # Panics
    /// If the pieces have not exactly the reserved length together; the range becomes filler then.
    pub fn fill_parts(mut self, parts: &[&[u8]]) -> Filled<'ring> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        assert_eq!(total, self.len, "a ticket is filled with exactly what it reserved");
        let (ring, end) = (self.ring, self.end());
        let space = self.wait_for_space().is_ok();
        let claim = self.claim.take().filter(|_| space);
        if let Some(claim) = &claim {
            // SAFETY: `wait_for_space` has found the space free, and the claim is unpublished.
            unsafe { ring.write_claim(claim, parts) };
        }
        Filled { ring, claim, end }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.ring.abandon(claim);
        }
    }
}

/// A range that was written but is not published. Dropping it publishes filler instead of what was written.
#[derive(Debug)]
#[must_use = "everything reserved later waits for this range"]
pub struct Filled<'ring> {
    ring: &'ring Ring,
    /// `None` on a poisoned ring without space, and once published.
    claim: Option<Claim>,
    end: u64,
}

impl Filled<'_> {
    /// Publishes the range; the address after its last byte. Readers see it once everything before it is
    /// published, too.
    pub fn publish(mut self) -> u64 {
        if let Some(claim) = self.claim.take() {
            self.ring.publish_claim(&claim);
        }
        self.end
    }
}

impl Drop for Filled<'_> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.ring.abandon(claim);
        }
    }
}

impl Ring {
    /// Whether a range that ends at `end` has its space: the bytes a lap before it were drained (RG3).
    fn has_space(&self, end: u64) -> bool {
        let slack = if cfg!(ring_weaken = "space_check") { 8 } else { 0 };
        // Acquire: pairs with the Release in `free`; the drainer's reads come before this writer's writes.
        let flushed = self.flushed.0.load(Ordering::Acquire);
        // The cursor may have passed `end` only if the range was published: not for its owner.
        end <= flushed + self.capacity_u64() + slack
    }

    /// Writes a claim's bytes, in two pieces where the ring wraps.
    ///
    /// # Safety
    /// The claim's space is free, it is unpublished, and `parts` are exactly as long as it is.
    unsafe fn write_claim(&self, claim: &Claim, parts: &[&[u8]]) {
        let mut addr = claim.addr;
        for part in parts {
            let offset = self.offset(claim.origin, addr);
            let (head, rest) = part.split_at(part.len().min(self.capacity() - offset));
            // SAFETY: the range belongs to the claim, whose holder the caller is; its space is free (RG3).
            unsafe { self.bytes.write(offset, head) };
            // SAFETY: as above; the rest lies at the ring's beginning.
            unsafe { self.bytes.write(0, rest) };
            addr += part.len() as u64;
        }
    }

    /// Marks a written claim as published and wakes who waits for it.
    fn publish_claim(&self, claim: &Claim) {
        let position = claim.origin.position(claim.addr, self.capacity_u64());
        self.marks.publish(position, claim.len as u64, true);
        self.committed_bell.moved(|| self.advance());
    }

    /// Where the byte with address `addr` lies.
    pub(crate) fn offset(&self, origin: Origin, addr: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "masked to the capacity, a usize")]
        let offset = (origin.position(addr, self.capacity_u64()) & (self.capacity_u64() - 1)) as usize;
        offset
    }

    /// Gives up a range: it becomes filler, now or, if its space is not free yet, when the drainer frees it.
    fn abandon(&self, claim: Claim) {
        if self.has_space(claim.end()) {
            self.publish_filler(&claim);
            return;
        }
        if self.is_poisoned() {
            return;
        }
        let mut abandoned = self.abandoned.lock();
        abandoned.push(claim);
        // Relaxed: written under the lock; the drainer's unlocked look is ordered by the fences.
        self.abandoned_count.store(abandoned.len() as u64, Ordering::Relaxed);
        drop(abandoned);
        // Pairs with the fence in `Bell::moved`, which the drainer passes between freeing space and looking at
        // the count: either it sees this range, or the space is seen here.
        fence(Ordering::SeqCst);
        self.fill_abandoned();
    }

    /// Publishes filler for every abandoned range whose space has become free.
    pub(crate) fn fill_abandoned(&self) {
        // Relaxed: ordered by the fence that the caller has passed.
        if self.abandoned_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut abandoned = self.abandoned.lock();
        let (ready, waiting): (Vec<_>, Vec<_>) =
            mem::take(&mut *abandoned).into_iter().partition(|claim| self.has_space(claim.end()));
        *abandoned = waiting;
        self.abandoned_count.store(abandoned.len() as u64, Ordering::Relaxed);
        drop(abandoned);
        for claim in &ready {
            self.publish_filler(claim);
        }
    }

    /// Fills and publishes a claim with filler. REQUIRES: its space is free.
    fn publish_filler(&self, claim: &Claim) {
        let mut bytes = vec![0; claim.len];
        (self.filler)(claim.addr, claim.len, &mut bytes);
        // SAFETY: the caller has found the space free, and the claim is unpublished.
        unsafe { self.write_claim(claim, &[&bytes]) };
        self.publish_claim(claim);
    }
}
