//! Scans: ranges and listings in key order, forward and backward, over many frames.
//!
//! It is not an iterator and holds nothing between calls: `collect` fills a page and says where the
//! next one starts. It asks the caller which leaves are alive and knows no time.
//!
//! # Algorithm
//!
//! A stack of frames, each with a `Cursor` and the version it reads under. The top frame's cursor
//! runs until it meets a crossing, the end of the frame, the end of the range or the limit: a
//! *run*. What a run found is used only once the frame's version still holds at its end: then its
//! items stay, and *position*, the bound from which a search would go on, moves behind them. At a
//! crossing the child's version is taken before the parent is validated (PROTOCOL R1).
//!
//! If the version does not hold, the run's items are taken back and the cursor seeks anew in the
//! same frame from *position*, which T1 permits. After `ATTEMPTS` failures the run is done under the
//! shared latch, which cannot fail and which is released before a child is looked at (L4).
//!
//! A seek that follows a failure can meet the crossing to a child that has been walked to its end
//! but moved *position* nowhere (it was empty). `done` remembers such children until *position*
//! moves, so that every failure costs at most one walk and scans end while writers go on.
//!
//! # Listing
//!
//! With `skip`, the first live key that has the delimiter at or behind `prefix_len` stands for all keys
//! that share it up to there: the common prefix is emitted once, and every level of every frame
//! whose path is at least that long is left, because only such keys lie below. The cost follows
//! what is listed, not what lies below.
//!
//! # Invariants
//! * **S1** A run is atomic: its items were all there at one moment (PROTOCOL R3).
//! * **S2** Positions are strictly monotonous, so no key is listed twice; a key that is there all the time
//!   lies behind *position* until the run that finds it, so it is listed once.
//! * **S3** No latch is held when `collect` waits or returns.

use super::read::{ATTEMPTS, BROKEN, NO_CHILD, TORN, copy_leaf, damage, leaf_meta};
use super::table::Slot;
use super::{LeafMeta, OwnedLeaf, Tree, TreeError};
use std::ops::Bound;
use treering_blobframe::{BlobFrameRef, Cursor, Direction, LeafOffset, Step, Torn};

/// No valid path is longer; a longer one goes round in circles.
const PATH_BYTES_MAX: usize = 16 << 10;

/// What to list.
#[derive(Clone, Copy)]
pub(crate) struct ScanRequest<'a> {
    /// Where the range begins, in key order.
    pub(crate) lower: Bound<&'a [u8]>,
    /// Where it ends, in key order.
    pub(crate) upper: Bound<&'a [u8]>,
    /// From `lower` up, or from `upper` down.
    pub(crate) direction: Direction,
    /// Items at most.
    pub(crate) limit: usize,
    /// Keys to be listed as one common prefix.
    pub(crate) skip: Option<Skip>,
    /// Leaves inline values out.
    pub(crate) keys_only: bool,
}

/// Which keys to list as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skip {
    /// The delimiter counts from this byte of the key on.
    pub(crate) prefix_len: usize,
    /// The delimiter.
    pub(crate) delimiter: u8,
}

/// An item of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ScanItem {
    /// A live leaf.
    Leaf {
        /// The whole internal key.
        key: Vec<u8>,
        /// The leaf.
        leaf: OwnedLeaf,
    },
    /// There is at least one live key with this prefix, which ends with the delimiter.
    CommonPrefix(Vec<u8>),
}

/// Where the next page starts: the lower bound of a forward scan, the upper of a backward one.
pub(crate) type Resume = Bound<Vec<u8>>;

