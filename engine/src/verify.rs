//! Verification: reads every byte that a store's state rests on, says what is damaged and where, and
//! changes nothing. It is *not* repair, and not recovery: the log is replayed in memory only.
//!
//! # What is checked
//! 1. The store opens for reading: identity, manifest, frames, segments, log up to its end.
//! 2. Each file by itself, all damage in it and not the first only: the manifest's edits, every extent of the
//!    frames file against the map and every frame's own invariants, every record of every payload segment,
//!    the log from the low-water mark.
//! 3. The whole: every key is reached by a scan, every pointer leads to its value, the count of live bytes of
//!    each segment is what the pointers say, and the bytes of each file add up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::ops::Bound;
use std::sync::atomic::AtomicU64;

use treering_blobframe::{
    BlobFrameRef, Direction, ImageExpect, STAGING, decode_image, verify as verify_frame,
};
use treering_compactor::manifest::{
    Extent, MANIFEST, Manifest, Mode as ManifestMode, State as ManifestState, Tail,
};
use treering_journal::{Mode as LogMode, RecoverFrom, recover as recover_log};
use treering_segment::clock::{OsEntropy, SystemClock};
use treering_segment::file::FileStorage;
use treering_segment::sealed::SegmentReader;
use treering_segment::storage::{Access, Environment, LockKind};

use crate::error::{Error, ErrorKind, Result};
use crate::extents::{BLOCK_BYTES, Extents, FRAMES_FILE, read_extent};
use crate::identity::{Identity, LOCK_FILE, STORE_BYTES, is_own_file};
use crate::options::Options;
use crate::recovery::journal_options;
use crate::state::EngineState;
use crate::store::Store;
use crate::tree::{LeafData, ScanItem, ScanRequest};

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDamage {
    /// The file.
    pub file: PathBuf,
    /// Byte offset in the file at which the damaged structure starts.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// What it holds: what a reader cannot trust because of it.
    pub covers: String,
}

/// What verification read and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// All damage, in order of discovery. Empty: the store is whole.
    pub damages: Vec<FoundDamage>,
    /// Records read by the scan over everything, expired and catalogue ones included.
    pub records: u64,
    /// Frames read from disk.
    pub frames: u64,
    /// Payload segments read.
    pub segments: u64,
    /// Log records read.
    pub log_records: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Bytes that live structures fill.
    pub live_bytes: u64,
    /// Bytes that are free, preallocated, or dead until the next cut: no state rests on them.
    pub free_bytes: u64,
    /// Files in the directory that are not the store's; they are left alone.
    pub foreign_files: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damages.is_empty()
    }
}

/// Verifies the store in directory `path`. Only its lock is taken, shared with readers; no byte changes.
///
/// # Errors
/// What keeps verification from being done at all: [`ErrorKind::Locked`], [`ErrorKind::NotAStore`],
/// [`ErrorKind::NewerFormat`], [`ErrorKind::Io`]. Damage is not an error but the report.
pub fn verify(path: impl AsRef<Path>, options: Options) -> Result<VerifyReport> {
    let path = path.as_ref();
    let storage = FileStorage::open(path).map_err(|failure| {
        if failure.is_not_found() {
            return Error::at(ErrorKind::NotAStore, path, "there is no treering store here");
        }
        failure.into()
    })?;
    let environment = Environment {
        storage: Arc::new(storage),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    };
    verify_in(environment, options)
}

/// As [`verify`], in an environment of the caller's.
///
/// # Errors
/// As [`verify`].
pub fn verify_in(environment: Environment, options: Options) -> Result<VerifyReport> {
    let options = options.read_only(true);
    match Store::recover(environment.clone(), options.clone()) {
        Ok(store) => {
            let mut check = Check::new(&environment, &options);
            check.files();
            check.whole(&store)?;
            Ok(check.report)
        }
        Err(error) if error.kind() == ErrorKind::Damage => {
            let _lock = environment.storage.lock(LOCK_FILE, LockKind::Shared, options.lock_patience)?;
            let mut check = Check::new(&environment, &options);
            check.files();
            check.note_torn_manifest();
            check.note_error(&error, "the store as a whole: it does not open");
            Ok(check.report)
        }
        Err(error) => Err(error),
    }
}

/// A verification in progress.
struct Check<'a> {
    env: &'a Environment,
    options: &'a Options,
    report: VerifyReport,
    /// Where the manifest's last edit ends, if what follows is no edit.
    manifest_torn_at: Option<u64>,
}

impl<'a> Check<'a> {
    fn new(env: &'a Environment, options: &'a Options) -> Self {
        Self { env, options, report: VerifyReport::default(), manifest_torn_at: None }
    }

    /// Notes damage, once for each place.
    fn note(&mut self, damage: FoundDamage) {
        let known = |d: &FoundDamage| d.file == damage.file && d.offset == damage.offset;
        if !self.report.damages.iter().any(known) {
            self.report.damages.push(damage);
        }
    }

