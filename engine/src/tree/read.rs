//! Lookups: from the root frame to the leaf of one key, without a lock as long as that works.
//!
//! It does not resolve payload pointers and does not know which leaves have expired.
//!
//! # Algorithm (PROTOCOL R1, R2)
//!
//! In each frame: take its version, search it, copy out what is wanted, and use the answer only if the
//! version still holds. At a crossing: take the child's version, find its slot, and re-validate
//! the parent before going on. When validation fails the search starts again *in the same frame*, which
//! is sound because a (frame, entry) stands for the same key prefix for ever (T1). After `ATTEMPTS`
//! failures in a frame the search there is done under its shared latch, which cannot fail. The latch is
//! released before the child is looked at (L4).
//!
//! What a *validated* search finds to be impossible is damage, never a reason to try again. A path of
//! crossings that consumes no key bytes for too long is damage too, so a lookup ends on any bytes.

use super::table::{FrameTable, Slot};
use super::{LeafData, LeafMeta, OwnedLeaf, Tree, TreeError};
use bytes::Bytes;
use treering_blobframe::{BlobFrameRef, Found, LeafOffset, Torn};

/// Optimistic attempts in a frame before the shared latch is taken.
pub(crate) const ATTEMPTS: u32 = 3;

/// What one frame says about a key.
pub(crate) enum Step<R> {
    /// The key is here, and this was read of its leaf.
    Leaf(R),
    /// The key would be here and is not.
    Absent,
    /// The key is in another frame or nowhere.
    Crossing { child: u64, entry: u16, consumed: usize },
}

/// A place in the descent: what is left of the key is searched from `entry` of `slot`.
#[derive(Clone, Copy)]
pub(crate) struct Place<'t> {
    pub(crate) slot: &'t Slot,
    pub(crate) entry: u16,
    /// Bytes of the key used up on the way here.
    pub(crate) consumed: usize,
}

/// Bounds the crossings on one path: a split leaves at most a handful of them for each key byte.
pub(crate) struct Hops(usize);

impl Hops {
    pub(crate) fn for_key(len: usize) -> Self {
        Self(len.saturating_mul(9).saturating_add(64))
    }

    /// Counts a crossing out of `frame`.
    pub(crate) fn take(&mut self, frame: u64) -> Result<(), TreeError> {
        self.0 = self.0.checked_sub(1).ok_or(damage(frame, "its crossings go round in circles"))?;
        Ok(())
    }
}

pub(crate) fn damage(frame: u64, what: &'static str) -> TreeError {
    TreeError::Damage { frame, what }
}

impl<'t> Place<'t> {
    /// Searches this frame only. Torn bytes and bytes at rest alike are tolerated.
    pub(crate) fn search<R>(
        &self,
        key: &[u8],
        take: &mut impl FnMut(BlobFrameRef<'_>, LeafOffset) -> Result<R, Torn>,
    ) -> Result<Step<R>, Torn> {
        let frame = BlobFrameRef::attach(&self.slot.words);
        let rest = key.get(self.consumed..).unwrap_or_default();
        Ok(match frame.find(self.entry, rest)? {
            Found::Leaf(leaf) => Step::Leaf(take(frame, leaf)?),
            Found::Absent => Step::Absent,
            Found::Crossing { child, entry, consumed } => Step::Crossing { child, entry, consumed },
        })
    }

    /// Where a crossing out of here leads, if its frame is there.
    pub(crate) fn follow(
        &self,
        table: &'t FrameTable,
        child: u64,
        entry: u16,
        consumed: usize,
    ) -> Option<Place<'t>> {
        Some(Place { slot: table.get(child)?, entry, consumed: self.consumed + consumed })
    }
}

