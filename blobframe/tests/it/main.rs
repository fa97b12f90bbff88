//! The integration tests of blobframe, one binary.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod alloc;
mod cursor;
mod forest;
mod format;
mod hostile;
mod model;
mod random;
mod split;
