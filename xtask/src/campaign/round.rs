//! One round: a simulated disk, a store on it, a script that is performed on both store and model, deaths,
//! recoveries, and the comparison after each. Single-threaded, no clock, no randomness but the script's: a
//! script runs the same way every time.

use std::sync::Arc;
use std::time::Duration;

use treering::segment::storage::{Environment, Storage};
use treering::{Condition, Durability, Engine, Error, ErrorKind, Options, Tree, WriteOptions, verify_in};
use treering_sim::{Fault, FaultKind, SimClock, SimDisk, environment};

mod amid;

use super::audit::Audit;
use super::interlude::{Interlude, Stage};
use super::model::{Change, Entry, Model, Now, Place, Snapshot};
use super::script::{Action, Death, Generation, How, Part, Require, Script, TreeNumber, Trouble};
use super::store::{check_space, snapshot, tree_name};

/// The wall clock at the start, in ms.
const START_MS: u64 = 1_700_000_000_000;
/// Bytes of records in one log file.
const LOG_BYTES: u64 = 16 << 10;
/// Bytes that every record has at least.
const RECORD_HEADER: u64 = 48;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoundReport {
    /// Deaths, those inside recoveries included.
    pub(crate) cuts: u64,
    /// Deaths inside a recovery.
    pub(crate) nested: u64,
    /// Deaths by power loss.
    pub(crate) power_losses: u64,
    /// Actions performed.
    pub(crate) actions: u64,
    /// Calls of the storage seam.
    pub(crate) disk_operations: u64,
}

impl RoundReport {
    /// Adds another round's numbers.
    pub(crate) fn add(&mut self, other: &RoundReport) {
        self.cuts += other.cuts;
        self.nested += other.nested;
        self.power_losses += other.power_losses;
        self.actions += other.actions;
        self.disk_operations += other.disk_operations;
    }
}

/// Performs `script`; an error says what the store did wrong.
pub(crate) fn perform(script: &Script, trace: Option<&mut Vec<String>>) -> Result<RoundReport, String> {
    let mut round = Round::new(script, trace);
    round.run()?;
    round.report.disk_operations += round.disk.operations();
    Ok(round.report)
}

/// How a life went on after an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    GoesOn,
    /// The disk died under it.
    Died,
    /// The store refuses to go on, the disk lives: the process gives up.
    GaveUp,
}

struct Round<'a> {
    script: &'a Script,
    disk: SimDisk,
    audit: Arc<Audit>,
    interlude: Interlude,
    clock: SimClock,
    model: Model,
    engine: Option<Engine>,
    faulty: bool,
    /// Whether the last death took what was not durable.
    loses: bool,
    /// Whether the disk may be full.
    full: bool,
    /// How far store time may be behind the wall clock at most.
    lag_ms: u64,
    report: RoundReport,
    trace: Option<&'a mut Vec<String>>,
}

