//! What a manifest says, without faults: round trips, refusals, rollover, the golden bytes.

use proptest::prelude::*;
use treering_compactor::manifest::{
    Edit, MANIFEST, Manifest, Mode, Pin, PinChange, SegmentChange, State, Tail,
};
use treering_compactor::{Error, manifest::MANIFEST_NEW};
use treering_segment::storage::Storage;
use treering_sim::{Random, SimDisk};

use crate::sample::{STORE, base, delta, removals, rich, segment, step, storage, written};

#[test]
fn the_bytes_are_those_of_version_one() {
    let (disk, mut manifest) = written();
    manifest.seal().unwrap();
    let bytes = disk.bytes_of(MANIFEST).unwrap();
    let hex: Vec<String> = bytes.chunks(32).map(|c| c.iter().map(|b| format!("{b:02x}")).collect()).collect();
    let golden = include_str!("../golden/manifest-v1.hex");
    assert!(golden.lines().eq(hex.iter()), "the format has changed:\n{}", hex.join("\n"));
}

#[test]
fn a_loaded_state_is_what_the_edits_add_up_to() {
    let (disk, manifest) = written();
    let (loaded, state) = Manifest::load(&storage(&disk), STORE, Mode::Writing).unwrap();
    assert_eq!(&state, manifest.state());
    assert_eq!(loaded.state(), manifest.state());
    assert_eq!((state.sequence, state.epoch, state.clock_ms), (3, 9, 1_700_000_000_000));
    assert_eq!(state.extents.keys().collect::<Vec<_>>(), [&2, &4]);
    assert_eq!(state.segments.keys().collect::<Vec<_>>(), [&7, &9]);
    assert_eq!((state.segments[&7].live_records, state.segments[&7].live_bytes), (4, 44));
    assert!(state.pins.is_empty() && state.detached.is_empty());
    let report = Manifest::verify(&disk, STORE).unwrap();
    assert_eq!((report.sequence, report.edits, report.tail), (3, 3, Tail::Clean));
    assert_eq!(report.file_bytes, report.valid_bytes);
}

#[test]
fn a_new_manifest_holds_its_first_edit_and_takes_no_name_that_is_taken() {
    let disk = SimDisk::new(1);
    let created = Manifest::create(&storage(&disk), STORE, &rich()).unwrap();
    assert!(disk.is_durable());
    let (_, state) = Manifest::load(&storage(&disk), STORE, Mode::ReadOnly).unwrap();
    assert_eq!(&state, created.state());
    assert_eq!(state.extents[&1].len(), 3);
    assert_eq!(state.pins[&1].name.as_ref(), b"nightly\0\xff");
    assert_eq!(state.detached.len(), 1);
    assert!(matches!(Manifest::create(&storage(&disk), STORE, &rich()), Err(Error::Io(_))));
}

#[test]
fn reading_only_changes_no_byte_and_takes_no_edit() {
    let (disk, _) = written();
    disk.edit(MANIFEST, |bytes| bytes.extend_from_slice(b"a torn tail"));
    let before = disk.bytes_of(MANIFEST);
    let (mut manifest, state) = Manifest::load(&storage(&disk), STORE, Mode::ReadOnly).unwrap();
    assert_eq!(state.sequence, 3);
    assert!(matches!(manifest.append(&Edit::default()), Err(Error::ReadOnly)));
    Manifest::verify(&disk, STORE).unwrap();
    assert_eq!(disk.bytes_of(MANIFEST), before);
    assert!(disk.is_durable());
}

#[test]
fn another_stores_manifest_is_refused_as_such() {
    let (disk, _) = written();
    let error = Manifest::verify(&disk, [9; 16]).unwrap_err();
    assert!(matches!(error, Error::ForeignStore { found: STORE, .. }), "{error}");
}

