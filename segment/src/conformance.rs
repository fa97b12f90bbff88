//! The contract of [`Storage`], as a suite that any back end can be run through. It is for tests, here
//! and in the crates that bring back ends of their own; it says nothing about durability, which only
//! a simulated disk can be asked about.
//!
//! Each case gets a fresh, empty directory. A violation is a panic that says what was expected.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::error::IoFailure;
use crate::storage::{Access, LockError, LockKind, MapAccess, ReadOp, Region, Storage, StorageFile, WriteOp};

type Case = (&'static str, fn(&dyn Storage));

const CASES: &[Case] = &[
    ("a created file is empty, listed, and not created twice", created_file_is_empty_and_unique),
    ("a missing file is not found", missing_file_is_not_found),
    ("names that lead elsewhere are refused", names_that_lead_elsewhere_are_refused),
    ("a batch is performed whole", batch_is_performed_whole),
    ("a gap reads as zeros", gap_reads_as_zeros),
    ("a read past the end fails", read_past_the_end_fails),
    ("offsets out of all bounds fail", offsets_out_of_all_bounds_fail),
    ("a handle that reads cannot write", reading_handle_cannot_write),
    ("handles of one file see each other's writes", handles_see_each_others_writes),
    ("cut and grown again, a file reads as zeros", cut_and_grown_again_reads_as_zeros),
    ("allocating extends and keeps", allocating_extends_and_keeps),
    ("a hole keeps the length and its neighbours", hole_keeps_length_and_neighbours),
    ("renaming replaces", renaming_replaces),
    ("a removed file stays readable where it is open", removed_file_stays_readable),
    ("a map shows the file and the file shows the map", map_and_file_show_each_other),
    ("a map starts on a page and ends in the file", map_is_bounded),
    ("a map stays where it is while the file grows", map_stays_while_the_file_grows),
    ("a region outlives handle and name", region_outlives_handle_and_name),
    ("exclusive locks exclude, shared ones share", locks_exclude_and_share),
    ("syncs and space answer", syncs_and_space_answer),
];

/// Runs every case on a directory of its own.
///
/// # Panics
/// If the back end breaks the contract.
pub fn run(make: &dyn Fn() -> Arc<dyn Storage>) {
    for (what, case) in CASES {
        let storage = make();
        let empty = storage.list().expect("a fresh directory lists");
        assert!(empty.is_empty(), "each case needs an empty directory");
        // The panic's message does not name the case; this line does.
        eprintln!("{}: {what}", storage.back_end());
        case(&*storage);
    }
}

fn kind_of<T>(result: Result<T, IoFailure>) -> Option<ErrorKind> {
    result.err().map(|failure| failure.source.kind())
}

fn contents(file: &dyn StorageFile) -> Vec<u8> {
    let len = usize::try_from(file.len().expect("length")).expect("a small file");
    let mut bytes = vec![0xEE; len];
    file.read_exact_at(&mut bytes, 0).expect("a file reads from start to end");
    bytes
}

fn file_with(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = storage.create(name).expect("create");
    file.write_all_at(bytes, 0).expect("write");
    file
}

fn byte_of(region: &dyn Region, at: usize) -> u8 {
    assert!(at < region.len(), "a byte inside the region");
    let byte = region.as_ptr().wrapping_add(at);
    #[expect(unsafe_code, reason = "looks at mapped memory")]
    // SAFETY: inside the region, which is alive; nobody else touches it during the case.
    unsafe {
        byte.read_volatile()
    }
}

fn set_byte(region: &dyn Region, at: usize, byte: u8) {
    assert!(at < region.len(), "a byte inside the region");
    let place = region.as_ptr().wrapping_add(at);
    #[expect(unsafe_code, reason = "changes mapped memory")]
    // SAFETY: inside the region, which is alive and mapped for writing; nobody else touches it.
    unsafe {
        place.write_volatile(byte);
    }
}

fn created_file_is_empty_and_unique(storage: &dyn Storage) {
    assert!(!storage.exists("b").expect("exists"), "nothing is there yet");
    let file = storage.create("b").expect("create");
    assert!(file.is_empty().expect("length"), "a new file is empty");
    assert_eq!(file.path(), storage.path_of("b"), "handle and directory agree on the path");
    file.write_all_at(b"kept", 0).expect("a created file can be written");
    assert_eq!(kind_of(storage.create("b")), Some(ErrorKind::AlreadyExists), "no second creation");
    assert_eq!(contents(&*file), b"kept", "a refused creation changes nothing");
    storage.create("a").expect("create");
    storage.create("c").expect("create");
    assert_eq!(storage.list().expect("list"), ["a", "b", "c"], "the list is whole and sorted");
    assert!(storage.exists("b").expect("exists"), "it is there");
}

fn missing_file_is_not_found(storage: &dyn Storage) {
    for access in [Access::Read, Access::ReadWrite] {
        assert_eq!(kind_of(storage.open("none", access)), Some(ErrorKind::NotFound), "open {access:?}");
    }
    assert_eq!(kind_of(storage.remove("none")), Some(ErrorKind::NotFound), "remove");
    assert_eq!(kind_of(storage.rename("none", "other")), Some(ErrorKind::NotFound), "rename");
    assert!(storage.list().expect("list").is_empty(), "nothing came into being");
}

fn names_that_lead_elsewhere_are_refused(storage: &dyn Storage) {
    storage.create("here").expect("create");
    for name in ["", ".", "..", "a/b", "/a", "../a", "here/", "nul\0"] {
        assert!(storage.create(name).is_err(), "create {name:?}");
        assert!(storage.open(name, Access::Read).is_err(), "open {name:?}");
        assert!(storage.remove(name).is_err(), "remove {name:?}");
        assert!(storage.rename("here", name).is_err(), "rename to {name:?}");
        assert!(storage.lock(name, LockKind::Shared, Duration::ZERO).is_err(), "lock {name:?}");
    }
    assert_eq!(storage.list().expect("list"), ["here"], "nothing came or went");
}

fn batch_is_performed_whole(storage: &dyn Storage) {
    let file = storage.create("f").expect("create");
    let writes = [
        WriteOp { offset: 6, bytes: b"ghi" },
        WriteOp { offset: 0, bytes: b"abc" },
        WriteOp { offset: 3, bytes: b"def" },
        WriteOp { offset: 2, bytes: b"" },
    ];
    file.write(&writes).expect("write");
    assert_eq!(contents(&*file), b"abcdefghi", "all writes are there");
    let (mut one, mut two) = ([0; 4], [0; 3]);
    let mut reads = [
        ReadOp { offset: 5, buffer: &mut one },
        ReadOp { offset: 0, buffer: &mut two },
        ReadOp { offset: 9, buffer: &mut [] },
    ];
    file.read(&mut reads).expect("read");
    assert_eq!((&one, &two), (b"fghi", b"abc"), "all reads are filled");
    file.write(&[]).expect("no writes");
    file.read(&mut []).expect("no reads");
}

fn gap_reads_as_zeros(storage: &dyn Storage) {
    let file = storage.create("f").expect("create");
    file.write_all_at(b"x", 70_000).expect("write past the end");
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 70_001, "the write made the file this long");
    assert!(bytes[..70_000].iter().all(|&b| b == 0), "what was skipped is zero");
}