    /// Notes an error that stands for damage, or that kept a file from being read.
    fn note_error(&mut self, error: &Error, covers: &str) {
        let (file, offset, what) = match error.as_damage() {
            Some(damage) => (damage.file.clone(), damage.offset, damage.what.clone()),
            None => (
                error.path().map_or_else(|| self.env.storage.path_of(""), Path::to_path_buf),
                0,
                error.to_string(),
            ),
        };
        self.note(FoundDamage { file, offset, what, covers: covers.to_string() });
    }

    fn noted<T>(&mut self, outcome: Result<T>, covers: &str) -> Option<T> {
        outcome.inspect_err(|error| self.note_error(error, covers)).ok()
    }

    /// A torn tail of the manifest is no damage by itself; where the store does not open, it may be the cause.
    fn note_torn_manifest(&mut self) {
        let Some(offset) = self.manifest_torn_at else { return };
        let file = self.env.storage.path_of(MANIFEST);
        let what = "the last edit is torn, and what lies before it does not fit the other files".to_string();
        self.note(FoundDamage { file, offset, what, covers: "what the newest cut changed".to_string() });
    }

    /// Step 2: every file by itself.
    fn files(&mut self) {
        let Some(identity) = self.noted(Identity::read(self.env), "the whole store") else { return };
        let names = self.env.storage.list().map_err(Error::from);
        let Some(names) = self.noted(names, "the whole store") else { return };
        self.report.live_bytes += STORE_BYTES as u64;
        for name in &names {
            self.account(name);
        }
        let Some(state) = self.manifest(&identity) else { return };
        let Some(engine) = EngineState::decode(&state.engine) else { return };
        self.frames(&identity, &state);
        for (&id, meta) in &state.segments {
            self.segment(&identity, id, meta.live_records);
        }
        self.log(&identity, &state, &engine);
        self.report.free_bytes = self.report.file_bytes.saturating_sub(self.report.live_bytes);
    }

    /// Adds a file's bytes; the lock file is not opened (PROTOCOL F7).
    fn account(&mut self, name: &str) {
        if name == LOCK_FILE {
            return;
        }
        if !is_own_file(name) {
            self.report.foreign_files.push(name.to_string());
            return;
        }
        let length =
            self.env.storage.open(name, Access::Read).and_then(|file| file.len()).map_err(Error::from);
        self.report.file_bytes += self.noted(length, "a file of the store").unwrap_or(0);
    }

    fn manifest(&mut self, identity: &Identity) -> Option<ManifestState> {
        let storage = &self.env.storage;
        let report = Manifest::verify(storage.as_ref(), identity.store_id).map_err(Error::from);
        let report = self.noted(report, "which frames and segments make up the store")?;
        self.report.live_bytes += report.valid_bytes;
        self.manifest_torn_at = (report.tail != Tail::Clean).then_some(report.valid_bytes);
        let loaded = Manifest::load(&self.env.storage, identity.store_id, ManifestMode::ReadOnly);
        self.noted(loaded.map_err(Error::from), "which frames and segments make up the store")
            .map(|(_, state)| state)
    }

    fn frames(&mut self, identity: &Identity, state: &ManifestState) {
        let file = self.env.storage.open(FRAMES_FILE, Access::Read).map_err(Error::from);
        let Some(file) = self.noted(file, "all frames") else { return };
        let map = Extents::over(Arc::clone(&file), state.extents.values().flatten());
        self.noted(map, "where frames lie");
        let words: Vec<AtomicU64> = (0..identity.shape.frame_bytes / 8).map(|_| AtomicU64::new(0)).collect();
        for (&number, chain) in &state.extents {
            let Some(extent) = chain.first() else { continue };
            self.report.frames += 1;
            self.report.live_bytes += u64::from(extent.length).next_multiple_of(BLOCK_BYTES);
            let outcome = read_extent(&*file, extent)
                .and_then(|image| check_frame(identity, number, extent, &image, &words, file.path()));
            self.noted(outcome, &format!("frame {number}"));
        }
    }

    fn segment(&mut self, identity: &Identity, id: u64, live_records: u64) {
        self.report.segments += 1;
        let outcome = SegmentReader::open(&*self.env.storage, id, identity.store_id)
            .and_then(|reader| reader.verify().map(|()| reader.summary().file_bytes))
            .map_err(Error::from);
        let covers = format!("payload segment {id} with {live_records} live values");
        self.report.live_bytes += self.noted(outcome, &covers).unwrap_or(0);
    }

