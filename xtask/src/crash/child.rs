//! Child processes of the `treering` command: started, fed, killed and heard. It is *not* a judge of what
//! they leave.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::crash::model::Told;
use crate::crash::script::Line;

/// The environment variable of the crash points; see `segment/src/crash_point.rs`.
const POINT_VARIABLE: &str = "TREERING_CRASH_POINT";
/// How long a child may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(120);
/// SIGKILL.
const KILLED: i32 = 9;

/// The program, and where its store is.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
}

/// When a child dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// By our hand: after so many acknowledged lines, and so long after that.
    Random { lines: u64, wait: Duration },
    /// By its own, at the passing of a named point; if it never passes there, it ends.
    Point { name: String, passing: u64 },
    /// Not at all.
    None,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By SIGKILL.
    Killed,
    /// By itself, with this exit code.
    Exited(i32),
}

/// A child that does not outlive us.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn command(&self, arguments: &[OsString], death: &Death) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).env_remove(POINT_VARIABLE);
        if let Death::Point { name, passing } = death {
            command.env(POINT_VARIABLE, format!("{name}:{passing}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that takes no input; its end, and what it said on both outputs.
    pub(crate) fn run(&self, arguments: &[OsString], death: &Death) -> Result<(End, String), String> {
        let mut command = self.command(arguments, death);
        let mut child = Guarded(command.spawn().map_err(|error| format!("cannot start a child: {error}"))?);
        if let Death::Random { wait, .. } = death {
            std::thread::sleep(*wait);
            // It may have ended already; then the kill does nothing.
            let _ = child.0.kill();
        }
        end_of(&mut child)
    }

    /// Runs `load --ack` on `store` and feeds it the lines of `told` up to `told.submitted`; puts down in
    /// `told` what was submitted and acknowledged.
    pub(crate) fn load(
        &self,
        store: &Path,
        flags: &[OsString],
        told: &mut Told,
        death: &Death,
    ) -> Result<(End, String), String> {
        let mut arguments: Vec<OsString> = vec!["load".into(), "--ack".into()];
        arguments.extend(flags.iter().cloned());
        for (flag, number) in [("--threads", told.threads), ("--batch", told.batch)] {
            arguments.extend([flag.into(), number.to_string().into()]);
        }
        if !told.tree.is_empty() {
            arguments.extend(["--tree".into(), (&told.tree).into()]);
        }
        arguments.push(store.into());
        let mut command = self.command(&arguments, death);
        command.stdin(Stdio::piped());
        let mut child = Guarded(command.spawn().map_err(|error| format!("cannot start a child: {error}"))?);
        let (Some(mut input), Some(output)) = (child.0.stdin.take(), child.0.stdout.take()) else {
            return Err("a child has no pipes".into());
        };
        let (round, shape, most) = (told.round, told.shape, told.submitted);
        let (submitted, acknowledged, end) = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || {
                for number in 1..=most {
                    let line = Line { round, number };
                    let text = format!("{}\t{}\n", line.key(shape), line.value(shape));
                    if input.write_all(text.as_bytes()).is_err() {
                        return number;
                    }
                }
                most
            });
            let mut lines = BufReader::new(output).lines();
            let mut acknowledged = Vec::new();
            if let Death::Random { lines: before, wait } = death {
                let before = usize::try_from(*before).unwrap_or(usize::MAX);
                acknowledged.extend(lines.by_ref().take(before).map_while(Result::ok));
                std::thread::sleep(*wait);
                let _ = child.0.kill();
            }
            acknowledged.extend(lines.map_while(Result::ok));
            let end = end_of(&mut child);
            // The child has ended, so the feeder's pipe is closed.
            (feeder.join().unwrap_or(most), acknowledged, end)
        });
        told.submitted = submitted;
        for text in acknowledged {
            // A number is written in one piece, so no kill cuts it.
            let number = text.parse().map_err(|_| format!("a child acknowledged {text:?}"))?;
            told.acknowledged.insert(number);
        }
        end
    }
}

/// Waits for a child's end. One that does not end is an error, and is killed.
fn end_of(child: &mut Guarded) -> Result<(End, String), String> {
    let started = Instant::now();
    let status = loop {
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() > PATIENCE => {
                return Err(format!("a child has not ended within {} s", PATIENCE.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => return Err(format!("cannot wait for a child: {error}")),
        }
    };
    let mut said = String::new();
    if let Some(output) = &mut child.0.stdout {
        // What is not text is of no use in a message.
        let _ = output.read_to_string(&mut said);
    }
    if let Some(errors) = &mut child.0.stderr {
        let _ = errors.read_to_string(&mut said);
    }
    match (status.signal(), status.code()) {
        (Some(KILLED), _) => Ok((End::Killed, said)),
        (_, Some(code)) => Ok((End::Exited(code), said)),
        _ => Err(format!("a child ended by {status}: {said}")),
    }
}
