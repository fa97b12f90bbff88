//! Leaves: what a caller puts in, and the view of one that lies in a frame. The layout is in
//! [`layout`](crate::layout); where leaves are placed is `alloc`'s and `edit`'s matter.

use crate::error::Torn;
use crate::frame::BlobFrameRef;
use crate::layout::{
    LEAF_DEATH, LEAF_POINTER, LEAF_STAGED, UNIT, flags_of, kind, kind_of, u16_at, u32_at, units_for,
};
use crate::words::{self, copy_out, load};

/// The segment number that means "in the staging segment".
pub const STAGING: u64 = u64::MAX;

/// Where a leaf lies in its frame: units of 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeafOffset(pub(crate) u16);

/// Where a payload lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeafPointer {
    /// Segment number, or [`STAGING`].
    pub segment: u64,
    /// Byte offset in the segment; in staging, the absolute staged offset.
    pub offset: u64,
    /// Payload bytes.
    pub length: u32,
    /// CRC32C of the payload.
    pub crc: u32,
}

/// A leaf's value: here, or elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafValue<'a> {
    /// The value's bytes, kept in the leaf.
    Inline(&'a [u8]),
    /// Where the value lies.
    Pointer(LeafPointer),
}

/// What a leaf is to hold beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// LSN of the record that wrote it.
    pub version: u64,
    /// Death time in ms of store time.
    pub death: Option<u64>,
    /// The value.
    pub value: LeafValue<'a>,
}

impl Leaf<'_> {
    fn flags(&self) -> u8 {
        let death = if self.death.is_some() { LEAF_DEATH } else { 0 };
        death
            | match &self.value {
                LeafValue::Inline(_) => 0,
                LeafValue::Pointer(p) if p.segment == STAGING => LEAF_POINTER | LEAF_STAGED,
                LeafValue::Pointer(_) => LEAF_POINTER,
            }
    }

    pub(crate) fn inline_len(&self) -> usize {
        match self.value {
            LeafValue::Inline(bytes) => bytes.len(),
            LeafValue::Pointer(_) => 0,
        }
    }

    /// Units of this leaf with a suffix of `suffix` bytes.
    pub(crate) fn units(&self, suffix: usize) -> usize {
        head_units(self.flags()) + units_for(suffix + self.inline_len())
    }
}

/// Units in front of the suffix.
#[inline]
pub(crate) const fn head_units(flags: u8) -> usize {
    2 + (flags & LEAF_DEATH) as usize + if flags & LEAF_POINTER != 0 { 3 } else { 0 }
}

/// Units of the leaf whose word 0 is `word`.
pub(crate) const fn leaf_units(word: u64) -> usize {
    let flags = flags_of(word);
    let inline = if flags & LEAF_POINTER != 0 { 0 } else { u32_at(word, 32) as usize };
    head_units(flags) + units_for(u16_at(word, 16) as usize + inline)
}

pub(crate) fn leaf_word(flags: u8, suffix: usize, value: u32) -> u64 {
    u64::from(kind::LEAF) | (u64::from(flags) << 8) | ((suffix as u64) << 16) | (u64::from(value) << 32)
}

/// Writes `leaf` with `suffix` at unit `at`, which has room for it.
pub(crate) fn write_leaf(frame: BlobFrameRef<'_>, at: usize, suffix: &[u8], leaf: &Leaf<'_>) {
    let words = frame.words;
    let flags = leaf.flags();
    let mut next = at + 2;
    words::store(words, at + 1, leaf.version);
    if let Some(death) = leaf.death {
        words::store(words, next, death);
        next += 1;
    }
    match leaf.value {
        LeafValue::Inline(bytes) => {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            words::store(words, at, leaf_word(flags, suffix.len(), len));
            words::write_parts(words, next, &[suffix, bytes]);
        }
        LeafValue::Pointer(pointer) => {
            words::store(words, at, leaf_word(flags, suffix.len(), pointer.length));
            write_pointer(frame, next, &pointer);
            words::write_parts(words, next + 3, &[suffix]);
        }
    }
}

fn write_pointer(frame: BlobFrameRef<'_>, at: usize, pointer: &LeafPointer) {
    words::store(frame.words, at, pointer.segment);
    words::store(frame.words, at + 1, pointer.offset);
    words::store(frame.words, at + 2, u64::from(pointer.length) | (u64::from(pointer.crc) << 32));
}

/// A leaf in a frame. Every accessor reads the frame anew; copy out what is needed, then validate.
#[derive(Clone, Copy, Debug)]
pub struct LeafView<'a> {
    frame: BlobFrameRef<'a>,
    at: usize,
    word: u64,
}

