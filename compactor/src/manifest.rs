//! The manifest: the catalogue of what a store durably consists of, one checksummed edit for each
//! transition, appended to the file `MANIFEST`. It holds no user data and decides no policy.
//!
//! The bytes are defined in [`format`], the meaning of an edit in [`State`], the reading of a file
//! and the treatment of its end in [`scan`].
//!
//! # Algorithm
//! *Append.* Check the edit against the state; take space; write one frame at the end; sync. Only
//! then is the edit true, and only then may what it releases be reused (PROTOCOL C7).
//!
//! *Rollover.* When the edits since the whole state have grown beyond four times its size and 64 KiB,
//! the next edit is not appended: the state *with* it is written as the only frame of `MANIFEST.new`,
//! which is synced, renamed over `MANIFEST`, and the directory synced.
//!
//! *Load.* Read every frame. For writing, moreover (PROTOCOL O3): remove a left-over `MANIFEST.new`,
//! cut a torn tail, write the last frame again in its place, sync file and directory; only then may
//! anything that the state releases be touched.
//!
//! # Invariants
//! - **M1** Frame n+1 is written only after frame n was synced. Within one life a failed sync poisons;
//!   across lives the load writes the last frame again and syncs it. (A failed sync may leave the page
//!   cache showing bytes that are not on the device, and clean: a mere second sync would prove nothing.)
//! - **M2** A file named `MANIFEST` holds a synced header and a synced first frame with the whole state.
//! - **M3** Sequences are contiguous and never repeat for an edit that anyone was told of.
//! - **M4** After a failed append the caller knows whether the edit may be found later
//!   ([`Fate`]). Only a lack of space that was undone leaves the manifest usable.
//! - **M5** Bytes behind the last valid frame are never overwritten by another frame before they were
//!   cut and the cut synced, so no remains of an older append can look like a later frame.
//!
//! # After a crash
//! | at | on disk | next load |
//! |---|---|---|
//! | space taken | zeros behind the last frame | cut |
//! | frame partly written | a torn frame | cut |
//! | frame written, not synced | torn or whole | cut, or kept and synced again: nobody was told either way |
//! | synced | whole | kept |
//! | `MANIFEST.new` made, written or synced | the old file under its name | the left-over is removed |
//! | renamed, directory not synced | the old or the new file | either: both are whole, nobody was told of the edit |
//! | directory synced | the new file | kept |
//! | load: cut, or last frame written again | the same bytes, with or without the tail | the same |
//!
//! # Damage to the last edit
//! It looks like a torn tail, as nothing behind it proves otherwise. [`Manifest::seal`] puts an empty
//! edit behind the last real one; a clean close does so, and then damage to any edit that says
//! something is found, while damage to the seal costs nothing.

use std::sync::Arc;

use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::error::IoFailure;
use treering_segment::storage::{Access, Storage, StorageFile};

use crate::error::{Error, Fate, Result};

pub mod edit;
pub mod format;
pub mod scan;
pub mod state;

pub use edit::{
    DetachedChange, DetachedRoot, Edit, Extent, ExtentChange, ExtentKind, NEVER, Pin, PinChange,
    SegmentChange, SegmentMeta,
};
pub use scan::Tail;
pub use state::{Inconsistency, State};

use format::{BODY_BYTES_MAX, HEADER_BYTES, encode_frame, encode_header};
use scan::{Scanned, scan};

/// The manifest's file name.
pub const MANIFEST: &str = "MANIFEST";
/// The name under which a new manifest is written before it takes the place of the old.
pub const MANIFEST_NEW: &str = "MANIFEST.new";

/// Edits since the whole state may take this many times its size before a rollover.
const ROLLOVER_FACTOR: u64 = 4;
/// Edits since the whole state may take this many bytes before a rollover.
const ROLLOVER_BYTES_MIN: u64 = 64 << 10;

/// What a load may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read; no byte changes, and appends are refused.
    ReadOnly,
    /// Cut a torn tail, make durable what was read, take appends.
    Writing,
}

