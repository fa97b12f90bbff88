//! Admission: taking ring and log space for a record before the gate, so that the append itself waits
//! for nothing (PROTOCOL W1). What admission guarantees is J8 and J9 of `journal`.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::sync::Ordering;

/// How long admission waits for publication before it looks again; it is woken earlier as a rule.
const ADMISSION_PAUSE: Duration = Duration::from_millis(5);

/// Leave to append one record of up to the admitted size without waiting. Dropping it gives it back.
#[derive(Debug)]
#[must_use = "a credit that is dropped admits nothing"]
pub struct Credit<'j> {
    journal: &'j Journal,
    pub(crate) bytes: u64,
}

impl Credit<'_> {
    /// The size admitted, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Credit<'_> {
    fn drop(&mut self) {
        // Release pairs with the AcqRel in `Journal::admit_beyond`: what is given back is no longer used.
        self.journal.promised.fetch_sub(self.bytes, Ordering::Release);
    }
}

impl Journal {
    /// Takes ring and log space for one record of up to `bytes` (see [`Draft::encoded_len`]), waiting or
    /// draining as needed. To be called before the gate. The error is `TooLarge` if it can never fit,
    /// `Full` if there is no space for another log file, or the poison.
    pub fn admit(&self, bytes: usize) -> Result<Credit<'_>> {
        self.admit_beyond(bytes, self.options.reserve())
    }

    /// As [`Self::admit`], but may use the space kept back for deletes and cuts, by which space is won back.
    /// A rest is left for marks and the close even so.
    pub fn admit_reserve(&self, bytes: usize) -> Result<Credit<'_>> {
        self.admit_beyond(bytes, self.options.reserve() / 4)
    }

    pub(crate) fn admit_beyond(&self, bytes: usize, reserve: u64) -> Result<Credit<'_>> {
        let (bytes, max) = ((bytes as u64).next_multiple_of(8), self.options.max_record());
        if bytes > max {
            return Err(Error::TooLarge { size: bytes, max });
        }
        loop {
            self.poison.check()?;
            // Acquire pairs with the Release of returned credits and the AcqRel below.
            let promised = self.promised.load(Ordering::Acquire);
            let wanted = promised + bytes + reserve;
            if wanted > self.files.ready_end() {
                self.make_ready(wanted)?;
            } else if wanted > self.ring.flush_cursor() + self.ring.capacity() as u64 {
                self.make_room()?;
            } else {
                // AcqRel pairs with itself and with returned credits: J8 is checked against the latest value.
                let taken = self.promised.compare_exchange_weak(
                    promised,
                    promised + bytes,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if taken.is_ok() {
                    return Ok(Credit { journal: self, bytes });
                }
            }
        }
    }

    /// Frees ring space, or waits a moment for those who hold it up.
    fn make_room(&self) -> Result<()> {
        if self.drain()? == 0 {
            self.ring.wait_for_committed_beyond(self.ring.flush_cursor(), Some(ADMISSION_PAUSE));
        }
        Ok(())
    }
}