    fn log(&mut self, identity: &Identity, state: &ManifestState, engine: &EngineState) {
        let from = RecoverFrom {
            low_water: engine.low_water,
            lsn0: engine.lsn0,
            durable_edit: state.sequence,
            clean_end: engine.clean_end,
        };
        let options = journal_options(identity, self.options);
        let outcome =
            recover_log(self.env, &options, from, LogMode::ReadOnly, &mut |_| Ok(())).map_err(Error::from);
        if let Some(recovered) = self.noted(outcome, "writes since the last cut") {
            self.report.log_records = recovered.records;
            self.report.live_bytes += recovered.log_bytes();
        }
    }

    /// Step 3: the state as readers see it.
    fn whole(&mut self, store: &Store) -> Result<()> {
        if let Err(error) = store.tree.verify_frames() {
            self.note_error(&error.into(), "a frame after the log was replayed into it");
        }
        if let Err(error) = store.verify_catalog() {
            self.note_error(&error, "which named trees there are");
        }
        let mut counted: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        let mut lower = Bound::Unbounded;
        loop {
            let request = ScanRequest {
                lower: lower.as_ref().map(|key: &Vec<u8>| key.as_slice()),
                upper: Bound::Unbounded,
                direction: Direction::Forward,
                limit: 1024,
                skip: None,
                keys_only: true,
            };
            let mut items = Vec::new();
            let resume = match store.tree.collect(&request, &mut items, &|_| true) {
                Ok(resume) => resume,
                Err(error) => {
                    self.note_error(&error.into(), "keys from here on");
                    return Ok(());
                }
            };
            for item in items {
                if let ScanItem::Leaf { key, leaf } = item {
                    self.report.records += 1;
                    self.value(store, &key, &leaf.value, store.is_alive(leaf.death), &mut counted);
                }
            }
            match resume {
                Some(bound) => lower = bound,
                None => break,
            }
        }
        self.sums(store, &counted);
        Ok(())
    }

    /// One leaf's value: where it points must be what it says.
    fn value(
        &mut self,
        store: &Store,
        key: &[u8],
        value: &LeafData,
        alive: bool,
        counted: &mut BTreeMap<u64, (u64, u64)>,
    ) {
        let LeafData::Pointer(pointer) = value else { return };
        let covers =
            || format!("the value of key {:?}", String::from_utf8_lossy(key.get(4..).unwrap_or_default()));
        if pointer.segment == STAGING {
            let staged = store.staging.read(pointer.offset, pointer.length);
            let whole = staged.is_some_and(|bytes| crc32c::crc32c(&bytes) == pointer.crc);
            if alive && !whole {
                let file = self.env.storage.path_of("ring");
                let what = "a staged value is not in the log".to_string();
                self.note(FoundDamage { file, offset: pointer.offset, what, covers: covers() });
            }
            return;
        }
        let sums = counted.entry(pointer.segment).or_default();
        sums.0 += 1;
        sums.1 += u64::from(pointer.length);
        match store.payloads.read(pointer) {
            Ok(Some(_)) => {}
            Ok(None) => {
                let file = self.env.storage.path_of(&treering_segment::sealed::file_name(pointer.segment));
                let what = "a leaf points at a segment that the manifest does not name".to_string();
                self.note(FoundDamage { file, offset: pointer.offset, what, covers: covers() });
            }
            Err(error) => self.note_error(&error, &covers()),
        }
    }

    fn sums(&mut self, store: &Store, counted: &BTreeMap<u64, (u64, u64)>) {
        let manifest = self.env.storage.path_of("MANIFEST");
        for live in store.payloads.standings() {
            let meta = &live.meta;
            let found = counted.get(&meta.id).copied().unwrap_or_default();
            if found != (meta.live_records, meta.live_bytes) {
                let what = format!(
                    "segment {} should have {} live values of {} bytes; the tree points at {} of {}",
                    meta.id, meta.live_records, meta.live_bytes, found.0, found.1
                );
                let covers = "when the segment can be removed".to_string();
                self.note(FoundDamage { file: manifest.clone(), offset: 0, what, covers });
            }
        }
        let leaves = store.tree.stats().leaves;
        if leaves != self.report.records {
            let what = format!("frames hold {leaves} records, a scan reaches {}", self.report.records);
            let file = self.env.storage.path_of(FRAMES_FILE);
            self.note(FoundDamage { file, offset: 0, what, covers: "records out of reach".to_string() });
        }
    }
}

/// One frame's image and its own invariants.
fn check_frame(
    identity: &Identity,
    number: u64,
    extent: &Extent,
    image: &[u8],
    words: &[AtomicU64],
    file: &Path,
) -> Result<()> {
    let expect = ImageExpect { number, epoch: extent.epoch, checksum: extent.checksum };
    decode_image(image, &identity.store_id, &expect, words)
        .map_err(|bad| Error::damage(bad.what, file, extent.offset + bad.offset as u64))?;
    verify_frame(BlobFrameRef::attach(words)).map_err(|bad| Error::damage(bad.what, file, extent.offset))?;
    Ok(())
}
