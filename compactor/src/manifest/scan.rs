//! Reading a manifest from its first byte: which frames are valid, and what the bytes after the last
//! valid one mean. Changes nothing.
//!
//! # Why a tail can be told from damage
//! Frame n+1 is only written after frame n was synced. So bytes of a frame n+1 anywhere behind a
//! place where frame n should be, but is not valid, say that n *was* durable: that is damage. A
//! frame's head proves itself alone (salted by sequence and offset), so the head is evidence enough,
//! and looking for one is linear in the bytes. Without such evidence the bytes are those of an append
//! that was under way, which nobody was told of.
//!
//! The first frame is never a tail: it was synced before its file got the name.

use treering_segment::error::{Damage, IoFailure};
use treering_segment::storage::StorageFile;

use super::format::{FRAME_HEAD_BYTES, FrameHead, HEADER_BYTES, Refusal, decode_header};
use super::state::State;
use crate::error::{Error, Result};

const CHUNK_BYTES: usize = 1 << 20;

/// What follows the last valid edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing.
    Clean,
    /// Zeros: space taken for an edit of which nothing was written.
    Zeros {
        /// Where they start.
        offset: u64,
        /// How many.
        bytes: u64,
    },
    /// Part of an edit that was being written, or, after an unclean stop, damage to the last edit.
    Torn {
        /// Where it starts.
        offset: u64,
        /// How long it is.
        bytes: u64,
    },
}

/// What a manifest file holds.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) state: State,
    /// Valid frames.
    pub(super) edits: u64,
    /// Offset of the last valid frame.
    pub(super) last_frame_at: u64,
    /// End of the last valid frame.
    pub(super) end: u64,
    /// Length of the first frame.
    pub(super) full_bytes: u64,
    /// Length of the file when the scan began.
    pub(super) file_bytes: u64,
    pub(super) tail: Tail,
}

/// What stands at an offset where the next frame should be: the rows of the decision table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    /// The file ends here.
    End,
    /// A whole frame of the next sequence: apply it.
    Next(FrameHead),
    /// A proven head of another sequence or an impossible length: damage.
    Misplaced(u64),
    /// No proven frame, and a proven head of a later edit behind it: damage.
    DamagedBeforeEdit(u64),
    /// No proven frame, and no proven frame may be missing at the start: damage.
    DamagedFirst,
    /// No proven frame, nothing proven behind it, zeros to the end: a tail.
    Zeros,
    /// No proven frame and nothing proven behind it: a tail.
    Torn,
}

