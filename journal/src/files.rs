//! The set of log files in use: finding them, writing and syncing stream ranges across them, making
//! new ones ready and letting old ones go. It does not look into the stream.
//!
//! # Invariants
//! - J1 A file is in the set only after its size, content, header and name are durable: stream bytes are
//!   written into nothing that a crash could take away as a whole.
//! - J2 The set is ordered by first LSN, files do not overlap, and those of one incarnation adjoin.
//! - J3 The newest file never leaves the set, so that a restart always finds the highest LSN (PROTOCOL O2).
//! - J4 A file becomes a spare by a rename that is durable before its header is overwritten.
//!
//! # Making a file ready, and the state after a crash
//! 1. take a spare, or create one under a spare name and write it full of zeros: a spare, holds nothing;
//! 2. write the header, sync the file: still a spare by its name, whatever its header says;
//! 3. rename it to its log name, sync the directory: spare or empty log file; both are right;
//! 4. add it to the set.

use std::sync::Arc;

use treering_segment::crash_point::{CrashPoint, reach};
use treering_segment::defects::{Defect, armed};
use treering_segment::error::{Damage, IoFailure};
use treering_segment::storage::{Access, Storage, StorageFile};

use crate::error::Result;
use crate::log_file::{BLOCK, BLOCK_BYTES, LOG_PREFIX, LogHeader, SPARE_PREFIX, log_name, spare_name};
use crate::record::Lsn;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Spares kept at most.
const SPARES_MAX: usize = 2;
/// Zeros are written in pieces of this size.
const ZERO_CHUNK: usize = 1 << 20;

/// A log file in use.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) header: LogHeader,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn StorageFile>,
    /// Bytes in the file, header included, when it was opened.
    pub(crate) file_bytes: u64,
}

impl LogFile {
    /// Where stream address `at` lies in the file.
    pub(crate) fn offset_of(&self, at: Lsn) -> u64 {
        BLOCK + (at - self.header.first_lsn)
    }
}

/// What new files say about themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) store_id: [u8; 16],
    pub(crate) incarnation: u32,
    pub(crate) base: Lsn,
    pub(crate) previous_cut: Lsn,
    pub(crate) segment_bytes: u64,
}

/// A file under its spare name.
type Spare = (String, Arc<dyn StorageFile>);

/// Why a file was not made ready.
#[derive(Debug)]
pub(crate) enum MakeError {
    /// Nothing is lost; the log goes on with what it has.
    Refused(IoFailure),
    /// A sync failed: what is durable is no longer known (PROTOCOL F1).
    Sync(IoFailure),
}

/// The log files of a running journal.
#[derive(Debug)]
pub(crate) struct LogFiles {
    storage: Arc<dyn Storage>,
    identity: Identity,
    /// In stream order.
    list: Mutex<Vec<Arc<LogFile>>>,
    /// Names of spares; held while a file is made ready or let go.
    spares: Mutex<Vec<String>>,
    /// End of the newest file's stream bytes.
    ready_end: AtomicU64,
}

