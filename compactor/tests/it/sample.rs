//! Edits and stores for the other tests.

use std::sync::Arc;

use bytes::Bytes;
use treering_compactor::manifest::{
    DetachedChange, DetachedRoot, Edit, Extent, ExtentChange, ExtentKind, Manifest, NEVER, Pin, PinChange,
    SegmentChange, SegmentMeta,
};
use treering_segment::storage::Storage;
use treering_sim::SimDisk;

pub(crate) const STORE: [u8; 16] = *b"sixteen byte id!";

pub(crate) fn storage(disk: &SimDisk) -> Arc<dyn Storage> {
    Arc::new(disk.clone())
}

pub(crate) fn base(frame: u64, offset: u64) -> ExtentChange {
    let extent = Extent { kind: ExtentKind::Base, offset, length: 4096, epoch: 3, checksum: 0xfeed_beef };
    ExtentChange::Set { frame, extent }
}

pub(crate) fn delta(frame: u64, order: u16, offset: u64) -> ExtentChange {
    let extent =
        Extent { kind: ExtentKind::Delta(order), offset, length: 256, epoch: 4, checksum: 0x1234_5678 };
    ExtentChange::Set { frame, extent }
}

pub(crate) fn segment(id: u64) -> SegmentMeta {
    SegmentMeta {
        id,
        file_bytes: 9000,
        records: 10,
        value_bytes: 8000,
        live_records: 9,
        live_bytes: 7000,
        cohort: 77,
        min_death: 123_456,
        max_death: NEVER,
        root: [0xab; 32],
    }
}

/// An edit with every section and every kind of change but removals.
pub(crate) fn rich() -> Edit {
    Edit {
        epoch: Some(5),
        extents: vec![base(1, 0), base(2, 4096), delta(1, 1, 8192), delta(1, 2, 8448)],
        segments: vec![
            SegmentChange::Add(segment(7)),
            SegmentChange::Add(segment(8)),
            SegmentChange::Live { id: 7, live_records: 4, live_bytes: 44 },
        ],
        pins: vec![PinChange::Add(Pin { id: 1, name: Bytes::from_static(b"nightly\0\xff"), epoch: 5 })],
        detached: vec![DetachedChange::Add(DetachedRoot { frame: 2, entry: 3, epoch: 4 })],
        clock_ms: Some(1_700_000_000_000),
        engine: Some(Bytes::from_static(b"the engine's own")),
    }
}

/// An edit that takes back most of what [`rich`] says.
pub(crate) fn removals() -> Edit {
    Edit {
        epoch: Some(6),
        extents: vec![ExtentChange::Remove { frame: 1 }],
        segments: vec![SegmentChange::Remove { id: 8 }],
        pins: vec![PinChange::Remove { id: 1 }],
        detached: vec![DetachedChange::Remove { frame: 2, entry: 3 }],
        ..Edit::default()
    }
}

/// A step of a long run: its own mark in the engine's bytes, and a little elsewhere.
pub(crate) fn step(number: u64, engine_bytes: usize) -> Edit {
    let mut engine = vec![u8::try_from(number % 251).unwrap(); engine_bytes];
    engine[..8].copy_from_slice(&number.to_le_bytes());
    Edit {
        epoch: Some(number),
        extents: vec![base(number % 5, number * 4096)],
        segments: vec![SegmentChange::Add(segment(number))],
        clock_ms: Some(number * 10),
        engine: Some(engine.into()),
        ..Edit::default()
    }
}

/// A manifest with an edit of every kind, not sealed.
pub(crate) fn written() -> (SimDisk, Manifest) {
    let disk = SimDisk::new(1);
    let mut manifest = Manifest::create(&storage(&disk), STORE, &rich()).unwrap();
    manifest.append(&removals()).unwrap();
    manifest.append(&step(9, 20)).unwrap();
    (disk, manifest)
}
