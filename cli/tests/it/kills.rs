//! Rounds of `load --ack` ended by SIGKILL at random moments, over 1 to 4 threads and both durabilities,
//! with values of 5 to 5,000 bytes, all on one store.
//!
//! Each round writes lines of keys of its own, and lines that overwrite a few keys again and again. After
//! the kill: every acknowledged line is there; every line that is there is whole; an overwritten key holds
//! its last acknowledged line or a later one; `verify` is clean. `TREERING_KILL_ROUNDS` sets the number of
//! rounds (a short form by default) and `TREERING_KILL_SEED` the moments and sizes, as far as they are ours.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use treering::{Engine, Options, Tree};

use crate::harness::{Guarded, Home, command};
use crate::run;

/// Every so manyth line overwrites.
const HOT_EVERY: u64 = 4;
const HOT_KEYS: u64 = 10;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn key(round: u64, number: u64) -> String {
    match number % HOT_EVERY {
        0 => format!("hot/{}", number / HOT_EVERY % HOT_KEYS),
        _ => format!("round/{round:05}/{:02}/{number:010}", number % 37),
    }
}

/// The value tells which line it is, and all its bytes follow from that.
fn value(round: u64, number: u64) -> String {
    let mut random = Rng::with_seed(round << 32 ^ number);
    let longest = [40, 300, 1500, 5000][random.usize(..4)];
    let length = random.usize(5..=longest);
    let mut value = format!("{round}:{number}:");
    while value.len() < length {
        value.push(random.alphanumeric());
    }
    value
}

/// The line that a value tells; fails unless it is whole.
#[track_caller]
fn line_of(found: &[u8]) -> (u64, u64) {
    let text = std::str::from_utf8(found).unwrap();
    let mut parts = text.splitn(3, ':').map(str::parse);
    let (Some(Ok(round)), Some(Ok(number))) = (parts.next(), parts.next()) else {
        panic!("not a value of ours: {text:.60}");
    };
    assert_eq!(text, value(round, number), "line {number} of round {round} is not whole");
    (round, number)
}

/// One round: the numbers of the acknowledged lines, in the order of their acknowledgement.
fn kill_one(store: &Path, round: u64, random: &mut Rng) -> Vec<u64> {
    let mut load = command();
    load.args(["load", "--ack", "--threads", &(1 + round % 4).to_string()]).arg(store);
    if round / 4 % 2 == 1 {
        load.arg("--sync");
    }
    load.args(["--log-cap-bytes", "1048576"]);
    load.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guarded(load.spawn().unwrap());
    let mut input = child.0.stdin.take().unwrap();
    let output = child.0.stdout.take().unwrap();
    // By lines rather than by time, so that slow machines see kills in the thick of it too; a short wait
    // on top lands between the lines.
    let lines_before = if round % 9 == 8 { 0 } else { random.usize(1..400) };
    let wait = Duration::from_micros(random.u64(..20_000));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let line = |number| format!("{}\t{}\n", key(round, number), value(round, number));
            (1..).take_while(|number| input.write_all(line(*number).as_bytes()).is_ok()).count()
        });
        let mut lines = BufReader::new(output).split(b'\n');
        let mut acknowledged: Vec<Vec<u8>> = lines.by_ref().take(lines_before).map(Result::unwrap).collect();
        let reader = scope.spawn(move || lines.map(Result::unwrap).collect::<Vec<_>>());
        std::thread::sleep(wait);
        let ended = child.0.try_wait().unwrap();
        child.kill();
        let (_, said) = child.end();
        assert!(ended.is_none(), "the writer ended by itself in round {round}: {ended:?} {said}");
        acknowledged.extend(reader.join().unwrap());
        // A line's number is written in one piece, so the kill cannot cut it.
        acknowledged.iter().map(|text| std::str::from_utf8(text).unwrap().parse().unwrap()).collect()
    })
}

/// What has been acknowledged so far.
#[derive(Default)]
struct Acknowledged {
    /// Keys written once, by round.
    once: Vec<(u64, Vec<u64>)>,
    /// The last acknowledged line of keys written again and again.
    hot: BTreeMap<String, (u64, u64)>,
}

impl Acknowledged {
    fn add(&mut self, round: u64, numbers: Vec<u64>) {
        for number in numbers.iter().filter(|number| *number % HOT_EVERY == 0) {
            let last = self.hot.entry(key(round, *number)).or_default();
            *last = (*last).max((round, *number));
        }
        self.once.push((round, numbers.into_iter().filter(|number| number % HOT_EVERY != 0).collect()));
    }

    /// Checks the rounds from `first` on, and all keys written again and again.
    fn check(&self, tree: &Tree, first: usize) {
        for (round, numbers) in &self.once[first..] {
            let mut there = std::collections::BTreeSet::new();
            for entry in tree.prefix(format!("round/{round:05}/")) {
                let entry = entry.unwrap();
                let (of_round, number) = line_of(&entry.value);
                assert_eq!((of_round, key(*round, number).as_bytes()), (*round, &entry.key[..]));
                there.insert(number);
            }
            for number in numbers {
                assert!(
                    there.contains(number),
                    "line {number} of round {round} was acknowledged and is gone"
                );
                assert_eq!(
                    tree.get(key(*round, *number)).unwrap().unwrap(),
                    value(*round, *number).as_bytes()
                );
            }
        }
        for (key, last) in &self.hot {
            let found = tree.get(key).unwrap().expect("an acknowledged key is there");
            let found = line_of(&found);
            assert!(found >= *last, "{key} holds line {found:?}, acknowledged was {last:?}");
        }
    }
}

fn rounds(shape: &[&str]) {
    let (rounds, seed) = (setting("TREERING_KILL_ROUNDS", 20), setting("TREERING_KILL_SEED", 1));
    let home = Home::new();
    let store = home.at("store");
    let mut arguments: Vec<std::ffi::OsString> = vec!["put".into(), store.clone().into_os_string()];
    arguments.extend(["first", "key"].iter().chain(shape).map(std::ffi::OsString::from));
    crate::harness::treering(arguments).done();
    let mut random = Rng::with_seed(seed);
    let mut all = Acknowledged::default();
    let read = |check: &dyn Fn(&Tree)| {
        let engine = Engine::open(&store, Options::new().read_only(true).create_if_missing(false)).unwrap();
        check(&engine.default_tree());
    };
    for round in 0..rounds {
        all.add(round, kill_one(&store, round, &mut random));
        read(&|tree| all.check(tree, all.once.len() - 1));
        let verified = run!("verify", &store);
        assert_eq!(
            verified.code,
            0,
            "round {round}: {}{}",
            String::from_utf8_lossy(&verified.out),
            verified.err
        );
    }
    read(&|tree| all.check(tree, 0));
    let lines: usize = all.once.iter().map(|(_, numbers)| numbers.len()).sum();
    assert!(lines as u64 > rounds * 50, "the rounds acknowledged too little to show anything: {lines}");
}

#[test]
fn acknowledged_lines_survive_kills_in_a_store_of_small_files() {
    rounds(&["--frame-bytes=4096", "--ring-bytes=65536", "--log-segment-bytes=65536"]);
}

#[test]
fn acknowledged_lines_survive_kills_in_a_store_of_the_default_shape() {
    rounds(&[]);
}
