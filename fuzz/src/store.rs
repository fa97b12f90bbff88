//! `store_open`: whole stores with hostile files, through `verify_in` and both ways to open.
//!
//! The files of a small store are damaged: its identity, the engine's section of an edit and the edits around it,
//! frame images, payload segments and log records with every checksum above them mended, other bytes as they are;
//! files go or appear. Whatever opens is read and written. A store that verifies opens, reads without an error,
//! and keeps what is written to it over a reopen.

use std::sync::LazyLock;

use treering::{Engine, ErrorKind, ListOptions, Options, Tree, VerifyReport, verify_in};
use treering_compactor::manifest::{Extent, MANIFEST, Manifest, Mode, State};
use treering_journal::JournalOptions;
use treering_segment::sealed::file_name;
use treering_segment::storage::Environment;

use crate::damage::{damage, overwrite};
use crate::directory::Directory;
use crate::input::Input;
use crate::mend;
use crate::placed::Placed;

const CHANGES_MAX: usize = 5;
/// The longest ring and log files that a hostile identity is opened for writing with: sizes within their bounds
/// are no finding, only slow.
const BYTES_MAX: u64 = 64 << 10;
/// Entries that a scan looks at: what is damaged may show any number.
const ENTRIES_MAX: usize = 2000;
const RING_BYTES: usize = 16 << 10;
const SEGMENT_BYTES: u64 = 16 << 10;

/// A store to start from.
#[derive(Clone, Debug)]
struct Sample {
    directory: Directory,
    store_id: [u8; 16],
    /// What the manifest says.
    state: State,
    records: Vec<Placed>,
}

/// A store that was abandoned, one that was closed, one that took no cut yet.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| (0..3).map(sample).collect());

fn options() -> Options {
    Options::new()
        .frame_bytes(4 << 10)
        .ring_bytes(RING_BYTES)
        .log_segment_bytes(SEGMENT_BYTES)
        .log_cap_bytes(64 << 10)
        .staging_limit(16 << 10)
        .background(false)
}

fn sample(kind: usize) -> Sample {
    let env = Directory::default().environment();
    let engine = Engine::open_in(env.clone(), options()).expect("a store is created");
    fill(&engine, 0..50);
    if kind < 2 {
        engine.checkpoint().expect("a cut is taken");
        fill(&engine, 40..65);
        engine.checkpoint().expect("a cut is taken");
    }
    fill(&engine, 60..75);
    if kind == 1 {
        engine.close().expect("a store is closed");
    }
    let directory = Directory::of(&*env.storage);
    engine.abandon();
    let store_id: [u8; 16] = directory.files["STORE"][16..32].try_into().expect("an identity");
    let (_, state) =
        Manifest::load(&env.storage, store_id, Mode::ReadOnly).expect("the manifest of a sound store");
    let records = records(&directory, store_id, &state);
    Sample { directory, store_id, state, records }
}

fn fill(engine: &Engine, keys: std::ops::Range<usize>) {
    let (tree, other) = (engine.default_tree(), engine.create_tree("another").expect("a tree is created"));
    for n in keys {
        // Inline, staged and, seldom, written to a segment of its own.
        let length = [20, 260, 700, 5, 130, 3000][if n % 15 == 14 { 5 } else { n % 5 }];
        let value = vec![n.to_le_bytes()[0]; length];
        tree.put(format!("directory/{}/file {n}", n % 4), &value).expect("a key is put");
        if n.is_multiple_of(4) {
            other.put(format!("{n}"), &value[..5]).expect("a key is put");
        }
        if n % 6 == 5 {
            tree.delete(format!("directory/{}/file {}", (n - 3) % 4, n - 3)).expect("a key is deleted");
        }
    }
    let mut batch = engine.batch();
    batch.put(&tree, "batched", vec![1; 600]).delete(&tree, "directory/1/file 21").put(&other, "b", "value");
    batch.commit(None).expect("a batch is committed");
}

