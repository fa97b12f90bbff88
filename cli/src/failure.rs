//! How a command ends when it does not simply succeed: the exit code and the one sentence for standard
//! error. It is *not* an error hierarchy; the engine's own error is carried as it is.

use std::io;

use treering::ErrorKind;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A clean "no": not found, or a condition was not met.
    No(String),
    /// The command line or an input line makes no sense.
    Usage(String),
    /// The engine refused.
    Store(treering::Error),
    /// The store is damaged, and the damage has been listed already.
    Damaged(String),
    /// A file outside the store, or standard input or output, failed.
    Io(String, io::Error),
    /// Work outside the store was left out, and each case has been named already.
    Incomplete(String),
    /// Whoever read standard output has gone. `finished` tells whether the work itself was done.
    OutputClosed {
        /// Whether nothing but output was left to do.
        finished: bool,
    },
    /// The user interrupted.
    Interrupted,
}

/// The result of every command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// An I/O failure while `doing` something, which reads after "cannot ".
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io(doing.into(), source)
    }

    /// A failure to write to standard output.
    pub(crate) fn output(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed { finished: true },
            _ => Self::io("write to standard output", source),
        }
    }

    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::OutputClosed { finished: true } => 0,
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Store(error) => code_of(error.kind()),
            Self::Damaged(_) => 4,
            Self::Io(..) | Self::Incomplete(_) | Self::OutputClosed { finished: false } => 5,
            Self::Interrupted => 130,
        }
    }

    /// The sentence for standard error; none where silence is right.
    pub(crate) fn sentence(&self) -> Option<String> {
        match self {
            Self::No(text) | Self::Usage(text) | Self::Damaged(text) | Self::Incomplete(text) => {
                Some(text.clone())
            }
            Self::Store(error) => Some(match error.kind() {
                ErrorKind::Damage => format!("{error}; run `treering verify` to list all damage"),
                _ => error.to_string(),
            }),
            Self::Io(doing, source) => Some(format!("cannot {doing}: {source}")),
            Self::Interrupted => Some("interrupted".to_string()),
            Self::OutputClosed { .. } => None,
        }
    }
}

fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Conflict => 1,
        ErrorKind::InvalidArgument | ErrorKind::TooLarge => 2,
        ErrorKind::Locked => 3,
        ErrorKind::Damage => 4,
        ErrorKind::NotAStore | ErrorKind::NewerFormat => 6,
        _ => 5,
    }
}

impl From<treering::Error> for Failure {
    fn from(error: treering::Error) -> Self {
        Self::Store(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_table() {
        let table = [
            (ErrorKind::Conflict, 1),
            (ErrorKind::TooLarge, 2),
            (ErrorKind::InvalidArgument, 2),
            (ErrorKind::Locked, 3),
            (ErrorKind::Damage, 4),
            (ErrorKind::Io, 5),
            (ErrorKind::Full, 5),
            (ErrorKind::Poisoned, 5),
            (ErrorKind::NotAStore, 6),
            (ErrorKind::NewerFormat, 6),
        ];
        for (kind, code) in table {
            assert_eq!(code_of(kind), code, "{kind:?}");
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_only_unfinished_work_makes_it_a_failure() {
        let pipe = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output(pipe()).code(), 0);
        assert_eq!(Failure::OutputClosed { finished: false }.code(), 5);
        assert!(Failure::output(pipe()).sentence().is_none());
    }
}
