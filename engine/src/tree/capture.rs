//! What a cut needs of the tree: which frames are dirty, and each of them as it was at the bump.
//!
//! It is not the checkpointer: it writes nothing and knows no extents. It answers with encoded
//! images; the engine places them, appends the manifest edit, and says how it went.
//!
//! # Algorithm
//!
//! Every change to a frame goes through `Tree::begin_change`, under the frame's exclusive latch,
//! with the epoch that the writer read inside the gate. A frame is *dirty in epoch e* if e is the
//! epoch of its first change since its last capture.
//!
//! 1. `open_cut(g)`, gate closed, takes the list of dirty frames. Each is dirty in an epoch < g.
//!    From the moment the gate opens, writers change frames in epoch g.
//! 2. The first writer that is about to change a frame still dirty in an epoch < g saves a copy of
//!    it in the slot (*frozen*) and marks it dirty in g.
//! 3. `capture` takes the frozen copy if there is one, else copies the frame under the latch and
//!    marks it clean. Both hold the latch, so exactly one of the two happens.
//! 4. `finish_cut` when the edit is durable; or `abort_cut`: every frame of the set is dirty again,
//!    in g, whatever became of it, and the next cut captures it as it is then.
//!
//! # Invariants
//! * **C1** At most one cut is open, and only then is a frame dirty in an epoch before the current.
//! * **C2** A frame is on the current epoch's list if and only if it is dirty in that epoch.
//! * **C3** The image of a frame in a cut's set is the frame as it was when the gate was closed: no
//!   word changes before `begin_change` has seen to step 2.
//! * **C4** A frame's epoch word never exceeds the writer's epoch (PROTOCOL W4).

use super::latch::Exclusive;
use super::sync::Mutex;
use super::table::{Slot, SlotState};
use super::{Tree, TreeError};
use std::sync::atomic::{AtomicU64 as Word, Ordering};
use treering_blobframe::{BlobFrame, BlobFrameRef, encode_image, image_checksum};
use treering_segment::defects::{Defect, armed};

/// The dirty list and the open cut.
#[derive(Debug)]
pub(crate) struct Cuts {
    lists: Mutex<Lists>,
    /// Length of the dirty list. Relaxed everywhere: a figure.
    dirty: Word,
}

#[derive(Debug)]
struct Lists {
    /// The epoch that running writers stamp.
    epoch: u64,
    /// Frames dirty in `epoch`, each once (C2).
    dirty: Vec<u64>,
    /// Whether a cut is open (C1).
    open: bool,
}

/// The frames of an open cut.
#[derive(Debug)]
pub(crate) struct CutSet {
    /// The epoch that begins with this cut.
    epoch: u64,
    frames: Vec<u64>,
}

impl CutSet {
    /// The epoch that begins with this cut: what writers stamp after it.
    #[cfg(test)]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The set, or, if `lost`, an empty one in its place: a seeded defect.
    pub(crate) fn lost_if(self, lost: bool) -> Self {
        if lost { Self { frames: Vec::new(), ..self } } else { self }
    }

    /// The frames to capture, in ascending order.
    pub(crate) fn frames(&self) -> &[u64] {
        &self.frames
    }
}

/// A frame as it was at the cut, in its form on disk.
#[derive(Debug)]
pub(crate) struct FrameImage {
    /// The frame's own epoch: that of its last change.
    pub(crate) epoch: u64,
    /// What the frame map must hold to trust the bytes later.
    pub(crate) checksum: u32,
    /// The encoded image, a multiple of 4,096 bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Cuts {
    pub(crate) fn new(epoch: u64) -> Self {
        Self { lists: Mutex::new(Lists { epoch, dirty: Vec::new(), open: false }), dirty: Word::new(0) }
    }

    /// Puts a frame that has just become dirty on the list.
    pub(crate) fn note_dirty(&self, number: u64) {
        let mut lists = self.lists.lock();
        lists.dirty.push(number);
        self.dirty.store(lists.dirty.len() as u64, Ordering::Relaxed);
    }
}

