//! What the tests share: environments, small sizes, and a generator of keys.

use std::sync::Arc;

use treering::segment::clock::{OsEntropy, SystemClock};
use treering::segment::file::FileStorage;
use treering::segment::memory::MemoryStorage;
use treering::segment::storage::{Environment, Storage};
use treering::{Engine, Options, VerifyReport, verify_in};

/// A place for a store that can be opened again and again.
pub(crate) struct Place {
    storage: Arc<dyn Storage>,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    /// In memory.
    pub(crate) fn memory() -> Self {
        Self { storage: Arc::new(MemoryStorage::new()), _directory: None }
    }

    /// In a directory that goes with the test.
    pub(crate) fn files() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let storage = FileStorage::create(directory.path().join("store")).unwrap();
        Self { storage: Arc::new(storage), _directory: Some(directory) }
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment {
            storage: Arc::clone(&self.storage),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        }
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn open(&self, options: Options) -> Engine {
        Engine::open_in(self.environment(), options).unwrap()
    }

    pub(crate) fn verify(&self) -> VerifyReport {
        verify_in(self.environment(), Options::new()).unwrap()
    }
}

/// Runs `test` on each storage back end.
pub(crate) fn on_each_back_end(test: impl Fn(&Place)) {
    test(&Place::memory());
    test(&Place::files());
}

/// Small sizes, no threads: the test decides what happens when.
pub(crate) fn small() -> Options {
    Options::new()
        .frame_bytes(4 << 10)
        .ring_bytes(16 << 10)
        .log_segment_bytes(64 << 10)
        .log_cap_bytes(256 << 10)
        .staging_limit(64 << 10)
        .background(false)
}

/// A small deterministic generator (xorshift), so that a failure can be run again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Key number `n` of a path-like name space.
    pub(crate) fn path(n: u64) -> Vec<u8> {
        let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("usr/lib{}/pkg-{:03}/src/file_{n}.rs", mixed % 7, (mixed >> 32) % 211).into_bytes()
    }

    /// Keys that are awkward: empty, NULs, prefixes of each other, the longest.
    pub(crate) fn awkward(&mut self, longest: usize) -> Vec<u8> {
        match self.below(8) {
            0 => Vec::new(),
            1 => vec![0; self.below(5) as usize],
            2 => vec![u8::MAX; self.below(5) as usize],
            3 => vec![b'a'; self.below(longest as u64 + 1) as usize],
            4 => {
                let mut key = vec![b'p'; longest];
                key[longest - 1] = self.next() as u8;
                key
            }
            5 => vec![self.next() as u8],
            _ => (0..self.below(9)).map(|_| b"ab/\0"[self.below(4) as usize]).collect(),
        }
    }
}
