//! How a store is opened, with the bounds of every size, and how a single write is made. Sizes that
//! shape the files are fixed when the store is created and recorded in it.

use std::time::Duration;

pub use treering_journal::Durability;

use crate::error::{Error, ErrorKind, Result};

/// The longest key, in bytes, whatever the frame size.
pub const MAX_KEY_BYTES: usize = 8 << 10;
/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 30;
/// The most operations in a batch.
pub const MAX_BATCH_OPERATIONS: usize = 65_536;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// How a store is opened. Every setter takes and returns the options, so that they chain.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) create_if_missing: bool,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) frame_bytes: Option<usize>,
    pub(crate) ring_bytes: Option<usize>,
    pub(crate) log_segment_bytes: Option<u64>,
    pub(crate) log_cap_bytes: u64,
    pub(crate) inline_limit: usize,
    pub(crate) direct_limit: usize,
    pub(crate) staging_limit: u64,
    pub(crate) background: bool,
    pub(crate) flush_interval: Duration,
    pub(crate) lock_patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create_if_missing: true,
            read_only: false,
            durability: Durability::Buffered,
            frame_bytes: None,
            ring_bytes: None,
            log_segment_bytes: None,
            log_cap_bytes: 256 << 20,
            inline_limit: KIB,
            direct_limit: 256 * KIB,
            staging_limit: 64 << 20,
            background: true,
            flush_interval: Duration::from_secs(1),
            lock_patience: Duration::from_secs(1),
        }
    }
}

impl Options {
    /// The sizes of a new store where the options name none.
    pub(crate) const DEFAULT_SHAPE: Shape =
        Shape { frame_bytes: 512 * KIB, ring_bytes: 8 * MIB, log_segment_bytes: 64 << 20 };

    /// The defaults: create if missing, buffered durability, background threads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a missing store is created (default: yes).
    #[must_use]
    pub fn create_if_missing(mut self, yes: bool) -> Self {
        self.create_if_missing = yes;
        self
    }

    /// Whether the store is opened for reading only (default: no). No byte of it changes; what the log
    /// holds is replayed in memory. Readers exclude a writer and not each other.
    #[must_use]
    pub fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// What an acknowledgement means for writes that do not say (default: [`Durability::Buffered`]).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Bytes of a frame: a power of two, 4 KiB to 512 KiB (default 512 KiB). Fixed at creation.
    #[must_use]
    pub fn frame_bytes(mut self, bytes: usize) -> Self {
        self.frame_bytes = Some(bytes);
        self
    }

    /// Bytes of the write-ahead ring: a power of two, 16 KiB to 1 GiB (default 8 MiB). Fixed at creation.
    #[must_use]
    pub fn ring_bytes(mut self, bytes: usize) -> Self {
        self.ring_bytes = Some(bytes);
        self
    }

    /// Bytes of log in one log file: a multiple of 4 KiB, 16 KiB to 1 GiB (default 64 MiB). Fixed at creation.
    #[must_use]
    pub fn log_segment_bytes(mut self, bytes: u64) -> Self {
        self.log_segment_bytes = Some(bytes);
        self
    }

    /// Bytes of log that may wait for a cut (default 256 MiB): reaching it forces one.
    #[must_use]
    pub fn log_cap_bytes(mut self, bytes: u64) -> Self {
        self.log_cap_bytes = bytes;
        self
    }

    /// The longest value kept in the tree, in bytes (default 1 KiB; at most an eighth of a frame).
    #[must_use]
    pub fn inline_limit(mut self, bytes: usize) -> Self {
        self.inline_limit = bytes;
        self
    }

    /// The longest value that goes through log and staging, in bytes (default 256 KiB; at most an eighth
    /// of the ring). Longer ones get a segment of their own before the write is logged.
    #[must_use]
    pub fn direct_limit(mut self, bytes: usize) -> Self {
        self.direct_limit = bytes;
        self
    }

