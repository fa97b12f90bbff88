//! The engine handle: opening, trees, cuts, statistics, closing. It is *not* where work is done; it hands
//! everything to the [`Store`] behind it and sees to the threads' life.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use treering_segment::clock::{OsEntropy, SystemClock};
use treering_segment::file::FileStorage;
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::Environment;

use crate::background::Background;
use crate::batch::Batch;
use crate::cut::CutStats;
use crate::error::{Error, ErrorKind, Result};
use crate::namespace::Tree;
use crate::options::Options;
use crate::stats::Stats;
use crate::store::Store;

/// An open store. Cheap to clone; all clones are the same store, which closes when the last one, and the
/// last [`Tree`] of it, is dropped, or at [`Engine::close`].
///
/// # Durability
/// A [`crate::Durability::Buffered`] write that was acknowledged survives the death of the process, a
/// [`crate::Durability::Sync`] one survives power loss. A write that failed is unknown but atomic.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all handles share; dropping it closes the store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    background: Mutex<Option<Background>>,
}

impl Shared {
    fn stop_background(&self) {
        // Taken out first: joining must not hold the lock that `close` from another handle wants.
        let background = self.background.lock().take();
        drop(background);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop_background();
        // A failed close loses nothing: the log has it. `Engine::close` is the way to hear of it.
        if self.store.close().is_err() {
            self.store.abandon();
        }
    }
}

impl Engine {
    /// Opens the store in directory `path`, creating it if the options allow.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`] if it is open elsewhere, [`ErrorKind::NotAStore`] if there is none and none is
    /// to be created, [`ErrorKind::Damage`] with file and offset if it cannot be opened soundly.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        let path = path.as_ref();
        let create = options.create_if_missing && !options.read_only;
        let storage = if create { FileStorage::create(path) } else { FileStorage::open(path) };
        let storage = storage.map_err(|failure| match failure.source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::at(
                ErrorKind::NotAStore,
                path,
                "there is no treering store here; create one by writing to it",
            ),
            _ => failure.into(),
        })?;
        let environment = Environment {
            storage: Arc::new(storage),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        };
        Self::open_in(environment, options)
    }

    /// Opens the store in an environment of the caller's: other storage, clock or randomness.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_in(environment: Environment, options: Options) -> Result<Self> {
        let background = options.background && !options.read_only;
        let store = Arc::new(Store::recover(environment, options)?);
        let threads = if background { Some(Background::start(&store)?) } else { None };
        Ok(Self { shared: Arc::new(Shared { store, background: Mutex::new(threads) }) })
    }

    /// A store in memory: the same code over the same files, which go when the engine does.
    ///
    /// # Errors
    /// As [`Engine::open`], where the options make no sense.
    pub fn in_memory(options: Options) -> Result<Self> {
        let environment = Environment {
            storage: Arc::new(MemoryStorage::new()),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
        };
        Self::open_in(environment, options)
    }

    /// The tree that is always there.
    #[must_use]
    pub fn default_tree(&self) -> Tree {
        Tree::new(Arc::clone(&self.shared), Arc::clone(&self.shared.store.catalog.default))
    }

    /// The tree of this name, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if no tree can have the name.
    pub fn tree(&self, name: &str) -> Result<Option<Tree>> {
        let found = self.shared.store.find_tree(name)?;
        Ok(found.map(|state| Tree::new(Arc::clone(&self.shared), state)))
    }

    /// The tree of this name, created if there is none.
    ///
    /// # Errors
    /// As [`Engine::tree`], and those of a write.
    pub fn create_tree(&self, name: &str) -> Result<Tree> {
        let state = self.shared.store.create_tree(name)?;
        Ok(Tree::new(Arc::clone(&self.shared), state))
    }

    /// Drops a tree with all its keys; `false` if there is none. Its name and its keys are gone at once for
    /// whoever opens it anew; handles of it fail with [`ErrorKind::Closed`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for the default tree, and those of a write.
    pub fn drop_tree(&self, name: &str) -> Result<bool> {
        self.shared.store.drop_tree(name)
    }

    /// The names of all trees in byte order, the default one included.
    ///
    /// # Errors
    /// [`ErrorKind::Damage`], [`ErrorKind::Closed`].
    pub fn trees(&self) -> Result<Vec<String>> {
        self.shared.store.tree_names()
    }

    /// A batch: operations that happen together or not at all.
    #[must_use]
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.shared))
    }

    /// Takes a cut now: what is in memory goes to its place on disk and the log before it is released.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] leaves everything as it was. Failed syncs poison the store.
    pub fn checkpoint(&self) -> Result<CutStats> {
        self.shared.store.cut()
    }

    /// Makes every acknowledged write durable against power loss.
    ///
    /// # Errors
    /// A failed sync poisons the store.
    pub fn flush(&self) -> Result<()> {
        self.shared.store.writing()?.journal.flush()?;
        Ok(())
    }

    /// What there is and what it costs.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    pub fn stats(&self) -> Result<Stats> {
        self.shared.store.stats()
    }

    /// Does one piece of background work, for stores opened with `background(false)`; says whether there was
    /// any to do.
    ///
    /// # Errors
    /// Those of a cut or a flush.
    pub fn step(&self) -> Result<bool> {
        self.shared.store.step()
    }

    /// Closes the store cleanly: a cut, a marker in the log, the lock let go. Other handles of it fail with
    /// [`ErrorKind::Closed`] from now on. Closing twice is fine.
    ///
    /// # Errors
    /// Those of a cut. What was acknowledged is in the log all the same.
    pub fn close(&self) -> Result<()> {
        self.shared.stop_background();
        self.shared.store.close()
    }

    /// Lets go of the store as a killed process would, for tests of recovery: no cut, no flush, no marker.
    #[doc(hidden)]
    pub fn abandon(self) {
        self.shared.store.abandon();
        self.shared.stop_background();
    }
}
