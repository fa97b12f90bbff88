//! Sealed segments on real files.
