//! A full disk: a small ext4 in a file, mounted through a loop device and filled to the last byte, once by
//! the command and once by an engine in this process. Where loop devices may not be mounted it says so
//! and proves nothing. It is *not* a sweep over every operation that may lack space (that is `sweep`'s).
//!
//! # What must hold
//! - E1 Writing ends in a clear error (exit code 5 of the command), every acknowledged line is there, and
//!   the store verifies.
//! - E2 On the full disk reads go on, and so do deletes, by the process that met the lack and by new ones.
//! - E3 With space freed writing goes on, in the same process and in new ones; nothing was poisoned.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use treering::{Engine, ErrorKind, Options};

use crate::context::Outcome;
use crate::crash::child::{Death, End, Program};
use crate::crash::life::{read, size_flags};
use crate::crash::model::{Contents, Key, Told, check_load, check_untouched};
use crate::crash::script::{Line, Shape};

const MIB: u64 = 1 << 20;
/// Keys deleted on the full disk, each by a process of its own.
const DELETES: usize = 12;
/// Most lines that are tried: far more than the disk holds.
const LINES_MAX: u64 = 1_000_000;

/// Fills stores of small and of default sizes.
pub(crate) fn run(program: &Program, home: &Path) -> Outcome {
    let mut outcome = Outcome::Passed;
    for (small, mib) in [(true, 64), (false, 320)] {
        outcome = outcome.and(on_small_disk(home, mib * MIB, |disk| {
            by_command(program, disk, small)?;
            by_engine(disk, small)
        }));
    }
    outcome
}

/// A mounted file system; unmounted and removed on drop.
struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be undone here stays for whoever runs this; there is nobody to tell.
        let _ = quiet(Command::new("umount").arg(&self.mounted_at));
        let _ = fs::remove_file(&self.image);
    }
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn on_small_disk(home: &Path, bytes: u64, work: impl FnOnce(&Path) -> Result<(), String>) -> Outcome {
    let disk = Disk { image: home.join("disk.image"), mounted_at: home.join("disk") };
    if let Err(why) = mount(&disk, bytes) {
        return Outcome::Missing(format!("a loop-mounted ext4, so the full disk was not tried ({why})"));
    }
    match work(&disk.mounted_at) {
        Ok(()) => {
            println!("a disk of {} MiB filled, by the command and by an engine: passed", bytes / MIB);
            Outcome::Passed
        }
        Err(why) => Outcome::Failed(format!("on a full disk of {} MiB: {why}", bytes / MIB)),
    }
}

fn mount(disk: &Disk, bytes: u64) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    // One that was killed leaves its disk mounted.
    let _ = quiet(Command::new("umount").arg(&disk.mounted_at));
    fs::create_dir_all(&disk.mounted_at).map_err(text)?;
    fs::File::create(&disk.image).and_then(|file| file.set_len(bytes)).map_err(text)?;
    quiet(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&disk.image))?;
    quiet(Command::new("mount").args(["-o", "loop"]).arg(&disk.image).arg(&disk.mounted_at))
}

/// What is deleted to free space.
fn ballast(disk: &Path) -> Result<PathBuf, String> {
    let path = disk.join("ballast");
    let bytes = vec![7_u8; usize::try_from(16 * MIB).unwrap_or(0)];
    fs::write(&path, bytes).map_err(|error| format!("cannot write the ballast: {error}"))?;
    Ok(path)
}

fn remove(path: &Path) -> Result<(), String> {
    fs::remove_file(path).map_err(|error| format!("cannot remove {}: {error}", path.display()))
}

fn told(round: u64, submitted: u64) -> Told {
    Told {
        tree: String::new(),
        round,
        shape: Shape { large_bytes: 40_000 },
        submitted,
        acknowledged: BTreeSet::new(),
        threads: 2,
        batch: 1,
    }
}

