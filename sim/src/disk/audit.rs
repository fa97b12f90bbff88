//! Watching a disk: an auditor hears of every change that succeeded and may look at what is durable. It
//! finds wrong orders at once, where a crash would have to fall between the two operations.

use std::fmt::Debug;
use std::ops::Range;

use super::State;
use super::inode::Inode;

/// A change that has just succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A file was made.
    Created {
        /// Its name.
        name: &'a str,
    },
    /// Bytes of a file changed.
    Wrote {
        /// Its name.
        name: &'a str,
        /// Which bytes.
        bytes: Range<u64>,
    },
    /// A file has a new length.
    Resized {
        /// Its name.
        name: &'a str,
        /// The length.
        bytes: u64,
    },
    /// A file was synced.
    Synced {
        /// Its name.
        name: &'a str,
    },
    /// A file has another name; one that had it is gone.
    Renamed {
        /// The old name.
        from: &'a str,
        /// The new name.
        to: &'a str,
    },
    /// A name is gone.
    Removed {
        /// The name.
        name: &'a str,
    },
    /// The directory was synced.
    DirectorySynced,
}

/// Who hears of changes. It is called with the disk held and must not use it but through the view.
pub trait Auditor: Debug + Send + Sync {
    /// `event` has just happened; the disk is as `view` shows.
    fn after(&self, event: &Event<'_>, view: View<'_>);
}

/// What there is and what of it no crash can take.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    state: &'a State,
}

impl<'a> View<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        Self { state }
    }

    fn inode(self, name: &str) -> Option<&'a Inode> {
        self.state.names.get(name).and_then(|id| self.state.inodes.get(id))
    }

    /// The names of all files.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.state.names.keys().map(String::as_str)
    }

    /// The bytes of a file as a process sees them.
    pub fn bytes_of(self, name: &str) -> Option<Vec<u8>> {
        self.inode(name).map(super::contents)
    }

    /// The bytes of the file that surely has this name after a crash, as they surely are.
    pub fn durable_bytes_of(self, name: &str) -> Option<Vec<u8>> {
        let id = self.state.durable_names.get(name)?;
        self.state.inodes.get(id).map(Inode::durable_bytes)
    }

    /// The names that a crash may leave the file which is called `name` now.
    pub fn durable_names_of(self, name: &str) -> impl Iterator<Item = &'a str> {
        let inode = self.state.names.get(name);
        let names = self.state.durable_names.iter();
        names.filter(move |(_, other)| inode == Some(*other)).map(|(name, _)| name.as_str())
    }

    /// Whether a name means the same file after every crash.
    pub fn is_name_durable(self, name: &str) -> bool {
        let now = self.state.names.get(name);
        let changes = self.state.name_changes.iter().any(|change| change.concerns(name));
        now.is_some() && now == self.state.durable_names.get(name) && !changes
    }

    /// Whether `bytes` of a file are the same after every crash that leaves its name.
    pub fn are_bytes_durable(self, name: &str, bytes: Range<u64>) -> bool {
        self.inode(name).is_some_and(|inode| inode.is_range_durable(bytes))
    }

    /// Whether a file is there, whole, after every crash.
    pub fn is_file_durable(self, name: &str) -> bool {
        self.is_name_durable(name) && self.inode(name).is_some_and(Inode::is_durable)
    }
}
