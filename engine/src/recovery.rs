//! Opening a store: from files to a running [`Store`]. It is *not* the log's recovery (that is the
//! journal's, which decides where the log ends) nor the manifest's; it puts the two together.
//!
//! # The order
//! 1. The lock.
//! 2. `STORE`: who the store is; an interrupted creation starts over.
//! 3. The manifest: the newest whole state E.
//! 4. Frames and payload segments of E, each checked.
//! 5. The log from the low-water mark: records stamped after E are applied, older ones only put their
//!    staged payload back.
//! 6. A writing open cuts off what is torn, makes durable what it relied on and starts a new incarnation
//!    (PROTOCOL O2, O3), then removes orphans.
//!
//! So an open that is refused for damage has changed no byte.
//!
//! A read-only open stops after step 5 and has changed no byte.
//!
//! # Why replay is right
//! Cut E is exactly the operations stamped up to E, so applying those stamped later, in LSN order, gives
//! the state at the log's end whatever the frames' images looked like in between. A staged payload goes
//! back to the offset that its record names, so that leaves of E that point at it find it (C3).
//!
//! Recovery writes nothing before step 6, and step 6 only adds: a crash at any point of it leaves what the
//! next recovery needs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use parking_lot::Mutex;
use treering_blobframe::{
    BlobFrameRef, ImageExpect, Leaf, LeafPointer, LeafValue, STAGING, decode_image, verify,
};
use treering_compactor::manifest::{Edit, Manifest, Mode as ManifestMode, State as ManifestState};
use treering_journal::{
    Change, Journal, JournalOptions, Kind, Mode as LogMode, Operation, Record, RecoverFrom, Recovered,
    check_log_lengths, recover as recover_log,
};
use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::heap::HeapError;
use treering_segment::sealed::{file_name, id_of};
use treering_segment::storage::{Access, Environment, LockKind};

use crate::catalog::Catalog;
use crate::clock::StoreClock;
use crate::cut::{CutSide, CutTotals, segment_meta};
use crate::error::{Error, ErrorKind, Result};
use crate::extents::{Extents, FRAMES_FILE, read_extent};
use crate::gate::Gate;
use crate::identity::{Identity, LOCK_FILE, STORE_FILE, State, is_own_file};
use crate::options::Options;
use crate::payload::Payloads;
use crate::reserve::Reserve;
use crate::staging::{Staged, Staging};
use crate::state::{COUNTER_MAX, EngineState, contradiction};
use crate::store::{Store, Writing};
use crate::tree::{Tree as RadixTree, TreeOptions};
use crate::write::{internal_key, staging_pointer};

/// The number of the root frame of a new store.
const ROOT_FRAME: u64 = 1;
/// The first epoch; the state that creation makes durable is the cut of the one before.
const FIRST_EPOCH: u64 = 1;

/// What opening the store took.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveryReport {
    pub(crate) elapsed: Duration,
    pub(crate) frames_loaded: u64,
    pub(crate) records_read: u64,
    pub(crate) records_applied: u64,
    pub(crate) log_bytes: u64,
    pub(crate) was_clean: bool,
    pub(crate) log_end: u64,
}

