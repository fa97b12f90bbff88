//! `fuzz`: the targets of `treering-fuzz` under libFuzzer.
//!
//! The targets are binaries behind the feature `libfuzzer`, so that an ordinary build of the
//! workspace on a stable toolchain never needs them. They are built here with the coverage
//! instrumentation that libFuzzer reads; a nightly toolchain adds AddressSanitizer, which is what
//! makes it worth having. What a run finds lands in `fuzz/artifacts/<target>`; its corpus grows in
//! `fuzz/corpus/<target>`, and the inputs committed in `fuzz/seeds/<target>` start it.

use std::path::Path;
use std::process::Command;

use crate::context::{Context, Outcome, answers};

/// Seconds that each target gets in a smoke run.
pub(crate) const SMOKE_SECONDS: u64 = 6;

/// The fuzz targets: binaries of `treering-fuzz`.
pub(crate) const TARGETS: &[&str] = &[
    "frame_verify",
    "frame_image",
    "frame_operations",
    "record_decode",
    "log_headers",
    "log_directory",
    "manifest_load",
    "segment_read",
    "store_open",
    "crash_histories",
];

/// Megabytes that a target may hold: an unbounded allocation on hostile bytes is a finding.
const MEMORY_MAX_MB: u64 = 1024;

/// Seconds that one input may take: a loop without a bound is a finding.
const INPUT_SECONDS_MAX: u64 = 10;

/// Builds the targets and runs one, or all, for `seconds` each.
pub(crate) fn run(context: &Context, seconds: u64, only: Option<&str>) -> Outcome {
    let targets: Vec<&str> = TARGETS.iter().copied().filter(|t| only.is_none_or(|only| only == *t)).collect();
    if targets.is_empty() {
        return Outcome::Failed(format!("no such target; there are {}", TARGETS.join(", ")));
    }
    if !answers(Command::new("rustup").args(["run", "nightly", "cargo", "--version"])) {
        return Outcome::Missing(
            "a nightly toolchain (rustup toolchain install nightly --profile minimal)".to_owned(),
        );
    }
    if !["c++", "g++", "clang++"].iter().any(|compiler| answers(Command::new(compiler).arg("--version"))) {
        return Outcome::Missing("a C++ compiler, which libFuzzer is built with".to_owned());
    }
    let Some(host) = host_triple() else {
        return Outcome::Failed("rustc does not name its host".to_owned());
    };
    let build = build(context, &host, &targets);
    if build != Outcome::Passed {
        return build;
    }
    let folder = context.target_folder("fuzz").join(&host).join("release");
    targets.iter().fold(Outcome::Passed, |outcome, target| {
        outcome.and(run_target(context, &folder.join(target), target, seconds))
    })
}

/// The nightly compiler's own platform. Naming it keeps the instrumentation off build scripts.
fn host_triple() -> Option<String> {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

fn build(context: &Context, host: &str, targets: &[&str]) -> Outcome {
    let flags = [
        "--cfg fuzzing",
        "-Cpasses=sancov-module",
        "-Cllvm-args=-sanitizer-coverage-level=4",
        "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
        "-Cllvm-args=-sanitizer-coverage-pc-table",
        "-Cllvm-args=-sanitizer-coverage-trace-compares",
        "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
        "-Ccodegen-units=1",
        "-Cdebug-assertions",
        "-Zsanitizer=address",
    ];
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "build", "--release", "--package", "treering-fuzz"]);
    command.args(["--features", "libfuzzer", "--target", host, "--target-dir"]);
    command.arg(context.target_folder("fuzz"));
    for target in targets {
        command.args(["--bin", target]);
    }
    // The stable cargo that started this program has left its own compiler's address here.
    command.env_remove("RUSTC").env_remove("RUSTDOC").env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.env("RUSTFLAGS", flags.join(" ")).env("CARGO_PROFILE_RELEASE_LTO", "off");
    context.run(&mut command)
}

fn run_target(context: &Context, binary: &Path, target: &str, seconds: u64) -> Outcome {
    let corpus = context.root.join("fuzz/corpus").join(target);
    let artifacts = context.root.join("fuzz/artifacts").join(target);
    for folder in [&corpus, &artifacts] {
        if let Err(error) = std::fs::create_dir_all(folder) {
            return Outcome::Failed(format!("cannot create {}: {error}", folder.display()));
        }
    }
    let mut command = Command::new(binary);
    command.arg(&corpus);
    let seeds = context.root.join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.args(["-max_len=65536", "-print_final_stats=1", "-verbosity=0"]);
    let outcome = context.run_quietly(&mut command, "stat::number_of_executed_units");
    if outcome != Outcome::Passed {
        println!("the input is in {}; once mended, commit it to fuzz/seeds/{target}", artifacts.display());
    }
    outcome
}
