//! `bench`: the bench gates, each a ratio of two measurements in one process, never an absolute
//! time. Criterion's benchmarks, which only report, run with `--all`.

use crate::context::{Context, Outcome, cargo};

/// Runs the gates and, if `all`, the Criterion benchmarks as well.
pub(crate) fn run(context: &Context, all: bool) -> Outcome {
    let gates =
        context.run(cargo().args(["bench", "--quiet", "--package", "treering-benches", "--bench", "gates"]));
    if !all {
        return gates;
    }
    gates.and(context.run(cargo().args(["bench", "--package", "treering-benches", "--bench", "crates"])))
}
