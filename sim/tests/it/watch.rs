//! Watching a disk, and the moment of its death.

#![expect(unsafe_code, reason = "one test writes through a mapping, as the ring does")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use treering_segment::storage::{Access, MapAccess, Storage};
use treering_sim::disk::{Auditor, Event, View};
use treering_sim::{Fault, FaultKind, SimDisk};

/// Notes every event, and whether the file `a` was durable right after it.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<(String, bool)>>);

impl Auditor for Notes {
    fn after(&self, event: &Event<'_>, view: View<'_>) {
        self.0.lock().unwrap().push((format!("{event:?}"), view.is_file_durable("a")));
    }
}

#[test]
fn an_auditor_hears_of_each_change_and_sees_what_is_durable() {
    let disk = SimDisk::new(1);
    let notes = Arc::new(Notes::default());
    disk.set_auditor(Arc::clone(&notes) as Arc<dyn Auditor>);
    let file = disk.create("b").unwrap();
    file.write_all_at(&[1; 600], 10).unwrap();
    disk.rename("b", "a").unwrap();
    file.sync_data().unwrap();
    disk.sync_directory().unwrap();
    file.set_len(5).unwrap();
    file.sync_all().unwrap();
    disk.remove("a").unwrap();
    let heard = notes.0.lock().unwrap().clone();
    let expected = [
        (r#"Created { name: "b" }"#, false),
        (r#"Wrote { name: "b", bytes: 10..610 }"#, false),
        (r#"Renamed { from: "b", to: "a" }"#, false),
        (r#"Synced { name: "a" }"#, false),
        ("DirectorySynced", true),
        (r#"Resized { name: "a", bytes: 5 }"#, false),
        (r#"Synced { name: "a" }"#, true),
        (r#"Removed { name: "a" }"#, false),
    ];
    assert_eq!(heard.iter().map(|(event, durable)| (event.as_str(), *durable)).collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_durable_is_known_by_ranges() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_all_at(&[1; 2000], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[2; 10], 600).unwrap();
    let durable = |bytes| disk.look(|view| view.are_bytes_durable("a", bytes));
    assert!(durable(0..512) && durable(1024..2000));
    assert!(!durable(0..513) && !durable(1023..1024) && !durable(1500..2001));
    assert_eq!(disk.look(|view| view.durable_bytes_of("a")), None);
    disk.sync_directory().unwrap();
    assert_eq!(disk.look(|view| view.durable_bytes_of("a")), Some(vec![1; 2000]));
    assert!(disk.look(|view| view.is_name_durable("a") && !view.is_file_durable("a")));
}

#[test]
fn a_failed_sync_leaves_a_range_that_no_later_sync_makes_durable() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_all_at(&[1; 512], 0).unwrap();
    disk.inject(Fault { operation: disk.operations(), kind: FaultKind::FailedSync, lasting: false });
    file.sync_data().unwrap_err();
    file.sync_data().unwrap();
    assert!(!disk.look(|view| view.are_bytes_durable("a", 0..512)));
    file.write_all_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    assert!(disk.look(|view| view.are_bytes_durable("a", 0..512)));
}

#[test]
fn bytes_behind_a_failed_sync_may_turn_back_when_they_are_evicted() {
    let disk = SimDisk::new(1);
    let file = disk.create("a").unwrap();
    file.write_all_at(&[1; 512 * 30], 0).unwrap();
    file.sync_data().unwrap();
    file.write_all_at(&[2; 512 * 30], 0).unwrap();
    disk.inject(Fault { operation: disk.operations(), kind: FaultKind::FailedSync, lasting: false });
    file.sync_data().unwrap_err();
    assert!(disk.has_forgotten());
    assert_eq!(disk.duplicate().kill().bytes_of("a"), Some(vec![2; 512 * 30]));
    let evicted = disk.kill_and_evict().bytes_of("a").unwrap();
    let old = evicted.chunks(512).filter(|sector| **sector == [1; 512]).count();
    let new = evicted.chunks(512).filter(|sector| **sector == [2; 512]).count();
    assert!(old > 3 && new > 3 && old + new == 30, "{old} sectors turned back, {new} did not");
}

#[test]
fn a_crash_may_leave_what_a_mapping_held_between_two_syncs() {
    let disk = SimDisk::new(1);
    let file = disk.create("ring").unwrap();
    file.write_all_at(&[1; 512], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory().unwrap();
    let region = file.map(0, 512, MapAccess::ReadWrite).unwrap();
    for byte in [2, 3] {
        // SAFETY: the region is alive and has 512 bytes; nobody else touches them now.
        unsafe { region.as_ptr().write_bytes(byte, 512) };
        for _ in 0..16 {
            file.len().unwrap();
        }
    }
    let outcomes: BTreeSet<_> = (0..200).map(|seed| disk.after_crash(seed).bytes_of("ring")).collect();
    assert_eq!(outcomes, [1, 2, 3].map(|byte| Some(vec![byte; 512])).into());
}

#[test]
fn what_is_stored_in_a_mapping_after_the_disk_died_never_happened() {
    let disk = SimDisk::new(1);
    let file = disk.create("ring").unwrap();
    file.write_all_at(&[1; 4096], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_directory().unwrap();
    let region = file.map(0, 4096, MapAccess::ReadWrite).unwrap();
    // SAFETY: the region is alive and has 4096 bytes; nobody else touches them now.
    unsafe { region.as_ptr().write_bytes(2, 512) };
    disk.inject(Fault { operation: disk.operations(), kind: FaultKind::PowerCut, lasting: false });
    file.sync_data().unwrap_err();
    assert!(disk.is_dead());
    // SAFETY: as above.
    unsafe { region.as_ptr().write_bytes(3, 4096) };
    let mut killed = vec![1; 4096];
    killed[..512].fill(2);
    assert_eq!(disk.kill().bytes_of("ring"), Some(killed.clone()));
    let outcomes: BTreeSet<_> = (0..100).map(|seed| disk.after_crash(seed).bytes_of("ring")).collect();
    assert_eq!(outcomes, BTreeSet::from([Some(vec![1; 4096]), Some(killed)]));
}

#[test]
fn one_file_may_be_written_back_whole_and_another_not_at_all() {
    let disk = SimDisk::new(1);
    for name in ["a", "b"] {
        let file = disk.create(name).unwrap();
        file.set_len(8 * 512).unwrap();
        file.sync_all().unwrap();
        disk.sync_directory().unwrap();
        file.write_all_at(&[1; 8 * 512], 0).unwrap();
    }
    let whole = |bytes: Vec<u8>| bytes.iter().all(|byte| *byte == 1);
    let none = |bytes: Vec<u8>| bytes.iter().all(|byte| *byte == 0);
    let split = (0..200).filter(|seed| {
        let after = disk.after_crash(*seed);
        whole(after.bytes_of("a").unwrap()) && none(after.bytes_of("b").unwrap())
    });
    assert!(split.count() > 5);
    drop(disk.open("a", Access::Read).unwrap());
}