/// What [`Manifest::verify`] found in a manifest without damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Sequence of the newest edit.
    pub sequence: u64,
    /// Edits in the file, the whole state included.
    pub edits: u64,
    /// Length of the file.
    pub file_bytes: u64,
    /// Bytes of it that valid edits and the header fill.
    pub valid_bytes: u64,
    /// What follows them.
    pub tail: Tail,
}

/// Whether the manifest takes edits.
#[derive(Debug)]
enum Health {
    Writable,
    ReadOnly,
    Poisoned(IoFailure),
}

/// The open catalogue of a store. One object at a time may append; the store's lock sees to it.
#[derive(Debug)]
pub struct Manifest {
    storage: Arc<dyn Storage>,
    store_id: [u8; 16],
    file: Arc<dyn StorageFile>,
    state: State,
    /// End of the last frame.
    end: u64,
    /// Length of the first frame.
    full_bytes: u64,
    health: Health,
}

/// A write that failed, and what follows from it.
struct Failed {
    fate: Fate,
    poisons: bool,
    failure: IoFailure,
}

impl Failed {
    fn poisoning(fate: Fate) -> impl Fn(IoFailure) -> Failed {
        move |failure| Failed { fate, poisons: true, failure }
    }
}

/// Why no edit was written.
enum WriteError {
    TooLarge(u64),
    Failed(Failed),
}

impl From<Failed> for WriteError {
    fn from(failed: Failed) -> Self {
        WriteError::Failed(failed)
    }
}

impl Manifest {
    /// Creates the manifest of a new store with `first` as its edit 1, durable on return. The name
    /// must be free.
    pub fn create(storage: &Arc<dyn Storage>, store_id: [u8; 16], first: &Edit) -> Result<Manifest> {
        if storage.exists(MANIFEST)? {
            let source = std::io::ErrorKind::AlreadyExists.into();
            return Err(IoFailure::new("create", storage.path_of(MANIFEST), source).into());
        }
        check_names(first)?;
        let mut state = State::default();
        state.apply(1, first).map_err(|inconsistency| Error::Inconsistent(inconsistency.0))?;
        let frame = encode_frame(&state.to_full_edit(), true, 1, &store_id, HEADER_BYTES as u64)
            .map_err(|size| Error::TooLarge { size, max: BODY_BYTES_MAX })?;
        let file = write_new(storage.as_ref(), &store_id, 1, &frame)?;
        storage.rename(MANIFEST_NEW, MANIFEST)?;
        storage.sync_directory()?;
        let full_bytes = frame.len() as u64;
        let end = HEADER_BYTES as u64 + full_bytes;
        let storage = Arc::clone(storage);
        Ok(Manifest { storage, store_id, file, state, end, full_bytes, health: Health::Writable })
    }

    /// Reads the manifest of the store. In [`Mode::Writing`] everything that the returned state rests
    /// on is durable on return, and a torn tail is gone.
    pub fn load(storage: &Arc<dyn Storage>, store_id: [u8; 16], mode: Mode) -> Result<(Manifest, State)> {
        let access = if mode == Mode::Writing { Access::ReadWrite } else { Access::Read };
        let file = storage.open(MANIFEST, access)?;
        let scanned = scan(file.as_ref(), &store_id)?;
        if mode == Mode::Writing {
            settle(storage.as_ref(), file.as_ref(), &scanned)?;
            reach(CrashPoint::ManifestSettled);
        }
        let state = scanned.state.clone();
        let manifest = Manifest {
            storage: Arc::clone(storage),
            store_id,
            file,
            state: scanned.state,
            end: scanned.end,
            full_bytes: scanned.full_bytes,
            health: if mode == Mode::Writing { Health::Writable } else { Health::ReadOnly },
        };
        Ok((manifest, state))
    }

