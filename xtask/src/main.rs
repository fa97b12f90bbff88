//! `cargo xtask`: every gate of the project, the same here and on a build machine.
//!
//! One module a verb; `ci` runs them all, timed and named. A gate is a function from a
//! [`Context`] to an [`Outcome`]; nothing here knows how to mend what it finds.
#![forbid(unsafe_code)]

mod bench;
mod campaign;
mod ci;
mod clippy;
mod context;
mod crash;
mod format;
mod fuzz;
mod loom;
mod sim;
mod sweep;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::context::{Context, Outcome};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "treering's gates", disable_help_subcommand = true)]
struct Arguments {
    /// A tool that is missing is an error instead of a step left out.
    #[arg(long, global = true)]
    strict: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs every gate and sums up.
    Ci {
        /// Leaves out the long ones: loom, fuzz, bench.
        #[arg(long)]
        quick: bool,
    },
    /// Checks the formatting.
    Format,
    /// Checks the rules of the house that no compiler knows.
    Tidy,
    /// Runs clippy with warnings as errors.
    Clippy,
    /// Runs unit, integration and documentation tests.
    Test,
    /// Runs the loom models.
    Loom {
        /// Only this package.
        package: Option<String>,
    },
    /// Damages every byte and sector of a small store, and lets every operation fail.
    Sweep(sweep::Arguments),
    /// Runs the fuzz targets under libFuzzer.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = fuzz::SMOKE_SECONDS)]
        seconds: u64,
        /// Only this target.
        target: Option<String>,
    },
    /// Runs stores on a simulated disk that dies again and again, and compares each recovery with a model.
    Sim(sim::Arguments),
    /// Kills real processes on real files, again and again, and fills a small disk.
    Crash(crash::Arguments),
    /// Runs the bench gates: ratios within one process.
    Bench {
        /// The Criterion benchmarks as well.
        #[arg(long)]
        all: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let context = match Context::discover() {
        Ok(context) => context,
        Err(error) => {
            eprintln!("xtask: {error}");
            return ExitCode::FAILURE;
        }
    };
    if let Verb::Ci { quick } = arguments.verb {
        return ci::run(&context, quick, arguments.strict);
    }
    let outcome = match arguments.verb {
        Verb::Ci { .. } | Verb::Format => format::run(&context),
        Verb::Tidy => tidy::run(&context),
        Verb::Clippy => clippy::run(&context),
        Verb::Test => test::run(&context),
        Verb::Loom { package } => loom::run(&context, package.as_deref()),
        Verb::Sweep(arguments) => sweep::run(&context, arguments),
        Verb::Fuzz { seconds, target } => fuzz::run(&context, seconds, target.as_deref()),
        Verb::Sim(arguments) => sim::run(&context, &arguments),
        Verb::Crash(arguments) => crash::run(&context, &arguments),
        Verb::Bench { all } => bench::run(&context, all),
    };
    finish(&outcome, arguments.strict)
}

/// Says what a lone verb came to and turns it into an exit code.
fn finish(outcome: &Outcome, strict: bool) -> ExitCode {
    match outcome {
        Outcome::Passed => ExitCode::SUCCESS,
        Outcome::Failed(why) => {
            eprintln!("xtask: failed: {why}");
            ExitCode::FAILURE
        }
        Outcome::Missing(tool) => {
            eprintln!("xtask: MISSING TOOL: {tool}");
            if strict { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
    }
}
