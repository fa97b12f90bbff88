//! `manifest_load`: hostile manifests through [`Manifest::load`].
//!
//! A manifest that a few edits built, or none but the input's own sections, is damaged and loaded twice: as it
//! is, and with checksums mended. What loads must verify, load the same for writing, take an edit, and
//! load again with it; what does not is damage that names the file. Loading for reading changes no byte.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use treering_compactor::Error;
use treering_compactor::manifest::{
    DetachedChange, DetachedRoot, Edit, Extent, ExtentChange, ExtentKind, MANIFEST, Manifest, Mode, NEVER,
    Pin, PinChange, SegmentChange, SegmentMeta,
};
use treering_segment::memory::MemoryStorage;
use treering_segment::storage::Storage;

use crate::damage::damage;
use crate::directory::Directory;
use crate::input::Input;
use crate::mend;

const STORE_ID: [u8; 16] = *b"fuzzed store id.";
/// Edits that an input makes up.
const FRAMES_MAX: usize = 6;
/// Changes to one manifest.
const CHANGES_MAX: usize = 6;

/// Feeds one manifest.
pub fn manifest_load(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut manifest = match input.byte() % 4 {
        0 => input.rest().to_vec(),
        1 => made_up(&mut input),
        _ => damaged(&mut input),
    };
    load(&manifest);
    mend::manifest(&mut manifest, &STORE_ID, bytes.first().is_some_and(|choice| choice & 4 != 0));
    load(&manifest);
}

/// A whole manifest with every kind of section.
static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let first =
        Edit { epoch: Some(0), clock_ms: Some(1000), engine: Some(vec![7; 64].into()), ..Edit::default() };
    let mut manifest = Manifest::create(&storage, STORE_ID, &first).expect("a manifest is created");
    for n in 1..5 {
        manifest.append(&sample_edit(n)).expect("an edit is appended");
    }
    Directory::of(&*storage).file(MANIFEST).clone()
});

fn sample_edit(n: u64) -> Edit {
    let extent = |kind, offset| Extent { kind, offset, length: 4096, epoch: n, checksum: 5 };
    let meta = SegmentMeta {
        id: n,
        file_bytes: 5000,
        records: 9,
        value_bytes: 900,
        live_records: 9,
        live_bytes: 900,
        cohort: 0,
        min_death: NEVER,
        max_death: NEVER,
        root: [3; 32],
    };
    let mut segments = vec![SegmentChange::Add(meta)];
    if n > 1 {
        segments.push(SegmentChange::Live { id: n - 1, live_records: 3, live_bytes: 300 });
    }
    if n > 2 {
        segments.push(SegmentChange::Remove { id: n - 2 });
    }
    let mut pins = vec![PinChange::Add(Pin { id: n, name: Bytes::from_static(b"pin"), epoch: n })];
    pins.extend((n > 1).then(|| PinChange::Remove { id: n - 1 }));
    let mut detached = vec![DetachedChange::Add(DetachedRoot { frame: n, entry: 1, epoch: n })];
    detached.extend((n > 1).then(|| DetachedChange::Remove { frame: n - 1, entry: 1 }));
    let mut extents = vec![
        ExtentChange::Set { frame: n, extent: extent(ExtentKind::Base, n * 8192) },
        ExtentChange::Set { frame: n, extent: extent(ExtentKind::Delta(1), n * 8192 + 4096) },
    ];
    extents.extend((n > 3).then(|| ExtentChange::Remove { frame: n - 3 }));
    Edit {
        epoch: Some(n),
        extents,
        segments,
        pins,
        detached,
        clock_ms: Some(1000 + n),
        engine: Some(vec![n.to_le_bytes()[0]; 64].into()),
    }
}

fn damaged(input: &mut Input<'_>) -> Vec<u8> {
    let mut manifest = SAMPLE.clone();
    for _ in 0..input.below(CHANGES_MAX) + 1 {
        damage(input, &mut manifest);
    }
    manifest
}

