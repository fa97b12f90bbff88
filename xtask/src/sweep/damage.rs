//! The damage sweep: on small dense stores, every byte of every file flipped, zeroed and inverted, and every
//! sector zeroed, swapped with its neighbour, stale, and the file cut off there; one damage at a time.
//!
//! # What must hold
//! - **G1** A store reads as it did, or something says what is damaged, with file and offset. Never other bytes,
//!   never a key missing in silence, never a panic; be it through `verify`, an open for reading or one for writing.
//! - **G2** What `verify` calls whole opens and reads wholly.
//! - **G3** `verify` names the file that was damaged, and an offset at or before the end of the damage.
//! - **G4** `verify`, an open for reading and one that is refused change no byte. A store that was whole to `verify` is so after an open
//!   for writing and a close.
//! - **G5** The exception (RELIABILITY): after a kill, damage to the ring, or to the log from the last commit group
//!   on, may look like a torn tail: the store then reads as it did at one moment since that group began.

use std::collections::BTreeMap;
use std::path::Path;

use treering::segment::memory::MemoryStorage;
use treering::{Engine, Error, ErrorKind, Options, verify_in};

use super::dense::{Dense, Files, closed, environment_on, files_on, killed, open_on, ringless, storage_with};
use super::ledger::{Contents, Place, difference};
use super::workers::run_all;

/// Bytes of a sector.
const SECTOR: usize = 512;
/// Where stream bytes start in a log file.
const LOG_HEADER_BYTES: u64 = 4096;

/// One way of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    BitFlipped,
    ByteZeroed,
    ByteInverted,
    SectorZeroed,
    SectorsSwapped,
    /// The sector holds what it held in the generation of this number.
    SectorStale(usize),
    CutOff,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::BitFlipped => "bit flipped",
            Kind::ByteZeroed => "byte zeroed",
            Kind::ByteInverted => "byte inverted",
            Kind::SectorZeroed => "sector zeroed",
            Kind::SectorsSwapped => "sectors swapped",
            Kind::SectorStale(_) => "sector stale",
            Kind::CutOff => "cut off",
        }
    }
}

/// One damage.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    file: &'a str,
    at: usize,
    kind: Kind,
}

/// What a damage did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// None: the store is whole, and reads as before.
    Harmless,
    /// It was named.
    Named,
    /// It looks like a torn tail (G5).
    TornTail,
}

