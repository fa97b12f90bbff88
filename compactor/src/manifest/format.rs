//! The bytes of the file `MANIFEST`: the one definition of its format, version 1.
//!
//! All integers are little-endian. The file is a header and then frames, one for each edit, with
//! nothing between them; every byte up to the end of the last frame is covered by a checksum.
//!
//! # Header, 64 bytes
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | magic `TRGMANIF` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | CRC32C of bytes 0..12 and 16..64; every later version keeps magic, version, this CRC and the length of 64 |
//! | 16 | 16 | store id |
//! | 32 | 8 | sequence of the first frame |
//! | 40 | 24 | zeros |
//!
//! # Frame, a multiple of 8 bytes
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | magic `TRed` |
//! | 4 | 4 | head CRC: CRC32C of bytes 0..4 and 8..32, salted |
//! | 8 | 8 | sequence |
//! | 16 | 4 | body length B in bytes, a multiple of 8 |
//! | 20 | 2 | flags: bit 0 FULL, the edit leads from nothing to the whole state |
//! | 22 | 2 | number of sections |
//! | 24 | 4 | body CRC: CRC32C of the B bytes of the body, salted |
//! | 28 | 4 | zeros |
//! | 32 | B | sections, one after another, then zeros up to a multiple of 8 |
//!
//! The salt is CRC32C over store id, sequence and the frame's byte offset in the file, so that stale
//! bytes, bytes of another store and bytes copied into a value never pass.
//!
//! # Section
//! `tag u16, zero u16, length u32`, then `length` bytes. A tag occurs at most once in a frame. An
//! unknown tag, flag or version is refused as a newer format, never skipped: it may say something
//! that must not be lost.
//!
//! | tag | section | content |
//! |---|---|---|
//! | 1 | epoch | u64 |
//! | 2 | extents | items of 40: frame u64, offset u64, epoch u64, length u32, checksum u32, op u16 (0 remove, 1 base, 2 delta), order u16, zeros u32 |
//! | 3 | segments | items: op u8; 1 add: id, file bytes, records, value bytes, live records, live bytes, cohort, min death, max death (u64 each), root 32; 2 live: id, live records, live bytes; 3 remove: id |
//! | 4 | pins | items: op u8; 1 add: id u64, epoch u64, name length u16, name; 2 remove: id u64 |
//! | 5 | detached | items of 19: op u8 (1 add, 2 remove), frame u64, entry u16, epoch u64 |
//! | 6 | clock | u64 |
//! | 7 | engine | any bytes |
//!
//! # Valid if and only if
//! A file is valid when its header is, its first frame is valid, FULL and of the header's first
//! sequence, and each further frame is valid and of the next sequence. A frame at an offset is valid
//! when both CRCs match, its sections are as above and fill the body but for the zeros, and its edit can
//! be applied to the state before it. What may follow the last valid frame is decided by
//! [`scan`](super::scan).

use bytes::Bytes;

use super::edit::{DetachedChange, DetachedRoot, Edit, Extent, ExtentChange, ExtentKind, Pin, PinChange};
use super::edit::{SegmentChange, SegmentMeta};

/// Length of the file's header.
pub const HEADER_BYTES: usize = 64;
/// Length of a frame's head.
pub const FRAME_HEAD_BYTES: usize = 32;
/// The format version written and read.
pub const VERSION: u32 = 1;
/// The longest body that a frame can have.
pub const BODY_BYTES_MAX: u64 = 0xffff_fff8;

const HEADER_MAGIC: [u8; 8] = *b"TRGMANIF";
const FRAME_MAGIC: [u8; 4] = *b"TRed";
const FLAG_FULL: u16 = 1;
const EXTENT_ITEM_BYTES: usize = 40;
const DETACHED_ITEM_BYTES: usize = 19;

const TAG_EPOCH: u16 = 1;
const TAG_EXTENTS: u16 = 2;
const TAG_SEGMENTS: u16 = 3;
const TAG_PINS: u16 = 4;
const TAG_DETACHED: u16 = 5;
const TAG_CLOCK: u16 = 6;
const TAG_ENGINE: u16 = 7;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They are damaged.
    Damaged(String),
    /// They are whole but of a format that this version does not know.
    Newer(String),
    /// They are whole but of another store.
    Foreign([u8; 16]),
}

fn damaged<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Damaged(what.into()))
}

/// The file's header.
pub fn encode_header(store_id: &[u8; 16], first_sequence: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0u8; HEADER_BYTES];
    header[0..8].copy_from_slice(&HEADER_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..32].copy_from_slice(store_id);
    header[32..40].copy_from_slice(&first_sequence.to_le_bytes());
    let crc = around(0, &header, 12);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The sequence of the first frame, if `header` is that of a manifest of this store.
