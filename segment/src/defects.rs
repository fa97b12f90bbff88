//! Seeded defects: single faults in the store's own code, each behind a switch, with which the campaigns
//! prove that they see. It is *not* fault injection (a device's faults are the simulated disk's) and
//! not part of any release: without `--cfg seeded_defects` the question whether a defect is armed is a
//! constant no, and nothing of this is left in the code.
//!
//! A switch is one line where the fault would be one line. It is named after what is broken, and stands
//! here beside the rule of PROTOCOL that it breaks. At most one defect is armed at a time, for the whole
//! process: [`arm`] it before a store is opened, and [`disarm`] when the last store is closed.

/// Declares the switches, each with its rule and what goes wrong.
macro_rules! defects {
    ($($name:ident, $rule:literal, $what:literal;)+) => {
        /// A single fault in the store's code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Defect {
            $(#[doc = concat!($rule, ": ", $what, ".")] $name,)+
        }

        impl Defect {
            /// All switches.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name by which a campaign arms it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The rule, or invariant, that it breaks.
            #[must_use]
            pub const fn rule(self) -> &'static str {
                match self { $(Self::$name => $rule,)+ }
            }

            /// What goes wrong, in words.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)+ }
            }
        }
    };
}

defects! {
    // Acknowledgement and the log's syncs.
    SyncAcknowledgedEarly, "J11", "a `Sync` write returns when it is published, before its flush";
    LogNotSynced, "O3", "a flush writes log bytes and syncs no log file";
    LogSyncsNewestFileOnly, "O3", "a flush over several log files syncs the last one only";
    UnmappedRingNotDrained, "F2", "without a shared mapping a `Buffered` write returns before its bytes are in a file";
    FailedSyncIsRetried, "F1", "a log sync that failed is tried again, and the second answer believed";
    PoisonIsForgotten, "F1", "what failed before is not told to later writes";

    // The log's files.
    LogHeaderNotSynced, "J1", "a log file is used before its header is durable";
    LogNameNotSynced, "J1", "a log file is used before its name is durable";
    SpareNameNotSynced, "J4", "a log file becomes a spare without its renaming being durable";
    LogFileLetGoEarly, "C7", "a log file is recycled that holds records at and past the low-water mark";

    // Identity of records.
    LsnsUsedAgain, "O2", "an incarnation begins at the log's end, where addresses were made ready before";
    OldLapPasses, "O2", "a record passes at an address that is not its own";
    RecordChecksumIgnored, "O2", "recovery takes a record whose checksum does not hold";
    CutOfLogForgotten, "O2", "a new incarnation does not say where the one before was cut";
    RingHeaderStale, "O2", "the ring file keeps the header of the incarnation before";

    // What recovery makes durable.
    RingNotCopied, "O3", "the continuation in the ring is not copied to the log";
    RingNotRead, "O1", "recovery does not look into the ring";
    RecoveredLogNotSynced, "O3", "what recovery read of the log is not synced";
    RecoveredLogNotWrittenAgain, "O3", "what recovery read of the log is synced, but not written again";
    RecoveredEditNotSynced, "O3", "the manifest that recovery read is not synced";
    RecoveredEditNotWrittenAgain, "O3", "the last edit that recovery read is synced, but not written again";
    StagedPayloadNotPutBack, "C3", "replay does not put back payload that was staged before the cut's bump";
    StagingStartsOver, "C3", "staging offsets start at 0 again when a store is opened";
    ReplayCountsNoGain, "C2", "replay does not count the payload of the pointers that it sets";
    LoggedSegmentIsOrphan, "C4", "a segment that only the log points at is removed as an orphan";
    SegmentIdsUsedAgain, "O6", "segment ids go on from the newest edit, whatever files there are";
    EpochUsedAgain, "F5", "the epoch after recovery is one that was used before";
    TimeOfLogIgnored, "F6", "store time goes on from the newest edit, whatever later records say";

    // Marks.
    MarkTellsOfWritten, "O4", "records carry as durable what is only written";
    EditNotMarked, "O4", "what an edit releases is freed without a record that tells of the edit";

    // The manifest.
    EditNotSynced, "M1", "an edit is written and not synced";
    FirstEditNotSynced, "M2", "a new manifest is renamed before its content is durable";
    EditSyncIsRetried, "F1", "a manifest sync that failed is tried again, and the second answer believed";
    RefusedEditStays, "M4", "an edit that was not written stays in the state in memory";

    // Payload segments.
    SegmentNotSynced, "W5", "a payload segment's content is not synced";
    SegmentNameNotSynced, "W5", "a payload segment's name is not synced";

    // The cut.
    LowWaterIsTheBump, "C1", "the low-water mark is the bump, though payload staged before is in the log alone";
    StandingsAfterTheBump, "C2", "live bytes are counted after the gate has opened again";
    LogNotFlushedBeforeEdit, "C3", "an edit tells of a cut through which the log is not durable";
    FramesNotSynced, "C7", "an edit names extents that are not durable";
    SegmentNotInEdit, "C4", "a cut that captured pointers into a segment does not add it to the manifest";
    SegmentUnlinkedBeforeEdit, "C4", "a dead segment is removed before the edit that says so";
    ExtentsFreedAtCapture, "C7", "a frame's old extent is free as soon as the new one is placed";
    ExtentsFreedByDoubtfulEdit, "C6", "extents are free again after an edit that may be on disk";
    LogReleasedBeforeEdit, "C7", "log below the new low-water mark is let go before the edit";
    StagedPrefixDroppedWhole, "C1", "eviction takes what was staged after the freeze";
    FailedCutLosesFrames, "C6", "a cut that failed does not make its frames dirty again";
    LiveFrameCaptured, "C1", "a frame is captured as it is, not as it was at the bump";
    RelocatedWithoutComparing, "C4", "destaging points a leaf at the old value though it was overwritten";

    // Writers.
    StampBeforeTheGate, "W4", "a record's epoch is read before the writer has made room";
    BatchInTwoRecords, "O5", "a batch is logged as two records";
    UnreadyStoreIsOpened, "identity", "a store is called ready before its pieces are made";
}

