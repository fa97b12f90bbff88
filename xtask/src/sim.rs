//! `sim`: campaigns on the simulated disk, over ranges of seeds, on all processors. A failing round is
//! shrunk and printed with its seed, which alone replays it.
//!
//! Rounds run in a build with optimisations and assertions (the profile `campaign`): the verb starts itself
//! again in one if it is not that already.

use std::panic;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::campaign::{Failure, RoundOptions, RoundReport, defects, run_round, trace_round};
use crate::context::{Context, Outcome, cargo};

/// The cargo profile that rounds run in, and the folder it builds in.
const PROFILE: &str = "campaign";
/// A round takes milliseconds; one that takes this long hangs.
const ROUND_SECONDS_MAX: u64 = 120;
/// Seconds between two lines of progress.
const REPORT_SECONDS: u64 = 10;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// The seed of the first round.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Deaths of the store to simulate; rounds begin until there were so many.
    #[arg(long, default_value_t = 2000)]
    cuts: u64,
    /// Goes on where the last campaign that was begun at this seed ended.
    #[arg(long)]
    resume: bool,
    /// Performs the one round of the seed and prints what it does.
    #[arg(long)]
    trace: bool,
    /// Rounds at a time; all processors if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Leaves a failing round as it is, which is quicker.
    #[arg(long)]
    no_shrink: bool,
    /// Runs with this seeded defect on until a round fails; in a build that has the switches.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["resume", "defects"])]
    defect: Option<String>,
    /// Runs with each seeded defect whose name holds NAME on, and prints how many cuts each took.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    defects: Option<String>,
}

/// Runs the campaign.
pub(crate) fn run(context: &Context, arguments: &Arguments) -> Outcome {
    if let Some(only) = &arguments.defects {
        return defects::run(context, arguments.seed, only);
    }
    if !is_campaign_build() {
        return start_campaign_build(context);
    }
    // A panic is a finding of the round, which reports it.
    panic::set_hook(Box::new(|_| {}));
    let options = RoundOptions { shrinks: !arguments.no_shrink, ..RoundOptions::default() };
    if let Some(name) = &arguments.defect {
        return defects::run_one(name, arguments.seed, arguments.cuts);
    }
    if arguments.trace {
        return trace(arguments.seed, &options);
    }
    let mut progress = Progress::begin(context, arguments);
    let outcome = campaign(arguments, &options, &mut progress);
    progress.store();
    outcome
}

/// Whether this program was built in the profile for campaigns.
pub(crate) fn is_campaign_build() -> bool {
    let program = std::env::current_exe().unwrap_or_default();
    program.parent().and_then(|folder| folder.file_name()).is_some_and(|folder| folder == PROFILE)
}

/// Starts this program with the same arguments in that profile.
/// Starts this program again, with the same arguments, in a build for campaigns.
pub(crate) fn start_campaign_build(context: &Context) -> Outcome {
    in_campaign_build(context, std::env::args_os().skip(1))
}

/// Runs a verb of this program in a build for campaigns.
pub(crate) fn in_campaign_build(
    context: &Context,
    arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
) -> Outcome {
    let mut command: Command = cargo();
    command.args(["run", "--quiet", "--package", "xtask", "--profile", PROFILE, "--"]);
    command.args(arguments);
    context.run(&mut command)
}

fn trace(seed: u64, options: &RoundOptions) -> Outcome {
    let (trace, outcome) = trace_round(seed, options);
    trace.iter().for_each(|line| println!("{line}"));
    match outcome {
        Ok(report) => {
            println!("{report:?}");
            Outcome::Passed
        }
        Err(what) => Outcome::Failed(what),
    }
}

/// How far a campaign has come, kept in a file between runs.
struct Progress {
    file: std::path::PathBuf,
    next_seed: u64,
    cuts: u64,
}

impl Progress {
    fn begin(context: &Context, arguments: &Arguments) -> Self {
        let file = context.target_folder("sim").join(format!("from-{}.progress", arguments.seed));
        let known = arguments.resume.then(|| std::fs::read_to_string(&file).ok()).flatten();
        let numbers: Vec<u64> =
            known.iter().flat_map(|text| text.split_whitespace()).filter_map(|n| n.parse().ok()).collect();
        let (next_seed, cuts) = match numbers.as_slice() {
            [next_seed, cuts] => (*next_seed, *cuts),
            _ => (arguments.seed, 0),
        };
        Self { file, next_seed, cuts }
    }

    /// Best effort: a campaign that cannot note where it is can still be begun again.
    fn store(&self) {
        if let Some(folder) = self.file.parent() {
            drop(std::fs::create_dir_all(folder));
        }
        drop(std::fs::write(&self.file, format!("{} {}\n", self.next_seed, self.cuts)));
    }
}

