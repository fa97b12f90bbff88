//! The table of seeded defects: for each switch, how many cuts the campaign needs until it fails. A campaign
//! that passes proves as much as the defects that it catches.
//!
//! Every defect runs in a process of its own, because a broken store may loop or eat memory, and because
//! switches are the whole process's. A process that takes too long counts as caught: a round ends. What it
//! said, the smallest script that fails among it, stays in a file for each defect.

use std::fs::{File, create_dir_all, read_to_string};
#[cfg(seeded_defects)]
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use treering::segment::defects::Defect;

use crate::context::{Context, Outcome, cargo};

/// Each defect must be caught within this many cuts.
pub(crate) const CUTS_MAX: u64 = 20_000;
/// Processes at a time.
const WORKERS: usize = 2;
/// How long one defect may take.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What a line of a worker's output that says how a defect was found starts with.
const FOUND: &str = "found: ";

/// What came of one defect.
#[derive(Clone, Debug)]
enum Verdict {
    /// Cuts, seed and what the campaign said.
    Caught(String),
    /// It had to be killed, or a panic within a panic has aborted it.
    NoEnd,
    NotCaught(String),
}

/// Evaluates every switch whose name contains `only`, from round `seed` on, and prints the table.
pub(crate) fn run(context: &Context, seed: u64, only: &str) -> Outcome {
    if !cfg!(seeded_defects) {
        return rebuilt(context, seed, only);
    }
    let chosen: Vec<Defect> =
        Defect::ALL.iter().copied().filter(|defect| defect.name().contains(only)).collect();
    let folder = context.target_folder("sim").join("defects");
    let next = AtomicUsize::new(0);
    let verdicts: Mutex<Vec<Option<Verdict>>> = Mutex::new(vec![None; chosen.len()]);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    // Relaxed: the number is all that is shared.
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&defect) = chosen.get(index) else { break };
                    let verdict = evaluate(&folder, defect, seed);
                    println!("{:<28} {}", defect.name(), verdict.text());
                    if let Ok(mut verdicts) = verdicts.lock() {
                        verdicts[index] = Some(verdict);
                    }
                }
            });
        }
    });
    let verdicts = verdicts.into_inner().unwrap_or_default();
    println!("\n| defect | rule | what goes wrong | caught after (cuts; seed) |\n|---|---|---|---|");
    let mut missed = 0;
    for (defect, verdict) in chosen.iter().zip(&verdicts) {
        let verdict = verdict.clone().unwrap_or(Verdict::NotCaught("it was not evaluated".to_owned()));
        missed += usize::from(matches!(verdict, Verdict::NotCaught(_)));
        println!("| `{}` | {} | {} | {} |", defect.name(), defect.rule(), defect.what(), verdict.cell());
    }
    match missed {
        0 => Outcome::Passed,
        _ => Outcome::Failed(format!("{missed} of {} seeded defects were not caught", chosen.len())),
    }
}

/// Builds this program with the switches in it and runs that.
fn rebuilt(context: &Context, seed: u64, only: &str) -> Outcome {
    let mut command = cargo();
    command.args(["run", "--quiet", "--profile", "campaign", "--package", "xtask", "--target-dir"]);
    command.arg(context.target_folder("defects"));
    command.args(["--", "sim", "--seed", &seed.to_string(), "--defects", only]);
    context.run(command.env("RUSTFLAGS", "--cfg seeded_defects"))
}

fn evaluate(folder: &Path, defect: Defect, seed: u64) -> Verdict {
    let (status, said) = match worker(folder, defect, seed) {
        Ok((status, file)) => (status, read_to_string(file).unwrap_or_default()),
        Err(error) => return Verdict::NotCaught(format!("its process did not run: {error}")),
    };
    match said.lines().find_map(|line| line.strip_prefix(FOUND)) {
        Some(found) => Verdict::Caught(found.to_owned()),
        None if status.is_none_or(|status| status.code().is_none()) => Verdict::NoEnd,
        None => Verdict::NotCaught(said.lines().last().unwrap_or("it said nothing").to_owned()),
    }
}

/// Runs one defect's process and keeps what it says in a file; no status if it had to be killed.
fn worker(folder: &Path, defect: Defect, seed: u64) -> std::io::Result<(Option<ExitStatus>, PathBuf)> {
    create_dir_all(folder)?;
    let file = folder.join(format!("{}.txt", defect.name()));
    let mut child = Command::new(std::env::current_exe()?)
        .args([
            "sim",
            "--seed",
            &seed.to_string(),
            "--cuts",
            &CUTS_MAX.to_string(),
            "--defect",
            defect.name(),
        ])
        .stdin(Stdio::null())
        .stdout(File::create(&file)?)
        .stderr(Stdio::null())
        .spawn()?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(LOOK_EVERY);
    };
    Ok((status, file))
}

/// Runs rounds from `seed` on with the switch called `name` on until one fails that does not without; says what
/// was found, and shows the smallest script that fails.
#[cfg(seeded_defects)]
pub(crate) fn run_one(name: &str, seed: u64, cuts_max: u64) -> Outcome {
    use super::{RoundOptions, run_round};
    use treering::segment::defects::{arm, disarm};

    let Some(defect) = Defect::named(name) else {
        return Outcome::Failed(format!("there is no defect {name}"));
    };
    arm(defect);
    let quick = RoundOptions { shrinks: false, ..RoundOptions::default() };
    let (mut cuts, mut round, mut skipped) = (0, seed, 0);
    while cuts < cuts_max {
        match run_round(round, &quick) {
            Ok(report) => cuts += report.cuts,
            Err(failure) => {
                // It must be the switch that the round has seen.
                disarm();
                if let Err(failure) = run_round(round, &quick) {
                    println!(
                        "the round of seed {round} fails without {name}, too: {}",
                        one_line(&failure.what)
                    );
                    skipped += 1;
                    round += 1;
                    arm(defect);
                    continue;
                }
                println!("{FOUND}{}; {round} | {}", cuts + 1, one_line(&failure.what_first));
                drop(std::io::stdout().flush());
                arm(defect);
                if let Err(failure) = run_round(round, &RoundOptions::default()) {
                    println!("the smallest script found that fails:");
                    failure.trace.iter().for_each(|line| println!("{line}"));
                    println!("  => {}", failure.what);
                }
                return Outcome::Passed;
            }
        }
        round += 1;
    }
    println!("not caught within {cuts} cuts ({skipped} rounds fail without it)");
    Outcome::Failed(format!("{name} is not caught within {cuts} cuts"))
}

/// The switches are not in this program.
#[cfg(not(seeded_defects))]
pub(crate) fn run_one(name: &str, _: u64, _: u64) -> Outcome {
    Outcome::Failed(format!("{name}: build with RUSTFLAGS=\"--cfg seeded_defects\"; see sim --defects"))
}

#[cfg(seeded_defects)]
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(160).collect()
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Verdict::Caught(found) => found.clone(),
            Verdict::NoEnd => "hangs or aborts".to_owned(),
            Verdict::NotCaught(why) => format!("NOT CAUGHT: {why}"),
        }
    }

    fn cell(&self) -> String {
        match self {
            Verdict::Caught(found) => found.split(" | ").next().unwrap_or(found).to_owned(),
            Verdict::NoEnd => "hangs or aborts".to_owned(),
            Verdict::NotCaught(_) => "not caught".to_owned(),
        }
    }
}
