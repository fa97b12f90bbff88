//! Recovery: what the log holds after a clean close, a killed process or a power cut. It changes no byte;
//! [`crate::Journal::start`] makes durable what this relies on.
//!
//! # Algorithm
//! 1. Open all log files; headers, not names, say what they are. Read the ring's image.
//! 2. From the low-water mark on, look at each position: a valid record in the log file, else a valid
//!    record in the ring (newest incarnation only: a start has put the ring of an older one into the log),
//!    else no record. The table in `verdict` says what to do; it is the only judge.
//! 3. Where an incarnation was cut, go on at the base of the next.
//! 4. At the end, look beyond it (`tail`) for what proves that there was more.
//!
//! # Invariants
//! - J12 Records are visited in LSN order, each once, each valid, none beyond its incarnation's cut.
//! - J13 The log never ends before a promise that survives: a durable mark, the newest cut, a clean close.
//! - J14 Memory is bounded by a window, the ring and the largest record, whatever lengths the bytes claim.

mod source;
mod tail;
pub(crate) mod verdict;

use std::error::Error as StdError;
use std::sync::Arc;

use treering_segment::defects::{Defect, armed};
use treering_segment::error::Damage;
use treering_segment::storage::{Access, Environment, Storage};

use crate::error::{Error, Result};
use crate::files::{self, LogFile};
use crate::log_file::{BLOCK, log_name};
use crate::options::JournalOptions;
use crate::record::{Kind, Lsn, Record, salt};
use crate::ring_file::RingImage;
use source::{Found, Source};
use tail::Survey;
use verdict::{Claim, Here, Next, Row, Tail, judge};

/// Receives the records in LSN order, those without operations too.
pub type Visitor<'v> =
    dyn FnMut(&Record<'_>) -> std::result::Result<(), Box<dyn StdError + Send + Sync>> + 'v;

/// What the manifest knows about the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverFrom {
    /// Where to begin: an LSN at which a record starts, or the log's end.
    pub low_water: Lsn,
    /// `lsn0` of the newest cut, through which the log was synced before the cut's edit (PROTOCOL C3): it
    /// must be reached, and no new LSN is below it.
    pub lsn0: Lsn,
    /// Sequence of the newest manifest edit that was found.
    pub durable_edit: u64,
    /// Where the log ended when the store was last closed cleanly, if the newest edit says so.
    pub clean_end: Option<Lsn>,
}

/// Whether the store will be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is opened for writing; [`crate::Journal::start`] refuses the result.
    ReadOnly,
    /// The result may start a journal.
    Writing,
}

/// What lay beyond the end of the log, and is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The end of the log.
    pub at: Lsn,
}

/// What recovery found.
#[derive(Debug)]
pub struct Recovered {
    /// The address after the last record.
    pub end_lsn: Lsn,
    /// Records visited.
    pub records: u64,
    /// Whether the last record says that the log was closed cleanly.
    pub clean: bool,
    /// Set if traces of records lay beyond the end.
    pub torn_tail: Option<TornTail>,
    /// Highest epoch of all records; 0 if there were none.
    pub max_epoch: u64,
    /// Latest store time of all records.
    pub max_time_ms: u64,
    /// Highest durable LSN that a record tells of.
    pub max_durable_lsn: Lsn,
    /// Highest durable manifest edit that a record tells of.
    pub max_durable_edit: u64,
    /// Newest incarnation that the log knows.
    pub incarnation: u32,
    /// Bytes that came from the ring alone.
    pub from_ring: u64,
    pub(crate) mode: Mode,
    pub(crate) from: RecoverFrom,
    pub(crate) files: Vec<Arc<LogFile>>,
    pub(crate) ring: Option<RingImage>,
    /// Stream ranges that came from the ring, in order.
    pub(crate) ring_ranges: Vec<(Lsn, Lsn)>,
    /// Addresses that were jumped over.
    pub(crate) void_bytes: u64,
}

impl Recovered {
    /// Bytes of records from the low-water mark to the end: addresses that no incarnation used do not count.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.end_lsn.saturating_sub(self.from.low_water).saturating_sub(self.void_bytes)
    }
}

/// Holds each log file's length against what its header says. [`recover`] itself reads a file that is cut short
/// as one with a torn tail. Where all files were made by a [`crate::Journal`], none is ever short: each has
/// its length, durably, before it has its name (J1); so this tells a file that lost its end from a torn tail.
pub fn check_log_lengths(env: &Environment, options: &JournalOptions) -> Result<()> {
    for log in files::load(&*env.storage, &options.store_id, Access::Read)? {
        let whole = BLOCK + log.header.segment_bytes;
        if log.file_bytes < whole {
            let what = format!("the log file ends here, {} bytes too early", whole - log.file_bytes);
            return Err(Damage::new(what, log.file.path(), log.file_bytes).into());
        }
    }
    Ok(())
}