impl Store {
    /// Opens, or creates, the store in the environment's directory.
    pub(crate) fn recover(env: Environment, options: Options) -> Result<Self> {
        let begun_ms = env.clock.boot_ms();
        options.check()?;
        let kind = if options.read_only { LockKind::Shared } else { LockKind::Exclusive };
        // Before the lock, whose file it would make: a directory that is no store is left as it is.
        if !env.storage.exists(STORE_FILE)? {
            may_create(&env, &options)?;
        }
        let lock = env.storage.lock(LOCK_FILE, kind, options.lock_patience)?;
        let identity = find_or_create(&env, &options)?;
        options.agree_with(&identity.shape)?;
        let (_, state) = Manifest::load(&env.storage, identity.store_id, ManifestMode::ReadOnly)?;
        let mut opening = Opening::from_state(env, identity, options, &state)?;
        opening.load_frames(&state)?;
        opening.load_segments(&state)?;
        let recovered = opening.replay(&state)?;
        let Opening {
            env,
            identity,
            options,
            engine,
            tree,
            payloads,
            staged,
            mut report,
            epoch: replay_epoch,
        } = opening;
        let staging = restore_staging(&env, &engine, staged)?;
        let epoch = state.epoch.max(recovered.max_epoch) + 1;
        if epoch > replay_epoch {
            // What replay changed is dirty in the epoch that now begins (PROTOCOL F5).
            tree.abort_cut(tree.open_cut(epoch));
        }
        let clock_ms = state.clock_ms.max(recovered.max_time_ms);
        let clock = StoreClock::from_high_water(env.clock.clone(), clock_ms);
        report.records_read = recovered.records;
        report.log_end = recovered.end_lsn;
        report.log_bytes = recovered.log_bytes();
        report.was_clean = engine.clean_end == Some(recovered.end_lsn);
        let writing = if options.read_only {
            None
        } else {
            reach(CrashPoint::LogReplayed);
            Some(begin_writing(&env, &identity, &options, &state, engine, recovered)?)
        };
        report.elapsed = Duration::from_millis(env.clock.boot_ms().saturating_sub(begun_ms));
        let store = Self {
            env,
            identity,
            options,
            gate: Gate::new(epoch - u64::from(armed(Defect::EpochUsedAgain))),
            tree,
            staging,
            payloads,
            clock,
            catalog: Catalog::new(),
            writing,
            recovery: report,
            closed: AtomicBool::new(false),
            lock: Mutex::new(Some(lock)),
        };
        if store.writing.is_some() {
            store.remove_orphans()?;
            store.resume_drops()?;
        }
        Ok(store)
    }

    /// Removes segment files that neither the durable state nor a replayed record names.
    fn remove_orphans(&self) -> Result<()> {
        for name in self.env.storage.list()? {
            let known = |id| {
                (!armed(Defect::LoggedSegmentIsOrphan) || self.payloads.is_in_manifest(id))
                    && self.payloads.knows(id)
            };
            if id_of(&name).is_some_and(|id| !known(id)) {
                self.env.storage.remove(&name)?;
                reach(CrashPoint::OrphanRemoved);
            }
        }
        Ok(())
    }
}

/// Step 6, but for the orphans. Nothing was written before it.
fn begin_writing(
    env: &Environment,
    identity: &Identity,
    options: &Options,
    state: &ManifestState,
    engine: EngineState,
    recovered: Recovered,
) -> Result<Writing> {
    let file = env.storage.open(FRAMES_FILE, Access::ReadWrite)?;
    let extents = Extents::over(file, state.extents.values().flatten())?;
    if state.epoch < FIRST_EPOCH {
        // Whoever created the store may have been killed before `STORE` was durable; the first cut is
        // after this, so any store with a cut has it (PROTOCOL O3).
        identity.write(env, false)?;
    }
    // A torn tail is cut off here and not before: what frames and log contradict is left as it is.
    let (manifest, _) = Manifest::load(&env.storage, identity.store_id, ManifestMode::Writing)?;
    // Its space may be what a new log file takes.
    let log_options = journal_options(identity, options);
    let reserve = Reserve::none(&env.storage, log_options.small_segment_bytes())?;
    let next_segment = AtomicU64::new(next_id_of(env, &engine)?);
    let journal = Journal::start(env, &log_options, recovered)?;
    journal.set_durable_edit(state.sequence);
    let side =
        CutSide { manifest, extents, state: engine, replaced: Vec::new(), totals: CutTotals::default() };
    Ok(Writing { journal, cut: Mutex::new(side), next_segment, reserve })
}

