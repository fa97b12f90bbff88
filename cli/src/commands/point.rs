//! `put`, `get` and `del`: operations on one key.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use treering::{Condition, Durability, Entry, WriteOptions};

use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::text::json_bytes;
use crate::time::{parse_ttl, rfc3339};

/// The longest value that is read from standard input, in bytes; one more tells that it is too long.
const MAX_VALUE_BYTES: u64 = 1 << 30;

/// Arguments of `put`.
#[derive(Args)]
pub(crate) struct Put {
    /// The store's directory; made if it is missing
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    /// The value; `-` reads it from standard input
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: OsString,
    /// Only if the key is absent
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Only if the key has this version
    #[arg(long, value_name = "V")]
    if_version: Option<u64>,
    /// How long the record lives
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// Return only when the write survives power loss
    #[arg(long)]
    sync: bool,
}

/// Arguments of `get`.
#[derive(Args)]
pub(crate) struct Get {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    /// Show version, size and expiry instead of the value
    #[arg(long)]
    meta: bool,
}

/// Arguments of `del`.
#[derive(Args)]
pub(crate) struct Del {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
    /// The key
    #[arg(value_name = "KEY")]
    key: OsString,
    /// Only if the key has this version
    #[arg(long, value_name = "V")]
    if_version: Option<u64>,
    /// Return only when the deletion survives power loss
    #[arg(long)]
    sync: bool,
}

/// Runs `put`: prints the new version.
pub(crate) fn put(session: &Session, arguments: &Put) -> Outcome {
    let key = session.bytes("KEY", &arguments.key)?;
    let value = match arguments.value.as_encoded_bytes() {
        b"-" => value_from_input(session)?,
        _ => session.bytes("VALUE", &arguments.value)?,
    };
    let condition = match arguments.if_absent {
        true => Condition::Absent,
        false => version_condition(arguments.if_version),
    };
    let options = WriteOptions { durability: durability(arguments.sync), condition, ttl: arguments.ttl };
    let engine = session.open_to_write(&arguments.store, true)?;
    let version = session.tree_or_new(&engine)?.put_with(&key, &value, &options)?;
    engine.close()?;
    let mut output = session.output();
    match session.json {
        true => output.object(&[("key", json_bytes(&key)), ("version", json!(version))])?,
        false => output.line(&version.to_string())?,
    }
    output.finish()
}

/// Runs `get`: prints the value as it is, or what is known about it.
pub(crate) fn get(session: &Session, arguments: &Get) -> Outcome {
    let key = session.bytes("KEY", &arguments.key)?;
    let engine = session.open_to_read(&arguments.store)?;
    let Some(entry) = session.tree(&engine)?.entry(&key)? else {
        return Err(not_there(session, &key));
    };
    let mut output = session.output();
    match (session.json, arguments.meta) {
        (true, _) => output.object(&entry_fields(&entry, !arguments.meta))?,
        (false, false) => output.value(&entry.value)?,
        (false, true) => {
            let expires = entry.expires_at_ms.map_or_else(|| "never".to_string(), rfc3339);
            output.line(&format!("version\t{}", entry.version))?;
            output.line(&format!("size\t{}", entry.value.len()))?;
            output.line(&format!("expires\t{expires}"))?;
        }
    }
    output.finish()
}

/// Runs `del`; a key that is not there is a clean "no".
pub(crate) fn del(session: &Session, arguments: &Del) -> Outcome {
    let key = session.bytes("KEY", &arguments.key)?;
    let engine = session.open_to_write(&arguments.store, false)?;
    let condition = version_condition(arguments.if_version);
    let options = WriteOptions { durability: durability(arguments.sync), condition, ttl: None };
    let deleted = session.tree(&engine)?.delete_with(&key, &options)?;
    engine.close()?;
    if session.json {
        let mut output = session.output();
        output.object(&[("key", json_bytes(&key)), ("deleted", json!(deleted))])?;
        output.finish()?;
    }
    match deleted {
        true => Ok(()),
        false => Err(not_there(session, &key)),
    }
}

/// An entry's JSON fields, with or without the value.
pub(crate) fn entry_fields(entry: &Entry, with_value: bool) -> Vec<(&'static str, Value)> {
    let mut fields = vec![("key", json_bytes(&entry.key))];
    match with_value {
        true => fields.push(("value", json_bytes(&entry.value))),
        false => fields.push(("size", json!(entry.size))),
    }
    fields.push(("version", json!(entry.version)));
    fields.push(("expires_at", entry.expires_at_ms.map_or(Value::Null, |ms| json!(rfc3339(ms)))));
    fields
}

fn not_there(session: &Session, key: &[u8]) -> Failure {
    Failure::No(format!("the store has no key {}", session.text.quote(key)))
}

fn durability(sync: bool) -> Option<Durability> {
    sync.then_some(Durability::Sync)
}

fn version_condition(version: Option<u64>) -> Condition {
    version.map_or(Condition::None, Condition::Version)
}

fn value_from_input(session: &Session) -> Outcome<Vec<u8>> {
    let mut spelled = Vec::new();
    // Four bytes spell one at the most.
    let bounded = io::stdin().take(4 * MAX_VALUE_BYTES + 1).read_to_end(&mut spelled);
    bounded.map_err(|error| Failure::io("read the value from standard input", error))?;
    session.text.decode(&spelled).map_err(|error| Failure::Usage(format!("VALUE: {error}")))
}
