//! Deathtime cohorts: which records die about the same time, and which segments are worth collecting.
//! Pure functions of the catalogue; nothing here reads a segment.
//!
//! # Buckets
//! A record that lives for another `t` ms goes to a bucket whose width is the largest power of two
//! not above t/8, and at least [`BUCKET_MS_MIN`]; so neighbours in a bucket die within an eighth of
//! what was left to them. The cohort's number is `(log2 width) << 56 | death >> (log2 width)`: it
//! names the same span of time whenever it is computed. Records that never die by time are in cohort
//! [`IMMORTAL`]. (An exponent is at least 10, so no bucket has that number; store time is far below
//! 2^66 ms, so no two buckets share one.)

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::manifest::{NEVER, SegmentMeta};

/// The cohort of records without a death time.
pub const IMMORTAL: u64 = 0;

/// The narrowest bucket, in ms.
pub const BUCKET_MS_MIN: u64 = 1 << 10;

/// The cohort of a record that is written at `now_ms` and dies at `death_ms`.
pub fn cohort_of(now_ms: u64, death_ms: Option<u64>) -> u64 {
    let Some(death) = death_ms else { return IMMORTAL };
    let width = (death.saturating_sub(now_ms) / 8).max(BUCKET_MS_MIN);
    let exponent = u64::from(width.ilog2());
    exponent << 56 | (death >> exponent) & ((1 << 56) - 1)
}

/// What the catalogue knows about the segments of one cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CohortInfo {
    /// The cohort.
    pub cohort: u64,
    /// Its segments, by id.
    pub segments: Vec<u64>,
    /// Records in them.
    pub records: u64,
    /// Records that are still referred to.
    pub live_records: u64,
    /// Bytes of all values.
    pub value_bytes: u64,
    /// Bytes of the values still referred to.
    pub live_bytes: u64,
    /// The earliest death time of a record; [`NEVER`] if none dies by time.
    pub min_death: u64,
    /// The latest death time of a record; [`NEVER`] if any never dies.
    pub max_death: u64,
}

impl CohortInfo {
    fn empty(cohort: u64) -> Self {
        let (records, live_records, value_bytes, live_bytes) = (0, 0, 0, 0);
        let (segments, min_death, max_death) = (Vec::new(), NEVER, 0);
        Self { cohort, segments, records, live_records, value_bytes, live_bytes, min_death, max_death }
    }

    fn add(&mut self, meta: &SegmentMeta) {
        self.segments.push(meta.id);
        self.records = self.records.saturating_add(meta.records);
        self.live_records = self.live_records.saturating_add(meta.live_records);
        self.value_bytes = self.value_bytes.saturating_add(meta.value_bytes);
        self.live_bytes = self.live_bytes.saturating_add(meta.live_bytes);
        self.min_death = self.min_death.min(meta.min_death);
        self.max_death = self.max_death.max(meta.max_death);
    }

    /// Whether every record is past its death at `now_ms`.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.max_death != NEVER && self.max_death <= now_ms
    }

    /// Bytes of values that nothing refers to any more. What will die by time is not garbage: it is
    /// waited for.
    pub fn garbage_bytes(&self) -> u64 {
        self.value_bytes.saturating_sub(self.live_bytes)
    }

    /// Whether any record is known to be dead.
    pub fn has_garbage(&self) -> bool {
        self.garbage_bytes() > 0 || self.live_records < self.records
    }
}

/// The cohorts of `segments` in the order in which they should be collected: wholly expired ones
/// first, the oldest death first; then by garbage, the most first.
pub fn identify_cohorts<'a>(
    segments: impl IntoIterator<Item = &'a SegmentMeta>,
    now_ms: u64,
) -> Vec<CohortInfo> {
    let mut cohorts: BTreeMap<u64, CohortInfo> = BTreeMap::new();
    for meta in segments {
        cohorts.entry(meta.cohort).or_insert_with(|| CohortInfo::empty(meta.cohort)).add(meta);
    }
    let mut cohorts: Vec<CohortInfo> = cohorts.into_values().collect();
    cohorts.sort_by_key(|info| match info.is_expired(now_ms) {
        true => (false, info.max_death, Reverse(0), info.cohort),
        false => (true, 0, Reverse(info.garbage_bytes()), info.cohort),
    });
    cohorts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(id: u64, cohort: u64, live_bytes: u64, max_death: u64) -> SegmentMeta {
        SegmentMeta {
            id,
            file_bytes: 200,
            records: 10,
            value_bytes: 100,
            live_records: live_bytes / 10,
            live_bytes,
            cohort,
            min_death: max_death.saturating_sub(50),
            max_death,
            root: [0; 32],
        }
    }

    #[test]
    fn expired_cohorts_come_first_by_death_and_then_the_most_garbage() {
        let segments = [
            meta(1, 1, 100, NEVER),
            meta(2, 2, 60, 900),
            meta(3, 3, 100, 400),
            meta(4, 4, 100, 300),
            meta(5, 5, 10, NEVER),
            meta(6, 4, 0, 200),
        ];
        let cohorts = identify_cohorts(&segments, 500);
        assert_eq!(cohorts.iter().map(|c| c.cohort).collect::<Vec<_>>(), [4, 3, 5, 2, 1]);
        assert_eq!(cohorts[0].segments, [4, 6]);
        assert_eq!((cohorts[0].live_records, cohorts[0].records), (10, 20));
        assert!(!cohorts[4].has_garbage() && cohorts[3].has_garbage());
    }

    #[test]
    fn a_cohort_is_expired_from_its_last_death_on_and_never_with_an_immortal_record() {
        let expired = |max_death, now| identify_cohorts(&[meta(1, 1, 1, max_death)], now)[0].is_expired(now);
        assert!(!expired(500, 499) && expired(500, 500));
        assert!(!expired(NEVER, u64::MAX));
    }

    #[test]
    fn buckets_are_an_eighth_of_the_time_to_live_wide() {
        for ttl in [1, 500, 8192, 60_000, 86_400_000, 365 * 86_400_000] {
            let (now, mut first) = (1_700_000_000_000u64, None);
            let cohort = cohort_of(now, Some(now + ttl));
            for later in 0..=ttl / 8 + 2 * BUCKET_MS_MIN {
                if cohort_of(now, Some(now + ttl + later)) != cohort {
                    first = Some(later);
                    break;
                }
                if later > 1_000_000 {
                    break;
                }
            }
            assert!(first.is_none_or(|later| later <= (ttl / 8).max(BUCKET_MS_MIN) + BUCKET_MS_MIN), "{ttl}");
            assert_ne!(cohort, IMMORTAL);
        }
        assert_eq!(cohort_of(7, None), IMMORTAL);
    }
}
