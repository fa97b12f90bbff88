//! `crash`: real children of the `treering` command on real files, killed with SIGKILL at random moments and at
//! named points; and a full disk. It is *not* a test of power loss (that is the simulated disk's).
//!
//! The command is built with `--cfg seeded_defects`, which gives it its crash points, in a target folder of
//! its own. Stores live under the target folder; one that fails stays there, and the message names it.
//!
//! - [`script`]: what children are told to write. [`model`]: what must be there afterwards.
//! - [`child`]: starting, feeding and killing. [`life`]: the rounds on one store.
//! - [`full`]: a small file system, filled to the last byte.

mod child;
mod full;
mod life;
mod model;
mod script;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use treering::segment::crash_point::CrashPoint;

use crate::context::{Context, Outcome, cargo};
use child::Program;
use life::{Life, Tally};

/// Rounds of the short form.
pub(crate) const SHORT_ROUNDS: u64 = 60;
/// Rounds from which on every crash point must have been reached.
const LONG_ROUNDS: u64 = 1_000;
/// Rounds of a store's life, in the long form and in the short one.
const LIFE_ROUNDS: u64 = 100;
const SHORT_LIFE_ROUNDS: u64 = 15;

/// Arguments of `crash`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rounds in all.
    #[arg(long, default_value_t = SHORT_ROUNDS)]
    rounds: u64,
    /// The number from which the script follows.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stores at work at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// No more rounds are begun after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Only the full disk.
    #[arg(long)]
    full: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { rounds: SHORT_ROUNDS, seed: 1, jobs: 2, minutes: None, full: false }
    }
}

/// Runs the kill rounds and the full disk.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    let program = match build(context) {
        Ok(program) => program,
        Err(outcome) => return outcome,
    };
    let home = context.target_folder("crash");
    let killed = if arguments.full { Outcome::Passed } else { kill(&program, &home, arguments) };
    if matches!(killed, Outcome::Failed(_)) { killed } else { killed.and(full::run(&program, &home)) }
}

/// Builds the command with its crash points.
fn build(context: &Context) -> Result<Program, Outcome> {
    let target = context.target_folder("defects");
    let mut command = cargo();
    command.args(["build", "--quiet", "--profile", "campaign", "--package", "treering-cli", "--target-dir"]);
    command.arg(&target).env("RUSTFLAGS", "--cfg seeded_defects");
    match context.run(&mut command) {
        Outcome::Passed => Ok(Program { path: target.join("campaign").join("treering") }),
        outcome => Err(outcome),
    }
}

/// What all stores share.
struct Campaign<'a> {
    program: &'a Program,
    home: &'a Path,
    arguments: &'a Arguments,
    life_rounds: u64,
    started: Instant,
    /// Relaxed everywhere: it only hands out numbers.
    next_life: AtomicU64,
    results: Mutex<(Tally, Vec<String>)>,
}

fn kill(program: &Program, home: &Path, arguments: &Arguments) -> Outcome {
    let life_rounds = if arguments.rounds >= LONG_ROUNDS { LIFE_ROUNDS } else { SHORT_LIFE_ROUNDS };
    let campaign = Campaign {
        program,
        home,
        arguments,
        life_rounds,
        started: Instant::now(),
        next_life: AtomicU64::new(0),
        results: Mutex::new((Tally::default(), Vec::new())),
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| campaign.work());
        }
    });
    let took = campaign.started.elapsed();
    let (tally, failures) = campaign.results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    print_tally(&tally, took);
    if !failures.is_empty() {
        return Outcome::Failed(failures.join("\n"));
    }
    let missed: Vec<&str> = CrashPoint::ALL
        .iter()
        .map(|point| point.name())
        .filter(|name| !tally.at_point.contains_key(*name))
        .collect();
    if tally.rounds >= LONG_ROUNDS && !missed.is_empty() {
        return Outcome::Failed(format!("no process died at {missed:?}"));
    }
    Outcome::Passed
}

impl Campaign<'_> {
    /// Takes lives until all rounds are done, time is up or something failed.
    fn work(&self) {
        loop {
            let life = self.next_life.fetch_add(1, Ordering::Relaxed);
            let first = life * self.life_rounds;
            let last = (first + self.life_rounds).min(self.arguments.rounds);
            let limit = self.arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
            let late = limit.is_some_and(|limit| self.started.elapsed() >= limit);
            if first >= last || late || !self.results().1.is_empty() {
                return;
            }
            let outcome = self.live(life, first..last);
            let mut results = self.results();
            match outcome {
                Ok(tally) => {
                    results.0.add(&tally);
                    if self.arguments.rounds >= LONG_ROUNDS {
                        println!(
                            "{:>6} rounds, {:.0} s",
                            results.0.rounds,
                            self.started.elapsed().as_secs_f64()
                        );
                    }
                }
                Err(why) => results.1.push(why),
            }
        }
    }

    fn results(&self) -> std::sync::MutexGuard<'_, (Tally, Vec<String>)> {
        self.results.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn live(&self, life: u64, rounds: std::ops::Range<u64>) -> Result<Tally, String> {
        let home = self.home.join(format!("life-{life}"));
        empty(&home)?;
        // Three stores of small files for one of the default sizes.
        let small = life % 4 != 3;
        let seed = self.arguments.seed << 32 ^ life;
        // Each life begins elsewhere in the list, so that short runs over several seeds reach all points.
        let points = CrashPoint::ALL.iter().map(|point| point.name()).cycle();
        let skipped = usize::try_from((seed.wrapping_mul(17)) % CrashPoint::ALL.len() as u64).unwrap_or(0);
        let tally = Life::new(self.program, &home, small, seed)
            .live(rounds, &mut points.skip(skipped))
            .map_err(|why| {
                format!(
                    "seed {}, life {life}: {why}; the store is in {}",
                    self.arguments.seed,
                    home.display()
                )
            })?;
        std::fs::remove_dir_all(&home)
            .map_err(|error| format!("cannot remove {}: {error}", home.display()))?;
        Ok(tally)
    }
}

/// An empty directory of this name.
fn empty(directory: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("cannot empty {}: {error}", directory.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))
}

fn print_tally(tally: &Tally, took: Duration) {
    println!(
        "{} rounds in {:.0} s: {} kills at random moments, {} at named points, {} ended before their point; \
         {} lines acknowledged, {} keys compared",
        tally.rounds,
        took.as_secs_f64(),
        tally.random_kills,
        tally.point_kills,
        tally.clean_ends,
        tally.acknowledged,
        tally.keys_compared,
    );
    let deaths: Vec<String> = CrashPoint::ALL
        .iter()
        .map(|point| format!("{} {}", point.name(), tally.at_point.get(point.name()).copied().unwrap_or(0)))
        .collect();
    println!("deaths at named points: {}", deaths.join(", "));
}
