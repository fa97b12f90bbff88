//! Writers: find the frame of a key, latch it, make room in it, change it.
//!
//! It is not the write path of the database: conditions, the log and the gate are the engine's. What it
//! owes to it (PROTOCOL W2): once `prepare_put` has said yes, the `put` of that entry cannot
//! fail; neither can a `remove` or `repoint` of a key that `find` has found.
//!
//! # Algorithm
//!
//! A writer descends as a reader does, without latches, to the frame where the key is or would be,
//! and latches that one alone. If the frame has changed meanwhile it searches it again under the
//! latch; should the key have moved below a crossing since, it lets go and descends further from there,
//! which is sound by T1. Frames that the writer holds already are searched as they are.
//!
//! Room is made before it is needed: a frame without space for the worst case of one insert is
//! re-packed if that wins enough, else split. A new child frame is latched before any crossing names
//! it, and stays latched: the writer holds a frame and its own new children until it is dropped.
//!
//! Readers are shut out only from the first change on (`begin_change`), not while conditions
//! are checked and the record is logged.
//!
//! # Invariants
//! * **X1** A writer of one key waits for a latch only while it holds none, save for frames below the one
//!   it holds. So writers of one key each do not deadlock, in whatever order they come.
//! * **X2** A writer of several keys is the only writer (the caller has the gate closed). It then waits for
//!   readers and the checkpointer only, which hold one latch each and wait for nothing (L4).
//! * **X3** No latch is released before the writer is dropped, except on frames found to be not the key's
//!   and not changed. So a batch becomes visible frame by frame only after its last change.

use super::latch::Exclusive;
use super::read::{ATTEMPTS, BROKEN, Hops, NO_CHILD, Place, Step, TORN, damage, leaf_meta};
use super::table::{Slot, SlotState};
use super::{LeafMeta, Tree, TreeError};
use std::collections::HashMap;
use treering_blobframe::{
    AllocError, BlobFrame, BlobFrameRef, FrameError, Insert, Leaf, LeafOffset, LeafPointer, LeafShape,
    Remove, Scratch, SplitError, Torn, inline_bytes_max, key_bytes_max,
};
use treering_segment::defects::{Defect, armed};

/// Splits and re-packs for one insert before the entry is called too large. Each split at least
/// takes a quarter out of a full frame, so a handful is enough for anything that fits at all.
const ROUNDS: u32 = 64;

/// A frame that a writer holds.
#[derive(Debug)]
struct Held<'t> {
    slot: &'t Slot,
    guard: Exclusive<'t, SlotState>,
}

/// Where the key of the last operation is or would be.
#[derive(Clone, Copy, Debug)]
struct Located {
    held: usize,
    entry: u16,
    consumed: usize,
    /// Whether there is a leaf.
    present: bool,
}

/// One operation's, or one batch's, way into the tree. Dropping it releases every latch.
#[derive(Debug)]
pub(crate) struct Writer<'t> {
    tree: &'t Tree,
    epoch: u64,
    held: Vec<Held<'t>>,
    /// Frame number to index in `held`; kept only when there are many.
    index: HashMap<u64, usize>,
    key: Vec<u8>,
    located: Option<Located>,
    scratch: Scratch,
}

/// What an unlatched search of one frame leads to.
enum Descent<'t> {
    /// The key lies further down.
    Next(Place<'t>),
    /// The key lies or would lie in this frame, which is latched now.
    Here { guard: Exclusive<'t, SlotState>, present: bool },
}

/// So many held frames are searched in line before a map pays.
const IN_LINE: usize = 8;

impl Tree {
    /// A writer that changes frames in `epoch`. REQUIRES: the caller is inside the gate and read `epoch`
    /// there; and either it uses the writer for one key, or the gate is closed and it is alone.
    pub(crate) fn writer(&self, epoch: u64) -> Writer<'_> {
        Writer {
            tree: self,
            epoch,
            held: Vec::new(),
            index: HashMap::new(),
            key: Vec::new(),
            located: None,
            scratch: Scratch::default(),
        }
    }
}

impl<'t> Writer<'t> {
    /// Latches the frame where the key is or would be, and says what its leaf is.
    pub(crate) fn find(&mut self, key: &[u8]) -> Result<Option<LeafMeta>, TreeError> {
        self.look(key, leaf_meta)
    }

