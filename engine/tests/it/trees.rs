//! Named trees.

use treering::ErrorKind;

use crate::support::{on_each_back_end, small};

#[test]
fn trees_are_apart_listed_and_there_after_reopening() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        assert!(engine.tree("photos").unwrap().is_none());
        let photos = engine.create_tree("photos").unwrap();
        photos.put("k", "photo").unwrap();
        engine.create_tree("music").unwrap().put("k", "song").unwrap();
        engine.default_tree().put("k", "plain").unwrap();
        assert_eq!(engine.trees().unwrap(), ["default", "music", "photos"]);
        engine.abandon();
        let engine = place.open(small());
        assert_eq!(engine.trees().unwrap(), ["default", "music", "photos"]);
        let read = |name: &str| engine.tree(name).unwrap().unwrap().get("k").unwrap().unwrap();
        assert_eq!(
            (&read("photos")[..], &read("music")[..], &read("default")[..]),
            (&b"photo"[..], &b"song"[..], &b"plain"[..])
        );
        assert_eq!(engine.default_tree().prefix("").count(), 1);
    });
}

#[test]
fn a_dropped_tree_is_gone_with_its_keys_and_a_new_one_is_empty() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.create_tree("t").unwrap();
        for n in 0..700 {
            tree.put(format!("k{n}"), vec![1; 50]).unwrap();
        }
        assert!(engine.drop_tree("t").unwrap());
        assert!(!engine.drop_tree("t").unwrap());
        assert_eq!(tree.put("k", "").unwrap_err().kind(), ErrorKind::Closed);
        assert!(engine.tree("t").unwrap().is_none());
        assert_eq!(engine.create_tree("t").unwrap().prefix("").count(), 0);
        assert_eq!(engine.drop_tree("default").unwrap_err().kind(), ErrorKind::InvalidArgument);
        engine.close().unwrap();
        let report = place.verify();
        assert_eq!(report.damages, []);
        assert!(report.records < 10, "{report:?}");
    });
}

#[test]
fn names_have_bounds() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        for bad in ["", "a\0b", &"x".repeat(256)] {
            assert_eq!(engine.create_tree(bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        engine.create_tree(&"x".repeat(255)).unwrap();
    });
}
