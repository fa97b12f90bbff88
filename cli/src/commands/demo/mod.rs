//! `demo`: the tour, on a real directory tree, in a temporary directory of its own. Acts: index the tree;
//! list a directory and compare with a full scan; kill a writing child again and again and look for every
//! line it acknowledged; verify. Each act checks what it shows, and the first check that fails ends the
//! demo with an error.
//!
//! Nothing stays behind: the directory goes with its guard, each child with its own, and SIGINT, SIGTERM
//! and SIGHUP are taken note of and end the demo by the same way.

mod kills;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use treering::{Engine, ListOptions, Listed, Options, Tree};

use super::index::{Indexed, Indexing, bytes_on_disk, progress_over};
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::text::json_bytes;
use crate::walk;

/// Listings of the same directory, of which the fastest counts.
const LISTINGS: usize = 50;

/// Arguments of `demo`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The directory tree to show it on; it is only read
    #[arg(value_name = "PATH", default_value = "/usr")]
    path: PathBuf,
    /// How many times the writing child is killed
    #[arg(long, value_name = "N", default_value_t = 20, hide = true)]
    rounds: u32,
    /// Where the temporary directory is made
    #[arg(long, value_name = "DIR", hide = true)]
    home: Option<PathBuf>,
}

/// Runs `demo`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let began = Instant::now();
    let interrupts = Interrupts::watch()?;
    let mut place = tempfile::Builder::new();
    place.prefix("treering-demo-");
    let home = match &arguments.home {
        Some(parent) => place.tempdir_in(parent),
        None => place.tempdir(),
    };
    let home = home.map_err(|error| Failure::io("make a temporary directory", error))?;
    let played = play(session, arguments, home.path(), &interrupts);
    let removed = home.close().map_err(|error| Failure::io("remove the temporary directory", error));
    played?;
    removed?;
    let seconds = began.elapsed().as_secs_f64();
    act(
        session,
        "done",
        &format!("{seconds:.1} s; everything lay in a temporary directory, which is removed"),
        &[("seconds", json!(seconds))],
    )
}

fn play(session: &Session, arguments: &Arguments, home: &Path, interrupts: &Interrupts) -> Outcome {
    let (indexed, killed) = (home.join("index"), home.join("kills"));
    index(session, &arguments.path, &indexed, interrupts)?;
    list(session, &arguments.path, &indexed)?;
    kills::play(session, &killed, arguments.rounds, interrupts)?;
    verify(session, &[&indexed, &killed])
}

/// The signals that ask a process to end, as a flag that the acts look at.
pub(crate) struct Interrupts(Arc<AtomicBool>);

