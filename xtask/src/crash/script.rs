//! What the children are told to write: lines and single operations that follow from a seed, and values
//! that tell which line they are. It is *not* a record of what was acknowledged (that is the model's).

use std::fmt::Write as _;

/// A small generator (SplitMix64): the whole script follows from one number.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether one chance in `n` came up.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A line: the round that wrote it and its number there, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) round: u64,
    pub(crate) number: u64,
}

/// Keys that most lines go to.
const WIDE_KEYS: u64 = 900;
/// Keys that are overwritten again and again.
const HOT_KEYS: u64 = 10;
/// Keys whose values get segments of their own.
const LARGE_KEYS: u64 = 4;

/// What a round's lines look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Length of the values that get a segment of their own; 0: no line has one.
    pub(crate) large_bytes: u64,
}

impl Line {
    fn random(self) -> Random {
        Random::new(self.round << 32 ^ self.number)
    }

    fn is_large(self, shape: Shape) -> bool {
        shape.large_bytes > 0 && self.number % 97 == 50
    }

    /// The key that the line writes.
    pub(crate) fn key(self, shape: Shape) -> String {
        let at = self.random().next();
        if self.is_large(shape) {
            return format!("large/{}", at % LARGE_KEYS);
        }
        match self.number % 4 {
            0 => format!("hot/{}", at % HOT_KEYS),
            _ => format!("wide/{:02}/{}/{:04}", at % 23, at % 5, at % WIDE_KEYS),
        }
    }

    /// The value: it begins with the line's name, and all its bytes follow from that. 5 to 5,000 bytes,
    /// or as many as the shape says for a large one.
    pub(crate) fn value(self, shape: Shape) -> String {
        let mut random = self.random();
        // The key took the first.
        random.next();
        let longest = [40, 300, 1_500, 5_000][usize::try_from(random.below(4)).unwrap_or(0)];
        let length = match self.is_large(shape) {
            true => shape.large_bytes,
            false => 5 + random.below(longest - 4),
        };
        let length = usize::try_from(length).unwrap_or(0);
        let mut value = String::with_capacity(length + 16);
        // Writing to a string does not fail.
        let _ = write!(value, "{}:{}:{}:", self.round, self.number, shape.large_bytes);
        let pad = length.saturating_sub(value.len());
        value.extend(std::iter::repeat_with(|| random.next().to_le_bytes()).flatten().map(letter).take(pad));
        value
    }

    /// The line that a value tells, if the value is one of ours and whole.
    pub(crate) fn told_by(value: &[u8]) -> Result<Self, String> {
        let shown = || String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
        let text = std::str::from_utf8(value).map_err(|_| format!("not a value of ours: {}", shown()))?;
        let mut parts = text.splitn(4, ':').map(str::parse);
        let (Some(Ok(round)), Some(Ok(number)), Some(Ok(large_bytes))) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(format!("not a value of ours: {}", shown()));
        };
        let line = Self { round, number };
        if line.value(Shape { large_bytes }) != text {
            return Err(format!("the value of line {number} of round {round} is not whole: {}", shown()));
        }
        Ok(line)
    }
}

fn letter(byte: u8) -> char {
    char::from(b'a' + byte % 26)
}

#[cfg(test)]
mod tests {
    use super::{Line, Shape};

    #[test]
    fn a_value_tells_its_line_and_any_change_of_it_is_seen() {
        for number in 1..400 {
            let (line, shape) = (Line { round: 7, number }, Shape { large_bytes: 20_000 });
            let value = line.value(shape);
            assert_eq!(Line::told_by(value.as_bytes()), Ok(line));
            assert!(value.len() >= 5);
            let mut cut = value.clone().into_bytes();
            cut.pop();
            assert!(Line::told_by(&cut).is_err(), "{value:.60}");
            let mut changed = value.into_bytes();
            let last = changed.len() - 1;
            changed[last] ^= 1;
            assert!(Line::told_by(&changed).is_err());
        }
    }
}
