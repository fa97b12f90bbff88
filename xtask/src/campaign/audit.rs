//! Order assertions on every operation of the disk: cheaper than sampling crashes, and exact. A store that
//! passes them here would survive a crash between any two operations, as far as these rules go.
//!
//! # Rules
//! - **A1** When a write is acknowledged as durable, and when a recovery is done, the log from the low-water
//!   mark up to it is durable: names, headers, bytes (PROTOCOL O3).
//! - **A2** When an edit is written, every extent and segment that it names, and the log from its low-water
//!   mark to its `lsn0`, is durable (C3, C4).
//! - **A3** As long as a state may be what a crash leaves, its extents are not written and its segments and
//!   log are neither removed nor recycled (C7).
//! - **A4** What an edit releases goes only after a record behind it was written to the log and synced: the
//!   mark that tells of the edit (O4). A recovery that finds an edit without a mark releases by it all the
//!   same: it has made the edit durable again, and what is missing then tells of damage by itself.
//! - **A5** The header of a log file that becomes another is written only when no crash brings the old name
//!   back (J4).
//!
//! It knows the files' names, the manifest through its own reader, and two fields of the engine's section.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use treering::segment::memory::MemoryStorage;
use treering::segment::storage::Storage;
use treering_compactor::manifest::{MANIFEST, MANIFEST_NEW, Manifest, Mode, State};
use treering_sim::SimDisk;
use treering_sim::disk::{Auditor, Event, View};

/// Bytes in front of a log file's records.
const LOG_HEADER: u64 = 4096;
/// The unit of space in the frames file, in bytes.
const EXTENT_UNIT: u64 = 4096;
const STORE: &str = "STORE";
const FRAMES: &str = "frames";
const LOG: &str = "log-";
const SEGMENT: &str = "segment-";
const SPARE: &str = "spare-";

/// How far the mark that tells of the newest edit has come (A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Missing,
    Written,
    Durable,
}

#[derive(Debug)]
struct Inner {
    log_bytes: u64,
    /// States that a crash may leave, the newest last.
    states: Vec<State>,
    mark: Mark,
    /// The log was found durable up to here.
    durable_end: u64,
    /// Addresses behind an end that a recovery has found: what is there means nothing for ever.
    voids: Vec<Range<u64>>,
    violation: Option<String>,
}

/// The auditor of one life of a disk.
#[derive(Debug)]
pub(crate) struct Audit {
    inner: Mutex<Inner>,
}

impl Audit {
    /// Begins to watch `disk`, whose log files hold `log_bytes` of records each.
    pub(crate) fn watch(disk: &SimDisk, log_bytes: u64, voids: Vec<Range<u64>>) -> Arc<Self> {
        let states = disk.look(|view| {
            let durable = view.durable_bytes_of(MANIFEST);
            let mut states: Vec<State> = [durable, view.bytes_of(MANIFEST)]
                .into_iter()
                .flatten()
                .filter_map(|b| parse(view, b))
                .collect();
            states.dedup();
            states
        });
        let inner = Inner { log_bytes, states, mark: Mark::Durable, durable_end: 0, voids, violation: None };
        let audit = Arc::new(Self { inner: Mutex::new(inner) });
        let auditor: Arc<dyn Auditor> = Arc::clone(&audit) as Arc<dyn Auditor>;
        disk.set_auditor(auditor);
        audit
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first rule that was broken.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        self.inner().violation.clone().map_or(Ok(()), Err)
    }

    /// A recovery has cut the log at `lsns.start` and goes on at `lsns.end`.
    pub(crate) fn note_void(&self, lsns: Range<u64>) {
        self.inner().voids.push(lsns);
    }

    /// What was noted as void, for the auditor of the next life.
    pub(crate) fn voids(&self) -> Vec<Range<u64>> {
        self.inner().voids.clone()
    }

    /// Bytes of the frames file that the newest state's extents take.
    pub(crate) fn live_frame_bytes(&self) -> u64 {
        let inner = self.inner();
        let extents = inner.states.last().into_iter().flat_map(|state| state.extents.values().flatten());
        extents.map(|extent| u64::from(extent.length).next_multiple_of(EXTENT_UNIT)).sum()
    }

