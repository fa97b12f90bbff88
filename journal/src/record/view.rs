//! A record as its reader sees it: decoded from untrusted bytes, wholly checked once, then read
//! without errors.

use treering_segment::defects::{Defect, armed};

use super::batch::{OP_DEATH, OP_HEADER_BYTES, OP_STAGED};
use super::{
    FLAG_DEATH, FLAG_FIRST, FLAG_LAST, FLAG_MARKS, FLAG_STAGED, FLAGS_KNOWN, HEADER_BYTES, Kind, Lsn, Marks,
    PayloadPointer, RawHeader, record_crc, u16_at, u32_at, u64_at,
};

/// A decoded record; it borrows the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record's address, which is the version of what it writes.
    pub lsn: Lsn,
    /// What it is for.
    pub kind: Kind,
    /// The life of the store that wrote it.
    pub incarnation: u32,
    /// Epoch of the cut that it belongs after.
    pub epoch: u64,
    /// Store time in milliseconds.
    pub time_ms: u64,
    /// Tree id; 0 in a batch, whose operations carry their own.
    pub tree: u32,
    /// What the writer knew to be durable, if the record says.
    pub marks: Option<Marks>,
    /// Where the value, or a batch's first staged value, lay in staging.
    pub staging: Option<u64>,
    /// Death time of a put.
    pub death: Option<u64>,
    length: u64,
    body: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// They do not satisfy the validity rule.
    Invalid,
    /// They do, but no correct writer makes such a record.
    Malformed(&'static str),
}

/// One change to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    /// Tree id.
    pub tree: u32,
    /// The key.
    pub key: &'a [u8],
    /// What happens to it.
    pub change: Change<'a>,
    /// Death time in milliseconds of store time.
    pub death: Option<u64>,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// It gets this value.
    Put {
        /// The value.
        value: &'a [u8],
        /// Its offset in staging, where it was staged.
        staging: Option<u64>,
    },
    /// It gets a value that lies in a segment.
    PutPointer(PayloadPointer),
    /// It goes.
    Delete,
}

impl<'a> Record<'a> {
    /// The record at the front of `bytes`, which lies at `lsn`; `None` if there is no valid one.
    pub fn decode(bytes: &'a [u8], lsn: Lsn, salt: u32) -> Option<Self> {
        Self::examine(bytes, lsn, salt).ok()
    }

    pub(crate) fn examine(bytes: &'a [u8], lsn: Lsn, salt: u32) -> Result<Self, Reject> {
        let header = RawHeader::parse(bytes, lsn).ok_or(Reject::Invalid)?;
        let bytes = bytes.get(..header.length as usize).ok_or(Reject::Invalid)?;
        if record_crc(salt, bytes) != header.crc && !armed(Defect::RecordChecksumIgnored) {
            return Err(Reject::Invalid);
        }
        Self::interpret(&header, bytes)
    }

    /// As `examine`, of bytes whose checksum was found to hold just before.
    pub(crate) fn decode_checked(bytes: &'a [u8], lsn: Lsn) -> Option<Self> {
        let header = RawHeader::parse(bytes, lsn)?;
        Self::interpret(&header, bytes.get(..header.length as usize)?).ok()
    }

    fn interpret(header: &RawHeader, bytes: &'a [u8]) -> Result<Self, Reject> {
        if header.flags & !FLAGS_KNOWN != 0 {
            return Err(Reject::Malformed("a record with unknown flags"));
        }
        if header.fragment != 0 || !header.has(FLAG_FIRST) || !header.has(FLAG_LAST) {
            return Err(Reject::Malformed("a fragment of a record"));
        }
        let kind = Kind::from_code(header.kind).ok_or(Reject::Malformed("a record of unknown kind"))?;
        let mut at = HEADER_BYTES;
        let mut next = |present: bool| {
            present.then(|| {
                at += 8;
                u64_at(bytes, at - 8)
            })
        };
        let durable_lsn = next(header.has(FLAG_MARKS));
        let durable_edit = next(header.has(FLAG_MARKS));
        let staging = next(header.has(FLAG_STAGED));
        let death = next(header.has(FLAG_DEATH));
        let record = Self {
            lsn: header.lsn,
            kind,
            incarnation: header.incarnation,
            epoch: header.epoch,
            time_ms: header.time_ms,
            tree: header.tree,
            marks: durable_lsn
                .zip(durable_edit)
                .map(|(durable_lsn, durable_edit)| Marks { durable_lsn, durable_edit }),
            staging,
            death,
            length: u64::from(header.length),
            body: &bytes[header.body_start()..bytes.len() - header.pad()],
        };
        record.check_body()?;
        Ok(record)
    }

