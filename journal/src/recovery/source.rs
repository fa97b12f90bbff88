//! Reading the stream of one incarnation: from its log files through a window of memory, and from the
//! ring's image. It finds candidate records; what they mean is decided elsewhere.

use std::sync::Arc;

use treering_segment::error::IoFailure;

use super::verdict::Here;
use crate::files::LogFile;
use crate::log_file::BLOCK;
use crate::record::{HEADER_BYTES, Lsn, RawHeader, Record, Reject};
use crate::ring_file::RingImage;

/// Bytes read ahead.
const WINDOW: usize = 1 << 20;

/// The stream bytes of adjoining log files of one incarnation.
pub(super) struct LogSource<'f> {
    files: &'f [Arc<LogFile>],
    start: Lsn,
    end: Lsn,
    window_at: Lsn,
    window: Vec<u8>,
}

impl<'f> LogSource<'f> {
    /// REQUIRES: `files` is not empty, adjoins, and is of one incarnation.
    pub(super) fn new(files: &'f [Arc<LogFile>]) -> Self {
        let start = files.first().map_or(0, |log| log.header.first_lsn);
        let end = files.last().map_or(0, |log| log.header.end());
        Self { files, start, end, window_at: start, window: Vec::new() }
    }

    /// The address after the last file's last byte.
    pub(super) fn end(&self) -> Lsn {
        self.end
    }

    /// The next stretch at or after `at` whose bytes are in the files: where it starts, not before `at`, and
    /// where it ends. What a header claims beyond its file's end reads as zeros, and is nowhere looked for (J14).
    pub(super) fn present(&self, at: Lsn) -> Option<(Lsn, Lsn)> {
        let end_of = |log: &LogFile| {
            let present = log.file_bytes.saturating_sub(BLOCK).min(log.header.segment_bytes);
            log.header.first_lsn + present
        };
        let mut files = self.files.iter().skip_while(|log| end_of(log) <= at);
        let first = files.next()?;
        let (start, mut end) = (first.header.first_lsn.max(at), end_of(first));
        for log in files {
            if log.header.first_lsn != end {
                break;
            }
            end = end_of(log);
        }
        Some((start, end))
    }

    /// Bytes in the files at `at` and after it.
    pub(super) fn present_after(&self, mut at: Lsn) -> u64 {
        let mut bytes = 0;
        while let Some((start, end)) = self.present(at) {
            bytes += end - start;
            at = end;
        }
        bytes
    }

    /// `len` bytes at `at`, if the files reach that far.
    pub(super) fn bytes(&mut self, at: Lsn, len: usize) -> Result<Option<&[u8]>, IoFailure> {
        if at < self.start || at > self.end || self.end - at < len as u64 {
            return Ok(None);
        }
        let inside = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !inside {
            self.load(at, len.max(WINDOW))?;
        }
        // The window is memory, so the distance fits.
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from + len))
    }

    fn load(&mut self, at: Lsn, len: usize) -> Result<(), IoFailure> {
        let len = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(len);
        self.window.clear();
        self.window.resize(len, 0);
        self.window_at = at;
        let mut done = 0;
        while done < len {
            let here = at + done as u64;
            let Some(log) = self.files.iter().find(|log| here < log.header.end()) else { break };
            let piece = usize::try_from(log.header.end() - here).unwrap_or(usize::MAX).min(len - done);
            // A file cut short reads as zeros beyond its end.
            let offset = log.offset_of(here);
            let present =
                usize::try_from(log.file_bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(piece);
            if present > 0 {
                log.file.read_exact_at(&mut self.window[done..done + present], offset)?;
            }
            done += piece;
        }
        Ok(())
    }

    /// The bytes of the record that may start at `at`, whole by its own length, unchecked otherwise.
    pub(super) fn candidate(&mut self, at: Lsn) -> Result<Option<&[u8]>, IoFailure> {
        let Some(header) = self.header(at)? else { return Ok(None) };
        // Only what is there is read, however long the record says it is (J14).
        let whole =
            self.present(at).is_some_and(|(start, end)| start == at && end - at >= u64::from(header.length));
        if whole { self.bytes(at, header.length as usize) } else { Ok(None) }
    }

    /// A header at `at` that names this address, whether or not the record is whole.
    pub(super) fn header(&mut self, at: Lsn) -> Result<Option<RawHeader>, IoFailure> {
        Ok(self.bytes(at, HEADER_BYTES)?.and_then(|bytes| RawHeader::parse(bytes, at)))
    }

    /// The file and offset that stream address `at` has, or the end of the last file.
    pub(super) fn place(&self, at: Lsn) -> Option<(std::path::PathBuf, u64)> {
        let log = self.files.iter().find(|log| at < log.header.end()).or(self.files.last())?;
        let offset = BLOCK + at.saturating_sub(log.header.first_lsn).min(log.header.segment_bytes);
        Some((log.file.path().to_path_buf(), offset))
    }
}

