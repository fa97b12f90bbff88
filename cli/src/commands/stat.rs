//! `stat`: what the store holds and how it lies on disk.

use std::path::PathBuf;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value, json};
use treering::Stats;

use super::index::bytes_on_disk;
use crate::failure::Outcome;
use crate::output::{Output, counted};
use crate::session::Session;

/// Arguments of `stat`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
}

/// Runs `stat`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let engine = session.open_to_read(&arguments.store)?;
    let tree = session.tree(&engine)?;
    let mut keys = 0_u64;
    for entry in tree.prefix([]).keys_only() {
        entry?;
        keys += 1;
    }
    let stats = engine.stats()?;
    let on_disk = bytes_on_disk(&arguments.store)?;
    let mut output = session.output();
    match session.json {
        true => output.object(&fields(&stats, keys, on_disk))?,
        false => print(&mut output, &stats, keys, on_disk)?,
    }
    output.finish()
}

fn fields(stats: &Stats, keys: u64, on_disk: u64) -> Vec<(&'static str, Value)> {
    vec![
        ("keys", json!(keys)),
        ("records", json!(stats.records)),
        ("trees", json!(stats.trees)),
        ("frames", json!(stats.frames)),
        ("frame_bytes", json!(stats.frame_bytes)),
        ("frame_used_bytes", json!(stats.frame_used_bytes)),
        ("frame_dead_bytes", json!(stats.frame_dead_bytes)),
        ("frame_fill", json!(share(stats.frame_used_bytes, stats.frames * stats.frame_bytes))),
        ("segments", json!(stats.segments)),
        ("segment_file_bytes", json!(stats.segment_file_bytes)),
        ("segment_live_bytes", json!(stats.segment_live_bytes)),
        ("segment_dead_bytes", json!(stats.segment_dead_bytes)),
        ("staged_bytes", json!(stats.staged_bytes)),
        ("log_bytes", json!(stats.log_bytes)),
        ("log_end", json!(stats.log_published)),
        ("file_bytes", json!(stats.disk_bytes)),
        ("bytes_on_disk", json!(on_disk)),
        ("recovery_seconds", json!(stats.recovery_elapsed.as_secs_f64())),
        ("recovery_records", json!(stats.recovery_records)),
        ("closed_cleanly", json!(stats.recovery_was_clean)),
        ("storage", json!(stats.back_end)),
    ]
}

fn print(output: &mut Output, stats: &Stats, keys: u64, on_disk: u64) -> Outcome {
    let fill = 100.0 * share(stats.frame_used_bytes, stats.frames * stats.frame_bytes);
    let closed = if stats.recovery_was_clean { "closed cleanly" } else { "not closed cleanly" };
    let lines = [
        ("keys", format!("{} ({} in all trees)", HumanCount(keys), counted(stats.records, "record"))),
        ("trees", stats.trees.join(", ")),
        (
            "frames",
            format!(
                "{} of {}, {fill:.0} % full, {} dead",
                counted(stats.frames, "frame"),
                HumanBytes(stats.frame_bytes),
                HumanBytes(stats.frame_dead_bytes)
            ),
        ),
        (
            "segments",
            format!(
                "{} with {} live and {} dead",
                counted(stats.segments, "segment"),
                HumanBytes(stats.segment_live_bytes),
                HumanBytes(stats.segment_dead_bytes)
            ),
        ),
        ("log", format!("{} to replay, up to LSN {}", HumanBytes(stats.log_bytes), stats.log_published)),
        ("space", format!("{} on disk, {} of files", HumanBytes(on_disk), HumanBytes(stats.disk_bytes))),
        (
            "recovery",
            format!(
                "{:.3} s, {} read; {closed}",
                stats.recovery_elapsed.as_secs_f64(),
                counted(stats.recovery_records, "record")
            ),
        ),
        ("storage", stats.back_end.to_string()),
    ];
    lines.iter().try_for_each(|(name, value)| output.line(&format!("{name:<10}{value}")))
}

/// `part` of `whole`, 0 where there is nothing. A ratio for people: the loss of the conversion is below it.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
