//! What is there after a kill, a close, an interrupted creation.

use treering::segment::storage::Access;
use treering::{Durability, Engine, ErrorKind, Options, WriteOptions};

use crate::support::{Place, on_each_back_end, small};

#[test]
fn acknowledged_writes_survive_a_kill_at_both_durabilities() {
    on_each_back_end(|place| {
        let mut version = 0;
        for round in 0..5 {
            let engine = place.open(small());
            let tree = engine.default_tree();
            for n in 0..50 {
                let durability = Some(if n % 2 == 0 { Durability::Buffered } else { Durability::Sync });
                let how = WriteOptions { durability, ..WriteOptions::default() };
                let newer = tree.put_with(format!("{round}/{n}"), "v", &how).unwrap();
                assert!(newer > version, "versions grow across restarts");
                version = newer;
            }
            engine.abandon();
            assert_eq!(place.verify().damages, []);
        }
        assert_eq!(place.open(small()).default_tree().prefix("").count(), 250);
    });
}

#[test]
fn addresses_that_no_incarnation_used_are_not_counted_as_log() {
    on_each_back_end(|place| {
        for _ in 0..12 {
            let engine = place.open(small());
            engine.default_tree().put("k", "v").unwrap();
            engine.abandon();
            let report = place.verify();
            assert_eq!(report.live_bytes + report.free_bytes, report.file_bytes, "{report:?}");
        }
    });
}

#[test]
fn a_clean_close_leaves_nothing_to_replay() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        for n in 0..500 {
            engine.default_tree().put(format!("k{n}"), vec![1; 300]).unwrap();
        }
        engine.close().unwrap();
        let engine = place.open(small());
        let stats = engine.stats().unwrap();
        assert!(stats.recovery_was_clean && stats.recovery_records <= 2, "{stats:?}");
        assert_eq!(engine.default_tree().prefix("k").count(), 500);
    });
}

#[test]
fn dropping_the_last_handle_closes_cleanly() {
    on_each_back_end(|place| {
        let engine = place.open(small().background(true));
        let tree = engine.default_tree();
        tree.put("k", "v").unwrap();
        drop(engine);
        tree.put("l", "w").unwrap();
        drop(tree);
        let engine = place.open(small());
        assert!(engine.stats().unwrap().recovery_was_clean);
        assert_eq!(engine.default_tree().prefix("").count(), 2);
    });
}

#[test]
fn the_log_stays_near_its_cap_and_old_files_go() {
    on_each_back_end(|place| {
        let engine = place.open(small());
        let tree = engine.default_tree();
        for n in 0..5000u32 {
            tree.put(format!("k{}", n % 97), vec![n as u8; 400]).unwrap();
        }
        let stats = engine.stats().unwrap();
        assert!(stats.log_bytes <= 256 << 10, "{stats:?}");
        let logs = place.storage().list().unwrap();
        let logs = logs.iter().filter(|name| name.starts_with("log-") || name.starts_with("spare-")).count();
        assert!(logs <= 10, "{logs} log files");
    });
}

#[test]
fn opening_again_and_again_without_writing_piles_nothing_up() {
    on_each_back_end(|place| {
        place.open(small()).default_tree().put("k", "v").unwrap();
        let size = |place: &Place| place.open(small().read_only(true)).stats().unwrap().disk_bytes;
        let mut sizes = Vec::new();
        for round in 0..12 {
            let engine = place.open(small());
            if round % 3 == 0 {
                engine.abandon()
            } else {
                engine.close().unwrap()
            }
            sizes.push(size(place));
        }
        place.open(small()).close().unwrap();
        assert!(size(place) <= 8 * (64 << 10), "{sizes:?}");
    });
}

#[test]
fn an_interrupted_creation_starts_over() {
    on_each_back_end(|place| {
        place.open(small()).close().unwrap();
        // Back to how creation leaves it right before its last step: the state field says `creating`.
        let file = place.storage().open("STORE", Access::ReadWrite).unwrap();
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, 0).unwrap();
        sector[12] = 1;
        let crc = crc32c(&sector[..508]);
        sector[508..].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&sector, 0).unwrap();
        assert_eq!(
            Engine::open_in(place.environment(), Options::new().read_only(true)).unwrap_err().kind(),
            ErrorKind::NotAStore
        );
        let engine = place.open(small());
        assert_eq!(engine.default_tree().prefix("").count(), 0);
        engine.default_tree().put("k", "v").unwrap();
    });
}

#[test]
fn a_store_without_its_identity_is_refused_and_kept() {
    on_each_back_end(|place| {
        place.open(small()).close().unwrap();
        place.storage().remove("STORE").unwrap();
        let before = place.storage().list().unwrap();
        let refused = Engine::open_in(place.environment(), small()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotAStore);
        assert_eq!(place.storage().list().unwrap(), before);
    });
}

#[test]
fn a_file_with_the_highest_segment_number_is_no_obstacle_and_an_orphan() {
    on_each_back_end(|place| {
        place.open(small()).default_tree().put("k", "v").unwrap();
        place.storage().create("segment-ffffffffffffffff").unwrap();
        let engine = place.open(small());
        engine.default_tree().put("large", vec![7; 5000]).unwrap();
        engine.checkpoint().unwrap();
        assert_eq!(engine.default_tree().get("large").unwrap().as_deref(), Some(&[7; 5000][..]));
        assert!(!place.storage().exists("segment-ffffffffffffffff").unwrap());
        engine.close().unwrap();
        assert_eq!(place.verify().damages, []);
    });
}

/// CRC-32C by the bit, so that the test does not lean on the code it tests.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}

#[test]
fn writes_and_cuts_that_race_with_a_close_are_whole_or_refused() {
    on_each_back_end(|place| {
        for round in 0..20u32 {
            let engine = place.open(small());
            let acknowledged: Vec<u32> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..3)
                    .map(|_| {
                        let tree = engine.default_tree();
                        scope.spawn(move || {
                            (0u32..)
                                .take_while(|n| tree.put(format!("{round}/{n}"), n.to_le_bytes()).is_ok())
                                .count()
                        })
                    })
                    .collect();
                let cutter = scope.spawn(|| while engine.checkpoint().is_ok() {});
                while engine.default_tree().prefix(format!("{round}/")).take(20).count() < 20 {
                    std::thread::yield_now();
                }
                engine.close().unwrap();
                cutter.join().unwrap();
                writers.into_iter().map(|writer| writer.join().unwrap() as u32).collect()
            });
            drop(engine);
            assert_eq!(place.verify().damages, []);
            let tree = place.open(small().read_only(true)).default_tree();
            let most = acknowledged.into_iter().max().unwrap();
            assert!((0..most).all(|n| tree.contains(format!("{round}/{n}")).unwrap()), "round {round}");
        }
    });
}
