//! Damage and torn tails, at every byte.

use treering_compactor::Error;
use treering_compactor::manifest::{Edit, MANIFEST, Manifest, Mode, Tail};
use treering_segment::storage::Storage;
use treering_sim::SimDisk;

use crate::sample::{STORE, removals, rich, step, storage, written};

/// Where the header and each of the sample's frames start, and the end of the last.
fn boundaries() -> (Vec<u8>, Vec<u64>) {
    let disk = SimDisk::new(1);
    let mut manifest = Manifest::create(&storage(&disk), STORE, &rich()).unwrap();
    let mut starts = vec![0, 64, manifest.file_bytes()];
    for edit in [removals(), step(9, 20), Edit::default()] {
        manifest.append(&edit).unwrap();
        starts.push(manifest.file_bytes());
    }
    (disk.bytes_of(MANIFEST).unwrap(), starts)
}

fn disk_with(bytes: &[u8]) -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create(MANIFEST).unwrap();
    disk.edit(MANIFEST, |file| *file = bytes.to_vec());
    disk
}

#[test]
fn a_flip_of_any_byte_of_a_sealed_manifest_is_found_with_file_and_offset() {
    let (bytes, starts) = boundaries();
    let seal = starts[starts.len() - 2];
    let (_, whole) = Manifest::load(&storage(&disk_with(&bytes)), STORE, Mode::ReadOnly).unwrap();
    for at in 0..bytes.len() {
        for mask in [0x01, 0x10, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let disk = disk_with(&damaged);
            let outcome = Manifest::load(&storage(&disk), STORE, Mode::ReadOnly);
            if at as u64 >= seal {
                // The seal says nothing; what it guards is all there.
                let (_, state) = outcome.unwrap();
                assert_eq!(treering_compactor::manifest::State { sequence: whole.sequence, ..state }, whole);
                let tail = Manifest::verify(&disk, STORE).unwrap().tail;
                assert_eq!(tail, Tail::Torn { offset: seal, bytes: bytes.len() as u64 - seal });
                continue;
            }
            let Err(Error::Damage(damage)) = outcome else { panic!("flip of byte {at} passed: {outcome:?}") };
            let start = starts.iter().rev().find(|start| **start <= at as u64).unwrap();
            assert_eq!((damage.offset, damage.file), (*start, disk.path_of(MANIFEST)), "flip of byte {at}");
            assert!(matches!(Manifest::load(&storage(&disk), STORE, Mode::Writing), Err(Error::Damage(_))));
            assert_eq!(disk.bytes_of(MANIFEST).unwrap(), damaged, "a writing load touched a damaged file");
        }
    }
}

#[test]
fn a_zeroed_range_anywhere_before_the_seal_is_damage() {
    let (bytes, starts) = boundaries();
    let seal = usize::try_from(starts[starts.len() - 2]).unwrap();
    for at in (0..seal).step_by(8) {
        let mut damaged = bytes.clone();
        damaged[at..(at + 64).min(seal)].fill(0);
        if damaged != bytes {
            assert!(
                matches!(Manifest::verify(&disk_with(&damaged), STORE), Err(Error::Damage(_))),
                "at {at}"
            );
        }
    }
}

#[test]
fn a_torn_tail_at_every_byte_is_cut_before_the_next_append() {
    let (bytes, starts) = boundaries();
    let first_end = usize::try_from(starts[2]).unwrap();
    for length in 0..bytes.len() {
        for zeros in [0, 40] {
            let mut torn = bytes[..length].to_vec();
            torn.resize(length + zeros, 0);
            let disk = disk_with(&torn);
            let outcome = Manifest::load(&storage(&disk), STORE, Mode::Writing);
            if length < first_end {
                // Nothing that ends in a synced first frame can be torn there (but its zeros may be missing).
                let whole = torn.len() >= first_end && torn[..first_end] == bytes[..first_end];
                assert!(whole || matches!(outcome, Err(Error::Damage(_))), "{length} bytes: {outcome:?}");
                continue;
            }
            let (mut manifest, state) = outcome.unwrap();
            let whole = starts[2..].iter().filter(|end| **end <= length as u64).count() as u64;
            let lucky = u64::from(zeros > 0 && state.sequence > whole);
            assert_eq!(state.sequence, whole + lucky, "{length} bytes");
            assert!(disk.is_durable());
            assert_eq!(Manifest::verify(&disk, STORE).unwrap().tail, Tail::Clean);
            assert_eq!(manifest.append(&Edit::default()).unwrap(), whole + lucky + 1);
            assert_eq!(Manifest::verify(&disk, STORE).unwrap().sequence, whole + lucky + 1);
        }
    }
}

#[test]
fn tails_are_told_apart() {
    let (disk, _) = written();
    let whole = disk.bytes_of(MANIFEST).unwrap();
    let valid = whole.len() as u64;
    let tail = |suffix: &[u8]| Manifest::verify(&disk_with(&[&whole, suffix].concat()), STORE).unwrap().tail;
    assert_eq!(tail(b""), Tail::Clean);
    assert_eq!(tail(&[0; 3000]), Tail::Zeros { offset: valid, bytes: 3000 });
    assert_eq!(tail(&[0, 0, 1]), Tail::Torn { offset: valid, bytes: 3 });
}

#[test]
fn a_later_edit_is_found_behind_damage_across_megabytes() {
    // Several lengths, so that the later edit's head falls on either side of a chunk's end.
    for spare in 0..8 {
        let disk = SimDisk::new(1);
        let mut manifest = Manifest::create(&storage(&disk), STORE, &Edit::default()).unwrap();
        let start = manifest.file_bytes();
        let engine = vec![7; (1 << 20) - 24 - spare * 8];
        manifest.append(&Edit { engine: Some(engine.into()), ..Edit::default() }).unwrap();
        let sealed_at = manifest.file_bytes();
        manifest.seal().unwrap();
        disk.edit(MANIFEST, |bytes| bytes[usize::try_from(start).unwrap() + 50] ^= 1);
        let outcome = Manifest::verify(&disk, STORE);
        assert!(matches!(&outcome, Err(Error::Damage(d)) if d.offset == start), "{spare}: {outcome:?}");
        disk.edit(MANIFEST, |bytes| bytes.truncate(usize::try_from(sealed_at).unwrap()));
        let tail = Manifest::verify(&disk, STORE).unwrap().tail;
        assert_eq!(tail, Tail::Torn { offset: start, bytes: sealed_at - start });
    }
}

#[test]
fn random_bytes_are_refused_and_never_panic() {
    let (bytes, _) = boundaries();
    let mut random = treering_sim::Random::new(4);
    for _ in 0..3000 {
        let mut file = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.index(file.len());
            let length = random.index(file.len() - at).min(40);
            random.fill(&mut file[at..at + length]);
        }
        file.truncate(random.index(file.len() + 1));
        let _ = Manifest::load(&storage(&disk_with(&file)), STORE, Mode::Writing);
    }
}