fn records(directory: &Directory, store_id: [u8; 16], state: &State) -> Vec<Placed> {
    let word = |at: usize| u64::from_le_bytes(state.engine[at..at + 8].try_into().expect("eight bytes"));
    let from = treering_journal::RecoverFrom {
        low_water: word(8),
        lsn0: word(16),
        durable_edit: state.sequence,
        clean_end: None,
    };
    let options = JournalOptions {
        ring_bytes: RING_BYTES,
        segment_bytes: SEGMENT_BYTES,
        ..JournalOptions::new(store_id)
    };
    let mut found = Vec::new();
    let env = directory.environment();
    treering_journal::recover(&env, &options, from, treering_journal::Mode::ReadOnly, &mut |record| {
        found.push((record.lsn, usize::try_from(record.end() - record.lsn).expect("small")));
        Ok(())
    })
    .expect("the log of a sound store");
    found.into_iter().map(|(lsn, len)| Placed::find(directory, &store_id, lsn, len)).collect()
}

/// Feeds one store.
pub fn store_open(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut sample = SAMPLES[usize::from(input.byte()) % SAMPLES.len()].clone();
    for _ in 0..CHANGES_MAX {
        if input.is_empty() {
            break;
        }
        sample.change(&mut input);
    }
    check(&sample.directory);
}

impl Sample {
    fn change(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        match choice % 12 {
            0 => {
                let store = self.directory.file("STORE");
                let end = store.len().min(64);
                overwrite(input, &mut store[..end]);
                mend::identity(store);
            }
            1 | 2 => self.engine_section(input),
            3 | 4 => {
                overwrite(input, self.directory.file(MANIFEST));
                self.mend_manifest();
            }
            5 | 6 => self.image(input),
            7 => self.segment(input),
            8 | 9 => {
                if self.records.is_empty() {
                    return;
                }
                let placed = &self.records[input.below(self.records.len())];
                let mut record = placed.read(&self.directory);
                overwrite(input, &mut record);
                mend::log_record(&mut record, &self.store_id);
                placed.write(&mut self.directory, &record);
            }
            10 => {
                let Some(name) = self.directory.name(input.byte()) else { return };
                damage(input, self.directory.file(&name));
            }
            _ => self.names(input),
        }
    }

    fn mend_manifest(&mut self) {
        let store_id = self.store_id;
        mend::manifest(self.directory.file(MANIFEST), &store_id, false);
    }

    /// The newest of the engine's own sections.
    fn engine_section(&mut self, input: &mut Input<'_>) {
        let manifest = self.directory.file(MANIFEST);
        let Some(at) = manifest.windows(8).rposition(|head| head == [7, 0, 0, 0, 64, 0, 0, 0]) else {
            return;
        };
        if let Some(section) = manifest.get_mut(at + 8..at + 72) {
            overwrite(input, section);
        }
        self.mend_manifest();
    }

    /// A frame's image, with the checksum by which the manifest names it.
    fn image(&mut self, input: &mut Input<'_>) {
        let extents: Vec<(u64, Extent)> = self
            .state
            .extents
            .iter()
            .flat_map(|(number, chain)| chain.first().map(|e| (*number, *e)))
            .collect();
        if extents.is_empty() {
            return;
        }
        let (number, extent) = extents[input.below(extents.len())];
        let start = usize::try_from(extent.offset).expect("small");
        let range = start..start + extent.length as usize;
        let Some(bytes) = self.directory.file("frames").get_mut(range) else { return };
        let mut image = bytes.to_vec();
        for _ in 0..=input.byte() % 3 {
            overwrite(input, &mut image);
        }
        let checksum = mend::image(&mut image, &self.store_id, number, extent.epoch);
        bytes.copy_from_slice(&image);
        let item: Vec<u8> = [number, extent.offset, extent.epoch, u64::from(extent.length)]
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .take(28)
            .collect();
        let manifest = self.directory.file(MANIFEST);
        if let Some(at) = manifest.windows(28).rposition(|window| window == item)
            && let Some(field) = manifest.get_mut(at + 28..at + 32)
        {
            field.copy_from_slice(&checksum.to_le_bytes());
        }
        self.mend_manifest();
    }

