//! Payload at rest.