impl Tree {
    /// Must come before any change to a frame's words, under its latch: lets an open cut have the
    /// frame as it is, marks it dirty, and turns its version odd.
    pub(crate) fn begin_change(&self, slot: &Slot, guard: &mut Exclusive<'_, SlotState>, epoch: u64) {
        if guard.changing() {
            debug_assert_eq!(guard.dirty, Some(epoch));
            return;
        }
        match guard.dirty {
            Some(dirty) if dirty == epoch => {}
            Some(dirty) => {
                assert!(dirty < epoch, "C4: frame {} is dirty in a later epoch", slot.number);
                assert!(guard.frozen.is_none(), "C1: frame {} is frozen for another cut", slot.number);
                guard.frozen = Some(copy_of(&slot.words));
                guard.dirty = Some(epoch);
                self.cuts.note_dirty(slot.number);
            }
            None => {
                guard.dirty = Some(epoch);
                self.cuts.note_dirty(slot.number);
            }
        }
        guard.begin_change();
        BlobFrame::attach(&slot.words).set_epoch(epoch);
    }

    /// Opens a cut: everything changed so far belongs to it, and writers stamp `new_epoch` from now
    /// on. REQUIRES: the gate is closed and no cut is open.
    pub(crate) fn open_cut(&self, new_epoch: u64) -> CutSet {
        let mut lists = self.cuts.lists.lock();
        assert!(!lists.open, "C1: a cut is open");
        assert!(new_epoch > lists.epoch, "an epoch ends only once");
        lists.open = true;
        lists.epoch = new_epoch;
        let mut frames = std::mem::take(&mut lists.dirty);
        self.cuts.dirty.store(0, Ordering::Relaxed);
        frames.sort_unstable();
        CutSet { epoch: new_epoch, frames }
    }

    /// The frame as it was when the cut was opened. Once for each frame of the set.
    pub(crate) fn capture(
        &self,
        set: &CutSet,
        number: u64,
        salt: &[u8; 16],
    ) -> Result<FrameImage, TreeError> {
        let slot = self.slot(number)?;
        let words = {
            // Exclusive without a change: writers wait, optimistic readers do not notice.
            let mut guard = slot.latch.exclusive();
            if guard.broken() {
                return Err(TreeError::Damage { frame: number, what: "a writer panicked in it" });
            }
            match guard.frozen.take() {
                Some(_) if armed(Defect::LiveFrameCaptured) => copy_of(&slot.words),
                Some(frozen) => frozen,
                None => {
                    let captured = guard.dirty.take();
                    assert!(
                        captured.is_some_and(|dirty| dirty < set.epoch),
                        "C3: frame {number} is captured twice or is not in the set"
                    );
                    copy_of(&slot.words)
                }
            }
        };
        let frame = BlobFrameRef::attach(&words);
        let bytes = encode_image(frame, salt);
        let checksum = image_checksum(&bytes);
        Ok(FrameImage { epoch: frame.epoch(), checksum, bytes })
    }

    /// Ends a cut whose edit is durable. REQUIRES: each of its frames was captured.
    pub(crate) fn finish_cut(&self, set: CutSet) {
        if cfg!(debug_assertions) {
            for slot in set.frames.iter().filter_map(|&number| self.table.get(number)) {
                let guard = slot.latch.shared();
                let captured = guard.frozen.is_none() && guard.dirty.is_none_or(|dirty| dirty >= set.epoch);
                assert!(captured, "C3: frame {} was not captured", slot.number);
            }
        }
        self.close_cut(&set);
    }

    /// Ends a cut that failed: the next one captures all its frames again (PROTOCOL C6).
    pub(crate) fn abort_cut(&self, set: CutSet) {
        for slot in set.frames.iter().filter_map(|&number| self.table.get(number)) {
            let mut guard = slot.latch.exclusive();
            guard.frozen = None;
            if guard.dirty != Some(set.epoch) {
                guard.dirty = Some(set.epoch);
                self.cuts.note_dirty(slot.number);
            }
        }
        self.close_cut(&set);
    }

    fn close_cut(&self, set: &CutSet) {
        let mut lists = self.cuts.lists.lock();
        assert!(lists.open && lists.epoch == set.epoch, "C1: the set is not that of the open cut");
        lists.open = false;
    }

    /// Frames that would be in a cut opened now.
    pub(crate) fn dirty_frames(&self) -> u64 {
        self.cuts.dirty.load(Ordering::Relaxed)
    }
}

/// A copy of a frame that nobody is changing.
fn copy_of(words: &[Word]) -> Box<[Word]> {
    // Relaxed: the caller holds the latch, which orders these loads after the last change.
    words.iter().map(|word| Word::new(word.load(Ordering::Relaxed))).collect()
}