    /// Checks every byte of the store's manifest and changes none. Damage is the error.
    pub fn verify(storage: &dyn Storage, store_id: [u8; 16]) -> Result<VerifyReport> {
        let file = storage.open(MANIFEST, Access::Read)?;
        let scanned = scan(file.as_ref(), &store_id)?;
        Ok(VerifyReport {
            sequence: scanned.state.sequence,
            edits: scanned.edits,
            file_bytes: scanned.file_bytes,
            valid_bytes: scanned.end,
            tail: scanned.tail,
        })
    }

    /// The state as of the newest edit.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Sequence of the newest edit.
    pub fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// Length of the file's valid part in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.end
    }

    /// Whether only a reopen lets the manifest take edits again.
    pub fn is_poisoned(&self) -> bool {
        matches!(self.health, Health::Poisoned(_))
    }

    /// Makes `edit` true: durable on return, under the sequence returned. After an error the state is as
    /// before; see [`Error::may_be_on_disk`].
    pub fn append(&mut self, edit: &Edit) -> Result<u64> {
        self.transition(edit, self.rollover_is_due())
    }

    /// Appends an empty edit, so that damage to the one before it cannot look like a torn tail. For
    /// a clean close.
    pub fn seal(&mut self) -> Result<u64> {
        self.transition(&Edit::default(), false)
    }

    fn rollover_is_due(&self) -> bool {
        let since_full = self.end - HEADER_BYTES as u64 - self.full_bytes;
        since_full > ROLLOVER_BYTES_MIN && since_full > self.full_bytes.saturating_mul(ROLLOVER_FACTOR)
    }

    fn transition(&mut self, edit: &Edit, rollover: bool) -> Result<u64> {
        match &self.health {
            Health::Writable => {}
            Health::ReadOnly => return Err(Error::ReadOnly),
            Health::Poisoned(failure) => return Err(Error::Poisoned(failure.duplicate())),
        }
        check_names(edit)?;
        let sequence = self.state.sequence.checked_add(1);
        let sequence = sequence.ok_or_else(|| Error::Inconsistent("no sequence is left".into()))?;
        let undo =
            self.state.apply(sequence, edit).map_err(|inconsistency| Error::Inconsistent(inconsistency.0))?;
        let written = self.write(sequence, edit, rollover);
        let Err(error) = written else { return Ok(sequence) };
        if !armed(Defect::RefusedEditStays) {
            self.state.undo(undo);
        }
        match error {
            WriteError::TooLarge(size) => Err(Error::TooLarge { size, max: BODY_BYTES_MAX }),
            WriteError::Failed(Failed { fate, poisons: poisoned, failure }) => {
                if poisoned {
                    self.health = Health::Poisoned(failure.duplicate());
                }
                Err(Error::AppendFailed { fate, poisoned, failure })
            }
        }
    }

    fn write(&mut self, sequence: u64, edit: &Edit, rollover: bool) -> Result<(), WriteError> {
        if rollover {
            match self.roll_over(sequence) {
                // A whole state that does not fit, on the disk or in a frame, leaves the old file to append to.
                Err(WriteError::TooLarge(_)) | Err(WriteError::Failed(Failed { poisons: false, .. })) => {}
                done => return done,
            }
        }
        self.append_frame(sequence, edit)
    }

    fn append_frame(&mut self, sequence: u64, edit: &Edit) -> Result<(), WriteError> {
        let frame =
            encode_frame(edit, false, sequence, &self.store_id, self.end).map_err(WriteError::TooLarge)?;
        let length = frame.len() as u64;
        self.file.allocate(self.end, length).map_err(|failure| self.no_space(failure, Fate::NotOnDisk))?;
        self.file.write_all_at(&frame, self.end).map_err(|failure| self.no_space(failure, Fate::Unknown))?;
        reach(CrashPoint::EditWritten);
        let mut synced = if armed(Defect::EditNotSynced) { Ok(()) } else { self.file.sync_data() };
        if armed(Defect::EditSyncIsRetried) {
            synced = synced.or_else(|_| self.file.sync_data());
        }
        synced.map_err(Failed::poisoning(Fate::Unknown))?;
        self.end += length;
        Ok(())
    }

    /// Judges a failure to take or fill space behind the last frame. A lack of space is undone, durably,
    /// and then harms nothing (M4); all else poisons, with `fate`.
    fn no_space(&self, failure: IoFailure, fate: Fate) -> Failed {
        let undone = failure.is_out_of_space()
            && self.file.set_len(self.end).and_then(|()| self.file.sync_all()).is_ok();
        Failed { fate: if undone { Fate::NotOnDisk } else { fate }, poisons: !undone, failure }
    }

    /// Replaces the file by one that holds the state, the edit under way included.
    fn roll_over(&mut self, sequence: u64) -> Result<(), WriteError> {
        let frame =
            encode_frame(&self.state.to_full_edit(), true, sequence, &self.store_id, HEADER_BYTES as u64)
                .map_err(WriteError::TooLarge)?;
        let file = write_new(self.storage.as_ref(), &self.store_id, sequence, &frame).map_err(|failure| {
            let poisons = !failure.is_out_of_space() || failure.operation == "sync";
            if !poisons {
                // Best effort: a left-over is removed by the next rollover or load in any case.
                let _ = self.storage.remove(MANIFEST_NEW);
            }
            Failed { fate: Fate::NotOnDisk, poisons, failure }
        })?;
        let unknown = Failed::poisoning(Fate::Unknown);
        reach(CrashPoint::NewManifestWritten);
        self.storage.rename(MANIFEST_NEW, MANIFEST).map_err(&unknown)?;
        reach(CrashPoint::NewManifestNamed);
        self.storage.sync_directory().map_err(&unknown)?;
        self.file = file;
        self.full_bytes = frame.len() as u64;
        self.end = HEADER_BYTES as u64 + self.full_bytes;
        Ok(())
    }
}

