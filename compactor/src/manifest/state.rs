//! The state that edits add up to. Applying an edit is all or nothing: an edit that contradicts the
//! state leaves it untouched.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::edit::{DetachedChange, DetachedRoot, Edit, Extent, ExtentChange, ExtentKind, Pin, PinChange};
use super::edit::{SegmentChange, SegmentMeta};

/// Everything the manifest says, as of its newest edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Sequence of the newest edit; 0 before the first.
    pub sequence: u64,
    /// Epoch of the newest cut.
    pub epoch: u64,
    /// Extents by frame number: a base, then its deltas in order.
    pub extents: BTreeMap<u64, Vec<Extent>>,
    /// Live segments by id.
    pub segments: BTreeMap<u64, SegmentMeta>,
    /// Pins by id.
    pub pins: BTreeMap<u64, Pin>,
    /// Detached roots by (frame, entry).
    pub detached: BTreeMap<(u64, u16), DetachedRoot>,
    /// The highest store time recorded, in ms.
    pub clock_ms: u64,
    /// The engine's own bytes.
    pub engine: Bytes,
}

/// Why an edit cannot follow a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistency(pub String);

impl fmt::Display for Inconsistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn refuse<T>(what: String) -> Result<T, Inconsistency> {
    Err(Inconsistency(what))
}

/// What an applied edit replaced, newest last; [`State::undo`] puts it back.
#[derive(Debug, Default)]
pub(super) struct Undo {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Extents(u64, Option<Vec<Extent>>),
    DeltaAdded(u64),
    Segment(u64, Option<SegmentMeta>),
    Pin(u64, Option<Pin>),
    Detached((u64, u16), Option<DetachedRoot>),
    Scalars { epoch: u64, clock_ms: u64, engine: Bytes, sequence: u64 },
}

impl State {
    /// Applies `edit` as the transition to `sequence`, or changes nothing.
    pub(super) fn apply(&mut self, sequence: u64, edit: &Edit) -> Result<Undo, Inconsistency> {
        let mut undo = Undo::default();
        match self.apply_steps(sequence, edit, &mut undo) {
            Ok(()) => Ok(undo),
            Err(inconsistency) => {
                self.undo(undo);
                Err(inconsistency)
            }
        }
    }

    /// Takes an applied edit back.
    pub(super) fn undo(&mut self, undo: Undo) {
        for step in undo.steps.into_iter().rev() {
            match step {
                Step::Extents(frame, old) => restore(&mut self.extents, frame, old),
                Step::DeltaAdded(frame) => {
                    if let Some(chain) = self.extents.get_mut(&frame) {
                        chain.pop();
                    }
                }
                Step::Segment(id, old) => restore(&mut self.segments, id, old),
                Step::Pin(id, old) => restore(&mut self.pins, id, old),
                Step::Detached(key, old) => restore(&mut self.detached, key, old),
                Step::Scalars { epoch, clock_ms, engine, sequence } => {
                    self.epoch = epoch;
                    self.clock_ms = clock_ms;
                    self.engine = engine;
                    self.sequence = sequence;
                }
            }
        }
    }

    /// The one edit that leads from nothing to this state.
    pub(super) fn to_full_edit(&self) -> Edit {
        let set = |(frame, chain): (&u64, &Vec<Extent>)| {
            let frame = *frame;
            chain.iter().map(move |extent| ExtentChange::Set { frame, extent: *extent }).collect::<Vec<_>>()
        };
        Edit {
            epoch: Some(self.epoch),
            extents: self.extents.iter().flat_map(set).collect(),
            segments: self.segments.values().cloned().map(SegmentChange::Add).collect(),
            pins: self.pins.values().cloned().map(PinChange::Add).collect(),
            detached: self.detached.values().copied().map(DetachedChange::Add).collect(),
            clock_ms: Some(self.clock_ms),
            engine: Some(self.engine.clone()),
        }
    }

    fn apply_steps(&mut self, sequence: u64, edit: &Edit, undo: &mut Undo) -> Result<(), Inconsistency> {
        undo.steps.push(Step::Scalars {
            epoch: self.epoch,
            clock_ms: self.clock_ms,
            engine: self.engine.clone(),
            sequence: self.sequence,
        });
        self.sequence = sequence;
        if let Some(epoch) = edit.epoch {
            if epoch < self.epoch {
                return refuse(format!("epoch {epoch} follows epoch {}", self.epoch));
            }
            self.epoch = epoch;
        }
        self.clock_ms = self.clock_ms.max(edit.clock_ms.unwrap_or(0));
        if let Some(engine) = &edit.engine {
            self.engine = engine.clone();
        }
        edit.extents.iter().try_for_each(|change| self.apply_extent(change, undo))?;
        edit.segments.iter().try_for_each(|change| self.apply_segment(change, undo))?;
        edit.pins.iter().try_for_each(|change| self.apply_pin(change, undo))?;
        edit.detached.iter().try_for_each(|change| self.apply_detached(change, undo))
    }