/// One incarnation, log files and ring together.
pub(super) struct Source<'f> {
    pub(super) log: LogSource<'f>,
    pub(super) ring: Option<&'f RingImage>,
    salt: u32,
    incarnation: u32,
    /// A record from the ring.
    scratch: Vec<u8>,
}

/// Where and how long a record is that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) here: Here,
    /// What is wrong with it, if it is malformed.
    pub(super) what: &'static str,
}

impl<'f> Source<'f> {
    pub(super) fn new(
        files: &'f [Arc<LogFile>],
        ring: Option<&'f RingImage>,
        salt: u32,
        incarnation: u32,
    ) -> Self {
        Self { log: LogSource::new(files), ring, salt, incarnation, scratch: Vec::new() }
    }

    /// What lies at `at`; the log goes before the ring.
    pub(super) fn look(&mut self, at: Lsn) -> Result<Found, IoFailure> {
        let in_log = match self.log.candidate(at)? {
            Some(bytes) => examine(bytes, at, self.salt, self.incarnation),
            None => Err(Reject::Invalid),
        };
        Ok(match in_log {
            Ok(_) => Found { here: Here::Log, what: "" },
            Err(Reject::Malformed(what)) => Found { here: Here::Malformed, what },
            Err(Reject::Invalid) => self.look_in_ring(at),
        })
    }

    /// What lies at `at` in the ring.
    pub(super) fn look_in_ring(&mut self, at: Lsn) -> Found {
        let nothing = Found { here: Here::Nothing, what: "" };
        let Some(ring) = self.ring else { return nothing };
        if !ring.candidate(at, &mut self.scratch) {
            return nothing;
        }
        match examine(&self.scratch, at, self.salt, self.incarnation) {
            // Appends stay below the end of files made ready (J8), so such a file was there.
            Ok(end) if end > self.log.end() => Found {
                here: Here::Malformed,
                what: "the log file that this record of the ring belongs in is missing",
            },
            Ok(_) => Found { here: Here::Ring, what: "" },
            Err(Reject::Malformed(what)) => Found { here: Here::Malformed, what },
            Err(Reject::Invalid) => nothing,
        }
    }

    /// The record that `look` has just found in the log or the ring.
    pub(super) fn record(&mut self, at: Lsn, here: Here) -> Result<Option<Record<'_>>, IoFailure> {
        let bytes = match here {
            Here::Log => self.log.candidate(at)?,
            Here::Ring => Some(&self.scratch[..]),
            Here::Malformed | Here::Nothing => None,
        };
        Ok(bytes.and_then(|bytes| Record::decode_checked(bytes, at)))
    }
}

fn examine(bytes: &[u8], at: Lsn, salt: u32, incarnation: u32) -> Result<u64, Reject> {
    let record = match Record::examine(bytes, at, salt) {
        Ok(record) => record,
        Err(Reject::Malformed(what)) => {
            let own = RawHeader::parse(bytes, at).is_some_and(|header| header.incarnation == incarnation);
            return Err(if own { Reject::Malformed(what) } else { Reject::Invalid });
        }
        Err(Reject::Invalid) => return Err(Reject::Invalid),
    };
    if record.incarnation == incarnation { Ok(record.end()) } else { Err(Reject::Invalid) }
}