pub fn decode_header(header: &[u8; HEADER_BYTES], store_id: &[u8; 16]) -> Result<u64, Refusal> {
    let mut reader = Reader::new(header);
    if reader.array::<8>()? != HEADER_MAGIC {
        return damaged("the file does not start with a manifest's magic");
    }
    let version = reader.u32()?;
    if reader.u32()? != around(0, header, 12) {
        return damaged("the header's checksum does not match");
    }
    if version != VERSION {
        return Err(Refusal::Newer(format!("version {version}")));
    }
    let found = reader.array::<16>()?;
    if found != *store_id {
        return Err(Refusal::Foreign(found));
    }
    reader.u64()
}

/// CRC32C of `bytes` but for the four that hold it, at `hole`.
fn around(seed: u32, bytes: &[u8], hole: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes[..hole]), &bytes[hole + 4..])
}

fn salt(store_id: &[u8; 16], sequence: u64, offset: u64) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(store_id), &sequence.to_le_bytes());
    crc32c::crc32c_append(seed, &offset.to_le_bytes())
}

/// The head of a frame whose checksum matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Sequence of the edit.
    pub sequence: u64,
    /// Length of the body.
    pub body_bytes: u32,
    /// Whether the edit leads from nothing to the whole state.
    pub full: bool,
    sections: u16,
    body_crc: u32,
    unknown_flags: u16,
    salt: u32,
}

impl FrameHead {
    /// The head at byte `offset` of the manifest of `store_id`; `None` if its checksum does not match.
    pub fn decode(head: &[u8; FRAME_HEAD_BYTES], store_id: &[u8; 16], offset: u64) -> Option<FrameHead> {
        let mut reader = Reader::new(head);
        if reader.array::<4>().ok()? != FRAME_MAGIC {
            return None;
        }
        let crc = reader.u32().ok()?;
        let sequence = reader.u64().ok()?;
        let salt = salt(store_id, sequence, offset);
        if crc != around(salt, head, 4) {
            return None;
        }
        let body_bytes = reader.u32().ok()?;
        let flags = reader.u16().ok()?;
        let sections = reader.u16().ok()?;
        let body_crc = reader.u32().ok()?;
        let full = flags & FLAG_FULL != 0;
        Some(FrameHead {
            sequence,
            body_bytes,
            full,
            sections,
            body_crc,
            unknown_flags: flags & !FLAG_FULL,
            salt,
        })
    }

    /// Length of head and body.
    pub fn frame_bytes(&self) -> u64 {
        FRAME_HEAD_BYTES as u64 + u64::from(self.body_bytes)
    }

    /// Whether `body` is, byte for byte, what was written under this head.
    pub fn covers(&self, body: &[u8]) -> bool {
        crc32c::crc32c_append(self.salt, body) == self.body_crc
    }

    /// The edit in a `body` that [`covers`](Self::covers) proved whole.
    pub fn decode_body(&self, body: &[u8]) -> Result<Edit, Refusal> {
        if self.unknown_flags != 0 {
            return Err(Refusal::Newer(format!("edit flags {:#06x}", self.unknown_flags)));
        }
        let mut reader = Reader::new(body);
        let mut edit = Edit::default();
        let mut seen = 0u16;
        for _ in 0..self.sections {
            let tag = reader.u16()?;
            reader.zeros(2)?;
            let length = reader.length()?;
            let mut content = Reader::new(reader.take(length)?);
            decode_section(tag, &mut content, &mut edit)?;
            if seen & (1 << tag) != 0 {
                return damaged(format!("section {tag} occurs twice"));
            }
            seen |= 1 << tag;
            if content.remaining() != 0 {
                return damaged(format!("section {tag} is longer than its content"));
            }
        }
        let pad = reader.remaining();
        if pad >= 8 {
            return damaged("bytes follow the last section");
        }
        reader.zeros(pad)?;
        Ok(edit)
    }
}

/// The frame of `edit` as it stands at byte `offset`; the error is its body's length, beyond [`BODY_BYTES_MAX`].
pub fn encode_frame(
    edit: &Edit,
    full: bool,
    sequence: u64,
    store_id: &[u8; 16],
    offset: u64,
) -> Result<Vec<u8>, u64> {
    let mut frame = vec![0u8; FRAME_HEAD_BYTES];
    let sections = encode_sections(edit, &mut frame)?;
    frame.resize(frame.len().next_multiple_of(8), 0);
    let body_bytes = (frame.len() - FRAME_HEAD_BYTES) as u64;
    let length = u32::try_from(body_bytes).map_err(|_| body_bytes)?;
    let salt = salt(store_id, sequence, offset);
    let body_crc = crc32c::crc32c_append(salt, &frame[FRAME_HEAD_BYTES..]);
    frame[0..4].copy_from_slice(&FRAME_MAGIC);
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame[16..20].copy_from_slice(&length.to_le_bytes());
    frame[20..22].copy_from_slice(&(if full { FLAG_FULL } else { 0 }).to_le_bytes());
    frame[22..24].copy_from_slice(&sections.to_le_bytes());
    frame[24..28].copy_from_slice(&body_crc.to_le_bytes());
    let head_crc = around(salt, &frame[..FRAME_HEAD_BYTES], 4);
    frame[4..8].copy_from_slice(&head_crc.to_le_bytes());
    Ok(frame)
}