impl Tree {
    /// Appends up to `limit` items to `out`. `alive` decides by a leaf's data whether it is there (a leaf
    /// without a death time always is); it
    /// may be asked about leaves that are then taken back, and more than once. Answers where to
    /// go on, or `None` if the range is exhausted.
    pub(crate) fn collect(
        &self,
        request: &ScanRequest<'_>,
        out: &mut Vec<ScanItem>,
        alive: &dyn Fn(&LeafMeta) -> bool,
    ) -> Result<Option<Resume>, TreeError> {
        let start = match request.direction {
            Direction::Forward => request.lower,
            Direction::Backward => request.upper,
        };
        let limit = out.len().saturating_add(request.limit);
        if request.limit == 0 {
            return Ok(Some(start.map(<[u8]>::to_vec)));
        }
        let root = self.root_slot()?;
        let mut walk = Walk {
            tree: self,
            request,
            alive,
            limit,
            levels: vec![Level::new(root, 0, Vec::new(), root.latch.read_version())],
            position: start.map(<[u8]>::to_vec),
            done: Vec::new(),
        };
        walk.go(out)
    }
}

/// A frame on the way to where the scan is.
struct Level<'t> {
    slot: &'t Slot,
    entry: u16,
    /// The key bytes that lead to the entry.
    base: Vec<u8>,
    version: u64,
    /// `None`: to be sought from the walk's position.
    cursor: Option<Cursor>,
    failures: u32,
}

impl<'t> Level<'t> {
    fn new(slot: &'t Slot, entry: u16, base: Vec<u8>, version: u64) -> Self {
        Self { slot, entry, base, version, cursor: None, failures: 0 }
    }
}

struct Walk<'t, 'r> {
    tree: &'t Tree,
    request: &'r ScanRequest<'r>,
    alive: &'r dyn Fn(&LeafMeta) -> bool,
    /// The length at which `out` is full.
    limit: usize,
    levels: Vec<Level<'t>>,
    position: Resume,
    /// Children walked to their end since `position` last moved.
    done: Vec<(u64, u16)>,
}

/// Why a run ended.
enum Stop {
    Crossing { child: u64, entry: u16 },
    FrameEnd,
    RangeEnd,
    Full,
}

/// The newest thing that a run passed.
enum Passed {
    Nothing,
    /// The last item of `out`.
    Item,
    /// A key that is not alive.
    Dead(Vec<u8>),
}

/// What a run did beside filling `out`.
struct Run {
    passed: Passed,
    /// The shortest common prefix it emitted: levels with longer paths are finished.
    skipped: Option<usize>,
}

