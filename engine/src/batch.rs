//! Batches: operations collected by key, committed as one record. The last operation on a key wins
//! before anything is logged (PROTOCOL O5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use treering_journal::Durability;

use crate::catalog::TreeState;
use crate::engine::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::Tree;
use crate::options::Condition;
use crate::write::{BatchOperation, internal_key};

/// Operations over any trees of one store that happen together or not at all: at most 65,536, and at most
/// half the ring or an eighth of the log's cap in bytes.
#[derive(Debug)]
pub struct Batch {
    shared: Arc<Shared>,
    operations: BTreeMap<Vec<u8>, BatchOperation>,
    trees: BTreeMap<u32, Arc<TreeState>>,
    foreign: bool,
}

impl Batch {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, operations: BTreeMap::new(), trees: BTreeMap::new(), foreign: false }
    }

    /// Adds a put.
    pub fn put(&mut self, tree: &Tree, key: impl AsRef<[u8]>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.add(tree, key.as_ref(), Some(value.into()), None)
    }

    /// Adds a put of a record that expires `ttl` after the commit was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the TTL is under a millisecond.
    pub fn put_with_ttl(
        &mut self,
        tree: &Tree,
        key: impl AsRef<[u8]>,
        value: impl Into<Vec<u8>>,
        ttl: Duration,
    ) -> Result<&mut Self> {
        let death = self.shared.store.death_in(ttl)?;
        Ok(self.add(tree, key.as_ref(), Some(value.into()), Some(death)))
    }

    /// Adds a delete.
    pub fn delete(&mut self, tree: &Tree, key: impl AsRef<[u8]>) -> &mut Self {
        self.add(tree, key.as_ref(), None, None)
    }

    /// Makes the operation on `key` that was added before, if any, and with it the whole batch, depend on a
    /// condition.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the batch has no operation on `key`.
    pub fn only_if(&mut self, tree: &Tree, key: impl AsRef<[u8]>, condition: Condition) -> Result<&mut Self> {
        let key = internal_key(tree.state().id, key.as_ref());
        let operation = self.operations.get_mut(&key).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "the batch has no operation on this key; add it first")
        })?;
        operation.condition = condition;
        Ok(self)
    }

    /// How many keys the batch changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether the batch changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Commits, at the store's own durability if none is given; returns the version of every put in it.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a condition does not hold, [`ErrorKind::TooLarge`] and
    /// [`ErrorKind::InvalidArgument`] before anything is logged; [`ErrorKind::Poisoned`] means unknown but
    /// atomic.
    pub fn commit(self, durability: Option<Durability>) -> Result<u64> {
        if self.foreign {
            let message = "the batch names a tree of another store; give each store a batch of its own";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        let trees: Vec<&TreeState> = self.trees.values().map(Arc::as_ref).collect();
        self.shared.store.commit(&self.operations, &trees, durability)
    }

    fn add(&mut self, tree: &Tree, key: &[u8], value: Option<Vec<u8>>, death: Option<u64>) -> &mut Self {
        self.foreign |= !tree.belongs_to(&self.shared);
        let state = tree.state();
        self.trees.entry(state.id).or_insert_with(|| Arc::clone(state));
        let operation = BatchOperation { value, death, condition: Condition::None };
        self.operations.insert(internal_key(state.id, key), operation);
        self
    }
}