fn read_past_the_end_fails(storage: &dyn Storage) {
    let file = file_with(storage, "f", b"0123456789");
    let mut buffer = [0; 4];
    let eof = Some(ErrorKind::UnexpectedEof);
    assert_eq!(kind_of(file.read_exact_at(&mut buffer, 8)), eof, "across the end");
    assert_eq!(kind_of(file.read_exact_at(&mut buffer, 100)), eof, "behind the end");
    file.read_exact_at(&mut buffer, 6).expect("up to the end");
    assert_eq!(&buffer, b"6789", "the last bytes");
}

fn offsets_out_of_all_bounds_fail(storage: &dyn Storage) {
    let file = file_with(storage, "f", b"abc");
    for offset in [u64::MAX, u64::MAX - 1, 1 << 63] {
        assert!(file.read_exact_at(&mut [0; 8], offset).is_err(), "read at {offset}");
        assert!(file.write_all_at(&[0; 8], offset).is_err(), "write at {offset}");
        assert!(file.allocate(offset, 8).is_err(), "allocate at {offset}");
        assert!(file.map(offset & !4095, 4096, MapAccess::Read).is_err(), "map at {offset}");
    }
    assert_eq!(contents(&*file), b"abc", "nothing changed");
}

fn reading_handle_cannot_write(storage: &dyn Storage) {
    file_with(storage, "f", &[1; 5000]);
    let file = storage.open("f", Access::Read).expect("open");
    assert!(file.write_all_at(b"no", 0).is_err(), "write");
    assert!(file.set_len(0).is_err(), "resize");
    assert!(file.map(0, 4096, MapAccess::ReadWrite).is_err(), "map for writing");
    assert_eq!(contents(&*file), [1; 5000], "nothing changed");
}

