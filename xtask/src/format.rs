//! `format`: the formatting is rustfmt's; this only checks it.

use crate::context::{Context, Outcome, answers, cargo};

/// Checks that `cargo fmt` would change nothing.
pub(crate) fn run(context: &Context) -> Outcome {
    if !answers(cargo().args(["fmt", "--version"])) {
        return Outcome::Missing("rustfmt (rustup component add rustfmt)".to_owned());
    }
    context.run(cargo().args(["fmt", "--all", "--check"]))
}
