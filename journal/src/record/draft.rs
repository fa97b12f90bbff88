//! A record as its writer gives it, and its encoding in two steps: body and, where it is long, the
//! body's checksum before an LSN is reserved; afterwards only the header that carries the LSN
//! (PROTOCOL O1).

use super::batch::{BatchBody, key_length};
use super::{
    FLAG_DEATH, FLAG_FIRST, FLAG_LAST, FLAG_MARKS, FLAG_STAGED, HEADER_BYTES, Kind, Lsn, Marks,
    OPTIONAL_BYTES, PAD_SHIFT, POINTER_BYTES, PayloadPointer, RawHeader, header_crc, record_crc,
};
use crate::error::{Error, Result};

/// Bodies from this length on are checksummed ahead of the reservation.
const EARLY_CRC_BYTES: usize = 4096;
const ZEROS: [u8; 8] = [0; 8];

/// A record to be appended. Constructors check sizes and checksum long bodies; the public fields may be
/// set later, inside the gate.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// Epoch of the cut that the record belongs after.
    pub epoch: u64,
    /// Store time in milliseconds.
    pub time_ms: u64,
    /// Where the value, or a batch's first staged value, lies in staging.
    pub staging: Option<u64>,
    /// Death time of a put, in milliseconds of store time. Operations of a batch carry their own.
    pub death: Option<u64>,
    tree: u32,
    kind: Kind,
    prefix: [u8; 2],
    prefix_len: usize,
    middle: &'a [u8],
    pointer: [u8; POINTER_BYTES],
    pointer_len: usize,
    end: &'a [u8],
    /// Checksum of body and pad, if taken early.
    early_crc: Option<u32>,
}

impl<'a> Draft<'a> {
    /// A put whose value the record carries.
    pub fn put(tree: u32, key: &'a [u8], value: &'a [u8]) -> Result<Self> {
        let mut draft = Self::empty(Kind::Put).keyed(tree, key)?;
        draft.end = value;
        draft.settle()
    }

    /// A put whose value lies in a segment, durable already.
    pub fn put_pointer(tree: u32, key: &'a [u8], pointer: &PayloadPointer) -> Result<Self> {
        let mut draft = Self::empty(Kind::PutPointer).keyed(tree, key)?;
        draft.pointer = pointer.bytes();
        draft.pointer_len = POINTER_BYTES;
        draft.settle()
    }

    /// A delete.
    pub fn delete(tree: u32, key: &'a [u8]) -> Result<Self> {
        Self::empty(Kind::Delete).keyed(tree, key)?.settle()
    }

    /// All of a batch's operations in one record. An empty batch is a record too.
    pub fn batch(body: &'a BatchBody) -> Result<Self> {
        let mut draft = Self::empty(Kind::Batch);
        draft.middle = body.bytes();
        draft.settle()
    }

    /// Only marks and time.
    pub fn mark(epoch: u64, time_ms: u64) -> Self {
        Self { epoch, time_ms, ..Self::empty(Kind::Mark) }
    }

    pub(crate) fn close(epoch: u64, time_ms: u64) -> Self {
        Self { epoch, time_ms, ..Self::empty(Kind::Close) }
    }

    /// The most bytes that the record can take, whatever marks, staging offset and death time are added:
    /// what to ask [`crate::Journal::admit`] for.
    pub fn encoded_len(&self) -> usize {
        (HEADER_BYTES + OPTIONAL_BYTES + self.body_len()).next_multiple_of(8)
    }

