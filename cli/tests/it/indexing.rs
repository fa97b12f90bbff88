//! `index` and `index --follow` against a walk of the same tree.

use std::fs;
use std::path::Path;

use fastrand::Rng;

use crate::harness::{Home, expected_index, grow, scanned};
use crate::run;

#[test]
fn an_index_of_a_generated_tree_equals_a_walk_of_it() {
    let home = Home::new();
    grow(&home.at("tree"), 150, &mut Rng::with_seed(1));
    let expect = expected_index(&home.at("tree"));
    for frame in ["--frame-bytes=4096", "--frame-bytes=524288"] {
        let store = home.at(frame);
        let json = run!("index", "--json", frame, &store, home.at("tree")).done();
        assert!(json.starts_with(&format!(r#"{{"entries":{},"#, expect.len())), "{json}");
        assert_eq!(scanned(&store), expect, "{frame}");
        run!("verify", &store).done();
    }
}

#[test]
fn an_index_of_a_real_tree_equals_a_walk_of_it() {
    let root = Path::new("/usr/share/doc");
    if !root.is_dir() {
        return;
    }
    let home = Home::new();
    let store = home.at("store");
    let told = run!("index", &store, root).done();
    assert!(told.contains(" entries in ") && told.contains(" on disk"), "{told}");
    let expect = expected_index(root);
    let found = scanned(&store);
    assert_eq!(found.len(), expect.len());
    assert!(found == expect);
    let mut backward: Vec<_> = run!("scan", "--hex", "--keys-only", "--reverse", &store)
        .done()
        .lines()
        .map(crate::harness::unhex)
        .collect();
    backward.reverse();
    assert!(backward.iter().eq(expect.keys()));
}

#[test]
fn several_paths_and_single_files_are_indexed_as_given() {
    let home = Home::new();
    fs::create_dir(home.at("dir")).unwrap();
    fs::write(home.at("file"), b"12").unwrap();
    run!("index", home.at("store"), home.at("dir"), home.at("file")).done();
    let mut expect = expected_index(&home.at("dir"));
    expect.extend(expected_index(&home.at("file")));
    assert_eq!(scanned(&home.at("store")), expect);
}

#[test]
fn the_store_itself_is_not_walked() {
    let home = Home::new();
    fs::write(home.at("file"), b"").unwrap();
    run!("index", home.at("store"), home.path()).done();
    let keys: Vec<_> = scanned(&home.at("store")).into_keys().collect();
    assert_eq!(keys.len(), 2);
    assert!(keys[1].ends_with(b"/file"));
}

#[test]
fn follow_applies_only_the_differences() {
    let home = Home::new();
    let (store, tree) = (home.at("store"), home.at("tree"));
    let mut random = Rng::with_seed(2);
    grow(&tree, 60, &mut random);
    let all = expected_index(&tree).len();
    run!("index", &store, &tree).done();
    run!("put", &store, "another/key", "stays").done();

    let again = run!("index", "--follow", "--json", &store, &tree).done();
    assert!(
        again.starts_with(&format!(r#"{{"entries":{all},"added":0,"changed":0,"removed":0,"#)),
        "{again}"
    );

    grow(&tree.join("new"), 5, &mut random);
    let gone = fs::read_dir(&tree).unwrap().map(|entry| entry.unwrap().path());
    let gone: Vec<_> = gone.filter(|path| path.is_dir() && !path.ends_with("new")).take(2).collect();
    gone.iter().for_each(|path| fs::remove_dir_all(path).unwrap());
    fs::write(tree.join("changed"), b"1").unwrap();
    run!("index", "--follow", &store, &tree).done();
    fs::write(tree.join("changed"), b"12").unwrap();
    let told = run!("index", "--follow", "--json", &store, &tree).done();
    assert!(told.contains(r#""added":0,"changed":1,"removed":0,"#), "{told}");

    let mut expect = expected_index(&tree);
    expect.insert(b"another/key".to_vec(), b"stays".to_vec());
    assert_eq!(scanned(&store), expect);
}

#[test]
fn follow_notices_a_directory_that_became_a_file_and_back() {
    let home = Home::new();
    let (store, path) = (home.at("store"), home.at("x"));
    grow(&path, 3, &mut Rng::with_seed(3));
    run!("index", &store, &path).done();
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, b"now a file").unwrap();
    run!("index", "--follow", &store, &path).done();
    assert_eq!(scanned(&store), expected_index(&path));
    fs::remove_file(&path).unwrap();
    grow(&path, 3, &mut Rng::with_seed(4));
    run!("index", "--follow", &store, &path).done();
    assert_eq!(scanned(&store), expected_index(&path));
}
