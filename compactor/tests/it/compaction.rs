//! Merging and compaction, with an index and alone.

use std::collections::{BTreeMap, BTreeSet};

use treering_compactor::cohort::{IMMORTAL, cohort_of};
use treering_compactor::manifest::{Edit, Manifest, Mode, SegmentChange, SegmentMeta};
use treering_compactor::merge::Merge;
use treering_compactor::{CompactionStats, Cycle, Error, Liveness, compact_cycle, remove_orphans};
use treering_segment::sealed::{RecordIn, RecordPointer, SegmentReader, SegmentWriter, file_name};
use treering_segment::storage::Storage;
use treering_sim::{Fault, FaultKind, Random, SimDisk};

use crate::sample::{STORE, storage};

/// A record to write; no value is a tombstone.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    value: Option<Vec<u8>>,
    lsn: u64,
    death: Option<u64>,
}

type Lines = BTreeMap<Vec<u8>, Line>;

fn seal(
    disk: &SimDisk,
    id: u64,
    cohort: u64,
    lines: &Lines,
) -> (SegmentMeta, BTreeMap<Vec<u8>, RecordPointer>) {
    let mut writer = SegmentWriter::create(disk, id, STORE, cohort).unwrap();
    let mut pointers = BTreeMap::new();
    for (key, line) in lines {
        match &line.value {
            Some(value) => {
                let record = RecordIn { key, value, lsn: line.lsn, written_ms: 1, death_ms: line.death };
                pointers.insert(key.clone(), writer.append(&record).unwrap());
            }
            None => writer.append_tombstone(key, line.lsn, 1, None).unwrap(),
        }
    }
    (SegmentMeta::sealed(&writer.finish().unwrap()), pointers)
}

/// A store of sealed segments, and what it must hold.
struct Store {
    disk: SimDisk,
    manifest: Manifest,
    next_segment: u64,
    model: Lines,
}

impl Store {
    fn new() -> Store {
        let disk = SimDisk::new(5);
        let manifest = Manifest::create(&storage(&disk), STORE, &Edit::default()).unwrap();
        Store { disk, manifest, next_segment: 1, model: Lines::new() }
    }

    fn add(&mut self, cohort: u64, lines: &Lines) -> u64 {
        let id = self.next_segment;
        self.next_segment += 1;
        let (meta, _) = seal(&self.disk, id, cohort, lines);
        self.manifest.append(&Edit { segments: vec![SegmentChange::Add(meta)], ..Edit::default() }).unwrap();
        for (key, line) in lines {
            if self.model.get(key).is_none_or(|known| known.lsn < line.lsn) {
                self.model.insert(key.clone(), line.clone());
            }
        }
        id
    }

    fn open(&self, id: u64) -> SegmentReader {
        SegmentReader::open(&self.disk, id, STORE).unwrap()
    }

    /// Counts, for each segment, the records that are the newest of their key.
    fn count_live(&mut self) {
        let mut segments = Vec::new();
        for id in self.manifest.state().segments.keys() {
            let (mut live_records, mut live_bytes) = (0, 0);
            for record in &self.open(*id) {
                let record = record.unwrap();
                if self.model[&record.key[..]].lsn == record.lsn {
                    live_records += 1;
                    live_bytes += u64::from(record.pointer.length);
                }
            }
            segments.push(SegmentChange::Live { id: *id, live_records, live_bytes });
        }
        self.manifest.append(&Edit { segments, ..Edit::default() }).unwrap();
    }

    fn cycle(&mut self, now: u64, pinned: &BTreeSet<u64>, budget: u64) -> Result<CompactionStats, Error> {
        let mut cycle = Cycle {
            storage: &self.disk,
            store_id: STORE,
            next_segment: self.next_segment,
            budget_bytes: budget,
            liveness: None,
        };
        let outcome = compact_cycle(&mut self.manifest, now, pinned, &mut cycle);
        self.next_segment = cycle.next_segment;
        outcome
    }