    /// Bytes of values that may be staged in memory (default 64 MiB): reaching it forces a cut.
    #[must_use]
    pub fn staging_limit(mut self, bytes: u64) -> Self {
        self.staging_limit = bytes;
        self
    }

    /// Whether the engine starts threads (default: yes). Without them [`crate::Engine::step`] does all
    /// background work, and writers that need room make it themselves.
    #[must_use]
    pub fn background(mut self, yes: bool) -> Self {
        self.background = yes;
        self
    }

    /// How long buffered writes may wait for their sync in the background (default 1 s).
    #[must_use]
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// The shape that the options ask of a new store.
    pub(crate) fn shape(&self) -> Result<Shape> {
        let default = Self::DEFAULT_SHAPE;
        let shape = Shape {
            frame_bytes: self.frame_bytes.unwrap_or(default.frame_bytes),
            ring_bytes: self.ring_bytes.unwrap_or(default.ring_bytes),
            log_segment_bytes: self.log_segment_bytes.unwrap_or(default.log_segment_bytes),
        };
        shape.check()?;
        Ok(shape)
    }

    /// Checks what is not fixed at creation.
    pub(crate) fn check(&self) -> Result<()> {
        if self.log_cap_bytes < 64 << 10 {
            return Err(invalid("log_cap_bytes", "at least 64 KiB"));
        }
        if self.staging_limit < 4 << 10 {
            return Err(invalid("staging_limit", "at least 4 KiB"));
        }
        Ok(())
    }

    /// Checks that what the options name explicitly agrees with an existing store.
    pub(crate) fn agree_with(&self, shape: &Shape) -> Result<()> {
        let frame = self.frame_bytes.is_none_or(|asked| asked == shape.frame_bytes);
        let ring = self.ring_bytes.is_none_or(|asked| asked == shape.ring_bytes);
        let log = self.log_segment_bytes.is_none_or(|asked| asked == shape.log_segment_bytes);
        if frame && ring && log {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "the store was created with frames of {} bytes, a ring of {} and log files of {}; \
                 open it with these, or leave them unset",
                shape.frame_bytes, shape.ring_bytes, shape.log_segment_bytes
            ),
        ))
    }
}

/// Sizes that are fixed when a store is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) frame_bytes: usize,
    pub(crate) ring_bytes: usize,
    pub(crate) log_segment_bytes: u64,
}

impl Shape {
    /// Whether the sizes are within their bounds.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.frame_bytes.is_power_of_two() || !(4 * KIB..=512 * KIB).contains(&self.frame_bytes) {
            return Err(invalid("frame_bytes", "a power of two from 4 KiB to 512 KiB"));
        }
        if !self.ring_bytes.is_power_of_two() || !(16 * KIB..=1024 * MIB).contains(&self.ring_bytes) {
            return Err(invalid("ring_bytes", "a power of two from 16 KiB to 1 GiB"));
        }
        if !self.log_segment_bytes.is_multiple_of(4096)
            || !(16 << 10..=1 << 30).contains(&self.log_segment_bytes)
        {
            return Err(invalid("log_segment_bytes", "a multiple of 4 KiB from 16 KiB to 1 GiB"));
        }
        Ok(())
    }

    /// The longest key of a user, in bytes.
    pub(crate) fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES.min(self.frame_bytes / 8)
    }
}

fn invalid(option: &str, wants: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{option} must be {wants}"))
}

/// What must hold for a write to happen; otherwise it fails with [`ErrorKind::Conflict`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The key is absent (or expired).
    Absent,
    /// The key is there with this very version.
    Version(u64),
}

/// How one write is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    /// What the acknowledgement means; `None` takes the store's own setting.
    pub durability: Option<Durability>,
    /// What must hold for the write to happen.
    pub condition: Condition,
    /// How long the record lives from now on; `None` for ever. At least a millisecond.
    pub ttl: Option<Duration>,
}
