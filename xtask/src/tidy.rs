//! `tidy`: the rules of the house that no compiler knows. It reads, and changes nothing.
//!
//! - [`edges`]: which package may depend on which.
//! - [`layout`]: files that must be there, and names that must not.
//! - [`rules`]: what each source file may say, on the syntax tree that [`source`] makes of it.
//!
//! A file is excused from a rule, where the rule allows that at all, by a line of its own:
//! `// tidy: expect(<rule>, reason = "<why>")`. An excuse without a reason, for an unknown rule, or
//! for a rule that the file keeps anyway, is itself a finding.

mod edges;
mod layout;
mod rules;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::context::{Context, Outcome};

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Path from the workspace's root.
    path: String,
    /// Line, from 1; 0 if the finding is about the file as a whole.
    line: usize,
    /// What is wrong and what to do instead.
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Checks everything and prints what it finds.
pub(crate) fn run(context: &Context) -> Outcome {
    match check(context) {
        Ok(findings) if findings.is_empty() => {
            println!("tidy: nothing to say");
            Outcome::Passed
        }
        Ok(findings) => {
            for finding in &findings {
                println!("{finding}");
            }
            Outcome::Failed(format!("tidy: {} findings", findings.len()))
        }
        Err(error) => Outcome::Failed(error),
    }
}

fn check(context: &Context) -> Result<Vec<Finding>, String> {
    let mut findings = edges::check(context);
    findings.extend(layout::check(context));
    let mut files = Vec::new();
    for folder in member_folders(context) {
        for path in rust_files(&context.root.join(&folder))? {
            let relative = path.strip_prefix(&context.root).unwrap_or(&path).to_string_lossy().into_owned();
            findings.extend(layout::name(&relative));
            let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {relative}: {e}"))?;
            match source::Source::parse(&relative, &text) {
                Ok(file) => files.push(file),
                Err(finding) => findings.push(finding),
            }
        }
    }
    findings.extend(rules::check(&files));
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Folders of the workspace's packages, from its root.
fn member_folders(context: &Context) -> Vec<PathBuf> {
    context
        .packages()
        .filter_map(|package| Path::new(package["manifest_path"].as_str()?).parent())
        .filter_map(|folder| folder.strip_prefix(&context.root).ok())
        .map(Path::to_path_buf)
        .collect()
}

/// Every `.rs` file below a folder, sorted.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let entries =
            std::fs::read_dir(&folder).map_err(|e| format!("cannot list {}: {e}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("cannot list {}: {e}", folder.display()))?.path();
            if path.is_dir() {
                if path
                    .file_name()
                    .is_none_or(|name| name != "target" && name != "corpus" && name != "artifacts")
                {
                    pending.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