impl<'t> Walk<'t, '_> {
    fn go(&mut self, out: &mut Vec<ScanItem>) -> Result<Option<Resume>, TreeError> {
        while !self.levels.is_empty() {
            let Some(stop) = self.attempt(out)? else { continue };
            match stop {
                Stop::Crossing { .. } => {}
                Stop::FrameEnd => {
                    if let Some(level) = self.levels.pop() {
                        self.done.push((level.slot.number, level.entry));
                    }
                }
                Stop::RangeEnd => return Ok(None),
                Stop::Full => return Ok(Some(self.position.clone())),
            }
        }
        Ok(None)
    }

    /// One run in the top frame; `None` if it was for nothing.
    fn attempt(&mut self, out: &mut Vec<ScanItem>) -> Result<Option<Stop>, TreeError> {
        let mark = out.len();
        let Some(mut level) = self.levels.pop() else { return Ok(None) };
        let guard = (level.failures >= ATTEMPTS).then(|| level.slot.latch.shared());
        if let Some(guard) = &guard {
            if guard.broken() {
                return Err(damage(level.slot.number, BROKEN));
            }
            (level.version, level.cursor) = (guard.version(), None);
        }
        let mut run = Run { passed: Passed::Nothing, skipped: None };
        let stop = self.run(&mut level, out, &mut run);
        let latched = guard.is_some();
        drop(guard);
        let next = match &stop {
            Ok(Stop::Crossing { child, entry }) => self.child(&level, *child, *entry),
            _ => None,
        };
        // R1: `child` has taken the child's version before this. A latched run needs no validation (T1).
        if !latched && !level.slot.latch.validate(level.version) {
            out.truncate(mark);
            level.cursor = None;
            level.failures += 1;
            level.version = level.slot.latch.read_version();
            self.levels.push(level);
            return Ok(None);
        }
        let number = level.slot.number;
        level.failures = 0;
        self.levels.push(level);
        let stop = stop.map_err(|Torn| damage(number, TORN))?;
        self.commit(run, out);
        if matches!(stop, Stop::Crossing { .. }) {
            self.levels.push(next.ok_or(damage(number, NO_CHILD))?);
            self.check_depth()?;
        }
        Ok(Some(stop))
    }

    /// The level for a child of `level`, if its frame is there.
    fn child(&self, level: &Level<'t>, child: u64, entry: u16) -> Option<Level<'t>> {
        let slot = self.tree.table.get(child)?;
        let base = level.cursor.as_ref()?.path().to_vec();
        Some(Level::new(slot, entry, base, slot.latch.read_version()))
    }

    /// Walks the top frame, which `level` is, until there is a reason to stop.
    fn run(&self, level: &mut Level<'t>, out: &mut Vec<ScanItem>, run: &mut Run) -> Result<Stop, Torn> {
        let frame = BlobFrameRef::attach(&level.slot.words);
        let cursor = match &mut level.cursor {
            Some(cursor) => cursor,
            None => {
                let bound = as_slice(&self.position);
                let base = level.base.clone();
                level.cursor.insert(Cursor::seek(frame, level.entry, base, bound, self.request.direction)?)
            }
        };
        loop {
            if out.len() >= self.limit {
                return Ok(Stop::Full);
            }
            let leaf = match cursor.next(frame)? {
                Step::Leaf(leaf) => leaf,
                Step::Crossing { child, entry } if self.done.contains(&(child, entry)) => continue,
                Step::Crossing { child, entry } => match self.roll_up(cursor.path(), child, out, run) {
                    Some(depth) => {
                        cursor.skip_to_depth(depth);
                        continue;
                    }
                    None => return Ok(Stop::Crossing { child, entry }),
                },
                Step::End => return Ok(Stop::FrameEnd),
            };
            if self.is_past(cursor.key()) {
                return Ok(Stop::RangeEnd);
            }
            if let Some(depth) = self.visit(frame, leaf, cursor.key(), out, run)? {
                cursor.skip_to_depth(depth);
            }
        }
    }

    /// At a crossing to `child` below a common prefix: emits the prefix without going further down, if the
    /// child's header already says that it holds a leaf which never dies. Answers its length. A prefix that a
    /// bound of the range cuts in two is left to the walk, which looks at its keys one by one.
    ///
    /// A frame with one entry holds nothing but what lies below its crossings, and those share the path.
    fn roll_up(&self, path: &[u8], child: u64, out: &mut Vec<ScanItem>, run: &mut Run) -> Option<usize> {
        let depth = common_prefix_len(path, self.request.skip?)?;
        let prefix = &path[..depth];
        let cuts = |bound: Bound<&[u8]>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => key.starts_with(prefix),
            Bound::Unbounded => false,
        };
        let whole = !cuts(as_slice(&self.position)) && !cuts(self.request.lower) && !cuts(self.request.upper);
        if !whole || self.is_past(prefix) {
            return None;
        }
        let slot = self.tree.table.get(child)?;
        let version = slot.latch.read_version();
        let frame = BlobFrameRef::attach(&slot.words);
        let proven = frame.entries() == 1 && frame.immortal_leaves() > 0;
        if !proven || !slot.latch.validate(version) {
            return None;
        }
        out.push(ScanItem::CommonPrefix(prefix.to_vec()));
        run.passed = Passed::Item;
        run.skipped = Some(run.skipped.map_or(depth, |shortest| shortest.min(depth)));
        Some(depth)
    }

    /// Emits a leaf if it is alive. Answers the length of the common prefix if it stands for one.
    fn visit(
        &self,
        frame: BlobFrameRef<'_>,
        leaf: LeafOffset,
        key: &[u8],
        out: &mut Vec<ScanItem>,
        run: &mut Run,
    ) -> Result<Option<usize>, Torn> {
        if !(self.alive)(&leaf_meta(frame, leaf)?) {
            match &mut run.passed {
                Passed::Dead(last) => {
                    last.clear();
                    last.extend_from_slice(key);
                }
                passed => *passed = Passed::Dead(key.to_vec()),
            }
            return Ok(None);
        }
        run.passed = Passed::Item;
        if let Some(depth) = self.request.skip.and_then(|skip| common_prefix_len(key, skip)) {
            out.push(ScanItem::CommonPrefix(key[..depth].to_vec()));
            run.skipped = Some(run.skipped.map_or(depth, |shortest| shortest.min(depth)));
            return Ok(Some(depth));
        }
        let leaf = copy_leaf(frame, leaf, !self.request.keys_only)?;
        out.push(ScanItem::Leaf { key: key.to_vec(), leaf });
        Ok(None)
    }

    /// Whether a key lies behind the end of the range.
    fn is_past(&self, key: &[u8]) -> bool {
        match self.request.direction {
            Direction::Forward => match self.request.upper {
                Bound::Included(upper) => key > upper,
                Bound::Excluded(upper) => key >= upper,
                Bound::Unbounded => false,
            },
            Direction::Backward => match self.request.lower {
                Bound::Included(lower) => key < lower,
                Bound::Excluded(lower) => key <= lower,
                Bound::Unbounded => false,
            },
        }
    }

    /// Moves the position behind what a validated run passed, and leaves what it skipped.
    fn commit(&mut self, run: Run, out: &[ScanItem]) {
        let position = match (run.passed, out.last()) {
            (Passed::Dead(key), _) => Bound::Excluded(key),
            (Passed::Item, Some(ScanItem::Leaf { key, .. })) => Bound::Excluded(key.clone()),
            (Passed::Item, Some(ScanItem::CommonPrefix(prefix))) => {
                behind_prefix(prefix, self.request.direction)
            }
            _ => return,
        };
        self.position = position;
        self.done.clear();
        if let Some(depth) = run.skipped {
            // The run's own cursor left what it skipped at once, and has gone on from there.
            let above = self.levels.len().saturating_sub(1);
            for level in &mut self.levels[..above] {
                if let Some(cursor) = &mut level.cursor {
                    cursor.skip_to_depth(depth);
                }
            }
        }
    }

    /// Ends a walk whose crossings go round in circles: splits leave few of them for each key byte.
    fn check_depth(&self) -> Result<(), TreeError> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        if level.base.len() > PATH_BYTES_MAX || self.levels.len() > 64 + 9 * level.base.len() {
            return Err(damage(level.slot.number, "its crossings go round in circles"));
        }
        Ok(())
    }
}

/// The length of the part of `key` that it is listed under, if it has the delimiter.
fn common_prefix_len(key: &[u8], skip: Skip) -> Option<usize> {
    let tail = key.get(skip.prefix_len..)?;
    let at = tail.iter().position(|&byte| byte == skip.delimiter)?;
    Some(skip.prefix_len + at + 1)
}

/// The bound behind all keys with a prefix.
fn behind_prefix(prefix: &[u8], direction: Direction) -> Resume {
    if direction == Direction::Backward {
        return Bound::Excluded(prefix.to_vec());
    }
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX).map_or(0, |last| last + 1);
    let mut bound = prefix[..kept].to_vec();
    match bound.last_mut() {
        Some(last) => *last += 1,
        // Every key from here on has the prefix: nothing lies behind it, nor behind this.
        None => return Bound::Excluded(vec![u8::MAX; PATH_BYTES_MAX]),
    }
    Bound::Included(bound)
}

fn as_slice(bound: &Resume) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}
