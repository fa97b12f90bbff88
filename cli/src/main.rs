//! The `treering` command: argument parsing, one module for each command under `commands`, and the exit
//! code. It holds no logic of the store; everything it does goes through the engine's public interface.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "the seam, its clock and the rule against polling are the store's; the tool reads its user's files, \
              times its own work and paces its demo"
)]

mod commands;
mod failure;
mod lines;
mod output;
mod progress;
mod record;
mod session;
mod text;
mod time;
mod walk;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::{checkpoint, demo, index, list, load, point, scan, stat, tree, verify};
use session::{Common, Session};

/// An embedded, crash-safe store for path-shaped keys.
#[derive(Parser)]
#[command(name = "treering", version, about, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 a clean \"no\" (not found, condition not met); 2 usage; \
3 the store is open elsewhere; 4 damage; 5 I/O, disk full included; 6 not a store or a newer format.";

#[derive(Subcommand)]
enum Command {
    /// Walk directory trees into the store: one key a path, its metadata as the value
    Index(index::Arguments),
    /// Put lines `key<TAB>value` from a file, gzip by its ending, or standard input
    Load(load::Arguments),
    /// Put one value
    Put(point::Put),
    /// Print the value of one key
    Get(point::Get),
    /// Delete one key
    Del(point::Del),
    /// List entries and common prefixes, like an object store
    Ls(list::Arguments),
    /// Print keys and values in order
    Scan(scan::Arguments),
    /// Draw the hierarchy with counts and sizes
    Tree(tree::Arguments),
    /// Show what the store holds and how it lies on disk
    Stat(stat::Arguments),
    /// Take a cut now, so that reopening replays nothing
    Checkpoint(checkpoint::Arguments),
    /// Read everything and list all damage; changes nothing
    Verify(verify::Arguments),
    /// The tour, on a real directory tree, in a temporary directory
    Demo(demo::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let session = Session::new(cli.common);
    let outcome = match cli.command {
        Command::Index(arguments) => index::run(&session, &arguments),
        Command::Load(arguments) => load::run(&session, &arguments),
        Command::Put(arguments) => point::put(&session, &arguments),
        Command::Get(arguments) => point::get(&session, &arguments),
        Command::Del(arguments) => point::del(&session, &arguments),
        Command::Ls(arguments) => list::run(&session, &arguments),
        Command::Scan(arguments) => scan::run(&session, &arguments),
        Command::Tree(arguments) => tree::run(&session, &arguments),
        Command::Stat(arguments) => stat::run(&session, &arguments),
        Command::Checkpoint(arguments) => checkpoint::run(&session, &arguments),
        Command::Verify(arguments) => verify::run(&session, &arguments),
        Command::Demo(arguments) => demo::run(&session, &arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                session::say(&sentence);
            }
            // What is still buffered for standard output has been written or has failed by now.
            let _ = std::io::stdout().flush();
            ExitCode::from(failure.code())
        }
    }
}