/// The journal's part of the options.
pub(crate) fn journal_options(identity: &Identity, options: &Options) -> JournalOptions {
    JournalOptions {
        store_id: identity.store_id,
        ring_bytes: identity.shape.ring_bytes,
        segment_bytes: identity.shape.log_segment_bytes,
        cap_bytes: options.log_cap_bytes,
        shared_ring: true,
    }
}

/// A segment id that no file and no state has ever had (PROTOCOL O6): orphans count too.
fn next_id_of(env: &Environment, engine: &EngineState) -> Result<u64> {
    // A name with a number that no store reaches is nobody's orphan.
    let ids = env.storage.list()?.into_iter().filter_map(|name| id_of(&name));
    let highest = ids.filter(|id| *id < COUNTER_MAX).max();
    let highest = highest.filter(|_| !armed(Defect::SegmentIdsUsedAgain));
    Ok(engine.next_segment.max(highest.map_or(0, |id| id + 1)))
}

fn not_a_store(env: &Environment) -> Error {
    let directory = env.storage.path_of(STORE_FILE);
    let directory = directory.parent().unwrap_or(Path::new("")).to_path_buf();
    Error::at(ErrorKind::NotAStore, directory, "this is not a treering store; create one by writing to it")
}

/// Whether a store may be created in a directory that has none that is ready: asked for, and nobody's files
/// there.
fn may_create(env: &Environment, options: &Options) -> Result<()> {
    let names = env.storage.list()?;
    let has_store_file = names.iter().any(|name| name == STORE_FILE);
    if !has_store_file && names.iter().any(|name| name != LOCK_FILE) {
        let what = "the directory holds files but no STORE file, so it is not a treering store; name another";
        return Err(Error::at(ErrorKind::NotAStore, env.storage.path_of(""), what));
    }
    if options.read_only || !options.create_if_missing {
        return Err(not_a_store(env));
    }
    Ok(())
}

/// Reads `STORE`, or creates a store where there is none and none was.
fn find_or_create(env: &Environment, options: &Options) -> Result<Identity> {
    let names = env.storage.list()?;
    let others: Vec<&String> =
        names.iter().filter(|name| *name != LOCK_FILE && *name != STORE_FILE).collect();
    let has_store_file = names.iter().any(|name| name == STORE_FILE);
    if has_store_file {
        match Identity::read(env) {
            Ok(identity) if identity.state == State::Ready => return Ok(identity),
            Ok(_) => {}
            // A crash while the very first file was written leaves it short or torn, and nothing else.
            Err(error) if error.kind() == ErrorKind::Damage && others.is_empty() => {}
            Err(error) => return Err(error),
        }
    }
    may_create(env, options)?;
    for name in others.into_iter().filter(|name| is_own_file(name)) {
        env.storage.remove(name)?;
    }
    // Pieces without a `STORE` file would look like somebody else's directory.
    env.storage.sync_directory()?;
    create(env, options, has_store_file)
}

/// Creates a store; see `identity.rs` for the state after a crash at each step.
fn create(env: &Environment, options: &Options, again: bool) -> Result<Identity> {
    let mut identity = Identity::fresh(env, options.shape()?)?;
    if armed(Defect::UnreadyStoreIsOpened) {
        identity.state = State::Ready;
    }
    identity.write(env, !again)?;
    reach(CrashPoint::StoreCreating);
    let journal = Journal::create(env, &journal_options(&identity, options))?;
    let start = journal.tail();
    drop(journal);
    reach(CrashPoint::LogCreated);
    let frames = env.storage.create(FRAMES_FILE)?;
    frames.sync_all()?;
    reach(CrashPoint::FramesCreated);
    let state = EngineState {
        low_water: start,
        lsn0: start,
        root: ROOT_FRAME,
        next_frame: ROOT_FRAME + 1,
        next_segment: 1,
        staging_base: 0,
        clean_end: None,
    };
    let edit = Edit {
        epoch: Some(FIRST_EPOCH - 1),
        clock_ms: Some(identity.created_ms),
        engine: Some(state.encode().into()),
        ..Edit::default()
    };
    Manifest::create(&env.storage, identity.store_id, &edit)?;
    reach(CrashPoint::ManifestCreated);
    identity.state = State::Ready;
    identity.write(env, false)?;
    reach(CrashPoint::StoreReady);
    Ok(identity)
}