    /// What a merged scan shows at `now`.
    fn view(&self, now: u64) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
        let sources = self.manifest.state().segments.keys().map(|id| (*id, self.open(*id).iter())).collect();
        let living = Merge::new(sources).living(now).map(|version| version.unwrap().record);
        living.map(|record| (record.key.to_vec(), record.value().unwrap().to_vec(), record.lsn)).collect()
    }

    fn expected(&self, now: u64) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
        let living = self.model.iter().filter(|(_, line)| line.death.is_none_or(|death| now < death));
        living.filter_map(|(key, line)| Some((key.clone(), line.value.clone()?, line.lsn))).collect()
    }

    fn check(&self, now: u64) {
        for now in [now, now + 5_000, now + 100_000, u64::MAX] {
            assert_eq!(self.view(now), self.expected(now));
        }
        for (id, meta) in &self.manifest.state().segments {
            let reader = self.open(*id);
            reader.verify().unwrap();
            assert_eq!(reader.recompute_root().unwrap(), meta.root);
        }
    }
}

fn line(lsn: u64, value: &[u8], death: Option<u64>) -> Line {
    Line { value: Some(value.to_vec()), lsn, death }
}

fn lines(keys: std::ops::Range<u64>, lsn: u64, bytes: usize, death: Option<u64>) -> Lines {
    let key = |n: u64| format!("key-{n:05}").into_bytes();
    keys.map(|n| (key(n), line(lsn + n, &vec![u8::try_from(n % 251).unwrap(); bytes], death))).collect()
}

/// A store that a seed fills by several flushes with overwrites, deletes and deaths.
fn filled(seed: u64, now: u64) -> Store {
    let mut random = Random::new(seed);
    let mut store = Store::new();
    let mut lsn = 1;
    for _ in 0..2 + random.below(5) {
        let mut flush: BTreeMap<u64, Lines> = BTreeMap::new();
        for _ in 0..1 + random.below(40) {
            let key = vec![b'k'; random.index(12)];
            lsn += 1;
            let mut made = line(lsn, &vec![7; random.index(300)], None);
            match random.below(4) {
                0 => made.value = None,
                1 => made.death = Some(now - 1000 + random.below(60_000)),
                _ => {}
            }
            // One flush holds one version of a key.
            flush.values_mut().for_each(|lines| drop(lines.remove(&key)));
            flush.entry(cohort_of(now, made.death)).or_default().insert(key, made);
        }
        for (cohort, lines) in flush.into_iter().filter(|(_, lines)| !lines.is_empty()) {
            store.add(cohort, &lines);
        }
    }
    store.count_live();
    store
}

#[test]
fn a_merged_scan_is_sorted_and_shows_the_last_writer_once() {
    for seed in 0..60 {
        filled(seed, 1_000_000).check(1_000_000);
    }
}

#[test]
fn no_cycle_brings_back_what_was_deleted_overwritten_or_dead() {
    let mut total = CompactionStats::default();
    for seed in 0..150 {
        let mut random = Random::new(seed ^ 0xc0);
        let mut now = 1_000_000;
        let mut store = filled(seed, now);
        for _ in 0..6 {
            let ids: Vec<u64> = store.manifest.state().segments.keys().copied().collect();
            let pinned = ids.into_iter().filter(|_| random.percent(15)).collect();
            let stats = store.cycle(now, &pinned, random.below(2000)).unwrap();
            assert!(pinned.iter().all(|id| store.manifest.state().segments.contains_key(id)));
            total.segments_removed += stats.segments_removed;
            total.live_records_relocated += stats.live_records_relocated;
            store.check(now);
            store.count_live();
            now += random.below(20_000);
        }
        let names: Vec<String> = store.manifest.state().segments.keys().map(|id| file_name(*id)).collect();
        let on_disk = store.disk.list().unwrap();
        assert!(on_disk.iter().filter(|name| name.starts_with("segment-")).eq(names.iter()));
    }
    assert!(total.segments_removed > 300 && total.live_records_relocated > 150, "{total:?}");
}

