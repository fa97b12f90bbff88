//! `crash_histories`: operations on the engine over a simulated disk that dies, against the oracle.
//!
//! The input says what is done and when the process is killed or the power cut, inside recovery too. What a
//! recovery shows must be the oracle's state at one LSN from the newest acknowledged to the newest submitted;
//! it must verify, be shown again by a second recovery, and be gone on from. An operation that fails is unknown
//! but atomic. The long campaigns are `xtask sim`'s; this lets coverage choose the schedule.

use treering::{Durability, Engine, Options, Tree, WriteOptions, verify_in};
use treering_segment::storage::Environment;
use treering_sim::oracle::{Change, Contents, Entry};
use treering_sim::{Fault, FaultKind, Oracle, SimClock, SimDisk, environment};

use crate::input::Input;

const OPERATIONS_MAX: usize = 120;
const CRASHES_MAX: usize = 6;
/// Crashes inside one recovery.
const NESTED_MAX: usize = 3;
const KEYS: u8 = 40;

fn options() -> Options {
    Options::new()
        .frame_bytes(4 << 10)
        .ring_bytes(16 << 10)
        .log_segment_bytes(16 << 10)
        .log_cap_bytes(64 << 10)
        .staging_limit(8 << 10)
        .background(false)
}

/// Feeds one history.
pub fn crash_histories(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let disk = SimDisk::new(input.u16().into());
    let mut world = World::create(disk);
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() || world.crashes > CRASHES_MAX {
            break;
        }
        world.operation(&mut input);
    }
    world.end(true, &mut input);
}

/// What is known about a store and what became of it.
struct World {
    disk: SimDisk,
    clock: SimClock,
    engine: Option<Engine>,
    oracle: Oracle,
    /// Acknowledged, so that it survives the process.
    kept: u64,
    /// Acknowledged, so that it survives the power.
    durable: u64,
    /// An operation that failed: there or not, but whole.
    unknown: Option<Vec<Change>>,
    /// Whether the power goes, or went, at some operation of the disk.
    failing: bool,
    crashes: usize,
}

/// What came of an operation.
enum Outcome {
    Done,
    /// It failed; the store is in the hands of the next recovery.
    Failed,
}

impl World {
    fn create(disk: SimDisk) -> Self {
        let clock = SimClock::new(1_700_000_000_000);
        let mut world = Self {
            disk,
            clock,
            engine: None,
            oracle: Oracle::new(),
            kept: 0,
            durable: 0,
            unknown: None,
            failing: false,
            crashes: 0,
        };
        world.engine = Some(Engine::open_in(world.environment(), options()).expect("a store is created"));
        world
    }

    fn environment(&self) -> Environment {
        environment(&self.disk, &self.clock, 11)
    }

    fn tree(&self) -> Tree {
        self.engine.as_ref().expect("the store is open").default_tree()
    }

    fn newest(&self) -> u64 {
        self.oracle.newest().unwrap_or(0)
    }

    fn operation(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let outcome = match choice % 16 {
            0..=5 => self.put(input),
            6 => self.delete(input),
            7 => self.batch(input),
            8 => match observe(&self.tree()) {
                Ok(seen) => return assert_eq!(seen, self.oracle.contents(), "a scan shows other keys"),
                Err(error) => {
                    assert!(self.failing, "a scan fails: {error}");
                    Outcome::Failed
                }
            },
            9 => self.background(|engine| engine.checkpoint().map(drop), true),
            10 => self.background(Engine::flush, true),
            11 => self.background(|engine| engine.step().map(drop), false),
            12 => {
                let outcome = self.background(Engine::close, true);
                if matches!(outcome, Outcome::Done) && !self.failing {
                    self.engine = None;
                    return self.recover(self.newest());
                }
                outcome
            }
            13 => return self.end(true, input),
            14 => return self.end(false, input),
            _ => {
                let operation = self.disk.operations() + u64::from(input.byte() % 32);
                self.failing = true;
                return self.disk.inject(Fault { operation, kind: FaultKind::PowerCut, lasting: false });
            }
        };
        if matches!(outcome, Outcome::Failed) {
            assert!(self.failing, "an operation fails on a sound disk");
            self.end(false, input);
        }
    }