/// Writes and syncs `MANIFEST.new` with one frame; whatever had the name before is removed.
fn write_new(
    storage: &dyn Storage,
    store_id: &[u8; 16],
    sequence: u64,
    frame: &[u8],
) -> Result<Arc<dyn StorageFile>, IoFailure> {
    match storage.remove(MANIFEST_NEW) {
        Err(failure) if !failure.is_not_found() => return Err(failure),
        _ => {}
    }
    let file = storage.create(MANIFEST_NEW)?;
    file.write_all_at(&encode_header(store_id, sequence), 0)?;
    file.write_all_at(frame, HEADER_BYTES as u64)?;
    if !armed(Defect::FirstEditNotSynced) {
        file.sync_all().map_err(|failure| IoFailure { operation: "sync", ..failure })?;
    }
    Ok(file)
}

/// Makes durable what `scanned` relied on and cuts what follows it (M1, M5).
fn settle(storage: &dyn Storage, file: &dyn StorageFile, scanned: &Scanned) -> Result<()> {
    if storage.exists(MANIFEST_NEW)? {
        storage.remove(MANIFEST_NEW)?;
    }
    if scanned.tail != Tail::Clean {
        file.set_len(scanned.end)?;
    }
    // The first frame was synced before its file got the name (M2).
    if scanned.edits > 1 && !armed(Defect::RecoveredEditNotWrittenAgain) {
        let length = usize::try_from(scanned.end - scanned.last_frame_at)
            .map_err(|_| IoFailure::new("read", file.path(), std::io::ErrorKind::FileTooLarge.into()))?;
        let mut frame = vec![0u8; length];
        file.read_exact_at(&mut frame, scanned.last_frame_at)?;
        file.write_all_at(&frame, scanned.last_frame_at)?;
    }
    if armed(Defect::RecoveredEditNotSynced) {
        return Ok(());
    }
    file.sync_all()?;
    storage.sync_directory()?;
    Ok(())
}

/// Refuses names that the format cannot hold.
fn check_names(edit: &Edit) -> Result<()> {
    let max = u64::from(u16::MAX);
    for change in &edit.pins {
        match change {
            PinChange::Add(pin) if pin.name.len() as u64 > max => {
                return Err(Error::TooLarge { size: pin.name.len() as u64, max });
            }
            _ => {}
        }
    }
    Ok(())
}
