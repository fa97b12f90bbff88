//! Where a log record's bytes lie in a directory: in pieces of log files, in the ring, or in both.

use treering_journal::{Lsn, Record, record::salt};

use crate::directory::Directory;

const BLOCK: usize = 4096;
const RING: &str = "ring";

/// Pieces of files, in order: name, offset, length.
type Pieces = Vec<(String, usize, usize)>;

/// Where a record's bytes lie, as often as they are there.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    copies: Vec<Pieces>,
}

fn field(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|field| field.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn gather(directory: &Directory, pieces: &Pieces) -> Vec<u8> {
    let piece = |(name, at, len): &(String, usize, usize)| {
        directory.files.get(name).and_then(|file| file.get(*at..at + len)).unwrap_or_default().to_vec()
    };
    pieces.iter().flat_map(piece).collect()
}

impl Placed {
    /// Finds the record of `len` bytes at `lsn`.
    pub(crate) fn find(directory: &Directory, store_id: &[u8; 16], lsn: Lsn, len: usize) -> Self {
        let copies = [in_log(directory, lsn, len), in_ring(directory, lsn, len)]
            .into_iter()
            .filter(|pieces| Record::decode(&gather(directory, pieces), lsn, salt(store_id)).is_some())
            .collect();
        Self { copies }
    }

    /// The record as it is now.
    pub(crate) fn read(&self, directory: &Directory) -> Vec<u8> {
        self.copies.first().map(|pieces| gather(directory, pieces)).unwrap_or_default()
    }

    /// Puts `record` into every copy, as far as there is room.
    pub(crate) fn write(&self, directory: &mut Directory, record: &[u8]) {
        for pieces in &self.copies {
            let mut rest = record;
            for (name, at, len) in pieces {
                let (now, later) = rest.split_at(rest.len().min(*len));
                if let Some(place) = directory.file(name).get_mut(*at..at + now.len()) {
                    place.copy_from_slice(now);
                }
                rest = later;
            }
        }
    }
}

fn in_log(directory: &Directory, lsn: Lsn, len: usize) -> Pieces {
    let mut pieces = Vec::new();
    let mut at = lsn;
    let end = lsn + len as u64;
    for (name, bytes) in directory.files.iter().filter(|(name, _)| name.starts_with("log-")) {
        let (first, length) = (field(bytes, 32), field(bytes, 40));
        if (first..first + length).contains(&at) {
            let piece = usize::try_from((first + length).min(end) - at).expect("small");
            pieces.push((name.clone(), BLOCK + usize::try_from(at - first).expect("small"), piece));
            at += piece as u64;
        }
    }
    pieces
}

fn in_ring(directory: &Directory, lsn: Lsn, len: usize) -> Pieces {
    let Some(ring) = directory.files.get(RING) else { return Vec::new() };
    let (capacity, base) = (ring.len() - BLOCK, field(ring, 40));
    if lsn < base {
        return Vec::new();
    }
    let start = usize::try_from((lsn - base) % capacity as u64).expect("small");
    let straight = len.min(capacity - start);
    let mut pieces = vec![(RING.to_owned(), BLOCK + start, straight)];
    pieces.extend((straight < len).then(|| (RING.to_owned(), BLOCK, len - straight)));
    pieces
}
