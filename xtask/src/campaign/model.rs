//! What the store must hold: the state that is certain, the operations since, and how many of them
//! each way of dying must leave. Nothing in it is fast or clever, so that it can be believed.
//!
//! # Rules
//! - **H1** After a kill the store shows the state after some step from the last acknowledged one on; after a
//!   power loss from the last one that a `Sync` acknowledgement, a flush or a cut covers. A step is whole or
//!   not there.
//! - **H2** Versions that the store gives out grow for ever, beyond those that a crash took, too.
//! - **H3** An operation that failed is a step like any other, of unknown version, unless the error says that
//!   it was not done. It can only be the last one of a life.
//! - **H4** Store time is never behind that of a record which the store shows, and goes as the clock goes. Between
//!   the earliest and the latest time at which a record may so have died, either is right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::script::TreeNumber;

/// Where a record is.
pub(crate) type Place = (TreeNumber, Vec<u8>);

/// A record as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Arc<[u8]>,
    /// Not known if the write's outcome was not.
    pub(crate) version: Option<u64>,
    /// The highest version that there was before.
    pub(crate) after_version: u64,
    /// The earliest wall-clock time at which it dies.
    pub(crate) dies_ms: Option<u64>,
    /// Store time was at least this when it was written.
    pub(crate) stored_ms: u64,
}

/// A record as the store shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) value: bytes::Bytes,
    pub(crate) version: u64,
    pub(crate) dies_ms: Option<u64>,
}

/// Everything that the store shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) trees: BTreeSet<TreeNumber>,
    pub(crate) records: BTreeMap<Place, Seen>,
}

/// One change of a step.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Place, Entry),
    Delete(Place),
    CreateTree(TreeNumber),
    DropTree(TreeNumber),
}

/// A state of the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) trees: BTreeSet<TreeNumber>,
    pub(crate) records: BTreeMap<Place, Entry>,
}

impl State {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(place, entry) => {
                self.records.insert(place.clone(), entry.clone());
            }
            Change::Delete(place) => {
                self.records.remove(place);
            }
            Change::CreateTree(tree) => {
                self.trees.insert(*tree);
            }
            Change::DropTree(tree) => {
                self.trees.remove(tree);
                self.records.retain(|(of, _), _| of != tree);
            }
        }
    }
}

/// The times between which a comparison is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall_ms: u64,
    /// How far store time may be behind at most.
    pub(crate) lag_ms: u64,
}

impl Now {
    /// Whether a record that dies at `dies_ms` may be seen, and whether it may be missing.
    fn may(self, dies_ms: Option<u64>) -> (bool, bool) {
        match dies_ms {
            None => (true, false),
            Some(dies) => (self.wall_ms < dies.saturating_add(self.lag_ms), self.wall_ms >= dies),
        }
    }
}

/// Whether the store may show `seen` where the model has `entry`.
pub(crate) fn agrees(entry: Option<&Entry>, seen: Option<&Seen>, now: Now) -> bool {
    let Some(entry) = entry else { return seen.is_none() };
    let (may_be_seen, may_be_missing) = now.may(entry.dies_ms);
    let Some(seen) = seen else { return may_be_missing };
    let dies_right = match (entry.dies_ms, seen.dies_ms) {
        (None, None) => true,
        (Some(earliest), Some(dies)) => (earliest..=earliest + now.lag_ms).contains(&dies),
        _ => false,
    };
    may_be_seen
        && dies_right
        && entry.version.map_or(seen.version > entry.after_version, |version| version == seen.version)
        && *entry.value == *seen.value
}

/// The history of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    base: State,
    steps: Vec<Vec<Change>>,
    /// The newest state: of all steps.
    pub(crate) newest: State,
    acknowledged: usize,
    durable: usize,
    /// The highest version that was ever seen (H2).
    pub(crate) highest_version: u64,
    /// The highest version that is there: those that a crash took do not count.
    pub(crate) newest_version: u64,
}

/// What a comparison found.
pub(crate) type Verdict<T> = Result<T, String>;

impl Model {
    /// A store that was just created: the default tree, no record.
    pub(crate) fn new() -> Self {
        let state = State { trees: BTreeSet::from([0]), ..State::default() };
        Self { base: state.clone(), newest: state, ..Self::default() }
    }

    /// The store shows `place` as absent: right, if its record may have died.
    pub(crate) fn expire(&mut self, place: &Place, now: Now) -> Verdict<()> {
        let entry = self.newest.records.get(place);
        if !agrees(entry, None, now) {
            return Err(format!("the store has lost {}:\"{}\": {entry:?}", place.0, place.1.escape_ascii()));
        }
        self.newest.records.remove(place);
        Ok(())
    }

    /// Whether the store shows the newest state.
    pub(crate) fn equals_newest(&self, seen: &Snapshot, now: Now) -> Verdict<()> {
        let newest = &self.newest;
        let mut places = newest.records.keys().chain(seen.records.keys());
        let wrong = places.find(|place| !agrees(newest.records.get(*place), seen.records.get(*place), now));
        if let Some(place) = wrong {
            let (entry, shown) = (newest.records.get(place), seen.records.get(place));
            let key = place.1.escape_ascii();
            return Err(format!("{}:\"{key}\" should be {entry:?}, is {shown:?}", place.0));
        }
        if newest.trees != seen.trees {
            return Err(format!("trees should be {:?}, are {:?}", newest.trees, seen.trees));
        }
        Ok(())
    }

    /// Adds a step that was submitted; a version is its records', if it is known.
    pub(crate) fn submit(&mut self, mut changes: Vec<Change>, version: Option<u64>) -> Verdict<()> {
        for change in &mut changes {
            if let Change::Put(_, entry) = change {
                (entry.version, entry.after_version) = (version, self.highest_version);
            }
        }
        changes.iter().for_each(|change| self.newest.apply(change));
        self.steps.push(changes);
        version.map_or(Ok(()), |version| self.note_version(version))
    }

