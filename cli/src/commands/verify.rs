//! `verify`: reads everything, changes nothing, and lists each damage with its place, then a summary.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;
use treering::VerifyReport;

use crate::failure::{Failure, Outcome};
use crate::output::{Output, counted};
use crate::session::Session;
use crate::text::Text;

/// Arguments of `verify`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store's directory
    #[arg(value_name = "DIR")]
    store: PathBuf,
}

/// Runs `verify`.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Outcome {
    let report = treering::verify(&arguments.store, session.options())?;
    let mut output = session.output();
    print_damages(session, &mut output, &report)?;
    match session.json {
        true => summary_object(&mut output, &report)?,
        false => summary_line(&mut output, &report)?,
    }
    output.finish()?;
    match report.damages.len() {
        0 => Ok(()),
        1 => Err(Failure::Damaged("the store is damaged in one place, listed above".to_string())),
        count => Err(Failure::Damaged(format!("the store is damaged in {count} places, listed above"))),
    }
}

fn print_damages(session: &Session, output: &mut Output, report: &VerifyReport) -> Outcome {
    for damage in &report.damages {
        let file = damage.file.display().to_string();
        if session.json {
            output.object(&[
                ("file", json!(file)),
                ("offset", json!(damage.offset)),
                ("what", json!(damage.what)),
                ("covers", json!(damage.covers)),
            ])?;
        } else {
            output
                .line(&format!("{file}:{}: {}; it covers {}", damage.offset, damage.what, damage.covers))?;
        }
    }
    Ok(())
}

fn summary_object(output: &mut Output, report: &VerifyReport) -> Outcome {
    output.object(&[
        ("damages", json!(report.damages.len())),
        ("records", json!(report.records)),
        ("frames", json!(report.frames)),
        ("segments", json!(report.segments)),
        ("log_records", json!(report.log_records)),
        ("file_bytes", json!(report.file_bytes)),
        ("live_bytes", json!(report.live_bytes)),
        ("free_bytes", json!(report.free_bytes)),
        ("foreign_files", json!(report.foreign_files)),
    ])
}

fn summary_line(output: &mut Output, report: &VerifyReport) -> Outcome {
    for name in &report.foreign_files {
        output.line(&format!("not the store's own file: {}", Text::Escaped.quote(name.as_bytes())))?;
    }
    let found = match report.damages.len() {
        0 => "clean".to_string(),
        count => format!("{count} damaged"),
    };
    output.line(&format!(
        "{found}: {}, {}, {} and {} read; {} of files, {} of them free",
        counted(report.records, "record"),
        counted(report.frames, "frame"),
        counted(report.segments, "segment"),
        counted(report.log_records, "log record"),
        HumanBytes(report.file_bytes),
        HumanBytes(report.free_bytes),
    ))
}
