//! Operations drawn from a seed: what a user of the store might do, and what nobody would. The same
//! seed and options give the same operations, whatever the store answers.

use crate::random::Random;

/// What keys look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStyle {
    /// Paths of a few levels, many of which share their directories.
    Paths,
    /// Any bytes: the empty key, zeros, `0xff`, long runs, keys that are prefixes of keys.
    Bytes,
    /// Both.
    Mixed,
}

/// What operations a workload has, and how large they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadOptions {
    /// What keys look like.
    pub keys: KeyStyle,
    /// Roughly how many different keys there are; fewer means more overwrites.
    pub key_space: u64,
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest ordinary value, in bytes.
    pub value_bytes_max: usize,
    /// The longest of the values that are now and then large.
    pub large_value_bytes_max: usize,
    /// The most changes that a batch has.
    pub batch_max: usize,
    /// Percent of puts that have a time to live.
    pub ttl_percent: u64,
    /// The longest time to live, in ms.
    pub ttl_ms_max: u64,
}

impl Default for WorkloadOptions {
    fn default() -> Self {
        Self {
            keys: KeyStyle::Mixed,
            key_space: 500,
            key_bytes_max: 200,
            value_bytes_max: 300,
            large_value_bytes_max: 5000,
            batch_max: 8,
            ttl_percent: 0,
            ttl_ms_max: 10_000,
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Put a value, with a time to live or without.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
        /// How long it lives, in ms.
        ttl_ms: Option<u64>,
    },
    /// Delete a key, which may not be there.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Puts and deletes that are one.
    Batch(Vec<Operation>),
    /// Read a key, which may not be there.
    Get {
        /// The key.
        key: Vec<u8>,
    },
    /// Scan from `lower`, included, to `upper`, excluded.
    Scan {
        /// Where it starts.
        lower: Vec<u8>,
        /// Where it ends; `None` for the end of the store.
        upper: Option<Vec<u8>>,
        /// Whether it goes backward.
        reverse: bool,
    },
    /// List one level below a prefix, by `/`.
    List {
        /// The prefix.
        prefix: Vec<u8>,
    },
    /// Take a cut.
    Checkpoint,
    /// Flush the log.
    Flush,
    /// Let time pass.
    Wait {
        /// How long, in ms.
        ms: u64,
    },
    /// Close and open again.
    Reopen,
}

/// An endless stream of operations.
#[derive(Clone, Debug)]
pub struct Workload {
    random: Random,
    options: WorkloadOptions,
}

const DIRECTORIES: [&str; 8] = ["usr", "lib", "share", "a", "node_modules", "etc", "src", "\u{e4}\u{f6}"];

impl Workload {
    /// The operations that belong to `seed` and `options`.
    pub fn new(seed: u64, options: WorkloadOptions) -> Self {
        Self { random: Random::new(seed), options }
    }

    /// A key of the workload's key space.
    pub fn key(&mut self) -> Vec<u8> {
        // A key is a function of its number, so that keys come again.
        let number = self.random.below(self.options.key_space.max(1));
        let mut random = Random::new(number ^ 0x5eed);
        let paths = match self.options.keys {
            KeyStyle::Paths => true,
            KeyStyle::Bytes => false,
            KeyStyle::Mixed => number.is_multiple_of(2),
        };
        let mut key = if paths { path_key(&mut random, number) } else { byte_key(&mut random, number) };
        key.truncate(self.options.key_bytes_max);
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let max = if self.random.percent(5) {
            self.options.large_value_bytes_max
        } else {
            self.options.value_bytes_max
        };
        let mut value = vec![0; self.random.index(max + 1)];
        self.random.fill(&mut value);
        value
    }

    fn put(&mut self) -> Operation {
        let (key, value) = (self.key(), self.value());
        let mortal = self.random.percent(self.options.ttl_percent);
        let ttl_ms = mortal.then(|| 1 + self.random.below(self.options.ttl_ms_max));
        Operation::Put { key, value, ttl_ms }
    }

    fn change(&mut self) -> Operation {
        if self.random.percent(70) { self.put() } else { Operation::Delete { key: self.key() } }
    }