    /// Makes sure that `put` of this key with a leaf of this shape (its version does not matter)
    /// cannot fail. May split frames.
    pub(crate) fn prepare_put(&mut self, key: &[u8], leaf: &Leaf<'_>) -> Result<(), TreeError> {
        let mut frame = self.tree.root;
        let shape = LeafShape::from(leaf);
        let frame_bytes = self.tree.table.frame_words() * 8;
        if key.len() > key_bytes_max(frame_bytes)
            || shape.inline.is_some_and(|len| len > inline_bytes_max(frame_bytes))
        {
            return Err(TreeError::TooLarge { frame });
        }
        for _ in 0..ROUNDS {
            let at = self.locate(key)?;
            let slot = self.held[at.held].slot;
            frame = slot.number;
            let view = BlobFrameRef::attach(&slot.words);
            let rest = &key[at.consumed..];
            let need = BlobFrame::insert_bound(rest.len(), shape);
            if view.room() < need {
                self.make_room(at.held, need)?;
            } else if !at.present && view.is_gap(at.entry, rest).map_err(|Torn| damage(frame, TORN))? {
                // The insert stops at the crossing, whose child the key belongs to.
                self.insert(at, key, leaf)?;
            } else {
                return Ok(());
            }
            // The key lies below a crossing of this frame now, or still here (T1).
            self.located = None;
            self.descend(Place { slot, entry: at.entry, consumed: at.consumed }, key)?;
        }
        Err(TreeError::TooLarge { frame })
    }

    /// Sets the key's leaf. Answers whether there was one before.
    pub(crate) fn put(&mut self, key: &[u8], leaf: &Leaf<'_>) -> Result<bool, TreeError> {
        self.prepare_put(key, leaf)?;
        let at = self.locate(key)?;
        match self.insert(at, key, leaf)? {
            Insert::Inserted => Ok(false),
            Insert::Replaced => Ok(true),
            Insert::Crossing { .. } => Err(damage(self.held[at.held].slot.number, TORN)),
        }
    }

    fn insert(&mut self, at: Located, key: &[u8], leaf: &Leaf<'_>) -> Result<Insert, TreeError> {
        // What the change leaves there is looked up anew if it is asked for.
        self.located = None;
        let mut frame = self.change(at.held);
        let number = frame.number();
        frame.insert(at.entry, &key[at.consumed..], leaf).map_err(|error| match error {
            FrameError::Torn => damage(number, TORN),
            FrameError::Alloc(AllocError::InvalidRequest) => TreeError::TooLarge { frame: number },
            FrameError::Alloc(_) => damage(number, "its room is less than it says"),
        })
    }

