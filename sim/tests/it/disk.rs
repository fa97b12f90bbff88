//! The simulated disk keeps its promises, and breaks what was not promised.

#![expect(unsafe_code, reason = "one test writes through a mapping, as the ring does")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use treering_segment::conformance;
use treering_segment::error::IoFailure;
use treering_segment::storage::{Access, LockKind, MapAccess, Storage, StorageFile};
use treering_sim::disk::SECTOR_BYTES;
use treering_sim::{Fault, FaultKind, SimDisk};

/// A disk with a durable file of ones.
fn disk_with_ones(name: &str, len: usize) -> (SimDisk, Arc<dyn StorageFile>) {
    let disk = SimDisk::new(1);
    let file = disk.create(name).unwrap();
    file.write_all_at(&vec![1; len], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory().unwrap();
    assert!(disk.is_durable());
    (disk, file)
}

/// What the crashes of many seeds leave of `name`.
fn outcomes(disk: &SimDisk, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..300).map(|seed| disk.after_crash(seed).bytes_of(name)).collect()
}

#[test]
fn the_disk_fulfils_the_contract_of_the_seam() {
    conformance::run(&|| Arc::new(SimDisk::new(7)));
}

#[test]
fn what_was_synced_survives_every_crash() {
    let (disk, _) = disk_with_ones("a", 3000);
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(vec![1; 3000])]));
}

#[test]
fn unsynced_sectors_are_old_or_new_each_by_itself_and_never_mixed() {
    let (disk, file) = disk_with_ones("a", 4 * SECTOR_BYTES);
    file.write_all_at(&[2; 3 * SECTOR_BYTES], 100).unwrap();
    file.write_all_at(&[3; 10], 100).unwrap();
    assert!(!disk.is_durable());
    let outcomes = outcomes(&disk, "a");
    // The first sector has three versions, the others two.
    assert!(outcomes.len() > 20, "{} outcomes", outcomes.len());
    for bytes in outcomes.into_iter().flatten() {
        let sectors: Vec<&[u8]> = bytes.chunks(SECTOR_BYTES).collect();
        let mut second = [1; SECTOR_BYTES];
        second[100..].fill(2);
        let mut third = second;
        third[100..110].fill(3);
        assert!([[1; SECTOR_BYTES], second, third].iter().any(|version| version == sectors[0]));
        assert!(sectors[1].iter().all(|byte| *byte == sectors[1][0]));
    }
}

#[test]
fn a_new_length_is_there_or_not_apart_from_the_bytes() {
    let (disk, file) = disk_with_ones("a", 100);
    file.write_all_at(&[2; 1000], 100).unwrap();
    let lens: BTreeSet<usize> = outcomes(&disk, "a").into_iter().flatten().map(|bytes| bytes.len()).collect();
    assert_eq!(lens, BTreeSet::from([100, 1100]));
    let zeros = outcomes(&disk, "a").into_iter().flatten().any(|b| b.len() == 1100 && b[1024..] == [0; 76]);
    assert!(zeros, "a length without its bytes");
}

#[test]
fn a_cut_that_was_not_synced_may_come_back() {
    let (disk, file) = disk_with_ones("a", 2000);
    file.set_len(10).unwrap();
    file.set_len(2000).unwrap();
    let outcomes = outcomes(&disk, "a");
    assert!(outcomes.contains(&Some(vec![1; 2000])));
    assert!(outcomes.iter().flatten().any(|bytes| bytes[10..] == [0; 1990]));
    file.sync_all().unwrap();
    assert_eq!(self::outcomes(&disk, "a").len(), 1);
}

#[test]
fn names_persist_apart_from_each_other_until_the_directory_is_synced() {
    let (disk, _) = disk_with_ones("a", 10);
    let new = disk.create("b").unwrap();
    new.write_all_at(&[2; 10], 0).unwrap();
    new.sync_all().unwrap();
    disk.rename("b", "a").unwrap();
    disk.create("c").unwrap();
    let lists: BTreeSet<Vec<String>> = (0..300).map(|seed| disk.after_crash(seed).list().unwrap()).collect();
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let all = [list(&["a"]), list(&["a", "b"]), list(&["a", "b", "c"]), list(&["a", "c"])];
    assert_eq!(lists, BTreeSet::from(all));
    // A rename is one change: its target is the old file or the new, never missing.
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(vec![1; 10]), Some(vec![2; 10])]));
    disk.sync_directory().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(vec![2; 10])]));
    disk.remove("a").unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([None, Some(vec![2; 10])]));
}

#[test]
fn a_failed_sync_forgets_and_a_later_one_does_not_remember() {
    let (disk, file) = disk_with_ones("a", SECTOR_BYTES);
    file.write_all_at(&[2; SECTOR_BYTES], 0).unwrap();
    disk.inject(Fault { operation: disk.operations(), kind: FaultKind::InputOutput, lasting: false });
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert_eq!(disk.bytes_of("a").unwrap(), [2; SECTOR_BYTES], "the cache shows it");
    assert_eq!(outcomes(&disk, "a").len(), 2, "the device has it or not");
    file.write_all_at(&[2; SECTOR_BYTES], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "a"), BTreeSet::from([Some(vec![2; SECTOR_BYTES])]));
}

