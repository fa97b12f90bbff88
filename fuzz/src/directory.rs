//! A store's files as plain bytes: what a target damages, and puts back behind the storage seam.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering_segment::memory::MemoryStorage;
use treering_segment::storage::{Access, Environment, Storage};
use treering_sim::{SimClock, SimEntropy};

/// The file that nobody but the lock touches.
const LOCK_FILE: &str = "LOCK";

/// Files by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Directory {
    /// All files of a storage but the lock's.
    pub(crate) fn of(storage: &dyn Storage) -> Self {
        let names = storage.list().expect("memory lists");
        let files = names.into_iter().filter(|name| name != LOCK_FILE).map(|name| {
            let file = storage.open(&name, Access::Read).expect("memory opens");
            let length = usize::try_from(file.len().expect("memory has a length")).expect("it is in memory");
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, 0).expect("memory reads");
            (name, bytes)
        });
        Self { files: files.collect() }
    }

    /// A storage with these files.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        let storage = MemoryStorage::new();
        for (name, bytes) in &self.files {
            let file = storage.create(name).expect("memory creates");
            file.write_all_at(bytes, 0).expect("memory writes");
        }
        Arc::new(storage)
    }

    /// An environment over these files, with a clock that stands.
    pub(crate) fn environment(&self) -> Environment {
        environment(self.storage())
    }

    /// The bytes of a file; none if it is not there.
    pub(crate) fn file(&mut self, name: &str) -> &mut Vec<u8> {
        self.files.entry(name.to_owned()).or_default()
    }

    /// The name of file `choice`, counted around.
    pub(crate) fn name(&self, choice: u8) -> Option<String> {
        let count = self.files.len().max(1);
        self.files.keys().nth(usize::from(choice) % count).cloned()
    }
}

/// An environment over `storage` with a clock that stands and entropy that repeats.
pub(crate) fn environment(storage: Arc<dyn Storage>) -> Environment {
    Environment {
        storage,
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        entropy: Arc::new(SimEntropy::new(7)),
    }
}