/// Appends the sections of `edit` to `out` and says how many they are.
fn encode_sections(edit: &Edit, out: &mut Vec<u8>) -> Result<u16, u64> {
    let mut count = 0u16;
    let mut section = |tag: u16, out: &mut Vec<u8>, put: &dyn Fn(&mut Vec<u8>)| {
        let start = out.len();
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        put(out);
        let length = (out.len() - start - 8) as u64;
        let length = u32::try_from(length).map_err(|_| length)?;
        out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        count += 1;
        Ok::<(), u64>(())
    };
    if let Some(epoch) = edit.epoch {
        section(TAG_EPOCH, out, &|out| put_u64(out, &[epoch]))?;
    }
    if !edit.extents.is_empty() {
        section(TAG_EXTENTS, out, &|out| edit.extents.iter().for_each(|change| put_extent(out, change)))?;
    }
    if !edit.segments.is_empty() {
        section(TAG_SEGMENTS, out, &|out| edit.segments.iter().for_each(|change| put_segment(out, change)))?;
    }
    if !edit.pins.is_empty() {
        section(TAG_PINS, out, &|out| edit.pins.iter().for_each(|change| put_pin(out, change)))?;
    }
    if !edit.detached.is_empty() {
        section(TAG_DETACHED, out, &|out| edit.detached.iter().for_each(|change| put_detached(out, change)))?;
    }
    if let Some(clock_ms) = edit.clock_ms {
        section(TAG_CLOCK, out, &|out| put_u64(out, &[clock_ms]))?;
    }
    if let Some(engine) = &edit.engine {
        section(TAG_ENGINE, out, &|out| out.extend_from_slice(engine))?;
    }
    Ok(count)
}

