//! The walk of a real directory tree in the order of its keys. Links are not followed and file systems are
//! crossed, as `find` does. It is *not* a snapshot: what changes meanwhile is seen before or after.
//!
//! A key is the path as given, with `/` after directories. Siblings are visited in the order of their
//! names with that `/`, which makes the whole walk ascend: the keys below a directory all begin with its
//! key, and no sibling's key can fall between them.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use crate::record::Record;

/// A device and an inode on it: what makes a directory itself, whatever its path.
pub(crate) type Identity = (u64, u64);

/// What the walk comes to.
#[derive(Debug)]
pub(crate) enum Step {
    /// A path and its record.
    Entry {
        /// The key.
        key: Vec<u8>,
        /// The encoded record.
        record: Vec<u8>,
    },
    /// A path that could not be read; nothing is known about what is at and below it.
    Unreadable {
        /// The path's key, without a `/` at its end.
        path: Vec<u8>,
        /// What went wrong, path included.
        why: String,
    },
}

/// The identity of the directory at `path`, if there is one.
pub(crate) fn identity(path: &Path) -> Option<Identity> {
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether `root` is there at all, and whether it is a directory.
pub(crate) fn root_is_directory(root: &Path) -> io::Result<bool> {
    Ok(root.symlink_metadata()?.is_dir())
}

/// The key of `path`.
pub(crate) fn key_of(path: &Path, is_directory: bool) -> Vec<u8> {
    let mut key = path.as_os_str().as_bytes().to_vec();
    if is_directory && key.last() != Some(&b'/') {
        key.push(b'/');
    }
    key
}

/// Walks `root` in key order, leaving out the directory `skip` with all that is in it. Paths that vanish
/// before they are read are passed over.
pub(crate) fn walk(root: &Path, skip: Option<Identity>) -> impl Iterator<Item = Step> {
    let root_key = root.as_os_str().as_bytes().to_vec();
    WalkDir::new(root)
        .follow_root_links(false)
        .sort_by(key_order)
        .into_iter()
        .filter_entry(move |entry| !is_skipped(entry, skip))
        .filter_map(move |entry| step(entry, &root_key))
}

/// How many paths there are at and below `root`, as well as can be told without reading metadata.
pub(crate) fn count(root: &Path) -> u64 {
    WalkDir::new(root).follow_root_links(false).into_iter().flatten().fold(0, |count, _| count + 1)
}

fn key_order(one: &DirEntry, other: &DirEntry) -> Ordering {
    name_order((one.file_name(), one.file_type().is_dir()), (other.file_name(), other.file_type().is_dir()))
}

fn name_order(one: (&OsStr, bool), other: (&OsStr, bool)) -> Ordering {
    let bytes = |(name, is_directory): (&OsStr, bool)| {
        let end: &[u8] = if is_directory { b"/" } else { b"" };
        name.as_bytes().iter().chain(end).copied().collect::<Vec<u8>>()
    };
    bytes(one).cmp(&bytes(other))
}

fn is_skipped(entry: &DirEntry, skip: Option<Identity>) -> bool {
    skip.is_some() && entry.file_type().is_dir() && {
        let found = entry.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
        found == skip
    }
}

fn step(entry: walkdir::Result<DirEntry>, root_key: &[u8]) -> Option<Step> {
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => {
            return unreadable(error.path(), error.io_error().map(io::Error::kind), &error, root_key);
        }
    };
    let metadata = match entry.metadata() {
        Ok(metadata) => metadata,
        Err(error) => {
            return unreadable(Some(entry.path()), error.io_error().map(io::Error::kind), &error, root_key);
        }
    };
    match Record::of(entry.path(), &metadata) {
        Ok(record) => {
            let key = key_of(entry.path(), metadata.is_dir());
            Some(Step::Entry { key, record: record.encode() })
        }
        Err(error) => unreadable(Some(entry.path()), Some(error.kind()), &error, root_key),
    }
}

fn unreadable(
    path: Option<&Path>,
    kind: Option<io::ErrorKind>,
    why: &dyn std::fmt::Display,
    root_key: &[u8],
) -> Option<Step> {
    if kind == Some(io::ErrorKind::NotFound) {
        return None;
    }
    let path = path.map_or(root_key, |path| path.as_os_str().as_bytes());
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    Some(Step::Unreadable { path: path[..end].to_vec(), why: why.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn keys(root: &Path, skip: Option<Identity>) -> Vec<Vec<u8>> {
        walk(root, skip)
            .map(|step| match step {
                Step::Entry { key, .. } => key,
                Step::Unreadable { why, .. } => panic!("{why}"),
            })
            .collect()
    }

    #[test]
    fn keys_ascend_though_names_sort_around_the_slash() {
        let home = tempfile::tempdir().unwrap();
        for directory in ["a", "a/b", "a-b", "z"] {
            fs::create_dir(home.path().join(directory)).unwrap();
        }
        for file in ["a.txt", "a-", "a0", "a/b.c", "a/b/x", "a-b/y", "\u{1}"] {
            fs::write(home.path().join(file), b"").unwrap();
        }
        let found = keys(home.path(), None);
        assert_eq!(found.len(), 12);
        assert!(found.is_sorted(), "{found:?}");
        assert_eq!(count(home.path()), 12);
    }

    #[test]
    fn a_path_is_kept_as_given_and_directories_end_in_one_slash() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("f"), b"").unwrap();
        let plain = home.path().as_os_str().as_bytes().to_vec();
        let expect = vec![[&plain[..], b"/"].concat(), [&plain[..], b"/f"].concat()];
        assert_eq!(keys(home.path(), None), expect);
        assert_eq!(keys(&home.path().join(""), None), expect);
        assert_eq!(keys(&home.path().join("f"), None), expect[1..]);
    }

    #[test]
    fn the_skipped_directory_is_left_out_with_all_below() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("store/deep")).unwrap();
        fs::write(home.path().join("kept"), b"").unwrap();
        let found = keys(home.path(), identity(&home.path().join("store")));
        assert_eq!(found.len(), 2);
        assert!(found[1].ends_with(b"/kept"));
    }

    #[test]
    fn links_are_recorded_and_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(".", home.path().join("loop")).unwrap();
        let found = keys(home.path(), None);
        assert_eq!(found.len(), 2);
        assert!(found[1].ends_with(b"/loop"));
    }
}