#[test]
fn a_wholly_live_cohort_is_left_alone_and_a_partly_dead_one_rewritten_without_its_dead() {
    let mut store = Store::new();
    let untouched = store.add(7 << 56, &lines(0..10, 1000, 50, Some(90_000)));
    let partly = store.add(IMMORTAL, &lines(10..30, 1000, 50, None));
    store.add(8 << 56, &lines(10..25, 2000, 50, Some(90_000)));
    store.count_live();
    let stats = store.cycle(10, &BTreeSet::new(), 1 << 20).unwrap();
    assert_eq!((stats.live_records_relocated, stats.bytes_written, stats.segments_written), (5, 250, 1));
    assert_eq!((stats.segments_removed, stats.cohorts_collected), (1, 1));
    let segments = &store.manifest.state().segments;
    assert!(segments.contains_key(&untouched) && !segments.contains_key(&partly));
    store.check(10);
    assert_eq!(store.cycle(10, &BTreeSet::new(), 1 << 20).unwrap(), CompactionStats::default());
}

#[test]
fn the_budget_is_overshot_by_less_than_a_record_and_the_next_cycle_resumes() {
    let mut store = Store::new();
    store.add(IMMORTAL, &lines(0..80, 1000, 100, None));
    store.add(IMMORTAL, &lines(60..100, 2000, 100, None));
    store.count_live();
    let (mut cycles, mut relocated) = (0, 0);
    loop {
        let stats = store.cycle(10, &BTreeSet::new(), 950).unwrap();
        if stats == CompactionStats::default() {
            break;
        }
        assert!(stats.bytes_written < 950 + 100, "{stats:?}");
        store.check(10);
        relocated += stats.live_records_relocated;
        cycles += 1;
        assert!(cycles < 40, "it does not come to an end");
    }
    assert!(relocated == 60 && cycles > 3, "{relocated} records in {cycles} cycles");
    assert!(store.manifest.state().segments.values().all(|meta| meta.live_records == meta.records));
}

#[test]
fn a_tombstone_stays_while_the_budget_leaves_an_older_version_beneath_it() {
    let mut store = Store::new();
    let key = |name: &str| name.as_bytes().to_vec();
    let old = ["k", "l", "m", "n"].map(|name| (key(name), line(10, &[1; 100], None)));
    store.add(IMMORTAL, &Lines::from(old));
    let deleted = Line { value: None, lsn: 20, death: None };
    let above = store.add(IMMORTAL, &Lines::from([(key("a"), line(20, b"x", None)), (key("k"), deleted)]));
    store.add(7 << 56, &Lines::from([(key("a"), line(30, b"y", Some(90_000)))]));
    store.count_live();
    // The budget ends behind "l": the segment of the tombstone goes, that of what it hides stays.
    let stats = store.cycle(10, &BTreeSet::new(), 100).unwrap();
    assert_eq!((stats.bytes_written, stats.segments_removed), (100, 1));
    assert!(!store.manifest.state().segments.contains_key(&above));
    store.check(10);
    while store.cycle(10, &BTreeSet::new(), 100).unwrap() != CompactionStats::default() {
        store.check(10);
    }
}

#[test]
fn a_cycle_without_a_budget_still_drops() {
    let mut store = Store::new();
    store.add(IMMORTAL, &lines(0..10, 1000, 100, None));
    let dying = store.add(9 << 56, &lines(10..20, 2000, 100, Some(500)));
    store.add(IMMORTAL, &lines(0..5, 3000, 100, None));
    store.count_live();
    let stats = store.cycle(500, &BTreeSet::new(), 0).unwrap();
    assert_eq!((stats.segments_removed, stats.segments_written, stats.bytes_written), (1, 0, 0));
    assert!(!store.manifest.state().segments.contains_key(&dying));
    assert_eq!(store.manifest.state().clock_ms, 500);
    store.check(500);
}