/// Whether `defect` is armed. A constant no, unless the build has `--cfg seeded_defects`.
#[cfg(not(seeded_defects))]
#[inline(always)]
#[must_use]
pub const fn armed(defect: Defect) -> bool {
    let _ = defect;
    false
}

#[cfg(seeded_defects)]
mod switch {
    use super::Defect;
    use crate::sync::{AtomicU8, Ordering};

    const NONE: u8 = u8::MAX;

    /// The armed defect's number. Relaxed everywhere: it changes only while no store is open.
    static ARMED: AtomicU8 = AtomicU8::new(NONE);

    /// Whether `defect` is armed.
    #[must_use]
    pub fn armed(defect: Defect) -> bool {
        ARMED.load(Ordering::Relaxed) == defect as u8
    }

    /// Arms `defect` and disarms the one before.
    pub fn arm(defect: Defect) {
        ARMED.store(defect as u8, Ordering::Relaxed);
    }

    /// Makes the store's code right again.
    pub fn disarm() {
        ARMED.store(NONE, Ordering::Relaxed);
    }
}

#[cfg(seeded_defects)]
pub use switch::{arm, armed, disarm};

impl Defect {
    /// The switch of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|defect| defect.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::{Defect, armed};

    #[test]
    fn every_switch_is_found_by_its_name_and_none_is_armed() {
        for &defect in Defect::ALL {
            assert_eq!(Defect::named(defect.name()), Some(defect));
            assert!(!armed(defect), "{defect:?}");
        }
        assert_eq!(Defect::named("NoSuchDefect"), None);
        assert!(Defect::ALL.len() >= 25);
    }
}