    /// A1: the log is durable up to `end`.
    pub(crate) fn check_log(&self, disk: &SimDisk, end: u64) -> Result<(), String> {
        let mut inner = self.inner();
        let Some(newest) = inner.states.last() else { return Ok(()) };
        let needed = low_water(newest)..end;
        inner.durable_end = inner.durable_end.max(end);
        disk.look(|view| match inner.volatile_log(view, needed.clone()) {
            None => Ok(()),
            Some(what) => Err(format!("acknowledged up to LSN {end}, but {what} is not durable (A1)")),
        })
    }
}

impl Auditor for Audit {
    fn after(&self, event: &Event<'_>, view: View<'_>) {
        let mut inner = self.inner();
        if let Err(what) = inner.note(event, view) {
            inner.violation.get_or_insert(what);
        }
    }
}

impl Inner {
    fn note(&mut self, event: &Event<'_>, view: View<'_>) -> Result<(), String> {
        match event {
            Event::Wrote { name, bytes } if *name == FRAMES => self.frames_written(bytes),
            Event::Resized { name, bytes } if *name == FRAMES => self.frames_written(&(*bytes..u64::MAX)),
            Event::Wrote { name, .. } if *name == MANIFEST || *name == MANIFEST_NEW => {
                self.edited(name, view)
            }
            Event::Wrote { name, .. } if name.starts_with(LOG) => {
                if self.mark == Mark::Missing {
                    self.mark = Mark::Written;
                }
                Ok(())
            }
            Event::Wrote { name, bytes } if name.starts_with(SPARE) && bytes.start < LOG_HEADER => {
                match view.durable_names_of(name).find(|old| old.starts_with(LOG)) {
                    Some(old) => Err(format!("{name} gets a header while a crash may call it {old} (A5)")),
                    None => Ok(()),
                }
            }
            Event::Synced { name } if name.starts_with(LOG) => {
                if self.mark == Mark::Written {
                    self.mark = Mark::Durable;
                }
                Ok(())
            }
            Event::Synced { name } if *name == MANIFEST => self.manifest_synced(view),
            Event::DirectorySynced => self.manifest_synced(view),
            Event::Removed { name } => self.gone(name),
            Event::Renamed { from, .. } => self.gone(from),
            _ => Ok(()),
        }
    }

