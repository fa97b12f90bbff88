//! `load`: lines into the store, over one or more threads. It is *not* a transaction: lines are
//! acknowledged one by one, or by batches.
//!
//! A key's lines always go to the same thread, in their order, so that the last line of a key wins
//! whatever the number of threads. With `--ack` a line's number is written, in one write of its own or of
//! its batch, only after the engine has acknowledged it at the chosen durability.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use indicatif::{HumanCount, ProgressBar};
use serde_json::json;
use treering::{Durability, Engine, ErrorKind, Tree, WriteOptions};

use crate::failure::{Failure, Outcome};
use crate::lines::{Line, Lines};
use crate::output::json_line;
use crate::progress;
use crate::session::Session;
use crate::time::parse_ttl;

/// Lines that wait for a thread before the reader does.
const QUEUE_LINES: usize = 256;
/// Bytes of keys and values after which a batch is committed though it has fewer lines.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Arguments of `load`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory; made if it is missing
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The input; standard input for `-` and where it is left out
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print each line's number once the line is acknowledged at the chosen durability
    #[arg(long)]
    ack: bool,
    /// Acknowledge only what survives power loss (otherwise: what survives `kill -9`)
    #[arg(long)]
    sync: bool,
    /// Threads that write
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Lines in a batch, which is there whole or not at all; large lines make it shorter
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// How long the records live
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// Lines end in a NUL byte instead of a newline
    #[arg(long)]
    null: bool,
}

/// Runs `load`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let mut lines = Lines::open(arguments.file.as_deref(), arguments.null, session.text)?;
    let began = Instant::now();
    let engine = session.open_to_write(&arguments.store, true)?;
    let durability = if arguments.sync { Durability::Sync } else { Durability::Buffered };
    let bar = if arguments.ack { ProgressBar::hidden() } else { progress::bar("load", None) };
    let loader = Loader {
        engine: &engine,
        tree: &session.tree_or_new(&engine)?,
        options: WriteOptions { durability: Some(durability), ttl: arguments.ttl, ..WriteOptions::default() },
        batch: usize::try_from(arguments.batch).unwrap_or(1),
        acknowledge: arguments.ack,
        json: session.json,
        bar: &bar,
        loaded: AtomicU64::new(0),
    };
    loader.spread(&mut lines, usize::from(arguments.threads))?;
    let loaded = loader.loaded.into_inner();
    bar.finish_and_clear();
    engine.close()?;
    if arguments.ack {
        return Ok(());
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut output = session.output();
    if session.json {
        output.object(&[("lines", json!(loaded)), ("seconds", json!(seconds))])?;
    } else {
        output.line(&format!("{} lines in {seconds:.2} s", HumanCount(loaded)))?;
    }
    output.finish()
}

struct Loader<'a> {
    engine: &'a Engine,
    tree: &'a Tree,
    options: WriteOptions,
    /// Lines in a batch.
    batch: usize,
    acknowledge: bool,
    json: bool,
    bar: &'a ProgressBar,
    /// Lines acknowledged. Relaxed: read only after all threads have been joined.
    loaded: AtomicU64,
}

impl Loader<'_> {
    /// Reads all lines and hands them to `threads` threads; ends with the first error of any.
    fn spread(&self, lines: &mut Lines, threads: usize) -> Outcome {
        thread::scope(|scope| {
            let (queues, workers): (Vec<_>, Vec<_>) = (0..threads)
                .map(|_| {
                    let (queue, lines) = sync_channel(QUEUE_LINES);
                    (queue, scope.spawn(move || self.work(&lines)))
                })
                .unzip();
            let read = feed(lines, &queues);
            // The ends of the queues tell the threads that this was all.
            drop(queues);
            let mut outcome = Ok(());
            for worker in workers {
                let ended = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome = outcome.and(ended);
            }
            outcome.and(read)
        })
    }

    fn work(&self, queue: &Receiver<Line>) -> Outcome {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for line in queue {
            bytes += line.key.len() + line.value.len();
            batch.push(line);
            if batch.len() >= self.batch || bytes >= BATCH_BYTES_MAX {
                self.write(&batch)?;
                batch.clear();
                bytes = 0;
            }
        }
        self.write(&batch)
    }

    fn write(&self, lines: &[Line]) -> Outcome {
        match lines {
            [] => Ok(()),
            [line] => self.write_one(line),
            _ => self.write_batch(lines),
        }
    }

    fn write_one(&self, line: &Line) -> Outcome {
        match self.tree.put_with(&line.key, &line.value, &self.options) {
            Ok(_) => self.acknowledged(std::slice::from_ref(line)),
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                Err(Failure::Usage(format!("input line {} cannot be loaded: {error}", line.number)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_batch(&self, lines: &[Line]) -> Outcome {
        let mut batch = self.engine.batch();
        for line in lines {
            match self.options.ttl {
                Some(ttl) => batch.put_with_ttl(self.tree, &line.key, line.value.clone(), ttl)?,
                None => batch.put(self.tree, &line.key, line.value.clone()),
            };
        }
        match batch.commit(self.options.durability) {
            Ok(_) => self.acknowledged(lines),
            // Nothing was logged; the store was made with a small ring.
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let (first, second) = lines.split_at(lines.len() / 2);
                self.write(first)?;
                self.write(second)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn acknowledged(&self, lines: &[Line]) -> Outcome {
        let count = lines.len() as u64;
        self.loaded.fetch_add(count, Ordering::Relaxed);
        self.bar.inc(count);
        if !self.acknowledge {
            return Ok(());
        }
        let text: String = lines.iter().map(|line| self.acknowledgement(line.number)).collect();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|error| match Failure::output(error) {
            Failure::OutputClosed { .. } => Failure::OutputClosed { finished: false },
            other => other,
        })
    }

    fn acknowledgement(&self, number: u64) -> String {
        match self.json {
            true => json_line(&[("line", json!(number))]) + "\n",
            false => format!("{number}\n"),
        }
    }
}

/// Hands each line to the thread of its key. A closed queue is no error here: its thread has one.
fn feed(lines: &mut Lines, queues: &[SyncSender<Line>]) -> Outcome {
    while let Some(line) = lines.next_line()? {
        let queue = &queues[thread_of(&line.key, queues.len())];
        if queue.send(line).is_err() {
            break;
        }
    }
    Ok(())
}

fn thread_of(key: &[u8], threads: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let spread = hasher.finish() % threads as u64;
    usize::try_from(spread).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_thread_and_keys_reach_every_thread() {
        for threads in 1..=8 {
            let mut met = vec![0; threads];
            for key in 0..1000_u32 {
                let at = thread_of(&key.to_le_bytes(), threads);
                assert_eq!(at, thread_of(&key.to_le_bytes(), threads));
                met[at] += 1;
            }
            assert!(met.iter().all(|count| *count > 50), "{met:?}");
        }
    }
}
