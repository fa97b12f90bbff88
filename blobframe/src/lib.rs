//! Fixed-size frames that hold the nodes and leaves of an adaptive radix tree.
//!
//! A frame is a slice of `AtomicU64` words, a power of two of 4 KiB to 512 KiB. This crate knows
//! how nodes and leaves lie in it ([`layout`]), how a key is found, inserted and removed, how a
//! frame is walked in key order ([`Cursor`]), split and re-packed, proved valid ([`verify`]) and
//! brought to bytes at rest ([`image`]). It does no I/O, takes no latch, owns no frame memory and
//! knows no frame but the one it is given: where a subtree goes on in another frame it reports a
//! *crossing* and leaves the rest to its caller.
//!
//! # Who may do what
//! - **B1** Every access to a frame is a relaxed load or store of a whole word. Two threads that
//!   race on a frame therefore never have undefined behaviour; whether what was read is *true* is
//!   decided by the caller's latch: copy out, fence, re-check the version, only then use it.
//! - **B2** A [`BlobFrame`] is exclusive by contract: its owner holds the frame's latch, or nobody
//!   else can see the frame. A [`BlobFrameRef`] may be used by anyone at any time.
//! - **B3** Reads tolerate any bytes. They never panic, never leave the frame (offsets are masked),
//!   and always end (every loop has a budget that a valid frame cannot use up). Bytes that no
//!   valid frame holds give [`Torn`]: under a validated or latched read that is damage, otherwise
//!   a reason to start again.
//! - **B4** A failed insert changes nothing, except that it may have added an edge to a GROUP
//!   crossing, which no reader can tell from its absence.
//! - **B5** Removal never fails for lack of space; what it cannot tidy (a path it could not
//!   compress) stays legal and is found by the same searches.

#![forbid(unsafe_code)]

mod alloc;
mod build;
mod cursor;
mod edit;
mod error;
mod frame;
mod gap;
mod grow;
pub mod image;
pub mod layout;
mod leaf;
mod node;
mod remove;
mod split;
mod verify;
mod words;

pub use alloc::NodeOffset;
pub use build::Scratch;
pub use cursor::{Cursor, Direction, Step};
pub use edit::{Insert, LeafShape};
pub use error::{AllocError, FrameError, FreeError, SplitError, Torn, VerifyError};
pub use frame::{BlobFrame, BlobFrameRef, Found, FrameId};
pub use image::{ImageError, ImageExpect, decode_image, encode_image, image_checksum};
pub use layout::{
    FRAME_BYTES_MAX, FRAME_BYTES_MIN, KEY_BYTES_EXTRA, NodeType, SPILLOVER_RESERVATION, inline_bytes_max,
    key_bytes_max,
};
pub use leaf::{Leaf, LeafOffset, LeafPointer, LeafValue, LeafView, STAGING};
pub use remove::Remove;
pub use split::SplitOutcome;
pub use verify::{FrameReport, verify};
