//! Files that must be there, manifests that must opt in to the workspace's lints, and names that
//! say nothing about what is inside.

use std::path::Path;
use std::process::Command;

use super::Finding;
use crate::context::Context;

/// What a reader and a packager look for.
const REQUIRED_FILES: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs/durability.md",
    "docs/format.md",
    "docs/glossary.md",
    "docs/testing.md",
];

/// Words that name a drawer instead of a thing.
const EMPTY_WORDS: &[&str] =
    &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc", "stuff"];

/// Checks the tree outside the source files.
pub(super) fn check(context: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in REQUIRED_FILES {
        match std::fs::metadata(context.root.join(file)) {
            Ok(metadata) if metadata.len() > 0 => {}
            Ok(_) => findings.push(Finding::new(file, 0, "is empty")),
            Err(_) => findings.push(Finding::new(file, 0, "is missing")),
        }
    }
    if !lock_file_is_committed(&context.root) {
        findings.push(Finding::new("Cargo.lock", 0, "is not committed"));
    }
    for folder in super::member_folders(context) {
        let manifest = folder.join("Cargo.toml");
        let text = std::fs::read_to_string(context.root.join(&manifest)).unwrap_or_default();
        if !opts_in_to_lints(&text) {
            findings.push(Finding::new(
                &manifest.to_string_lossy(),
                0,
                "does not take the workspace's lints: [lints] workspace = true",
            ));
        }
    }
    findings
}

/// Whether git tracks the lock file. Sources unpacked without git have what the archive holds.
fn lock_file_is_committed(root: &Path) -> bool {
    if !root.join(".git").exists() {
        return true;
    }
    Command::new("git")
        .args(["ls-files", "--error-unmatch", "Cargo.lock"])
        .current_dir(root)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn opts_in_to_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]").skip(1);
    lines.any(|line| line == "workspace = true")
}

/// Checks the words of a source file's path.
pub(super) fn name(path: &str) -> Option<Finding> {
    let stems = path.split('/').map(|part| part.trim_end_matches(".rs"));
    let empty = stems.flat_map(|stem| stem.split('_')).find(|word| EMPTY_WORDS.contains(word))?;
    Some(Finding::new(path, 0, format!("`{empty}` names no thing: name the file after what it holds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_folder_named_after_nothing_is_found() {
        for path in ["ring/src/util.rs", "ring/src/helpers/a.rs", "ring/tests/it/test_common.rs"] {
            assert!(name(path).is_some(), "{path}");
        }
        for path in ["ring/src/ring.rs", "engine/src/tree/utility_pole.rs"] {
            assert!(name(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_manifest_without_the_workspace_lints_is_found() {
        assert!(opts_in_to_lints("[package]\nname = \"a\"\n[lints]\nworkspace = true\n"));
        assert!(!opts_in_to_lints("[package]\nversion.workspace = true\n"));
        assert!(!opts_in_to_lints("[lints.rust]\nunsafe_code = \"allow\"\n"));
    }
}
