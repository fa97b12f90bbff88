//! A disk that keeps its promises and no more: what was synced stays, everything else may be lost,
//! torn by sectors, or kept, each by itself, and names apart from bytes.
//!
//! The running view is a [`MemoryStorage`]; beside it stands, for each file, what the device holds and
//! may hold ([`inode`]), and for the directory the changes since its last sync. A crash draws one of
//! the possible outcomes from a seed and starts a new disk on it; the old one answers nothing any more.
//!
//! - **D1** Each change of the directory (create, rename, remove) since its last sync is there after
//!   a crash or not, each by itself, in their order; a rename is one change.
//! - **D2** A `kill` loses nothing, and forgets nothing of what was not synced.
//! - **D3** Every call of the seam counts as one operation, a batch too; faults are placed by that count.
//! - **D4** At the moment of a power cut by fault, mappings stand still: what the code under test goes on
//!   to store in them is in no outcome.
//!
//! It does not model latency, a lying device, or damage at rest; [`SimDisk::edit`] does the latter by hand.

mod audit;
mod fault;
mod inode;
mod seam;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use treering_segment::error::IoFailure;
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::Storage;

use crate::random::Random;

pub use audit::{Auditor, Event, View};
pub use fault::{Fault, FaultKind};
pub use inode::SECTOR_BYTES;

use fault::Call;
use inode::{Inode, Loss};

type InodeId = u64;

/// Every so many operations the kernel may have written back what was stored in a mapping by then.
const WRITE_BACK_EVERY: u64 = 16;

/// A change of the directory that no sync covers yet.
#[derive(Clone, Debug)]
enum NameChange {
    /// `name` means `inode`, and `moved_from`, if any, no longer does.
    Set { name: String, inode: InodeId, moved_from: Option<String> },
    /// `name` is gone.
    Remove { name: String },
}

#[derive(Debug)]
struct State {
    names: BTreeMap<String, InodeId>,
    durable_names: BTreeMap<String, InodeId>,
    name_changes: Vec<NameChange>,
    inodes: BTreeMap<InodeId, Inode>,
    next_inode: InodeId,
    operations: u64,
    faults: Vec<Fault>,
    faults_hit: u64,
    capacity: u64,
    random: Random,
    dead: bool,
    auditor: Option<Arc<dyn Auditor>>,
}

/// A simulated directory; clones are the same directory.
#[derive(Clone, Debug)]
pub struct SimDisk {
    live: MemoryStorage,
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk; `seed` decides how far failing writes get.
    pub fn new(seed: u64) -> Self {
        let state = State {
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            operations: 0,
            faults: Vec::new(),
            faults_hit: 0,
            capacity: u64::MAX,
            random: Random::new(seed),
            dead: false,
            auditor: None,
        };
        Self { live: MemoryStorage::new(), state: Arc::new(Mutex::new(state)) }
    }

    /// Has `auditor` hear of every change from now on; the disks that come of this one have none.
    pub fn set_auditor(&self, auditor: Arc<dyn Auditor>) {
        self.state.lock().auditor = Some(auditor);
    }

    /// Looks at the disk as an auditor does.
    pub fn look<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        look(View::of(&self.state.lock()))
    }

    /// Whether the power was cut, by a fault or by hand: every later call fails.
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Operations so far: the index of the next one.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Places a fault.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Operations that have failed by a fault.
    pub fn faults_hit(&self) -> u64 {
        self.state.lock().faults_hit
    }

    /// Bounds the bytes of all named files together.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Cuts the power: this disk is dead, and the returned one holds what `seed` makes of the rest.
    pub fn crash(&self, seed: u64) -> SimDisk {
        self.state.lock().dead = true;
        self.after_crash(seed)
    }

    /// What a power cut at this moment would leave, as `seed` has it; this disk goes on.
    pub fn after_crash(&self, seed: u64) -> SimDisk {
        let mut state = self.state.lock();
        let mut random = Random::new(seed);
        let loss = Loss::draw(&mut random);
        let mut names = state.durable_names.clone();
        for change in &state.name_changes {
            if loss.keeps(&mut random) {
                change.apply(&mut names);
            }
        }
        let next = SimDisk::new(random.next_u64());
        next.state.lock().capacity = state.capacity;
        for (name, inode) in names {
            if let Some(inode) = state.inodes.get_mut(&inode) {
                must(inode.absorb_mapped());
                // A device may have written all of one file back and nothing of another.
                let loss = Loss::draw(&mut random);
                next.place(&name, &inode.after_crash(loss, &mut random), None);
            }
        }
        next
    }

    /// Kills the process: this disk is dead, and the returned one holds all that was written, as much
    /// or as little durable as before.
    pub fn kill(&self) -> SimDisk {
        let next = self.duplicate();
        self.state.lock().dead = true;
        next
    }

    /// As [`SimDisk::kill`], and then memory gets short: pages that a failed sync has marked as clean leave the
    /// page cache, and what is read from now on is what the device has of them.
    pub fn kill_and_evict(&self) -> SimDisk {
        let next = self.kill();
        let mut state = next.state.lock();
        let mut random = state.random.fork();
        state.inodes.values_mut().for_each(|inode| must(inode.evict(&mut random)));
        drop(state);
        next
    }

    /// Whether a failed sync has left bytes that no process may rely on, though it reads them.
    pub fn has_forgotten(&self) -> bool {
        self.state.lock().inodes.values().any(Inode::has_forgotten)
    }

    /// Another disk that holds the same, as much or as little durable; both go on. Faults stay behind.
    pub fn duplicate(&self) -> SimDisk {
        let mut state = self.state.lock();
        let next = SimDisk::new(state.random.next_u64());
        for (name, id) in state.names.clone() {
            if let Some(inode) = state.inodes.get_mut(&id) {
                must(inode.absorb_mapped());
                next.place(&name, &contents(inode), Some((id, inode)));
            }
        }
        let mut after = next.state.lock();
        after.durable_names.clone_from(&state.durable_names);
        after.name_changes.clone_from(&state.name_changes);
        after.next_inode = state.next_inode;
        after.capacity = state.capacity;
        for (id, inode) in &state.inodes {
            after.inodes.entry(*id).or_insert_with(|| inode.clone());
        }
        drop(after);
        next
    }

    /// The bytes of a file as a process sees them.
    pub fn bytes_of(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.names.get(name).and_then(|id| state.inodes.get(id)).map(contents)
    }

    /// Whether no crash could lose anything.
    pub fn is_durable(&self) -> bool {
        let mut state = self.state.lock();
        state.inodes.values_mut().for_each(|inode| must(inode.absorb_mapped()));
        state.name_changes.is_empty() && state.inodes.values().all(Inode::is_durable)
    }

    /// Changes a file at rest, durably: damage by hand. False if there is no such file.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state.lock();
        let Some(id) = state.names.get(name).copied() else { return false };
        let Some(inode) = state.inodes.get_mut(&id) else { return false };
        let mut bytes = contents(inode);
        change(&mut bytes);
        must(inode.live.set_len(bytes.len() as u64));
        must(inode.live.write_all_at(&bytes, 0));
        must(inode.note_change(0, bytes.len() as u64));
        must(inode.sync());
        true
    }

    /// Puts a file on a disk that is being set up: durable, or with the standing of `known`.
    fn place(&self, name: &str, bytes: &[u8], known: Option<(InodeId, &Inode)>) {
        let live = must(self.live.create(name));
        must(live.write_all_at(bytes, 0));
        let mut state = self.state.lock();
        let (id, inode) = match known {
            Some((id, inode)) => (id, inode.with_live(live)),
            None => {
                let mut inode = Inode::new(live);
                must(inode.note_change(0, bytes.len() as u64));
                must(inode.sync());
                let id = state.next_inode;
                state.next_inode += 1;
                state.durable_names.insert(name.to_owned(), id);
                (id, inode)
            }
        };
        state.names.insert(name.to_owned(), id);
        state.inodes.insert(id, inode);
    }
}