#[test]
fn a_kill_loses_nothing_and_makes_nothing_durable() {
    let (disk, file) = disk_with_ones("a", SECTOR_BYTES);
    let _lock = disk.lock("LOCK", LockKind::Exclusive, Duration::ZERO).unwrap();
    file.write_all_at(&[2; SECTOR_BYTES], 0).unwrap();
    disk.create("b").unwrap();
    let after = disk.kill();
    assert!(file.write_all_at(&[3], 0).is_err(), "the dead write nothing");
    assert!(disk.list().is_err());
    assert_eq!(after.bytes_of("a").unwrap(), [2; SECTOR_BYTES]);
    assert_eq!(after.list().unwrap(), ["LOCK", "a", "b"]);
    after.lock("LOCK", LockKind::Exclusive, Duration::ZERO).unwrap();
    assert_eq!(outcomes(&after, "a").len(), 2);
    assert_eq!(outcomes(&after, "b").len(), 2);
    after.open("a", Access::ReadWrite).unwrap().sync_all().unwrap();
    assert_eq!(outcomes(&after, "a").len(), 1);
}

#[test]
fn what_is_written_through_a_map_is_at_risk_until_a_sync_and_survives_a_kill() {
    let (disk, file) = disk_with_ones("ring", 8192);
    let region = file.map(4096, 4096, MapAccess::ReadWrite).unwrap();
    // SAFETY: the region is alive and no longer than its 4096 bytes; nobody else touches them now.
    unsafe { region.as_ptr().write_bytes(2, 512) };
    assert!(!disk.is_durable());
    assert_eq!(outcomes(&disk, "ring").len(), 2);
    let killed = disk.kill();
    assert_eq!(killed.bytes_of("ring").unwrap()[4096..4608], [2; 512]);
    assert_eq!(outcomes(&killed, "ring").len(), 2);
    killed.open("ring", Access::ReadWrite).unwrap().sync_data().unwrap();
    assert_eq!(outcomes(&killed, "ring").len(), 1);
}

#[test]
fn faults_hit_the_operation_they_are_placed_at() {
    let (disk, file) = disk_with_ones("a", 10);
    let at = disk.operations();
    disk.inject(Fault { operation: at + 1, kind: FaultKind::NoSpace, lasting: true });
    file.write_all_at(&[1], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[1; 10], 0).unwrap();
    let failure = file.write_all_at(&[2; 10], 1).unwrap_err();
    assert!(failure.is_out_of_space() && failure.path == disk.path_of("a"));
    assert!(file.allocate(0, 100).unwrap_err().is_out_of_space());
    assert!(disk.create("b").unwrap_err().is_out_of_space());
    file.sync_data().unwrap();
    disk.clear_faults();
    disk.create("b").unwrap();
    disk.inject(Fault { operation: disk.operations(), kind: FaultKind::PowerCut, lasting: false });
    assert!(disk.remove("b").is_err() && disk.list().is_err(), "all fail once the power is cut");
}

#[test]
fn each_kind_of_fault_hits_the_calls_that_can_fail_so() {
    let failing = |kind| {
        let (disk, file) = disk_with_ones("a", 10);
        disk.inject(Fault { operation: 0, kind, lasting: true });
        let kind_of = |result: Result<(), IoFailure>| result.err().map(|failure| failure.source.kind());
        [
            kind_of(file.read_exact_at(&mut [0; 4], 0)),
            kind_of(file.write_all_at(&[1; 4], 0)),
            kind_of(file.sync_data()),
            kind_of(disk.sync_directory()),
            kind_of(disk.rename("a", "b")),
        ]
    };
    use std::io::ErrorKind::{Interrupted, UnexpectedEof, WriteZero};
    assert_eq!(failing(FaultKind::Interrupted), [Some(Interrupted); 5]);
    assert_eq!(failing(FaultKind::ShortCount), [Some(UnexpectedEof), Some(WriteZero), None, None, None]);
    let syncs = failing(FaultKind::FailedSync).map(|kind| kind.is_some());
    assert_eq!(syncs, [false, false, true, true, false]);
    assert_eq!(failing(FaultKind::NoSpace), [None; 5]);
}

#[test]
fn a_duplicate_has_the_same_at_risk_and_goes_its_own_way() {
    let (disk, file) = disk_with_ones("a", SECTOR_BYTES);
    file.write_all_at(&[2; SECTOR_BYTES], 0).unwrap();
    let other = disk.duplicate();
    file.sync_data().unwrap();
    disk.remove("a").unwrap();
    assert_eq!(other.bytes_of("a").unwrap(), [2; SECTOR_BYTES]);
    assert_eq!(outcomes(&other, "a").len(), 2);
    disk.create("b").unwrap();
}

#[test]
fn space_is_bounded_and_comes_back() {
    let (disk, file) = disk_with_ones("a", 1000);
    disk.set_capacity(1500);
    assert_eq!(disk.space().unwrap().available, 500);
    let other = disk.create("b").unwrap();
    assert!(other.write_all_at(&[0; 501], 0).unwrap_err().is_out_of_space());
    assert!(other.allocate(0, 501).unwrap_err().is_out_of_space());
    other.write_all_at(&[0; 500], 0).unwrap();
    file.write_all_at(&[5; 1000], 0).unwrap();
    disk.remove("a").unwrap();
    other.write_all_at(&[0; 1500], 0).unwrap();
}

#[test]
fn the_same_seeds_give_the_same_disk() {
    let run = || {
        let (disk, file) = disk_with_ones("a", 4000);
        disk.inject(Fault { operation: disk.operations() + 3, kind: FaultKind::PowerCut, lasting: false });
        for i in 0..5u8 {
            let _ = file.write_all_at(&vec![i + 2; 2000], u64::from(i) * 300);
        }
        (0..20).map(|seed| disk.crash(seed).bytes_of("a")).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
