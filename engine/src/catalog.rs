//! Named trees: which names there are, and their ids. Tree 0 is the catalogue itself and holds, as
//! ordinary records, `name → id` for each tree, and two kinds of bookkeeping that no name can collide
//! with: `\0next → id` (the next id) and `\0dropped/ID` (a dropped tree whose keys are still being
//! removed). Ids are never reused. It is *not* a place for data: users cannot reach tree 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::error::{Error, ErrorKind, Result};
use crate::options::Condition;
use crate::store::Store;
use crate::write::{BatchOperation, internal_key};

/// The catalogue's own tree id.
pub(crate) const CATALOG_TREE: u32 = 0;
/// The default tree's id.
pub(crate) const DEFAULT_TREE: u32 = 1;
/// The default tree's name.
pub const DEFAULT_TREE_NAME: &str = "default";
/// The longest name of a tree, in bytes.
pub const MAX_TREE_NAME_BYTES: usize = 255;

const NEXT_KEY: &[u8] = b"\0next";
const DROPPED_PREFIX: &[u8] = b"\0dropped/";
const FIRST_NAMED_TREE: u32 = 2;
/// Keys removed with one record when a dropped tree is swept.
const SWEEP_BATCH: usize = 256;

/// What all handles of one tree share.
#[derive(Debug)]
pub(crate) struct TreeState {
    pub(crate) id: u32,
    pub(crate) name: String,
    dropped: AtomicBool,
}

impl TreeState {
    fn new(id: u32, name: &str) -> Arc<Self> {
        Arc::new(Self { id, name: name.to_string(), dropped: AtomicBool::new(false) })
    }

    /// Fails if the tree was dropped. Inside the gate the answer holds until the gate is left, because
    /// trees are dropped with the gate closed or by a record of their own that comes later.
    pub(crate) fn check_live(&self) -> Result<()> {
        // Pairs with the store in `Store::drop_tree`.
        if self.dropped.load(Ordering::Acquire) {
            let message = format!("the tree {:?} was dropped; create it again", self.name);
            return Err(Error::new(ErrorKind::Closed, message));
        }
        Ok(())
    }
}

/// The trees that are open.
#[derive(Debug)]
pub(crate) struct Catalog {
    system: Arc<TreeState>,
    pub(crate) default: Arc<TreeState>,
    open: Mutex<BTreeMap<String, Arc<TreeState>>>,
    /// Held while the set of trees changes.
    changing: Mutex<()>,
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Self {
            system: TreeState::new(CATALOG_TREE, ""),
            default: TreeState::new(DEFAULT_TREE, DEFAULT_TREE_NAME),
            open: Mutex::new(BTreeMap::new()),
            changing: Mutex::new(()),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_TREE_NAME_BYTES || name.contains('\0') {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("a tree's name has 1 to {MAX_TREE_NAME_BYTES} bytes and no NUL"),
        ));
    }
    Ok(())
}

fn decode_id(value: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(value.try_into().ok()?))
}

impl Store {
    /// The tree of this name, if there is one.
    pub(crate) fn find_tree(&self, name: &str) -> Result<Option<Arc<TreeState>>> {
        self.open()?;
        check_name(name)?;
        if name == DEFAULT_TREE_NAME {
            return Ok(Some(Arc::clone(&self.catalog.default)));
        }
        let mut open = self.catalog.open.lock();
        if let Some(tree) = open.get(name) {
            return Ok(Some(Arc::clone(tree)));
        }
        let Some((_, value)) = self.lookup(&internal_key(CATALOG_TREE, name.as_bytes()))? else {
            return Ok(None);
        };
        let id = decode_id(&value).ok_or_else(|| self.bad_catalog(name))?;
        let tree = TreeState::new(id, name);
        open.insert(name.to_string(), Arc::clone(&tree));
        Ok(Some(tree))
    }

    /// The tree of this name, made if there is none.
    pub(crate) fn create_tree(&self, name: &str) -> Result<Arc<TreeState>> {
        let _changing = self.catalog.changing.lock();
        if let Some(tree) = self.find_tree(name)? {
            return Ok(tree);
        }
        let id = match self.lookup(&internal_key(CATALOG_TREE, NEXT_KEY))? {
            Some((_, value)) => decode_id(&value).ok_or_else(|| self.bad_catalog("\\0next"))?,
            None => FIRST_NAMED_TREE,
        };
        let next = id.checked_add(1).filter(|&next| next < u32::MAX).ok_or_else(|| {
            Error::new(ErrorKind::TooLarge, "all tree ids were given out; export the store into a new one")
        })?;
        let put = |value: u32, condition| BatchOperation {
            value: Some(value.to_le_bytes().to_vec()),
            death: None,
            condition,
        };
        let operations = BTreeMap::from([
            (internal_key(CATALOG_TREE, NEXT_KEY), put(next, Condition::None)),
            (internal_key(CATALOG_TREE, name.as_bytes()), put(id, Condition::Absent)),
        ]);
        self.commit(&operations, &[&self.catalog.system], None)?;
        self.find_tree(name)?.ok_or_else(|| self.bad_catalog(name))
    }

