//! What a source file may say, by the package it stands in. Rules that the compiler or clippy can
//! enforce are theirs; these are about places.

use super::Finding;
use super::source::Source;

/// Lines beyond which a file must be split, or excuse itself.
const LINES_MAX: usize = 800;

/// Rules that a file may excuse itself from.
const LONG_FILE: &str = "long_file";
const CLOCK: &str = "clock";

/// Kernel's file calls, by any of the ways to reach them.
const FILE_CALLS: &[&str] = &[
    "std::fs",
    "std::os::unix::fs",
    "std::os::linux::fs",
    "std::os::fd",
    "rustix::fs",
    "rustix::io",
    "rustix::mm",
    "io_uring",
    "libc",
    "memmap2",
    "tempfile",
];

/// Clocks and randomness.
const CLOCKS: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread::sleep",
    "rustix::time",
    "rustix::rand",
    "fastrand",
    "getrandom",
    "rand",
];

/// Ways to start a thread.
const THREAD_STARTS: &[&str] =
    &["std::thread::spawn", "std::thread::scope", "std::thread::Builder", "crossbeam::thread", "rayon"];

/// What loom replaces, and hence a crate with a `sync` module takes from there only.
const RAW_SYNC: &[&str] = &[
    "std::sync::atomic",
    "core::sync::atomic",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::Condvar",
    "parking_lot",
    "loom",
];

/// A ban on some paths in the library code of some packages.
struct Ban {
    paths: &'static [&'static str],
    /// Package folders whose files keep it.
    folders: &'static [&'static str],
    /// Files and folders in them that are the one home of what is banned elsewhere.
    homes: &'static [&'static str],
    /// The rule's name in an excuse, if it can be excused.
    excuse: Option<&'static str>,
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        paths: FILE_CALLS,
        folders: &["ring", "journal", "blobframe", "compactor", "sim", "engine"],
        homes: &["engine/src/storage.rs", "engine/src/storage/"],
        excuse: None,
        why: "only the storage back ends make file calls: go through segment's storage seam",
    },
    Ban {
        paths: CLOCKS,
        folders: &["segment", "ring", "journal", "blobframe", "compactor", "sim"],
        homes: &["segment/src/clock.rs"],
        excuse: Some(CLOCK),
        why: "no clock and no randomness below the engine: take them as an argument",
    },
    Ban {
        paths: THREAD_STARTS,
        folders: &["segment", "ring", "journal", "blobframe", "compactor", "sim"],
        homes: &[],
        excuse: None,
        why: "only the engine and the command start threads: expose a step function",
    },
];

/// Holds every file against every rule.
pub(super) fn check(files: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let mut excused = Vec::new();
        findings.extend(opening(file));
        findings.extend(length(file, &mut excused));
        findings.extend(unfinished(file));
        findings.extend(unsafe_opened(file));
        findings.extend(bans(file, &mut excused));
        findings.extend(raw_sync(file, files));
        findings.extend(excuses(file, &excused));
    }
    findings.extend(unsafe_forbidden(files));
    findings
}

fn opening(file: &Source) -> Option<Finding> {
    let opens = file.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 8);
    (!opens).then(|| Finding::new(&file.path, 1, "does not open with `//!`: say what the file is"))
}

fn length(file: &Source, excused: &mut Vec<&'static str>) -> Option<Finding> {
    let lines = file.text.lines().count();
    if lines <= LINES_MAX {
        return None;
    }
    if file.excuses.iter().any(|excuse| excuse.rule == LONG_FILE) {
        excused.push(LONG_FILE);
        return None;
    }
    Some(Finding::new(&file.path, 0, format!("has {lines} lines, more than {LINES_MAX}: split it")))
}

/// Marks of work that is not done.
fn unfinished(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    for (index, line) in file.text.lines().enumerate() {
        if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
            findings.push(Finding::new(
                &file.path,
                index + 1,
                format!("says {mark}: do it, or open an issue"),
            ));
        }
    }
    for used in &file.uses {
        let name = used.path.rsplit("::").next().unwrap_or_default();
        if name == "todo!" || name == "unimplemented!" {
            findings.push(Finding::new(&file.path, used.line, format!("calls {name}")));
        }
    }
    for line in &file.ignored_tests {
        findings.push(Finding::new(&file.path, *line, "ignores a test: mend it or remove it"));
    }
    findings
}