    /// The address after the record's last byte.
    pub fn end(&self) -> Lsn {
        self.lsn + self.length
    }

    /// The record's changes, in order.
    pub fn ops(&self) -> Operations<'a> {
        let left = match self.kind {
            Kind::Put | Kind::PutPointer | Kind::Delete => 1,
            Kind::Batch => self.body.get(..4).map_or(0, |bytes| u32_at(bytes, 0)),
            Kind::Mark | Kind::Close | Kind::Filler => 0,
        };
        let rest = if self.kind == Kind::Batch { self.body.get(4..).unwrap_or(&[]) } else { self.body };
        Operations { record: self.clone(), rest, left, staged: 0 }
    }

    fn check_body(&self) -> Result<(), Reject> {
        if self.kind == Kind::Filler {
            return Ok(());
        }
        let mut ops = self.ops();
        while ops.left > 0 {
            if ops.next().is_none() {
                return Err(Reject::Malformed("a record whose operations do not fill its body"));
            }
        }
        let whole = match self.kind {
            Kind::Put | Kind::PutPointer | Kind::Delete => true,
            Kind::Batch => self.body.len() >= 4 && ops.rest.is_empty(),
            _ => self.body.is_empty(),
        };
        if whole { Ok(()) } else { Err(Reject::Malformed("a record with bytes that belong to nothing")) }
    }
}

/// Iterator over a record's changes.
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    record: Record<'a>,
    rest: &'a [u8],
    left: u32,
    /// Bytes of staged values passed so far.
    staged: u64,
}

impl<'a> Operations<'a> {
    fn single(&self) -> Option<Operation<'a>> {
        let key_len = usize::from(u16_at(self.rest.get(..2)?, 0));
        let key = self.rest.get(2..2 + key_len)?;
        let value = self.rest.get(2 + key_len..)?;
        let change = match self.record.kind {
            Kind::Put => Change::Put { value, staging: self.record.staging },
            Kind::PutPointer => Change::PutPointer(PayloadPointer::parse(value)?),
            Kind::Delete if value.is_empty() => Change::Delete,
            _ => return None,
        };
        Some(Operation { tree: self.record.tree, key, change, death: self.record.death })
    }

    fn next_of_batch(&mut self) -> Option<Operation<'a>> {
        let head = self.rest.get(..OP_HEADER_BYTES)?;
        let flags = head[1];
        if flags & !(OP_STAGED | OP_DEATH) != 0 {
            return None;
        }
        let (key_len, tree, value_len) =
            (usize::from(u16_at(head, 2)), u32_at(head, 4), u32_at(head, 8) as usize);
        let mut at = OP_HEADER_BYTES;
        let mut death = None;
        if flags & OP_DEATH != 0 {
            death = Some(u64_at(self.rest.get(at..at + 8)?, 0));
            at += 8;
        }
        let key = self.rest.get(at..at + key_len)?;
        at += key_len;
        let value = self.rest.get(at..at.checked_add(value_len)?)?;
        let change = match Kind::from_code(head[0])? {
            Kind::Put => {
                let staging = if flags & OP_STAGED != 0 {
                    let offset = self.record.staging?.checked_add(self.staged)?;
                    self.staged += value.len() as u64;
                    Some(offset)
                } else {
                    None
                };
                Change::Put { value, staging }
            }
            Kind::PutPointer => Change::PutPointer(PayloadPointer::parse(value)?),
            Kind::Delete if value.is_empty() => Change::Delete,
            _ => return None,
        };
        self.rest = &self.rest[at + value_len..];
        Some(Operation { tree, key, change, death })
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    fn next(&mut self) -> Option<Operation<'a>> {
        if self.left == 0 {
            return None;
        }
        let found = if self.record.kind == Kind::Batch { self.next_of_batch() } else { self.single() };
        // `check_body` has seen every operation, so `None` here only ever happens inside it.
        if found.is_some() {
            self.left -= 1;
        }
        found
    }
}
