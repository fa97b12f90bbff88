//! One store's life: rounds of children that write, die and are judged, all on one directory. It is *not*
//! replayable to the byte, as threads and kills take their own time; the seed fixes the script.
//!
//! A round is a `load --ack`, or one short command (`put`, `del`, `checkpoint`), killed at a random moment or at a
//! named point. After it the store is verified, read whole by a read-only open, and held against the
//! model; the next round goes on with the same store, so that its recovery is judged as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use treering::{Engine, Options, verify};

use crate::crash::child::{Death, End, Program};
use crate::crash::model::{Contents, Held, Key, Told, check_load, check_untouched};
use crate::crash::script::{Line, Random, Shape};

/// Where a store is created as a test of creation alone.
const NURSERY: &str = "nursery";

/// Trees that lines go to; the first is the default one.
const TREES: [&str; 3] = ["", "", "second tree"];

/// The round of the line that creates a store.
const BEFORE_ALL_ROUNDS: u64 = u32::MAX as u64;

/// What a life came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rounds: u64,
    pub(crate) random_kills: u64,
    pub(crate) point_kills: u64,
    pub(crate) clean_ends: u64,
    pub(crate) acknowledged: u64,
    pub(crate) keys_compared: u64,
    /// Deaths at each point.
    pub(crate) at_point: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.random_kills += other.random_kills;
        self.point_kills += other.point_kills;
        self.clean_ends += other.clean_ends;
        self.acknowledged += other.acknowledged;
        self.keys_compared += other.keys_compared;
        for (point, deaths) in &other.at_point {
            *self.at_point.entry(point.clone()).or_default() += deaths;
        }
    }
}

/// Points at which only the making of a store passes.
const CREATION: [&str; 5] = ["StoreCreating", "LogCreated", "FramesCreated", "ManifestCreated", "StoreReady"];
/// Whether a process passes there only after much work: a manifest is written anew when it has grown.
fn is_rare(point: &str) -> bool {
    point.starts_with("NewManifest")
}

/// Points behind which a segment lies that nothing names.
const LEAVES_ORPHANS: [&str; 4] =
    ["SegmentWritten", "SegmentSealed", "LeavesRepointed", "DirectSegmentSealed"];
const ORPHAN_REMOVED: &str = "OrphanRemoved";

/// A store and what it must hold.
pub(crate) struct Life<'a> {
    program: &'a Program,
    home: PathBuf,
    small: bool,
    random: Random,
    contents: Contents,
    tally: Tally,
    /// The point at which the round before died.
    died_at: Option<String>,
    /// What was done last, for messages.
    doing: String,
}

impl<'a> Life<'a> {
    /// A life in directory `home`, which exists and is empty.
    pub(crate) fn new(program: &'a Program, home: &Path, small: bool, seed: u64) -> Self {
        Self {
            program,
            home: home.to_path_buf(),
            small,
            random: Random::new(seed),
            contents: Contents::new(),
            tally: Tally::default(),
            died_at: None,
            doing: String::new(),
        }
    }

    fn store(&self) -> PathBuf {
        self.home.join("store")
    }

    fn flags(&self) -> Vec<OsString> {
        size_flags(self.small)
    }

    /// Runs rounds `numbers`; each dies at random or at the next of `points`.
    pub(crate) fn live(
        &mut self,
        numbers: std::ops::Range<u64>,
        points: &mut dyn Iterator<Item = &'a str>,
    ) -> Result<Tally, String> {
        let mut first: Vec<OsString> = vec!["put".into(), self.store().into(), "first".into()];
        let line = Line { round: BEFORE_ALL_ROUNDS, number: 1 };
        first.push(line.value(Shape { large_bytes: 0 }).into());
        first.extend(self.flags());
        self.succeeds(&first)?;
        self.contents = self.read()?;
        for round in numbers {
            self.round(round, points).map_err(|why| format!("round {round} ({}): {why}", self.doing))?;
            self.tally.rounds += 1;
        }
        self.doing = "the end of the life".into();
        self.succeeds(&["checkpoint".into(), self.store().into()])?;
        self.succeeds(&["verify".into(), self.store().into()])?;
        let found = self.read()?;
        check_untouched(&self.contents, &found, |_| false)?;
        Ok(std::mem::take(&mut self.tally))
    }

    fn succeeds(&self, arguments: &[OsString]) -> Result<(), String> {
        match self.program.run(arguments, &Death::None)? {
            (End::Exited(0), _) => Ok(()),
            (end, said) => Err(format!("{arguments:?} ended with {end:?}: {said}")),
        }
    }

