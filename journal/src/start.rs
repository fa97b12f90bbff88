//! How a journal begins: fresh, or after recovery. Nothing runs yet; when this is done, `journal` takes
//! over.
//!
//! # Starting after recovery (PROTOCOL O2, O3), and the state after a crash at each step
//! 1. Write again what may not be durable: the newest incarnation from the proven-durable point on, and
//!    what came from the ring. A plain sync would not do: after an earlier failed sync the kernel takes
//!    pages as clean that never reached the device. (Crash: the same log; recovery finds the same.)
//! 2. Sync all log files from the low-water mark on, in order, then the directory. (Crash: the same.)
//! 3. Make the first file of a new incarnation ready. Its base lies beyond every address that any header
//!    allows for, so beyond every LSN ever assigned; its header says where the log was cut. (Crash before
//!    the header's name is durable: the same log. After it: the old incarnation, then an empty one; the
//!    ring still names the old one and is not read.)
//! 4. Give the ring file the new incarnation and base. (Crash: a ring without a valid header or with
//!    nothing in it.)
//! 5. Let go of files that the old incarnation made ready and never used.

use std::sync::Arc;

use treering_ring::Ring;
use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::error::{Damage, IoFailure};
use treering_segment::storage::{Environment, Storage};

use crate::check::StreamCheck;
use crate::commit::GroupCommit;
use crate::error::{Error, Result};
use crate::files::{Identity, LogFile, LogFiles, MakeError, write_stream};
use crate::journal::Journal;
use crate::log_file::{BLOCK, LOG_PREFIX};
use crate::options::JournalOptions;
use crate::poison::Poison;
use crate::record::{Lsn, filler_into, salt};
use crate::recovery::{Mode, Recovered};
use crate::ring_file;
use crate::sync::{AtomicU64, Mutex};

/// Bytes written again in one piece.
const COPY_CHUNK: u64 = 1 << 20;

/// Where a journal begins.
struct Beginning {
    incarnation: u32,
    base: Lsn,
    previous_cut: Lsn,
    low_water: Lsn,
    void_bytes: u64,
    durable_edit: u64,
    found: Vec<Arc<LogFile>>,
}

impl Journal {
    /// Begins the log of a fresh store: incarnation 1, first LSN [`Self::FIRST_LSN`]. Refuses a directory
    /// that has a log.
    pub fn create(env: &Environment, options: &JournalOptions) -> Result<Self> {
        options.check()?;
        if let Some(name) = env.storage.list()?.into_iter().find(|name| name.starts_with(LOG_PREFIX)) {
            let exists = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "there is a log already");
            return Err(IoFailure::new("create", env.storage.path_of(&name), exists).into());
        }
        let beginning = Beginning {
            incarnation: 1,
            base: Self::FIRST_LSN,
            previous_cut: 0,
            low_water: Self::FIRST_LSN,
            void_bytes: 0,
            durable_edit: 0,
            found: Vec::new(),
        };
        Self::begin(env, options, beginning)
    }

    /// Begins a new incarnation behind what `recovered` found, all of which is durable before this returns.
    pub fn start(env: &Environment, options: &JournalOptions, recovered: Recovered) -> Result<Self> {
        options.check()?;
        if recovered.mode == Mode::ReadOnly {
            return Err(Error::Options("a journal starts from a recovery for writing"));
        }
        let storage = &*env.storage;
        write_again(storage, &recovered)?;
        reach(CrashPoint::LogWrittenAgain);
        recovered
            .files
            .iter()
            .filter(|log| log.header.end() > recovered.from.low_water)
            .filter(|_| !armed(Defect::RecoveredLogNotSynced))
            .try_for_each(|log| log.file.sync_data())?;
        storage.sync_directory()?;
        reach(CrashPoint::LogSyncedAgain);
        let base = next_base(&recovered, options.ring_bytes as u64)
            .ok_or_else(|| Damage::new("the log's addresses are used up", storage.path_of(LOG_PREFIX), 0))?;
        let incarnation = recovered.incarnation.checked_add(1).ok_or_else(|| {
            Damage::new("the log's incarnations are used up", storage.path_of(LOG_PREFIX), 0)
        })?;
        let (end, low_water) = (recovered.end_lsn, recovered.from.low_water);
        let beginning = Beginning {
            incarnation,
            base,
            previous_cut: if armed(Defect::CutOfLogForgotten) { 0 } else { end },
            low_water,
            void_bytes: recovered.void_bytes + (base - end),
            durable_edit: recovered.from.durable_edit,
            found: recovered.files,
        };
        let journal = Self::begin(env, options, beginning)?;
        // What lies between the end and the new base was never used, and never will be. The first file of an
        // empty incarnation stays: it links the one before it to the new one.
        let unused = journal.files.let_go(|header| {
            let linking = header.first_lsn == header.incarnation_base;
            header.incarnation < incarnation
                && (header.first_lsn >= end && !linking || header.end() <= low_water)
        });
        reach(CrashPoint::UnusedLogLetGo);
        match unused {
            Ok(()) => Ok(journal),
            Err(MakeError::Refused(failure) | MakeError::Sync(failure)) => Err(failure.into()),
        }
    }

    fn begin(env: &Environment, options: &JournalOptions, beginning: Beginning) -> Result<Self> {
        let Beginning { incarnation, base, previous_cut, low_water, void_bytes, durable_edit, found } =
            beginning;
        let identity = Identity {
            store_id: options.store_id,
            incarnation,
            base,
            previous_cut,
            segment_bytes: options.segment_bytes,
        };
        let files = LogFiles::new(Arc::clone(&env.storage), identity, found)?;
        files.make_first(options.small_segment_bytes()).map_err(|error| match error {
            MakeError::Refused(failure) if failure.is_out_of_space() => Error::Full(failure),
            MakeError::Refused(failure) | MakeError::Sync(failure) => Error::Io(failure),
        })?;
        reach(CrashPoint::IncarnationBegun);
        let salt = salt(&options.store_id);
        let memory = ring_file::memory(&*env.storage, options, incarnation, base);
        reach(CrashPoint::RingRenewed);
        let ring = Ring::over(memory.memory, base)
            .map_err(|_| Error::Options("the ring cannot be built over its memory"))?
            .with_filler(Box::new(move |lsn, _, into| filler_into(into, lsn, incarnation, salt)));
        Ok(Self {
            storage: Arc::clone(&env.storage),
            options: options.clone(),
            incarnation,
            salt,
            ring,
            shared_ring: memory.shared,
            files,
            drainer: Mutex::new(StreamCheck::new(salt, incarnation, base)),
            group: GroupCommit::new(base),
            poison: Poison::default(),
            promised: AtomicU64::new(base),
            written: AtomicU64::new(base),
            low_water: AtomicU64::new(low_water),
            base,
            void_bytes,
            durable_edit: AtomicU64::new(durable_edit),
            marked_lsn: AtomicU64::new(0),
            marked_edit: AtomicU64::new(0),
            marked_at: AtomicU64::new(base),
        })
    }
}