impl Tree {
    /// The leaf of a key, copied out.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<OwnedLeaf>, TreeError> {
        self.read(key, &mut |frame, leaf| copy_leaf(frame, leaf, true))
    }

    /// The leaf of a key without its value.
    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<LeafMeta>, TreeError> {
        self.read(key, &mut |frame, leaf| leaf_meta(frame, leaf))
    }

    /// Calls `take` on the leaf of a key. `take` may be called on torn bytes and more than once; only
    /// the answer of a validated call is returned.
    pub(super) fn read<R>(
        &self,
        key: &[u8],
        take: &mut impl FnMut(BlobFrameRef<'_>, LeafOffset) -> Result<R, Torn>,
    ) -> Result<Option<R>, TreeError> {
        let mut hops = Hops::for_key(key.len());
        let mut place = Place { slot: self.root_slot()?, entry: 0, consumed: 0 };
        let mut version = place.slot.latch.read_version();
        let mut failures = 0;
        loop {
            let found = place.search(key, take);
            if let Ok(Step::Crossing { child, entry, consumed }) = found
                && let Some(next) = place.follow(&self.table, child, entry, consumed)
            {
                // R1: the child's version first, then the parent again.
                let next_version = next.slot.latch.read_version();
                if place.slot.latch.validate(version) {
                    hops.take(place.slot.number)?;
                    (place, version, failures) = (next, next_version, 0);
                    continue;
                }
            } else if place.slot.latch.validate(version) {
                return settled(place.slot.number, found);
            }
            failures += 1;
            if failures < ATTEMPTS {
                version = place.slot.latch.read_version();
                continue;
            }
            match self.search_latched(place, key, take)? {
                Step::Leaf(value) => return Ok(Some(value)),
                Step::Absent => return Ok(None),
                Step::Crossing { child, entry, consumed } => {
                    hops.take(place.slot.number)?;
                    place = place
                        .follow(&self.table, child, entry, consumed)
                        .ok_or(damage(place.slot.number, NO_CHILD))?;
                    (version, failures) = (place.slot.latch.read_version(), 0);
                }
            }
        }
    }

    /// Searches one frame under its shared latch.
    fn search_latched<R>(
        &self,
        place: Place<'_>,
        key: &[u8],
        take: &mut impl FnMut(BlobFrameRef<'_>, LeafOffset) -> Result<R, Torn>,
    ) -> Result<Step<R>, TreeError> {
        let guard = place.slot.latch.shared();
        if guard.broken() {
            return Err(damage(place.slot.number, BROKEN));
        }
        place.search(key, take).map_err(|Torn| damage(place.slot.number, TORN))
    }
}

pub(crate) const NO_CHILD: &str = "a crossing leads to a frame that is not there";
pub(crate) const BROKEN: &str = "a writer panicked in it";
pub(crate) const TORN: &str = "its bytes at rest make no sense";

/// The answer of a validated search that does not go on to a child.
fn settled<R>(frame: u64, found: Result<Step<R>, Torn>) -> Result<Option<R>, TreeError> {
    match found {
        Ok(Step::Leaf(value)) => Ok(Some(value)),
        Ok(Step::Absent) => Ok(None),
        Ok(Step::Crossing { .. }) => Err(damage(frame, NO_CHILD)),
        Err(Torn) => Err(damage(frame, TORN)),
    }
}

/// Copies a leaf out; without its inline value unless that is wanted.
pub(crate) fn copy_leaf(
    frame: BlobFrameRef<'_>,
    offset: LeafOffset,
    with_value: bool,
) -> Result<OwnedLeaf, Torn> {
    let leaf = frame.leaf(offset)?;
    let value = match leaf.pointer() {
        Some(pointer) => LeafData::Pointer(pointer),
        None if with_value => {
            let mut bytes = Vec::new();
            leaf.value_inline_to(&mut bytes);
            LeafData::Inline(Bytes::from(bytes))
        }
        None => LeafData::Inline(Bytes::new()),
    };
    let value_len = leaf.value_len() as u64;
    Ok(OwnedLeaf { version: leaf.version(), death: leaf.death(), value_len, value })
}

/// What a leaf says without its value.
pub(crate) fn leaf_meta(frame: BlobFrameRef<'_>, offset: LeafOffset) -> Result<LeafMeta, Torn> {
    let leaf = frame.leaf(offset)?;
    Ok(LeafMeta {
        version: leaf.version(),
        death: leaf.death(),
        value_len: leaf.value_len() as u64,
        pointer: leaf.pointer(),
    })
}