impl<'a> Round<'a> {
    fn new(script: &'a Script, trace: Option<&'a mut Vec<String>>) -> Self {
        let disk = SimDisk::new(script.seed);
        Self {
            script,
            audit: Audit::watch(&disk, LOG_BYTES, Vec::new()),
            disk,
            clock: SimClock::new(START_MS),
            model: Model::new(),
            engine: None,
            interlude: Interlude::default(),
            faulty: false,
            loses: false,
            full: false,
            lag_ms: 0,
            report: RoundReport::default(),
            trace,
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn environment(&self) -> Environment {
        let stage =
            Stage { disk: self.disk.clone(), interlude: self.interlude.clone(), maps: self.script.maps };
        Environment { storage: Arc::new(stage), ..environment(&self.disk, &self.clock, self.script.seed) }
    }

    fn options(&self) -> Options {
        let durability = if self.script.sync_by_default { Durability::Sync } else { Durability::Buffered };
        Options::new()
            .background(false)
            .durability(durability)
            .frame_bytes(4 << 10)
            .ring_bytes(16 << 10)
            .log_segment_bytes(LOG_BYTES)
            .log_cap_bytes(self.script.log_cap_bytes)
            .staging_limit(self.script.staging_limit)
            .inline_limit(self.script.inline_limit)
    }

    fn now(&self) -> Now {
        use treering::segment::storage::Clock;
        Now { wall_ms: self.clock.wall_ms(), lag_ms: self.lag_ms }
    }

    fn engine(&self) -> Result<&Engine, String> {
        self.engine.as_ref().ok_or_else(|| "the campaign has no open store".to_owned())
    }

    fn run(&mut self) -> Result<(), String> {
        let script = self.script;
        let nested: Vec<Death> = script.creation.into_iter().collect();
        self.say(|| "the store is created".to_owned());
        self.open_until_it_works(&nested, false)?;
        for (number, generation) in script.generations.iter().enumerate() {
            self.say(|| format!("life {}", number + 1));
            self.live(generation)?;
        }
        self.end()
    }

    /// One life, its death, and what follows up to the next open store.
    fn live(&mut self, generation: &Generation) -> Result<(), String> {
        let mut life = Life::GoesOn;
        for (number, action) in generation.actions.iter().enumerate() {
            if number == generation.dies_in {
                self.arm(FaultKind::PowerCut, generation.death.after, false);
            }
            self.say(|| format!("  {number}: {action}"));
            self.clock.advance(1);
            self.report.actions += 1;
            life = self.perform(action).map_err(|why| format!("{why}\n  after: {action}"))?;
            self.audit.verdict().map_err(|why| format!("{why}\n  during: {action}"))?;
            if self.disk.is_dead() {
                life = Life::Died;
            }
            if life != Life::GoesOn {
                break;
            }
        }
        let how = if life == Life::GaveUp { How::Kill } else { generation.death.how };
        let between = if life == Life::GoesOn { "between two operations" } else { "inside the operation" };
        self.say(|| format!("  {} {between}", Death { how, ..generation.death }));
        self.die(how);
        self.open_until_it_works(&generation.nested, generation.inspect)
    }

    fn arm(&mut self, kind: FaultKind, after: u64, lasting: bool) {
        self.disk.inject(Fault { operation: self.disk.operations() + after, kind, lasting });
    }

    /// The process ends; what it leaves is the new disk.
    fn die(&mut self, how: How) {
        self.report.cuts += 1;
        self.report.disk_operations += self.disk.operations();
        self.loses = matches!(how, How::Power(_)) || self.disk.has_forgotten();
        let next = match how {
            // What lay behind the failed sync may be lost as if the power had been.
            How::Kill if self.disk.has_forgotten() => {
                self.model.lose_power();
                self.disk.kill_and_evict()
            }
            How::Kill => self.disk.kill(),
            How::Power(seed) => {
                self.report.power_losses += 1;
                self.model.lose_power();
                self.clock.reboot();
                self.disk.crash(seed)
            }
        };
        if let Some(engine) = self.engine.take() {
            engine.abandon();
        }
        self.disk = next;
        self.audit = Audit::watch(&self.disk, LOG_BYTES, self.audit.voids());
        self.disk.set_capacity(u64::MAX);
        (self.faulty, self.full) = (false, false);
        self.lag_ms = self.now().wall_ms - START_MS;
    }

    /// Opens the store for writing, dying on the way as often as `nested` has it, and settles on what it shows.
    fn open_until_it_works(&mut self, nested: &[Death], inspect: bool) -> Result<(), String> {
        let mut nested = nested.iter();
        let mut known: Option<Snapshot> = None;
        loop {
            if self.loses {
                known = None;
            }
            if inspect {
                let seen = self.inspect()?;
                same(known.as_ref(), &seen, "a second recovery of the same remains")?;
                known = Some(seen);
            }
            let death = nested.next();
            if let Some(death) = death {
                self.arm(FaultKind::PowerCut, death.after, false);
            }
            let opened = Engine::open_in(self.environment(), self.options());
            self.audit.verdict().map_err(|why| format!("{why}\n  during recovery"))?;
            if let Some(death) = death.filter(|_| self.disk.is_dead()) {
                self.say(|| format!("  {death} during recovery"));
                self.engine = opened.ok();
                self.report.nested += 1;
                self.die(death.how);
                continue;
            }
            self.disk.clear_faults();
            let engine = opened.map_err(|error| format!("the store does not open: {error}"))?;
            let seen = snapshot(&engine).map_err(|error| format!("after recovery: {error}"))?;
            same(known.as_ref(), &seen, "the writing open after a read-only one")?;
            let now = self.now();
            let step = self.model.place(&seen, now).map_err(|why| format!("after recovery {why}"))?;
            let (steps, records) = (self.model.steps(), seen.records.len());
            self.say(|| format!("  recovered: step {step} of {steps}, {records} records"));
            self.model.settle(step, &seen, now)?;
            self.lag_ms = self.lag_ms.min(now.wall_ms.saturating_sub(self.model.store_time_min(&seen)));
            self.model
                .equals_newest(&seen, self.now())
                .map_err(|why| format!("after recovery, by the time that the newest record tells: {why}"))?;
            self.note_void(&engine)?;
            self.check_log().map_err(|why| format!("{why}, after recovery"))?;
            check_space(&engine, &self.disk, self.audit.live_frame_bytes())?;
            self.engine = Some(engine);
            return Ok(());
        }
    }

    /// What lies between the newest record that a recovery has found and where the log goes on is void.
    fn note_void(&self, engine: &Engine) -> Result<(), String> {
        let stats = engine.stats().map_err(|error| format!("statistics: {error}"))?;
        self.audit.note_void(self.model.newest_version + RECORD_HEADER..stats.log_durable);
        Ok(())
    }

    /// All records that are there are durable, on the device itself.
    fn check_log(&self) -> Result<(), String> {
        match self.model.newest_version {
            0 => Ok(()),
            version => self.audit.check_log(&self.disk, version + RECORD_HEADER),
        }
    }

    /// Everything so far was acknowledged as durable.
    fn made_durable(&mut self) -> Result<(), String> {
        self.model.make_durable();
        self.check_log()
    }

    /// Looks at what a crash left without changing it.
    fn inspect(&mut self) -> Result<Snapshot, String> {
        let options = self.options();
        let report = verify_in(self.environment(), options.clone());
        let report = report.map_err(|error| format!("verify of the remains: {error}"))?;
        if let Some(damage) = report.damages.first() {
            return Err(format!("verify of the remains finds damage: {damage:?}"));
        }
        let engine = Engine::open_in(self.environment(), options.read_only(true))
            .map_err(|error| format!("the remains do not open for reading: {error}"))?;
        let seen = snapshot(&engine).map_err(|error| format!("the remains: {error}"))?;
        self.model.place(&seen, self.now()).map_err(|why| format!("read-only, {why}"))?;
        engine.close().map_err(|error| format!("closing a read-only store: {error}"))?;
        Ok(seen)
    }

    /// A clean end, after which everything is there, durably.
    fn end(&mut self) -> Result<(), String> {
        self.say(|| "the store is closed for good".to_owned());
        let engine = self.engine.take().ok_or("the campaign has no open store")?;
        engine.close().map_err(|error| format!("the last close: {error}"))?;
        drop(engine);
        self.model.make_durable();
        self.die(How::Power(self.script.seed));
        self.report.cuts -= 1;
        self.report.power_losses -= 1;
        self.inspect().map(drop)
    }

    fn perform(&mut self, action: &Action) -> Result<Life, String> {
        match action {
            Action::Put { part, require, sync } => self.put(part, *require, *sync),
            Action::Delete { tree, key, require, sync } => self.delete(*tree, key, *require, *sync),
            Action::Batch { parts, sync } => self.batch(parts, *sync),
            Action::Get { tree, key } => self.get(*tree, key),
            Action::Compare => self.compare(),
            Action::CreateTree(tree) => self.create_tree(*tree),
            Action::DropTree(tree) => self.drop_tree(*tree),
            Action::Step(count) => self.step(*count),
            Action::Checkpoint => {
                let outcome = self.engine()?.checkpoint().map(drop);
                self.durably(outcome)
            }
            Action::CheckpointAmid { after, parts, together, sync } => {
                self.checkpoint_amid(*after, parts, *together, *sync)
            }
            Action::Space(left) => self.space(*left),
            Action::Flush => {
                let outcome = self.engine()?.flush();
                self.durably(outcome)
            }
            Action::Reopen => self.reopen(),
            Action::Wait(ms) => {
                self.clock.advance(*ms);
                Ok(Life::GoesOn)
            }
            Action::Fault { kind, after, lasting } => {
                self.faulty = true;
                let kind = match kind {
                    Trouble::InputOutput => FaultKind::InputOutput,
                    Trouble::NoSpace => FaultKind::NoSpace,
                    Trouble::Interrupted => FaultKind::Interrupted,
                    Trouble::ShortCount => FaultKind::ShortCount,
                    Trouble::FailedSync => FaultKind::FailedSync,
                };
                self.arm(kind, *after, *lasting);
                Ok(Life::GoesOn)
            }
        }
    }

    /// The tree, where store and model agree that there is one.
    fn tree(&self, number: TreeNumber) -> Result<Option<Tree>, String> {
        let engine = self.engine()?;
        let tree = if number == 0 {
            Some(engine.default_tree())
        } else {
            engine.tree(&tree_name(number)).map_err(|error| format!("finding a tree: {error}"))?
        };
        let should = self.model.newest.trees.contains(&number);
        if tree.is_some() != should {
            return Err(format!("tree {number} should be there: {should}, is: {}", tree.is_some()));
        }
        Ok(tree)
    }

    fn condition(&self, require: Require, place: &Place) -> (Condition, bool) {
        let there = self.model.newest.records.get(place);
        let current = there.and_then(|entry| entry.version);
        match require {
            Require::Nothing => (Condition::None, true),
            Require::Absent => (Condition::Absent, there.is_none()),
            Require::Current => (Condition::Version(current.unwrap_or(1)), current.is_some()),
            Require::Stale => (Condition::Version(current.map_or(7, |version| version - 1)), false),
        }
    }

    /// Has the model forget a record that the store shows as expired, where either is right.
    fn see_age(&mut self, tree: &Tree, place: &Place) -> Result<(), String> {
        if self.model.newest.records.get(place).is_none_or(|entry| entry.dies_ms.is_none()) {
            return Ok(());
        }
        let there = tree.contains(&place.1).map_err(|error| format!("looking for a key: {error}"))?;
        if !there { self.model.expire(place, self.now()) } else { Ok(()) }
    }

    fn put(&mut self, part: &Part, require: Require, sync: bool) -> Result<Life, String> {
        let Some(tree) = self.tree(part.tree)? else { return Ok(Life::GoesOn) };
        let place = (part.tree, part.key.clone());
        if require != Require::Nothing {
            self.see_age(&tree, &place)?;
        }
        let (condition, holds) = self.condition(require, &place);
        let value = part.value.map(|value| value.expand()).unwrap_or_default();
        let how = WriteOptions {
            durability: sync.then_some(Durability::Sync),
            condition,
            ttl: part.ttl_ms.map(Duration::from_millis),
        };
        let outcome = tree.put_with(&part.key, &value, &how);
        let change = Change::Put(place, self.entry(value, part.ttl_ms));
        self.written(vec![change], outcome.map(Some), holds, sync)
    }

    fn entry(&self, value: Vec<u8>, ttl_ms: Option<u64>) -> Entry {
        let dies_ms = ttl_ms.map(|ttl| self.now().wall_ms + ttl);
        let stored_ms = self.now().wall_ms - self.lag_ms;
        Entry { value: Arc::from(value), version: None, after_version: 0, dies_ms, stored_ms }
    }

    fn delete(
        &mut self,
        number: TreeNumber,
        key: &[u8],
        require: Require,
        sync: bool,
    ) -> Result<Life, String> {
        let Some(tree) = self.tree(number)? else { return Ok(Life::GoesOn) };
        let place = (number, key.to_vec());
        self.see_age(&tree, &place)?;
        let (condition, holds) = self.condition(require, &place);
        let there = self.model.newest.records.contains_key(&place);
        let how = WriteOptions { durability: sync.then_some(Durability::Sync), condition, ttl: None };
        let outcome = tree.delete_with(key, &how);
        if let Ok(deleted) = outcome {
            if deleted != there {
                return Err(format!("the delete says {deleted}, the key was there: {there}"));
            }
            if !deleted && holds {
                // It logged nothing, so its acknowledgement means nothing.
                return Ok(Life::GoesOn);
            }
        }
        self.written(vec![Change::Delete(place)], outcome.map(|_| None), holds, sync)
    }

    fn batch(&mut self, parts: &[Part], sync: bool) -> Result<Life, String> {
        let mut batch = self.engine()?.batch();
        let mut changes = Vec::new();
        for part in parts {
            let Some(tree) = self.tree(part.tree)? else { continue };
            let place = (part.tree, part.key.clone());
            let Some(value) = part.value else {
                batch.delete(&tree, &part.key);
                changes.push(Change::Delete(place));
                continue;
            };
            let value = value.expand();
            changes.push(Change::Put(place, self.entry(value.clone(), part.ttl_ms)));
            match part.ttl_ms {
                Some(ttl) => {
                    let ttl = Duration::from_millis(ttl);
                    batch
                        .put_with_ttl(&tree, &part.key, value, ttl)
                        .map_err(|error| format!("adding to a batch: {error}"))?;
                }
                None => {
                    batch.put(&tree, &part.key, value);
                }
            }
        }
        if changes.is_empty() {
            return Ok(Life::GoesOn);
        }
        let outcome = batch.commit(sync.then_some(Durability::Sync));
        self.written(changes, outcome.map(Some), true, sync)
    }

    /// What a write came to, in the model.
    fn written(
        &mut self,
        changes: Vec<Change>,
        outcome: Result<Option<u64>, Error>,
        holds: bool,
        sync: bool,
    ) -> Result<Life, String> {
        let error = match outcome {
            Ok(version) => {
                if !holds {
                    return Err("a write succeeded though its condition does not hold".to_owned());
                }
                self.model.submit(changes, version)?;
                // Whoever is dead has acknowledged nothing.
                if !self.disk.is_dead() {
                    let durable = sync || self.script.sync_by_default;
                    if durable { self.made_durable()? } else { self.model.acknowledge() }
                }
                return Ok(Life::GoesOn);
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Conflict if !holds => Ok(Life::GoesOn),
            ErrorKind::TooLarge if changes.len() > 1 => Ok(Life::GoesOn),
            _ if self.disk.is_dead() => {
                self.model.submit(changes, None)?;
                Ok(Life::Died)
            }
            _ => {
                let life = self.failed(&error)?;
                if life == Life::GaveUp {
                    self.model.submit(changes, None)?;
                }
                self.compare_after(life)
            }
        }
    }

    fn change(&self, part: &Part) -> Change {
        let place = (part.tree, part.key.clone());
        match part.value {
            Some(value) => Change::Put(place, self.entry(value.expand(), part.ttl_ms)),
            None => Change::Delete(place),
        }
    }

    /// Leaves `left` bytes of the disk, or gives it all the space that it wants.
    fn space(&mut self, left: Option<u64>) -> Result<Life, String> {
        let Ok(space) = self.disk.space() else { return Ok(Life::Died) };
        let capacity = left.map_or(u64::MAX, |left| space.total - space.available + left);
        self.disk.set_capacity(capacity);
        self.full = left.is_some();
        Ok(Life::GoesOn)
    }

    /// Whether an error of the store may be: the disk has failed, or is full.
    fn failed(&mut self, error: &Error) -> Result<Life, String> {
        if self.disk.is_dead() {
            return Ok(Life::Died);
        }
        match error.kind() {
            ErrorKind::Io | ErrorKind::Full if self.faulty => {
                // What has failed may have ended the store as well.
                let ended = self.engine()?.flush().is_err();
                Ok(if ended || self.disk.is_dead() { Life::GaveUp } else { Life::GoesOn })
            }
            ErrorKind::Poisoned if self.faulty => match self.engine()?.flush() {
                Ok(()) if !self.disk.is_dead() => Err("a poisoned store makes durable again (F1)".to_owned()),
                _ => Ok(Life::GaveUp),
            },
            ErrorKind::Full if self.full => match self.engine()?.flush() {
                Err(error) if !self.disk.is_dead() => Err(format!("on a full disk, a flush: {error}")),
                _ if self.disk.is_dead() => Ok(Life::Died),
                _ => Ok(Life::GoesOn),
            },
            _ => Err(format!("unexpected error: {error}")),
        }
    }

    /// After a failed write that left the store usable: nothing of it may show.
    fn compare_after(&mut self, life: Life) -> Result<Life, String> {
        if life == Life::GoesOn && !self.disk.is_dead() {
            return self.compare();
        }
        Ok(life)
    }

    fn durably(&mut self, outcome: Result<(), Error>) -> Result<Life, String> {
        match outcome {
            Ok(()) => {
                if !self.disk.is_dead() {
                    self.made_durable()?;
                }
                Ok(Life::GoesOn)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn get(&mut self, number: TreeNumber, key: &[u8]) -> Result<Life, String> {
        let Some(tree) = self.tree(number)? else { return Ok(Life::GoesOn) };
        let seen = super::store::read(&tree, key);
        match seen {
            Ok(seen) => {
                let place = (number, key.to_vec());
                let entry = self.model.newest.records.get(&place);
                if !super::model::agrees(entry, seen.as_ref(), self.now()) {
                    return Err(format!("a read should find {entry:?}, finds {seen:?}"));
                }
                Ok(Life::GoesOn)
            }
            Err(error) => self.failed(&error),
        }
    }

    fn compare(&mut self) -> Result<Life, String> {
        match snapshot(self.engine()?) {
            Ok(seen) => self.model.equals_newest(&seen, self.now()).map(|()| Life::GoesOn),
            Err(error) => self.failed(&error),
        }
    }

    fn create_tree(&mut self, number: TreeNumber) -> Result<Life, String> {
        if number == 0 || self.tree(number)?.is_some() {
            return Ok(Life::GoesOn);
        }
        let outcome = self.engine()?.create_tree(&tree_name(number)).map(|_| None);
        self.written(vec![Change::CreateTree(number)], outcome, true, false)
    }

    fn drop_tree(&mut self, number: TreeNumber) -> Result<Life, String> {
        if number == 0 || self.tree(number)?.is_none() {
            return Ok(Life::GoesOn);
        }
        let engine = self.engine()?;
        let outcome = engine.drop_tree(&tree_name(number)).map(|_| None);
        // A drop that failed half-way has dropped the name.
        let gone = engine.tree(&tree_name(number)).is_ok_and(|tree| tree.is_none());
        let changes = vec![Change::DropTree(number)];
        if outcome.is_err() && gone && !self.disk.is_dead() {
            self.model.submit(changes, None)?;
            return outcome.map_or_else(|error| self.failed(&error), |_| Ok(Life::GoesOn));
        }
        self.written(changes, outcome, true, false)
    }

    fn step(&mut self, count: u8) -> Result<Life, String> {
        for _ in 0..count {
            match self.engine()?.step() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.failed(&error),
            }
        }
        Ok(Life::GoesOn)
    }

    fn reopen(&mut self) -> Result<Life, String> {
        let Some(engine) = self.engine.take() else { return Ok(Life::GoesOn) };
        let closed = engine.close();
        drop(engine);
        if let Err(error) = closed {
            return if self.disk.is_dead() {
                Ok(Life::Died)
            } else if self.full && error.kind() == ErrorKind::Full
                || self.faulty
                    && matches!(error.kind(), ErrorKind::Io | ErrorKind::Full | ErrorKind::Poisoned)
            {
                Ok(Life::GaveUp)
            } else {
                Err(format!("closing: {error}"))
            };
        }
        if !self.disk.is_dead() {
            self.model.make_durable();
        }
        match Engine::open_in(self.environment(), self.options()) {
            Ok(engine) => {
                let clean = engine.stats().map(|stats| stats.recovery_was_clean);
                self.engine = Some(engine);
                if self.disk.is_dead() {
                    return Ok(Life::Died);
                }
                match clean {
                    Ok(true) => self.compare(),
                    Ok(false) => Err("a store that was closed is not found so".to_owned()),
                    Err(error) => self.failed(&error),
                }
            }
            Err(_) if self.disk.is_dead() => Ok(Life::Died),
            Err(error)
                if self.faulty && error.kind() == ErrorKind::Io
                    || (self.faulty || self.full) && error.kind() == ErrorKind::Full =>
            {
                Ok(Life::GaveUp)
            }
            Err(error) => Err(format!("reopening: {error}")),
        }
    }
}

/// Recovery of the same remains shows the same state, however often it is begun.
fn same(known: Option<&Snapshot>, seen: &Snapshot, what: &str) -> Result<(), String> {
    match known {
        Some(known) if known != seen => {
            let differs = known.records.iter().find(|(place, entry)| seen.records.get(*place) != Some(entry));
            let more = seen.records.keys().find(|place| !known.records.contains_key(*place));
            Err(format!("{what} shows another state: {differs:?} / {more:?}"))
        }
        _ => Ok(()),
    }
}
