//! `index`: real directory trees into the store, one key a path, its metadata as the value. With
//! `--follow` the walk is merged with what the store holds below the same path, both in key order, and
//! only the differences are written.

use std::iter::Peekable;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use serde_json::json;
use treering::{Entry, Range, Tree};

use crate::failure::{Failure, Outcome};
use crate::progress;
use crate::session::{Session, say};
use crate::walk::{self, Identity, Step};

/// Arguments of `index`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory; made if it is missing
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// What to walk; links are not followed
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Walk again and apply only the differences, removals included
    #[arg(long)]
    follow: bool,
}

/// What an indexing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexed {
    /// Paths walked.
    pub(crate) entries: u64,
    /// Keys written that were not there (every key, without `--follow`).
    pub(crate) added: u64,
    /// Keys whose record was replaced.
    pub(crate) changed: u64,
    /// Keys deleted because their path is gone.
    pub(crate) removed: u64,
    /// Paths that could not be read or stored.
    pub(crate) left_out: u64,
}

/// One indexing: where to and how it reports.
pub(crate) struct Indexing<'a> {
    /// The tree that takes the keys.
    pub(crate) tree: &'a Tree,
    /// Whether to apply only differences.
    pub(crate) follow: bool,
    /// A directory that is not walked: the store itself.
    pub(crate) skip: Option<Identity>,
    /// Advanced by one for each path.
    pub(crate) bar: &'a ProgressBar,
    /// Asked before each path; an error ends the indexing.
    pub(crate) may_go_on: &'a dyn Fn() -> Outcome,
}

/// Runs `index`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    for path in &arguments.paths {
        root_is_directory(path)?;
    }
    let began = Instant::now();
    let engine = session.open_to_write(&arguments.store, true)?;
    let tree = session.tree_or_new(&engine)?;
    let bar = progress_over(&arguments.paths);
    let indexing = Indexing {
        tree: &tree,
        follow: arguments.follow,
        skip: walk::identity(&arguments.store),
        bar: &bar,
        may_go_on: &|| Ok(()),
    };
    let mut done = Indexed::default();
    for path in &arguments.paths {
        indexing.path(path, &mut done)?;
    }
    bar.finish_and_clear();
    engine.close()?;
    report(session, arguments, &done, began.elapsed().as_secs_f64())?;
    match done.left_out {
        0 => Ok(()),
        count => {
            Err(Failure::Incomplete(format!("{count} paths could not be indexed; they are named above")))
        }
    }
}

/// A bar over all paths: the count is worth its time only where somebody sees the bar.
pub(crate) fn progress_over(paths: &[PathBuf]) -> ProgressBar {
    let bar = progress::bar("index", None);
    if bar.is_hidden() {
        return bar;
    }
    bar.finish_and_clear();
    progress::bar("index", Some(paths.iter().map(|path| walk::count(path)).sum()))
}

fn report(session: &Session, arguments: &Arguments, done: &Indexed, seconds: f64) -> Outcome {
    let on_disk = bytes_on_disk(&arguments.store)?;
    let mut output = session.output();
    if session.json {
        output.object(&[
            ("entries", json!(done.entries)),
            ("added", json!(done.added)),
            ("changed", json!(done.changed)),
            ("removed", json!(done.removed)),
            ("left_out", json!(done.left_out)),
            ("seconds", json!(seconds)),
            ("bytes_on_disk", json!(on_disk)),
        ])?;
    } else {
        let mut line = format!(
            "{} entries in {seconds:.2} s, {} on disk",
            HumanCount(done.entries),
            HumanBytes(on_disk)
        );
        if arguments.follow {
            let (added, changed) = (HumanCount(done.added), HumanCount(done.changed));
            line += &format!("; {added} added, {changed} changed, {} removed", HumanCount(done.removed));
        }
        output.line(&line)?;
    }
    output.finish()
}

/// The bytes that the files of a store occupy.
pub(crate) fn bytes_on_disk(store: &Path) -> Outcome<u64> {
    let failed = |error| Failure::io(format!("look into {}", store.display()), error);
    let mut bytes = 0;
    for entry in std::fs::read_dir(store).map_err(failed)? {
        // What the store removes meanwhile occupies nothing.
        if let Ok(metadata) = entry.map_err(failed)?.metadata() {
            bytes += metadata.blocks() * 512;
        }
    }
    Ok(bytes)
}

fn root_is_directory(path: &Path) -> Outcome<bool> {
    walk::root_is_directory(path).map_err(|error| Failure::io(format!("index {}", path.display()), error))
}