    fn batch(&mut self) -> Operation {
        let count = 1 + self.random.index(self.options.batch_max.max(1));
        Operation::Batch((0..count).map(|_| self.change()).collect())
    }

    fn scan(&mut self) -> Operation {
        let (mut lower, mut upper) = (self.key(), self.key());
        if lower > upper {
            std::mem::swap(&mut lower, &mut upper);
        }
        let upper = self.random.percent(80).then_some(upper);
        Operation::Scan { lower, upper, reverse: self.random.percent(50) }
    }

    fn list(&mut self) -> Operation {
        let mut prefix = self.key();
        let levels = self.random.index(3);
        let cut =
            prefix.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(levels).map(|(at, _)| at + 1);
        prefix.truncate(cut.unwrap_or(0));
        Operation::List { prefix }
    }
}

impl Iterator for Workload {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        Some(match self.random.below(100) {
            0..50 => self.put(),
            50..64 => Operation::Delete { key: self.key() },
            64..74 => self.batch(),
            74..84 => Operation::Get { key: self.key() },
            84..88 => self.scan(),
            88..92 => self.list(),
            92..94 => Operation::Checkpoint,
            94..96 => Operation::Flush,
            96..99 => Operation::Wait { ms: self.random.below(self.options.ttl_ms_max.max(1)) },
            _ => Operation::Reopen,
        })
    }
}

fn path_key(random: &mut Random, number: u64) -> Vec<u8> {
    let mut key = String::new();
    for _ in 0..random.below(5) {
        key.push_str(DIRECTORIES[random.index(DIRECTORIES.len())]);
        key.push('/');
    }
    // A few directories are keys themselves.
    if !number.is_multiple_of(16) {
        key.push_str(&format!("file-{number:05}.rs"));
    }
    key.into_bytes()
}

fn byte_key(random: &mut Random, number: u64) -> Vec<u8> {
    const ODD: [u8; 6] = [0, 1, b'/', 0x7f, 0x80, 0xff];
    match random.below(4) {
        // Short keys of few different bytes, which are prefixes of each other.
        0 => (0..random.below(6)).map(|_| ODD[random.index(ODD.len())]).collect(),
        // Long runs of one byte.
        1 => {
            let mut key = vec![ODD[random.index(ODD.len())]; random.index(400)];
            key.extend_from_slice(&number.to_be_bytes());
            key
        }
        // A shared start and a dense end, which makes wide nodes.
        2 => [&b"wide"[..], &number.to_le_bytes()[..2]].concat(),
        _ => {
            let mut key = vec![0; random.index(40)];
            random.fill(&mut key);
            key
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_gives_the_same_operations_and_another_seed_others() {
        let take = |seed| Workload::new(seed, WorkloadOptions::default()).take(500).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn keys_come_again_stay_in_bounds_and_include_the_odd_ones() {
        let options = WorkloadOptions { key_bytes_max: 64, ..WorkloadOptions::default() };
        let mut workload = Workload::new(3, options);
        let drawn: Vec<Vec<u8>> = (0..20_000).map(|_| workload.key()).collect();
        let keys: BTreeSet<&Vec<u8>> = drawn.iter().collect();
        assert!(keys.len() <= 500 && keys.len() > 300, "{} different keys", keys.len());
        assert!(keys.iter().all(|key| key.len() <= 64));
        assert!(keys.contains(&Vec::new()));
        assert!(keys.iter().any(|key| key.contains(&0)) && keys.iter().any(|key| key.contains(&0xff)));
        let is_prefix =
            |a: &Vec<u8>| keys.iter().any(|b| b.len() > a.len() && !a.is_empty() && b.starts_with(a));
        assert!(keys.iter().any(|key| is_prefix(key)));
    }

    #[test]
    fn every_kind_of_operation_occurs() {
        let options = WorkloadOptions { ttl_percent: 50, ..WorkloadOptions::default() };
        let kinds: BTreeSet<String> = Workload::new(9, options)
            .take(2000)
            .map(|operation| format!("{operation:?}").split([' ', '(']).next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 10, "{kinds:?}");
    }
}