/// What the sweep of one store came to.
pub(super) struct Summary {
    pub(super) store: &'static str,
    pub(super) bytes: usize,
    /// By kind of file and of damage: harmless, named, torn tail.
    pub(super) counts: BTreeMap<(String, &'static str), [u64; 3]>,
    pub(super) violations: Vec<String>,
}

/// Sweeps the stores; every `byte_stride`-th byte and every `sector_stride`-th damage of a sector.
pub(super) fn sweep(byte_stride: usize, sector_stride: usize) -> Vec<Summary> {
    [closed(), killed(), ringless()]
        .iter()
        .map(|dense| sweep_store(dense, byte_stride, sector_stride))
        .collect()
}

fn sweep_store(dense: &Dense, byte_stride: usize, sector_stride: usize) -> Summary {
    let mut summary =
        Summary { store: dense.name, bytes: dense.bytes(), counts: BTreeMap::new(), violations: Vec::new() };
    let sound = storage_with(&dense.files);
    let report = verify_in(environment_on(&sound), Options::new());
    if !report.as_ref().is_ok_and(|report| report.is_clean()) {
        summary.violations.push(format!("{}: not sound before it is damaged: {report:?}", dense.name));
        return summary;
    }
    let mut cases = Vec::new();
    for (file, bytes) in dense.files.iter().filter(|(file, _)| file.starts_with(dense.swept)) {
        for at in (0..bytes.len()).step_by(byte_stride) {
            for kind in [Kind::BitFlipped, Kind::ByteZeroed, Kind::ByteInverted] {
                cases.push(Case { file, at, kind });
            }
        }
        let mut of_sectors = Vec::new();
        for at in (0..bytes.len()).step_by(SECTOR) {
            let stale = (0..dense.generations.len()).map(Kind::SectorStale);
            let kinds = [Kind::SectorZeroed, Kind::SectorsSwapped, Kind::CutOff].into_iter().chain(stale);
            of_sectors.extend(kinds.map(|kind| Case { file, at, kind }));
        }
        cases.extend(of_sectors.into_iter().step_by(sector_stride));
    }
    let label = |index: usize| {
        let Case { file, at, kind } = cases[index];
        format!("{} store, {file} at {at}, {}", dense.name, kind.label())
    };
    let outcomes = run_all(cases.len(), label, |index| {
        let effect = check(dense, cases[index])?;
        Ok(effect.map(|effect| (index, effect)))
    });
    for outcome in outcomes {
        match outcome {
            Ok(Some((index, effect))) => {
                let Case { file, kind, .. } = cases[index];
                let family = file.split('-').next().unwrap_or(file).to_owned();
                summary.counts.entry((family, kind.label())).or_default()[effect as usize] += 1;
            }
            Ok(None) => {}
            Err(what) => summary.violations.push(what),
        }
    }
    summary.violations.sort();
    summary
}

/// The bytes of the file with the damage, if it changes any, and where the damage ends.
fn damaged(dense: &Dense, case: Case<'_>) -> Option<(Vec<u8>, usize)> {
    let sound = &dense.files[case.file];
    let mut bytes = sound.clone();
    let end = (case.at + SECTOR).min(bytes.len());
    let end = match case.kind {
        Kind::BitFlipped => {
            bytes[case.at] ^= 1 << (case.at % 8);
            case.at + 1
        }
        Kind::ByteZeroed => {
            bytes[case.at] = 0;
            case.at + 1
        }
        Kind::ByteInverted => {
            bytes[case.at] = !bytes[case.at];
            case.at + 1
        }
        Kind::SectorZeroed => {
            bytes[case.at..end].fill(0);
            end
        }
        Kind::SectorsSwapped => {
            let next_end = end + SECTOR;
            if next_end > bytes.len() {
                return None;
            }
            let (left, right) = bytes[case.at..next_end].split_at_mut(SECTOR);
            left.swap_with_slice(right);
            next_end
        }
        Kind::SectorStale(generation) => {
            let older = &dense.generations[..generation];
            let stale = |files: &Files| {
                files.get(case.file).and_then(|old| old.get(case.at..end).map(<[u8]>::to_vec))
            };
            let was = stale(&dense.generations[generation])?;
            if older.iter().any(|files| stale(files).as_ref() == Some(&was)) {
                return None;
            }
            bytes[case.at..end].copy_from_slice(&was);
            end
        }
        Kind::CutOff => {
            bytes.truncate(case.at);
            sound.len()
        }
    };
    (bytes != *sound).then_some((bytes, end))
}

/// G1 to G5 for one damage; `None` if it changes nothing.
fn check(dense: &Dense, case: Case<'_>) -> Result<Option<Effect>, String> {
    let Some((bytes, end)) = damaged(dense, case) else { return Ok(None) };
    let mut files = dense.files.clone();
    files.insert(case.file.to_owned(), bytes);
    let storage = storage_with(&files);
    let by_sector = !matches!(case.kind, Kind::BitFlipped | Kind::ByteZeroed | Kind::ByteInverted);
    let torn_allowed = may_look_torn(dense, case.file, end);
    let whole = verify(&storage, case.file, end)?;
    let allowed = if torn_allowed { &dense.allowed[..] } else { &dense.allowed[dense.allowed.len() - 1..] };
    let for_reading =
        read_through(&storage, true, allowed).map_err(|what| format!("open for reading: {what}"))?;
    if by_sector && files_on(&storage) != files {
        return Err("verify or an open for reading changed a byte".into());
    }
    let for_writing =
        read_through(&storage, false, allowed).map_err(|what| format!("open for writing: {what}"))?;
    if by_sector && matches!(for_writing, Reading::Refused) && files_on(&storage) != files {
        return Err("an open for writing was refused, and changed a byte".into());
    }
    if !whole {
        return Ok(Some(Effect::Named));
    }
    let (Reading::Whole(contents), Reading::Whole(again)) = (for_reading, for_writing) else {
        return Err("verify calls the store whole, and it does not read wholly".into());
    };
    if contents != again {
        return Err(format!("two opens read differently: {}", difference(&again, &contents)));
    }
    if by_sector && !verify(&storage, case.file, usize::MAX)? {
        return Err("whole before an open for writing, and not after it".into());
    }
    Ok(Some(if contents == *dense.contents() { Effect::Harmless } else { Effect::TornTail }))
}

/// Whether damage that ends at `end` of `file` reaches the last commit group (G5).
fn may_look_torn(dense: &Dense, file: &str, end: usize) -> bool {
    let Some(group) = dense.last_group else { return false };
    if file == "ring" {
        return true;
    }
    let first = file.strip_prefix("log-").and_then(|lsn| u64::from_str_radix(lsn, 16).ok());
    first.is_some_and(|first| first + end as u64 > group + LOG_HEADER_BYTES)
}

/// Whether `verify` calls the store whole; if not, that it names the damage (G3).
fn verify(storage: &MemoryStorage, file: &str, end: usize) -> Result<bool, String> {
    let names = |found: &Path, offset: u64| found.to_string_lossy().ends_with(file) && offset <= end as u64;
    match verify_in(environment_on(storage), Options::new()) {
        Ok(report) if report.is_clean() => Ok(true),
        Ok(report) if report.damages.iter().any(|damage| names(&damage.file, damage.offset)) => Ok(false),
        Ok(report) => {
            let named: Vec<String> = report
                .damages
                .iter()
                .map(|d| format!("{} at {}: {}", d.file.display(), d.offset, d.what))
                .collect();
            Err(format!("verify names other places: {}", named.join(", ")))
        }
        Err(error) => {
            typed(&error)?;
            let named = error.path().is_some_and(|path| names(path, error.offset().unwrap_or(0)));
            if named { Ok(false) } else { Err(format!("verify names another place: {error}")) }
        }
    }
}

/// G1 for an error: it says what is damaged, and where.
fn typed(error: &Error) -> Result<(), String> {
    let sound = match error.kind() {
        ErrorKind::Damage => error.path().is_some() && error.offset().is_some(),
        ErrorKind::NewerFormat => error.path().is_some(),
        _ => false,
    };
    if sound { Ok(()) } else { Err(format!("an error of kind {:?} without a place: {error}", error.kind())) }
}

/// What reading through an open came to.
enum Reading {
    /// The open named the damage.
    Refused,
    /// Something else named it.
    Named,
    /// Everything was read.
    Whole(Contents),
}

/// Opens and reads, by scans and by keys; all answers must be those of one of the `allowed` contents.
fn read_through(storage: &MemoryStorage, read_only: bool, allowed: &[Contents]) -> Result<Reading, String> {
    let engine = match open_on(storage, read_only) {
        Ok(engine) => engine,
        Err(error) => return typed(&error).map(|()| Reading::Refused),
    };
    let newest = allowed.last().expect("the newest is there");
    let outcome = scan(&engine).and_then(|scanned| {
        let answers = newest.keys().map(|place| Ok((place, get(&engine, place)?)));
        let answers: Vec<(&Place, Option<Option<Vec<u8>>>)> = answers.collect::<Result<_, String>>()?;
        judge(scanned, &answers, allowed)
    });
    if read_only || !matches!(outcome, Ok(Reading::Whole(_))) {
        engine.abandon();
    } else {
        engine.close().map_err(|error| format!("a whole store does not close: {error}"))?;
    }
    outcome
}

/// The entries of a scan, and whether it came to its end.
struct Scanned {
    entries: Contents,
    to_the_end: bool,
}

/// Scans all trees up to the first error of each.
fn scan(engine: &Engine) -> Result<Scanned, String> {
    let mut scanned = Scanned { entries: Contents::new(), to_the_end: true };
    let names = match engine.trees() {
        Ok(names) => names,
        Err(error) => {
            typed(&error)?;
            scanned.to_the_end = false;
            return Ok(scanned);
        }
    };
    for name in names {
        let tree = match engine.tree(&name) {
            Ok(Some(tree)) => tree,
            Ok(None) => return Err(format!("tree {name} is listed, and not there")),
            Err(error) => {
                typed(&error)?;
                scanned.to_the_end = false;
                continue;
            }
        };
        if name != treering::DEFAULT_TREE_NAME {
            scanned.entries.insert((name.clone(), None), Vec::new());
        }
        for entry in tree.prefix("") {
            match entry {
                Ok(entry) => {
                    scanned.entries.insert((name.clone(), Some(entry.key.to_vec())), entry.value.to_vec());
                }
                Err(error) => {
                    typed(&error)?;
                    scanned.to_the_end = false;
                    break;
                }
            }
        }
    }
    Ok(scanned)
}

/// What a read of one key answers; `None` if it named damage.
fn get(engine: &Engine, (tree, key): &Place) -> Result<Option<Option<Vec<u8>>>, String> {
    let tree = match engine.tree(tree) {
        Ok(Some(tree)) => tree,
        Ok(None) => return Ok(Some(None)),
        Err(error) => return typed(&error).map(|()| None),
    };
    let Some(key) = key else { return Ok(Some(Some(Vec::new()))) };
    match tree.get(key) {
        Ok(value) => Ok(Some(value.map(|value| value.to_vec()))),
        Err(error) => typed(&error).map(|()| None),
    }
}

fn judge(
    scanned: Scanned,
    answers: &[(&Place, Option<Option<Vec<u8>>>)],
    allowed: &[Contents],
) -> Result<Reading, String> {
    let fits = |contents: &&Contents| {
        let scans = if scanned.to_the_end {
            scanned.entries == **contents
        } else {
            scanned.entries.iter().all(|(place, value)| contents.get(place) == Some(value))
        };
        let answer_fits = |(place, answer): &(&Place, Option<Option<Vec<u8>>>)| {
            answer.as_ref().is_none_or(|answer| answer.as_ref() == contents.get(*place))
        };
        scans && answers.iter().all(answer_fits)
    };
    if !allowed.iter().any(|contents| fits(&contents)) {
        let newest = allowed.last().expect("the newest is there");
        return Err(format!("other contents and no error: {}", difference(&scanned.entries, newest)));
    }
    let all_answered = answers.iter().all(|(_, answer)| answer.is_some());
    Ok(if scanned.to_the_end && all_answered { Reading::Whole(scanned.entries) } else { Reading::Named })
}