impl Indexing<'_> {
    /// Indexes one path, adding to `done`.
    pub(crate) fn path(&self, root: &Path, done: &mut Indexed) -> Outcome {
        let is_directory = root_is_directory(root)?;
        let mut stored = self.follow.then(|| Stored::below(self.tree, root, is_directory));
        for step in walk::walk(root, self.skip) {
            (self.may_go_on)()?;
            match step {
                Step::Entry { key, record } => self.entry(&key, &record, stored.as_mut(), done)?,
                Step::Unreadable { path, why } => {
                    self.left_out(&why, done);
                    if let Some(stored) = &mut stored {
                        stored.unknown.push(path);
                    }
                }
            }
        }
        match &mut stored {
            Some(stored) => {
                done.removed += stored.remove_up_to(self.tree, None)?;
                self.remove_other_kind(root, is_directory, done)
            }
            None => Ok(()),
        }
    }

    fn entry(&self, key: &[u8], record: &[u8], stored: Option<&mut Stored>, done: &mut Indexed) -> Outcome {
        self.bar.inc(1);
        done.entries += 1;
        let before = match stored {
            Some(stored) => {
                done.removed += stored.remove_up_to(self.tree, Some(key))?;
                stored.take(key)?
            }
            None => None,
        };
        if before.as_ref().is_some_and(|entry| &entry.value[..] == record) {
            return Ok(());
        }
        match self.tree.put(key, record) {
            Ok(_) if before.is_some() => done.changed += 1,
            Ok(_) => done.added += 1,
            Err(error) if error.kind() == treering::ErrorKind::TooLarge => {
                self.left_out(&error.to_string(), done);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn left_out(&self, why: &str, done: &mut Indexed) {
        done.left_out += 1;
        self.bar.suspend(|| say(why));
    }

    /// A directory that became a file leaves keys below it, and the other way round its own key.
    fn remove_other_kind(&self, root: &Path, is_directory: bool, done: &mut Indexed) -> Outcome {
        let mut directory = walk::key_of(root, true);
        if is_directory {
            directory.pop();
            if !directory.is_empty() && self.tree.delete(&directory)? {
                done.removed += 1;
            }
            return Ok(());
        }
        for entry in self.tree.prefix(&directory).keys_only() {
            done.removed += u64::from(self.tree.delete(&entry?.key)?);
        }
        Ok(())
    }
}

/// What the store holds at and below a path, read beside the walk.
struct Stored {
    range: Peekable<Range>,
    /// Paths of which nothing is known: what is stored at and below them stays.
    unknown: Vec<Vec<u8>>,
}

impl Stored {
    fn below(tree: &Tree, root: &Path, is_directory: bool) -> Self {
        let key = walk::key_of(root, is_directory);
        let range = match is_directory {
            true => tree.prefix(&key),
            false => tree.range(std::ops::Bound::Included(&key), std::ops::Bound::Included(&key)),
        };
        Self { range: range.peekable(), unknown: Vec::new() }
    }

    /// Deletes what is stored before `key`, or to the end: the walk has passed it without meeting it.
    fn remove_up_to(&mut self, tree: &Tree, key: Option<&[u8]>) -> Outcome<u64> {
        let mut removed = 0;
        loop {
            let passed = |entry: &treering::Result<Entry>| {
                entry.as_ref().is_ok_and(|entry| key.is_none_or(|key| &entry.key[..] < key))
            };
            let Some(entry) = self.range.next_if(passed) else {
                break;
            };
            let gone = entry?.key;
            if !self.unknown.iter().any(|path| is_at_or_below(&gone, path)) {
                removed += u64::from(tree.delete(&gone)?);
            }
        }
        Ok(removed)
    }

    /// The stored entry of `key`, if the range is at it.
    fn take(&mut self, key: &[u8]) -> Outcome<Option<Entry>> {
        let is_it = |entry: &treering::Result<Entry>| match entry {
            Ok(entry) => &entry.key[..] == key,
            Err(_) => true,
        };
        Ok(self.range.next_if(is_it).transpose()?)
    }
}

fn is_at_or_below(key: &[u8], path: &[u8]) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::is_at_or_below;

    #[test]
    fn what_could_not_be_read_covers_itself_and_what_is_below() {
        assert!(is_at_or_below(b"/a/b", b"/a/b"));
        assert!(is_at_or_below(b"/a/b/c", b"/a/b"));
        assert!(is_at_or_below(b"/a/b/", b"/a/b"));
        assert!(!is_at_or_below(b"/a/bc", b"/a/b"));
        assert!(!is_at_or_below(b"/a", b"/a/b"));
    }
}