impl LogFiles {
    /// The set `found` (files of earlier incarnations), to be continued under `identity`.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        identity: Identity,
        found: Vec<Arc<LogFile>>,
    ) -> Result<Self> {
        let mut spares: Vec<String> =
            storage.list()?.into_iter().filter(|name| name.starts_with(SPARE_PREFIX)).collect();
        for surplus in spares.drain(SPARES_MAX.min(spares.len())..) {
            storage.remove(&surplus)?;
        }
        Ok(Self {
            storage,
            identity,
            list: Mutex::new(found),
            spares: Mutex::new(spares),
            ready_end: AtomicU64::new(identity.base),
        })
    }

    /// Up to where stream bytes may be written.
    pub(crate) fn ready_end(&self) -> Lsn {
        // Acquire pairs with the Release in `make_ready`: who sees the address finds the file listed.
        self.ready_end.load(Ordering::Acquire)
    }

    /// Makes files ready until the stream may be written up to `until`.
    pub(crate) fn make_ready(&self, until: Lsn) -> std::result::Result<(), MakeError> {
        let mut spares = self.spares.lock();
        while self.ready_end() < until {
            let header = self.next_header();
            let made = self.make_one(&mut spares, header)?;
            self.list.lock().push(Arc::new(made));
            // Release pairs with the Acquire in `ready_end`.
            self.ready_end.store(header.end(), Ordering::Release);
        }
        Ok(())
    }

    /// Makes the first file ready: of the usual size, or of `small_bytes` where the device has no space for that, so
    /// that a full disk does not keep a store from being opened and cleared (PROTOCOL F1).
    pub(crate) fn make_first(&self, small_bytes: u64) -> std::result::Result<(), MakeError> {
        match self.make_ready(self.identity.base + self.identity.segment_bytes) {
            Err(MakeError::Refused(failure)) if failure.is_out_of_space() => {}
            done => return done,
        }
        let mut spares = self.spares.lock();
        let header = LogHeader { segment_bytes: small_bytes, ..self.next_header() };
        let made = self.make_one(&mut spares, header)?;
        self.list.lock().push(Arc::new(made));
        // Release pairs with the Acquire in `ready_end`.
        self.ready_end.store(header.end(), Ordering::Release);
        Ok(())
    }

    fn next_header(&self) -> LogHeader {
        LogHeader {
            store_id: self.identity.store_id,
            incarnation: self.identity.incarnation,
            first_lsn: self.ready_end(),
            segment_bytes: self.identity.segment_bytes,
            incarnation_base: self.identity.base,
            previous_cut: self.identity.previous_cut,
        }
    }

    fn make_one(
        &self,
        spares: &mut Vec<String>,
        header: LogHeader,
    ) -> std::result::Result<LogFile, MakeError> {
        let file_bytes = BLOCK + header.segment_bytes;
        let (spare, file) = match self.take_spare(spares, file_bytes).map_err(MakeError::Refused)? {
            Some(found) => found,
            None => {
                let made = self
                    .create_spare(&spare_name(header.first_lsn), file_bytes)
                    .map_err(MakeError::Refused)?;
                reach(CrashPoint::SpareCreated);
                made
            }
        };
        let name = log_name(header.first_lsn);
        let made = file.write_all_at(&header.encode(), 0).map_err(MakeError::Refused).and_then(|()| {
            reach(CrashPoint::LogHeaderWritten);
            if !armed(Defect::LogHeaderNotSynced) {
                file.sync_all().map_err(MakeError::of_new_file)?;
            }
            self.storage.rename(&spare, &name).map_err(MakeError::Refused)
        });
        if let Err(error) = made {
            // It may lack space or be half written; the failure to be told of is the first one.
            let _ = self.storage.remove(&spare);
            return Err(error);
        }
        reach(CrashPoint::LogFileNamed);
        if !armed(Defect::LogNameNotSynced) {
            self.storage.sync_directory().map_err(MakeError::Sync)?;
        }
        reach(CrashPoint::LogFileReady);
        Ok(LogFile { header, name, file, file_bytes })
    }

    /// A spare of the right size, if there is one; others are removed.
    fn take_spare(
        &self,
        spares: &mut Vec<String>,
        file_bytes: u64,
    ) -> std::result::Result<Option<Spare>, IoFailure> {
        while let Some(name) = spares.pop() {
            let file = self.storage.open(&name, Access::ReadWrite)?;
            if file.len()? == file_bytes {
                return Ok(Some((name, file)));
            }
            self.storage.remove(&name)?;
        }
        Ok(None)
    }

    fn create_spare(&self, name: &str, file_bytes: u64) -> std::result::Result<Spare, IoFailure> {
        let file = match self.storage.create(name) {
            Err(failure) if failure.source.kind() == std::io::ErrorKind::AlreadyExists => {
                self.storage.remove(name)?;
                self.storage.create(name)?
            }
            other => other?,
        };
        match file.allocate(0, file_bytes).and_then(|()| write_zeros(&*file, 0, file_bytes)) {
            Ok(()) => Ok((name.to_owned(), file)),
            Err(failure) => {
                // Gives the space back; the failure to be told of is the first one.
                let _ = self.storage.remove(name);
                Err(failure)
            }
        }
    }

    /// Writes stream bytes. REQUIRES: the range is ready.
    pub(crate) fn write(&self, at: Lsn, bytes: &[u8]) -> std::result::Result<(), IoFailure> {
        let files = self.overlapping(at, at + bytes.len() as u64);
        write_stream(&*self.storage, &files, at, bytes)
    }

    /// Syncs every file that holds bytes of `from..to`, in stream order (PROTOCOL O3).
    pub(crate) fn sync(&self, from: Lsn, to: Lsn) -> std::result::Result<(), IoFailure> {
        let from = if armed(Defect::LogSyncsNewestFileOnly) { to.saturating_sub(1) } else { from };
        if armed(Defect::LogNotSynced) {
            return Ok(());
        }
        self.overlapping(from, to).iter().try_for_each(|log| log.file.sync_data())
    }

    /// Files of this incarnation that hold bytes of `from..to`.
    fn overlapping(&self, from: Lsn, to: Lsn) -> Vec<Arc<LogFile>> {
        let list = self.list.lock();
        let held = |log: &&Arc<LogFile>| {
            log.header.incarnation == self.identity.incarnation
                && log.header.first_lsn < to
                && from < log.header.end()
        };
        list.iter().filter(held).map(Arc::clone).collect()
    }

    /// Lets go of the files that `gone` selects (never the newest, J3), keeping some as spares.
    pub(crate) fn let_go(&self, gone: impl Fn(&LogHeader) -> bool) -> std::result::Result<(), MakeError> {
        let mut spares = self.spares.lock();
        let leaving: Vec<Arc<LogFile>> = {
            let list = self.list.lock();
            let older = list.len().saturating_sub(1);
            list[..older].iter().filter(|log| gone(&log.header)).map(Arc::clone).collect()
        };
        if leaving.is_empty() {
            return Ok(());
        }
        for log in &leaving {
            let keep = spares.len() < SPARES_MAX && log.file_bytes == BLOCK + self.identity.segment_bytes;
            let done = if keep {
                let spare = spare_name(log.header.first_lsn);
                self.storage.rename(&log.name, &spare).map(|()| spares.push(spare))
            } else {
                self.storage.remove(&log.name)
            };
            done.map_err(MakeError::Refused)?;
            self.list.lock().retain(|other| other.name != log.name);
            reach(CrashPoint::LogFileLetGo);
        }
        if armed(Defect::SpareNameNotSynced) {
            return Ok(());
        }
        // J4: no spare is taken before the lock on the spares is let go.
        self.storage.sync_directory().map_err(MakeError::Sync)
    }
}

