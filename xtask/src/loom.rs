//! `loom`: the concurrency models. A package has models if it has an integration test named
//! `loom`; each is built under `--cfg loom` in a target folder of its own, since that flag
//! changes every dependency.

use crate::context::{Context, Outcome, cargo};

/// How many times a model may take a thread off the processor at a point where it could have gone
/// on. Three finds every known bug class of the ring and keeps each model within a minute.
const PREEMPTIONS_MAX: &str = "3";

/// Runs the models of one package, or of all.
pub(crate) fn run(context: &Context, only: Option<&str>) -> Outcome {
    let mut packages = context.packages_with("test", "loom");
    if let Some(only) = only {
        packages.retain(|package| *package == only);
    }
    if packages.is_empty() {
        return Outcome::Failed(format!("no loom models in {}", only.unwrap_or("any package")));
    }
    packages.into_iter().fold(Outcome::Passed, |outcome, package| outcome.and(models_of(context, package)))
}

fn models_of(context: &Context, package: &str) -> Outcome {
    let mut command = cargo();
    command.args(["test", "--release", "--test", "loom", "--package", package, "--target-dir"]);
    command.arg(context.target_folder("loom"));
    command.env("RUSTFLAGS", "--cfg loom");
    // Whole-program optimisation costs more here than the models' run.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    if std::env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
        command.env("LOOM_MAX_PREEMPTIONS", PREEMPTIONS_MAX);
    }
    context.run(&mut command)
}
