//! Small stores in which something lies nearly everywhere, as plain bytes: one closed cleanly, one whose process
//! was killed, and one that lost its ring in a power cut, so that its log alone tells. With them what a reader sees, and what the files held earlier, from which stale sectors
//! are taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::segment::memory::MemoryStorage;
use treering::segment::storage::{Access, Environment, Storage};
use treering::{Durability, Engine, Options, Tree, WriteOptions};
use treering_sim::{SimClock, SimEntropy};

use super::ledger::{Contents, read_everything};
use super::session::options;

/// All files with their bytes; the lock file, which is empty, is not among them.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// The name of the lock file.
const LOCK: &str = "LOCK";

/// A store at rest.
pub(super) struct Dense {
    pub(super) name: &'static str,
    pub(super) files: Files,
    /// What the files held at earlier moments, oldest first.
    pub(super) generations: Vec<Files>,
    /// What a reader sees, and before it what one may see instead where the last commit group looks torn;
    /// oldest first.
    pub(super) allowed: Vec<Contents>,
    /// The LSN at which the last commit group begins; none after a clean close.
    pub(super) last_group: Option<u64>,
    /// Only files whose names begin so are damaged.
    pub(super) swept: &'static str,
}

impl Dense {
    /// What a reader sees when nothing is damaged.
    pub(super) fn contents(&self) -> &Contents {
        self.allowed.last().expect("the newest is there")
    }

    /// Bytes of all files but the reserve, which holds nothing.
    pub(super) fn bytes(&self) -> usize {
        self.files.iter().filter(|(name, _)| *name != "reserve").map(|(_, bytes)| bytes.len()).sum()
    }
}

/// What a store on `storage` stands on.
pub(super) fn environment_on(storage: &MemoryStorage) -> Environment {
    Environment {
        storage: Arc::new(storage.clone()),
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        entropy: Arc::new(SimEntropy::new(5)),
    }
}

/// A directory that holds `files`.
pub(super) fn storage_with(files: &Files) -> MemoryStorage {
    let storage = MemoryStorage::new();
    storage.create(LOCK).expect("memory");
    for (name, bytes) in files {
        storage.create(name).and_then(|file| file.write_all_at(bytes, 0)).expect("memory");
    }
    storage
}

/// The files that `storage` holds.
pub(super) fn files_on(storage: &MemoryStorage) -> Files {
    let names = storage.list().expect("memory").into_iter().filter(|name| name != LOCK);
    names
        .map(|name| {
            let file = storage.open(&name, Access::Read).expect("memory");
            let mut bytes = vec![0; usize::try_from(file.len().expect("memory")).unwrap_or(0)];
            file.read_exact_at(&mut bytes, 0).expect("memory");
            (name, bytes)
        })
        .collect()
}

/// A store in the making.
struct Making {
    storage: MemoryStorage,
    generations: Vec<Files>,
    engine: Engine,
    tree: Tree,
    values: u8,
}

impl Making {
    fn begin() -> Self {
        let storage = MemoryStorage::new();
        let engine = Engine::open_in(environment_on(&storage), options()).expect("a store in memory");
        let tree = engine.default_tree();
        Self { storage, generations: Vec::new(), engine, tree, values: 0 }
    }

    fn put(&mut self, key: impl AsRef<[u8]>, len: usize, durability: Durability) -> u64 {
        self.values = self.values.wrapping_add(1);
        let value: Vec<u8> = (0..len).map(|at| self.values ^ u8::try_from(at % 253).unwrap_or(0)).collect();
        let how = WriteOptions { durability: Some(durability), ..WriteOptions::default() };
        self.tree.put_with(key, value, &how).expect("a put in memory")
    }

    fn cut(&mut self) {
        self.engine.checkpoint().expect("a cut in memory");
        self.keep();
    }

    fn keep(&mut self) {
        self.generations.push(files_on(&self.storage));
    }

