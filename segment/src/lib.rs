//! Bytes at rest: the storage seam, payload segments and slot segments.

pub mod error;
pub mod storage;