    fn apply_extent(&mut self, change: &ExtentChange, undo: &mut Undo) -> Result<(), Inconsistency> {
        match *change {
            ExtentChange::Set { frame, extent } => match extent.kind {
                ExtentKind::Base => {
                    let old = self.extents.insert(frame, vec![extent]);
                    undo.steps.push(Step::Extents(frame, old));
                }
                ExtentKind::Delta(order) => {
                    let chain = match self.extents.get_mut(&frame) {
                        Some(chain) if chain.len() == usize::from(order) && order > 0 => chain,
                        Some(chain) => {
                            return refuse(format!(
                                "frame {frame} has {} extents, delta {order}",
                                chain.len()
                            ));
                        }
                        None => return refuse(format!("frame {frame} has no base for delta {order}")),
                    };
                    chain.push(extent);
                    undo.steps.push(Step::DeltaAdded(frame));
                }
            },
            ExtentChange::Remove { frame } => match self.extents.remove(&frame) {
                Some(old) => undo.steps.push(Step::Extents(frame, Some(old))),
                None => return refuse(format!("frame {frame} is removed but was not there")),
            },
        }
        Ok(())
    }

    fn apply_segment(&mut self, change: &SegmentChange, undo: &mut Undo) -> Result<(), Inconsistency> {
        match change {
            SegmentChange::Add(meta) => {
                if meta.live_records > meta.records || meta.live_bytes > meta.value_bytes {
                    return refuse(format!("segment {:#x} has more live than it holds", meta.id));
                }
                if self.segments.contains_key(&meta.id) {
                    return refuse(format!("segment {:#x} is added twice", meta.id));
                }
                self.segments.insert(meta.id, meta.clone());
                undo.steps.push(Step::Segment(meta.id, None));
            }
            SegmentChange::Live { id, live_records, live_bytes } => {
                let Some(meta) = self.segments.get_mut(id) else {
                    return refuse(format!("segment {id:#x} gets live counts but was not there"));
                };
                if *live_records > meta.records || *live_bytes > meta.value_bytes {
                    return refuse(format!("segment {id:#x} has more live than it holds"));
                }
                undo.steps.push(Step::Segment(*id, Some(meta.clone())));
                meta.live_records = *live_records;
                meta.live_bytes = *live_bytes;
            }
            SegmentChange::Remove { id } => match self.segments.remove(id) {
                Some(old) => undo.steps.push(Step::Segment(*id, Some(old))),
                None => return refuse(format!("segment {id:#x} is removed but was not there")),
            },
        }
        Ok(())
    }

    fn apply_pin(&mut self, change: &PinChange, undo: &mut Undo) -> Result<(), Inconsistency> {
        match change {
            PinChange::Add(pin) => {
                if self.pins.contains_key(&pin.id) {
                    return refuse(format!("pin {} is added twice", pin.id));
                }
                self.pins.insert(pin.id, pin.clone());
                undo.steps.push(Step::Pin(pin.id, None));
            }
            PinChange::Remove { id } => match self.pins.remove(id) {
                Some(old) => undo.steps.push(Step::Pin(*id, Some(old))),
                None => return refuse(format!("pin {id} is removed but was not there")),
            },
        }
        Ok(())
    }

    fn apply_detached(&mut self, change: &DetachedChange, undo: &mut Undo) -> Result<(), Inconsistency> {
        match *change {
            DetachedChange::Add(root) => {
                let key = (root.frame, root.entry);
                if self.detached.contains_key(&key) {
                    return refuse(format!("entry {} of frame {} is detached twice", root.entry, root.frame));
                }
                self.detached.insert(key, root);
                undo.steps.push(Step::Detached(key, None));
            }
            DetachedChange::Remove { frame, entry } => match self.detached.remove(&(frame, entry)) {
                Some(old) => undo.steps.push(Step::Detached((frame, entry), Some(old))),
                None => {
                    return refuse(format!("entry {entry} of frame {frame} is swept but was not detached"));
                }
            },
        }
        Ok(())
    }
}

fn restore<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, old: Option<V>) {
    match old {
        Some(value) => {
            map.insert(key, value);
        }
        None => {
            map.remove(&key);
        }
    }
}