#[test]
fn a_power_cut_at_any_operation_of_a_cycle_changes_nothing_that_is_read() {
    let operations = {
        let mut store = filled(11, 1_000_000);
        let before = store.disk.operations();
        store.cycle(1_000_000, &BTreeSet::new(), 100_000).unwrap();
        store.disk.operations() - before
    };
    assert!(operations > 20);
    for operation in 0..operations {
        for seed in 0..3 {
            let mut store = filled(11, 1_000_000);
            let operation = store.disk.operations() + operation;
            store.disk.inject(Fault { operation, kind: FaultKind::PowerCut, lasting: false });
            store.cycle(1_000_000, &BTreeSet::new(), 100_000).unwrap_err();
            store.disk = store.disk.crash(seed);
            let (manifest, state) = Manifest::load(&storage(&store.disk), STORE, Mode::Writing).unwrap();
            store.manifest = manifest;
            remove_orphans(&store.disk, &state, &|_| false).unwrap();
            store.next_segment += 10;
            store.check(1_000_000);
            store.cycle(1_000_000, &BTreeSet::new(), 100_000).unwrap();
            store.check(1_000_000);
        }
    }
}

#[test]
fn a_full_disk_fails_the_cycle_and_the_next_one_does_the_work() {
    let mut written = 0;
    for seed in 0..40 {
        for skip in 0..4 {
            let mut store = filled(seed, 1_000_000);
            let operation = store.disk.operations() + skip * 3;
            store.disk.inject(Fault { operation, kind: FaultKind::NoSpace, lasting: true });
            if let Err(error) = store.cycle(1_000_000, &BTreeSet::new(), 100_000) {
                assert!(error.is_out_of_space(), "{error}");
            }
            store.disk.clear_faults();
            store.check(1_000_000);
            written += store.cycle(1_000_000, &BTreeSet::new(), 100_000).unwrap().segments_written;
            store.check(1_000_000);
        }
    }
    assert!(written > 40, "{written}");
}

/// The index of a store: where each key's value is.
#[derive(Default)]
struct Index {
    places: BTreeMap<Vec<u8>, (u64, u64, RecordPointer)>,
    /// Keys that somebody overwrites just before they are re-pointed.
    racing: BTreeSet<Vec<u8>>,
    asked: u64,
}

impl Liveness for Index {
    fn is_live(&mut self, key: &[u8], lsn: u64, segment: u64) -> Result<bool, Error> {
        self.asked += 1;
        Ok(self.places.get(key).is_some_and(|place| (place.0, place.1) == (segment, lsn)))
    }

    fn relocate(
        &mut self,
        key: &[u8],
        lsn: u64,
        from: (u64, RecordPointer),
        to: (u64, RecordPointer),
    ) -> Result<bool, Error> {
        if self.racing.contains(key) {
            self.places.remove(key);
        }
        let Some(place) = self.places.get_mut(key) else { return Ok(false) };
        assert_eq!(*place, (from.0, lsn, from.1));
        *place = (to.0, lsn, to.1);
        Ok(true)
    }
}

/// A store with an index: an expired cohort of two segments, and one with 30 of 50 alive.
fn indexed() -> (SimDisk, Manifest, Index) {
    let disk = SimDisk::new(2);
    let mut manifest = Manifest::create(&storage(&disk), STORE, &Edit::default()).unwrap();
    let mut index = Index::default();
    let mut segments = Vec::new();
    for (id, cohort, keys, death) in
        [(1, 9 << 56, 0..10, Some(400)), (2, 9 << 56, 10..20, Some(500)), (3, IMMORTAL, 20..70, None)]
    {
        let lines = lines(keys, 100, 64, death);
        let (mut meta, pointers) = seal(&disk, id, cohort, &lines);
        for (key, pointer) in pointers {
            if id != 3 || key.as_slice() < &b"key-00050"[..] {
                index.places.insert(key.clone(), (id, lines[&key].lsn, pointer));
            }
        }
        if id == 3 {
            (meta.live_records, meta.live_bytes) = (30, 30 * 64);
        }
        segments.push(SegmentChange::Add(meta));
    }
    manifest.append(&Edit { segments, ..Edit::default() }).unwrap();
    (disk, manifest, index)
}

fn run(
    disk: &SimDisk,
    manifest: &mut Manifest,
    index: &mut Index,
    now: u64,
    pinned: &[u64],
    budget_bytes: u64,
) -> Result<CompactionStats, Error> {
    let next_segment = 100 + manifest.sequence();
    let liveness: Option<&mut dyn Liveness> = Some(index);
    let mut cycle = Cycle { storage: disk, store_id: STORE, next_segment, budget_bytes, liveness };
    compact_cycle(manifest, now, &pinned.iter().copied().collect(), &mut cycle)
}

