//! The epoch gate: writers pass through it, a cut closes it for the moment in which the epoch changes
//! hands. It is *not* a lock on data (frames have latches for that), and nothing waits inside it for
//! I/O, memory, ring space or the log's cap (PROTOCOL W1).
//!
//! # Invariants
//! - **G1** The epoch changes only while the gate is closed, and every record is stamped with the epoch
//!   that its writer read inside the gate. So stamp > E if and only if the record's LSN is at or past the
//!   `lsn0` of cut E (PROTOCOL W4).
//! - **G2** No thread enters twice: a closer that waits would keep the second entry out for ever.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The gate with the global epoch in it.
#[derive(Debug)]
pub(crate) struct Gate {
    epoch: RwLock<u64>,
}

impl Gate {
    /// An open gate at `epoch`.
    pub(crate) fn new(epoch: u64) -> Self {
        Self { epoch: RwLock::new(epoch) }
    }

    /// Enters as a writer among others; waits while the gate is closed.
    pub(crate) fn enter(&self) -> Pass<'_> {
        Pass(self.epoch.read())
    }

    /// Closes the gate: waits for running writers to leave and keeps new ones out.
    pub(crate) fn close(&self) -> Closed<'_> {
        Closed(self.epoch.write())
    }
}

/// A writer's stay inside the gate.
#[derive(Debug)]
pub(crate) struct Pass<'a>(RwLockReadGuard<'a, u64>);

impl Pass<'_> {
    /// The epoch, which does not change during the stay.
    pub(crate) fn epoch(&self) -> u64 {
        *self.0
    }
}

/// The closed gate; dropping it opens the gate again.
#[derive(Debug)]
pub(crate) struct Closed<'a>(RwLockWriteGuard<'a, u64>);

impl Closed<'_> {
    /// The current epoch.
    pub(crate) fn epoch(&self) -> u64 {
        *self.0
    }

    /// Begins the next epoch and returns it.
    pub(crate) fn advance(&mut self) -> u64 {
        *self.0 += 1;
        *self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_has_the_only_writer_and_moves_the_epoch() {
        let gate = Gate::new(7);
        assert_eq!(gate.enter().epoch(), 7);
        let mut closed = gate.close();
        assert_eq!(closed.advance(), 8);
        assert!(gate.epoch.try_read().is_none());
        drop(closed);
        assert_eq!(gate.enter().epoch(), 8);
    }
}