    /// The names of all trees, in order, the default one included.
    pub(crate) fn tree_names(&self) -> Result<Vec<String>> {
        self.open()?;
        let mut names = vec![DEFAULT_TREE_NAME.to_string()];
        for key in self.catalog_keys(b"\x01")? {
            let name = String::from_utf8(key).ok().filter(|name| check_name(name).is_ok());
            names.push(name.ok_or_else(|| self.bad_catalog("a name"))?);
        }
        names.sort();
        Ok(names)
    }

    /// Drops a tree: its name is gone at once and for ever; its keys are removed before this returns, or,
    /// if it is interrupted, when the store is next opened for writing.
    pub(crate) fn drop_tree(&self, name: &str) -> Result<bool> {
        let _changing = self.catalog.changing.lock();
        if name == DEFAULT_TREE_NAME {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "the default tree cannot be dropped; delete its keys",
            ));
        }
        let Some(tree) = self.find_tree(name)? else { return Ok(false) };
        let operations = BTreeMap::from([
            (internal_key(CATALOG_TREE, name.as_bytes()), removal()),
            (
                internal_key(CATALOG_TREE, &dropped_key(tree.id)),
                BatchOperation { value: Some(Vec::new()), death: None, condition: Condition::None },
            ),
        ]);
        self.commit(&operations, &[&self.catalog.system], None)?;
        // Pairs with the load in `check_live`.
        tree.dropped.store(true, Ordering::Release);
        self.catalog.open.lock().remove(name);
        // Writers that passed the check are gone once the gate was closed.
        drop(self.gate.close());
        self.sweep(tree.id)?;
        Ok(true)
    }

    /// Goes on with trees whose removal was interrupted.
    pub(crate) fn resume_drops(&self) -> Result<()> {
        for key in self.catalog_keys(DROPPED_PREFIX)? {
            if !key.starts_with(DROPPED_PREFIX) {
                break;
            }
            self.sweep(dropped_id(&key).ok_or_else(|| self.bad_catalog("\\0dropped"))?)?;
        }
        Ok(())
    }

    /// Proves every entry: names that a tree can have, ids below the next one and given out once.
    pub(crate) fn verify_catalog(&self) -> Result<()> {
        let next = match self.lookup(&internal_key(CATALOG_TREE, NEXT_KEY))? {
            Some((_, value)) => decode_id(&value).ok_or_else(|| self.bad_catalog("\\0next"))?,
            None => FIRST_NAMED_TREE,
        };
        let mut ids = BTreeSet::new();
        for name in self.tree_names()?.iter().filter(|name| *name != DEFAULT_TREE_NAME) {
            let tree = self.find_tree(name)?.ok_or_else(|| self.bad_catalog(name))?;
            if !(FIRST_NAMED_TREE..next).contains(&tree.id) || !ids.insert(tree.id) {
                return Err(self.bad_catalog(name));
            }
        }
        let dropped = self.catalog_keys(DROPPED_PREFIX)?;
        let mut dropped =
            dropped.iter().take_while(|key| key.starts_with(DROPPED_PREFIX)).map(|key| dropped_id(key));
        if dropped.any(|id| id.is_none_or(|id| id >= next || ids.contains(&id))) {
            return Err(self.bad_catalog("\\0dropped"));
        }
        Ok(())
    }

    /// Removes all keys of a dropped tree, then the note of it.
    fn sweep(&self, id: u32) -> Result<()> {
        loop {
            let keys = self.raw_keys(id, SWEEP_BATCH)?;
            if keys.is_empty() {
                break;
            }
            let limit = self.record_limit();
            let mut operations = BTreeMap::new();
            let mut bytes = 64;
            for key in keys {
                bytes += key.len() + 64;
                if bytes > limit && !operations.is_empty() {
                    break;
                }
                operations.insert(key, removal());
            }
            self.commit(&operations, &[], None)?;
        }
        let note = BTreeMap::from([(internal_key(CATALOG_TREE, &dropped_key(id)), removal())]);
        self.commit(&note, &[], None)?;
        Ok(())
    }

    fn bad_catalog(&self, what: &str) -> Error {
        Error::damage(
            format!("the catalogue entry of {what} is malformed"),
            self.env.storage.path_of("MANIFEST"),
            0,
        )
    }
}

fn removal() -> BatchOperation {
    BatchOperation { value: None, death: None, condition: Condition::None }
}

/// The tree that a note tells of; never one that cannot be dropped.
fn dropped_id(key: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(key.strip_prefix(DROPPED_PREFIX)?).ok()?;
    text.parse().ok().filter(|id| *id >= FIRST_NAMED_TREE && dropped_key(*id) == key)
}

fn dropped_key(id: u32) -> Vec<u8> {
    [DROPPED_PREFIX, id.to_string().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_of_a_dropped_tree_names_one_that_can_be_dropped() {
        assert_eq!(dropped_id(&dropped_key(2)), Some(2));
        assert_eq!(dropped_id(&dropped_key(u32::MAX)), Some(u32::MAX));
        for wrong in
            [&b"\0dropped/1"[..], b"\0dropped/0", b"\0dropped/", b"\0dropped/02", b"\0dropped/+7", b"\0next"]
        {
            assert_eq!(dropped_id(wrong), None, "{wrong:?}");
        }
    }
}
