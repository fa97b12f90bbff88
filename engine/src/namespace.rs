//! A tree's handle: what users call. It is *not* the radix tree (one for all, in `tree/`): a handle is
//! a tree id, checked, in front of every key.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::catalog::TreeState;
use crate::engine::Shared;
use crate::error::Result;
use crate::list::{ListOptions, Listing};
use crate::options::WriteOptions;
use crate::range::{Entry, Range, successor};
use crate::write::internal_key;

/// A named tree of a store. Cheap to clone. Keys are any byte strings, the empty one included, up to the
/// smaller of 8 KiB and an eighth of a frame; values have up to 1 GiB.
#[derive(Clone, Debug)]
pub struct Tree {
    shared: Arc<Shared>,
    state: Arc<TreeState>,
}

impl Tree {
    pub(crate) fn new(shared: Arc<Shared>, state: Arc<TreeState>) -> Self {
        Self { shared, state }
    }

    pub(crate) fn state(&self) -> &Arc<TreeState> {
        &self.state
    }

    pub(crate) fn belongs_to(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    /// The tree's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The value of `key`. It may not be durable yet; see [`crate::Engine::flush`].
    ///
    /// # Errors
    /// [`crate::ErrorKind::Damage`] if the value cannot be read whole.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>> {
        self.state.check_live()?;
        Ok(self.shared.store.lookup(&internal_key(self.state.id, key.as_ref()))?.map(|(_, value)| value))
    }

    /// The record of `key`: value, version, expiry.
    ///
    /// # Errors
    /// As [`Tree::get`].
    pub fn entry(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        self.state.check_live()?;
        let key = internal_key(self.state.id, key.as_ref());
        match self.shared.store.lookup(&key)? {
            Some((leaf, _)) => self.shared.store.entry_of(&key, leaf, false),
            None => Ok(None),
        }
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Damage`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.state.check_live()?;
        self.shared.store.holds(&internal_key(self.state.id, key.as_ref()))
    }

    /// Puts a value at the store's own durability; returns its version.
    ///
    /// # Errors
    /// [`crate::ErrorKind::TooLarge`] before anything is logged; [`crate::ErrorKind::Full`] likewise;
    /// [`crate::ErrorKind::Poisoned`] means unknown but atomic.
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<u64> {
        self.put_with(key, value, &WriteOptions::default())
    }

    /// Puts a value with a durability, condition or TTL of its own; returns its version.
    ///
    /// # Errors
    /// As [`Tree::put`], and [`crate::ErrorKind::Conflict`] if the condition does not hold.
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        how: &WriteOptions,
    ) -> Result<u64> {
        self.shared.store.put(&self.state, key.as_ref(), value.as_ref(), how)
    }

    /// Deletes a key; says whether it was there.
    ///
    /// # Errors
    /// As [`Tree::put`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.delete_with(key, &WriteOptions::default())
    }

    /// Deletes a key with a durability or condition of its own; says whether it was there. The TTL of the
    /// options has no meaning here.
    ///
    /// # Errors
    /// As [`Tree::put_with`].
    pub fn delete_with(&self, key: impl AsRef<[u8]>, how: &WriteOptions) -> Result<bool> {
        Ok(self.shared.store.delete(&self.state, key.as_ref(), how)?.is_some())
    }

    /// The records between two bounds.
    #[must_use]
    pub fn range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Range {
        Range::new(Arc::clone(&self.shared), &self.state, lower, upper)
    }

    /// The records whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Range {
        let prefix = prefix.as_ref();
        let upper = successor(prefix);
        self.range(Bound::Included(prefix), upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// One page of a listing like an object store's.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] for a limit or token out of bounds.
    pub fn list(&self, options: &ListOptions) -> Result<Listing> {
        self.state.check_live()?;
        self.shared.store.list(&self.state, options)
    }
}
