//! One flipped bit anywhere is named with file and offset, or harmless; nothing panics, nothing lies.

use std::collections::BTreeMap;

use treering::segment::storage::Access;
use treering::{Engine, ErrorKind, Options, verify_in};

use crate::support::{Dice, Place, small};

/// All files with their bytes. The lock file is not opened.
pub(crate) fn contents(place: &Place) -> BTreeMap<String, Vec<u8>> {
    let names = place.storage().list().unwrap().into_iter().filter(|name| name != "LOCK");
    names
        .map(|name| {
            let file = place.storage().open(&name, Access::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            (name, bytes)
        })
        .collect()
}

/// A store with something in each kind of file, closed cleanly.
fn filled(place: &Place) -> Vec<(Vec<u8>, Vec<u8>)> {
    let options = small().log_segment_bytes(16 << 10).log_cap_bytes(64 << 10);
    let engine = place.open(options);
    let tree = engine.default_tree();
    for n in 0..40 {
        tree.put(Dice::path(n), vec![n as u8; 60]).unwrap();
    }
    tree.put("staged", vec![1; 1000]).unwrap();
    engine.checkpoint().unwrap();
    for n in 0..60 {
        tree.put(Dice::path(n), vec![n as u8; 61]).unwrap();
    }
    tree.put("direct", vec![2; 3000]).unwrap();
    engine.close().unwrap();
    drop(tree);
    let engine = place.open(Options::new().read_only(true));
    rows(&engine).unwrap()
}

fn rows(engine: &Engine) -> treering::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    engine.default_tree().prefix("").map(|e| e.map(|e| (e.key.to_vec(), e.value.to_vec()))).collect()
}

fn flip(place: &Place, name: &str, at: u64, mask: u8) {
    let file = place.storage().open(name, Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= mask;
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn a_flipped_bit_is_named_with_file_and_offset_or_harmless() {
    let place = Place::memory();
    let expected = filled(&place);
    assert_eq!(place.verify().damages, []);
    let before = contents(&place);
    let mut named: BTreeMap<String, u32> = BTreeMap::new();
    for (name, bytes) in &before {
        // Far inside preallocated zeros every byte is like its neighbour.
        let dense = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 64).min(bytes.len());
        for at in 0..dense {
            flip(&place, name, at as u64, 1 << (at % 8));
            check_flip(&place, name, at, &expected, &mut named);
            flip(&place, name, at as u64, 1 << (at % 8));
        }
    }
    assert!(contents(&place) == before, "verification changed a byte");
    for (name, found) in ["STORE", "MANIFEST", "frames"].map(|name| (name, named.get(name))) {
        assert!(found.is_some_and(|&found| found > 20), "{name}: {named:?}");
    }
    assert!(named.keys().any(|name| name.starts_with("segment-")), "{named:?}");
}

fn check_flip(
    place: &Place,
    name: &str,
    at: usize,
    expected: &[(Vec<u8>, Vec<u8>)],
    named: &mut BTreeMap<String, u32>,
) {
    match verify_in(place.environment(), Options::new()) {
        Ok(report) if report.is_clean() => {
            let engine = place.open(Options::new().read_only(true));
            assert!(rows(&engine).unwrap() == expected, "{name} byte {at}: not named, and not harmless");
        }
        Ok(report) => {
            assert!(
                report.damages.iter().any(|d| d.file.to_string_lossy().ends_with(name)),
                "{name} byte {at}: {report:?}"
            );
            *named.entry(name.to_string()).or_default() += 1;
        }
        Err(error) => {
            let kinds = [ErrorKind::Damage, ErrorKind::NotAStore, ErrorKind::NewerFormat];
            assert!(kinds.contains(&error.kind()), "{name} byte {at}: {error}");
            *named.entry(name.to_string()).or_default() += 1;
        }
    }
}

#[test]
fn a_file_cut_short_or_missing_is_named() {
    let place = Place::memory();
    filled(&place);
    for (name, bytes) in contents(&place) {
        if name == "ring" || name.starts_with("spare-") || name.starts_with("log-") {
            continue;
        }
        let file = place.storage().open(&name, Access::ReadWrite).unwrap();
        file.set_len(bytes.len() as u64 / 2).unwrap();
        let report = verify_in(place.environment(), Options::new());
        assert!(report.is_err() || report.is_ok_and(|r| !r.is_clean()), "{name} cut short");
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        place.storage().rename(&name, "aside").unwrap();
        let report = verify_in(place.environment(), Options::new());
        assert!(report.is_err() || report.is_ok_and(|r| !r.is_clean()), "{name} missing");
        place.storage().rename("aside", &name).unwrap();
    }
    assert_eq!(place.verify().damages, []);
}
