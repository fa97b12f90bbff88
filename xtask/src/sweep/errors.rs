//! The I/O-error sweep: in every scenario, every operation fails once, and once for good, with every error.
//!
//! # What must hold, whatever fails
//! - **E1** Each operation answers with success or an error that says so ([`super::session`]); nothing panics.
//! - **E2** What was acknowledged is there: in the running process, after a kill at the end, and, as far as it
//!   was said to be durable, after a power cut at the end.
//! - **E3** Once nothing fails any more, the store opens, `verify` finds nothing, and it takes writes.
//! - **E4** A lack of space never poisons: the open store goes on as soon as there is space (PROTOCOL F1).
//! - **E5** A failed sync always does: the open store takes no write any more, and still answers reads.

use treering::{Engine, ErrorKind};
use treering_sim::{Fault, FaultKind, SimDisk};

use super::ledger::{Contents, Ledger, read_everything};
use super::scenarios::{SCENARIOS, Scenario, Start, prepare};
use super::session::{Session, environment_of, options};
use super::workers::run_all;

/// The errors, by the names that people know.
const KINDS: [(&str, FaultKind); 5] = [
    ("EIO", FaultKind::InputOutput),
    ("ENOSPC", FaultKind::NoSpace),
    ("EINTR", FaultKind::Interrupted),
    ("short count", FaultKind::ShortCount),
    ("failed sync", FaultKind::FailedSync),
];
/// Power cuts drawn after each case.
const POWER_CUTS: u64 = 3;

/// A fault in a scenario.
#[derive(Clone, Copy, Debug)]
struct Case {
    scenario: usize,
    /// Counted from the first operation of the scenario's steps.
    operation: u64,
    kind: usize,
    lasting: bool,
}

/// What a case came to, if it violated nothing.
struct Passed {
    scenario: usize,
    /// Whether the fault met an operation that can fail so.
    hit: bool,
    /// Whether some operation of the user's failed.
    failed: bool,
}

/// What the sweep of a scenario came to.
pub(super) struct Line {
    pub(super) scenario: &'static str,
    /// Operations of its steps when nothing fails.
    pub(super) operations: u64,
    pub(super) cases: u64,
    /// Cases in which the fault met an operation that can fail so.
    pub(super) hit: u64,
    /// Cases in which some operation of the user's failed.
    pub(super) failed: u64,
}

/// What the sweep came to.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) lines: Vec<Line>,
    pub(super) violations: Vec<String>,
}

/// Sweeps every `stride`-th case; 1 for all.
pub(super) fn sweep(stride: usize) -> Summary {
    let starts = [Start::Nothing, Start::Closed, Start::Killed, Start::Cut, Start::Worn];
    let starts: Vec<(Start, SimDisk, Ledger)> = starts
        .into_iter()
        .map(|start| {
            let (disk, ledger) = prepare(start);
            (start, disk, ledger)
        })
        .collect();
    let start_of = |scenario: &Scenario| {
        let found = starts.iter().find(|(start, ..)| *start == scenario.start);
        found.map(|(_, disk, ledger)| (disk, ledger)).expect("every start is prepared")
    };
    let mut summary = Summary::default();
    let mut cases = Vec::new();
    for (index, scenario) in SCENARIOS.iter().enumerate() {
        let (disk, ledger) = start_of(scenario);
        let operations = match count_operations(scenario, disk, ledger) {
            Ok(operations) => operations,
            Err(what) => {
                summary.violations.push(format!("{}, nothing fails: {what}", scenario.name));
                0
            }
        };
        summary.lines.push(Line { scenario: scenario.name, operations, cases: 0, hit: 0, failed: 0 });
        for operation in 0..operations {
            for kind in 0..KINDS.len() {
                for lasting in [false, true] {
                    cases.push(Case { scenario: index, operation, kind, lasting });
                }
            }
        }
    }
    let cases: Vec<Case> = cases.into_iter().step_by(stride).collect();
    let outcomes = run_all(
        cases.len(),
        |index| describe(&cases[index]),
        |index| {
            let scenario = &SCENARIOS[cases[index].scenario];
            let (disk, ledger) = start_of(scenario);
            run_case(&cases[index], scenario, disk, ledger)
        },
    );
    for outcome in outcomes {
        match outcome {
            Ok(passed) => {
                let line = &mut summary.lines[passed.scenario];
                line.cases += 1;
                line.hit += u64::from(passed.hit);
                line.failed += u64::from(passed.failed);
            }
            Err(what) => summary.violations.push(what),
        }
    }
    summary.violations.sort();
    summary
}

fn describe(case: &Case) -> String {
    let often = if case.lasting { "from then on" } else { "once" };
    format!("{}, operation {}, {} {often}", SCENARIOS[case.scenario].name, case.operation, KINDS[case.kind].0)
}

