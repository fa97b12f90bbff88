//! Listings beside plain scans.

use std::collections::BTreeSet;

use treering::{ErrorKind, ListOptions, Listed, Tree};

use crate::support::{Dice, on_each_back_end, small};

/// What a listing must say, by a plain scan.
fn by_scan(tree: &Tree, prefix: &[u8], delimiter: u8) -> Vec<(Vec<u8>, bool)> {
    let mut seen = BTreeSet::new();
    for entry in tree.prefix(prefix).keys_only() {
        let key = entry.unwrap().key.to_vec();
        match key[prefix.len()..].iter().position(|&byte| byte == delimiter) {
            Some(at) => seen.insert((key[..=prefix.len() + at].to_vec(), true)),
            None => seen.insert((key, false)),
        };
    }
    seen.into_iter().collect()
}

fn by_pages(tree: &Tree, prefix: &[u8], delimiter: u8, limit: usize) -> Vec<(Vec<u8>, bool)> {
    let mut options =
        ListOptions { prefix: prefix.to_vec(), delimiter: Some(delimiter), limit, ..ListOptions::default() };
    let mut all = Vec::new();
    loop {
        let page = tree.list(&options).unwrap();
        assert!(page.entries.len() <= limit);
        assert!(page.next_token.is_none() || page.entries.len() == limit);
        all.extend(page.entries.into_iter().map(|listed| match listed {
            Listed::Key { key, .. } => (key, false),
            Listed::Prefix(prefix) => (prefix, true),
        }));
        match page.next_token {
            Some(token) => options.token = Some(token),
            None => return all,
        }
    }
}

#[test]
fn listings_by_pages_equal_the_plain_scan() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let mut dice = Dice::new(11);
        for n in 0..4000 {
            tree.put(Dice::path(n), "v").unwrap();
        }
        for _ in 0..1000 {
            tree.put(dice.awkward(512), "v").unwrap();
        }
        let mut prefixes: Vec<Vec<u8>> = [
            "",
            "usr/",
            "usr/lib3/",
            "usr/lib3",
            "usr/lib3/pkg-00",
            "usr/lib3/pkg-001/src/",
            "nothing/",
            "a",
            "\0",
        ]
        .iter()
        .map(|prefix| prefix.as_bytes().to_vec())
        .collect();
        prefixes.extend((0..60).map(|_| {
            let path = Dice::path(dice.below(4000));
            path[..dice.below(path.len() as u64 + 1) as usize].to_vec()
        }));
        prefixes.push(vec![b'p'; 512]);
        for prefix in prefixes {
            for (delimiter, limit) in [(b'/', 1000), (b'/', 1), (b'/', 7), (b'\0', 50), (b'_', 3)] {
                let scanned = by_scan(&tree, &prefix, delimiter);
                if scanned.len() / limit > 400 {
                    continue;
                }
                let listed = by_pages(&tree, &prefix, delimiter, limit);
                let differs = listed.iter().zip(&scanned).find(|(a, b)| a != b);
                assert!(listed == scanned, "{:?} by {limit}: {differs:?}", prefix.escape_ascii().to_string());
            }
        }
    });
}

#[test]
fn a_listing_gives_sizes_and_versions_and_starts_after_a_key() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        let small_version = tree.put("d/a", "12345").unwrap();
        let staged_version = tree.put("d/b", vec![0; 1500]).unwrap();
        tree.put("d/c/x", "").unwrap();
        tree.put("d/c/y", "").unwrap();
        let mut options = ListOptions { prefix: b"d/".to_vec(), ..ListOptions::default() };
        let a = Listed::Key { key: b"d/a".to_vec(), size: 5, version: small_version };
        let b = Listed::Key { key: b"d/b".to_vec(), size: 1500, version: staged_version };
        let c = Listed::Prefix(b"d/c/".to_vec());
        assert_eq!(tree.list(&options).unwrap().entries, [a, b.clone(), c.clone()]);
        options.after = Some(b"d/a".to_vec());
        assert_eq!(tree.list(&options).unwrap().entries, [b, c.clone()]);
        options.after = Some(b"d/c/x".to_vec());
        assert_eq!(tree.list(&options).unwrap().entries, [c]);
        options.after = Some(b"d/c/y".to_vec());
        assert_eq!(tree.list(&options).unwrap().entries, []);
        options.after = Some(b"a".to_vec());
        assert_eq!(tree.list(&options).unwrap().entries.len(), 3);
        options.limit = 0;
        assert_eq!(tree.list(&options).unwrap_err().kind(), ErrorKind::InvalidArgument);
        options.limit = 5;
        options.token = Some("nonsense".into());
        assert_eq!(tree.list(&options).unwrap_err().kind(), ErrorKind::InvalidArgument);
    });
}

#[test]
fn a_common_prefix_with_nothing_alive_below_is_not_listed() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        for n in 0..300 {
            tree.put(format!("dead/{n}/{}", "x".repeat(80)), vec![0; 100]).unwrap();
            tree.put(format!("live/{n}"), "").unwrap();
        }
        for n in 0..300 {
            tree.delete(format!("dead/{n}/{}", "x".repeat(80))).unwrap();
        }
        let page = tree.list(&ListOptions::default()).unwrap();
        assert_eq!(page.entries, [Listed::Prefix(b"live/".to_vec())]);
    });
}