fn check_places(disk: &SimDisk, index: &Index) {
    for (segment, _, pointer) in index.places.values() {
        let reader = SegmentReader::open(disk, *segment, STORE).unwrap();
        reader.read_payload(pointer.offset, pointer.length, pointer.crc).unwrap();
    }
}

#[test]
fn an_expired_cohort_goes_without_a_byte_of_it_read_or_a_record_relocated() {
    let (disk, mut manifest, mut index) = indexed();
    // What cannot be read is not read.
    disk.edit(&file_name(1), |bytes| bytes.fill(0xee));
    disk.edit(&file_name(2), Vec::clear);
    let stats = run(&disk, &mut manifest, &mut index, 499, &[], 0).unwrap();
    assert_eq!(
        (stats.segments_removed, stats.cohorts_collected),
        (1, 0),
        "one segment is dead, the other not yet"
    );
    let stats = run(&disk, &mut manifest, &mut index, 500, &[], 0).unwrap();
    let expected =
        CompactionStats { cohorts_collected: 1, segments_removed: 1, ..CompactionStats::default() };
    assert_eq!((stats, index.asked), (expected, 0));
    assert_eq!(manifest.state().segments.keys().collect::<Vec<_>>(), [&3]);
    assert_eq!(disk.list().unwrap(), ["MANIFEST", &file_name(3)]);
}

#[test]
fn relocation_re_points_the_index_and_counts_what_moved_on_meanwhile() {
    let (disk, mut manifest, mut index) = indexed();
    index.racing.insert(b"key-00033".to_vec());
    let stats = run(&disk, &mut manifest, &mut index, 10, &[], 1 << 20).unwrap();
    assert_eq!((stats.live_records_relocated, stats.segments_removed, stats.cohorts_collected), (30, 1, 1));
    let output = manifest.state().segments.values().find(|meta| meta.cohort == IMMORTAL).unwrap();
    assert_eq!((output.records, output.live_records, output.live_bytes), (30, 29, 29 * 64));
    assert_eq!(index.places.len(), 49);
    check_places(&disk, &index);
}

#[test]
fn relocation_resumes_where_the_budget_ended() {
    let (disk, mut manifest, mut index) = indexed();
    let mut moved = 0;
    for _ in 0..12 {
        let stats = run(&disk, &mut manifest, &mut index, 10, &[1, 2], 5 * 64).unwrap();
        assert!(stats.bytes_written <= 5 * 64);
        moved += stats.live_records_relocated;
        check_places(&disk, &index);
    }
    // Later cycles copy what is alive in the young segments no more: they hold no garbage.
    assert!(!manifest.state().segments.contains_key(&3));
    assert!(index.places.values().filter(|place| place.0 > 100).count() == 30 && moved >= 30, "{moved}");
    let live: u64 = manifest.state().segments.values().map(|meta| meta.live_records).sum();
    assert_eq!(live, 50);
}

#[test]
fn pinned_segments_are_neither_dropped_nor_rewritten() {
    let (disk, mut manifest, mut index) = indexed();
    let before: Vec<_> = (1..4).map(|id| disk.bytes_of(&file_name(id))).collect();
    let stats = run(&disk, &mut manifest, &mut index, 1000, &[1, 2, 3], 1 << 20).unwrap();
    assert_eq!(stats, CompactionStats::default());
    assert_eq!((1..4).map(|id| disk.bytes_of(&file_name(id))).collect::<Vec<_>>(), before);
    assert_eq!(run(&disk, &mut manifest, &mut index, 1000, &[], 1 << 20).unwrap().segments_removed, 3);
}

#[test]
fn orphans_are_removed_and_claimed_files_are_not() {
    let (disk, manifest, _) = indexed();
    for id in [50, 51] {
        disk.create(&file_name(id)).unwrap();
    }
    disk.create("segment-of-something-else").unwrap();
    let removed = remove_orphans(&disk, manifest.state(), &|id| id == 51).unwrap();
    assert_eq!(removed, [50]);
    assert_eq!(disk.list().unwrap().len(), 6);
}