/// A manifest of the input's own sections, under heads that fit them.
fn made_up(input: &mut Input<'_>) -> Vec<u8> {
    let first = match input.byte() {
        0 => input.u64(),
        near => u64::from(near),
    };
    let mut manifest = treering_compactor::manifest::format::encode_header(&STORE_ID, first).to_vec();
    for frame in 0..input.below(FRAMES_MAX) + 1 {
        let at = manifest.len();
        manifest.extend_from_slice(b"TRed");
        manifest.resize(at + 32, 0);
        let sections = input.byte() % 9;
        for _ in 0..sections {
            let tag = u16::from(input.byte() % 9);
            let length = usize::from(input.byte());
            let content = input.bytes(length);
            manifest.extend_from_slice(&tag.to_le_bytes());
            manifest.extend_from_slice(&[0; 2]);
            manifest.extend_from_slice(&u32::try_from(content.len()).unwrap_or(0).to_le_bytes());
            manifest.extend_from_slice(content);
        }
        manifest.resize(manifest.len().next_multiple_of(8), 0);
        let body = u32::try_from(manifest.len() - at - 32).unwrap_or(0);
        manifest[at + 8..at + 16].copy_from_slice(&first.wrapping_add(frame as u64).to_le_bytes());
        manifest[at + 16..at + 20].copy_from_slice(&body.to_le_bytes());
        manifest[at + 20] = u8::from(frame == 0);
        manifest[at + 22] = sections;
    }
    mend::manifest(&mut manifest, &STORE_ID, false);
    manifest
}

fn load(bytes: &[u8]) {
    let mut directory = Directory::default();
    directory.file(MANIFEST).extend_from_slice(bytes);
    let storage = directory.storage();
    let loaded = Manifest::load(&storage, STORE_ID, Mode::ReadOnly);
    let verified = Manifest::verify(&*storage, STORE_ID);
    assert!(Directory::of(&*storage) == directory, "loading for reading changes a byte");
    assert_eq!(loaded.is_ok(), verified.is_ok(), "verification and loading disagree");
    let state = match loaded {
        Ok((mut manifest, state)) => {
            assert!(matches!(manifest.append(&Edit::default()), Err(Error::ReadOnly)));
            state
        }
        Err(error) => return refused(&error),
    };
    let (mut manifest, again) =
        Manifest::load(&storage, STORE_ID, Mode::Writing).expect("it has just loaded");
    assert_eq!(again, state, "loading for writing shows another state");
    match manifest.append(&Edit { clock_ms: Some(state.clock_ms), ..Edit::default() }) {
        Ok(sequence) => {
            assert_eq!(Some(sequence), state.sequence.checked_add(1));
            let (_, after) = Manifest::load(&storage, STORE_ID, Mode::ReadOnly).expect("an append loads");
            assert_eq!((after.sequence, &after.extents), (sequence, &state.extents));
            assert_eq!((&after.segments, &after.engine), (&state.segments, &state.engine));
        }
        Err(error) => assert!(state.sequence == u64::MAX, "a sound manifest takes no edit: {error}"),
    }
}

fn refused(error: &Error) {
    match error {
        Error::Damage(damage) => assert!(damage.file.to_string_lossy().ends_with(MANIFEST)),
        Error::NewerFormat { .. } | Error::ForeignStore { .. } => {}
        other => panic!("hostile bytes are damage, not {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mending_the_sample_changes_nothing_and_makes_a_changed_one_load() {
        let mut mended = SAMPLE.clone();
        mend::manifest(&mut mended, &STORE_ID, false);
        assert_eq!(mended, *SAMPLE);
        // The last byte of the newest engine section.
        let last = mended.iter().rposition(|byte| *byte != 0).expect("not empty");
        mended[last] ^= 1;
        let loads = |bytes: &[u8]| {
            let mut directory = Directory::default();
            directory.file(MANIFEST).extend_from_slice(bytes);
            Manifest::load(&directory.storage(), STORE_ID, Mode::ReadOnly).map(|(_, state)| state.sequence)
        };
        assert_eq!(loads(&mended).expect("a torn tail"), 4);
        mend::manifest(&mut mended, &STORE_ID, false);
        assert_eq!(loads(&mended).expect("mended"), 5);
    }
}
