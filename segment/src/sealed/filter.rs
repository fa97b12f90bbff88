//! A Bloom filter over a segment's keys: it says "absent" or "perhaps". It is not a set.
//!
//! Ten bits a key and seven probes: about one absent key in 120 passes. The bits are a whole
//! number of bytes; bit `i` is bit `i % 8` of byte `i / 8`. A key's BLAKE3 hash gives two words,
//! `a` from bytes 0..8 and `b` from bytes 8..16 with its lowest bit set; probe `n` looks at bit
//! `(a + n·b mod 2^64) mod bits`. A filter without bits holds no key. (Double hashing: Kirsch and
//! Mitzenmacher, "Less hashing, same performance", 2006.)

use super::format::u64_at;

pub(super) const PROBES: u32 = 7;

/// More probes than any writer makes: what a reader refuses, since each costs time.
pub(super) const MAX_PROBES: u32 = 32;

const BITS_PER_KEY: u64 = 10;

/// A key, as the filter sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyHash {
    a: u64,
    b: u64,
}

impl KeyHash {
    pub(super) fn of(key: &[u8]) -> Self {
        let hash = blake3::hash(key);
        Self { a: u64_at(hash.as_bytes(), 0), b: u64_at(hash.as_bytes(), 8) | 1 }
    }

    fn bits(self, probes: u32, bits: u64) -> impl Iterator<Item = u64> {
        (0..u64::from(probes)).map(move |n| self.a.wrapping_add(n.wrapping_mul(self.b)) % bits)
    }
}

/// The filter of these keys.
pub(super) fn build(keys: &[KeyHash]) -> Vec<u8> {
    let len = (keys.len() as u64 * BITS_PER_KEY).div_ceil(8);
    let mut filter = vec![0_u8; usize::try_from(len).expect("64-bit hosts only")];
    for key in keys {
        for bit in key.bits(PROBES, len * 8) {
            let byte = usize::try_from(bit / 8).expect("64-bit hosts only");
            filter[byte] |= 1 << (bit % 8);
        }
    }
    filter
}

/// Whether the key may be among those that the filter was made of.
pub(super) fn may_hold(filter: &[u8], probes: u32, key: KeyHash) -> bool {
    if filter.is_empty() {
        return false;
    }
    key.bits(probes, filter.len() as u64 * 8).all(|bit| {
        let byte = usize::try_from(bit / 8).ok().and_then(|at| filter.get(at));
        byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_passes_and_few_others_do() {
        let keys: Vec<KeyHash> = (0..2000_u32).map(|i| KeyHash::of(&i.to_le_bytes())).collect();
        let filter = build(&keys);
        assert!(keys.iter().all(|&key| may_hold(&filter, PROBES, key)));
        let passed =
            (2000..12_000_u32).filter(|i| may_hold(&filter, PROBES, KeyHash::of(&i.to_le_bytes()))).count();
        assert!(passed < 200, "{passed} of 10,000 absent keys pass");
    }

    #[test]
    fn the_filter_of_no_keys_holds_none() {
        assert!(!may_hold(&build(&[]), PROBES, KeyHash::of(b"")));
    }
}
