//! Crashes, device errors and full disks, at every operation.

use treering_compactor::manifest::{Edit, Manifest, Mode, Tail};
use treering_compactor::{Error, Fate};
use treering_segment::storage::Storage;
use treering_sim::{Fault, FaultKind, SimDisk};

use crate::sample::{STORE, step, storage, written};

/// Enough edits of enough bytes for two rollovers.
const STEPS: u64 = 24;
const ENGINE_BYTES: usize = 8000;

/// How far a run got: the sequence acknowledged, and the error that ended it.
struct Run {
    acknowledged: u64,
    error: Option<Error>,
}

fn edit(number: u64) -> Edit {
    Edit { segments: Vec::new(), ..step(number, ENGINE_BYTES) }
}

fn run(disk: &SimDisk) -> Run {
    let mut acknowledged = 0;
    let mut attempt = || {
        let mut manifest = Manifest::create(&storage(disk), STORE, &edit(1))?;
        acknowledged = 1;
        for number in 2..=STEPS {
            acknowledged = manifest.append(&edit(number))?;
        }
        Ok(())
    };
    let error = attempt().err();
    Run { acknowledged, error }
}

fn operations_of_a_whole_run() -> u64 {
    let disk = SimDisk::new(0);
    assert!(run(&disk).error.is_none());
    disk.operations()
}

fn operations_of_create() -> u64 {
    let disk = SimDisk::new(0);
    Manifest::create(&storage(&disk), STORE, &edit(1)).unwrap();
    disk.operations()
}

/// Opens `disk`, asserts that the manifest stands at one of the steps from `oldest` to `newest`, and goes on.
fn check(disk: &SimDisk, oldest: u64, newest: u64, context: &str) {
    let (mut manifest, state) = match Manifest::load(&storage(disk), STORE, Mode::Writing) {
        Ok(loaded) => loaded,
        Err(Error::Io(failure)) if failure.is_not_found() && oldest == 0 => return,
        Err(error) => panic!("{context}: {error}"),
    };
    assert!(
        (oldest..=newest).contains(&state.sequence),
        "{context}: {} not in {oldest}..={newest}",
        state.sequence
    );
    assert_eq!(state.epoch, state.sequence, "{context}");
    assert_eq!(state.engine[..8], state.sequence.to_le_bytes(), "{context}");
    assert!(disk.is_durable(), "{context}: something that the state rests on is not durable");
    let next = manifest.append(&edit(state.sequence + 1)).unwrap();
    let report = Manifest::verify(disk, STORE).unwrap();
    assert_eq!((report.sequence, report.tail), (next, Tail::Clean), "{context}");
}

#[test]
fn a_power_cut_at_any_operation_keeps_every_acknowledged_edit() {
    for operation in 0..operations_of_a_whole_run() {
        for seed in 0..6 {
            let disk = SimDisk::new(seed);
            disk.inject(Fault { operation, kind: FaultKind::PowerCut, lasting: false });
            let run = run(&disk);
            let after = disk.crash(seed * 1000 + operation);
            let context = format!("cut at {operation}, seed {seed}");
            check(&after, run.acknowledged, run.acknowledged + 1, &context);
        }
    }
}

#[test]
fn a_power_cut_during_recovery_leaves_a_manifest_that_recovers() {
    let operations = operations_of_a_whole_run();
    for operation in (0..operations).step_by(3) {
        for second in 0..12 {
            let disk = SimDisk::new(operation);
            disk.inject(Fault { operation, kind: FaultKind::PowerCut, lasting: false });
            let run = run(&disk);
            let disk = disk.crash(operation ^ 0x55);
            disk.inject(Fault { operation: second, kind: FaultKind::PowerCut, lasting: false });
            let _ = Manifest::load(&storage(&disk), STORE, Mode::Writing);
            let context = format!("cut at {operation}, then at {second}");
            check(&disk.crash(second), run.acknowledged, run.acknowledged + 1, &context);
        }
    }
}

#[test]
fn a_failed_append_says_whether_the_edit_may_be_on_disk() {
    let mut fates = [0, 0];
    for operation in 0..operations_of_a_whole_run() {
        for seed in 0..3 {
            let disk = SimDisk::new(seed);
            disk.inject(Fault { operation, kind: FaultKind::InputOutput, lasting: false });
            let run = run(&disk);
            let error = run.error.expect("a device error ends the run");
            let newest = match &error {
                Error::AppendFailed { fate: Fate::NotOnDisk, .. } => run.acknowledged,
                _ => run.acknowledged + 1,
            };
            if run.acknowledged > 0 {
                assert!(matches!(error, Error::AppendFailed { poisoned: true, .. }), "{error}");
                assert_eq!(error.may_be_on_disk(), newest > run.acknowledged);
                fates[usize::from(error.may_be_on_disk())] += 1;
            }
            disk.clear_faults();
            let context = format!("error at {operation}, seed {seed}");
            check(&disk.kill(), run.acknowledged, newest, &context);
            check(&disk.crash(seed), run.acknowledged, newest, &context);
        }
    }
    assert!(fates.iter().all(|count| *count > 10), "{fates:?}");
}

