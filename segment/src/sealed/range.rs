//! Iteration over the records of a sealed segment between two bounds. It only goes forward, and reads
//! each record's header and key, no values.

use std::ops::Bound;

use super::SegmentError;
use super::format::HEADER_BYTES;
use super::reader::{Open, Record};
use crate::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Position {
    /// Nothing looked at yet.
    Unsought,
    /// The next record is here.
    At(usize),
    Ended,
}

/// Records of a segment, in key order.
#[derive(Clone, Debug)]
pub struct Range {
    open: Arc<Open>,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    at: Position,
}

impl Range {
    pub(super) fn new(open: Arc<Open>, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Self {
        let own = |bound: Bound<&[u8]>| bound.map(<[u8]>::to_vec);
        Self { open, from: own(from), to: own(to), at: Position::Unsought }
    }

    fn advance(&mut self) -> Result<Option<Record>, SegmentError> {
        if matches!(self.at, Position::Ended) {
            return Ok(None);
        }
        self.open.check_length()?;
        let mut at = match (self.at, &self.from) {
            (Position::At(at), _) => at,
            (_, Bound::Unbounded) => HEADER_BYTES,
            (_, Bound::Included(key) | Bound::Excluded(key)) => self.open.seek(key)?,
        };
        while at < self.open.records_end() {
            let located = self.open.record_at(at)?;
            let key = self.open.key_of(&located);
            at = located.end;
            let below = match &self.from {
                Bound::Unbounded => false,
                Bound::Included(from) => key < from.as_slice(),
                Bound::Excluded(from) => key <= from.as_slice(),
            };
            let beyond = match &self.to {
                Bound::Unbounded => false,
                Bound::Included(to) => key > to.as_slice(),
                Bound::Excluded(to) => key >= to.as_slice(),
            };
            if beyond {
                break;
            }
            if !below {
                self.at = Position::At(at);
                return Ok(Some(Record::of(&self.open, &located)));
            }
        }
        self.at = Position::Ended;
        Ok(None)
    }
}

impl Iterator for Range {
    type Item = Result<Record, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.advance();
        if result.is_err() {
            self.at = Position::Ended;
        }
        result.transpose()
    }
}