fn handles_see_each_others_writes(storage: &dyn Storage) {
    let one = file_with(storage, "f", b"one");
    let two = storage.open("f", Access::ReadWrite).expect("open");
    let reader = storage.open("f", Access::Read).expect("open");
    two.write_all_at(b"TWO", 2).expect("write");
    assert_eq!(contents(&*one), b"onTWO", "the creator's handle");
    assert_eq!(contents(&*reader), b"onTWO", "the reader's handle");
}

fn cut_and_grown_again_reads_as_zeros(storage: &dyn Storage) {
    let file = file_with(storage, "f", &vec![7; 20_000]);
    file.set_len(5001).expect("cut");
    assert_eq!(contents(&*file), vec![7; 5001], "what is left");
    file.set_len(20_000).expect("grow");
    let bytes = contents(&*file);
    assert!(bytes[..5001].iter().all(|&b| b == 7), "what was left is still there");
    assert!(bytes[5001..].iter().all(|&b| b == 0), "what was cut off does not come back");
    file.set_len(0).expect("empty");
    assert!(file.is_empty().expect("length"), "empty again");
}

fn allocating_extends_and_keeps(storage: &dyn Storage) {
    let file = file_with(storage, "f", b"abc");
    file.allocate(0, 10_000).expect("allocate");
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 10_000, "the size was extended");
    assert_eq!(&bytes[..4], b"abc\0", "what was there is kept, what is new is zero");
    file.allocate(2, 5).expect("allocate inside");
    file.allocate(50_000, 0).expect("allocate nothing");
    assert_eq!(contents(&*file), bytes, "nothing changed");
    file.allocate(9000, 3000).expect("allocate across the end");
    assert_eq!(file.len().expect("length"), 12_000, "extended to the end of the range");
}

fn hole_keeps_length_and_neighbours(storage: &dyn Storage) {
    let file = file_with(storage, "f", &vec![7; 40_000]);
    file.punch_hole(8192, 16_384).expect("punch");
    file.punch_hole(36_864, 1 << 20).expect("punch across the end");
    file.punch_hole(0, 0).expect("punch nothing");
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 40_000, "the length stays");
    for (range, what) in [(8192..24_576, "hole"), (36_864..40_000, "hole at the end")] {
        let hole = &bytes[range];
        let uniform = hole.iter().all(|b| *b == hole[0]) && matches!(hole[0], 0 | 7);
        assert!(uniform, "{what}: zeros, or untouched where holes are not to be had");
    }
    for range in [0..8192, 24_576..36_864] {
        assert!(bytes[range].iter().all(|&b| b == 7), "the neighbours stay");
    }
}

fn renaming_replaces(storage: &dyn Storage) {
    file_with(storage, "new", b"new");
    let replaced = file_with(storage, "old", b"old");
    storage.rename("new", "old").expect("rename");
    assert_eq!(storage.list().expect("list"), ["old"], "one name is left");
    let file = storage.open("old", Access::Read).expect("open");
    assert_eq!(contents(&*file), b"new", "the name leads to the other file");
    assert_eq!(contents(&*replaced), b"old", "what was replaced is readable where it is open");
    storage.rename("old", "old").expect("rename to itself");
    assert_eq!(storage.list().expect("list"), ["old"], "still there");
}

fn removed_file_stays_readable(storage: &dyn Storage) {
    let first = file_with(storage, "f", b"first");
    storage.remove("f").expect("remove");
    assert!(!storage.exists("f").expect("exists"), "the name is gone");
    let second = file_with(storage, "f", b"2nd");
    assert_eq!(contents(&*first), b"first", "the open file stays");
    assert_eq!(contents(&*second), b"2nd", "the new one is another");
}