/// A store in the middle of being opened.
struct Opening {
    env: Environment,
    identity: Identity,
    options: Options,
    engine: EngineState,
    tree: RadixTree,
    payloads: Payloads,
    staged: BTreeMap<u64, (Staged, Vec<u8>)>,
    report: RecoveryReport,
    /// The epoch in which replay changes frames.
    epoch: u64,
}

impl Opening {
    fn from_state(
        env: Environment,
        identity: Identity,
        options: Options,
        state: &ManifestState,
    ) -> Result<Self> {
        let engine = EngineState::decode(&state.engine).ok_or_else(|| {
            Error::damage(
                "the engine's section of the newest edit is malformed",
                env.storage.path_of("MANIFEST"),
                0,
            )
        })?;
        if let Some(what) = contradiction(state, &engine) {
            return Err(Error::damage(what, env.storage.path_of("MANIFEST"), 0));
        }
        let tree = RadixTree::new(&TreeOptions {
            frame_bytes: identity.shape.frame_bytes,
            store_tag: identity.store_tag(),
            root: engine.root,
            next_frame: engine.next_frame,
            epoch: state.epoch + 1,
        });
        let payloads = Payloads::new(identity.store_id);
        Ok(Self {
            env,
            identity,
            options,
            engine,
            tree,
            payloads,
            staged: BTreeMap::new(),
            report: RecoveryReport::default(),
            epoch: state.epoch + 1,
        })
    }

    /// Step 4, frames. Each is checked before anything is read from it.
    fn load_frames(&mut self, state: &ManifestState) -> Result<()> {
        if !state.extents.contains_key(&self.engine.root) {
            // Only a store that never took a cut has no root at rest.
            self.tree.create_root(self.epoch)?;
        }
        let file = self.env.storage.open(FRAMES_FILE, Access::Read)?;
        for (&number, chain) in &state.extents {
            let Some(extent) = chain.first() else { continue };
            let image = read_extent(&*file, extent)?;
            let expect = ImageExpect { number, epoch: extent.epoch, checksum: extent.checksum };
            self.tree.install(number, |words| {
                decode_image(&image, &self.identity.store_id, &expect, words)
                    .map_err(|bad| Error::damage(bad.what, file.path(), extent.offset + bad.offset as u64))?;
                verify(BlobFrameRef::attach(words))
                    .map(drop)
                    .map_err(|bad| Error::damage(bad.what, file.path(), extent.offset))
            })?;
            self.report.frames_loaded += 1;
        }
        Ok(())
    }

    /// Step 4, payload segments.
    fn load_segments(&self, state: &ManifestState) -> Result<()> {
        for meta in state.segments.values() {
            let summary = self.payloads.open(&*self.env.storage, meta.id)?;
            if summary.merkle_root != meta.root || summary.file_bytes != meta.file_bytes {
                let file = self.env.storage.path_of(&file_name(meta.id));
                return Err(Error::damage("the segment is not the one that the manifest names", file, 0));
            }
            self.payloads.count_in(meta.clone(), true);
        }
        Ok(())
    }

