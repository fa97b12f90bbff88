//! Crash points: named places at which a child of the kill harness ends itself with SIGKILL, so that
//! moments too short to be hit at random are hit all the same. It is *not* an injected fault: up to the
//! point everything is as it would be, and what the process had handed to the kernel stays.
//!
//! Only a build with `--cfg seeded_defects` has them; in any other [`reach`] is empty. There the
//! environment names the point and which passing of it is the last: `TREERING_CRASH_POINT=EditWritten` or
//! `TREERING_CRASH_POINT=EditWritten:3`. Without the variable nothing happens.

/// The environment variable that names a point, and after a colon which passing of it ends the process.
pub const VARIABLE: &str = "TREERING_CRASH_POINT";

/// Declares the points, each with the moment that it stands for.
macro_rules! crash_points {
    ($($name:ident, $moment:literal;)+) => {
        /// A place at which a process can be made to die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum CrashPoint {
            $(#[doc = concat!("After ", $moment, ".")] $name,)+
        }

        impl CrashPoint {
            /// All points, in the order of a store's life.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name by which the environment asks for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// What has just happened there.
            #[must_use]
            pub const fn moment(self) -> &'static str {
                match self { $(Self::$name => $moment,)+ }
            }
        }
    };
}

crash_points! {
    // Creation.
    StoreCreating, "`STORE` says that the store is being created";
    LogCreated, "the first log file and the ring are there";
    FramesCreated, "the frames file is there";
    ManifestCreated, "the manifest is there and `STORE` still says creating";
    StoreReady, "`STORE` says that the store is whole";

    // Recovery.
    ManifestSettled, "recovery made the manifest durable and cut its torn tail";
    LogReplayed, "the log was replayed and nothing of it was written again";
    LogWrittenAgain, "recovery wrote the log's end and the ring's part of it again";
    LogSyncedAgain, "recovery synced the log from the low-water mark on";
    IncarnationBegun, "the first file of the new incarnation is ready, the ring is still the old one's";
    RingRenewed, "the ring file has the header of the new incarnation";
    UnusedLogLetGo, "log files that the old incarnation never used are gone";
    OrphanRemoved, "recovery removed an orphan segment";

    // Writers.
    RecordPublished, "a record is in the ring and its frame is unchanged";
    DirectSegmentSealed, "a large value is in its segment and no record names it";

    // The log.
    LogWritten, "published records are in the log file, unsynced";
    LogSynced, "a flush synced the log and nobody was told";
    SpareCreated, "a log file was created under a spare's name and filled";
    LogHeaderWritten, "a spare has the header of the log file to be, unsynced";
    LogFileNamed, "a new log file has its name, which is not durable";
    LogFileReady, "a new log file is durable and not used yet";
    LogFileLetGo, "a log file became a spare or was removed, and the directory is not synced";

    // The cut.
    SegmentWritten, "a payload segment is written whole and not synced";
    SegmentSealed, "destaged values are in a durable segment and no leaf points there";
    LeavesRepointed, "all leaves point at the destaged values";
    EpochBumped, "the epoch advanced and no frame is captured";
    FrameWritten, "the image of a frame is in the frames file";
    FramesSynced, "all images are durable and the log is not flushed";
    CutLogFlushed, "the log is durable through the bump and the edit is not written";
    EditWritten, "an edit is written and not synced";
    EditDurable, "the cut's edit is durable and no mark tells of it";
    EditMarked, "a durable mark tells of the edit and nothing is released";
    DeadSegmentUnlinked, "a dead segment is unlinked";
    CutReleased, "a cut is done";
    NewManifestWritten, "a whole manifest stands beside the one in use";
    NewManifestNamed, "the new manifest has the name, which is not durable";

    // Closing.
    CloseMarked, "the close marker is durable and no edit tells of it";
    CloseEdited, "the edit that tells of the clean end is durable and not sealed";
    CloseSealed, "the store is closed and the lock still held";
}

/// Ends the process here, if the environment asked for it. Nothing at all, unless the build has
/// `--cfg seeded_defects`.
#[cfg(not(seeded_defects))]
#[inline(always)]
pub const fn reach(point: CrashPoint) {
    let _ = point;
}

#[cfg(seeded_defects)]
mod armed {
    use std::sync::OnceLock;

    use super::{CrashPoint, VARIABLE, parse};
    use crate::sync::{AtomicU64, Ordering};

    /// Ends the process here, if the environment asked for it.
    pub fn reach(point: CrashPoint) {
        static ASKED: OnceLock<Option<(CrashPoint, u64)>> = OnceLock::new();
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let asked = ASKED.get_or_init(|| {
            std::env::var(VARIABLE).ok().map(|text| parse(&text).expect("the variable names a crash point"))
        });
        let Some((wanted, passing)) = *asked else { return };
        // Relaxed: a count that publishes nothing.
        if point != wanted || PASSED.fetch_add(1, Ordering::Relaxed) + 1 < passing {
            return;
        }
        let sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("SIGKILL lets nothing go on: {sent:?}");
    }
}

#[cfg(seeded_defects)]
pub use armed::reach;

/// The point and the passing that `text` asks for.
#[cfg(any(seeded_defects, test))]
fn parse(text: &str) -> Option<(CrashPoint, u64)> {
    let (name, passing) = text.split_once(':').unwrap_or((text, "1"));
    let point = CrashPoint::ALL.iter().copied().find(|point| point.name() == name)?;
    passing.parse().ok().filter(|passing| *passing > 0).map(|passing| (point, passing))
}

#[cfg(test)]
mod tests {
    use super::{CrashPoint, parse, reach};

    #[test]
    fn every_point_is_asked_for_by_its_name() {
        for &point in CrashPoint::ALL {
            assert_eq!(parse(point.name()), Some((point, 1)));
            assert_eq!(parse(&format!("{}:7", point.name())), Some((point, 7)));
        }
        for wrong in ["", "NoSuchPoint", "EditWritten:", "EditWritten:0", "EditWritten:x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn points_that_nobody_asked_for_are_passed() {
        CrashPoint::ALL.iter().copied().for_each(reach);
    }
}