#[test]
fn a_poisoned_manifest_takes_no_edit_until_it_is_reopened() {
    let (disk, mut manifest) = written();
    disk.inject(Fault { operation: disk.operations() + 2, kind: FaultKind::InputOutput, lasting: false });
    let before = manifest.state().clone();
    assert!(manifest.append(&step(10, 20)).unwrap_err().may_be_on_disk());
    assert!(manifest.is_poisoned());
    assert_eq!(manifest.state(), &before);
    assert!(matches!(manifest.append(&step(10, 20)), Err(Error::Poisoned(_))));
    assert!(matches!(manifest.seal(), Err(Error::Poisoned(_))));
    let (mut manifest, _) = Manifest::load(&storage(&disk), STORE, Mode::Writing).unwrap();
    manifest.append(&step(20, 20)).unwrap();
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_anything_rests_on_it() {
    for seed in 0..40 {
        let (disk, mut manifest) = written();
        disk.inject(Fault { operation: disk.operations() + 2, kind: FaultKind::InputOutput, lasting: false });
        manifest.append(&step(10, 3000)).unwrap_err();
        // The page cache still shows the edit, so the next life sees it and acts on it.
        let disk = disk.kill();
        let (_, seen) = Manifest::load(&storage(&disk), STORE, Mode::Writing).unwrap();
        assert_eq!(seen.sequence, 4);
        let (_, after) = Manifest::load(&storage(&disk.crash(seed)), STORE, Mode::Writing).unwrap();
        assert_eq!(after, seen, "seed {seed}");
    }
}

#[test]
fn a_full_disk_fails_the_edit_and_nothing_else() {
    let mut failures = 0;
    for operation in operations_of_create()..operations_of_a_whole_run() {
        for span in 1..5 {
            let disk = SimDisk::new(operation);
            let mut manifest = Manifest::create(&storage(&disk), STORE, &edit(1)).unwrap();
            for operation in operation..operation + span {
                disk.inject(Fault { operation, kind: FaultKind::NoSpace, lasting: false });
            }
            for number in 2..=STEPS {
                while let Err(error) = manifest.append(&edit(number)) {
                    assert!(error.is_out_of_space() && !error.may_be_on_disk(), "{operation}: {error}");
                    assert_eq!(manifest.sequence(), number - 1);
                    let (_, state) = Manifest::load(&storage(&disk), STORE, Mode::ReadOnly).unwrap();
                    assert_eq!(&state, manifest.state());
                    failures += 1;
                }
            }
            let context = format!("no space at {operation}, {span} times");
            check(&disk.crash(span), STEPS, STEPS, &context);
        }
    }
    assert!(failures > 100, "{failures}");
}

#[test]
fn writing_goes_on_when_there_is_space_again() {
    let disk = SimDisk::new(1);
    let mut manifest = Manifest::create(&storage(&disk), STORE, &edit(1)).unwrap();
    disk.set_capacity(30_000);
    let mut number = 2;
    while manifest.append(&edit(number)).is_ok() {
        number += 1;
    }
    assert!(number > 3 && !manifest.is_poisoned());
    disk.set_capacity(u64::MAX);
    for number in number..STEPS {
        manifest.append(&edit(number)).unwrap();
    }
    let (_, state) = Manifest::load(&storage(&disk), STORE, Mode::ReadOnly).unwrap();
    assert_eq!(&state, manifest.state());
}

#[test]
fn a_rollover_without_space_falls_back_to_appending() {
    let disk = SimDisk::new(1);
    let mut manifest = Manifest::create(&storage(&disk), STORE, &edit(1)).unwrap();
    let mut number = 2;
    while manifest.file_bytes() < 73_900 {
        manifest.append(&edit(number)).unwrap();
        number += 1;
    }
    // Room for the edit, none for the whole state beside the old file.
    let before = manifest.file_bytes();
    disk.set_capacity(before + 3000);
    let small = Edit { epoch: Some(number), ..Edit::default() };
    manifest.append(&small).unwrap();
    assert!(manifest.file_bytes() > before);
    assert_eq!(disk.list().unwrap().len(), 1, "no left-over");
    disk.set_capacity(u64::MAX);
    manifest.append(&edit(number + 1)).unwrap();
    assert!(manifest.file_bytes() < before);
    assert_eq!(Manifest::verify(&disk, STORE).unwrap().sequence, number + 1);
}