    /// A3 for frames.
    fn frames_written(&self, bytes: &Range<u64>) -> Result<(), String> {
        for state in &self.states {
            for (frame, extent) in
                state.extents.iter().flat_map(|(frame, all)| all.iter().map(move |e| (frame, e)))
            {
                let end = extent.offset + u64::from(extent.length).next_multiple_of(EXTENT_UNIT);
                if bytes.start < end && extent.offset < bytes.end {
                    let (sequence, offset) = (state.sequence, extent.offset);
                    return Err(format!(
                        "frames {bytes:?} is written while edit {sequence} has frame {frame} at {offset} (A3)"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A2.
    fn edited(&mut self, name: &str, view: View<'_>) -> Result<(), String> {
        let Some(state) = view.bytes_of(name).and_then(|bytes| parse(view, bytes)) else { return Ok(()) };
        if self.states.last().is_some_and(|last| *last == state) {
            return Ok(());
        }
        let sequence = state.sequence;
        if !state.extents.is_empty() && !view.is_name_durable(FRAMES) {
            return Err(format!("edit {sequence} names extents of a file without a durable name (A2)"));
        }
        for (frame, extent) in
            state.extents.iter().flat_map(|(frame, all)| all.iter().map(move |e| (frame, e)))
        {
            let bytes = extent.offset..extent.offset + u64::from(extent.length);
            if !view.are_bytes_durable(FRAMES, bytes) {
                return Err(format!("edit {sequence} names frame {frame}, which is not durable (A2)"));
            }
        }
        for id in state.segments.keys() {
            if !view.is_file_durable(&segment_name(*id)) {
                return Err(format!("edit {sequence} names segment {id}, which is not durable (A2)"));
            }
        }
        if let Some(what) = self.volatile_log(view, low_water(&state)..lsn0(&state)) {
            return Err(format!("edit {sequence} rests on {what}, which is not durable (A2)"));
        }
        self.states.push(state);
        self.mark = Mark::Missing;
        Ok(())
    }

    /// The newest edit is the only one left, once it and its file's name are durable.
    fn manifest_synced(&mut self, view: View<'_>) -> Result<(), String> {
        if self.states.len() > 1 && view.is_file_durable(MANIFEST) {
            self.states.drain(..self.states.len() - 1);
        }
        Ok(())
    }

    /// A3 and A4 for segments and log.
    fn gone(&self, name: &str) -> Result<(), String> {
        let id = |start: &str| name.strip_prefix(start).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let released = if let Some(id) = id(SEGMENT) {
            let holder = self.states.iter().find(|state| state.segments.contains_key(&id));
            if let Some(state) = holder {
                return Err(format!("{name} goes while edit {} names it (A3)", state.sequence));
            }
            false
        } else if let Some(first) = id(LOG) {
            let lowest = self.states.iter().map(low_water).min();
            let end = first + self.log_bytes;
            let holds = |low_water: &u64| *low_water < end && first < self.durable_end.max(*low_water);
            if let Some(low_water) = lowest.filter(holds) {
                return Err(format!("{name} goes while a state reads the log from {low_water} on (A3)"));
            }
            lowest.is_some_and(|low_water| end <= low_water)
        } else {
            false
        };
        if released && self.mark != Mark::Durable {
            return Err(format!("{name} goes before a durable mark tells of the newest edit (A4)"));
        }
        Ok(())
    }

    /// A piece of the log between two LSNs that a crash could take.
    fn volatile_log(&self, view: View<'_>, lsns: Range<u64>) -> Option<String> {
        for name in view.names() {
            let Some(first) = name.strip_prefix(LOG).and_then(|hex| u64::from_str_radix(hex, 16).ok()) else {
                continue;
            };
            let (from, to) = (lsns.start.max(first), lsns.end.min(first + self.log_bytes));
            if from >= to {
                continue;
            }
            if !view.is_name_durable(name) {
                return Some(format!("the name {name}"));
            }
            if !view.are_bytes_durable(name, 0..512) {
                return Some(format!("the header of {name}"));
            }
            for lsns in without(from..to, &self.voids) {
                let bytes = LOG_HEADER + lsns.start - first..LOG_HEADER + lsns.end - first;
                if !view.are_bytes_durable(name, bytes.clone()) {
                    return Some(format!("{name} at {bytes:?}"));
                }
            }
        }
        None
    }
}

/// What is left of `range` outside of `holes`, which are in order.
fn without(range: Range<u64>, holes: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut at = range.start;
    for hole in holes.iter().filter(|hole| hole.start < range.end && range.start < hole.end) {
        left.push(at..hole.start.max(at));
        at = at.max(hole.end);
    }
    left.push(at..range.end.max(at));
    left
}

/// The file of a segment.
fn segment_name(id: u64) -> String {
    format!("{SEGMENT}{id:016x}")
}

/// The state that a manifest's bytes say, if they say one.
fn parse(view: View<'_>, bytes: Vec<u8>) -> Option<State> {
    let identity = view.bytes_of(STORE)?;
    let store_id: [u8; 16] = identity.get(16..32)?.try_into().ok()?;
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    storage.create(MANIFEST).ok()?.write_all_at(&bytes, 0).ok()?;
    Manifest::load(&storage, store_id, Mode::ReadOnly).ok().map(|(_, state)| state)
}

fn engine_field(state: &State, at: usize) -> u64 {
    let bytes = state.engine.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// From where on recovery reads the log.
fn low_water(state: &State) -> u64 {
    engine_field(state, 8)
}

/// The log's tail at the cut.
fn lsn0(state: &State) -> u64 {
    engine_field(state, 16)
}