fn put_u64(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn put_extent(out: &mut Vec<u8>, change: &ExtentChange) {
    let zero = Extent { kind: ExtentKind::Base, offset: 0, length: 0, epoch: 0, checksum: 0 };
    let (frame, extent, op, order) = match *change {
        ExtentChange::Remove { frame } => (frame, zero, 0u16, 0u16),
        ExtentChange::Set { frame, extent } => match extent.kind {
            ExtentKind::Base => (frame, extent, 1, 0),
            ExtentKind::Delta(order) => (frame, extent, 2, order),
        },
    };
    put_u64(out, &[frame, extent.offset, extent.epoch]);
    out.extend_from_slice(&extent.length.to_le_bytes());
    out.extend_from_slice(&extent.checksum.to_le_bytes());
    out.extend_from_slice(&op.to_le_bytes());
    out.extend_from_slice(&order.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

fn put_segment(out: &mut Vec<u8>, change: &SegmentChange) {
    match change {
        SegmentChange::Add(m) => {
            out.push(1);
            put_u64(out, &[m.id, m.file_bytes, m.records, m.value_bytes, m.live_records, m.live_bytes]);
            put_u64(out, &[m.cohort, m.min_death, m.max_death]);
            out.extend_from_slice(&m.root);
        }
        SegmentChange::Live { id, live_records, live_bytes } => {
            out.push(2);
            put_u64(out, &[*id, *live_records, *live_bytes]);
        }
        SegmentChange::Remove { id } => {
            out.push(3);
            put_u64(out, &[*id]);
        }
    }
}

/// Writes a pin; [`State`](super::State) is only ever given names that fit (see `Manifest::append`).
fn put_pin(out: &mut Vec<u8>, change: &PinChange) {
    match change {
        PinChange::Add(pin) => {
            out.push(1);
            put_u64(out, &[pin.id, pin.epoch]);
            let length = u16::try_from(pin.name.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&pin.name[..usize::from(length)]);
        }
        PinChange::Remove { id } => {
            out.push(2);
            put_u64(out, &[*id]);
        }
    }
}

fn put_detached(out: &mut Vec<u8>, change: &DetachedChange) {
    let (op, root) = match *change {
        DetachedChange::Add(root) => (1, root),
        DetachedChange::Remove { frame, entry } => (2, DetachedRoot { frame, entry, epoch: 0 }),
    };
    out.push(op);
    put_u64(out, &[root.frame]);
    out.extend_from_slice(&root.entry.to_le_bytes());
    put_u64(out, &[root.epoch]);
}

fn decode_section(tag: u16, content: &mut Reader<'_>, edit: &mut Edit) -> Result<(), Refusal> {
    match tag {
        TAG_EPOCH => edit.epoch = Some(content.u64()?),
        TAG_EXTENTS => edit.extents = content.items(EXTENT_ITEM_BYTES, decode_extent)?,
        TAG_SEGMENTS => edit.segments = content.items(9, decode_segment)?,
        TAG_PINS => edit.pins = content.items(9, decode_pin)?,
        TAG_DETACHED => edit.detached = content.items(DETACHED_ITEM_BYTES, decode_detached)?,
        TAG_CLOCK => edit.clock_ms = Some(content.u64()?),
        TAG_ENGINE => edit.engine = Some(Bytes::copy_from_slice(content.take(content.remaining())?)),
        _ => return Err(Refusal::Newer(format!("edit section {tag}"))),
    }
    Ok(())
}

fn decode_extent(reader: &mut Reader<'_>) -> Result<ExtentChange, Refusal> {
    let (frame, offset, epoch) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (length, checksum) = (reader.u32()?, reader.u32()?);
    let (op, order) = (reader.u16()?, reader.u16()?);
    reader.zeros(4)?;
    let kind = match (op, order) {
        (0, 0) => return Ok(ExtentChange::Remove { frame }),
        (1, 0) => ExtentKind::Base,
        (2, order) => ExtentKind::Delta(order),
        _ => return damaged(format!("extent change {op} of order {order}")),
    };
    Ok(ExtentChange::Set { frame, extent: Extent { kind, offset, length, epoch, checksum } })
}

fn decode_segment(reader: &mut Reader<'_>) -> Result<SegmentChange, Refusal> {
    match reader.array::<1>()?[0] {
        1 => Ok(SegmentChange::Add(SegmentMeta {
            id: reader.u64()?,
            file_bytes: reader.u64()?,
            records: reader.u64()?,
            value_bytes: reader.u64()?,
            live_records: reader.u64()?,
            live_bytes: reader.u64()?,
            cohort: reader.u64()?,
            min_death: reader.u64()?,
            max_death: reader.u64()?,
            root: reader.array()?,
        })),
        2 => Ok(SegmentChange::Live {
            id: reader.u64()?,
            live_records: reader.u64()?,
            live_bytes: reader.u64()?,
        }),
        3 => Ok(SegmentChange::Remove { id: reader.u64()? }),
        op => damaged(format!("segment change {op}")),
    }
}

fn decode_pin(reader: &mut Reader<'_>) -> Result<PinChange, Refusal> {
    match reader.array::<1>()?[0] {
        1 => {
            let (id, epoch, length) = (reader.u64()?, reader.u64()?, reader.u16()?);
            let name = Bytes::copy_from_slice(reader.take(usize::from(length))?);
            Ok(PinChange::Add(Pin { id, name, epoch }))
        }
        2 => Ok(PinChange::Remove { id: reader.u64()? }),
        op => damaged(format!("pin change {op}")),
    }
}

fn decode_detached(reader: &mut Reader<'_>) -> Result<DetachedChange, Refusal> {
    let op = reader.array::<1>()?[0];
    let root = DetachedRoot { frame: reader.u64()?, entry: reader.u16()?, epoch: reader.u64()? };
    match op {
        1 => Ok(DetachedChange::Add(root)),
        2 => Ok(DetachedChange::Remove { frame: root.frame, entry: root.entry }),
        op => damaged(format!("detached change {op}")),
    }
}

/// Takes fields off the front of untrusted bytes; running out is damage, never a panic.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        match self.rest.split_at_checked(length) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => damaged("a field runs past the end of what holds it"),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut array = [0u8; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, Refusal> {
        let length = self.u32()?;
        usize::try_from(length).map_err(|_| Refusal::Damaged(format!("length {length}")))
    }

    fn zeros(&mut self, length: usize) -> Result<(), Refusal> {
        if self.take(length)?.iter().any(|byte| *byte != 0) {
            return damaged("reserved bytes are not zero");
        }
        Ok(())
    }

    /// Items until the content ends; the vector's capacity is bounded by the bytes that are there.
    fn items<T>(
        &mut self,
        item_bytes_min: usize,
        decode: impl Fn(&mut Reader<'a>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let mut items = Vec::with_capacity(self.remaining() / item_bytes_min);
        while self.remaining() != 0 {
            items.push(decode(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests;
