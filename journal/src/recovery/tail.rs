//! What lies beyond the end of the log: traces of records, and what these tell (PROTOCOL O4). A crash may
//! leave later records behind a hole, since nothing orders the writing back of unsynced pages; so a
//! later valid record alone proves nothing. One that says that the log was durable *beyond the hole*
//! proves damage.

use treering_segment::error::IoFailure;

use super::source::Source;
use super::verdict::Here;
use crate::record::{ALIGNMENT, HEADER_BYTES, Lsn, MAGIC, Marks, RawHeader};

/// Bytes examined in one piece.
const PIECE: usize = 1 << 16;

/// What was found beyond a position.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey {
    /// Whether anything names an address at or beyond the position.
    pub(super) traces: bool,
    /// Highest marks of the valid records.
    pub(super) marks: Marks,
    /// Set when there were more would-be records than can be checked in linear time; no writer makes such.
    pub(super) overrun: bool,
}

impl Survey {
    fn note(&mut self, marks: Option<Marks>) {
        self.traces = true;
        if let Some(marks) = marks {
            self.marks.durable_lsn = self.marks.durable_lsn.max(marks.durable_lsn);
            self.marks.durable_edit = self.marks.durable_edit.max(marks.durable_edit);
        }
    }
}

/// Examines everything beyond `end`, where no valid record starts.
pub(super) fn survey(source: &mut Source<'_>, end: Lsn) -> Result<Survey, IoFailure> {
    let mut survey = Survey { traces: source.log.header(end)?.is_some(), ..Survey::default() };
    let mut budget = 4 * (source.log.present_after(end) + PIECE as u64);
    survey_log(source, end, &mut survey, &mut budget)?;
    if let Some(ring) = source.ring {
        let mut budget = 4 * (ring.capacity() as u64 + PIECE as u64);
        for at in ring.claimed_addresses(end) {
            let found = source.look_in_ring(at);
            if found.here == Here::Ring
                && let Some(record) = source.record(at, Here::Ring)?
            {
                budget = budget.saturating_sub(record.end() - at);
                survey.note(record.marks);
            }
            budget = budget.saturating_sub(48);
            survey.overrun |= budget == 0;
            if survey.overrun {
                break;
            }
        }
    }
    Ok(survey)
}

fn survey_log(
    source: &mut Source<'_>,
    end: Lsn,
    survey: &mut Survey,
    budget: &mut u64,
) -> Result<(), IoFailure> {
    let mut at = end + ALIGNMENT;
    while let Some(next) = next_header(source, at)? {
        let Some(header) = source.log.header(next)? else { break };
        // What it costs to look at it: its length, as far as there are bytes.
        let cost = u64::from(header.length).min(source.log.present_after(next));
        if *budget < cost {
            survey.overrun = true;
            break;
        }
        *budget -= cost;
        survey.traces = true;
        at = next + ALIGNMENT;
        if source.look(next)?.here == Here::Log
            && let Some(record) = source.record(next, Here::Log)?
        {
            survey.note(record.marks);
            at = record.end();
        }
    }
    Ok(())
}

/// The first address from `at` on at which a header names itself.
fn next_header(source: &mut Source<'_>, mut at: Lsn) -> Result<Option<Lsn>, IoFailure> {
    let magic = MAGIC.to_le_bytes();
    loop {
        let Some((start, end)) = source.log.present(at) else { return Ok(None) };
        // A stretch starts with a file, at a multiple of the alignment.
        at = start;
        // A header that a file's end cuts goes on in zeros.
        let left = (end - at).saturating_add(HEADER_BYTES as u64).min(source.log.end() - at);
        // A header's bytes more, so that one that starts in the piece is seen whole.
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE + 40);
        let Some(bytes) = source.log.bytes(at, len)? else { return Ok(None) };
        let mut place = 0;
        while place < len.min(PIECE) {
            let here = &bytes[place..];
            if here.starts_with(&magic) && RawHeader::parse(here, at + place as u64).is_some() {
                return Ok(Some(at + place as u64));
            }
            place += 8;
        }
        at += PIECE.min(usize::try_from(end - at).unwrap_or(PIECE)).next_multiple_of(8) as u64;
    }
}