/// Writes the newest incarnation's bytes from the proven-durable point to the end once more, those from
/// the ring for the first time.
fn write_again(storage: &dyn Storage, recovered: &Recovered) -> Result<()> {
    let end = recovered.end_lsn;
    let newest: Vec<Arc<LogFile>> = recovered
        .files
        .iter()
        .filter(|log| log.header.incarnation == recovered.incarnation)
        .map(Arc::clone)
        .collect();
    let Some(base) = newest.first().map(|log| log.header.first_lsn) else { return Ok(()) };
    let proven = recovered.max_durable_lsn.max(recovered.from.lsn0).max(recovered.from.low_water);
    if let Some(ring) = &recovered.ring
        && !armed(Defect::RingNotCopied)
    {
        let mut bytes = Vec::new();
        for &(from, to) in &recovered.ring_ranges {
            for (at, len) in chunks(from, to, COPY_CHUNK.min(ring.capacity() as u64)) {
                ring.copy(at, len, &mut bytes);
                write_stream(storage, &newest, at, &bytes)?;
            }
        }
    }
    if armed(Defect::RecoveredLogNotWrittenAgain) {
        return Ok(());
    }
    let mut bytes = Vec::new();
    for log in &newest {
        let (from, to) = (proven.max(base).max(log.header.first_lsn), end.min(log.header.end()));
        for (at, len) in chunks(from, to, COPY_CHUNK) {
            bytes.resize(len, 0);
            log.file.read_exact_at(&mut bytes, log.offset_of(at))?;
            log.file.write_all_at(&bytes, log.offset_of(at))?;
        }
    }
    Ok(())
}

fn chunks(from: Lsn, to: Lsn, size: u64) -> impl Iterator<Item = (Lsn, usize)> {
    let mut at = from;
    std::iter::from_fn(move || {
        // A chunk is at most a mebibyte.
        let len = usize::try_from(to.saturating_sub(at).min(size)).unwrap_or(0);
        let this = (len > 0).then_some((at, len));
        at += len as u64;
        this
    })
}

/// An address beyond every LSN that was or could have been assigned (PROTOCOL O2): appends stay below the
/// end of files made ready (J8), whose headers are durable first (J1).
fn next_base(recovered: &Recovered, ring_bytes: u64) -> Option<Lsn> {
    let ready = recovered.files.iter().map(|log| log.header.end()).max().unwrap_or(0);
    if armed(Defect::LsnsUsedAgain) {
        return recovered.end_lsn.checked_next_multiple_of(BLOCK);
    }
    let ring = recovered.ring.as_ref().map_or(0, |ring| ring.capacity() as u64);
    ready
        .max(recovered.end_lsn)
        .max(recovered.from.lsn0)
        .checked_add(ring.max(ring_bytes))?
        .checked_next_multiple_of(BLOCK)
        .filter(|base| *base < treering_ring::MAX_BASE)
}
