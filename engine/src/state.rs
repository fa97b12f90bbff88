//! The engine's own section of a manifest edit, opaque to the manifest: where replay begins and what
//! the counters stand at.
//!
//! # Layout (little-endian, 64 bytes)
//! | offset | field |
//! |---|---|
//! | 0 | u64 version, 1 |
//! | 8 | u64 low-water mark: the LSN from which recovery reads the log |
//! | 16 | u64 `lsn0`: the log's tail at the bump; records at or past it are newer than the cut |
//! | 24 | u64 number of the root frame |
//! | 32 | u64 next frame number |
//! | 40 | u64 next segment id |
//! | 48 | u64 staging low-water mark: payloads staged before it are at rest |
//! | 56 | u64 end of the log if the store was closed cleanly, else 0 |
//!
//! Valid if and only if it is 64 bytes long, of version 1, low-water ≤ `lsn0`, the clean end is 0 or at
//! or past `lsn0`, the root's number is below the next one, and every field is below [`COUNTER_MAX`]. Its bytes
//! are covered by the edit's checksum. [`contradiction`] holds it against the rest of the manifest.

use treering_compactor::manifest::State as ManifestState;

/// No counter of a store (LSN, epoch, store time, frame, segment, offset) gets this far, so that nothing added
/// to one overflows; one that claims to has been made up.
pub(crate) const COUNTER_MAX: u64 = 1 << 62;
/// Frame numbers are dense, since frames are never freed, so a map of n frames has no number beyond this much
/// and [`NUMBERS_FOR_A_FRAME`] times n. The frame table takes memory by number.
const NUMBERS_WITHOUT_A_FRAME: u64 = 1 << 16;
/// See [`NUMBERS_WITHOUT_A_FRAME`].
const NUMBERS_FOR_A_FRAME: u64 = 64;

/// See the module's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineState {
    pub(crate) low_water: u64,
    pub(crate) lsn0: u64,
    pub(crate) root: u64,
    pub(crate) next_frame: u64,
    pub(crate) next_segment: u64,
    pub(crate) staging_base: u64,
    pub(crate) clean_end: Option<u64>,
}

const VERSION: u64 = 1;
const BYTES: usize = 64;

impl EngineState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let fields = [
            VERSION,
            self.low_water,
            self.lsn0,
            self.root,
            self.next_frame,
            self.next_segment,
            self.staging_base,
            self.clean_end.unwrap_or(0),
        ];
        fields.iter().flat_map(|field| field.to_le_bytes()).collect()
    }

    /// `None` if the bytes are not valid.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BYTES {
            return None;
        }
        let mut fields = bytes.chunks_exact(8).map(|chunk| {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let mut next = || fields.next();
        if next()? != VERSION {
            return None;
        }
        let state = Self {
            low_water: next()?,
            lsn0: next()?,
            root: next()?,
            next_frame: next()?,
            next_segment: next()?,
            staging_base: next()?,
            clean_end: next().map(|end| (end != 0).then_some(end))?,
        };
        let ordered = state.low_water <= state.lsn0
            && state.clean_end.is_none_or(|end| end >= state.lsn0)
            && (1..state.next_frame).contains(&state.root);
        let counters = [state.lsn0, state.next_frame, state.next_segment, state.staging_base];
        let bounded = counters.into_iter().chain(state.clean_end).all(|counter| counter < COUNTER_MAX);
        (ordered && bounded).then_some(state)
    }
}

/// What the manifest says that cannot be true beside the engine's section of it.
pub(crate) fn contradiction(manifest: &ManifestState, engine: &EngineState) -> Option<&'static str> {
    let counters = [manifest.sequence, manifest.epoch, manifest.clock_ms];
    let mut ids = manifest.segments.keys();
    if counters.iter().any(|counter| *counter >= COUNTER_MAX) || ids.any(|id| *id >= COUNTER_MAX) {
        return Some("a counter of the newest edit is beyond what a store reaches");
    }
    let frames = manifest.extents.len() as u64;
    if engine.next_frame > NUMBERS_WITHOUT_A_FRAME + NUMBERS_FOR_A_FRAME * frames {
        return Some("the next frame's number is beyond what the frame map accounts for");
    }
    let mut numbers = manifest.extents.keys();
    if numbers.any(|number| !(1..engine.next_frame).contains(number)) {
        return Some("the frame map holds a number that no frame was given");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_refuses_what_is_out_of_order() {
        let state = EngineState {
            low_water: 4096,
            lsn0: 8192,
            root: 1,
            next_frame: 7,
            next_segment: 3,
            staging_base: 99,
            clean_end: Some(9000),
        };
        assert_eq!(EngineState::decode(&state.encode()), Some(state));
        assert_eq!(EngineState::decode(&EngineState { low_water: 8193, ..state }.encode()), None);
        assert_eq!(EngineState::decode(&EngineState { clean_end: Some(1), ..state }.encode()), None);
        assert_eq!(EngineState::decode(&state.encode()[..63]), None);
        for wrong in [
            EngineState { root: 0, ..state },
            EngineState { root: 7, ..state },
            EngineState { next_frame: u64::MAX, ..state },
            EngineState { next_segment: COUNTER_MAX, ..state },
            EngineState { staging_base: u64::MAX, ..state },
            EngineState { clean_end: Some(u64::MAX), ..state },
        ] {
            assert_eq!(EngineState::decode(&wrong.encode()), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_manifest_that_no_store_reaches_contradicts_its_engine_section() {
        let engine = EngineState {
            low_water: 4096,
            lsn0: 4096,
            root: 1,
            next_frame: 3,
            next_segment: 1,
            staging_base: 0,
            clean_end: None,
        };
        let sound =
            ManifestState { extents: [(1, Vec::new()), (2, Vec::new())].into(), ..ManifestState::default() };
        assert_eq!(contradiction(&sound, &engine), None);
        for wrong in [
            ManifestState { epoch: u64::MAX, ..sound.clone() },
            ManifestState { clock_ms: COUNTER_MAX, ..sound.clone() },
            ManifestState { extents: [(3, Vec::new())].into(), ..sound.clone() },
            ManifestState { extents: [(0, Vec::new())].into(), ..sound.clone() },
        ] {
            assert!(contradiction(&wrong, &engine).is_some(), "{wrong:?}");
        }
        let sparse = EngineState { next_frame: 1 << 40, ..engine };
        assert!(contradiction(&sound, &sparse).is_some());
    }
}
