//! The engine's threads, and the same work by hand. The *drainer* moves published records from the ring
//! to the log and syncs them every flush interval; the *checkpointer* takes cuts. With `background(false)`
//! neither runs and [`Store::step`] does one piece of either (PROTOCOL F9).

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, ErrorKind, Result};
use crate::store::{Store, Writing};

/// How often the checkpointer looks whether a cut is due when nobody wakes it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A cut is due when this part of a cap is used.
const DUE_NUMERATOR: u64 = 1;
const DUE_DENOMINATOR: u64 = 2;

/// The running threads; dropping it stops and joins them.
#[derive(Debug)]
pub(crate) struct Background {
    store: Arc<Store>,
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn is_asked(&self) -> bool {
        *self.asked.lock()
    }

    /// Sleeps until asked to stop, or for `interval`; says whether to stop.
    fn wait(&self, interval: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.changed.wait_for(&mut asked, interval);
        }
        *asked
    }

    fn ask(&self) {
        *self.asked.lock() = true;
        self.changed.notify_all();
    }
}

impl Background {
    /// Starts drainer and checkpointer.
    pub(crate) fn start(store: &Arc<Store>) -> Result<Self> {
        let stop = Arc::new(Stop::default());
        let mut background = Self { store: Arc::clone(store), stop: Arc::clone(&stop), threads: Vec::new() };
        let spawn = |name: &str, work: fn(&Store, &Writing, &Stop)| {
            let (store, stop) = (Arc::clone(store), Arc::clone(&stop));
            std::thread::Builder::new()
                .name(format!("treering-{name}"))
                .spawn(move || {
                    if let Some(writing) = &store.writing {
                        work(&store, writing, &stop);
                    }
                })
                .map_err(|e| Error::new(ErrorKind::Io, format!("cannot start the {name} thread: {e}")))
        };
        background.threads.push(spawn("drain", drain)?);
        background.threads.push(spawn("cut", checkpoint)?);
        Ok(background)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(writing) = &self.store.writing {
            writing.journal.wake();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has poisoned the store; there is nobody to tell here.
            drop(thread.join());
        }
    }
}

/// The drainer's life. A failure that poisons the journal ends it, and every writer hears of it; after any
/// other, writers make room themselves and the drainer tries again.
fn drain(store: &Store, writing: &Writing, stop: &Stop) {
    let clock = &store.env.clock;
    let interval = store.options.flush_interval;
    let mut flushed_ms = clock.boot_ms();
    while !stop.is_asked() {
        let since_flush = Duration::from_millis(clock.boot_ms().saturating_sub(flushed_ms));
        writing.journal.wait_for_work(interval.saturating_sub(since_flush));
        if stop.is_asked() {
            break;
        }
        if writing.journal.drain_once().is_err() && (writing.journal.is_poisoned() || stop.wait(LOOK_EVERY)) {
            break;
        }
        if Duration::from_millis(clock.boot_ms().saturating_sub(flushed_ms)) >= interval {
            store.clock.observe_wall();
            if writing.journal.flush().is_err() && writing.journal.is_poisoned() {
                break;
            }
            flushed_ms = clock.boot_ms();
        }
    }
}

/// The checkpointer's life. A cut that fails for want of space is tried again later; writers that need it
/// meanwhile take it themselves and hear of the failure.
fn checkpoint(store: &Store, writing: &Writing, stop: &Stop) {
    while !stop.wait(LOOK_EVERY) {
        if !store.cut_is_due(writing) {
            continue;
        }
        match store.cut() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Full => {
                if stop.wait(LOOK_EVERY * 10) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
}

impl Store {
    /// Whether the log or the staging area has used half of its cap.
    fn cut_is_due(&self, writing: &Writing) -> bool {
        let past_half = |used: u64, cap: u64| used / DUE_NUMERATOR >= cap / DUE_DENOMINATOR;
        past_half(writing.journal.log_bytes(), self.options.log_cap_bytes)
            || past_half(self.staging.live_bytes(), self.options.staging_limit)
    }

    /// One piece of background work: a drain if something is published, else a cut if one is due.
    pub(crate) fn step(&self) -> Result<bool> {
        let writing = self.writing()?;
        self.clock.observe_wall();
        if writing.journal.drain_once()? > 0 {
            return Ok(true);
        }
        if self.cut_is_due(writing) {
            self.cut()?;
            return Ok(true);
        }
        let frontiers = writing.journal.frontiers();
        if frontiers.durable < frontiers.published {
            writing.journal.flush()?;
            return Ok(true);
        }
        Ok(false)
    }
}