    /// A payload segment, with the root by which the manifest names it.
    fn segment(&mut self, input: &mut Input<'_>) {
        if self.state.segments.is_empty() {
            return;
        }
        let choice = input.below(self.state.segments.len());
        let Some((id, meta)) = self.state.segments.iter().nth(choice).map(|(id, meta)| (*id, meta.clone()))
        else {
            return;
        };
        let bytes = self.directory.file(&file_name(id));
        overwrite(input, bytes);
        mend::segment(bytes, id, &self.store_id);
        let root =
            bytes.get(bytes.len().saturating_sub(80)..bytes.len().saturating_sub(48)).map(<[u8]>::to_vec);
        let manifest = self.directory.file(MANIFEST);
        if let Some(at) = manifest.windows(32).rposition(|window| window == meta.root)
            && let Some(root) = root
            && root.len() == 32
        {
            manifest[at..at + 32].copy_from_slice(&root);
        }
        self.mend_manifest();
    }

    /// Files that go, appear, or come under other names.
    fn names(&mut self, input: &mut Input<'_>) {
        let Some(name) = self.directory.name(input.byte()) else { return };
        let number = match input.byte() % 4 {
            0 => u64::MAX,
            1 => u64::from(input.u16()),
            _ => u64::from(input.byte() % 8),
        };
        let prefix = ["segment-", "log-", "spare-", "segment-"][usize::from(input.byte() % 4)];
        let other = format!("{prefix}{number:016x}");
        match input.byte() % 4 {
            0 => drop(self.directory.files.remove(&name)),
            1 => drop(self.directory.files.insert(other, Vec::new())),
            2 => {
                let bytes = self.directory.file(&name).clone();
                self.directory.files.insert(other, bytes);
            }
            _ => drop(self.directory.files.insert("MANIFEST.new".to_owned(), input.bytes(20).to_vec())),
        }
    }
}

