//! The campaign: rounds of work, death and recovery of a whole store on the simulated disk, each decided by
//! one seed, compared with a model after every recovery.
//!
//! - [`script`]: what happens, as data drawn from a seed.
//! - [`model`]: what the store must hold then.
//! - [`round`]: performs a script on both.
//! - [`interlude`]: writers in the middle of a cut.
//! - [`audit`]: order assertions on every operation of the disk.
//! - [`store`]: what a store shows, and whether its files add up.
//! - [`defects`]: proves with the store's seeded defects that the campaign sees.
//! - [`shrink`]: finds a smaller script that still fails.
//!
//! It is not where faults in files at rest, real processes or threads are tested.

mod audit;
pub(crate) mod defects;
mod interlude;
mod model;
mod round;
mod script;
mod shrink;
mod store;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use round::RoundReport;
use script::{Script, Size};

/// How large rounds are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundOptions {
    /// The most lives that a store has in a round.
    pub(crate) generations_max: usize,
    /// The most actions in one life.
    pub(crate) actions_max: usize,
    /// Whether a failure is shrunk; it takes some thousand rounds.
    pub(crate) shrinks: bool,
}

impl Default for RoundOptions {
    fn default() -> Self {
        Self { generations_max: 6, actions_max: 60, shrinks: true }
    }
}

/// A round in which the store did something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// The seed of the round.
    pub(crate) seed: u64,
    /// What was wrong, in the smallest script found.
    pub(crate) what: String,
    /// What was wrong in the round itself.
    pub(crate) what_first: String,
    /// What led to it in the smallest script found, line by line.
    pub(crate) trace: Vec<String>,
}

/// Performs the round of `seed`.
///
/// # Errors
/// What the store did wrong; a panic is caught and is one.
pub(crate) fn run_round(seed: u64, options: &RoundOptions) -> Result<RoundReport, Failure> {
    let size = Size { generations_max: options.generations_max, actions_max: options.actions_max };
    let script = Script::draw(seed, size);
    perform(&script, None).map_err(|what_first| {
        let smallest = if options.shrinks { shrink::shrink(script) } else { script };
        let mut trace = Vec::new();
        let what = perform(&smallest, Some(&mut trace)).err().unwrap_or_else(|| what_first.clone());
        Failure { seed, what, what_first, trace }
    })
}

/// What the round of `seed` does, line by line, and what came of it.
pub(crate) fn trace_round(seed: u64, options: &RoundOptions) -> (Vec<String>, Result<RoundReport, String>) {
    let size = Size { generations_max: options.generations_max, actions_max: options.actions_max };
    let mut trace = Vec::new();
    let outcome = perform(&Script::draw(seed, size), Some(&mut trace));
    (trace, outcome)
}

fn perform(script: &Script, trace: Option<&mut Vec<String>>) -> Result<RoundReport, String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| round::perform(script, trace)));
    attempt.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_else(|| "of an unknown kind".to_owned())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_pass_and_a_seed_replays_to_the_same_trace() {
        let options = RoundOptions::default();
        for seed in 0..25 {
            let first = trace_round(seed, &options);
            assert!(first.1.is_ok(), "seed {seed}: {:?}", first.1);
            assert_eq!(first, trace_round(seed, &options), "seed {seed}");
        }
    }
}