    /// Work that changes no key; if it succeeds, and `syncs`, everything is durable.
    fn background(&mut self, work: impl Fn(&Engine) -> treering::Result<()>, syncs: bool) -> Outcome {
        match work(self.engine.as_ref().expect("the store is open")) {
            Ok(()) if syncs => {
                self.durable = self.newest();
                self.kept = self.newest();
                Outcome::Done
            }
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::Failed,
        }
    }

    fn acknowledged(&mut self, lsn: u64, changes: &[Change], durability: Durability) -> Outcome {
        self.oracle.apply(lsn, changes);
        self.kept = lsn;
        if durability == Durability::Sync {
            self.durable = lsn;
        }
        Outcome::Done
    }

    fn failed(&mut self, changes: Vec<Change>) -> Outcome {
        self.unknown = Some(changes);
        Outcome::Failed
    }

    fn put(&mut self, input: &mut Input<'_>) -> Outcome {
        let (key, durability) = (key(input), durability(input));
        let value = value(input);
        let how = WriteOptions { durability: Some(durability), ..WriteOptions::default() };
        let change = vec![Change::Put { key: key.clone(), value: value.clone(), death_ms: None }];
        match self.tree().put_with(&key, &value, &how) {
            Ok(lsn) => self.acknowledged(lsn, &change, durability),
            Err(_) => self.failed(change),
        }
    }

    fn delete(&mut self, input: &mut Input<'_>) -> Outcome {
        let (key, durability) = (key(input), durability(input));
        let how = WriteOptions { durability: Some(durability), ..WriteOptions::default() };
        let change = vec![Change::Delete { key: key.clone() }];
        let there = self.oracle.contents().contains_key(&key);
        match self.tree().delete_with(&key, &how) {
            Ok(deleted) => {
                assert_eq!(deleted, there, "a delete of {key:?}");
                // Its own LSN is not told; this one lies below all later ones.
                let lsn = self.newest() + 1;
                if deleted { self.acknowledged(lsn, &change, durability) } else { Outcome::Done }
            }
            Err(_) => self.failed(change),
        }
    }

    fn batch(&mut self, input: &mut Input<'_>) -> Outcome {
        let durability = durability(input);
        let tree = self.tree();
        let mut batch = self.engine.as_ref().expect("the store is open").batch();
        let mut changes = Vec::new();
        for _ in 0..=input.byte() % 5 {
            let key = key(input);
            if input.byte().is_multiple_of(3) {
                batch.delete(&tree, &key);
                changes.push(Change::Delete { key });
            } else {
                let value = value(input);
                batch.put(&tree, &key, value.clone());
                changes.push(Change::Put { key, value, death_ms: None });
            }
        }
        match batch.commit(Some(durability)) {
            Ok(lsn) => self.acknowledged(lsn, &changes, durability),
            Err(_) => self.failed(changes),
        }
    }

    /// The process is killed, or the power cut; then recovery, which may die as well.
    fn end(&mut self, kill: bool, input: &mut Input<'_>) {
        self.crashes += 1;
        let dead = self.disk.clone();
        let kill = kill && !self.failing;
        self.failing = false;
        self.disk = if kill { dead.kill() } else { dead.crash(input.u16().into()) };
        if let Some(engine) = self.engine.take() {
            engine.abandon();
        }
        if !kill {
            self.clock.reboot();
        }
        let mut floor = if kill { self.kept } else { self.durable };
        for _ in 0..usize::from(input.byte()) % (NESTED_MAX + 1) {
            // A recovery that dies somewhere in the middle, if it gets that far.
            let operation = u64::from(input.byte());
            self.disk.inject(Fault { operation, kind: FaultKind::PowerCut, lasting: false });
            let opened = Engine::open_in(self.environment(), options());
            // A writing open has made durable what it shows; one that died leaves to the power what was not.
            floor = match &opened {
                Ok(engine) => self.shown_at(engine, floor).unwrap_or(self.durable),
                Err(_) => self.durable,
            };
            opened.into_iter().for_each(Engine::abandon);
            self.disk = self.disk.crash(input.u16().into());
        }
        self.recover(floor);
    }