/// Reads `file` as the manifest of `store_id`.
pub(super) fn scan(file: &dyn StorageFile, store_id: &[u8; 16]) -> Result<Scanned> {
    let file_bytes = file.len()?;
    if file_bytes < HEADER_BYTES as u64 {
        return Err(Damage::new("the file is shorter than a manifest's header", file.path(), 0).into());
    }
    let mut header = [0u8; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let first = decode_header(&header, store_id).map_err(|refusal| refused(file, 0, refusal))?;
    let start = HEADER_BYTES as u64;
    let mut scanned = Scanned {
        state: State { sequence: first.wrapping_sub(1), ..State::default() },
        edits: 0,
        last_frame_at: start,
        end: start,
        full_bytes: 0,
        file_bytes,
        tail: Tail::Clean,
    };
    let mut body = Vec::new();
    loop {
        let at = scanned.end;
        let damage = |what: String| Err(Damage::new(what, file.path(), at).into());
        let expected = scanned.state.sequence.wrapping_add(1);
        match classify(file, store_id, &scanned, &mut body)? {
            Row::Next(head) => accept(file, &mut scanned, head, &body)?,
            Row::End => break,
            Row::Zeros => {
                scanned.tail = Tail::Zeros { offset: at, bytes: file_bytes - at };
                break;
            }
            Row::Torn => {
                scanned.tail = Tail::Torn { offset: at, bytes: file_bytes - at };
                break;
            }
            Row::Misplaced(found) => {
                return damage(format!("edit {found} stands where edit {expected} should be"));
            }
            Row::DamagedBeforeEdit(found) => {
                return damage(format!("edit {expected} is not valid although edit {found} follows it"));
            }
            Row::DamagedFirst => return damage(format!("the first edit, {expected}, is not valid")),
        }
    }
    Ok(scanned)
}

/// Takes the frame with `head` at the end of what was scanned.
fn accept(file: &dyn StorageFile, scanned: &mut Scanned, head: FrameHead, body: &[u8]) -> Result<()> {
    let at = scanned.end;
    let edit = head.decode_body(body).map_err(|refusal| refused(file, at, refusal))?;
    if head.full != (scanned.edits == 0) {
        return Err(Damage::new("a whole state is not the first edit", file.path(), at).into());
    }
    scanned.state.apply(head.sequence, &edit).map_err(|inconsistency| {
        Damage::new(
            format!("edit {} contradicts those before it: {inconsistency}", head.sequence),
            file.path(),
            at,
        )
    })?;
    if scanned.edits == 0 {
        scanned.full_bytes = head.frame_bytes();
    }
    scanned.edits += 1;
    scanned.last_frame_at = at;
    scanned.end = at + head.frame_bytes();
    Ok(())
}

/// Decides what stands at the end of what was scanned; leaves the body in `body` for [`Row::Next`].
fn classify(
    file: &dyn StorageFile,
    store_id: &[u8; 16],
    scanned: &Scanned,
    body: &mut Vec<u8>,
) -> Result<Row, IoFailure> {
    let at = scanned.end;
    let rest = scanned.file_bytes - at;
    let sequence = scanned.state.sequence;
    let head_bytes = FRAME_HEAD_BYTES as u64;
    if rest >= head_bytes {
        let mut bytes = [0u8; FRAME_HEAD_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        if let Some(head) = FrameHead::decode(&bytes, store_id, at) {
            if head.sequence != sequence.wrapping_add(1) || head.body_bytes % 8 != 0 {
                return Ok(Row::Misplaced(head.sequence));
            }
            // The length is trusted only as far as the file reaches, which bounds the allocation.
            if let (true, Ok(length)) = (head.frame_bytes() <= rest, usize::try_from(head.body_bytes)) {
                body.resize(length, 0);
                file.read_exact_at(body, at + head_bytes)?;
                if head.covers(body) {
                    return Ok(Row::Next(head));
                }
            }
        }
    } else if rest == 0 && scanned.edits != 0 {
        return Ok(Row::End);
    }
    if scanned.edits == 0 {
        return Ok(Row::DamagedFirst);
    }
    search_behind(file, store_id, at, scanned.file_bytes, sequence)
}

/// Looks behind `at` for the head of an edit later than the one that should follow `sequence`.
fn search_behind(
    file: &dyn StorageFile,
    store_id: &[u8; 16],
    at: u64,
    end: u64,
    sequence: u64,
) -> Result<Row, IoFailure> {
    let mut zeros = true;
    let mut chunk = Vec::new();
    let mut start = at;
    while start < end {
        let length = usize::try_from(end - start).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        chunk.resize(length, 0);
        file.read_exact_at(&mut chunk, start)?;
        zeros &= chunk.iter().all(|byte| *byte == 0);
        for (i, window) in chunk.windows(FRAME_HEAD_BYTES).enumerate().step_by(8) {
            let mut head = [0u8; FRAME_HEAD_BYTES];
            head.copy_from_slice(window);
            match FrameHead::decode(&head, store_id, start + i as u64) {
                Some(head) if head.sequence > sequence.wrapping_add(1) => {
                    return Ok(Row::DamagedBeforeEdit(head.sequence));
                }
                _ => {}
            }
        }
        // Successive chunks overlap by a head less one step, so that no head is cut in two.
        let step = if length == CHUNK_BYTES { length - (FRAME_HEAD_BYTES - 8) } else { length };
        start += step as u64;
    }
    Ok(if zeros { Row::Zeros } else { Row::Torn })
}

/// The error for `refusal` of what stands at `offset` of `file`.
fn refused(file: &dyn StorageFile, offset: u64, refusal: Refusal) -> Error {
    let path = file.path().to_path_buf();
    match refusal {
        Refusal::Damaged(what) => Damage::new(what, path, offset).into(),
        Refusal::Newer(what) => Error::NewerFormat { path, what },
        Refusal::Foreign(found) => Error::ForeignStore { path, found },
    }
}
