//! The store behind an engine handle: what is open, and the rules that every operation keeps. It is
//! *not* the public interface (`engine.rs`), nor a mechanism: writing, reading, cutting and recovering
//! each have a file of their own, as `impl Store` blocks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use treering_journal::Journal;
use treering_segment::error::IoFailure;
use treering_segment::storage::{Environment, StorageLock};

use crate::catalog::Catalog;
use crate::clock::StoreClock;
use crate::cut::CutSide;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Gate, Pass};
use crate::identity::Identity;
use crate::options::Options;
use crate::payload::Payloads;
use crate::recovery::RecoveryReport;
use crate::reserve::Reserve;
use crate::staging::Staging;
use crate::tree::Tree as RadixTree;

/// An open store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) env: Environment,
    pub(crate) identity: Identity,
    pub(crate) options: Options,
    pub(crate) gate: Gate,
    pub(crate) tree: RadixTree,
    pub(crate) staging: Staging,
    pub(crate) payloads: Payloads,
    pub(crate) clock: StoreClock,
    pub(crate) catalog: Catalog,
    /// What only a writing open has.
    pub(crate) writing: Option<Writing>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) closed: AtomicBool,
    /// Held for as long as the store is open; its life covers all I/O (PROTOCOL F7).
    pub(crate) lock: Mutex<Option<Box<dyn StorageLock>>>,
}

/// The parts that change the store's files.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) journal: Journal,
    /// One cut at a time (PROTOCOL C1): the manifest, the frame map and the frames file.
    pub(crate) cut: Mutex<CutSide>,
    pub(crate) next_segment: AtomicU64,
    /// Space on the device for the next cut.
    pub(crate) reserve: Reserve,
}

impl Writing {
    /// Fails every later write with the same error, until the store is opened again (PROTOCOL F1).
    pub(crate) fn poison(&self, why: &str) {
        let failure = IoFailure::new("write to", "the store", std::io::Error::other(why.to_string()));
        self.journal.poison(failure.into());
    }

    /// Fails if the store is poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        if self.journal.is_poisoned() {
            // Asking for the durable frontier returns the failure itself.
            self.journal.wait_durable(u64::MAX)?;
        }
        Ok(())
    }
}

impl Store {
    /// The writing side, or the error that says why there is none.
    pub(crate) fn writing(&self) -> Result<&Writing> {
        self.open()?;
        self.writing.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::ReadOnly,
                "the store is open for reading only; open it for writing to change it",
            )
        })
    }

    /// Fails once the store was closed.
    pub(crate) fn open(&self) -> Result<()> {
        // Pairs with the store in `close`: an operation that begins after it is refused.
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the store was closed; open it again"));
        }
        Ok(())
    }

    /// Enters the gate as a writer. A store that was closed is found out inside: closing waits for whoever got
    /// in before, so that no record follows the close marker.
    pub(crate) fn enter_gate(&self) -> Result<Pass<'_>> {
        let pass = self.gate.enter();
        self.open()?;
        Ok(pass)
    }

    /// The longest value that is kept in a leaf.
    pub(crate) fn inline_limit(&self) -> usize {
        self.options.inline_limit.min(self.identity.shape.frame_bytes / 8)
    }

    /// The longest value that goes through log and staging.
    pub(crate) fn direct_limit(&self) -> usize {
        self.options.direct_limit.min(self.identity.shape.ring_bytes / 8).max(self.inline_limit())
    }

    /// The most bytes that one record may have (PROTOCOL W5).
    pub(crate) fn record_limit(&self) -> usize {
        let cap = usize::try_from(self.options.log_cap_bytes / 8).unwrap_or(usize::MAX);
        cap.min(self.identity.shape.ring_bytes / 2)
    }

    /// Closes cleanly: a cut, the clean-close marker, an edit that names it, and the lock let go. Later
    /// operations fail with [`ErrorKind::Closed`]. Closing twice is fine.
    pub(crate) fn close(&self) -> Result<()> {
        // Pairs with the load in `open`.
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let outcome = match &self.writing {
            Some(writing) => {
                // Writers that entered before the flag was set are gone once the gate was closed.
                drop(self.gate.close());
                self.cut_and_mark_clean(writing)
            }
            None => Ok(()),
        };
        self.lock.lock().take();
        outcome
    }

    /// Lets go of the store as a killed process would: nothing is flushed, nothing is marked.
    pub(crate) fn abandon(&self) {
        // Pairs with the load in `open`.
        self.closed.store(true, Ordering::Release);
        if let Some(writing) = &self.writing {
            writing.journal.wake();
        }
        self.lock.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use treering_segment::clock::{OsEntropy, SystemClock};
    use treering_segment::memory::MemoryStorage;

    use super::*;

    #[test]
    fn a_close_waits_for_who_is_inside_the_gate_and_keeps_out_who_comes_later() {
        let env = Environment {
            storage: Arc::new(MemoryStorage::new()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        };
        let store = Store::recover(env, Options::new().background(false)).unwrap();
        std::thread::scope(|scope| {
            let inside = store.enter_gate().unwrap();
            let closer = scope.spawn(|| store.close());
            while store.open().is_ok() {
                std::thread::yield_now();
            }
            assert!(!closer.is_finished(), "a writer is still inside");
            drop(inside);
            closer.join().unwrap().unwrap();
        });
        assert_eq!(store.enter_gate().unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(store.cut().unwrap_err().kind(), ErrorKind::Closed);
    }
}