    /// Step 5.
    fn replay(&mut self, state: &ManifestState) -> Result<Recovered> {
        let from = RecoverFrom {
            low_water: self.engine.low_water,
            lsn0: self.engine.lsn0,
            durable_edit: state.sequence,
            clean_end: self.engine.clean_end,
        };
        let mode = if self.options.read_only { LogMode::ReadOnly } else { LogMode::Writing };
        let options = journal_options(&self.identity, &self.options);
        let env = self.env.clone();
        check_log_lengths(&env, &options)?;
        let mut failure = None;
        let recovered = recover_log(&env, &options, from, mode, &mut |record: &Record<'_>| {
            self.replay_record(state.epoch, record).map_err(|error| {
                let message = error.to_string();
                failure = Some(error);
                message.into()
            })
        });
        match failure {
            Some(error) => Err(error),
            None => {
                let mut recovered = recovered?;
                if armed(Defect::TimeOfLogIgnored) {
                    recovered.max_time_ms = 0;
                }
                Ok(recovered)
            }
        }
    }

    fn replay_record(&mut self, cut_epoch: u64, record: &Record<'_>) -> Result<()> {
        if record.kind == Kind::Filler {
            return Ok(());
        }
        let newer = record.epoch > cut_epoch;
        if newer != (record.lsn >= self.engine.lsn0) {
            let what = "a record's epoch and position contradict each other";
            return Err(Error::damage(what, self.env.storage.path_of("log"), record.lsn));
        }
        if record.epoch >= COUNTER_MAX || record.time_ms >= COUNTER_MAX {
            let what = "a record's epoch or time is beyond what a store reaches";
            return Err(Error::damage(what, self.env.storage.path_of("log"), record.lsn));
        }
        for operation in record.ops() {
            let key = internal_key(operation.tree, operation.key);
            if let Change::Put { value, staging: Some(offset) } = operation.change
                && offset >= self.engine.staging_base
                && (newer || !armed(Defect::StagedPayloadNotPutBack))
            {
                let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
                let staged = Staged { key: key.clone(), offset, length, written_ms: record.time_ms };
                self.staged.insert(offset, (staged, value.to_vec()));
            }
            if newer {
                self.replay_operation(&key, &operation, record)?;
            }
        }
        self.report.records_applied += u64::from(newer);
        Ok(())
    }

    fn replay_operation(&self, key: &[u8], operation: &Operation<'_>, record: &Record<'_>) -> Result<()> {
        let mut writer = self.tree.writer(self.epoch);
        let value = match operation.change {
            Change::Put { value, staging: None } => Some(LeafValue::Inline(value)),
            Change::Put { value, staging: Some(offset) } => {
                Some(LeafValue::Pointer(staging_pointer(value, offset)))
            }
            Change::PutPointer(at) => {
                let pointer =
                    LeafPointer { segment: at.segment, offset: at.offset, length: at.length, crc: at.crc };
                if !self.payloads.knows(at.segment) {
                    let summary = self.payloads.open(&*self.env.storage, at.segment)?;
                    self.payloads.count_in(segment_meta(&summary), false);
                }
                if !armed(Defect::ReplayCountsNoGain) {
                    self.payloads.gained(&pointer);
                }
                Some(LeafValue::Pointer(pointer))
            }
            Change::Delete => None,
        };
        let old = writer.find(key)?;
        match value {
            Some(value) => writer.put(key, &Leaf { version: record.lsn, death: operation.death, value })?,
            None => writer.remove(key)?,
        };
        if let Some(pointer) = old.and_then(|leaf| leaf.pointer)
            && pointer.segment != STAGING
        {
            self.payloads.lost(&pointer);
        }
        Ok(())
    }
}

/// Puts staged payloads back in order of their offsets; new offsets start beyond all of them (C3).
fn restore_staging(
    env: &Environment,
    engine: &EngineState,
    staged: BTreeMap<u64, (Staged, Vec<u8>)>,
) -> Result<Staging> {
    let staging = Staging::new(if armed(Defect::StagingStartsOver) { 0 } else { engine.staging_base });
    for (staged, value) in staged.into_values() {
        staging.place(staged, &value).map_err(|refusal| match refusal {
            HeapError::OffsetTaken { .. } => {
                Error::damage("two records stage their values in one place", env.storage.path_of("log"), 0)
            }
            full => Error::new(ErrorKind::Full, format!("the log's staged values do not fit: {full}")),
        })?;
    }
    Ok(staging)
}
