//! Point operations, conditions, limits.

use std::time::Duration;

use treering::{Condition, Durability, Engine, ErrorKind, Options, WriteOptions};

use crate::support::{on_each_back_end, small};

#[test]
fn a_value_is_read_back_overwritten_and_deleted() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        assert_eq!(tree.get("a/b").unwrap(), None);
        let first = tree.put("a/b", "one").unwrap();
        let second = tree.put("a/b", "two").unwrap();
        assert!(second > first);
        let entry = tree.entry("a/b").unwrap().unwrap();
        assert_eq!((&entry.value[..], entry.version, entry.size), (&b"two"[..], second, 3));
        assert!(tree.contains("a/b").unwrap());
        assert!(tree.delete("a/b").unwrap());
        assert!(!tree.delete("a/b").unwrap());
        assert_eq!(tree.get("a/b").unwrap(), None);
    });
}

#[test]
fn any_byte_string_is_a_key() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let longest = vec![b'k'; 512];
        let keys: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"a", b"a/", b"a/b", b"\xff\xff", &longest];
        for (n, key) in keys.iter().enumerate() {
            tree.put(key, [n as u8]).unwrap();
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(tree.get(key).unwrap().as_deref(), Some(&[n as u8][..]), "{key:?}");
        }
    });
}

#[test]
fn conditions_decide_and_leave_everything_as_it_was() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let absent = WriteOptions { condition: Condition::Absent, ..WriteOptions::default() };
        let version = tree.put_with("k", "1", &absent).unwrap();
        assert_eq!(tree.put_with("k", "2", &absent).unwrap_err().kind(), ErrorKind::Conflict);
        let right = WriteOptions { condition: Condition::Version(version), ..WriteOptions::default() };
        let newer = tree.put_with("k", "3", &right).unwrap();
        assert_eq!(tree.put_with("k", "4", &right).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(tree.delete_with("k", &right).unwrap_err().kind(), ErrorKind::Conflict);
        let entry = tree.entry("k").unwrap().unwrap();
        assert_eq!((&entry.value[..], entry.version), (&b"3"[..], newer));
    });
}

#[test]
fn what_is_too_large_is_refused_before_anything_is_logged() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let before = engine.stats().unwrap().log_reserved;
        assert_eq!(tree.put(vec![0; 513], "").unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(tree.delete(vec![0; 513]).unwrap_err().kind(), ErrorKind::TooLarge);
        assert_eq!(engine.stats().unwrap().log_reserved, before);
    });
}

#[test]
fn an_expired_record_is_absent_at_once() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let brief = WriteOptions { ttl: Some(Duration::from_millis(1)), ..WriteOptions::default() };
        let long = WriteOptions { ttl: Some(Duration::from_secs(3600)), ..WriteOptions::default() };
        tree.put_with("brief", "x", &brief).unwrap();
        tree.put_with("long", "y", &long).unwrap();
        while tree.contains("brief").unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(tree.get("brief").unwrap(), None);
        let left: Vec<_> = tree.prefix("").map(|entry| entry.unwrap().key).collect();
        assert_eq!(left, ["long"]);
        assert!(tree.entry("long").unwrap().unwrap().expires_at_ms.is_some());
        assert!(!tree.delete("brief").unwrap());
        let none = WriteOptions { ttl: Some(Duration::ZERO), ..WriteOptions::default() };
        assert_eq!(tree.put_with("k", "", &none).unwrap_err().kind(), ErrorKind::InvalidArgument);
    });
}

#[test]
fn a_closed_store_refuses_and_closes_twice() {
    let engine = Engine::in_memory(small()).unwrap();
    let tree = engine.default_tree();
    tree.put("k", "v").unwrap();
    engine.close().unwrap();
    engine.close().unwrap();
    assert_eq!(tree.get("k").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(tree.put("k", "w").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn options_out_of_bounds_say_so() {
    for bad in [
        Options::new().frame_bytes(5000),
        Options::new().frame_bytes(1 << 20),
        Options::new().ring_bytes(1000),
        Options::new().log_segment_bytes(5000),
        Options::new().log_cap_bytes(1),
    ] {
        assert_eq!(Engine::in_memory(bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn writers_on_many_threads_with_threads_in_the_background_lose_nothing() {
    on_each_back_end(|place| {
        let engine = place.open(small().background(true));
        std::thread::scope(|scope| {
            for thread in 0..4u32 {
                let tree = engine.default_tree();
                scope.spawn(move || {
                    let sync = if thread == 0 { Durability::Sync } else { Durability::Buffered };
                    let how = WriteOptions { durability: Some(sync), ..WriteOptions::default() };
                    let count = if thread == 0 { 100 } else { 1500 };
                    for n in 0..count {
                        tree.put_with(format!("t{thread}/{n}"), vec![thread as u8; (n % 700) as usize], &how)
                            .unwrap();
                    }
                });
            }
        });
        engine.close().unwrap();
        let engine = place.open(small());
        let tree = engine.default_tree();
        for thread in 0..4u32 {
            for n in 0..if thread == 0 { 100 } else { 1500 } {
                let value = tree.get(format!("t{thread}/{n}")).unwrap().unwrap();
                assert_eq!(value, vec![thread as u8; n % 700]);
            }
        }
        engine.close().unwrap();
        assert_eq!(place.verify().damages, []);
    });
}