fn unsafe_opened(file: &Source) -> Option<Finding> {
    let line = file.first_unsafe?;
    (!file.opens_unsafe).then(|| {
        let what = "is unsafe, but the file does not say #[expect(unsafe_code, reason = \"…\")]";
        Finding::new(&file.path, line, what)
    })
}

/// A package whose library needs no unsafe code forbids it outright.
fn unsafe_forbidden(files: &[Source]) -> Vec<Finding> {
    let needs = |folder: &str| {
        files
            .iter()
            .any(|f| f.folder() == folder && !f.is_test() && (f.first_unsafe.is_some() || f.opens_unsafe))
    };
    files
        .iter()
        .filter(|file| file.is_crate_root() && !file.forbids_unsafe && !needs(file.folder()))
        .map(|file| Finding::new(&file.path, 0, "needs no unsafe code: say #![forbid(unsafe_code)]"))
        .collect()
}

fn bans(file: &Source, excused: &mut Vec<&'static str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in BANS.iter().filter(|ban| ban.folders.contains(&file.folder())) {
        if ban.homes.iter().any(|home| file.path.starts_with(home)) {
            continue;
        }
        for used in file.uses.iter().filter(|used| !used.in_test) {
            if !ban.paths.iter().any(|banned| names(&used.path, banned)) {
                continue;
            }
            match ban.excuse {
                Some(rule) if file.excuses.iter().any(|excuse| excuse.rule == rule) => excused.push(rule),
                _ => {
                    findings.push(Finding::new(&file.path, used.line, format!("{}: {}", used.path, ban.why)))
                }
            }
        }
    }
    findings
}

fn raw_sync(file: &Source, files: &[Source]) -> Vec<Finding> {
    let shim = format!("{}/src/sync.rs", file.folder());
    let under_loom = file.path != shim && files.iter().any(|other| other.path == shim);
    if !under_loom {
        return Vec::new();
    }
    let raw = |path: &str| RAW_SYNC.iter().any(|banned| names(path, banned));
    file.uses
        .iter()
        .filter(|used| !used.in_test && raw(&used.path))
        .map(|used| {
            let what =
                format!("{}: atomics and locks come from crate::sync, where loom can swap them", used.path);
            Finding::new(&file.path, used.line, what)
        })
        .collect()
}

fn excuses(file: &Source, excused: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for excuse in &file.excuses {
        if ![LONG_FILE, CLOCK].contains(&excuse.rule.as_str()) {
            findings.push(Finding::new(
                &file.path,
                excuse.line,
                format!("no excuse exists for `{}`", excuse.rule),
            ));
        } else if !excuse.has_reason {
            findings.push(Finding::new(&file.path, excuse.line, "excuses itself without a reason"));
        } else if !excused.contains(&excuse.rule.as_str()) {
            let what = format!("keeps the rule `{}`: remove the excuse", excuse.rule);
            findings.push(Finding::new(&file.path, excuse.line, what));
        }
    }
    findings
}