    fn note_version(&mut self, version: u64) -> Verdict<()> {
        if version <= self.highest_version {
            return Err(format!(
                "version {version} was given out after version {} (O2, O5)",
                self.highest_version
            ));
        }
        self.highest_version = version;
        self.newest_version = version;
        Ok(())
    }

    /// All steps so far were acknowledged; they survive a kill.
    pub(crate) fn acknowledge(&mut self) {
        self.acknowledged = self.steps.len();
    }

    /// All steps so far were made durable; they survive a power loss.
    pub(crate) fn make_durable(&mut self) {
        self.acknowledged = self.steps.len();
        self.durable = self.steps.len();
    }

    /// A power loss: what was only acknowledged may be gone.
    pub(crate) fn lose_power(&mut self) {
        self.acknowledged = self.durable;
    }

    /// The number of the newest allowed step whose state the store shows.
    pub(crate) fn place(&self, seen: &Snapshot, now: Now) -> Verdict<usize> {
        let mut state = self.base.clone();
        let (floor, rest) = self.steps.split_at(self.acknowledged);
        floor.iter().flatten().for_each(|change| state.apply(change));
        let mut wrong: BTreeSet<Place> = state
            .records
            .keys()
            .chain(seen.records.keys())
            .filter(|place| !agrees(state.records.get(*place), seen.records.get(*place), now))
            .cloned()
            .collect();
        let mut found = (wrong.is_empty() && state.trees == seen.trees).then_some(self.acknowledged);
        let mut nearest = (wrong.clone(), self.acknowledged);
        for (index, step) in rest.iter().enumerate() {
            for change in step {
                let touched: Vec<Place> = match change {
                    Change::Put(place, _) | Change::Delete(place) => vec![place.clone()],
                    Change::CreateTree(_) => Vec::new(),
                    Change::DropTree(tree) => {
                        let of_tree = |place: &&Place| place.0 == *tree;
                        let here = state.records.keys().filter(of_tree);
                        here.chain(seen.records.keys().filter(of_tree)).cloned().collect()
                    }
                };
                state.apply(change);
                for place in touched {
                    if agrees(state.records.get(&place), seen.records.get(&place), now) {
                        wrong.remove(&place);
                    } else {
                        wrong.insert(place);
                    }
                }
            }
            let number = self.acknowledged + index + 1;
            if wrong.is_empty() && state.trees == seen.trees && same_version(step, seen) {
                found = Some(number);
            }
            if wrong.len() < nearest.0.len() {
                nearest = (wrong.clone(), number);
            }
        }
        found.ok_or_else(|| self.describe(&nearest, seen))
    }

    fn describe(&self, (wrong, number): &(BTreeSet<Place>, usize), seen: &Snapshot) -> String {
        let mut state = self.base.clone();
        self.steps[..*number].iter().flatten().for_each(|change| state.apply(change));
        let mut text = format!(
            "the store shows no state between step {} (the last that must be there) and step {} (the last \
             submitted); nearest is step {number}, from which differ:",
            self.acknowledged,
            self.steps.len()
        );
        if state.trees != seen.trees {
            text.push_str(&format!("\n  trees {:?}, seen {:?}", state.trees, seen.trees));
        }
        for place in wrong.iter().take(8) {
            let entry = state.records.get(place).map(|e| (e.value.len(), e.version, e.dies_ms));
            let shown = seen.records.get(place).map(|s| (s.value.len(), s.version, s.dies_ms));
            text.push_str(&format!(
                "\n  {}:\"{}\" should be {entry:?}, is {shown:?} (bytes, version, death)",
                place.0,
                place.1.escape_ascii()
            ));
        }
        text
    }

    /// Takes the state after `step`, which the store showed, for certain: all else is forgotten.
    pub(crate) fn settle(&mut self, step: usize, seen: &Snapshot, now: Now) -> Verdict<()> {
        let mut state = std::mem::take(&mut self.base);
        self.steps[..step].iter().flatten().for_each(|change| state.apply(change));
        for (place, entry) in &mut state.records {
            if let Some(seen) = seen.records.get(place) {
                entry.version = Some(seen.version);
            }
        }
        // What is gone by its age stays gone: store time does not go back from here.
        state.records.retain(|place, entry| seen.records.contains_key(place) || !now.may(entry.dies_ms).1);
        let newest = seen.records.values().map(|seen| seen.version).max().unwrap_or(0);
        self.highest_version = self.highest_version.max(newest);
        *self = Model {
            newest: state.clone(),
            base: state,
            highest_version: self.highest_version,
            newest_version: newest,
            ..Model::default()
        };
        Ok(())
    }

    /// Store time is at least this, as the records tell that the store has just shown: it never goes back (F6).
    pub(crate) fn store_time_min(&self, seen: &Snapshot) -> u64 {
        let known = self.base.records.iter().filter(|(place, _)| seen.records.contains_key(*place));
        known.map(|(_, entry)| entry.stored_ms).max().unwrap_or(0)
    }

    /// How many steps there are since the state that is certain.
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }
}

/// Whether the records of a step that are still as it left them have one version.
fn same_version(step: &[Change], seen: &Snapshot) -> bool {
    let of = |change: &Change| match change {
        Change::Put(place, entry) if entry.version.is_none() => {
            seen.records.get(place).filter(|seen| *seen.value == *entry.value).map(|seen| seen.version)
        }
        _ => None,
    };
    let versions: BTreeSet<u64> = step.iter().filter_map(of).collect();
    versions.len() <= 1
}