    fn round(&mut self, round: u64, points: &mut dyn Iterator<Item = &'a str>) -> Result<(), String> {
        let name = match self.random.one_in(2) {
            true => None,
            false => points.next(),
        };
        let after_orphan = self.died_at.take().is_some_and(|at| LEAVES_ORPHANS.contains(&at.as_str()));
        let death = match name {
            _ if after_orphan && self.random.one_in(2) => self.at_point(ORPHAN_REMOVED),
            Some(name) if CREATION.contains(&name) => return self.creation(round, name),
            Some(name) => self.at_point(name),
            None => {
                let lines = if self.random.one_in(9) { 0 } else { 1 + self.random.below(400) };
                Death::Random { lines, wait: Duration::from_micros(self.random.below(20_000)) }
            }
        };
        let rare = matches!(&death, Death::Point { name, .. } if is_rare(name));
        if self.random.one_in(5) && !rare { self.short(round, &death) } else { self.load(round, &death) }
    }

    fn at_point(&mut self, name: &str) -> Death {
        let many = [1, 1, 3, 40][usize::try_from(self.random.below(4)).unwrap_or(0)];
        // A process opens and closes once.
        let once =
            name.contains("Again") || name.starts_with("Close") || name == "RingRenewed" || is_rare(name);
        let passing = if once { 1 } else { 1 + self.random.below(many) };
        Death::Point { name: name.to_owned(), passing }
    }

    /// A round of many lines.
    fn load(&mut self, round: u64, death: &Death) -> Result<(), String> {
        let rare = matches!(death, Death::Point { name, .. } if is_rare(name));
        let sync = self.random.one_in(2) && !rare;
        let mut flags = self.flags();
        if sync {
            flags.push("--sync".into());
        }
        if self.random.one_in(4) {
            flags.push("--ttl=90d".into());
        }
        let large_bytes = if self.small { 20_000 } else { 300_000 };
        let batch = if self.random.one_in(4) { if self.small { 4 } else { 32 } } else { 1 };
        let mut told = Told {
            tree: TREES[usize::try_from(self.random.below(3)).unwrap_or(0)].to_owned(),
            round,
            shape: Shape { large_bytes },
            submitted: match death {
                Death::Random { .. } => u64::MAX,
                _ if rare => 15_000,
                _ if sync && batch == 1 => 60 + self.random.below(200),
                _ => 200 + self.random.below(1_500),
            },
            acknowledged: BTreeSet::new(),
            threads: 1 + round % 4,
            batch,
        };
        let death = match death {
            Death::Random { lines, wait } if sync && batch == 1 => {
                Death::Random { lines: lines / 4, wait: *wait }
            }
            other => other.clone(),
        };
        self.doing = format!("load of {} threads, batches of {batch}, sync {sync}, {death:?}", told.threads);
        let most = told.submitted;
        let (end, said) = self.program.load(&self.store(), &flags, &mut told, &death)?;
        let acknowledged = told.acknowledged.len() as u64;
        match (end, &death) {
            (End::Killed, _) => {}
            (End::Exited(0), Death::Point { .. }) if acknowledged == most => {}
            _ => return Err(format!("the child ended with {end:?}, {acknowledged} of {most} lines: {said}")),
        }
        self.count(end, &death);
        self.tally.acknowledged += acknowledged;
        let found = self.read()?;
        check_load(&self.contents, &told, &found)?;
        self.contents = found;
        Ok(())
    }

    /// A round of one short command, so that opening and closing fill most of a process's time.
    fn short(&mut self, round: u64, death: &Death) -> Result<(), String> {
        let store: OsString = self.store().into();
        let shape = Shape { large_bytes: 0 };
        let line = Line { round, number: 1 };
        let picked = usize::try_from(self.random.below(self.contents.len().max(1) as u64)).unwrap_or(0);
        let known = self.contents.keys().filter(|(tree, _)| tree.is_empty()).nth(picked).cloned();
        let (mut arguments, key, after): (Vec<OsString>, Option<Key>, Option<Line>) =
            match (self.random.below(3), known) {
                (0, Some(key)) => (vec!["del".into(), store, (&key.1).into()], Some(key), None),
                (1, _) => {
                    let key = (String::new(), line.key(shape));
                    let value = line.value(shape);
                    (vec!["put".into(), store, (&key.1).into(), value.into()], Some(key), Some(line))
                }
                _ => (vec!["checkpoint".into(), store], None, None),
            };
        arguments.extend(self.flags());
        let death = match death {
            Death::Random { wait, .. } => Death::Random { lines: 0, wait: *wait },
            Death::Point { name, .. } => Death::Point { name: name.clone(), passing: 1 },
            Death::None => Death::None,
        };
        self.doing = format!("{:?}, {death:?}", arguments.iter().take(3).collect::<Vec<_>>());
        let (end, said) = self.program.run(&arguments, &death)?;
        if !matches!(end, End::Killed | End::Exited(0)) {
            return Err(format!("the child ended with {end:?}: {said}"));
        }
        self.count(end, &death);
        let found = self.read()?;
        check_untouched(&self.contents, &found, |other| Some(other) == key.as_ref())?;
        if let Some(key) = key {
            let (was, is) = (self.contents.get(&key), found.get(&key));
            let done = match (after, is) {
                (None, None) => true,
                (Some(line), Some(held)) => {
                    held.line == line && was.is_none_or(|was| was.version < held.version)
                }
                _ => false,
            };
            if !done && (end == End::Exited(0) || was != is) {
                return Err(format!("{key:?} held {was:?} and now holds {is:?}; the child: {end:?}"));
            }
        }
        self.contents = found;
        Ok(())
    }

