//! One writer at a time; readers exclude it and not each other.

use treering::{Engine, ErrorKind, Options};

use crate::support::{on_each_back_end, small};

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    on_each_back_end(|place| {
        let first = place.open(small());
        first.default_tree().put("k", "v").unwrap();
        for options in [small(), small().read_only(true)] {
            let refused = Engine::open_in(place.environment(), options).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Locked);
        }
        first.close().unwrap();
        let second = place.open(small());
        assert!(second.default_tree().contains("k").unwrap());
    });
}

#[test]
fn readers_share_exclude_writers_and_change_no_byte() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        engine.default_tree().put("k", "v").unwrap();
        engine.abandon();
        let before = crate::damage::contents(place);
        let (a, b) = (place.open(small().read_only(true)), place.open(small().read_only(true)));
        assert_eq!(a.default_tree().get("k").unwrap(), b.default_tree().get("k").unwrap());
        assert_eq!(a.default_tree().put("k", "w").unwrap_err().kind(), ErrorKind::ReadOnly);
        assert_eq!(a.checkpoint().unwrap_err().kind(), ErrorKind::ReadOnly);
        let refused = Engine::open_in(place.environment(), small()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked);
        drop((a, b));
        assert!(crate::damage::contents(place) == before);
        place.open(small());
    });
}

#[test]
fn what_is_not_a_store_is_not_opened_nor_touched() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let none = Engine::open(&missing, Options::new().create_if_missing(false)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotAStore);
    assert!(!missing.exists());
    let none = Engine::open(&missing, Options::new().read_only(true)).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotAStore);
    std::fs::write(directory.path().join("letter.txt"), "dear").unwrap();
    let foreign = Engine::open(directory.path(), Options::new()).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::NotAStore);
    assert_eq!(std::fs::read(directory.path().join("letter.txt")).unwrap(), b"dear");
}

#[test]
fn sizes_that_disagree_with_the_store_are_refused() {
    on_each_back_end(|place| {
        place.open(small()).close().unwrap();
        let refused = Engine::open_in(place.environment(), small().frame_bytes(8 << 10)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        Engine::open_in(place.environment(), Options::new().background(false)).unwrap();
    });
}