fn map_and_file_show_each_other(storage: &dyn Storage) {
    let file = file_with(storage, "f", &[1; 12_288]);
    let writable = file.map(4096, 8192, MapAccess::ReadWrite).expect("map");
    let readable = file.map(4096, 8192, MapAccess::Read).expect("map");
    assert_eq!((writable.len(), byte_of(&*writable, 8191)), (8192, 1), "the map shows the file");
    set_byte(&*writable, 3, 9);
    let mut byte = [0];
    file.read_exact_at(&mut byte, 4099).expect("read");
    assert_eq!(byte, [9], "the file shows the map");
    file.write_all_at(&[5], 4096).expect("write");
    assert_eq!(byte_of(&*writable, 0), 5, "the map shows a later write");
    assert_eq!((byte_of(&*readable, 0), byte_of(&*readable, 3)), (5, 9), "and so does the other map");
}

fn map_is_bounded(storage: &dyn Storage) {
    let file = file_with(storage, "f", &[1; 10_000]);
    assert!(file.map(100, 100, MapAccess::Read).is_err(), "not on a page");
    assert!(file.map(0, 10_001, MapAccess::Read).is_err(), "past the end");
    assert!(file.map(8192, 4096, MapAccess::ReadWrite).is_err(), "past the end of the last page");
    assert!(file.map(12_288, 1, MapAccess::Read).is_err(), "behind the end");
    let region = file.map(8192, 1808, MapAccess::Read).expect("up to the end");
    assert_eq!(byte_of(&*region, 1807), 1, "the last byte");
    let empty = file.map(4096, 0, MapAccess::Read).expect("an empty range");
    assert!(empty.is_empty(), "no byte");
}

fn map_stays_while_the_file_grows(storage: &dyn Storage) {
    let file = file_with(storage, "f", &[1; 8192]);
    let region = file.map(0, 8192, MapAccess::ReadWrite).expect("map");
    let before = region.as_ptr();
    for offset in (8192..400_000).step_by(50_000) {
        file.write_all_at(&vec![2; 50_000], offset).expect("write");
    }
    assert_eq!(region.as_ptr(), before, "the address stays");
    set_byte(&*region, 17, 3);
    file.write_all_at(&[4], 18).expect("write");
    assert_eq!(byte_of(&*region, 18), 4, "the map still shows the file");
    assert_eq!(contents(&*file)[17], 3, "the file still shows the map");
}

fn region_outlives_handle_and_name(storage: &dyn Storage) {
    let file = file_with(storage, "f", &[6; 4096]);
    let region = file.map(0, 4096, MapAccess::Read).expect("map");
    storage.remove("f").expect("remove");
    drop(file);
    assert_eq!((byte_of(&*region, 0), byte_of(&*region, 4095)), (6, 6), "its bytes stay");
}

fn locks_exclude_and_share(storage: &dyn Storage) {
    let take = |kind| storage.lock("LOCK", kind, Duration::ZERO);
    let held = |kind| matches!(take(kind), Err(LockError::Held { .. }));
    let exclusive = take(LockKind::Exclusive).expect("a free lock");
    assert!(storage.exists("LOCK").expect("exists"), "the file is there");
    assert!(held(LockKind::Exclusive) && held(LockKind::Shared), "exclusive excludes all");
    drop(exclusive);
    let shared = take(LockKind::Shared).expect("free again");
    let another = take(LockKind::Shared).expect("shared by two");
    assert!(held(LockKind::Exclusive), "shared excludes exclusive");
    drop(shared);
    assert!(held(LockKind::Exclusive), "one of the two is left");
    drop(another);
    drop(take(LockKind::Exclusive).expect("free again"));
    let other = storage.lock("OTHER", LockKind::Exclusive, Duration::ZERO).expect("another file");
    drop(take(LockKind::Exclusive).expect("locks of two files have nothing to do with each other"));
    drop(other);
}

fn syncs_and_space_answer(storage: &dyn Storage) {
    let file = file_with(storage, "f", b"abc");
    file.sync_data().expect("sync data");
    file.sync_all().expect("sync all");
    storage.sync_directory().expect("sync directory");
    let space = storage.space().expect("space");
    assert!(space.available <= space.total, "no more is free than there is");
    assert!(!storage.back_end().is_empty(), "a back end has a name");
}