impl NameChange {
    /// Whether `name` means something else before it than after it.
    fn concerns(&self, name: &str) -> bool {
        match self {
            NameChange::Set { name: of, moved_from, .. } => of == name || moved_from.as_deref() == Some(name),
            NameChange::Remove { name: of } => of == name,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, InodeId>) {
        match self {
            NameChange::Set { name, inode, moved_from } => {
                if let Some(from) = moved_from {
                    names.remove(from);
                }
                names.insert(name.clone(), *inode);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

impl State {
    /// Counts an operation and says whether it goes ahead.
    fn begin(&mut self, call: Call) -> Result<(), io::Error> {
        if self.dead {
            return Err(FaultKind::PowerCut.error(call));
        }
        let index = self.operations;
        self.operations += 1;
        if index.is_multiple_of(WRITE_BACK_EVERY) {
            self.inodes.values_mut().for_each(|inode| must(inode.absorb_mapped()));
        }
        match self.faults.iter().find(|fault| fault.hits(index, call)).map(|fault| fault.kind) {
            None => Ok(()),
            Some(kind) => {
                self.faults_hit += 1;
                if kind == FaultKind::PowerCut {
                    self.die();
                }
                Err(kind.error(call))
            }
        }
    }

    /// Tells the auditor, if there is one.
    fn tell(&self, event: &Event<'_>) {
        if let Some(auditor) = &self.auditor {
            auditor.after(event, View::of(self));
        }
    }

    /// The name of a file that is open; none if it was removed.
    fn name_of(&self, inode: InodeId) -> Option<&str> {
        self.names.iter().find(|(_, id)| **id == inode).map(|(name, _)| name.as_str())
    }

    /// The end: what is written through a mapping from now on never happened (D4).
    fn die(&mut self) {
        self.dead = true;
        self.inodes.values_mut().for_each(|inode| must(inode.freeze()));
    }

    /// Performs a change of the directory in the running view.
    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    /// Makes the directory durable and drops the files that nothing can bring back.
    fn sync_names(&mut self) {
        self.durable_names.clone_from(&self.names);
        self.name_changes.clear();
        let named: std::collections::BTreeSet<InodeId> = self.names.values().copied().collect();
        self.inodes.retain(|id, _| named.contains(id));
    }

    /// Bytes of all named files.
    fn used(&self) -> u64 {
        let named = self.names.values().filter_map(|id| self.inodes.get(id));
        named.map(|inode| inode.live.len().unwrap_or(0)).sum()
    }

    /// Whether the named files may grow by `bytes`.
    fn has_room_for(&self, bytes: u64) -> bool {
        self.used().saturating_add(bytes) <= self.capacity
    }
}

fn contents(inode: &Inode) -> Vec<u8> {
    if let Some(bytes) = &inode.frozen {
        return bytes.clone();
    }
    let len = usize::try_from(must(inode.live.len())).unwrap_or(0);
    let mut bytes = vec![0; len];
    must(inode.live.read_exact_at(&mut bytes, 0));
    bytes
}

/// The result of an operation on memory, which fails only by our own mistake.
fn must<T>(result: Result<T, IoFailure>) -> T {
    match result {
        Ok(value) => value,
        Err(failure) => panic!("the simulated disk's own memory failed: {failure}"),
    }
}
