//! The decision table of recovery: what the log means at one position, from four observations. It
//! reads nothing itself. Every combination of observations matches exactly one row, which a test
//! proves by trying them all.

/// What lies at the position itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Here {
    /// A valid record in a log file.
    Log,
    /// No valid record in a log file, but one in the ring.
    Ring,
    /// A record whose checksum holds but whose body makes no sense, or that lies where there is no log file for it.
    Malformed,
    /// No record.
    Nothing,
}

/// Where the next incarnation says that this one was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This is the newest incarnation.
    None,
    /// Here.
    CutHere,
    /// Further on.
    CutLater,
    /// Before this position.
    CutEarlier,
}

/// The first promise that an end of the log at this position would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// None.
    None,
    /// A later record tells that the log was durable beyond this position.
    DurableMark,
    /// The newest cut was taken after the log had been synced beyond this position.
    NewestCut,
    /// The store was closed cleanly beyond this position.
    CleanEnd,
    /// Some record tells of a durable manifest edit that the manifest does not have.
    ManifestEdit,
    /// The ring belongs to an incarnation that the log knows nothing of.
    RingAhead,
}

/// What lies beyond the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// No trace of records, and the last record is the clean-close marker.
    Closed,
    /// No trace of records.
    Silent,
    /// Traces of records.
    Torn,
}

/// What to do at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Go on with the next incarnation.
    JumpToNextIncarnation,
    /// Replay the record of the log file.
    LogRecord,
    /// Replay the record of the ring.
    RingRecord,
    /// The log was closed cleanly here.
    CleanEnd,
    /// The log ends here.
    SilentEnd,
    /// The log ends here; what follows is cut off.
    TornTail,
    /// Corruption: a record reaches beyond the point at which its incarnation was cut.
    RunsPastCut,
    /// Corruption: an earlier incarnation ends before the point at which it was cut.
    EndsBeforeCut,
    /// Corruption: a record that no correct writer makes.
    MalformedRecord,
    /// Corruption: the log ends before a claim.
    EndsBeforeClaim,
}

/// One line of the table; an empty list stands for "any".
struct Line {
    row: Row,
    here: &'static [Here],
    next: &'static [Next],
    claim: &'static [Claim],
    tail: &'static [Tail],
}

const ANY_CLAIM: &[Claim] =
    &[Claim::DurableMark, Claim::NewestCut, Claim::CleanEnd, Claim::ManifestEdit, Claim::RingAhead];

#[rustfmt::skip]
const TABLE: [Line; 10] = [
    Line { row: Row::JumpToNextIncarnation, here: &[], next: &[Next::CutHere], claim: &[], tail: &[] },
    Line { row: Row::RunsPastCut, here: &[], next: &[Next::CutEarlier], claim: &[], tail: &[] },
    Line { row: Row::LogRecord, here: &[Here::Log], next: &[Next::None, Next::CutLater], claim: &[], tail: &[] },
    Line { row: Row::MalformedRecord, here: &[Here::Malformed], next: &[Next::None, Next::CutLater], claim: &[], tail: &[] },
    Line { row: Row::EndsBeforeCut, here: &[Here::Ring, Here::Nothing], next: &[Next::CutLater], claim: &[], tail: &[] },
    Line { row: Row::RingRecord, here: &[Here::Ring], next: &[Next::None], claim: &[], tail: &[] },
    Line { row: Row::EndsBeforeClaim, here: &[Here::Nothing], next: &[Next::None], claim: ANY_CLAIM, tail: &[] },
    Line { row: Row::CleanEnd, here: &[Here::Nothing], next: &[Next::None], claim: &[Claim::None], tail: &[Tail::Closed] },
    Line { row: Row::SilentEnd, here: &[Here::Nothing], next: &[Next::None], claim: &[Claim::None], tail: &[Tail::Silent] },
    Line { row: Row::TornTail, here: &[Here::Nothing], next: &[Next::None], claim: &[Claim::None], tail: &[Tail::Torn] },
];

fn admits<T: PartialEq>(list: &[T], value: &T) -> bool {
    list.is_empty() || list.contains(value)
}

fn matching(here: Here, next: Next, claim: Claim, tail: Tail) -> impl Iterator<Item = Row> {
    TABLE
        .iter()
        .filter(move |line| {
            admits(line.here, &here)
                && admits(line.next, &next)
                && admits(line.claim, &claim)
                && admits(line.tail, &tail)
        })
        .map(|line| line.row)
}

/// The row for these observations.
pub(crate) fn judge(here: Here, next: Next, claim: Claim, tail: Tail) -> Row {
    matching(here, next, claim, tail).next().expect("every combination has a row")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_matches_exactly_one_row_and_every_row_is_reached() {
        let heres = [Here::Log, Here::Ring, Here::Malformed, Here::Nothing];
        let nexts = [Next::None, Next::CutHere, Next::CutLater, Next::CutEarlier];
        let tails = [Tail::Closed, Tail::Silent, Tail::Torn];
        let mut reached = Vec::new();
        for here in heres {
            for next in nexts {
                for claim in ANY_CLAIM.iter().copied().chain([Claim::None]) {
                    for tail in tails {
                        let rows: Vec<Row> = matching(here, next, claim, tail).collect();
                        assert_eq!(rows.len(), 1, "{here:?} {next:?} {claim:?} {tail:?}: {rows:?}");
                        reached.push(rows[0]);
                    }
                }
            }
        }
        assert!(TABLE.iter().all(|line| reached.contains(&line.row)));
    }
}
