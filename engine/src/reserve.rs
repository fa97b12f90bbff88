//! The reserve: space on the device that writers keep free for the next cut, so that a full disk can always
//! be won back (PROTOCOL F1). It is *not* memory's or the log's reserve (those are the journal's).
//!
//! The file `reserve` is allocated and never written. A put or a batch is admitted only while the reserve
//! covers what a cut would write of it and of all before it: staged values, dirty frames, an edit. A cut
//! that finds no space removes the file and is taken once more; until the reserve can be had again, only
//! deletes go on.
//!
//! # After a crash
//! Nothing refers to the file. The next writing open removes it before it makes a log file, so that there is
//! space for that too. A clean close removes it as well: nothing waits for a cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use treering_segment::error::IoFailure;
use treering_segment::storage::{Storage, StorageFile};

use crate::error::Result;

/// The file's name.
pub(crate) const RESERVE_FILE: &str = "reserve";
/// What an edit and the edges of a segment take, whatever the sizes.
const EDGES_BYTES: u64 = 64 << 10;

/// The space kept free.
#[derive(Debug)]
pub(crate) struct Reserve {
    storage: Arc<dyn Storage>,
    /// What a cut takes, and the opening before it, besides frames and values.
    edges_bytes: u64,
    /// The file, if there is one; held while it grows or goes.
    file: Mutex<Option<Arc<dyn StorageFile>>>,
    /// Bytes of it. Relaxed everywhere: who reads too little takes the lock and looks again, who reads too
    /// much raced with a cut that has just taken everything at hand to disk.
    held: AtomicU64,
}

impl Reserve {
    /// An empty reserve; one that a crash left behind is removed. It will be good for a log file of `log_bytes` too.
    pub(crate) fn none(storage: &Arc<dyn Storage>, log_bytes: u64) -> Result<Self> {
        if storage.exists(RESERVE_FILE)? {
            storage.remove(RESERVE_FILE)?;
        }
        let edges_bytes = EDGES_BYTES + log_bytes;
        Ok(Self {
            storage: Arc::clone(storage),
            edges_bytes,
            file: Mutex::new(None),
            held: AtomicU64::new(0),
        })
    }

    /// Sees to it that there is space for a cut of `dirty_bytes` of frames and `staged_bytes` of values.
    /// A lack of it is an error that harms nothing.
    pub(crate) fn cover(&self, dirty_bytes: u64, staged_bytes: u64) -> Result<()> {
        // Keys, headers, index and filter come on top of the values.
        let need = self.edges_bytes + dirty_bytes + staged_bytes + staged_bytes / 2;
        if self.held.load(Ordering::Relaxed) >= need {
            return Ok(());
        }
        let mut file = self.file.lock();
        let held = self.held.load(Ordering::Relaxed);
        if held >= need {
            return Ok(());
        }
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(self.storage.create(RESERVE_FILE)?),
        };
        // A quarter more than is needed, so that it seldom grows; or at least what is needed.
        let grown = |to: u64| file.allocate(held, to - held).map(|()| to);
        let to = grown(need + need / 4).or_else(|failure: IoFailure| match failure.is_out_of_space() {
            true => grown(need),
            false => Err(failure),
        })?;
        self.held.store(to, Ordering::Relaxed);
        Ok(())
    }

    /// Gives the space back to the device; says whether there was any.
    pub(crate) fn give_up(&self) -> Result<bool> {
        let mut file = self.file.lock();
        if file.is_none() {
            return Ok(false);
        }
        self.storage.remove(RESERVE_FILE)?;
        self.held.store(0, Ordering::Relaxed);
        *file = None;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use treering_segment::memory::MemoryStorage;

    #[test]
    fn it_grows_with_the_need_goes_at_once_and_comes_back() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let reserve = Reserve::none(&storage, 0).unwrap();
        let length = || storage.exists(RESERVE_FILE).unwrap().then(|| reserve.held.load(Ordering::Relaxed));
        assert!(!reserve.give_up().unwrap());
        reserve.cover(10_000, 1_000).unwrap();
        assert!(length().unwrap() >= EDGES_BYTES + 11_500);
        reserve.cover(1_000_000, 0).unwrap();
        let grown = length().unwrap();
        assert!(grown >= EDGES_BYTES + 1_000_000);
        reserve.cover(10, 0).unwrap();
        assert_eq!(length(), Some(grown), "it does not shrink");
        assert!(reserve.give_up().unwrap());
        assert_eq!(length(), None);
        reserve.cover(1, 1).unwrap();
        drop(Reserve::none(&storage, 0).unwrap());
        assert!(!storage.exists(RESERVE_FILE).unwrap(), "what a crash left is removed");
    }
}
