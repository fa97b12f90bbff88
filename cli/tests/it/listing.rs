//! `ls` by pages against a plain scan.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::Value;

use crate::harness::{Home, expected_index, fed, grow, hex, scanned, unhex};
use crate::run;

/// The names right below `prefix`, made from all keys.
fn rolled_up<'a>(keys: impl Iterator<Item = &'a Vec<u8>>, prefix: &[u8]) -> Vec<Vec<u8>> {
    let below = keys.filter_map(|key| key.strip_prefix(prefix));
    let names: BTreeSet<Vec<u8>> = below
        .map(|rest| {
            let end = rest.iter().position(|byte| *byte == b'/').map_or(rest.len(), |at| at + 1);
            [prefix, &rest[..end]].concat()
        })
        .collect();
    names.into_iter().collect()
}

/// One page: the names, and the token of the next.
fn page(
    store: &std::path::Path,
    prefix: &[u8],
    limit: usize,
    token: Option<&str>,
) -> (Vec<Vec<u8>>, Option<String>) {
    let mut arguments =
        vec!["ls".into(), "--hex".into(), "--delimiter=2f".into(), format!("--limit={limit}").into()];
    arguments.extend(token.map(|token| format!("--token={token}").into()));
    arguments.extend([store.as_os_str().to_os_string(), hex(prefix).into()]);
    let ran = crate::harness::treering(arguments);
    let token = ran.err.trim().rsplit_once("--token ").map(|(_, token)| token.to_string());
    (ran.done().lines().map(unhex).collect(), token)
}

#[test]
fn two_hundred_random_directories_listed_by_pages_equal_the_plain_scan() {
    let home = Home::new();
    let (store, tree) = (home.at("store"), home.at("tree"));
    let mut random = Rng::with_seed(5);
    grow(&tree, 300, &mut random);
    run!("index", "--frame-bytes=4096", &store, &tree).done();
    let keys: Vec<_> = scanned(&store).into_keys().collect();
    assert!(keys.iter().eq(expected_index(&tree).keys()));
    let mut directories: Vec<_> = keys.iter().filter(|key| key.ends_with(b"/")).collect();
    random.shuffle(&mut directories);
    for prefix in directories.into_iter().take(200) {
        let expect = rolled_up(keys.iter(), prefix);
        let limit = random.usize(expect.len().div_ceil(4).max(1)..=expect.len() + 1);
        let (mut found, mut token) = page(&store, prefix, limit, None);
        while let Some(next) = token {
            assert!(found.len().is_multiple_of(limit), "a page with a next one is full");
            let more;
            (more, token) = page(&store, prefix, limit, Some(&next));
            assert!(!more.is_empty(), "a token promises more");
            found.extend(more);
        }
        let differs = found.iter().zip(&expect).position(|(found, expect)| found != expect);
        let place = differs.map(|at| String::from_utf8_lossy(&expect[at]).into_owned());
        let prefix = String::from_utf8_lossy(prefix);
        assert!(
            found == expect,
            "{prefix} by {limit}: {} of {}, missing {place:?}",
            found.len(),
            expect.len()
        );
    }
}

#[test]
fn listings_show_keys_prefixes_and_the_next_token() {
    let home = Home::new();
    let store = home.at("store");
    let lines = b"a\t1\nd/\t\nd/x\t12\nd/y/z\t\ne\t123\n";
    assert_eq!(fed(["load".as_ref(), store.as_os_str()], lines).code, 0);
    assert_eq!(run!("ls", &store).done(), "a\nd/\ne\n");
    assert_eq!(run!("ls", &store, "d/").done(), "d/\nd/x\nd/y/\n");
    assert_eq!(run!("ls", &store, "d").done(), "d/\n");
    assert_eq!(run!("ls", "-R", &store, "d/").done(), "d/\nd/x\nd/y/z\n");
    assert_eq!(run!("ls", &store, "nothing").done(), "");
    assert_eq!(run!("ls", "--after", "a", &store).done(), "d/\ne\n");
    assert_eq!(run!("ls", "--after", "d/x", &store, "d/").done(), "d/y/\n");
    assert_eq!(run!("ls", "--delimiter", "y", &store, "d/").done(), "d/\nd/x\nd/y\n");

    let long = run!("ls", "-l", &store).done();
    let rows: Vec<Vec<&str>> = long.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[0][0], rows[0][2]), ("1", "a"));
    assert_eq!(rows[1], ["-", "-", "d/"]);
    assert_eq!((rows[2][0], rows[2][2]), ("3", "e"));

    let json = run!("ls", "--json", "--limit", "2", &store).done();
    let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&objects[0]["key"], &objects[0]["size"]), (&Value::from("a"), &Value::from(1)));
    assert!(objects[0]["version"].as_u64().is_some());
    assert_eq!(objects[1]["prefix"], "d/");
    let token = objects[2]["next_token"].as_str().unwrap();
    assert_eq!(run!("ls", "--token", token, &store).done(), "e\n");
    let whole = run!("ls", "--json", "--limit", "3", &store).done();
    assert!(!whole.contains("next_token"), "{whole}");
}

#[test]
fn a_token_that_no_page_printed_is_refused() {
    let home = Home::new();
    let store = home.at("store");
    run!("put", &store, "a", "1").done();
    run!("ls", "--token", "no such token", &store).fails(2);
    run!("ls", "--delimiter", "ab", &store).fails(2);
}
