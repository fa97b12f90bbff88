//! What a store shows, read through its public interface, and whether its files add up.

use std::ops::Bound;

use treering::segment::storage::{Access, Storage};
use treering::{DEFAULT_TREE_NAME, Engine, Error, Tree};
use treering_sim::SimDisk;

use super::model::{Seen, Snapshot};
use super::script::{TREES, TreeNumber};

/// The name of a tree.
pub(crate) fn tree_name(number: TreeNumber) -> String {
    if number == 0 { DEFAULT_TREE_NAME.to_owned() } else { format!("tree-{number}") }
}

/// Reads everything.
pub(crate) fn snapshot(engine: &Engine) -> Result<Snapshot, Error> {
    let names = engine.trees()?;
    let mut seen = Snapshot::default();
    for number in (0..=TREES).filter(|number| names.contains(&tree_name(*number))) {
        seen.trees.insert(number);
        let Some(tree) = engine.tree(&tree_name(number))? else { continue };
        for entry in tree.range(Bound::Unbounded, Bound::Unbounded) {
            let entry = entry?;
            let record = Seen { value: entry.value, version: entry.version, dies_ms: entry.expires_at_ms };
            seen.records.insert((number, entry.key.to_vec()), record);
        }
    }
    Ok(seen)
}

/// Reads one record.
pub(crate) fn read(tree: &Tree, key: &[u8]) -> Result<Option<Seen>, Error> {
    let entry = tree.entry(key)?;
    Ok(entry.map(|e| Seen { value: e.value, version: e.version, dies_ms: e.expires_at_ms }))
}

/// Checks, right after a writing open, that every file is known and every byte counted.
pub(crate) fn check_space(engine: &Engine, disk: &SimDisk, live_frame_bytes: u64) -> Result<(), String> {
    let stats = engine.stats().map_err(|error| format!("statistics: {error}"))?;
    let (frames, free) = (stats.frames_file_bytes, stats.frames_file_free_bytes);
    let length = disk.open("frames", Access::Read).and_then(|file| file.len());
    let length = length.map_err(|failure| failure.to_string())?;
    if frames != length || live_frame_bytes + free != frames {
        return Err(format!(
            "of the {length} bytes of frames, extents take {live_frame_bytes} and {free} are free of {frames}"
        ));
    }
    let names = disk.list().map_err(|failure| failure.to_string())?;
    let count = |start: &str| names.iter().filter(|name| name.starts_with(start)).count() as u64;
    if count("segment-") != stats.segments {
        return Err(format!(
            "{} segment files for {} segments: {names:?}",
            count("segment-"),
            stats.segments
        ));
    }
    if count("spare-") > 2 {
        return Err(format!("more than two spare log files: {names:?}"));
    }
    let mut bytes = 0;
    for name in names.iter().filter(|name| *name != "LOCK") {
        let length = disk.open(name, Access::Read).and_then(|file| file.len());
        bytes += length.map_err(|failure| failure.to_string())?;
        let known = ["STORE", "MANIFEST", "ring", "frames"].contains(&name.as_str())
            || ["segment-", "spare-", "log-"].iter().any(|start| name.starts_with(start));
        if !known {
            return Err(format!("{name} is left over"));
        }
    }
    if bytes != stats.disk_bytes {
        return Err(format!("the files have {bytes} bytes, the store counts {}", stats.disk_bytes));
    }
    Ok(())
}