    /// The LSN whose state an engine shows, if it can be read and is no unknown one.
    fn shown_at(&self, engine: &Engine, floor: u64) -> Option<u64> {
        let seen = observe(&engine.default_tree()).ok()?;
        self.oracle.matching_lsn(floor, self.newest(), &seen, 0)
    }

    /// Recovers, and takes what it shows as what is true from now on.
    fn recover(&mut self, floor: u64) {
        let report = verify_in(self.environment(), Options::new()).expect("a crashed store is verified");
        assert!(report.is_clean(), "after a crash: {:?}", report.damages);
        let readable = Options::new().read_only(true);
        let engine = Engine::open_in(self.environment(), readable).expect("a crashed store is read");
        let seen = observe(&engine.default_tree()).expect("what is there is readable");
        engine.abandon();
        let engine = Engine::open_in(self.environment(), options()).expect("a crashed store opens");
        let tree = engine.default_tree();
        let again = observe(&tree).expect("what is there is readable");
        assert_eq!(again, seen, "recovery for writing shows another state");
        self.settle(&seen, floor);
        self.engine = Some(engine);
        self.kept = self.newest();
        self.durable = self.kept;
    }

    /// Finds the LSN that `seen` is the state of, and forgets everything beyond.
    fn settle(&mut self, seen: &Contents, floor: u64) {
        let unknown = self.unknown.take();
        if let Some(lsn) = self.oracle.matching_lsn(floor, self.newest(), seen, 0) {
            return self.oracle.truncate_after(lsn);
        }
        let beyond = seen.values().map(|entry| entry.version).max().unwrap_or(0).max(self.newest() + 1);
        if let Some(changes) = unknown {
            self.oracle.apply(beyond, &changes);
            if self.oracle.contents() == *seen {
                return;
            }
        }
        let describe = |contents: &Contents| {
            contents.iter().map(|(key, entry)| (key.clone(), entry.version)).collect::<Vec<_>>()
        };
        panic!(
            "no state from LSN {floor} on is {:?}; the newest is {:?}",
            describe(seen),
            describe(&self.oracle.contents())
        );
    }
}

fn observe(tree: &Tree) -> treering::Result<Contents> {
    let entry = |entry: treering::Result<treering::Entry>| {
        let entry = entry?;
        let held = Entry { value: entry.value.to_vec(), version: entry.version, death_ms: None };
        Ok((entry.key.to_vec(), held))
    };
    tree.prefix("").map(entry).collect()
}

fn durability(input: &mut Input<'_>) -> Durability {
    if input.byte().is_multiple_of(3) { Durability::Sync } else { Durability::Buffered }
}

fn key(input: &mut Input<'_>) -> Vec<u8> {
    let number = input.byte() % KEYS;
    match number % 5 {
        0 => vec![0; usize::from(number / 5)],
        1 => vec![b'k'; usize::from(number) * 12],
        _ => format!("directory/{}/{number}", number % 3).into_bytes(),
    }
}

/// Inline, staged or, above an eighth of the ring, written to a segment of its own.
fn value(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.byte();
    let length = match shape % 8 {
        0..=3 => usize::from(input.byte() % 64),
        4..=5 => usize::from(input.byte()) * 2,
        6 => 500 + usize::from(input.byte()) * 5,
        _ => 2000 + usize::from(input.byte()) * 4,
    };
    vec![shape; length]
}
