//! `test`: unit, integration and documentation tests of the whole workspace.

use crate::context::{Context, Outcome, cargo};

/// All of them.
pub(crate) fn run(context: &Context) -> Outcome {
    unit_and_integration(context).and(documentation(context))
}

/// Unit tests of libraries and binaries, and the integration tests.
pub(crate) fn unit_and_integration(context: &Context) -> Outcome {
    context.run(cargo().args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]))
}

/// The examples in the documentation.
pub(crate) fn documentation(context: &Context) -> Outcome {
    context.run(cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))
}
