//! The integration tests of blobframe, one binary.