impl<'a> LeafView<'a> {
    /// The leaf at unit `at`; torn if none lies there within the frame.
    #[inline]
    pub(crate) fn at(frame: BlobFrameRef<'a>, at: usize) -> Result<Self, Torn> {
        let at = at & (frame.words.len() - 1);
        let word = load(frame.words, at);
        if kind_of(word) != kind::LEAF || at + leaf_units(word) > frame.words.len() {
            return Err(Torn);
        }
        Ok(Self { frame, at, word })
    }

    /// Where it lies.
    #[must_use]
    pub fn offset(&self) -> LeafOffset {
        LeafOffset(u16::try_from(self.at).unwrap_or(0))
    }

    /// LSN of the record that wrote it.
    #[must_use]
    pub fn version(&self) -> u64 {
        load(self.frame.words, self.at + 1)
    }

    /// Death time in ms of store time.
    #[must_use]
    pub fn death(&self) -> Option<u64> {
        (flags_of(self.word) & LEAF_DEATH != 0).then(|| load(self.frame.words, self.at + 2))
    }

    /// Bytes of the value, wherever it lies.
    #[must_use]
    pub fn value_len(&self) -> usize {
        u32_at(self.word, 32) as usize
    }

    /// Whether the value is in the leaf.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        flags_of(self.word) & LEAF_POINTER == 0
    }

    /// Whether the value lies in the staging segment.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        flags_of(self.word) & LEAF_STAGED != 0
    }

    /// Appends the inline value to `out`; nothing if the value is elsewhere.
    pub fn value_inline_to(&self, out: &mut Vec<u8>) {
        if self.is_inline() {
            copy_out(self.frame.words, self.tail_at(), self.suffix_len(), self.value_len(), out);
        }
    }

    /// Where the value lies; `None` if it is inline.
    #[must_use]
    pub fn pointer(&self) -> Option<LeafPointer> {
        if self.is_inline() {
            return None;
        }
        let at = self.pointer_at();
        let last = load(self.frame.words, at + 2);
        Some(LeafPointer {
            segment: load(self.frame.words, at),
            offset: load(self.frame.words, at + 1),
            length: u32_at(last, 0),
            crc: u32_at(last, 32),
        })
    }

    /// Bytes of the key that the leaf itself holds.
    #[must_use]
    pub fn suffix_len(&self) -> usize {
        usize::from(u16_at(self.word, 16))
    }

    /// Appends the suffix to `out`.
    pub fn suffix_to(&self, out: &mut Vec<u8>) {
        copy_out(self.frame.words, self.tail_at(), 0, self.suffix_len(), out);
    }

    #[inline]
    pub(crate) fn suffix_is(&self, key: &[u8]) -> bool {
        self.suffix_len() == key.len() && words::eq_bytes(self.frame.words, self.tail_at(), key)
    }

    /// Length of the common prefix of the suffix and `key`.
    pub(crate) fn suffix_common(&self, key: &[u8]) -> usize {
        words::common_len(self.frame.words, self.tail_at(), self.suffix_len(), key)
    }

    pub(crate) fn suffix_byte(&self, at: usize) -> u8 {
        words::byte_at(self.frame.words, self.tail_at(), at)
    }

    pub(crate) fn units(&self) -> usize {
        leaf_units(self.word)
    }

    pub(crate) fn word(&self) -> u64 {
        self.word
    }

    /// First unit of suffix and inline value.
    pub(crate) fn tail_at(&self) -> usize {
        self.at + head_units(flags_of(self.word))
    }

    fn pointer_at(&self) -> usize {
        self.at + 2 + usize::from(flags_of(self.word) & LEAF_DEATH)
    }

    /// Bytes of suffix and inline value.
    pub(crate) fn tail_len(&self) -> usize {
        self.suffix_len() + if self.is_inline() { self.value_len() } else { 0 }
    }

    /// Writes another pointer over the one the leaf has.
    pub(crate) fn set_pointer(&self, new: &LeafPointer) {
        let staged = if new.segment == STAGING { LEAF_STAGED } else { 0 };
        let flags = (flags_of(self.word) & LEAF_DEATH) | LEAF_POINTER | staged;
        words::store(self.frame.words, self.at, leaf_word(flags, self.suffix_len(), new.length));
        write_pointer(self.frame, self.pointer_at(), new);
    }

    /// Rewrites the leaf in place without the first `drop` bytes of its suffix and gives the
    /// units that it no longer needs, which are its last.
    pub(crate) fn trim_suffix(&self, drop: usize) -> usize {
        let mut tail = Vec::new();
        copy_out(self.frame.words, self.tail_at(), drop, self.tail_len() - drop, &mut tail);
        let word = leaf_word(flags_of(self.word), self.suffix_len() - drop, u32_at(self.word, 32));
        words::store(self.frame.words, self.at, word);
        words::write_parts(self.frame.words, self.tail_at(), &[&tail]);
        self.units() - leaf_units(word)
    }
}

const _: () = assert!(UNIT == 8);
