//! The write-ahead ring: many writers, one ordered stream of bytes, one drainer.
//!
//! Writers reserve ranges of an endless stream, copy their records in and publish them, in parallel. A
//! drainer takes the published prefix out, whole records in the order of reservation, byte by byte as they
//! were written, and so makes room. The memory is the caller's ([`RingMemory`]): private, or a shared
//! mapping whose bytes outlive the process.
//!
//! The ring does no I/O, knows no record's meaning, holds no clock and starts no thread. It is not a
//! channel: there is one stream, nothing is dropped, and nothing is handed out twice.
//!
//! ```
//! let ring = treering_ring::Ring::with_capacity(4096);
//! let ticket = ring.reserve(5)?;
//! let addr = ticket.addr(); // goes into the record's header, for instance
//! let end = ticket.fill(b"hello").publish();
//! ring.wait_committed(end).expect("the ring is open");
//! let drained = ring.copy_committed_prefix(|addr, bytes| {
//!     assert_eq!((addr, bytes), (0, &b"hello"[..]));
//!     Ok::<(), std::io::Error>(())
//! });
//! assert_eq!(drained.map(|done| done.to).ok(), Some(addr + 5));
//! # Ok::<(), treering_ring::ReserveError>(())
//! ```
//!
//! # Terms and layout
//!
//! An *address* is a byte's place in the stream. It is 64 bits wide, begins at the ring's base, only grows and
//! never returns. Three frontiers divide the stream:
//!
//! ```text
//!   drained, free  |  committed: whole records  |  reserved: some published, some not  |  not reserved
//! -----------------+----------------------------+--------------------------------------+---------------> addresses
//!               flushed                     committed                                tail
//!               flushed <= committed <= tail;   committed <= flushed + capacity
//! ```
//!
//! The tail may run ahead of `flushed + capacity`: then its writers wait for space, each with its range in hand.
//!
//! The byte with address `a` lies in the memory at `(a - base) % capacity`. Nothing but records' bytes is in
//! the memory: no header, no padding, no cursor. Cursors and marks are private to the process; what
//! a crash leaves in a mapped ring must therefore tell by itself where it belongs (the journal's records
//! do, by address and checksum).
//!
//! For each byte there are two private marks, "published" and "a record ends here", 64 of them in a word
//! (`marks` has the layout; they take a quarter of the ring's size). The sense of "published" changes with
//! each lap, so a lap begins with every mark unset and nobody has to clear any.
//!
//! # Algorithm
//!
//! | step | who | what it does |
//! |---|---|---|
//! | reserve | any | `tail.fetch_add(len)`: the range is the caller's |
//! | wait | its owner | until `end <= flushed + capacity`; looks, spins, yields, parks |
//! | fill | its owner | copies the bytes in, two pieces at the wrap |
//! | publish | its owner | sets the range's marks; rings if someone waits for the prefix |
//! | advance | any | walks the marks from `committed`, moves it to the last record's end of the unbroken run |
//! | drain | one | lends `flushed..committed` to the sink, moves `flushed`; rings if someone waits for space |
//!
//! There is no global lock and no ordered map between reserve and publish: one `fetch_add`, a copy, and one
//! exchange at each end of the record.
//!
//! # Rules
//!
//! - **RG1 One owner.** The ranges of tickets tile the stream: each byte belongs to exactly one of them, by the
//!   atomicity of the `fetch_add`. A [`Ticket`] is neither cloned nor split.
//! - **RG2 Every ticket ends published.** `fill` consumes the ticket, `publish` consumes the filled range, and
//!   dropping either publishes filler of the same length. So neither a panic nor an early return holds
//!   the prefix for ever. Dropping never blocks: a range that has no space yet is handed over
//!   to the drainer. Only a poisoned ring leaves ranges open.
//! - **RG3 Space first.** An owner writes bytes and marks only after it has seen (Acquire) a flush cursor
//!   (Release) that is past the same bytes of the lap before. So the drainer's reads, and the marks of that lap,
//!   come before; and each byte is marked exactly once in each lap, in order of laps.
//! - **RG4 Marks carry bytes.** Marks are set (Release) after all bytes of the record were copied; a
//!   scan reads them by Acquire. Who sees a byte marked in its lap sees the byte. A range passed over by a reset
//!   is marked as well, without a record's end.
//! - **RG5 Committed bytes hold still.** Bytes in `flushed..committed` are written by nobody. Only the holder of
//!   the drain lock moves `flushed`, and only after its sink has returned.
//! - **RG6 The frontier is a record's end, and is true.** `committed` moves by a compare-and-exchange from where
//!   the scan began to the end of the last record that lies whole in the unbroken run. It never
//!   returns to a value, so success proves that it stood still during the scan, that nothing beyond it was
//!   drained or reused, and that all marks seen were of one lap. A failed exchange means that another
//!   has moved it: nobody waits for anybody.
//! - **RG7 No wake-up is lost, nobody polls.** Who waits files its address, fences, looks again, sleeps; who moves a
//!   frontier moves it, fences, looks for filed addresses (`bell` has the argument). Where no single
//!   publisher completes a prefix, the one whose fence is last sees the marks of all.
//! - **RG8 A reset is alone.** It holds the drain lock, and takes the tail by an exchange that succeeds only if
//!   everything reserved was drained and that sends every later reservation to wait at a gate. So a ticket's
//!   origin is constant while it lives. The new origin is stored before the marks of the rest of the lap
//!   (Release), so a scan that began by the old one and saw such a mark (Acquire) finds the origin
//!   changed when it looks again, and starts over. The frontiers do not move.
//!
//! # States
//!
//! A ring is open, or poisoned for ever ([`Ring::poison`]). The process may die at any step: bytes that were
//! copied are then in a mapped ring, published or not, and bytes of the lap before are where nothing was copied
//! yet. In particular the rest of a record that was being copied may be old; a reader of the file has
//! to check each record as a whole, and has to stop at the first that fails.
//!
//! # Proof
//!
//! `tests/loom.rs` models the rules under loom, with a weakening for each of RG3, RG4, RG6, RG7 and RG8 that makes
//! a model fail; `tests/it` runs real threads and arbitrary sequences against a plain vector.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the ring counts bytes of the stream in usize: 64-bit targets only");

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