    /// Removes the key's leaf. Answers whether there was one.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<bool, TreeError> {
        if self.find(key)?.is_none() {
            return Ok(false);
        }
        let at = self.locate(key)?;
        self.located = None;
        let mut frame = self.change(at.held);
        match frame.remove(at.entry, &key[at.consumed..]) {
            Ok(Remove::Removed) => Ok(true),
            _ => Err(damage(self.held[at.held].slot.number, TORN)),
        }
    }

    /// Points the key's leaf to `new` if it points to `expect` now. Answers whether it did.
    pub(crate) fn repoint(
        &mut self,
        key: &[u8],
        expect: &LeafPointer,
        new: &LeafPointer,
    ) -> Result<bool, TreeError> {
        let found = self.find(key)?.and_then(|leaf| leaf.pointer);
        let expect =
            if armed(Defect::RelocatedWithoutComparing) { found.as_ref().unwrap_or(expect) } else { expect };
        if found.as_ref() != Some(expect) {
            return Ok(false);
        }
        let at = self.locate(key)?;
        let mut frame = self.change(at.held);
        match frame.update_pointer(at.entry, &key[at.consumed..], expect, new) {
            Ok(true) => Ok(true),
            _ => Err(damage(self.held[at.held].slot.number, TORN)),
        }
    }

    fn look<R>(
        &mut self,
        key: &[u8],
        mut take: impl FnMut(BlobFrameRef<'_>, LeafOffset) -> Result<R, Torn>,
    ) -> Result<Option<R>, TreeError> {
        let at = self.locate(key)?;
        let slot = self.held[at.held].slot;
        let place = Place { slot, entry: at.entry, consumed: at.consumed };
        match place.search(key, &mut take) {
            Ok(Step::Leaf(found)) => Ok(Some(found)),
            Ok(Step::Absent) => Ok(None),
            Ok(Step::Crossing { .. }) | Err(Torn) => Err(damage(slot.number, TORN)),
        }
    }

    /// The frame of the key, held.
    fn locate(&mut self, key: &[u8]) -> Result<Located, TreeError> {
        if let Some(at) = self.located.filter(|_| self.key == key) {
            return Ok(at);
        }
        self.located = None;
        let root = Place { slot: self.tree.root_slot()?, entry: 0, consumed: 0 };
        self.descend(root, key)
    }

    /// Goes on from `place` to the frame of the key, and holds that.
    fn descend(&mut self, mut place: Place<'t>, key: &[u8]) -> Result<Located, TreeError> {
        let mut hops = Hops::for_key(key.len());
        let (held, present) = loop {
            if let Some(held) = self.held_index(place.slot.number) {
                match place.search(key, &mut |_, _| Ok(())) {
                    Ok(Step::Crossing { child, entry, consumed }) => {
                        hops.take(place.slot.number)?;
                        place = self.follow(place, child, entry, consumed)?;
                        continue;
                    }
                    Ok(found) => break (held, matches!(found, Step::Leaf(()))),
                    Err(Torn) => return Err(damage(place.slot.number, TORN)),
                }
            }
            match self.search_unheld(place, key)? {
                Descent::Next(next) => {
                    hops.take(place.slot.number)?;
                    place = next;
                }
                Descent::Here { guard, present } => break (self.hold(place.slot, guard), present),
            }
        };
        let at = Located { held, entry: place.entry, consumed: place.consumed, present };
        self.key.clear();
        self.key.extend_from_slice(key);
        self.located = Some(at);
        Ok(at)
    }

    fn follow(
        &self,
        place: Place<'t>,
        child: u64,
        entry: u16,
        consumed: usize,
    ) -> Result<Place<'t>, TreeError> {
        place.follow(&self.tree.table, child, entry, consumed).ok_or(damage(place.slot.number, NO_CHILD))
    }

    /// Searches a frame that is not held, and latches it if the key is or would be there.
    fn search_unheld(&self, place: Place<'t>, key: &[u8]) -> Result<Descent<'t>, TreeError> {
        let latch = &place.slot.latch;
        for _ in 0..ATTEMPTS {
            let version = latch.read_version();
            let found = place.search(key, &mut |_, _| Ok(()));
            if !latch.validate(version) {
                continue;
            }
            match found {
                Ok(Step::Crossing { child, entry, consumed }) => {
                    return Ok(Descent::Next(self.follow(place, child, entry, consumed)?));
                }
                Ok(found) => {
                    let guard = latch.exclusive();
                    if guard.version() == version {
                        return Ok(Descent::Here { guard, present: matches!(found, Step::Leaf(())) });
                    }
                }
                Err(Torn) => return Err(damage(place.slot.number, TORN)),
            }
        }
        let guard = latch.exclusive();
        if guard.broken() {
            return Err(damage(place.slot.number, BROKEN));
        }
        match place.search(key, &mut |_, _| Ok(())) {
            Ok(Step::Crossing { child, entry, consumed }) => {
                Ok(Descent::Next(self.follow(place, child, entry, consumed)?))
            }
            Ok(found) => Ok(Descent::Here { guard, present: matches!(found, Step::Leaf(())) }),
            Err(Torn) => Err(damage(place.slot.number, TORN)),
        }
    }

    /// Re-packs or splits a held frame.
    fn make_room(&mut self, held: usize, need: usize) -> Result<(), TreeError> {
        let tree = self.tree;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut frame = self.change(held);
        let number = frame.number();
        let enough = need + tree.table.frame_words();
        if frame.room_after_repack() >= enough {
            let packed = frame.repack(&mut scratch);
            self.scratch = scratch;
            return packed.map_err(|Torn| damage(number, TORN));
        }
        let child = tree.make_frame(tree.table.allocate_number(), self.epoch)?;
        // Uncontended: no crossing names the child yet.
        let mut guard = child.latch.exclusive();
        tree.begin_change(child, &mut guard, self.epoch);
        let mut child_frame = BlobFrame::attach(&child.words);
        let split = frame.split_into(&mut child_frame, &mut scratch);
        self.scratch = scratch;
        self.hold(child, guard);
        match split {
            Ok(_) => Ok(()),
            Err(SplitError::NothingToMove) => Err(TreeError::TooLarge { frame: number }),
            Err(_) => Err(damage(number, TORN)),
        }
    }

    /// A held frame, to be changed.
    fn change(&mut self, held: usize) -> BlobFrame<'t> {
        let Held { slot, guard } = &mut self.held[held];
        self.tree.begin_change(slot, guard, self.epoch);
        BlobFrame::attach(&slot.words)
    }

    fn held_index(&self, number: u64) -> Option<usize> {
        if self.index.is_empty() {
            return self.held.iter().position(|held| held.slot.number == number);
        }
        self.index.get(&number).copied()
    }

    fn hold(&mut self, slot: &'t Slot, guard: Exclusive<'t, SlotState>) -> usize {
        let held = self.held.len();
        self.held.push(Held { slot, guard });
        if held == IN_LINE {
            self.index = self.held.iter().enumerate().map(|(i, held)| (held.slot.number, i)).collect();
        } else if held > IN_LINE {
            self.index.insert(slot.number, held);
        }
        held
    }
}