/// Runs the scenario without a fault; the operations of its steps.
fn count_operations(scenario: &Scenario, disk: &SimDisk, ledger: &Ledger) -> Result<u64, String> {
    let disk = disk.duplicate();
    let mut session = Session::new(&disk, ledger.clone());
    (scenario.before)(&mut session);
    let begin = disk.operations();
    (scenario.run)(&mut session);
    let operations = disk.operations() - begin;
    if session.errors > 0 {
        session.violations.push(format!("{} operations failed", session.errors));
    }
    settle(&mut session, &disk, None);
    outcome(session.violations).map(|()| operations)
}

fn run_case(case: &Case, scenario: &Scenario, disk: &SimDisk, ledger: &Ledger) -> Result<Passed, String> {
    let disk = disk.duplicate();
    let mut session = Session::new(&disk, ledger.clone());
    (scenario.before)(&mut session);
    let operation = disk.operations() + case.operation;
    let kind = KINDS[case.kind].1;
    disk.inject(Fault { operation, kind, lasting: case.lasting });
    (scenario.run)(&mut session);
    let hit = disk.faults_hit() > 0;
    disk.clear_faults();
    let passed = Passed { scenario: case.scenario, hit, failed: session.errors > 0 };
    settle(&mut session, &disk, hit.then_some(kind));
    outcome(session.violations).map(|()| passed)
}

fn outcome(violations: Vec<String>) -> Result<(), String> {
    if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
}

/// E2 to E5, now that nothing fails any more.
fn settle(session: &mut Session, disk: &SimDisk, kind: Option<FaultKind>) {
    let mut violations = std::mem::take(&mut session.violations);
    let mut hold = |what: &str, checked: Result<(), String>| {
        if let Err(why) = checked {
            violations.push(format!("{what}: {why}"));
        }
    };
    for seed in 0..POWER_CUTS {
        let left = disk.after_crash(seed);
        hold("after a power cut", reopens(&left, &session.ledger, Ledger::check_after_power_cut));
    }
    hold("after a kill", reopens(&disk.duplicate(), &session.ledger, Ledger::check_after_kill));
    hold("in the running process", goes_on(session, kind));
    session.abandon();
    hold("opened again in the same process", reopens(disk, &session.ledger, Ledger::check_after_kill));
    session.violations.extend(violations);
}

/// E4 and E5, and E2 for the process that goes on.
fn goes_on(session: &mut Session, kind: Option<FaultKind>) -> Result<(), String> {
    let Some(engine) = session.engine.clone() else { return Ok(()) };
    session.read();
    if engine.flush().is_err_and(|error| error.kind() == ErrorKind::ReadOnly) {
        return Ok(());
    }
    let written = session.put("probe/a", 900, treering::Durability::Sync);
    let cut = session.checkpoint();
    session.read();
    let poisoned = || engine.flush().is_err_and(|error| error.kind() == ErrorKind::Poisoned);
    match kind {
        Some(FaultKind::FailedSync) if session.was_hit() && (written || !poisoned()) => {
            Err("a failed sync did not poison".into())
        }
        None | Some(FaultKind::NoSpace) if !(written && cut) => {
            Err(format!("there is space again, and no write goes on: {:?}", engine.flush().err()))
        }
        _ => Ok(()),
    }
}

/// E3, and E2 by `check`.
fn reopens(
    disk: &SimDisk,
    ledger: &Ledger,
    check: fn(&Ledger, &Contents) -> Result<(), String>,
) -> Result<(), String> {
    let is_store = treering::verify_in(environment_of(disk), options());
    match is_store {
        Ok(report) if report.is_clean() => {}
        Ok(report) => return Err(format!("verify before opening finds {:?}", report.damages)),
        // A creation that was not acknowledged may have left less than a store.
        Err(error) if error.kind() == ErrorKind::NotAStore => {}
        Err(error) => return Err(format!("verify before opening: {error}")),
    }
    let engine = Engine::open_in(environment_of(disk), options())
        .map_err(|error| format!("does not open: {error}"))?;
    let contents = read_everything(&engine).map_err(|error| format!("does not read: {error}"))?;
    check(ledger, &contents)?;
    let tree = engine.default_tree();
    let wrote = tree.put("probe/c", vec![3; 600]).and_then(|_| engine.close());
    wrote.map_err(|error| format!("takes no write: {error}"))?;
    let report =
        treering::verify_in(environment_of(disk), options()).map_err(|error| format!("verify: {error}"))?;
    if report.is_clean() { Ok(()) } else { Err(format!("verify afterwards finds {:?}", report.damages)) }
}
