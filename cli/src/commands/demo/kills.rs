//! The act of the kills: a real child process loads lines and acknowledges them over a pipe until SIGKILL
//! ends it at a random moment. After each round the store is opened and read: each acknowledged line of
//! that round must be there, and every line that is there must be whole. The next round continues on the
//! same store; after the last, the lines of all rounds are looked for again.
//!
//! A line is made from its round and number alone, so that nothing has to be remembered but the numbers.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use indicatif::HumanCount;
use serde_json::json;
use treering::Tree;

use super::{Interrupts, act};
use crate::failure::{Failure, Outcome};
use crate::progress;
use crate::session::Session;
use crate::text::Text;

/// How long a round waits for its first acknowledgement before it kills anyway.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time between the first acknowledgement and the kill.
const RUN_MS_MAX: u64 = 120;

/// What one round came to.
struct Round {
    number: u32,
    /// The lines that the child acknowledged before it died.
    acknowledged: Vec<u64>,
}

/// Plays all rounds.
pub(crate) fn play(session: &Session, store: &Path, rounds: u32, interrupts: &Interrupts) -> Outcome {
    let bar = progress::bar("kill -9", Some(u64::from(rounds)));
    let mut random = Rng::new();
    let mut played = Vec::new();
    for number in 0..rounds {
        let round = kill_one(store, number, &mut random, interrupts)?;
        if store.join("STORE").exists() {
            look_for(session, store, std::slice::from_ref(&round))?;
        }
        played.push(round);
        bar.inc(1);
    }
    let acknowledged = look_for(session, store, &played)?;
    bar.finish_and_clear();
    let sentence = format!(
        "{rounds} rounds, 1 to 4 threads, both durabilities: {} lines acknowledged, every one found whole",
        HumanCount(acknowledged)
    );
    act(session, "kill -9", &sentence, &[("rounds", json!(rounds)), ("acknowledged", json!(acknowledged))])
}

/// The key and value of a line: 5 to 5,000 bytes, long ones rarer.
fn line(round: u32, number: u64) -> (String, String) {
    let mut random = Rng::with_seed(u64::from(round) << 40 ^ number);
    let longest = if random.u8(..8) == 0 { 5000 } else { 500 };
    let length = random.usize(5..=longest);
    (key(round, number), (0..length).map(|_| random.alphanumeric()).collect())
}

fn key(round: u32, number: u64) -> String {
    format!("kill/{round:04}/{number:012}")
}

/// A child that does not outlive its guard.
struct Loading(Child);

impl Loading {
    fn start(store: &Path, round: u32) -> Outcome<Self> {
        let failed = |error| Failure::io("start a writing child", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["load", "--ack", "--threads", &(1 + round % 4).to_string()]);
        if round / 4 % 2 == 1 {
            command.arg("--sync");
        }
        command.arg(store).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map(Self).map_err(failed)
    }

    /// Kills it and waits until it is gone; an error if it had ended by itself.
    fn kill(&mut self) -> Outcome {
        let failed = |error| Failure::io("kill the writing child", error);
        let ended = self.0.try_wait().map_err(failed)?;
        self.0.kill().map_err(failed)?;
        self.0.wait().map_err(failed)?;
        let Some(status) = ended else {
            return Ok(());
        };
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            // The status alone tells enough where this fails.
            let _ = std::io::Read::read_to_string(&mut stderr, &mut said);
        }
        Err(Failure::Damaged(format!("the writing child ended by itself ({status}): {}", said.trim())))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // Both fail only if the child is gone and waited for, which is what they are for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kill_one(store: &Path, number: u32, random: &mut Rng, interrupts: &Interrupts) -> Outcome<Round> {
    let mut child = Loading::start(store, number)?;
    let (Some(input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
        return Err(Failure::io("reach the writing child", std::io::ErrorKind::NotConnected.into()));
    };
    let run = Duration::from_micros(random.u64(0..RUN_MS_MAX * 1000));
    // Now and then the kill comes while the store is being opened.
    let patience = if number % 7 == 6 { Duration::ZERO } else { PATIENCE };
    thread::scope(|scope| {
        let (first, was_first) = mpsc::channel();
        scope.spawn(move || feed(input, number));
        let reader = scope.spawn(move || acknowledgements(output, &first));
        // Whether it was acknowledged or the child ended is seen from what follows.
        let _ = was_first.recv_timeout(patience);
        let slept = interrupts.sleep(run);
        // The kill ends both threads, so it comes before any error is handed on.
        let killed = child.kill();
        let acknowledged = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // A signal from the keyboard goes to the child too; that it ended by itself is no finding then.
        interrupts.check().and(slept).and(killed).map(|()| Round { number, acknowledged })
    })
}

/// Writes lines until nobody reads them.
fn feed(mut input: ChildStdin, round: u32) {
    for number in 1.. {
        let (key, value) = line(round, number);
        if input.write_all(format!("{key}\t{value}\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads whole lines until the child is dead; tells of the first.
fn acknowledgements(output: ChildStdout, first: &Sender<()>) -> Vec<u64> {
    let mut output = BufReader::new(output);
    let (mut numbers, mut line) = (Vec::new(), String::new());
    while output.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
        numbers.extend(line.trim_end().parse::<u64>());
        if numbers.len() == 1 {
            // The receiver may have given up waiting.
            let _ = first.send(());
        }
        line.clear();
    }
    numbers
}

/// Looks for every acknowledged line and checks every line that is there; how many were acknowledged.
fn look_for(session: &Session, store: &Path, rounds: &[Round]) -> Outcome<u64> {
    let engine = session.open_to_read(store)?;
    let tree = engine.default_tree();
    let mut acknowledged = 0;
    for round in rounds {
        check_whole(&tree, round.number)?;
        for number in &round.acknowledged {
            if !tree.contains(key(round.number, *number))? {
                return Err(Failure::Damaged(format!(
                    "line {number} of round {} was acknowledged and is gone",
                    round.number
                )));
            }
            acknowledged += 1;
        }
    }
    Ok(acknowledged)
}

fn check_whole(tree: &Tree, round: u32) -> Outcome {
    for entry in tree.prefix(format!("kill/{round:04}/")) {
        let entry = entry?;
        let found = std::str::from_utf8(&entry.key).ok().and_then(|key| key.rsplit('/').next()?.parse().ok());
        let is_whole = found.is_some_and(|number| {
            let (key, value) = line(round, number);
            entry.key == key.as_bytes() && entry.value == value.as_bytes()
        });
        if !is_whole {
            let key = Text::Escaped.quote(&entry.key);
            return Err(Failure::Damaged(format!("the value of {key} is not what was written")));
        }
    }
    Ok(())
}
