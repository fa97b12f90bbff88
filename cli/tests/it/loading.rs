//! `load`: its inputs, its threads and batches, and what it prints.

use std::collections::BTreeMap;
use std::io::Write as _;

use crate::harness::{Home, fed, scanned};
use crate::run;

fn lines(count: u32) -> String {
    (0..count).map(|number| format!("dir{}/key{number}\tvalue {number}\n", number % 7)).collect()
}

#[test]
fn a_file_standard_input_and_gzip_load_the_same() {
    let home = Home::new();
    let text = lines(500);
    std::fs::write(home.at("lines"), &text).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(text.as_bytes()).unwrap();
    std::fs::write(home.at("lines.gz"), gzip.finish().unwrap()).unwrap();

    assert!(run!("load", home.at("one"), home.at("lines")).done().starts_with("500 lines in "));
    assert!(
        run!("load", "--json", home.at("two"), home.at("lines.gz")).done().starts_with(r#"{"lines":500,"#)
    );
    let input = ["load".into(), home.at("three").into_os_string(), "-".into()];
    assert_eq!(fed(input, text.as_bytes()).code, 0);

    let one = scanned(&home.at("one"));
    assert_eq!(one.len(), 500);
    assert_eq!(one[&b"dir3/key10"[..]], b"value 10");
    assert_eq!(one, scanned(&home.at("two")));
    assert_eq!(one, scanned(&home.at("three")));
}

#[test]
fn null_separated_input_may_hold_newlines() {
    let home = Home::new();
    let store = home.at("store");
    assert_eq!(fed(["load".as_ref(), "--null".as_ref(), store.as_os_str()], b"a\nb\t1\n2\0c").code, 0);
    let expect: BTreeMap<_, _> = [(b"a\nb".to_vec(), b"1\n2".to_vec()), (b"c".to_vec(), Vec::new())].into();
    assert_eq!(scanned(&store), expect);
}

#[test]
fn every_line_is_acknowledged_once_whatever_the_threads_and_batches() {
    let text = lines(700);
    for options in [
        &["--threads", "1"][..],
        &["--threads", "4"],
        &["--batch", "64"],
        &["--threads", "3", "--batch", "50", "--sync"],
    ] {
        let home = Home::new();
        let store = home.at("store");
        let mut arguments = vec!["load".into(), "--ack".into(), store.clone().into_os_string()];
        arguments.extend(options.iter().map(std::ffi::OsString::from));
        let ran = fed(arguments, text.as_bytes());
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        let printed = String::from_utf8(ran.out).unwrap();
        let mut numbers: Vec<u64> = printed.lines().map(|line| line.parse().unwrap()).collect();
        if options == ["--threads", "1"] {
            assert!(numbers.is_sorted());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=700).collect::<Vec<_>>(), "{options:?}");
        assert_eq!(scanned(&store).len(), 700);
    }
}

#[test]
fn the_last_line_of_a_key_wins_whatever_the_threads() {
    let home = Home::new();
    let store = home.at("store");
    let text: String = (0..3000).map(|number| format!("key{}\t{number}\n", number % 11)).collect();
    assert_eq!(fed(["load".as_ref(), store.as_os_str(), "--threads=4".as_ref()], text.as_bytes()).code, 0);
    let expect: BTreeMap<_, _> = (0..11)
        .map(|key| {
            let last = (0..3000).rev().find(|number| number % 11 == key).unwrap();
            (format!("key{key}").into_bytes(), last.to_string().into_bytes())
        })
        .collect();
    assert_eq!(scanned(&store), expect);
}

#[test]
fn a_batch_too_large_for_a_small_ring_is_loaded_all_the_same() {
    let home = Home::new();
    let store = home.at("store");
    run!("put", "--ring-bytes=16384", "--log-segment-bytes=16384", "--frame-bytes=4096", &store, "k", "v")
        .done();
    let text: String = (0..400).map(|number| format!("key{number}\t{}\n", "v".repeat(200))).collect();
    let ran = fed(["load".as_ref(), store.as_os_str(), "--batch=400".as_ref()], text.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(scanned(&store).len(), 401);
    run!("verify", &store).done();
}

#[test]
fn a_ttl_holds_for_every_line_batched_or_not() {
    let home = Home::new();
    for batch in ["1", "10"] {
        let store = home.at(batch);
        let arguments =
            ["load".as_ref(), "--ttl=1h".as_ref(), "--batch".as_ref(), batch.as_ref(), store.as_os_str()];
        assert_eq!(fed(arguments, lines(20).as_bytes()).code, 0);
        let printed = run!("scan", "--json", &store).done();
        assert_eq!(
            printed.lines().filter(|line| line.contains(r#""expires_at":"2"#)).count(),
            20,
            "{printed}"
        );
    }
}

#[test]
fn a_wrong_line_is_named_and_those_before_it_are_there() {
    let home = Home::new();
    let store = home.at("store");
    let ran = fed(["load".as_ref(), "--hex".as_ref(), store.as_os_str()], b"61\t62\n6\t62\n");
    assert!(ran.fails(2).contains("line 2"));
    assert_eq!(scanned(&store).len(), 1);
}