/// Whether a path is the banned one, lies below it, or imports it by a glob.
fn names(path: &str, banned: &str) -> bool {
    if let Some(parent) = path.strip_suffix("::*") {
        return format!("{banned}::").starts_with(&format!("{parent}::"))
            || parent.starts_with(&format!("{banned}::"));
    }
    path == banned || path.strip_prefix(banned).is_some_and(|rest| rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings on one file, which is otherwise in order.
    fn on(path: &str, body: &str) -> Vec<String> {
        let text = format!("//! A file for a test.\n{body}");
        let source = Source::parse(path, &text).expect("the test's text parses");
        check(&[source]).into_iter().map(|finding| finding.what).collect()
    }

    fn finds(path: &str, body: &str, what: &str) {
        let found = on(path, body);
        assert!(found.iter().any(|f| f.contains(what)), "{what:?} not in {found:?}");
    }

    fn silent(path: &str, body: &str) {
        assert_eq!(on(path, body), Vec::<String>::new());
    }

    #[test]
    fn a_file_without_an_opening_is_found() {
        let source = Source::parse("ring/src/a.rs", "use a::b;\n").expect("parses");
        assert!(check(&[source])[0].what.contains("does not open"));
    }

    #[test]
    fn unfinished_work_is_found_in_comments_and_macros_and_tests() {
        finds("ring/src/a.rs", concat!("// TO", "DO: more\n"), "open an issue");
        finds("ring/src/a.rs", "fn a() { todo!() }", "calls todo!");
        finds("ring/src/a.rs", "fn a() { if b { core::unimplemented!(\"x\") } }", "calls unimplemented!");
        finds("ring/tests/it/main.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}", "ignores a test");
    }

    #[test]
    fn a_long_file_is_found_unless_it_says_why() {
        let body = "// a line\n".repeat(LINES_MAX);
        finds("ring/src/a.rs", &body, "split it");
        let excuse = "// tidy: expect(long_file, reason = \"one table\")\n";
        silent("ring/src/a.rs", &format!("{excuse}{body}"));
        finds("ring/src/a.rs", excuse, "remove the excuse");
        finds("ring/src/a.rs", "// tidy: expect(threads, reason = \"x\")\n", "no excuse exists");
    }

    #[test]
    fn file_calls_outside_the_storage_back_ends_are_found() {
        finds("journal/src/a.rs", "use std::{io, fs};", "storage seam");
        finds("engine/src/a.rs", "fn a() { std::fs::read(p); }", "storage seam");
        finds("journal/src/a.rs", "use std::os::unix::*;", "storage seam");
        silent("engine/src/storage/uring.rs", "fn a() { std::fs::read(p); }");
        silent("segment/src/file.rs", "use std::fs::File;");
        silent("journal/tests/it/main.rs", "use std::fs::File;");
        silent("journal/src/a.rs", "#[cfg(test)] mod tests { use std::fs::File; }");
    }

    #[test]
    fn clocks_below_the_engine_are_found_unless_it_is_a_bounded_wait() {
        finds("ring/src/a.rs", "use std::time; fn a() { time::Instant::now(); }", "no clock");
        finds("compactor/src/a.rs", "fn a() { rand::random(); }", "no clock");
        silent("engine/src/a.rs", "use std::time::Instant;");
        silent("ring/src/a.rs", "use std::time::Duration;");
        let excuse = "// tidy: expect(clock, reason = \"a wait with a timeout\")\n";
        silent("ring/src/a.rs", &format!("{excuse}use std::time::Instant;"));
    }

    #[test]
    fn threads_started_below_the_engine_are_found() {
        finds("journal/src/a.rs", "use std::thread; fn a() { thread::spawn(b); }", "step function");
        silent("journal/src/a.rs", "fn a() { std::thread::yield_now(); }");
        silent("engine/src/a.rs", "fn a() { std::thread::spawn(b); }");
    }

    #[test]
    fn unsafe_code_is_found_where_the_file_did_not_open_it() {
        finds("ring/src/a.rs", "fn a() { unsafe { b() } }", "#[expect(unsafe_code");
        silent("ring/src/a.rs", "#[expect(unsafe_code, reason = \"raw\")]\nfn a() { unsafe { b() } }");
        finds("ring/src/lib.rs", "fn a() {}", "#![forbid(unsafe_code)]");
        silent("ring/src/lib.rs", "#![forbid(unsafe_code)]");
    }

    #[test]
    fn a_crate_with_a_sync_module_takes_its_atomics_from_there() {
        let parse = |path: &str, body: &str| {
            Source::parse(path, &format!("//! A file for a test.\n{body}")).expect("parses")
        };
        let shim = parse("ring/src/sync.rs", "pub use parking_lot::Mutex;");
        let user = parse("ring/src/a.rs", "use std::sync::{Arc, atomic::AtomicU64};");
        let found = check(&[shim, user]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("std::sync::atomic::AtomicU64: atomics and locks"));
    }
}