#[test]
fn an_edit_that_contradicts_the_state_changes_nothing() {
    let (disk, mut manifest) = written();
    let (state, bytes) = (manifest.state().clone(), disk.bytes_of(MANIFEST));
    let over = SegmentChange::Live { id: 7, live_records: 11, live_bytes: 0 };
    let contradictions = [
        Edit { epoch: Some(8), ..Edit::default() },
        Edit { extents: vec![base(3, 0), base(2, 0), delta(2, 2, 0)], ..Edit::default() },
        Edit { extents: vec![delta(99, 1, 0)], ..Edit::default() },
        Edit { extents: vec![delta(2, 1, 0), delta(2, 0, 0)], ..Edit::default() },
        Edit { segments: vec![SegmentChange::Add(segment(20)), over], ..Edit::default() },
        Edit { segments: vec![SegmentChange::Add(segment(7))], ..Edit::default() },
        Edit {
            segments: vec![SegmentChange::Remove { id: 7 }, SegmentChange::Remove { id: 7 }],
            ..removals()
        },
        Edit { pins: vec![PinChange::Remove { id: 1 }], ..Edit::default() },
    ];
    for edit in contradictions {
        let edit = Edit { clock_ms: Some(u64::MAX), engine: Some("other".into()), ..edit };
        assert!(matches!(manifest.append(&edit), Err(Error::Inconsistent(_))), "{edit:?}");
        assert_eq!(manifest.state(), &state);
    }
    let long = Pin { id: 3, name: vec![0; 65_536].into(), epoch: 1 };
    let edit = Edit { pins: vec![PinChange::Add(long)], ..Edit::default() };
    assert!(matches!(manifest.append(&edit), Err(Error::TooLarge { size: 65_536, max: 65_535 })));
    assert_eq!(disk.bytes_of(MANIFEST), bytes);
    assert_eq!(manifest.append(&Edit::default()).unwrap(), 4);
}

#[test]
fn the_clock_never_goes_back() {
    let (_, mut manifest) = written();
    manifest.append(&Edit { clock_ms: Some(5), ..Edit::default() }).unwrap();
    assert_eq!(manifest.state().clock_ms, 1_700_000_000_000);
}

#[test]
fn edits_roll_over_into_a_whole_state_and_the_file_stays_small() {
    let disk = SimDisk::new(1);
    let mut manifest = Manifest::create(&storage(&disk), STORE, &Edit::default()).unwrap();
    let mut largest = 0;
    let mut rollovers = 0;
    for number in 1..400 {
        let edit = Edit { segments: Vec::new(), ..step(number, 1000) };
        let before = manifest.file_bytes();
        assert_eq!(manifest.append(&edit).unwrap(), number + 1);
        rollovers += u32::from(manifest.file_bytes() < before);
        largest = largest.max(manifest.file_bytes());
        assert!(disk.is_durable());
    }
    assert!(rollovers >= 4 && largest < 72 << 10, "{rollovers} rollovers, {largest} bytes");
    assert!(!disk.list().unwrap().contains(&MANIFEST_NEW.to_owned()));
    let (_, state) = Manifest::load(&storage(&disk), STORE, Mode::ReadOnly).unwrap();
    assert_eq!(&state, manifest.state());
    assert_eq!(state.sequence, 400);
}

/// A consistent edit after `state`, drawn from `random`.
fn draw(random: &mut Random, state: &State) -> Edit {
    let mut edit = Edit { epoch: Some(state.epoch + random.below(3)), ..Edit::default() };
    let frame = random.below(6);
    match state.extents.get(&frame) {
        Some(chain) if random.percent(60) => {
            edit.extents.push(delta(frame, u16::try_from(chain.len()).unwrap(), random.below(1 << 40)));
        }
        Some(_) if random.percent(40) => {
            edit.extents.push(treering_compactor::manifest::ExtentChange::Remove { frame });
        }
        _ => edit.extents.push(base(frame, random.next_u64())),
    }
    let id = random.below(5);
    edit.segments.push(match state.segments.contains_key(&id) {
        false => SegmentChange::Add(segment(id)),
        true if random.percent(50) => SegmentChange::Remove { id },
        true => SegmentChange::Live { id, live_records: random.below(10), live_bytes: random.below(7000) },
    });
    if random.percent(50) {
        let mut engine = vec![0; random.index(3000)];
        random.fill(&mut engine);
        edit.engine = Some(engine.into());
    }
    edit
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_run_of_edits_is_read_back_as_it_was_after_each(seed in any::<u64>(), count in 1usize..120) {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        let mut manifest = Manifest::create(&storage(&disk), STORE, &Edit::default()).unwrap();
        for _ in 0..count {
            let edit = draw(&mut random, manifest.state());
            manifest.append(&edit).unwrap();
            if random.percent(20) {
                let expected = manifest.state().clone();
                let (reopened, state) = Manifest::load(&storage(&disk), STORE, Mode::Writing).unwrap();
                prop_assert_eq!(&state, &expected);
                manifest = reopened;
            }
        }
    }
}
