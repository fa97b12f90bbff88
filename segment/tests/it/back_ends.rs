//! Both back ends through the conformance suite.

use std::sync::Arc;

use treering_segment::conformance;
use treering_segment::file::FileStorage;
use treering_segment::memory::MemoryStorage;

#[test]
fn memory_back_end_keeps_the_contract() {
    conformance::run(&|| Arc::new(MemoryStorage::new()));
}

#[test]
fn file_back_end_keeps_the_contract() {
    let home = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conformance::run(&|| {
        number.set(number.get() + 1);
        Arc::new(FileStorage::create(home.path().join(number.get().to_string())).unwrap())
    });
}
