//! `scan`: keys and values in order, forward or backward.

use std::ffi::OsString;
use std::ops::Bound;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use treering::{Range, Tree};

use super::point::entry_fields;
use crate::failure::Outcome;
use crate::session::Session;

/// Arguments of `scan`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// Only keys that begin with it
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<OsString>,
    /// Only this key and those after it
    #[arg(long, value_name = "KEY")]
    from: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    to: Option<OsString>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Print no values
    #[arg(long)]
    keys_only: bool,
    /// Print only how many there are
    #[arg(long)]
    count: bool,
}

/// Runs `scan`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let bytes = |what: &str, argument: &Option<OsString>| {
        argument.as_ref().map(|argument| session.bytes(what, argument)).transpose()
    };
    let prefix = bytes("--prefix", &arguments.prefix)?;
    let from = bytes("--from", &arguments.from)?;
    let to = bytes("--to", &arguments.to)?;
    let engine = session.open_to_read(&arguments.store)?;
    let mut range = select(&session.tree(&engine)?, prefix, from, to);
    if arguments.reverse {
        range = range.reversed();
    }
    if arguments.keys_only || arguments.count {
        range = range.keys_only();
    }
    let mut output = session.output();
    let mut count: u64 = 0;
    for entry in range {
        let entry = entry?;
        count += 1;
        match () {
            () if arguments.count => {}
            () if session.json => output.object(&entry_fields(&entry, !arguments.keys_only))?,
            () if arguments.keys_only => output.fields(&[&entry.key])?,
            () => output.fields(&[&entry.key, &entry.value])?,
        }
    }
    match (arguments.count, session.json) {
        (true, true) => output.object(&[("count", json!(count))])?,
        (true, false) => output.line(&count.to_string())?,
        (false, _) => {}
    }
    output.finish()
}

/// The keys that begin with `prefix`, are at or after `from`, and before `to`.
fn select(tree: &Tree, prefix: Option<Vec<u8>>, from: Option<Vec<u8>>, to: Option<Vec<u8>>) -> Range {
    let end = prefix.as_deref().and_then(successor);
    let lower = from.max(prefix);
    let upper = match (to, end) {
        (Some(to), Some(end)) => Some(to.min(end)),
        (to, end) => to.or(end),
    };
    let lower = lower.as_deref().map_or(Bound::Unbounded, Bound::Included);
    // An upper bound below the lower one selects nothing, whatever the engine makes of such a pair.
    match (lower, upper.as_deref()) {
        (Bound::Included(from), Some(to)) if from >= to => {
            tree.range(Bound::Included(from), Bound::Excluded(from))
        }
        (lower, upper) => tree.range(lower, upper.map_or(Bound::Unbounded, Bound::Excluded)),
    }
}

/// The first byte string after all that begin with `prefix`; none if there is no such string.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn the_successor_is_the_first_string_behind_a_prefix() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