    /// A round of creations: killed at the named point, killed at another one, then done.
    fn creation(&mut self, round: u64, name: &str) -> Result<(), String> {
        let nursery = self.home.join(NURSERY);
        let again = CREATION[usize::try_from(self.random.below(CREATION.len() as u64)).unwrap_or(0)];
        self.doing = format!("creation killed at {name}, then at {again}");
        let line = Line { round, number: 1 };
        let shape = Shape { large_bytes: 0 };
        let mut put: Vec<OsString> = vec!["put".into(), (&nursery).into(), "key".into()];
        put.push(line.value(shape).into());
        put.extend(self.flags());
        for name in [name, again] {
            let death = Death::Point { name: name.to_owned(), passing: 1 };
            let (end, said) = self.program.run(&put, &death)?;
            // A store that is ready is not created again.
            if !matches!(end, End::Killed | End::Exited(0)) {
                return Err(format!("the child ended with {end:?}: {said}"));
            }
            self.count(end, &death);
        }
        self.succeeds(&put)?;
        self.succeeds(&["verify".into(), (&nursery).into()])?;
        let (contents, compared) = read(&nursery)?;
        self.tally.keys_compared += compared;
        let whole = contents.len() == 1 && contents.values().all(|held| held.line == line);
        if !whole {
            return Err(format!("a store created after two kills holds {contents:?}"));
        }
        std::fs::remove_dir_all(&nursery).map_err(|error| format!("cannot remove the nursery: {error}"))
    }

    fn count(&mut self, end: End, death: &Death) {
        match (end, death) {
            (End::Killed, Death::Point { name, .. }) => {
                self.tally.point_kills += 1;
                *self.tally.at_point.entry(name.clone()).or_default() += 1;
                self.died_at = Some(name.clone());
            }
            (End::Killed, _) => self.tally.random_kills += 1,
            (End::Exited(_), _) => self.tally.clean_ends += 1,
        }
    }

    fn read(&mut self) -> Result<Contents, String> {
        let (contents, compared) = read(&self.store())?;
        self.tally.keys_compared += compared;
        Ok(contents)
    }
}

/// A store's sizes, as flags: fixed at creation, and the cap with every open.
pub(crate) fn size_flags(small: bool) -> Vec<OsString> {
    let flags: &[&str] = match small {
        true => &[
            "--frame-bytes=4096",
            "--ring-bytes=65536",
            "--log-segment-bytes=65536",
            "--log-cap-bytes=524288",
        ],
        false => &["--log-cap-bytes=4194304"],
    };
    flags.iter().map(OsString::from).collect()
}

/// Verifies a store and reads it whole, without changing a byte.
pub(crate) fn read(store: &Path) -> Result<(Contents, u64), String> {
    let options = || Options::new().read_only(true).create_if_missing(false);
    let report = verify(store, options()).map_err(|error| format!("cannot verify: {error}"))?;
    if !report.is_clean() {
        return Err(format!("verify finds damage: {:?}", report.damages));
    }
    let accounted = report.live_bytes + report.free_bytes;
    if accounted != report.file_bytes || !report.foreign_files.is_empty() {
        return Err(format!("verify accounts for {accounted} bytes of {}: {report:?}", report.file_bytes));
    }
    let text = |error: treering::Error| format!("cannot read: {error}");
    let engine = Engine::open(store, options()).map_err(text)?;
    let mut contents = Contents::new();
    for name in engine.trees().map_err(text)? {
        let Some(tree) = engine.tree(&name).map_err(text)? else {
            return Err(format!("tree {name:?} is listed and not there"));
        };
        let name = if TREES.contains(&name.as_str()) { name } else { String::new() };
        for entry in tree.prefix("") {
            let entry = entry.map_err(text)?;
            let line = Line::told_by(&entry.value)?;
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            contents.insert((name.clone(), key), Held { line, version: entry.version });
        }
    }
    let compared = contents.len() as u64;
    Ok((contents, compared))
}
