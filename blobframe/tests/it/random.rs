//! A small deterministic generator for keys and values; proptest shrinks cases, this makes many.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// Keys that meet each other: few letters, all lengths from none on, NUL and 0xff among them.
    pub(crate) fn clashing_key(&mut self, longest: usize) -> Vec<u8> {
        let len = self.below(longest + 1);
        (0..len).map(|_| b"\0ab/\xff"[self.below(5)]).collect()
    }

    pub(crate) fn path(&mut self) -> Vec<u8> {
        let parts: Vec<String> = (0..1 + self.below(4))
            .map(|_| format!("{}{}", ["src", "lib", "doc", "x"][self.below(4)], self.below(30)))
            .collect();
        parts.join("/").into_bytes()
    }
}
