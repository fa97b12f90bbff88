//! What a store has and what it costs, in numbers. Counting keys reads the frames' own counters, so it
//! costs one look at each frame; everything else is at hand.

use std::time::Duration;

use crate::cut::CutStats;
use crate::error::Result;
use crate::identity::LOCK_FILE;
use crate::store::Store;

/// Numbers of an open store. Bytes are bytes, times are durations or milliseconds of the wall clock.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Records in all trees, the catalogue's and expired ones that are not yet removed included.
    pub records: u64,
    /// Names of the trees.
    pub trees: Vec<String>,
    /// Frames in memory.
    pub frames: u64,
    /// Bytes of one frame.
    pub frame_bytes: u64,
    /// Bytes in use in all frames.
    pub frame_used_bytes: u64,
    /// Bytes in frames that only a re-pack wins back.
    pub frame_dead_bytes: u64,
    /// Frames that changed since the last cut.
    pub dirty_frames: u64,
    /// Bytes of the frames file.
    pub frames_file_bytes: u64,
    /// Bytes of it that are free.
    pub frames_file_free_bytes: u64,
    /// Payload segments.
    pub segments: u64,
    /// Bytes of their files.
    pub segment_file_bytes: u64,
    /// Bytes of values in them that are live.
    pub segment_live_bytes: u64,
    /// Bytes of values in them that are dead.
    pub segment_dead_bytes: u64,
    /// Bytes of values staged in memory.
    pub staged_bytes: u64,
    /// Bytes of log that recovery would read.
    pub log_bytes: u64,
    /// The log's frontiers, as LSNs: reserved, published, written, durable.
    pub log_reserved: u64,
    /// See `log_reserved`.
    pub log_published: u64,
    /// See `log_reserved`.
    pub log_written: u64,
    /// See `log_reserved`.
    pub log_durable: u64,
    /// Bytes of the manifest.
    pub manifest_bytes: u64,
    /// Bytes of all files of the store.
    pub disk_bytes: u64,
    /// Cuts since the store was opened.
    pub cuts: u64,
    /// The last of them.
    pub last_cut: CutStats,
    /// How long opening took.
    pub recovery_elapsed: Duration,
    /// Records that opening read from the log.
    pub recovery_records: u64,
    /// Whether the store had been closed cleanly.
    pub recovery_was_clean: bool,
    /// The storage back end.
    pub back_end: &'static str,
}

impl Store {
    /// Collects the numbers.
    pub(crate) fn stats(&self) -> Result<Stats> {
        self.open()?;
        let tree = self.tree.stats();
        let mut stats = Stats {
            records: tree.leaves,
            trees: self.tree_names()?,
            frames: tree.frames,
            frame_bytes: self.identity.shape.frame_bytes as u64,
            frame_used_bytes: tree.used_bytes,
            frame_dead_bytes: tree.dead_bytes,
            dirty_frames: tree.dirty_frames,
            staged_bytes: self.staging.live_bytes(),
            log_bytes: self.recovery.log_bytes,
            log_reserved: self.recovery.log_end,
            log_published: self.recovery.log_end,
            log_written: self.recovery.log_end,
            log_durable: self.recovery.log_end,
            recovery_elapsed: self.recovery.elapsed,
            recovery_records: self.recovery.records_read,
            recovery_was_clean: self.recovery.was_clean,
            back_end: self.env.storage.back_end(),
            ..Stats::default()
        };
        for standing in self.payloads.standings() {
            stats.segments += 1;
            stats.segment_file_bytes += standing.meta.file_bytes;
            stats.segment_live_bytes += standing.meta.live_bytes;
            stats.segment_dead_bytes += standing.meta.value_bytes.saturating_sub(standing.meta.live_bytes);
        }
        if let Some(writing) = &self.writing {
            let frontiers = writing.journal.frontiers();
            stats.log_bytes = writing.journal.log_bytes();
            stats.log_reserved = frontiers.reserved;
            stats.log_published = frontiers.published;
            stats.log_written = frontiers.written;
            stats.log_durable = frontiers.durable;
            let side = writing.cut.lock();
            (stats.frames_file_bytes, stats.frames_file_free_bytes) = side.extents.usage();
            stats.manifest_bytes = side.manifest.file_bytes();
            stats.cuts = side.totals.cuts;
            stats.last_cut = side.totals.last;
        }
        stats.disk_bytes = self.disk_bytes()?;
        Ok(stats)
    }

    /// Bytes of all files; one that is removed meanwhile counts as none. The lock file is not opened: closing
    /// any handle of it would let go of the lock (PROTOCOL F7). It is empty.
    fn disk_bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for name in self.env.storage.list()?.into_iter().filter(|name| name != LOCK_FILE) {
            match self.env.storage.open(&name, treering_segment::storage::Access::Read) {
                Ok(file) => sum += file.len()?,
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(sum)
    }
}