/// Reads the log from `from.low_water`, handing each record to `visitor` in LSN order.
///
/// Anything that recovery cannot explain by a crash is `Error::Damage` with file and offset.
pub fn recover(
    env: &Environment,
    options: &JournalOptions,
    from: RecoverFrom,
    mode: Mode,
    visitor: &mut Visitor<'_>,
) -> Result<Recovered> {
    options.check()?;
    let storage = &*env.storage;
    let access = if mode == Mode::Writing { Access::ReadWrite } else { Access::Read };
    let files = files::load(storage, &options.store_id, access)?;
    let Some(newest) = files.last().map(|log| log.header.incarnation) else {
        let what = "the log files are missing";
        return Err(Damage::new(what, storage.path_of(&log_name(from.low_water)), 0).into());
    };
    let recovered = Recovered {
        end_lsn: from.low_water,
        records: 0,
        clean: false,
        torn_tail: None,
        max_epoch: 0,
        max_time_ms: 0,
        max_durable_lsn: 0,
        max_durable_edit: 0,
        incarnation: newest,
        from_ring: 0,
        mode,
        from,
        files: Vec::new(),
        ring: None,
        ring_ranges: Vec::new(),
        void_bytes: 0,
    };
    let ring = RingImage::read(storage, &options.store_id)?.filter(|_| !armed(Defect::RingNotRead));
    let mut walk =
        Walk { storage, files: &files, ring: ring.as_ref(), salt: salt(&options.store_id), recovered };
    walk.run(visitor)?;
    let mut recovered = walk.recovered;
    recovered.files = files;
    recovered.ring = ring;
    Ok(recovered)
}

struct Walk<'f> {
    storage: &'f dyn Storage,
    files: &'f [Arc<LogFile>],
    ring: Option<&'f RingImage>,
    salt: u32,
    recovered: Recovered,
}

impl<'f> Walk<'f> {
    fn run(&mut self, visitor: &mut Visitor<'_>) -> Result<()> {
        let mut incarnation = self.first_incarnation()?;
        while let Some(next) = self.run_incarnation(incarnation, visitor)? {
            incarnation = next;
        }
        Ok(())
    }

    /// The incarnation that the low-water mark lies in, be it at its very end.
    fn first_incarnation(&self) -> Result<u32> {
        let low_water = self.recovered.from.low_water;
        let holder = self
            .files
            .iter()
            .find(|log| (log.header.first_lsn..=log.header.end()).contains(&low_water))
            .or_else(|| self.files.iter().find(|log| log.header.previous_cut == low_water));
        match holder {
            Some(log) => Ok(log.header.incarnation),
            None => {
                let what = "the log does not reach back to where the manifest says that it begins";
                Err(Damage::new(what, self.storage.path_of(&log_name(low_water)), 0).into())
            }
        }
    }

    /// Reads one incarnation from the position on; the one to go on with.
    fn run_incarnation(&mut self, incarnation: u32, visitor: &mut Visitor<'_>) -> Result<Option<u32>> {
        let files = self.files_of(incarnation)?;
        let next = self.files.iter().find(|log| log.header.incarnation > incarnation);
        let base = files.first().map_or(0, |log| log.header.incarnation_base);
        self.enter(base);
        if files.first().is_some_and(|log| log.header.first_lsn > self.recovered.end_lsn) {
            let path = self.storage.path_of(&log_name(self.recovered.end_lsn));
            return Err(Damage::new("a log file is missing", path, 0).into());
        }
        let ring = self.ring.filter(|ring| {
            next.is_none() && ring.header.incarnation == incarnation && ring.header.base == base
        });
        let mut source = Source::new(files, ring, self.salt, incarnation);
        let mut found;
        loop {
            let at = self.recovered.end_lsn;
            let cut = match next.map(|log| log.header.previous_cut) {
                None => Next::None,
                Some(cut) if cut == at => Next::CutHere,
                Some(cut) if cut > at => Next::CutLater,
                Some(_) => Next::CutEarlier,
            };
            found = source.look(at)?;
            let (claim, tail) = self.look_beyond(&mut source, found, cut)?;
            match judge(found.here, cut, claim, tail) {
                Row::LogRecord | Row::RingRecord => self.replay(&mut source, found.here, visitor)?,
                Row::JumpToNextIncarnation => return Ok(next.map(|log| log.header.incarnation)),
                Row::CleanEnd | Row::SilentEnd => return Ok(None),
                Row::TornTail => {
                    self.recovered.torn_tail = Some(TornTail { at });
                    return Ok(None);
                }
                row => return Err(self.damage(&source, row, claim, found)),
            }
        }
    }