fn check(directory: &Directory) {
    let env = directory.environment();
    let verified = verify_in(env.clone(), Options::new().background(false));
    let clean = verified.as_ref().is_ok_and(VerifyReport::is_clean);
    if let Err(error) = &verified {
        refused(error);
    }
    match Engine::open_in(env.clone(), Options::new().read_only(true)) {
        Ok(engine) => {
            assert!(read(&engine) || !clean, "a store that verifies has a key that cannot be read");
            engine.abandon();
        }
        Err(error) => {
            refused(&error);
            assert!(!clean, "a store that verifies does not open: {error}");
        }
    }
    assert!(Directory::of(&*env.storage) == *directory, "reading changes a byte");
    let size = |at: usize| {
        let field = directory.files.get("STORE").and_then(|store| store.get(at..at + 8));
        field.and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    if size(40) <= BYTES_MAX && size(48) <= BYTES_MAX {
        write(&env, clean);
    }
}

/// Reads everything that a store shows; whether that went without an error.
fn read(engine: &Engine) -> bool {
    let names = engine.trees();
    let mut whole = names.is_ok();
    let mut trees = vec![engine.default_tree()];
    for name in names.unwrap_or_default() {
        match engine.tree(&name) {
            Ok(tree) => trees.extend(tree),
            Err(_) => whole = false,
        }
    }
    trees.iter().fold(whole, |whole, tree| read_tree(tree) && whole)
}

fn read_tree(tree: &Tree) -> bool {
    let mut shown: Vec<Vec<u8>> = Vec::new();
    let mut whole = true;
    for entry in tree.prefix("").take(ENTRIES_MAX) {
        let Ok(entry) = entry else {
            whole = false;
            break;
        };
        whole &= tree.get(&entry.key).is_ok_and(|value| value.is_some_and(|value| value == entry.value));
        shown.push(entry.key.to_vec());
    }
    assert!(shown.is_sorted_by(|a, b| a < b), "a scan is out of order");
    whole &= shown.len() < ENTRIES_MAX;
    let backward: Option<Vec<Vec<u8>>> =
        tree.prefix("").reversed().take(ENTRIES_MAX).map(|e| e.ok().map(|e| e.key.to_vec())).collect();
    whole &= backward.is_some_and(|mut keys| {
        keys.reverse();
        keys == shown
    });
    let listing =
        ListOptions { prefix: b"directory/".to_vec(), delimiter: Some(b'/'), ..ListOptions::default() };
    tree.list(&listing).is_ok() && whole
}

/// Writes to whatever opens; a store that verified keeps it.
fn write(env: &Environment, clean: bool) {
    let engine = match Engine::open_in(env.clone(), Options::new().background(false)) {
        Ok(engine) => engine,
        Err(error) => {
            assert!(!clean, "a store that verifies does not open for writing: {error}");
            return refused(&error);
        }
    };
    let tree = engine.default_tree();
    let small = tree.put("directory/1/new", "small");
    if small.is_ok()
        && let Ok(value) = tree.get("directory/1/new")
    {
        assert_eq!(value.as_deref(), Some(&b"small"[..]), "what was put is not there");
    }
    let staged = tree.put("directory/2/new", vec![5; 900]);
    let deleted = tree.delete("directory/0/file 0");
    let cut = engine.checkpoint();
    let after = tree.put("after", "the cut");
    let outcomes = [small.err(), staged.err(), deleted.err(), cut.err(), after.err()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    outcomes.iter().for_each(refused);
    drop(tree);
    engine.abandon();
    if !clean {
        // The reopen must not panic.
        let _ = Engine::open_in(env.clone(), Options::new().background(false)).map(Engine::abandon);
        return;
    }
    assert!(outcomes.is_empty(), "a store that verifies refuses a write: {outcomes:?}");
    let engine = match Engine::open_in(env.clone(), Options::new().background(false)) {
        Ok(engine) => engine,
        Err(error) => {
            // A made-up counter right below its bound is beyond it after a write.
            let message = error.to_string();
            let counters =
                ["beyond what a store reaches", "the engine's section of the newest edit is malformed"];
            let spent = counters.iter().any(|counter| message.contains(counter));
            return assert!(spent, "what was written does not open: {error}");
        }
    };
    let tree = engine.default_tree();
    for (key, value) in
        [("directory/1/new", &b"small"[..]), ("directory/2/new", &[5; 900]), ("after", b"the cut")]
    {
        assert_eq!(tree.get(key).expect("what was written is read").as_deref(), Some(value));
    }
    assert!(!tree.contains("directory/0/file 0").expect("what was deleted is looked for"));
    assert!(read(&engine), "after a write and a cut a key cannot be read");
}

/// Errors that hostile files may cause.
fn refused(error: &treering::Error) {
    let kinds = [
        ErrorKind::Damage,
        ErrorKind::NotAStore,
        ErrorKind::NewerFormat,
        ErrorKind::Io,
        ErrorKind::Full,
        ErrorKind::Poisoned,
        ErrorKind::TooLarge,
    ];
    assert!(kinds.contains(&error.kind()), "hostile files cause {error:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_sound_and_have_what_the_changes_are_about() {
        for sample in SAMPLES.iter() {
            check(&sample.directory);
            let report = verify_in(sample.directory.environment(), Options::new()).expect("a sound store");
            assert!(report.is_clean(), "{report:?}");
        }
        let counts =
            (SAMPLES[0].records.len(), SAMPLES[0].state.extents.len(), SAMPLES[0].state.segments.len());
        assert!(counts.0 > 10 && counts.1 > 2 && counts.2 > 1, "{counts:?}");
    }

    #[test]
    fn a_mended_image_is_loaded() {
        let mut sample = SAMPLES[0].clone();
        // Nothing is changed but what mending changes: nothing.
        let mut nothing = Input::new(&[]);
        sample.image(&mut nothing);
        let report = verify_in(sample.directory.environment(), Options::new()).expect("a report");
        let named_by_checksum = report.damages.iter().any(|d| d.what.contains("checksum"));
        assert!(!named_by_checksum, "{report:?}");
    }
}
