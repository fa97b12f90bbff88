//! `ci`: every gate in order of cost, timed, with a closing summary. A failed gate does not stop
//! the ones after it, so that one run tells everything.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::context::{Context, Outcome};
use crate::{bench, clippy, crash, format, fuzz, loom, sim, test, tidy};

/// A gate as `ci` sees it.
struct Step {
    name: &'static str,
    /// Left out by `--quick`.
    long: bool,
    run: fn(&Context) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "format", long: false, run: format::run },
    Step { name: "tidy", long: false, run: tidy::run },
    Step { name: "clippy", long: false, run: clippy::run },
    Step { name: "tests", long: false, run: test::unit_and_integration },
    Step { name: "doc tests", long: false, run: test::documentation },
    Step { name: "loom", long: true, run: |context| loom::run(context, None) },
    Step { name: "fuzz smoke", long: true, run: |context| fuzz::run(context, fuzz::SMOKE_SECONDS, None) },
    Step { name: "simulation", long: true, run: |context| sim::in_campaign_build(context, ["sim"]) },
    Step { name: "sweeps", long: true, run: |context| sim::in_campaign_build(context, ["sweep", "--short"]) },
    Step { name: "kills", long: true, run: |context| crash::run(context, &crash::Arguments::default()) },
    Step { name: "bench gates", long: true, run: |context| bench::run(context, false) },
];

/// Runs the gates and prints the summary.
pub(crate) fn run(context: &Context, quick: bool, strict: bool) -> ExitCode {
    let started = Instant::now();
    let mut results = Vec::new();
    for step in STEPS.iter().filter(|step| !(quick && step.long)) {
        println!("\n──── {} ────", step.name);
        let step_started = Instant::now();
        let outcome = (step.run)(context);
        results.push((step.name, outcome, step_started.elapsed()));
    }
    let summary = summarise(&results, started.elapsed(), strict);
    println!("\n{}", summary.text);
    if summary.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The closing table and the verdict.
struct Summary {
    text: String,
    passed: bool,
}

fn summarise(results: &[(&str, Outcome, Duration)], total: Duration, strict: bool) -> Summary {
    let mut text = String::from("──── summary ────\n");
    let mut passed = true;
    for (name, outcome, took) in results {
        let verdict = match outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed(why) => {
                passed = false;
                format!("FAILED: {why}")
            }
            Outcome::Missing(tool) => {
                passed &= !strict;
                format!("MISSING TOOL, left out: {tool}")
            }
        };
        text.push_str(&format!("{name:<12} {:>7.1} s  {verdict}\n", took.as_secs_f64()));
    }
    let verdict = if passed { "passed" } else { "FAILED" };
    text.push_str(&format!("{:<12} {:>7.1} s  {verdict}", "all", total.as_secs_f64()));
    Summary { text, passed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome, strict: bool) -> bool {
        let results = [("a", Outcome::Passed, Duration::ZERO), ("b", outcome, Duration::ZERO)];
        summarise(&results, Duration::ZERO, strict).passed
    }

    #[test]
    fn a_failed_step_fails_the_run_whatever_else_passed() {
        assert!(!verdict(Outcome::Failed("broken".into()), false));
        assert!(verdict(Outcome::Passed, true));
    }

    #[test]
    fn a_missing_tool_fails_only_a_strict_run_and_is_named_in_both() {
        assert!(verdict(Outcome::Missing("nightly".into()), false));
        assert!(!verdict(Outcome::Missing("nightly".into()), true));
        let results = [("fuzz", Outcome::Missing("nightly".into()), Duration::ZERO)];
        assert!(summarise(&results, Duration::ZERO, false).text.contains("MISSING TOOL, left out: nightly"));
    }
}