/// E1 to E3 with processes.
fn by_command(program: &Program, disk: &Path, small: bool) -> Result<(), String> {
    let (store, ballast) = (disk.join("store"), ballast(disk)?);
    let mut filling = told(1, LINES_MAX);
    let (end, said) = program.load(&store, &size_flags(small), &mut filling, &Death::None)?;
    let acknowledged = filling.acknowledged.len();
    if end != End::Exited(5) || !said.to_lowercase().contains("space") || acknowledged < 100 {
        return Err(format!("E1: the load ended with {end:?} after {acknowledged} lines: {said}"));
    }
    println!("  {acknowledged} lines until: {}", said.trim());
    let (mut contents, _) = read(&store).map_err(|why| format!("E1: {why}"))?;
    check_load(&Contents::new(), &filling, &contents).map_err(|why| format!("E1: {why}"))?;
    let keys: Vec<Key> = contents.keys().take(DELETES).cloned().collect();
    for key in keys {
        let command = |verb: &str| -> Vec<OsString> { vec![verb.into(), (&store).into(), (&key.1).into()] };
        for verb in ["get", "del"] {
            let (end, said) = program.run(&command(verb), &Death::None)?;
            if end != End::Exited(0) {
                return Err(format!("E2: {verb} {key:?} ended with {end:?}: {:.300}", said));
            }
        }
        contents.remove(&key);
        let (found, _) = read(&store).map_err(|why| format!("E2: {why}"))?;
        check_untouched(&contents, &found, |_| false).map_err(|why| format!("E2: {why}"))?;
    }
    remove(&ballast)?;
    let mut more = told(2, 1_000);
    let (end, said) = program.load(&store, &size_flags(small), &mut more, &Death::None)?;
    if end != End::Exited(0) || more.acknowledged.len() != 1_000 {
        return Err(format!("E3: {} lines, then {end:?}: {said}", more.acknowledged.len()));
    }
    let (found, _) = read(&store).map_err(|why| format!("E3: {why}"))?;
    check_load(&contents, &more, &found).map_err(|why| format!("E3: {why}"))?;
    fs::remove_dir_all(&store).map_err(|error| format!("cannot remove the store: {error}"))
}

/// E1 to E3 within one process that stays.
fn by_engine(disk: &Path, small: bool) -> Result<(), String> {
    let (store, ballast) = (disk.join("store"), ballast(disk)?);
    let mut options = Options::new().log_cap_bytes(if small { 512 << 10 } else { 4 << 20 });
    if small {
        options = options.frame_bytes(4096).ring_bytes(64 << 10).log_segment_bytes(64 << 10);
    }
    let text = |rule: &'static str| move |error: treering::Error| format!("{rule}, in one process: {error}");
    let engine = Engine::open(&store, options).map_err(text("E1"))?;
    let tree = engine.default_tree();
    let line = |number| Line { round: 1, number };
    // Every line its own key, so that the count says what must be there.
    let key = |number: u64| format!("{:02}/{number:07}", number % 50);
    let shape = Shape { large_bytes: 0 };
    let value = |number| line(number).value(shape);
    let mut last = 0;
    let error = loop {
        match tree.put(key(last + 1), value(last + 1)) {
            Ok(_) => last += 1,
            Err(error) => break error,
        }
    };
    if error.kind() != ErrorKind::Full || last < 100 {
        return Err(format!("E1: put {} failed as {:?}: {error}", last + 1, error.kind()));
    }
    println!("  {last} puts until: {error}");
    let holds = |rule: &'static str, from: u64, to: u64| -> Result<(), String> {
        for number in from..=to {
            let found = tree.get(key(number)).map_err(text(rule))?;
            if found.as_deref() != Some(value(number).as_bytes()) {
                return Err(format!("{rule}: line {number} of {to} is not there whole"));
            }
        }
        Ok(())
    };
    holds("E2", 1, last)?;
    for number in 1..=50 {
        if !tree.delete(key(number)).map_err(text("E2"))? {
            return Err(format!("E2: line {number} was not there to delete"));
        }
    }
    holds("E2", 51, last)?;
    remove(&ballast)?;
    for number in last + 1..=last + 1_000 {
        tree.put(key(number), value(number)).map_err(text("E3"))?;
    }
    engine.close().map_err(text("E3"))?;
    drop((engine, tree));
    let (contents, _) = read(&store).map_err(|why| format!("E3: {why}"))?;
    if contents.len() as u64 != last + 950 {
        return Err(format!("E3: {} records after the reopening, not {}", contents.len(), last + 950));
    }
    fs::remove_dir_all(&store).map_err(|error| format!("cannot remove the store: {error}"))
}