    fn reopen(&mut self) {
        self.engine.close().expect("a close in memory");
        self.keep();
        self.engine = Engine::open_in(environment_on(&self.storage), options()).expect("a store in memory");
        self.tree = self.engine.default_tree();
    }

    fn see(&self) -> Contents {
        read_everything(&self.engine).expect("a whole store reads")
    }

    /// Keys that share paths, and odd ones; values in frames, segments and staging; a second tree; deletes; a
    /// history of several cuts and openings.
    fn fill(&mut self) {
        use Durability::Buffered;
        for n in 0..60 {
            self.put(format!("usr/lib{}/pkg-{n:02}/file", n % 5), 30 + 3 * n, Buffered);
        }
        for key in [&b""[..], b"\0", b"\0\0", b"usr", b"usr/", &[0xff; 300]] {
            self.put(key, 20, Buffered);
        }
        for n in 0..6 {
            self.put(format!("staged/{n}"), 550 + 40 * n, Buffered);
        }
        self.cut();
        let other = self.engine.create_tree("other").expect("a tree in memory");
        for n in 0..8u8 {
            other.put([n, 1, n], vec![n; 90 * usize::from(n)]).expect("a put in memory");
        }
        self.put("direct/a", 2300, Buffered);
        self.cut();
        self.reopen();
        for n in (0..60).step_by(7) {
            self.put(format!("usr/lib{}/pkg-{n:02}/file", n % 5), 50 + 2 * n, Buffered);
        }
        self.tree.delete("usr/lib3/pkg-03/file").expect("a delete in memory");
        self.tree.delete("staged/2").expect("a delete in memory");
        self.put("direct/b", 2600, Buffered);
        self.put("staged/9", 900, Buffered);
        self.cut();
        for n in 0..10 {
            self.put(format!("late/{n}"), 40 + 11 * n, Buffered);
        }
    }
}

/// The store that was closed cleanly: any damage has to be told from it.
pub(super) fn closed() -> Dense {
    let mut making = Making::begin();
    making.fill();
    let contents = making.see();
    making.engine.close().expect("a close in memory");
    Dense {
        name: "closed",
        files: files_on(&making.storage),
        generations: making.generations,
        allowed: vec![contents],
        last_group: None,
        swept: "",
    }
}

/// The store whose process was killed: synced groups in the log, each of more than two sectors, and behind them a
/// last one, half drained and half in the ring. The ring has most of the log as well.
pub(super) fn killed() -> Dense {
    unclean("killed", "", false)
}

/// The same after a power cut that left the whole log and nothing of the ring: its records have no double.
pub(super) fn ringless() -> Dense {
    let mut dense = unclean("ringless", "log-", true);
    if let Some(ring) = dense.files.get_mut("ring") {
        ring.fill(0);
    }
    dense
}

fn unclean(name: &'static str, swept: &'static str, drains_all: bool) -> Dense {
    let mut making = Making::begin();
    making.fill();
    making.keep();
    for n in 0..6 {
        making.put(format!("group/{n}/a"), 900, Durability::Buffered);
        making.put(format!("group/{n}/b"), 400 + n, Durability::Sync);
    }
    making.tree.delete("late/3").expect("a delete in memory");
    making.engine.flush().expect("a flush in memory");
    making.keep();
    let mut allowed = vec![making.see()];
    let mut last_group = None;
    for n in 0..4 {
        let version = making.put(format!("last/{n}"), 150 + 200 * n, Durability::Buffered);
        last_group = last_group.or(Some(version));
        allowed.push(making.see());
        if n == 1 || drains_all {
            making.engine.step().expect("a step in memory");
            making.keep();
        }
    }
    drop(making.tree);
    making.engine.abandon();
    let files = files_on(&making.storage);
    Dense { name, files, generations: making.generations, allowed, last_group, swept }
}

/// Opens for reading or writing what lies on `storage`.
pub(super) fn open_on(storage: &MemoryStorage, read_only: bool) -> treering::Result<Engine> {
    Engine::open_in(environment_on(storage), Options::new().background(false).read_only(read_only))
}
