//! `clippy`: warnings are errors, in two passes.
//!
//! The first pass covers every target of every package. The second covers the code of the store's
//! own libraries, without tests, and adds `disallowed_methods`: the raw file calls, clocks, sleeps
//! and thread starts that `clippy.toml` lists with the reason for each. Tests, tools and benches
//! may call them.

use crate::context::{Context, Outcome, answers, cargo};

/// The packages whose library code may not call what `clippy.toml` disallows.
pub(crate) const LIBRARIES: &[&str] = &[
    "treering-segment",
    "treering-ring",
    "treering-journal",
    "treering-blobframe",
    "treering-compactor",
    "treering",
    "treering-sim",
];

/// Runs both passes.
pub(crate) fn run(context: &Context) -> Outcome {
    if !answers(cargo().args(["clippy", "--version"])) {
        return Outcome::Missing("clippy (rustup component add clippy)".to_owned());
    }
    let everything = context.run(cargo().args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]));
    let mut libraries = cargo();
    libraries.args(["clippy", "--quiet", "--lib"]);
    for package in LIBRARIES {
        libraries.args(["--package", package]);
    }
    libraries.args(["--", "--deny", "warnings", "--deny", "clippy::disallowed_methods"]);
    everything.and(context.run(&mut libraries))
}
