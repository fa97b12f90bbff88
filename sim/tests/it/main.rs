//! The simulator's integration tests, in one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod disk;
mod watch;