impl Interrupts {
    fn watch() -> Outcome<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            let registered = signal_hook::flag::register(signal, Arc::clone(&flag));
            registered.map_err(|error| Failure::io("watch for signals", error))?;
        }
        Ok(Self(flag))
    }

    /// An error once a signal has come. Relaxed: the flag carries nothing but itself.
    fn check(&self) -> Outcome {
        match self.0.load(Ordering::Relaxed) {
            true => Err(Failure::Interrupted),
            false => Ok(()),
        }
    }

    /// Sleeps, but not beyond a signal by more than a moment.
    fn sleep(&self, time: Duration) -> Outcome {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// One line of the tour, printed at once.
fn act(session: &Session, name: &str, sentence: &str, fields: &[(&str, Value)]) -> Outcome {
    let mut output = session.output();
    if session.json {
        let mut all = vec![("act", json!(name))];
        all.extend_from_slice(fields);
        output.object(&all)?;
    } else {
        output.line(&format!("{name:<8} {sentence}"))?;
    }
    output.finish()
}

fn index(session: &Session, path: &Path, store: &Path, interrupts: &Interrupts) -> Outcome {
    let began = Instant::now();
    let engine = Engine::open(store, session.options())?;
    let bar = progress_over(std::slice::from_ref(&path.to_path_buf()));
    let mut done = Indexed::default();
    let tree = engine.default_tree();
    let skip = store.parent().and_then(walk::identity);
    Indexing { tree: &tree, follow: false, skip, bar: &bar, may_go_on: &|| interrupts.check() }
        .path(path, &mut done)?;
    bar.finish_and_clear();
    engine.close()?;
    let (seconds, on_disk) = (began.elapsed().as_secs_f64(), bytes_on_disk(store)?);
    let sentence = format!(
        "{} paths of {} in {seconds:.2} s, {} on disk",
        HumanCount(done.entries),
        path.display(),
        HumanBytes(on_disk)
    );
    let fields =
        [("entries", json!(done.entries)), ("seconds", json!(seconds)), ("bytes_on_disk", json!(on_disk))];
    act(session, "index", &sentence, &fields)
}

fn list(session: &Session, path: &Path, store: &Path) -> Outcome {
    let engine = session.open_to_read(store)?;
    let tree = engine.default_tree();
    let is_directory = walk::root_is_directory(path)
        .map_err(|error| Failure::io(format!("read {}", path.display()), error))?;
    let prefix = walk::key_of(path, is_directory);
    let began = Instant::now();
    let (scanned, keys) = roll_up(&tree, &prefix)?;
    let scan = began.elapsed();
    let mut listing = Duration::MAX;
    for _ in 0..LISTINGS {
        let began = Instant::now();
        let listed = list_whole(&tree, &prefix)?;
        listing = listing.min(began.elapsed());
        if listed != scanned {
            return Err(Failure::Damaged("the listing is not what the scan gives".to_string()));
        }
    }
    let faster = scan.as_secs_f64() / listing.as_secs_f64().max(1e-9);
    let sentence = format!(
        "{} entries of {} in {listing:.1?}; a scan of the {} keys below takes {scan:.1?}, {faster:.0} times as long, and gives the same",
        HumanCount(scanned.len() as u64),
        path.display(),
        HumanCount(keys),
    );
    let fields = [
        ("prefix", json_bytes(&prefix)),
        ("entries", json!(scanned.len())),
        ("keys_below", json!(keys)),
        ("listing_seconds", json!(listing.as_secs_f64())),
        ("scan_seconds", json!(scan.as_secs_f64())),
    ];
    act(session, "list", &sentence, &fields)
}

/// The names right below `prefix`, by pages of the engine's listing.
fn list_whole(tree: &Tree, prefix: &[u8]) -> Outcome<Vec<Vec<u8>>> {
    let mut options =
        ListOptions { prefix: prefix.to_vec(), delimiter: Some(b'/'), ..ListOptions::default() };
    let mut names = Vec::new();
    loop {
        let page = tree.list(&options)?;
        names.extend(page.entries.into_iter().map(|listed| match listed {
            Listed::Key { key, .. } => key.to_vec(),
            Listed::Prefix(prefix) => prefix,
        }));
        options.token = page.next_token;
        if options.token.is_none() {
            return Ok(names);
        }
    }
}

/// The same names from a plain scan of all keys below, and how many keys that were.
fn roll_up(tree: &Tree, prefix: &[u8]) -> Outcome<(Vec<Vec<u8>>, u64)> {
    let (mut names, mut keys) = (Vec::<Vec<u8>>::new(), 0);
    for entry in tree.prefix(prefix).keys_only() {
        let key = entry?.key;
        keys += 1;
        let rest = &key[prefix.len()..];
        let end = rest.iter().position(|byte| *byte == b'/').map_or(key.len(), |at| prefix.len() + at + 1);
        if names.last().is_none_or(|last| last[..] != key[..end]) {
            names.push(key[..end].to_vec());
        }
    }
    Ok((names, keys))
}

fn verify(session: &Session, stores: &[&Path]) -> Outcome {
    let began = Instant::now();
    for store in stores {
        let report = treering::verify(store, Options::new())?;
        if let Some(damage) = report.damages.first() {
            let (file, offset) = (damage.file.display(), damage.offset);
            return Err(Failure::Damaged(format!("{file} is damaged at byte {offset}: {}", damage.what)));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let sentence = format!("both stores are clean, every byte read, in {seconds:.2} s");
    act(session, "verify", &sentence, &[("damages", json!(0)), ("seconds", json!(seconds))])
}
