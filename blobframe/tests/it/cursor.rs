//! What the model test does not ask of a cursor: paths above an entry, and skipping.

use std::ops::Bound;

use treering_blobframe::{BlobFrame, Cursor, Direction, Step};

use crate::forest::{blank, id, inline};

fn walk(keys: &[&str], path: &str, bound: Bound<&[u8]>, direction: Direction) -> Vec<String> {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    for key in keys {
        frame.insert(0, key.as_bytes(), &inline(1, b"")).unwrap();
    }
    let mut cursor = Cursor::seek(*frame, 0, path.into(), bound, direction).unwrap();
    let mut found = Vec::new();
    while let Step::Leaf(_) = cursor.next(*frame).unwrap() {
        found.push(String::from_utf8(cursor.key().to_vec()).unwrap());
    }
    assert_eq!(cursor.next(*frame), Ok(Step::End), "the end stays the end");
    found
}

#[test]
fn a_bound_is_a_full_key_and_the_path_is_part_of_it() {
    let keys = ["", "a", "ab", "b"];
    let all = ["p/", "p/a", "p/ab", "p/b"];
    for (bound, above) in
        [("p", 0), ("o/z", 0), ("p/", 0), ("p/a", 1), ("p/aa", 2), ("p/b", 3), ("p0", 4), ("q", 4)]
    {
        let forward = walk(&keys, "p/", Bound::Included(bound.as_bytes()), Direction::Forward);
        assert_eq!(forward, &all[above..], "from {bound}");
        let mut below = all[..above].to_vec();
        below.reverse();
        assert_eq!(
            walk(&keys, "p/", Bound::Excluded(bound.as_bytes()), Direction::Backward),
            below,
            "to {bound}"
        );
    }
}

#[test]
fn skipping_leaves_the_keys_that_share_the_prefix() {
    let words = blank(4096);
    let mut frame = BlobFrame::init(&words, &id(1), 1);
    for key in ["a", "d/", "d/1", "d/2/x", "d/2/y", "d/3", "d0", "e/x", "f"] {
        frame.insert(0, key.as_bytes(), &inline(1, b"")).unwrap();
    }
    for (direction, expected) in [
        (Direction::Forward, ["a", "d/", "d0", "e/", "f"]),
        (Direction::Backward, ["f", "e/", "d0", "d/", "a"]),
    ] {
        let mut cursor = Cursor::seek(*frame, 0, Vec::new(), Bound::Unbounded, direction).unwrap();
        let mut listed = Vec::new();
        while let Step::Leaf(_) = cursor.next(*frame).unwrap() {
            let key = cursor.key().to_vec();
            let end = key.iter().position(|&byte| byte == b'/').map_or(key.len(), |slash| slash + 1);
            if end < key.len() || key.ends_with(b"/") {
                cursor.skip_to_depth(end);
            }
            listed.push(String::from_utf8(key[..end].to_vec()).unwrap());
        }
        assert_eq!(listed, expected);
    }
}
