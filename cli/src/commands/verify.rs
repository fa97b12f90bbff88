//! `verify`: reads everything, changes nothing, and lists each damage with its place.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use treering::VerifyReport;

use crate::failure::{Failure, Outcome};
use crate::output::Output;
use crate::session::Session;

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
    match report.damages.len() {
        0 => output.line("clean")?,
        count => {
            output.finish()?;
            return Err(Failure::Damaged(format!("{count} places are damaged")));
        }
    }
    output.finish()
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
            output.line(&format!("{file}:{}: {} ({})", damage.offset, damage.what, damage.covers))?;
        }
    }
    Ok(())
}