/// What the threads share.
struct Shared {
    next_seed: AtomicU64,
    cuts: AtomicU64,
    stop: AtomicBool,
    sums: Mutex<RoundReport>,
    failures: Mutex<Vec<Failure>>,
    /// For each thread its seed and when it began with it.
    running: Mutex<Vec<Option<(u64, Instant)>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn campaign(arguments: &Arguments, options: &RoundOptions, progress: &mut Progress) -> Outcome {
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let shared = Arc::new(Shared {
        next_seed: AtomicU64::new(progress.next_seed),
        cuts: AtomicU64::new(progress.cuts),
        stop: AtomicBool::new(progress.cuts >= arguments.cuts),
        sums: Mutex::default(),
        failures: Mutex::default(),
        running: Mutex::new(vec![None; threads]),
    });
    let (begun, cuts_before, first_seed) = (Instant::now(), progress.cuts, progress.next_seed);
    let workers: Vec<_> = (0..threads)
        .map(|number| {
            let (shared, options, wanted) = (Arc::clone(&shared), *options, arguments.cuts);
            std::thread::spawn(move || work(number, &shared, &options, wanted))
        })
        .collect();
    let mut reported = begun;
    while !workers.iter().all(std::thread::JoinHandle::is_finished) {
        std::thread::sleep(Duration::from_millis(50));
        if reported.elapsed() >= Duration::from_secs(REPORT_SECONDS) {
            reported = Instant::now();
            let cuts = shared.cuts.load(Ordering::Relaxed);
            println!("{cuts} cuts, {}", rate(cuts - cuts_before, begun.elapsed()));
            // Rounds under way are done again by whoever resumes.
            let running = locked(&shared.running).iter().flatten().map(|(seed, _)| *seed).min();
            progress.next_seed = running.unwrap_or_else(|| shared.next_seed.load(Ordering::Relaxed));
            progress.cuts = cuts;
            progress.store();
        }
        if let Some(seed) = hanging(&shared) {
            return Outcome::Failed(format!(
                "the round of seed {seed} does not end (cargo xtask sim --seed {seed} --trace)"
            ));
        }
    }
    progress.next_seed = shared.next_seed.load(Ordering::Relaxed);
    progress.cuts = shared.cuts.load(Ordering::Relaxed);
    let sums = *locked(&shared.sums);
    println!(
        "seeds {first_seed} to {}: {} cuts ({} inside a recovery, {} by power loss), {} actions, {} disk operations, {}",
        progress.next_seed,
        sums.cuts,
        sums.nested,
        sums.power_losses,
        sums.actions,
        sums.disk_operations,
        rate(sums.cuts, begun.elapsed())
    );
    let mut failures = std::mem::take(&mut *locked(&shared.failures));
    failures.sort_by_key(|failure| failure.seed);
    failures.iter().for_each(show);
    match failures.first() {
        None => Outcome::Passed,
        Some(first) => {
            progress.next_seed = first.seed;
            Outcome::Failed(format!("the round of seed {}: {}", first.seed, first.what_first))
        }
    }
}

fn hanging(shared: &Shared) -> Option<u64> {
    let longest = Duration::from_secs(ROUND_SECONDS_MAX);
    locked(&shared.running)
        .iter()
        .flatten()
        .find(|(_, since)| since.elapsed() > longest)
        .map(|(seed, _)| *seed)
}

fn rate(cuts: u64, elapsed: Duration) -> String {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{} a second ({}.{} s)", cuts.saturating_mul(1000) / ms, ms / 1000, ms % 1000 / 100)
}

fn show(failure: &Failure) {
    println!("\nseed {}: {}", failure.seed, failure.what_first);
    println!("the smallest script found that fails:");
    failure.trace.iter().for_each(|line| println!("  {line}"));
    println!("  => {}", failure.what);
}

fn work(number: usize, shared: &Shared, options: &RoundOptions, wanted: u64) {
    // Relaxed throughout: counters, and a flag that may be seen late.
    while !shared.stop.load(Ordering::Relaxed) {
        let seed = shared.next_seed.fetch_add(1, Ordering::Relaxed);
        locked(&shared.running)[number] = Some((seed, Instant::now()));
        let outcome = run_round(seed, options);
        locked(&shared.running)[number] = None;
        match outcome {
            Ok(report) => {
                locked(&shared.sums).add(&report);
                let cuts = shared.cuts.fetch_add(report.cuts, Ordering::Relaxed) + report.cuts;
                if cuts >= wanted {
                    shared.stop.store(true, Ordering::Relaxed);
                }
            }
            Err(failure) => {
                locked(&shared.failures).push(failure);
                shared.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}
