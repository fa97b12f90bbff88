//! The end of a journal's life: the first failed log write or sync, kept and repeated to everybody who
//! comes later (PROTOCOL F1). Waking those who wait is the journal's business.

use std::sync::{Arc, OnceLock};

use treering_segment::defects::{Defect, armed};

use crate::error::{Error, Poisoned, Result};

/// Set once, never cleared.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    cause: OnceLock<Arc<Error>>,
}

impl Poison {
    /// Keeps `error` as the cause, unless there is one.
    pub(crate) fn set(&self, error: Error) {
        let cause = match error {
            Error::Poisoned(earlier) => earlier.cause,
            other => Arc::new(other),
        };
        // Who comes second has nothing to add.
        let _ = self.cause.set(cause);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.cause.get().is_some()
    }

    /// The error for everybody who comes later.
    pub(crate) fn check(&self) -> Result<()> {
        match self.told() {
            Some(error) if !armed(Defect::PoisonIsForgotten) => Err(error),
            _ => Ok(()),
        }
    }

    /// The cause as everybody is told of it, if there is one.
    pub(crate) fn told(&self) -> Option<Error> {
        self.cause.get().map(|cause| Error::Poisoned(Poisoned { cause: Arc::clone(cause) }))
    }
}
