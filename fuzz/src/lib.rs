//! treering's fuzz targets, as functions from bytes.
//!
//! A target panics if, and only if, the code under test breaks a promise. The functions are plain, so that
//! the tests of this package run them on a stable toolchain; the binaries in `targets/` hand them to libFuzzer.
//! What a target draws its choices from is [`input::Input`], so that every byte string means something.
#![forbid(unsafe_code)]

mod frame;
pub mod input;
mod record;

pub use frame::frame_verify;
pub use record::record_decode;

/// A fuzz target.
pub type Target = fn(&[u8]);

/// Every target with the name of its binary and of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[("frame_verify", frame_verify), ("record_decode", record_decode)];