    /// What the record is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn always_marked(&self) -> bool {
        matches!(self.kind, Kind::Mark | Kind::Close)
    }

    fn empty(kind: Kind) -> Self {
        Self {
            epoch: 0,
            time_ms: 0,
            staging: None,
            death: None,
            tree: 0,
            kind,
            prefix: [0; 2],
            prefix_len: 0,
            middle: &[],
            pointer: [0; POINTER_BYTES],
            pointer_len: 0,
            end: &[],
            early_crc: None,
        }
    }

    fn keyed(mut self, tree: u32, key: &'a [u8]) -> Result<Self> {
        self.tree = tree;
        self.prefix = key_length(key)?.to_le_bytes();
        self.prefix_len = 2;
        self.middle = key;
        Ok(self)
    }

    fn settle(mut self) -> Result<Self> {
        let max = u32::MAX as usize - 8;
        if self.encoded_len() > max {
            return Err(Error::TooLarge { size: self.encoded_len() as u64, max: max as u64 });
        }
        if self.body_len() >= EARLY_CRC_BYTES {
            self.early_crc = Some(self.body_parts().iter().fold(0, |crc, p| crc32c::crc32c_append(crc, p)));
        }
        Ok(self)
    }

    fn body_len(&self) -> usize {
        self.prefix_len + self.middle.len() + self.pointer_len + self.end.len()
    }

    fn pad(&self) -> usize {
        self.body_len().next_multiple_of(8) - self.body_len()
    }

    fn body_parts(&self) -> [&[u8]; 5] {
        [
            &self.prefix[..self.prefix_len],
            self.middle,
            &self.pointer[..self.pointer_len],
            self.end,
            &ZEROS[..self.pad()],
        ]
    }

    /// The record with these marks, but for LSN and checksum.
    pub(crate) fn prepare(&self, marks: Option<Marks>, incarnation: u32) -> Prepared<'_> {
        let mut options = [0; OPTIONAL_BYTES];
        let mut used = 0;
        let mut flags = FLAG_FIRST | FLAG_LAST;
        let mut push = |value: u64| {
            options[used..used + 8].copy_from_slice(&value.to_le_bytes());
            used += 8;
        };
        if let Some(marks) = marks {
            flags |= FLAG_MARKS;
            push(marks.durable_lsn);
            push(marks.durable_edit);
        }
        if let Some(staging) = self.staging {
            flags |= FLAG_STAGED;
            push(staging);
        }
        if let Some(death) = self.death {
            flags |= FLAG_DEATH;
            push(death);
        }
        // A pad is below 8 by construction.
        flags |= u16::try_from(self.pad()).unwrap_or(0) << PAD_SHIFT;
        let total = HEADER_BYTES + used + self.body_len() + self.pad();
        let header = RawHeader {
            kind: self.kind.code(),
            flags,
            fragment: 0,
            // `settle` keeps the total below 4 GiB.
            length: u32::try_from(total).unwrap_or(u32::MAX),
            crc: 0,
            lsn: 0,
            incarnation,
            tree: self.tree,
            epoch: self.epoch,
            time_ms: self.time_ms,
        };
        Prepared { draft: self, header, options, options_len: used }
    }
}

/// A record that only lacks its LSN.
pub(crate) struct Prepared<'a> {
    draft: &'a Draft<'a>,
    header: RawHeader,
    options: [u8; OPTIONAL_BYTES],
    options_len: usize,
}

impl Prepared<'_> {
    /// Bytes of the record, exactly.
    pub(crate) fn len(&self) -> usize {
        self.header.length as usize
    }

    /// Gives the record its LSN and hands its bytes, in order, to `consume`.
    pub(crate) fn with_parts<T>(mut self, lsn: Lsn, salt: u32, consume: impl FnOnce(&[&[u8]]) -> T) -> T {
        self.header.lsn = lsn;
        let options = &self.options[..self.options_len];
        let crc = crc32c::crc32c_append(header_crc(salt, &self.header.bytes()), options);
        let body = self.draft.body_parts();
        self.header.crc = match self.draft.early_crc {
            Some(early) => crc32c::crc32c_combine(crc, early, self.draft.body_len() + body[4].len()),
            None => body.iter().fold(crc, |crc, part| crc32c::crc32c_append(crc, part)),
        };
        let header = self.header.bytes();
        consume(&[&header, options, body[0], body[1], body[2], body[3], body[4]])
    }
}

/// Makes `into` a void record at `lsn`, so that a reservation which came to nothing leaves no gap.
/// `into` is as long as some record, so it holds a header.
pub(crate) fn filler_into(into: &mut [u8], lsn: Lsn, incarnation: u32, salt: u32) {
    into.fill(0);
    let Ok(length) = u32::try_from(into.len()) else { return };
    if into.len() < HEADER_BYTES {
        return;
    }
    let mut header = RawHeader {
        kind: Kind::Filler.code(),
        flags: FLAG_FIRST | FLAG_LAST,
        fragment: 0,
        length,
        crc: 0,
        lsn,
        incarnation,
        tree: 0,
        epoch: 0,
        time_ms: 0,
    };
    into[..HEADER_BYTES].copy_from_slice(&header.bytes());
    header.crc = record_crc(salt, into);
    into[..HEADER_BYTES].copy_from_slice(&header.bytes());
}
