//! `ls`: entries and common prefixes, like listing an object store. Pages are fetched as they are
//! printed; memory does not grow with the listing.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, value_parser};
use serde_json::json;
use treering::{ListOptions, Listed};

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::session::{Session, say};
use crate::text::json_bytes;

/// Entries fetched at once where no limit asks for fewer.
const PAGE_ENTRIES: u64 = 1000;

/// Arguments of `ls`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// Only keys that begin with it
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: OsString,
    /// The byte at which deeper keys are rolled up
    #[arg(long, value_name = "BYTE", default_value = "/")]
    delimiter: OsString,
    /// At most so many entries; where there are more, the token that goes on is printed
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on behind the page that printed this token
    #[arg(long, value_name = "T")]
    token: Option<String>,
    /// Only entries after this key
    #[arg(long, value_name = "KEY")]
    after: Option<OsString>,
    /// Show size and version
    #[arg(short = 'l')]
    long: bool,
    /// List all keys below, rolling nothing up
    #[arg(short = 'R', conflicts_with = "delimiter")]
    recursive: bool,
}

/// Runs `ls`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let delimiter = match arguments.recursive {
        true => None,
        false => Some(one_byte(&session.bytes("--delimiter", &arguments.delimiter)?)?),
    };
    let after = arguments.after.as_ref().map(|key| session.bytes("--after", key)).transpose()?;
    let mut options = ListOptions {
        prefix: session.bytes("PREFIX", &arguments.prefix)?,
        delimiter,
        after,
        token: arguments.token.clone(),
        ..ListOptions::default()
    };
    let engine = session.open_to_read(&arguments.store)?;
    let tree = session.tree(&engine)?;
    let mut output = session.output();
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    loop {
        options.limit = usize::try_from(left.min(PAGE_ENTRIES)).unwrap_or(1);
        let page = tree.list(&options)?;
        for listed in &page.entries {
            print(session, &mut output, arguments.long, listed)?;
        }
        left = left.saturating_sub(page.entries.len() as u64);
        options.token = page.next_token;
        if left == 0 || options.token.is_none() {
            break;
        }
    }
    match (options.token, session.json) {
        (None, _) => output.finish(),
        (Some(token), true) => {
            output.object(&[("next_token", json!(token))])?;
            output.finish()
        }
        (Some(token), false) => {
            output.finish()?;
            say(&format!("there is more; go on with --token {token}"));
            Ok(())
        }
    }
}

fn one_byte(delimiter: &[u8]) -> Outcome<u8> {
    match delimiter {
        [byte] => Ok(*byte),
        _ => Err(Failure::Usage("--delimiter takes one byte; use -R to roll nothing up".to_string())),
    }
}

fn print(session: &Session, output: &mut Output, long: bool, listed: &Listed) -> Outcome {
    match (listed, session.json) {
        (Listed::Key { key, size, version }, true) => {
            output.object(&[("key", json_bytes(key)), ("size", json!(size)), ("version", json!(version))])
        }
        (Listed::Prefix(prefix), true) => output.object(&[("prefix", json_bytes(prefix))]),
        (Listed::Key { key, size, version }, false) if long => {
            output.prefixed(&format!("{size:>10} {version:>12} "), &[key])
        }
        (Listed::Prefix(prefix), false) if long => {
            output.prefixed(&format!("{:>10} {:>12} ", "-", "-"), &[prefix])
        }
        (Listed::Key { key, .. }, false) => output.fields(&[key]),
        (Listed::Prefix(prefix), false) => output.fields(&[prefix]),
    }
}
