//! `checkpoint`: a cut now, so that the next opening replays nothing.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use crate::failure::Outcome;
use crate::output::counted;
use crate::session::Session;

/// Arguments of `checkpoint`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
}

/// Runs `checkpoint`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let engine = session.open_to_write(&arguments.store, false)?;
    let cut = engine.checkpoint()?;
    engine.close()?;
    let mut output = session.output();
    if session.json {
        output.object(&[
            ("epoch", json!(cut.epoch)),
            ("frames_written", json!(cut.frames_written)),
            ("frame_bytes", json!(cut.frame_bytes)),
            ("values_destaged", json!(cut.values_destaged)),
            ("segment_bytes", json!(cut.segment_bytes)),
            ("segments_removed", json!(cut.segments_removed)),
            ("log_bytes_released", json!(cut.log_bytes_released)),
            ("seconds", json!(cut.elapsed.as_secs_f64())),
        ])?;
    } else {
        output.line(&format!(
            "cut {}: {} ({}) and {} ({} of segments) written, {} of log released, in {:.3} s",
            cut.epoch,
            counted(cut.frames_written, "frame"),
            HumanBytes(cut.frame_bytes),
            counted(cut.values_destaged, "value"),
            HumanBytes(cut.segment_bytes),
            HumanBytes(cut.log_bytes_released),
            cut.elapsed.as_secs_f64(),
        ))?;
    }
    output.finish()
}
