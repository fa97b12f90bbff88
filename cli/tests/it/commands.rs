//! Point operations, scans and the tree drawing, as printed.

use crate::harness::{Home, fed};
use crate::run;

#[test]
fn a_value_comes_back_byte_for_byte() {
    let home = Home::new();
    let store = home.at("store");
    let version: u64 = run!("put", &store, "a/b", "one\ttwo").done().trim().parse().unwrap();
    assert_eq!(run!("get", &store, "a/b").done(), "one\ttwo");
    assert_eq!(run!("get", "--escaped", &store, "a/b").done(), "one\\x09two\n");
    assert_eq!(run!("get", "--hex", &store, "612f62").done(), "6f6e650974776f\n");
    let meta = run!("get", "--meta", &store, "a/b").done();
    assert_eq!(meta, format!("version\t{version}\nsize\t7\nexpires\tnever\n"));
    let json = run!("get", "--json", &store, "a/b").done();
    assert_eq!(
        json,
        format!(r#"{{"key":"a/b","value":"one\ttwo","version":{version},"expires_at":null}}"#) + "\n"
    );
}

#[test]
fn any_byte_string_is_a_key_and_a_value() {
    let home = Home::new();
    let store = home.at("store");
    run!("put", "--hex", &store, "", "").done();
    run!("put", "--hex", &store, "00", "ff00").done();
    run!("put", "--escaped", &store, "\\xff/\\\\", "\\x0a").done();
    assert_eq!(run!("scan", "--hex", &store).done(), "\t\n00\tff00\nff2f5c\t0a\n");
    assert_eq!(run!("scan", "--escaped", &store).done(), "\t\n\\x00\t\\xff\\x00\n\\xff/\\\\\t\\x0a\n");
    let json = run!("scan", "--json", "--keys-only", &store).done();
    assert!(json.lines().nth(2).unwrap().starts_with(r#"{"key":{"hex":"ff2f5c"},"size":1,"#), "{json}");
    assert_eq!(run!("scan", "--count", &store).done(), "3\n");
}

#[test]
fn a_value_may_come_from_standard_input() {
    let home = Home::new();
    let store = home.at("store");
    let long = vec![b'v'; 300_000];
    let put = [std::ffi::OsStr::new("put"), store.as_os_str(), "k".as_ref(), "-".as_ref()];
    assert_eq!(fed(put, &long).code, 0);
    assert_eq!(run!("get", &store, "k").out, long);
    run!("put", &store, "k", "-x").done();
    assert_eq!(run!("get", &store, "k").out, b"-x");
}

#[test]
fn conditions_that_hold_let_a_write_through_and_others_are_a_clean_no() {
    let home = Home::new();
    let store = home.at("store");
    let first = run!("put", "--if-absent", &store, "k", "1").done();
    run!("put", "--if-absent", &store, "k", "2").fails(1);
    let second = run!("put", "--sync", "--if-version", first.trim(), &store, "k", "3").done();
    run!("put", "--if-version", first.trim(), &store, "k", "4").fails(1);
    assert_eq!(run!("get", &store, "k").done(), "3");
    run!("del", "--if-version", first.trim(), &store, "k").fails(1);
    run!("del", "--sync", "--if-version", second.trim(), &store, "k").done();
    run!("get", &store, "k").fails(1);
    run!("del", &store, "k").fails(1);
}

#[test]
fn a_ttl_shows_as_an_expiry_and_makes_the_key_absent_when_it_has_passed() {
    let home = Home::new();
    let store = home.at("store");
    run!("put", "--ttl", "2h", &store, "long", "v").done();
    let meta = run!("get", "--meta", &store, "long").done();
    let expires = meta.lines().last().unwrap().strip_prefix("expires\t").unwrap().to_string();
    assert!(expires.ends_with('Z') && expires.contains('T'), "{meta}");
    run!("put", "--ttl", "1ms", &store, "short", "v").done();
    // The process that puts takes longer than that to end, and the store's time never stands still.
    std::thread::sleep(std::time::Duration::from_millis(5));
    run!("get", &store, "short").fails(1);
}

#[test]
fn scans_are_bounded_by_prefix_and_range_in_both_directions() {
    let home = Home::new();
    let store = home.at("store");
    let lines = b"a\t1\na/\t2\na/b\t3\na/c\t4\nb\t5\n\xff\t6\n";
    assert_eq!(fed(["load".as_ref(), store.as_os_str()], lines).code, 0);
    let keys = |arguments: &[&str]| {
        let mut all =
            vec!["scan".into(), "--escaped".into(), "--keys-only".into(), store.clone().into_os_string()];
        all.extend(arguments.iter().map(std::ffi::OsString::from));
        crate::harness::treering(all).done().lines().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keys(&[]), "a a/ a/b a/c b \\xff");
    assert_eq!(keys(&["--reverse"]), "\\xff b a/c a/b a/ a");
    assert_eq!(keys(&["--prefix", "a/"]), "a/ a/b a/c");
    assert_eq!(keys(&["--prefix", "a/", "--reverse"]), "a/c a/b a/");
    assert_eq!(keys(&["--prefix", "\\xff"]), "\\xff");
    assert_eq!(keys(&["--from", "a/b", "--to", "b"]), "a/b a/c");
    assert_eq!(keys(&["--from", "a/b", "--to", "b", "--reverse"]), "a/c a/b");
    assert_eq!(keys(&["--prefix", "a", "--from", "a/c"]), "a/c");
    assert_eq!(keys(&["--prefix", "a", "--to", "a/b"]), "a a/");
    assert_eq!(keys(&["--from", "b", "--to", "a"]), "");
    assert_eq!(run!("scan", "--prefix", "a/", &store).done(), "a/\t2\na/b\t3\na/c\t4\n");
}

#[test]
fn named_trees_are_apart_from_the_default_one() {
    let home = Home::new();
    let store = home.at("store");
    run!("put", &store, "k", "default").done();
    run!("put", "--tree", "other", &store, "k", "other").done();
    assert_eq!(run!("get", &store, "k").done(), "default");
    assert_eq!(run!("get", &store, "k", "--tree", "other").done(), "other");
    run!("del", "--tree", "other", &store, "k").done();
    assert_eq!(run!("scan", &store).done(), "k\tdefault\n");
    let stat = run!("stat", "--json", &store).done();
    assert!(stat.contains(r#""keys":1"#) && stat.contains(r#""other"]"#), "{stat}");
}

#[test]
fn the_tree_is_drawn_with_counts_and_sizes() {
    let home = Home::new();
    let store = home.at("store");
    let lines = b"a/\t\na/x\t12345\na/y/1\t1\na/y/2\t22\nb\t1\n";
    assert_eq!(fed(["load".as_ref(), store.as_os_str()], lines).code, 0);
    let drawn = run!("tree", &store).done();
    let expect = "  5 keys, 9 B\n\
                  ├── a/  4 keys, 8 B\n\
                  │   ├── x  5 B\n\
                  │   └── y/  2 keys, 3 B\n\
                  └── b  1 B\n";
    assert_eq!(drawn, expect);
    let json = run!("tree", "--json", "--depth", "1", &store, "a/").done();
    let expect = [
        r#"{"path":"a/","depth":0,"keys":4,"bytes":8}"#,
        r#"{"path":"a/x","depth":1,"keys":1,"bytes":5}"#,
        r#"{"path":"a/y/","depth":1,"keys":2,"bytes":3}"#,
    ];
    assert_eq!(json.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn a_checkpoint_leaves_nothing_to_replay_and_everything_readable() {
    let home = Home::new();
    let store = home.at("store");
    let lines: String =
        (0..500).map(|number| format!("key/{number}\t{}\n", "v".repeat(number * 10))).collect();
    assert_eq!(fed(["load".as_ref(), store.as_os_str()], lines.as_bytes()).code, 0);
    let before = run!("scan", &store).done();
    assert!(run!("checkpoint", "--json", &store).done().contains(r#""epoch":"#));
    assert_eq!(run!("scan", &store).done(), before);
    run!("verify", &store).done();
    let stat: serde_json::Value = serde_json::from_str(&run!("stat", "--json", &store).done()).unwrap();
    // Markers of the log are records too; the five hundred puts are not among those read.
    assert!(stat["recovery_records"].as_u64().unwrap() < 10, "{stat}");
    assert_eq!((&stat["keys"], &stat["closed_cleanly"]), (&500.into(), &true.into()));
}
