//! The integration tests of blobframe, one binary.

mod forest;
mod model;
mod random;