impl MakeError {
    /// A failed sync of a file that nothing depends on yet: a lack of space shows here too, where the
    /// device allocates late.
    fn of_new_file(failure: IoFailure) -> Self {
        if failure.is_out_of_space() { Self::Refused(failure) } else { Self::Sync(failure) }
    }
}

/// Writes `bytes` at stream address `at` into whichever of `files` hold it.
pub(crate) fn write_stream(
    storage: &dyn Storage,
    files: &[Arc<LogFile>],
    mut at: Lsn,
    mut bytes: &[u8],
) -> std::result::Result<(), IoFailure> {
    while !bytes.is_empty() {
        let holder = files.iter().find(|log| (log.header.first_lsn..log.header.end()).contains(&at));
        let Some(log) = holder else {
            let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "no log file holds this address");
            return Err(IoFailure::new("write", storage.path_of(&log_name(at)), missing));
        };
        let room = usize::try_from(log.header.end() - at).unwrap_or(usize::MAX).min(bytes.len());
        let (now, later) = bytes.split_at(room);
        log.file.write_all_at(now, log.offset_of(at))?;
        at += now.len() as u64;
        bytes = later;
    }
    Ok(())
}

/// Fills `len` bytes from `offset` with zeros by large writes.
pub(crate) fn write_zeros(
    file: &dyn StorageFile,
    offset: u64,
    len: u64,
) -> std::result::Result<(), IoFailure> {
    let zeros = vec![0; ZERO_CHUNK.min(usize::try_from(len).unwrap_or(ZERO_CHUNK))];
    let mut done = 0;
    while done < len {
        let piece = usize::try_from(len - done).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..piece], offset + done)?;
        done += piece as u64;
    }
    Ok(())
}

/// Opens all log files, checks that they make a log (J2) and returns them in stream order.
pub(crate) fn load(storage: &dyn Storage, store_id: &[u8; 16], access: Access) -> Result<Vec<Arc<LogFile>>> {
    let mut found = Vec::new();
    for name in storage.list()?.into_iter().filter(|name| name.starts_with(LOG_PREFIX)) {
        let file = storage.open(&name, access)?;
        let file_bytes = file.len()?;
        if file_bytes < BLOCK {
            return Err(
                Damage::new("the log file is shorter than its header", file.path(), file_bytes).into()
            );
        }
        let mut block = [0; BLOCK_BYTES];
        file.read_exact_at(&mut block, 0)?;
        let header = LogHeader::decode(&block, store_id, file.path())?;
        found.push(Arc::new(LogFile { header, name, file, file_bytes }));
    }
    found.sort_by_key(|log| log.header.first_lsn);
    for pair in found.windows(2) {
        check_neighbours(&pair[0], &pair[1])?;
    }
    Ok(found)
}

fn check_neighbours(left: &LogFile, right: &LogFile) -> Result<()> {
    let damage = |what: &str| Err(Damage::new(what, right.file.path(), 0).into());
    let (l, r) = (&left.header, &right.header);
    if r.first_lsn < l.end() {
        return damage("two log files hold the same addresses");
    }
    if r.incarnation < l.incarnation {
        return damage("the log file is from an earlier incarnation than the one before it");
    }
    let same = r.incarnation == l.incarnation;
    if same && (r.incarnation_base != l.incarnation_base || r.previous_cut != l.previous_cut) {
        return damage("log files of one incarnation disagree on where it began");
    }
    Ok(())
}
