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
//! Valid if and only if it is 64 bytes long, of version 1, low-water ≤ `lsn0`, and the clean end is 0 or at
//! or past `lsn0`. Its bytes are covered by the edit's checksum.

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
        let ordered = state.low_water <= state.lsn0 && state.clean_end.is_none_or(|end| end >= state.lsn0);
        ordered.then_some(state)
    }
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
    }
}
