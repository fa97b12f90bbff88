//! What every gate needs: the workspace's root and description, how to start a program, and
//! what can come of a gate. It is not a build system: cargo decides what is stale.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// What came of a gate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran and found nothing wrong.
    Passed,
    /// It ran and found something wrong.
    Failed(String),
    /// It could not run, or not wholly, for want of the tool named here.
    Missing(String),
}

impl Outcome {
    /// The worse of two outcomes: a failure outweighs a missing tool, which outweighs a pass.
    pub(crate) fn and(self, next: Self) -> Self {
        match (&self, &next) {
            (Self::Failed(_), _) | (Self::Missing(_), Self::Passed | Self::Missing(_)) => self,
            _ => next,
        }
    }
}

/// The workspace as cargo describes it.
#[derive(Debug)]
pub(crate) struct Context {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// `cargo metadata --no-deps`.
    pub(crate) metadata: Value,
}

impl Context {
    /// Asks cargo for the workspace this program was built from.
    pub(crate) fn discover() -> Result<Self, String> {
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err("cargo metadata failed".to_owned());
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata is not JSON: {error}"))?;
        let root = metadata["workspace_root"].as_str().ok_or("cargo metadata names no root")?;
        Ok(Self { root: PathBuf::from(root), metadata })
    }

    /// The packages of the workspace, as cargo lists them.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Value> {
        self.metadata["packages"].as_array().into_iter().flatten()
    }

    /// Names of the packages that have an integration test, bench or binary of this kind and name.
    pub(crate) fn packages_with(&self, kind: &str, target: &str) -> Vec<&str> {
        self.packages()
            .filter(|package| {
                package["targets"].as_array().into_iter().flatten().any(|t| {
                    t["name"] == target && t["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == kind))
                })
            })
            .filter_map(|package| package["name"].as_str())
            .collect()
    }

    /// A folder under cargo's target folder that a gate with its own compiler flags builds in.
    pub(crate) fn target_folder(&self, gate: &str) -> PathBuf {
        let target = self.metadata["target_directory"]
            .as_str()
            .map_or_else(|| self.root.join("target"), PathBuf::from);
        target.join(gate)
    }

    /// Runs a command in the workspace's root, showing it and its output.
    pub(crate) fn run(&self, command: &mut Command) -> Outcome {
        let shown = show(command);
        println!("$ {shown}");
        match command.current_dir(&self.root).status() {
            Ok(status) if status.success() => Outcome::Passed,
            Ok(status) => Outcome::Failed(format!("{shown}: {status}")),
            Err(error) => Outcome::Failed(format!("{shown}: {error}")),
        }
    }

    /// As [`Context::run`], but keeps what the command says on standard error to itself, save for the
    /// lines that hold `telling`, unless it fails.
    pub(crate) fn run_quietly(&self, command: &mut Command, telling: &str) -> Outcome {
        let shown = show(command);
        println!("$ {shown}");
        let output = match command.current_dir(&self.root).stdin(Stdio::null()).output() {
            Ok(output) => output,
            Err(error) => return Outcome::Failed(format!("{shown}: {error}")),
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            said.lines().filter(|line| line.contains(telling)).for_each(|line| println!("{line}"));
            return Outcome::Passed;
        }
        print!("{}{said}", String::from_utf8_lossy(&output.stdout));
        Outcome::Failed(format!("{shown}: {}", output.status))
    }
}

/// The cargo that started this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a program can be started and answers with success.
pub(crate) fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The command as a person would type it, with the variables set for it.
fn show(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}='{}'", name.to_str()?, value?.to_str()?)))
        .collect();
    let program = Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_outweighs_a_missing_tool_and_a_pass() {
        let failed = || Outcome::Failed("f".into());
        let missing = || Outcome::Missing("m".into());
        assert_eq!(Outcome::Passed.and(missing()), missing());
        assert_eq!(missing().and(Outcome::Passed), missing());
        assert_eq!(missing().and(failed()), failed());
        assert_eq!(failed().and(Outcome::Passed), failed());
        assert_eq!(Outcome::Passed.and(Outcome::Passed), Outcome::Passed);
    }

    #[test]
    fn a_program_that_is_not_there_does_not_answer() {
        assert!(!answers(&mut Command::new("no-such-program-anywhere")));
    }
}