    /// The files of `incarnation` from the position on, which must adjoin.
    fn files_of(&self, incarnation: u32) -> Result<&'f [Arc<LogFile>]> {
        let at = self.recovered.end_lsn;
        let first = self.files.partition_point(|log| {
            log.header.incarnation < incarnation
                || (log.header.incarnation == incarnation && log.header.end() < at)
        });
        let end = self.files.partition_point(|log| log.header.incarnation <= incarnation);
        let files = &self.files[first..end];
        for pair in files.windows(2) {
            let expected = pair[0].header.end();
            if pair[1].header.first_lsn != expected {
                let path = self.storage.path_of(&log_name(expected));
                return Err(Damage::new("a log file is missing", path, 0).into());
            }
        }
        Ok(files)
    }

    /// Moves the position to `base`, unless it lies within the incarnation already.
    fn enter(&mut self, base: Lsn) {
        if self.recovered.end_lsn < base {
            self.recovered.void_bytes += base - self.recovered.end_lsn;
            self.recovered.end_lsn = base;
        }
    }

    fn replay(&mut self, source: &mut Source<'_>, here: Here, visitor: &mut Visitor<'_>) -> Result<()> {
        let at = self.recovered.end_lsn;
        let Some(record) = source.record(at, here)? else {
            let place = self.storage.path_of(&log_name(at));
            return Err(Damage::new("a record changed while it was read", place, 0).into());
        };
        visitor(&record).map_err(Error::Visitor)?;
        let recovered = &mut self.recovered;
        recovered.records += 1;
        recovered.clean = record.kind == Kind::Close;
        recovered.max_epoch = recovered.max_epoch.max(record.epoch);
        recovered.max_time_ms = recovered.max_time_ms.max(record.time_ms);
        if let Some(marks) = record.marks {
            recovered.max_durable_lsn = recovered.max_durable_lsn.max(marks.durable_lsn);
            recovered.max_durable_edit = recovered.max_durable_edit.max(marks.durable_edit);
        }
        recovered.end_lsn = record.end();
        if here == Here::Ring {
            recovered.from_ring += record.end() - at;
            match recovered.ring_ranges.last_mut() {
                Some(last) if last.1 == at => last.1 = record.end(),
                _ => recovered.ring_ranges.push((at, record.end())),
            }
        }
        Ok(())
    }

    /// Claims and traces; looked for only where the log seems to end.
    fn look_beyond(&self, source: &mut Source<'_>, found: Found, cut: Next) -> Result<(Claim, Tail)> {
        if found.here != Here::Nothing || cut != Next::None {
            return Ok((Claim::None, Tail::Silent));
        }
        if self.recovered.clean && self.recovered.from.clean_end == Some(self.recovered.end_lsn) {
            // Nothing was written after a clean close that the manifest knows of: no need to search.
            return Ok((self.broken_claim(&Survey::default()), Tail::Closed));
        }
        let survey = tail::survey(source, self.recovered.end_lsn)?;
        let tail = match (survey.traces, self.recovered.clean) {
            (true, _) => Tail::Torn,
            (false, true) => Tail::Closed,
            (false, false) => Tail::Silent,
        };
        Ok((self.broken_claim(&survey), tail))
    }

    /// The first claim that an end here would break (J13).
    fn broken_claim(&self, survey: &Survey) -> Claim {
        let (end, from) = (self.recovered.end_lsn, &self.recovered.from);
        let edit = self.recovered.max_durable_edit.max(survey.marks.durable_edit);
        if survey.overrun || survey.marks.durable_lsn > end || self.recovered.max_durable_lsn > end {
            Claim::DurableMark
        } else if from.lsn0 > end {
            Claim::NewestCut
        } else if from.clean_end.is_some_and(|clean_end| clean_end > end) {
            Claim::CleanEnd
        } else if edit > from.durable_edit {
            Claim::ManifestEdit
        } else if self.ring.is_some_and(|ring| ring.header.incarnation > self.recovered.incarnation) {
            Claim::RingAhead
        } else {
            Claim::None
        }
    }

    fn damage(&self, source: &Source<'_>, row: Row, claim: Claim, found: Found) -> Error {
        let at = self.recovered.end_lsn;
        let what = match (row, claim) {
            (Row::MalformedRecord, _) => found.what,
            (Row::RunsPastCut, _) => "a record reaches beyond the point at which the log was cut",
            (Row::EndsBeforeCut, _) => "no record where an earlier recovery found one",
            (_, Claim::DurableMark) => "no record here, though the log was durable beyond this point",
            (_, Claim::NewestCut) => "no record here, though the newest cut lies beyond this point",
            (_, Claim::CleanEnd) => "no record here, though the store was closed cleanly beyond this point",
            (_, Claim::ManifestEdit) => "the log tells of a manifest edit that the manifest does not have",
            (_, Claim::RingAhead) => "the ring is newer than the log files, of which some are missing",
            _ => "no record here",
        };
        let (path, offset) = source.log.place(at).unwrap_or_else(|| (self.storage.path_of(&log_name(at)), 0));
        Damage::new(what, path, offset).into()
    }
}
